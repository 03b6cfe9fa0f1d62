//! Receivers that remember what arrived: a webhook that can be told to refuse, which Slack's messages may go to as well, and
//! a mail server. And one that takes connections and never says a word.

pub mod mail;

pub mod silent;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri};
use serde_json::Value;
use tokio::net::TcpListener;

/// Bytes of one notification; more than the collector ever sends.
const MAX_BODY_BYTES: usize = 16 << 20;

/// One notification as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    /// Where it was posted.
    pub path: String,
    /// The body as JSON; null if it was none.
    pub body: Value,
}

impl Received {
    /// The alerts of the notification as (status, alertname, instance).
    #[must_use]
    pub fn alerts(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alerts = self.body["alerts"].as_array().cloned().unwrap_or_default();
        alerts
            .iter()
            .map(|a| (text(&a["status"]), text(&a["labels"]["alertname"]), text(&a["labels"]["instance"])))
            .collect()
    }
}

#[derive(Default)]
struct Inbox {
    received: Vec<Received>,
    refusing: bool,
}

/// The receiver; it listens on a free loopback port until it is dropped.
pub struct Sink {
    pub address: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sink {
    /// Starts to listen.
    ///
    /// # Errors
    /// If loopback has no free port.
    pub async fn start() -> std::io::Result<Self> {
        Self::serve(TcpListener::bind(("127.0.0.1", 0)).await?)
    }

    /// Serves where somebody listens already.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn serve(listener: TcpListener) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let router =
            Router::new().fallback(take).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(inbox.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });
        Ok(Self { address, inbox, task })
    }

    /// Everything that was accepted so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).received.clone()
    }

    /// Forgets what was accepted so far.
    pub fn clear(&self) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).received.clear();
    }

    /// Answers 503 to everything from now on, or no longer.
    pub fn refuse(&self, refusing: bool) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).refusing = refusing;
    }

    /// The first accepted notification with such an alert.
    #[must_use]
    pub fn find(&self, status: &str, alert: &str, instance: &str) -> Option<Received> {
        let wanted = (status.to_owned(), alert.to_owned(), instance.to_owned());
        self.received().into_iter().find(|received| received.alerts().contains(&wanted))
    }

    /// The first message that was posted to `path` and whose JSON holds all of these texts.
    #[must_use]
    pub fn find_text(&self, path: &str, texts: &[&str]) -> Option<Received> {
        let holds = |received: &Received| {
            let body = received.body.to_string();
            received.path == path && texts.iter().all(|text| body.contains(text))
        };
        self.received().into_iter().find(holds)
    }

    /// How many accepted notifications held such an alert.
    #[must_use]
    pub fn count(&self, status: &str, alert: &str, instance: &str) -> usize {
        let wanted = (status.to_owned(), alert.to_owned(), instance.to_owned());
        self.received().iter().filter(|received| received.alerts().contains(&wanted)).count()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers as Slack does, since webhooks do not look at it.
async fn take(State(inbox): State<Arc<Mutex<Inbox>>>, uri: Uri, body: Bytes) -> (StatusCode, &'static str) {
    let at = Instant::now();
    let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
    if inbox.refusing {
        return (StatusCode::SERVICE_UNAVAILABLE, "refused");
    }
    let body = serde_json::from_slice(&body).unwrap_or_default();
    inbox.received.push(Received { at, path: uri.path().to_owned(), body });
    (StatusCode::OK, "ok")
}
