//! What requests of Alertmanager's API bring: filters, booleans as Go reads them, and JSON bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query as Pairs, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use watchfire_collector_core::alertmanager::matchers;
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::{MatchOp, Matcher};

use super::Refusal;

/// The parameters of the URL. Unknown ones are passed over, as in Alertmanager.
pub(in crate::http) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let pairs = Pairs::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        pairs.map(|Pairs(pairs)| Self(pairs)).map_err(|rejection| Refusal::bad(rejection.body_text()))
    }
}

impl Query {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on; it is unless it is set to something that Go does not take for true.
    pub(super) fn is_on(&self, name: &str) -> bool {
        const YES: [&str; 10] = ["true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"];
        self.all(name).last().is_none_or(|value| YES.iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }
}

/// Which labels and receivers are wanted.
pub(super) struct Filters {
    pub(super) matchers: Vec<Matcher>,
    receiver: Option<Matcher>,
    receiver_matchers: Vec<Matcher>,
}

impl Filters {
    pub(super) fn read(query: &Query) -> Result<Self, Refusal> {
        let parse = |text: &str| matchers::parse(text).map(|parsed| parsed.matchers).map_err(Refusal::bad);
        let all =
            |name: &'static str| query.all(name).map(parse).collect::<Result<Vec<_>, _>>().map(|all| all.concat());
        let receiver = query.all("receiver").last().filter(|text| !text.is_empty());
        let receiver = receiver.map(|text| Matcher::new("receiver", MatchOp::Regex, text)).transpose();
        let bad = |error| Refusal::bad(format!("failed to parse receiver param: {error}"));
        Ok(Self {
            matchers: all("filter")?,
            receiver: receiver.map_err(bad)?,
            receiver_matchers: all("receiver_matchers")?,
        })
    }

    pub(super) fn takes_receiver(&self, name: &str) -> bool {
        let labels = Labels::new([("name", name)]);
        self.receiver.as_ref().is_none_or(|wanted| wanted.matches(name))
            && self.receiver_matchers.iter().all(|matcher| matcher.matches_labels(&labels))
    }

    pub(super) fn takes_labels(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }
}

/// A JSON body. Any other type is refused: forms are what another site's page could send unasked.
pub(in crate::http) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default().to_owned());
        let kind = kind.unwrap_or_default();
        let name = kind.split(';').next().unwrap_or_default().trim();
        if !name.eq_ignore_ascii_case("application/json") {
            let message = format!("unsupported media type {name:?}, only [application/json] are allowed");
            return Err(Refusal::Code(StatusCode::UNSUPPORTED_MEDIA_TYPE, 415, message));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|rejection| Refusal::bad(rejection.body_text()))?;
        let parsed = serde_json::from_slice(&bytes);
        let bad = |error| Refusal::Code(StatusCode::BAD_REQUEST, 400, format!("parsing body failed, because {error}"));
        parsed.map(Body).map_err(bad)
    }
}
