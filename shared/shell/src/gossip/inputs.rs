//! What reaches the machine: datagrams straight from the socket, everything else through a channel.
//!
//! The channel comes first, since little comes through it and somebody may wait for it. A datagram that is longer than a
//! datagram may be is handed on one byte too long, so that the machine sees and counts it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use watchfire_gossip::Input;
use watchfire_shared::limits::MAX_DATAGRAM_BYTES;

use crate::driver::Inbox;

/// Errors of the socket that are passed over in one turn; each stands for a datagram whose receiver was not there.
const MAX_ERRORS_PER_TURN: usize = 16;

pub(super) struct Inputs {
    others: mpsc::Receiver<Input>,
    socket: Arc<UdpSocket>,
    buffer: Box<[u8]>,
}

impl Inputs {
    pub(super) fn new(others: mpsc::Receiver<Input>, socket: Arc<UdpSocket>) -> Self {
        Self { others, socket, buffer: vec![0; MAX_DATAGRAM_BYTES + 1].into_boxed_slice() }
    }
}

fn datagram(from: SocketAddr, bytes: &[u8]) -> Input {
    Input::Datagram { from, bytes: bytes.to_vec() }
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
        for _ in 0..MAX_ERRORS_PER_TURN {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match self.socket.poll_recv_from(cx, &mut buffer) {
                Poll::Ready(Ok(from)) => return Poll::Ready(Some(datagram(from, buffer.filled()))),
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
        match self.socket.try_recv_from(&mut self.buffer) {
            Ok((length, from)) => Some(datagram(from, &self.buffer[..length])),
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    passed_over(&error);
                }
                None
            }
        }
    }
}
