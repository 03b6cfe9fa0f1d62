//! Pages of other origins may read what Prometheus' API answers, as Prometheus lets them by default (`web.cors.origin`).
//!
//! Only routes that change nothing lie behind this. A browser asks before it sends what changes something, and is not
//! answered there; no answer allows credentials.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, HeaderName, HeaderValue, ORIGIN, VARY,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What Prometheus answers with (`util/httputil/cors.go`).
const ALLOWED: [(HeaderName, &str); 4] = [
    (ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
    (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
];

/// Answers `OPTIONS`, and tells the browser of another origin that it may show the answer.
pub(super) async fn allow(request: Request, next: Next) -> Response {
    let foreign = request.headers().contains_key(ORIGIN);
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    if foreign {
        let headers = response.headers_mut();
        for (name, value) in ALLOWED {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    response
}
