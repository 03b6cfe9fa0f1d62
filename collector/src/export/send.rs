//! One batch as a request, and what its answer means.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use watchfire_collector_core::export::config::Remote;
use watchfire_collector_core::export::encode::{self, Content, Encoder};
use watchfire_collector_core::export::{Answer, Batch};
use watchfire_collector_core::metadata::Metadata;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::Feed;

use crate::sender::client::{Clients, Raw};

/// How often kinds and texts of metrics are sent, as Prometheus does.
const METADATA_EVERY: Duration = Duration::from_secs(60);
const HEADERS: &[(&str, &str)] = &[
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf"),
    ("user-agent", concat!("Watchfire/", env!("CARGO_PKG_VERSION"))),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// Sends to one remote engine.
pub(super) struct Sender {
    remote: Arc<Remote>,
    clients: Clients,
    /// Away while it encodes.
    encoder: Option<Encoder>,
    metadata_at: Option<Instant>,
}

impl Sender {
    pub(super) fn new(remote: Arc<Remote>) -> Self {
        let encoder = Some(Encoder::new(Arc::clone(&remote), rand::random()));
        Self { remote, clients: Clients::default(), encoder, metadata_at: None }
    }

    /// Sends a batch.
    pub(super) async fn send(&mut self, now: Timestamp, feed: Feed, batch: Batch, metadata: Metadata) -> Answer {
        let encoder = self.encoder.take();
        let mut encoder = encoder.unwrap_or_else(|| Encoder::new(Arc::clone(&self.remote), rand::random()));
        let encoded = tokio::task::spawn_blocking(move || (encoder.batch(now, &feed, &batch), encoder)).await;
        let (encoded, encoder) =
            encoded.expect("encoding does not panic, and is not cancelled while the runtime lives");
        self.encoder = Some(encoder);
        if encoded.content.samples == 0 {
            return Answer::Nothing(encoded.content);
        }
        let answer = self.post(encoded.body).await;
        if answer.is_ok() {
            self.send_metadata(metadata).await;
        }
        match answer {
            Ok(()) => Answer::Taken(encoded.content),
            Err(Answer::Refused { status, reason, .. }) => Answer::Refused { status, reason, content: encoded.content },
            Err(answer) => answer,
        }
    }

    /// Engines may do without it, so what becomes of it does not matter.
    async fn send_metadata(&mut self, metadata: Metadata) {
        if self.metadata_at.is_some_and(|at| at.elapsed() < METADATA_EVERY) {
            return;
        }
        self.metadata_at = Some(Instant::now());
        for encoded in encode::metadata(&metadata) {
            if let Err(answer) = self.post(encoded.body).await {
                tracing::debug!(remote = self.remote.name, ?answer, "the remote engine did not take metadata");
                return;
            }
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), Answer> {
        let timeout = self.remote.timeout.to_std();
        let posted = tokio::time::timeout(timeout, async {
            // Its paths begin where its file is already. A secret that cannot be read now may be so later.
            let prepared = self.clients.prepare(&self.remote.http, Path::new("")).await.map_err(later)?;
            Ok(prepared.post_raw(self.remote.url.expose(), HEADERS, body).await)
        });
        match posted.await {
            Err(_) => Err(later(format!("no answer within {}", self.remote.timeout))),
            Ok(Err(answer)) => Err(answer),
            Ok(Ok(Raw::Success)) => Ok(()),
            Ok(Ok(Raw::Status { outworn: true, reason, .. })) => Err(later(reason)),
            Ok(Ok(Raw::Status { status, retry_after, reason, .. })) => Err(judged(status, retry_after, reason)),
            // Nobody was asked, so it says nothing of whoever is there.
            Ok(Ok(Raw::Unsent { reason })) => Err(later(reason)),
            Ok(Ok(Raw::Broken { timed_out: true, reason })) => Err(later(reason)),
            Ok(Ok(Raw::Broken { timed_out: false, reason })) => Err(Answer::Gone { reason }),
        }
    }
}

fn later(reason: String) -> Answer {
    Answer::Later { retry_after: None, reason }
}

/// As the protocol has it: 5xx and 429 are tried again, the rest is not.
fn judged(status: u16, retry_after: Option<Span>, reason: String) -> Answer {
    match status {
        429 | 500..=599 => Answer::Later { retry_after, reason },
        _ => Answer::Refused { status, reason, content: Content::default() },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use watchfire_collector_core::export::config::read_all;
    use watchfire_shared::document::{Report, Value, toml};

    use super::*;

    #[tokio::test]
    async fn a_damaged_file_of_certificates_does_not_say_that_the_engine_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n").unwrap();
        let text =
            format!("[[remote_write]]\nurl = \"https://127.0.0.1:1/write\"\ntls_config = {{ ca_file = {ca:?} }}\n");
        let mut report = Report::new("collector.toml");
        let Value::Table(mut tables) = toml::parse(&text, &mut report).unwrap().value else { panic!() };
        let Value::List(mut entries) = tables.remove(0).1.value else { panic!() };
        let remote = read_all(&[("collector.toml".to_owned(), entries.remove(0))], &BTreeMap::new()).unwrap().remove(0);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = Sender::new(Arc::new(remote)).post(Vec::new()).await;
        assert!(matches!(&answer, Err(Answer::Later { reason, .. }) if reason.contains("ca")), "{answer:?}");
    }
}
