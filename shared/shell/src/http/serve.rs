//! The HTTP server: bounded in connections, in bodies and in the time that a request may take to arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watchfire_shared::limits::MAX_HTTP_BODY_BYTES;

use super::problem::{self, Problem};
use super::stall::Stalling;

/// Connections at a time. Dashboards and scrapers need tens; each costs some 20 KiB.
const MAX_CONNECTIONS: usize = 512;
/// How long the head of a request may take, which is also how long an idle connection is kept.
const MAX_HEADER_TIME: Duration = Duration::from_secs(30);
/// How long the body of a request may take.
const MAX_BODY_TIME: Duration = Duration::from_secs(30);
/// How long a client may take nothing of its answer. A dashboard reads at once; the kernel holds a few hundred KiB for it.
const MAX_STALL_TIME: Duration = Duration::from_secs(30);
/// A request's head, bytes. Queries may stand in the URL, and those of dashboards are long.
const MAX_HEADER_BYTES: usize = 128 << 10;
/// How long answers that are under way are waited for at the end. Event streams never end by themselves.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(2);

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// Names the address; the port may be taken.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let named =
            |error: std::io::Error| std::io::Error::new(error.kind(), format!("cannot bind {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(named)?;
        Ok(Self { address: listener.local_addr().map_err(named)?, listener })
    }

    /// The address with the port that the system gave, if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`; then lets answers that are under way end, for a short time.
    pub async fn run(self, router: Router, stop: CancellationToken) {
        let router = bounded(router);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&self.listener, &places) => accepted,
            };
            let (stream, place) = accepted;
            let (router, stop) = (router.clone(), stop.clone());
            connections.spawn(async move {
                connection(stream, router, stop).await;
                drop(place);
            });
        }
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(MAX_DRAIN_TIME, connections.wait()).await.is_err() {
            tracing::debug!(open = connections.len(), "connections were cut off");
        }
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    // Without a place nothing is accepted: the kernel's queue holds the rest, and then refuses.
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                // Mostly the process ran out of file descriptors; trying again at once would burn a core.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(MAX_HEADER_TIME).max_header_size(MAX_HEADER_BYTES);
    // A client that ends its side counts as gone: its request is given up, and what a query computes for it. The price is
    // that one which shuts down only its sending half, as `nc -N` does, gets no answer; no HTTP client does.
    builder.half_close(false);
    let connection =
        builder.serve_connection(TokioIo::new(Stalling::new(stream, MAX_STALL_TIME)), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(MAX_DRAIN_TIME).await;
    };
    tokio::pin!(deadline);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut deadline => return,
        }
    }
}

/// Bounds the bodies of all requests to a router, how large they are and how long they take to arrive, and makes problems of
/// its errors.
pub fn bounded(router: Router) -> Router {
    // From outside of the router, where an answer has all its headers.
    let whole = Router::new().fallback_service(router.layer(middleware::from_fn(read_body)));
    whole.layer(middleware::from_fn(problem::everywhere))
}

async fn read_body(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(MAX_BODY_TIME, to_bytes(body, MAX_HTTP_BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return too_large(&error).into_response(),
        Err(_) => {
            let detail = format!("the body did not arrive within {} seconds", MAX_BODY_TIME.as_secs());
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).into_response();
        }
    };
    next.run(Request::from_parts(head, body_of(body))).await
}

fn body_of(bytes: Bytes) -> Body {
    if bytes.is_empty() { Body::empty() } else { Body::from(bytes) }
}

fn too_large(error: &axum::Error) -> Problem {
    if error.to_string().contains("limit") {
        let detail = format!("a body may have at most {MAX_HTTP_BODY_BYTES} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    } else {
        Problem::bad_request(format!("the body could not be read: {error}"))
    }
}
