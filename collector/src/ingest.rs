//! The TCP door for agents: connections become inputs of the engine, and its replies go back to them.
//!
//! What a frame means is the engine's business; this cuts frames out of the stream and sees that nobody takes more than a
//! share: connections are bounded, a connection must say hello soon, the bytes that wait for the engine are bounded for all
//! connections together (an agent that sends faster is pushed back by TCP), and a peer that does not read its replies
//! is cut off.
//!
//! With certificate files it speaks TLS 1.3 and nothing else. Connections that have not said hello yet are bounded on their
//! own: more of them wait in the kernel.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watchfire_collector_core::engine::{ConnId, Input};
use watchfire_shared::frame::FrameReader;
use watchfire_shell::tls;

use crate::engine::Inbox;

/// Agents connected at a time; a collector is built for thousands, and each connection costs some 20 KiB.
const MAX_CONNECTIONS: usize = 16_384;
/// Replies that wait for one peer. An acknowledgement has 40 bytes; a peer that leaves this many unread is stuck.
const MAX_REPLIES: usize = 256;
/// Connections at a time that have not said hello: so many handshakes are under way at most, each some 30 KiB. A thousand
/// agents that come back at once are through in seconds.
const MAX_GREETINGS: usize = 128;
/// How long a connection may take to show its certificate, and how long then to send its first frame.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// How long a peer may be silent. Agents send a tick at least every minute, or a ping.
const MAX_SILENCE: Duration = Duration::from_secs(180);
/// How long one write may take.
const MAX_WRITE_TIME: Duration = Duration::from_secs(30);
/// What is read at once. A tick has some 2 KiB.
const READ_BYTES: usize = 16 << 10;

/// Why a connection that begins with a TLS handshake is closed.
const SPEAKS_TLS: &str = "the agent speaks TLS, and [ingest.tls] is not configured";

/// What is shown to the next agent that connects.
pub(crate) type Tls = Arc<ArcSwap<ServerConfig>>;

/// Counters of the door, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct IngestStats {
    pub(crate) accepted: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Connections that ended in the TLS handshake: plaintext, no certificate, or one that is not taken.
    pub(crate) handshakes_failed: AtomicU64,
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

/// Accepts agents until `stop`, then closes every connection. Without `tls` they speak plaintext.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Option<Tls>,
    connections: Connections,
    inbox: Inbox,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let greetings = Arc::new(Semaphore::new(MAX_GREETINGS));
    let tasks = TaskTracker::new();
    loop {
        let accept = async {
            let place = take(&places).await;
            let greeting = take(&greetings).await;
            (listener.accept().await, place, greeting)
        };
        let (accepted, place, greeting) = tokio::select! {
            accepted = accept => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let door =
                    Door { peer, connections: connections.clone(), inbox: inbox.clone(), close: stop.child_token() };
                let tls = tls.as_ref().map(|tls| TlsAcceptor::from(tls.load_full()));
                tasks.spawn(async move {
                    door.serve(stream, tls, greeting).await;
                    drop(place);
                });
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

async fn take(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed")
}

/// What serving one connection takes.
struct Door {
    peer: SocketAddr,
    connections: Connections,
    inbox: Inbox,
    close: CancellationToken,
}

impl Door {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>, greeting: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            let (read, write) = stream.into_split();
            return self.exchange(read, write, greeting).await;
        };
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(HELLO_TIME, tls.accept(stream)) => accepted,
            () = self.close.cancelled() => return,
        };
        let reason = match accepted {
            Ok(Ok(stream)) => {
                let (read, write) = tokio::io::split(stream);
                return self.exchange(read, write, greeting).await;
            }
            Ok(Err(error)) => tls::explain(&error, "the agent"),
            Err(_) => "it took too long".to_owned(),
        };
        self.connections.stats().handshakes_failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(peer = %self.peer, reason, "an agent's connection was refused in the TLS handshake");
    }

    async fn exchange<R, W>(self, read: R, write: W, greeting: OwnedSemaphorePermit)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let Self { peer, connections, inbox, close } = self;
        let (replies, queue) = mpsc::channel(MAX_REPLIES);
        let conn = connections.add(Peer { replies, close: close.clone() });
        let writer = tokio::spawn(write_replies(write, queue, close.clone()));
        if inbox.send(Input::Connected { conn, peer }).await {
            let reason = read_frames(read, greeting, conn, &connections, &inbox, &close).await;
            if reason == SPEAKS_TLS {
                tracing::warn!(%peer, reason, "an agent's connection was refused");
            }
            tracing::debug!(%peer, reason, "an agent's connection ended");
            inbox.send(Input::Disconnected { conn }).await;
        }
        // Dropping the last sender of replies lets the writer write what is left, and end.
        connections.close(conn);
        let _ = writer.await;
    }
}

async fn read_frames(
    mut read: impl AsyncRead + Unpin,
    greeting: OwnedSemaphorePermit,
    conn: ConnId,
    connections: &Connections,
    inbox: &Inbox,
    close: &CancellationToken,
) -> &'static str {
    let mut reader = FrameReader::default();
    let mut buffer = vec![0; READ_BYTES];
    let hello = tokio::time::Instant::now() + HELLO_TIME;
    let mut greeting = Some(greeting);
    let cut_off = |reason| {
        connections.stats().cut_off.fetch_add(1, Ordering::Relaxed);
        reason
    };
    loop {
        let greeted = greeting.is_none();
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
        if !greeted && tls::is_handshake(&buffer[..length]) {
            return cut_off(SPEAKS_TLS);
        }
        reader.push(&buffer[..length]);
        loop {
            match reader.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    greeting = None;
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

async fn write_replies(
    mut write: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
    close: CancellationToken,
) {
    while let Some(bytes) = queue.recv().await {
        let written = async {
            write.write_all(&bytes).await?;
            write.flush().await
        };
        let written = tokio::time::timeout(MAX_WRITE_TIME, written).await;
        if !matches!(written, Ok(Ok(()))) {
            close.cancel();
            return;
        }
    }
    let _ = tokio::time::timeout(MAX_WRITE_TIME, write.shutdown()).await;
}

#[cfg(test)]
mod tests;
