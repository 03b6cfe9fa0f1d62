//! A receiver that takes every connection, reads nothing and never answers, until it is woken.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

/// The receiver; it listens on a free loopback port.
pub struct Silent {
    pub address: SocketAddr,
    listener: Arc<TcpListener>,
    task: tokio::task::JoinHandle<()>,
}

impl Silent {
    /// Starts to listen.
    ///
    /// # Errors
    /// If loopback has no free port.
    pub async fn start() -> std::io::Result<Self> {
        let listener = Arc::new(TcpListener::bind(("127.0.0.1", 0)).await?);
        let address = listener.local_addr()?;
        let taking = listener.clone();
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = taking.accept().await {
                held.push(stream);
            }
        });
        Ok(Self { address, listener, task })
    }

    /// Drops every connection and hands out the listener, for somebody who answers.
    pub async fn wake(self) -> TcpListener {
        self.task.abort();
        let _ = self.task.await;
        Arc::try_unwrap(self.listener).expect("the task that shared it has ended")
    }
}
