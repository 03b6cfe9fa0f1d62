//! The built-in webhook: takes notifications as any receiver would.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Notifications that wait to be printed. Printing takes microseconds; a full queue refuses, and the sender tries again.
const QUEUE: usize = 64;

/// Where notifications arrive.
pub(crate) struct Notifications {
    pub(crate) address: SocketAddr,
    pub(crate) bodies: mpsc::Receiver<Bytes>,
}

/// Listens on a free loopback port until the runtime ends.
pub(crate) async fn listen() -> std::io::Result<Notifications> {
    let (sender, bodies) = mpsc::channel(QUEUE);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Notifications { address, bodies })
}

async fn take(State(sender): State<mpsc::Sender<Bytes>>, body: Bytes) -> StatusCode {
    match sender.try_send(body) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
