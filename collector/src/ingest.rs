//! The TCP door for agents: connections become inputs of the engine, and its replies go back to them.
//!
//! What a frame means is the engine's business; this cuts frames out of the stream and sees that nobody takes more than a
//! share: connections are bounded, a connection must say hello soon, the bytes that wait for the engine are bounded for all
//! connections together (an agent that sends faster is pushed back by TCP), and a peer that does not read its replies
//! is cut off.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watchfire_collector_core::engine::{ConnId, Input};
use watchfire_shared::frame::FrameReader;

use crate::engine::Inbox;

/// Agents connected at a time; a collector is built for thousands, and each connection costs some 20 KiB.
const MAX_CONNECTIONS: usize = 16_384;
/// Replies that wait for one peer. An acknowledgement has 40 bytes; a peer that leaves this many unread is stuck.
const MAX_REPLIES: usize = 256;
/// How long a connection may take to send its first frame.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// How long a peer may be silent. Agents send a tick at least every minute, or a ping.
const MAX_SILENCE: Duration = Duration::from_secs(180);
/// How long one write may take.
const MAX_WRITE_TIME: Duration = Duration::from_secs(30);
/// What is read at once. A tick has some 2 KiB.
const READ_BYTES: usize = 16 << 10;

/// Counters of the door, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct IngestStats {
    pub(crate) accepted: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Connections closed here: no hello in time, too silent, no frames at all, replies not read.
    pub(crate) cut_off: AtomicU64,
}

/// The open connections, for whoever has something to say to one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<BTreeMap<ConnId, Peer>>,
    next: AtomicU64,
    stats: IngestStats,
}

#[derive(Debug)]
struct Peer {
    replies: mpsc::Sender<Vec<u8>>,
    /// Stops reading at once; what was replied before is still written.
    close: CancellationToken,
}

impl Connections {
    /// Sends a frame to a connection; nothing happens if it is gone. One that does not read is closed.
    pub(crate) fn reply(&self, conn: ConnId, bytes: Vec<u8>) {
        let full = match self.open().get(&conn) {
            Some(peer) => peer.replies.try_send(bytes).is_err(),
            None => false,
        };
        if full {
            self.0.stats.cut_off.fetch_add(1, Ordering::Relaxed);
            self.close(conn);
        }
    }

    /// Closes a connection after the replies that it was sent.
    pub(crate) fn close(&self, conn: ConnId) {
        if let Some(peer) = self.open().remove(&conn) {
            peer.close.cancel();
        }
    }

    /// How many are open.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    #[must_use]
    pub(crate) fn stats(&self) -> &IngestStats {
        &self.0.stats
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<ConnId, Peer>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, peer: Peer) -> ConnId {
        let conn = ConnId(self.0.next.fetch_add(1, Ordering::Relaxed));
        self.0.stats.accepted.fetch_add(1, Ordering::Relaxed);
        self.open().insert(conn, peer);
        conn
    }
}

/// Accepts agents until `stop`, then closes every connection.
pub(crate) async fn run(listener: TcpListener, connections: Connections, inbox: Inbox, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let serve = serve(stream, peer, connections.clone(), inbox.clone(), stop.child_token(), place);
                tasks.spawn(serve);
            }
            Err(error) => {
                // Mostly the process ran out of file descriptors; trying again at once would burn a core.
                tracing::warn!(%error, "an agent's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    connections: Connections,
    inbox: Inbox,
    close: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let (replies, queue) = mpsc::channel(MAX_REPLIES);
    let conn = connections.add(Peer { replies, close: close.clone() });
    let writer = tokio::spawn(write_replies(write, queue, close.clone()));
    if inbox.send(Input::Connected { conn, peer }).await {
        let reason = read_frames(read, conn, &connections, &inbox, &close).await;
        tracing::debug!(%peer, reason, "an agent's connection ended");
        inbox.send(Input::Disconnected { conn }).await;
    }
    // Dropping the last sender of replies lets the writer write what is left, and end.
    connections.close(conn);
    let _ = writer.await;
    drop(place);
}

async fn read_frames(
    mut read: OwnedReadHalf,
    conn: ConnId,
    connections: &Connections,
    inbox: &Inbox,
    close: &CancellationToken,
) -> &'static str {
    let mut reader = FrameReader::default();
    let mut buffer = vec![0; READ_BYTES];
    let hello = tokio::time::Instant::now() + HELLO_TIME;
    let mut greeted = false;
    let cut_off = |reason| {
        connections.stats().cut_off.fetch_add(1, Ordering::Relaxed);
        reason
    };
    loop {
        let deadline = if greeted { tokio::time::Instant::now() + MAX_SILENCE } else { hello };
        let length = tokio::select! {
            read = read.read(&mut buffer) => match read {
                Ok(0) => return "closed by the peer",
                Ok(length) => length,
                Err(_) => return "broken",
            },
            () = tokio::time::sleep_until(deadline) => return cut_off(if greeted { "silent" } else { "no hello" }),
            () = close.cancelled() => return "closed here",
        };
        connections.stats().bytes.fetch_add(length as u64, Ordering::Relaxed);
        reader.push(&buffer[..length]);
        loop {
            match reader.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    greeted = true;
                    connections.stats().frames.fetch_add(1, Ordering::Relaxed);
                    if !inbox.send_frame(conn, frame.to_vec()).await {
                        return "the engine has stopped";
                    }
                }
                Err(error) => {
                    inbox.send(Input::Unreadable { conn, error }).await;
                    return cut_off("no frames");
                }
            }
        }
    }
}

async fn write_replies(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>, close: CancellationToken) {
    while let Some(bytes) = queue.recv().await {
        let written = tokio::time::timeout(MAX_WRITE_TIME, write.write_all(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            close.cancel();
            return;
        }
    }
    let _ = tokio::time::timeout(MAX_WRITE_TIME, write.shutdown()).await;
}

#[cfg(test)]
mod tests;
