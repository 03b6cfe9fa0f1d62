//! Keeps other web sites from changing anything through a visitor's browser.
//!
//! A browser names the page that sends a request: such a request is taken from our own pages only. Programs name no page and
//! pass. Reading needs no guard, because a browser shows no answer of ours to another site.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use super::problem::Problem;

/// Which hosts' pages are our own. Clones share the list.
#[derive(Clone, Debug)]
pub struct Guard {
    hosts: Arc<[String]>,
}

impl Guard {
    /// `external_url` is what people type to get here, if it is not an address or `localhost`: those are ours anyway.
    #[must_use]
    pub fn new(external_url: Option<&str>) -> Self {
        let host = external_url.and_then(|url| url.split_once("://")).map(|(_, rest)| {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            host_of(authority).to_ascii_lowercase()
        });
        Self { hosts: host.into_iter().collect() }
    }

    /// The handlers, behind this guard.
    pub fn over<S: Clone + Send + Sync + 'static>(&self, routes: MethodRouter<S>) -> MethodRouter<S> {
        routes.layer(middleware::from_fn_with_state(self.clone(), check))
    }

    fn is_from_elsewhere(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
        if text(header::HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site == "cross-site") {
            return true;
        }
        let Some(origin) = text(header::ORIGIN) else { return false };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        // A name that anybody can point at this address must not count as ours just because both headers say it.
        let is_ours = |host: &str| {
            let name = host_of(host);
            name == "localhost"
                || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
                || self.hosts.iter().any(|own| own == name)
        };
        match (authority, text(header::HOST)) {
            (Some(authority), Some(host)) => authority != host || !is_ours(&host),
            _ => true,
        }
    }
}

fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|char| char.is_ascii_digit()) => name,
        _ => host,
    }
}

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.is_from_elsewhere(request.headers()) {
        let detail = "the request comes from a page of another site; only pages of this server may change anything";
        return Problem::new(StatusCode::FORBIDDEN, "cross_site", detail).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)], passes: bool) {
        let pairs = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()));
        let guard = Guard::new(Some("https://watch.example:8443/path"));
        assert_eq!(guard.is_from_elsewhere(&pairs.collect()), !passes, "{headers:?}");
    }

    #[test]
    fn only_our_own_pages_and_programs_pass() {
        check(&[("host", "127.0.0.1:7960")], true);
        check(&[("host", "127.0.0.1:7960"), ("origin", "http://127.0.0.1:7960")], true);
        check(&[("host", "[::1]:7960"), ("origin", "http://[::1]:7960")], true);
        check(&[("host", "localhost:7960"), ("origin", "http://LOCALHOST:7960")], true);
        check(
            &[("host", "watch.example"), ("origin", "https://watch.example"), ("sec-fetch-site", "same-origin")],
            true,
        );

        check(&[("host", "127.0.0.1:7960"), ("origin", "http://evil.example")], false);
        check(&[("host", "127.0.0.1:7960"), ("origin", "http://127.0.0.1:8080")], false);
        check(&[("host", "127.0.0.1:7960"), ("origin", "http://127.0.0.1:7960.evil.example")], false);
        check(&[("host", "127.0.0.1:7960"), ("origin", "null")], false);
        check(&[("host", "127.0.0.1:7960"), ("sec-fetch-site", "cross-site")], false);
        // A name of the attacker that leads to this address.
        check(&[("host", "evil.example:7960"), ("origin", "http://evil.example:7960")], false);
        check(&[("origin", "http://127.0.0.1:7960")], false);
    }
}
