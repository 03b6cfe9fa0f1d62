//! Errors as RFC 9457 describes them.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The content type of a problem.
const PROBLEM_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What is kept of an error's own text, bytes.
const MAX_DETAIL_BYTES: usize = 4096;

/// A problem: the body of an answer that is no success.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// A URI that identifies the kind of problem; ours need no more than the code below.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    /// A word for programs, such as `index_gone`.
    code: &'static str,
}

impl Problem {
    /// `detail` says what was wrong with this request and how to do better.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), code }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// 400: a parameter was not understood.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).expect("texts and numbers always encode");
        (status, [(header::CONTENT_TYPE, PROBLEM_TYPE)], body).into_response()
    }
}

/// The fallback of a router: 404 for a path that does not exist.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

/// Makes a problem of every error under `/v1` that is none yet: of a method that a path does not take, of a path that
/// cannot be read, of whatever the layers below refuse in plain text.
pub(super) async fn everywhere(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_ours = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    if !is_error || !is_ours || response.headers().get(header::CONTENT_TYPE) == Some(&PROBLEM_TYPE) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = to_bytes(body, MAX_DETAIL_BYTES).await.unwrap_or_default();
    let allowed = head.headers.get(header::ALLOW).and_then(|allowed| allowed.to_str().ok());
    let problem = plain(status, &method, &uri, allowed, String::from_utf8_lossy(&text).trim());
    let (own, body) = problem.into_response().into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.extend(own.headers);
    Response::from_parts(head, body).map(Body::new)
}

/// A problem for an error that said no more than its status and perhaps a `text`.
fn plain(status: StatusCode, method: &Method, uri: &Uri, allowed: Option<&str>, text: &str) -> Problem {
    let code = match status {
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        status if status.is_client_error() => "bad_request",
        _ => "internal",
    };
    let detail = match (status, allowed) {
        (StatusCode::METHOD_NOT_ALLOWED, Some(allowed)) => {
            format!("{} takes {}; it does not take {method}", uri.path(), allowed.replace(',', ", "))
        }
        _ if text.is_empty() => format!("{method} {} cannot be answered", uri.path()),
        _ => text.to_owned(),
    };
    Problem::new(status, code, detail)
}
