//! Tokens that another server lends for the client's own credentials (RFC 6749, section 4.4).
//!
//! A token is kept until shortly before it ends, or until a receiver does not take it any more. The credentials go into the
//! `Authorization` header, as the RFC prefers, and into the form for servers that refuse that, as Go's client does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::AUTHORIZATION;
use serde_json::Value;
use watchfire_collector_core::alertmanager::http::{HttpConfig, OAuth2};
use watchfire_collector_core::notify::DeliveryOutcome;

use super::{Clients, Prepared, base64, escaped, secrets, sensitive};

/// Tokens kept at a time, as many as clients.
const MAX_TOKENS: usize = 64;
/// How long before its end a token is used no more.
const MARGIN: Duration = Duration::from_secs(10);

/// Whose token: what it was asked with, the secret as it was read.
type Key = (OAuth2, String);

#[derive(Clone)]
struct Token {
    /// What goes into the header.
    value: String,
    until: Option<Instant>,
}

/// The tokens that are kept, the last that was asked for at the end.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<Vec<(Key, Token)>>>);

/// A token in a request, to be given back if it is refused.
pub(super) struct Lent {
    tokens: Tokens,
    value: String,
    /// Whether it was asked for by an earlier request.
    pub(super) kept: bool,
}

impl Lent {
    /// Nobody takes it any more; the next request asks for another one.
    pub(super) fn forget(&self) {
        let mut kept = self.tokens.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, token)| token.value != self.value);
    }
}

impl Tokens {
    fn get(&self, key: &Key) -> Option<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, token)| token.until.is_none_or(|until| Instant::now() < until));
        kept.iter().find(|(own, _)| own == key).map(|(_, token)| token.value.clone())
    }

    fn put(&self, key: Key, token: Token) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(own, _)| *own != key);
        kept.push((key, token));
        if kept.len() > MAX_TOKENS {
            kept.remove(0);
        }
    }
}

/// The value of a request's `Authorization` header, asking for a token if none is kept.
///
/// # Errors
/// Why there is none, without a secret in it.
pub(super) async fn authorize(clients: &Clients, config: &OAuth2, folder: &Path) -> Result<(String, Lent), String> {
    let secret = secrets::read_optional(config.client_secret.as_ref(), folder).await?.unwrap_or_default();
    let key = (config.clone(), secret);
    let (value, kept) = match clients.tokens.get(&key) {
        Some(value) => (value, true),
        None => {
            let token = ask(clients, &key, folder).await.map_err(|reason| format!("oauth2: {reason}"))?;
            let value = token.value.clone();
            clients.tokens.put(key, token);
            (value, false)
        }
    };
    Ok((value.clone(), Lent { tokens: clients.tokens.clone(), value, kept }))
}

async fn ask(clients: &Clients, (config, secret): &Key, folder: &Path) -> Result<Token, String> {
    let mut form = BTreeMap::from([("grant_type".to_owned(), "client_credentials".to_owned())]);
    if !config.scopes.is_empty() {
        form.insert("scope".to_owned(), config.scopes.join(" "));
    }
    form.extend(config.endpoint_params.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
    let refused = match post(clients, config, secret, &form, true, folder).await {
        Err(reason) => reason,
        token => return token,
    };
    form.insert("client_id".to_owned(), config.client_id.clone());
    if !secret.is_empty() {
        form.insert("client_secret".to_owned(), secret.clone());
    }
    post(clients, config, secret, &form, false, folder).await.map_err(|_| refused)
}

async fn post(
    clients: &Clients,
    config: &OAuth2,
    secret: &str,
    form: &BTreeMap<String, String>,
    in_header: bool,
    folder: &Path,
) -> Result<Token, String> {
    // A server of tokens sends nobody elsewhere.
    let http = HttpConfig {
        follow_redirects: false,
        proxy: config.proxy.clone(),
        tls: config.tls.clone(),
        ..HttpConfig::default()
    };
    let mut request = Box::pin(clients.prepare(&http, folder)).await?.hiding(secret.to_owned());
    for value in config.endpoint_params.values() {
        request = request.hiding(value.expose().to_owned());
    }
    if in_header {
        let both = format!("{}:{}", escaped(&config.client_id), escaped(secret));
        request = authorized(request, &base64(both.as_bytes()))?;
    }
    let asked_at = Instant::now();
    let answer =
        request.ask_form(config.token_url.expose().to_owned(), form).await.map_err(|outcome| match outcome {
            DeliveryOutcome::Failed { reason, .. } => reason,
            other => format!("{other:?}"),
        })?;
    // The answer is not redacted: what it holds is the token.
    let parsed: Value = serde_json::from_str(&answer).map_err(|_| "the answer of `token_url` is no JSON".to_owned())?;
    read(&parsed, asked_at)
}

fn authorized(mut request: Prepared, encoded: &str) -> Result<Prepared, String> {
    request.headers.insert(AUTHORIZATION, sensitive("oauth2", &format!("Basic {encoded}"))?);
    Ok(request.hiding(encoded.to_owned()))
}

/// Reads the answer (RFC 6749, section 5.1).
fn read(answer: &Value, asked_at: Instant) -> Result<Token, String> {
    let text = |key: &str| answer[key].as_str().filter(|text| !text.is_empty());
    let token = text("access_token").ok_or("the answer of `token_url` holds no access_token")?;
    let kind = match text("token_type") {
        Some(kind) if !kind.eq_ignore_ascii_case("bearer") => kind,
        _ => "Bearer",
    };
    // Some servers write the number as a text.
    let seconds = answer["expires_in"].as_u64().or_else(|| text("expires_in")?.parse().ok());
    let until = seconds.map(|seconds| asked_at + Duration::from_secs(seconds.min(1 << 31)).saturating_sub(MARGIN));
    Ok(Token { value: format!("{kind} {token}"), until })
}
