//! Ties: streams that say one frame and nothing more, and tell by their end that a program has ended.
//!
//! The system says little on them: it asks every ten minutes whether the other host is still there, so that what stands
//! between two hosts does not forget the connection, and one whose host went without a word does not stay.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use watchfire_gossip::Input;

use super::streams;

/// How long a connection may take to come about. In a data centre it takes a millisecond.
const CONNECT_TIME: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(600);

/// The ties that this node holds, each a task that waits for its end.
pub(super) struct Ties {
    held: BTreeMap<u64, AbortHandle>,
    inputs: mpsc::Sender<Input>,
}

impl Ties {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { held: BTreeMap::new(), inputs }
    }

    /// Holds a tie, which `frame` says.
    pub(super) fn hold(&mut self, tie: u64, to: SocketAddr, frame: Vec<u8>) {
        self.held.retain(|_, task| !task.is_finished());
        let inputs = self.inputs.clone();
        let task = tokio::spawn(async move {
            let mut came_about = false;
            let ended = hold(to, frame, &mut came_about).await;
            tracing::debug!(%to, reason = ended.err().map(|error| error.to_string()), "a tie of gossip ended");
            let _ = inputs.send(Input::TieEnded { tie, came_about }).await;
        });
        self.held.insert(tie, task.abort_handle());
    }

    pub(super) fn let_go(&mut self, tie: u64) {
        if let Some(task) = self.held.remove(&tie) {
            task.abort();
        }
    }
}

impl Drop for Ties {
    fn drop(&mut self) {
        self.held.values().for_each(AbortHandle::abort);
    }
}

async fn hold(to: SocketAddr, frame: Vec<u8>, came_about: &mut bool) -> io::Result<()> {
    let connecting = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(to));
    let mut stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    *came_about = true;
    streams::say_on(&mut stream, &[frame]).await?;
    until_end(&mut stream).await
}

/// Waits until the other side ends a tie. One that says something is no tie, and ends as well.
pub(super) async fn until_end(stream: &mut TcpStream) -> io::Result<()> {
    SockRef::from(&*stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    stream.read(&mut [0]).await.map(drop)
}
