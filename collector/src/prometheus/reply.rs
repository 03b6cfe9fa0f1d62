//! Answers on their way: a short one goes as a whole, a long one in pieces while the rest of it is still being written, so
//! that writing, sending and reading overlap.
//!
//! Whoever writes never waits for whoever reads: a slow client would keep a place among the queries that others need. What
//! waits for it is at most the answer, which is bounded and lay in memory before, too.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{mpsc, oneshot};

use super::answer::ApiError;

/// A piece, or the end: whatever stops before it was broken off.
type Pieces = mpsc::UnboundedReceiver<Option<Vec<u8>>>;

/// An answer in JSON, or its beginning.
pub(crate) enum Encoded {
    Whole(Vec<u8>),
    Pieces(Pieces),
}

/// What a handler waits for.
pub(crate) type Evaluated = Result<Encoded, ApiError>;

/// Takes an answer from whoever writes it.
pub(crate) struct Reply(To);

enum To {
    Handler(oneshot::Sender<Evaluated>),
    Body(mpsc::UnboundedSender<Option<Vec<u8>>>),
    Nobody,
}

impl Reply {
    /// With what the handler waits for.
    pub(crate) fn new() -> (Self, oneshot::Receiver<Evaluated>) {
        let (sender, receiver) = oneshot::channel();
        (Self(To::Handler(sender)), receiver)
    }

    /// Sends a piece, and says whether anybody still reads.
    pub(crate) fn send(&mut self, piece: Vec<u8>) -> bool {
        let body = match std::mem::replace(&mut self.0, To::Nobody) {
            To::Handler(handler) => {
                let (sender, receiver) = mpsc::unbounded_channel();
                if handler.send(Ok(Encoded::Pieces(receiver))).is_err() {
                    return false;
                }
                sender
            }
            To::Body(body) => body,
            To::Nobody => return false,
        };
        let is_read = body.send(Some(piece)).is_ok();
        self.0 = To::Body(body);
        is_read
    }

    /// Sends the last piece, or the whole answer. An error that comes after a piece breaks the answer off.
    pub(crate) fn end(self, last: Result<Vec<u8>, ApiError>) {
        // Whoever does not read any more needs no answer.
        match (self.0, last) {
            (To::Handler(handler), last) => drop(handler.send(last.map(Encoded::Whole))),
            (To::Body(body), Ok(last)) => drop(body.send(Some(last)).and_then(|()| body.send(None))),
            (To::Body(_), Err(_)) | (To::Nobody, _) => {}
        }
    }
}

impl IntoResponse for Encoded {
    fn into_response(self) -> Response {
        let body = match self {
            Self::Whole(bytes) => Body::from(bytes),
            Self::Pieces(pieces) => body(pieces),
        };
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

fn body(pieces: Pieces) -> Body {
    let next = |pieces: Option<Pieces>| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Some(piece)) => Some((Ok(Bytes::from(piece)), Some(pieces))),
            Some(None) => None,
            None => Some((Err(io::Error::other("the answer was broken off")), None)),
        }
    };
    Body::from_stream(stream::unfold(Some(pieces), next))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::prometheus::answer::ErrorKind;

    async fn read(waiting: oneshot::Receiver<Evaluated>) -> Result<Vec<u8>, String> {
        let response = waiting.await.unwrap().map_err(|error| format!("{error:?}"))?.into_response();
        to_bytes(response.into_body(), usize::MAX).await.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn answers_arrive_whole_or_break_off() {
        let error = || ApiError::new(ErrorKind::Internal, "x");
        let (reply, waiting) = Reply::new();
        reply.end(Ok(b"short".to_vec()));
        assert_eq!(read(waiting).await.unwrap(), b"short");

        let (reply, waiting) = Reply::new();
        reply.end(Err(error()));
        assert!(read(waiting).await.unwrap_err().contains("Internal"));

        let (mut reply, waiting) = Reply::new();
        assert!(reply.send(b"in ".to_vec()) && reply.send(b"pie".to_vec()));
        reply.end(Ok(b"ces".to_vec()));
        assert_eq!(read(waiting).await.unwrap(), b"in pieces");

        let (mut reply, waiting) = Reply::new();
        assert!(reply.send(b"half".to_vec()));
        reply.end(Err(error()));
        assert!(read(waiting).await.unwrap_err().contains("broken off"));

        let (mut reply, waiting) = Reply::new();
        drop(waiting);
        assert!(!reply.send(b"nobody reads".to_vec()) && !reply.send(Vec::new()));
    }
}
