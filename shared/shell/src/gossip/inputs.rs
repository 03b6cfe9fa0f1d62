//! What reaches the machine: datagrams straight from the socket, everything else through a channel.
//!
//! The channel comes first, since little comes through it and somebody may wait for it. An empty datagram only asks the host
//! whether anybody listens, and is passed over. A datagram that is longer than a
//! datagram may be is handed on one byte too long, so that the machine sees and counts it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use watchfire_gossip::Input;
use watchfire_shared::limits::MAX_DATAGRAM_BYTES;

use crate::driver::Inbox;

/// Errors of the socket and empty datagrams that are passed over in one turn; such an error stands for a datagram whose
/// receiver was not there.
const MAX_PASSED_OVER_PER_TURN: usize = 16;

/// After this time nobody waits for an answer to a probe any more.
const LONGEST_WATCH: Duration = Duration::from_secs(10);

/// Measures from the last probe on, in microseconds, which the machine's time is too coarse for.
#[derive(Debug)]
pub(super) struct Watch {
    made: Instant,
    /// Microseconds after `made`; 0 while no probe was sent.
    started: AtomicU64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { made: Instant::now(), started: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn start(&self) {
        self.started.store(self.now().max(1), Ordering::Relaxed);
    }

    fn elapsed_micros(&self) -> Option<u32> {
        let started = Some(self.started.load(Ordering::Relaxed)).filter(|started| *started > 0)?;
        let elapsed = self.now().saturating_sub(started);
        u32::try_from(elapsed).ok().filter(|micros| Duration::from_micros((*micros).into()) < LONGEST_WATCH)
    }
}

pub(super) struct Inputs {
    others: mpsc::Receiver<Input>,
    socket: Arc<UdpSocket>,
    watch: Arc<Watch>,
    buffer: Box<[u8]>,
}

impl Inputs {
    pub(super) fn new(others: mpsc::Receiver<Input>, socket: Arc<UdpSocket>, watch: Arc<Watch>) -> Self {
        Self { others, socket, watch, buffer: vec![0; MAX_DATAGRAM_BYTES + 1].into_boxed_slice() }
    }
}

fn datagram(watch: &Watch, from: SocketAddr, bytes: &[u8]) -> Input {
    let bytes = bytes.to_vec();
    match watch.elapsed_micros() {
        Some(micros) => Input::Timed { from, bytes, micros },
        None => Input::Datagram { from, bytes },
    }
}

/// On Linux an earlier datagram's ICMP answer may come back from a later call; the socket itself is well.
fn passed_over(error: &io::Error) {
    tracing::trace!(%error, "gossip's socket reported an error");
}

impl Inbox<Input> for Inputs {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Input>> {
        if let Poll::Ready(input) = self.others.poll_recv(cx) {
            return Poll::Ready(input);
        }
        for _ in 0..MAX_PASSED_OVER_PER_TURN {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match self.socket.poll_recv_from(cx, &mut buffer) {
                Poll::Ready(Ok(_)) if buffer.filled().is_empty() => {}
                Poll::Ready(Ok(from)) => return Poll::Ready(Some(datagram(&self.watch, from, buffer.filled()))),
                Poll::Ready(Err(error)) => passed_over(&error),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn try_next(&mut self) -> Option<Input> {
        if let Ok(input) = self.others.try_recv() {
            return Some(input);
        }
        for _ in 0..MAX_PASSED_OVER_PER_TURN {
            match self.socket.try_recv_from(&mut self.buffer) {
                Ok((0, _)) => {}
                Ok((length, from)) => return Some(datagram(&self.watch, from, &self.buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => passed_over(&error),
            }
        }
        None
    }
}
