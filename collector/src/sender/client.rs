//! HTTP towards receivers: `http_config` as a client, one request, and what its answer means.
//!
//! Clients are kept, with their connections, for as long as what they were made from stays the same. Redirects are
//! followed if the configuration says so, but a request that carries credentials never goes to another host, and never from
//! https to http.

pub(super) mod secrets;

mod build;

mod oauth2;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use watchfire_collector_core::alertmanager::http::{Authorization, HttpConfig};
use watchfire_collector_core::notify::DeliveryOutcome;
use watchfire_shared::time::Span;

use super::failed;
use build::Recipe;
use oauth2::{Lent, Tokens};

/// Clients kept at a time; an installation has as many as it has different `http_config`s.
const MAX_CLIENTS: usize = 64;
/// Bytes of an answer that are read; what a person needs of an error stands at its beginning.
const MAX_ANSWER_BYTES: usize = 4096;
/// Bytes of an answer that is parsed; Slack repeats the message in it.
const MAX_PARSED_BYTES: usize = 1 << 20;
/// Characters of an answer that go into the reason.
const MAX_ANSWER_CHARS: usize = 200;
/// The type of a form, as it is posted and signed.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// Named to receivers. Some only take what comes from Alertmanager by this name.
const USER_AGENT: &str = concat!("Alertmanager/0.34 (Watchfire/", env!("CARGO_PKG_VERSION"), ")");

/// The clients that are kept, the last used at the end, and the tokens that were lent.
#[derive(Clone, Default)]
pub(crate) struct Clients {
    kept: Arc<Mutex<Vec<(Recipe, Client)>>>,
    tokens: Tokens,
}

/// One request, ready but for its body.
pub(crate) struct Prepared {
    clients: Clients,
    recipe: Recipe,
    headers: HeaderMap,
    lent: Option<Lent>,
    /// What must not show up in a reason.
    secrets: Vec<String>,
}

impl Clients {
    /// Makes ready for one request, reading the secrets that it needs.
    ///
    /// # Errors
    /// The reason, without a secret in it.
    pub(crate) async fn prepare(&self, config: &HttpConfig, folder: &Path) -> Result<Prepared, String> {
        let (mut headers, mut secrets) = headers(config, folder).await?;
        let mut lent = None;
        if let Some(Authorization::OAuth2(oauth2)) = &config.authorization {
            let (value, token) = oauth2::authorize(self, oauth2, folder).await?;
            headers.insert(AUTHORIZATION, sensitive("oauth2", &value)?);
            secrets.extend(value.split(' ').skip(1).map(str::to_owned));
            lent = Some(token);
        }
        let tls = &config.tls;
        let certificate = secrets::read_optional(tls.certificate.as_ref(), folder).await?;
        let key = secrets::read_optional(tls.key.as_ref(), folder).await?;
        let recipe = Recipe {
            follow_redirects: config.follow_redirects,
            credentials: !headers.is_empty(),
            proxy: config.proxy.clone(),
            ca: secrets::read_optional(tls.ca.as_ref(), folder).await?,
            certificate: certificate.zip(key),
            insecure: tls.insecure_skip_verify,
            versions: (tls.min_version, tls.max_version),
            server_name: tls.server_name.clone(),
            host: None,
        };
        Ok(Prepared { clients: self.clone(), recipe, headers, lent, secrets })
    }

    fn client(&self, recipe: Recipe) -> Result<Client, String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(own, _)| *own == recipe);
        let entry = match known {
            Some(at) => kept.remove(at),
            None => {
                let client = build::build(&recipe)?;
                (recipe, client)
            }
        };
        let client = entry.1.clone();
        kept.push(entry);
        if kept.len() > MAX_CLIENTS {
            kept.remove(0);
        }
        Ok(client)
    }
}

/// The headers of a request, and the secrets in them.
async fn headers(config: &HttpConfig, folder: &Path) -> Result<(HeaderMap, Vec<String>), String> {
    let mut headers = HeaderMap::new();
    let mut used = Vec::new();
    match &config.authorization {
        None | Some(Authorization::OAuth2(_)) => {}
        Some(Authorization::Header { kind, credentials }) => {
            let credentials = secrets::read(credentials, folder).await?;
            headers.insert(AUTHORIZATION, sensitive("authorization", &format!("{kind} {credentials}"))?);
            used.push(credentials);
        }
        Some(Authorization::Basic { username, password }) => {
            let username = secrets::read_optional(username.as_ref(), folder).await?.unwrap_or_default();
            let password = secrets::read_optional(password.as_ref(), folder).await?.unwrap_or_default();
            let encoded = base64(format!("{username}:{password}").as_bytes());
            headers.insert(AUTHORIZATION, sensitive("basic_auth", &format!("Basic {encoded}"))?);
            used.extend([password, encoded]);
        }
    }
    for (name, values) in &config.headers {
        let header = HeaderName::try_from(name.as_str()).map_err(|_| format!("http_headers: {name:?} is no header"))?;
        for value in values {
            let value = secrets::read(value, folder).await?;
            headers.append(header.clone(), sensitive("http_headers", &value)?);
            used.push(value);
        }
    }
    Ok((headers, used))
}

fn sensitive(what: &str, value: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::try_from(value).map_err(|_| format!("{what}: holds a character that no header may hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 4648, with padding; basic authentication and SMTP's are all that need it.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |number: u32, shift: u32| char::from(DIGITS[(number >> shift & 63) as usize]);
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().chain([&0, &0]).take(3).fold(0, |number, byte| number << 8 | u32::from(*byte));
        out.extend([digit(number, 18), digit(number, 12)]);
        out.push(if chunk.len() > 1 { digit(number, 6) } else { '=' });
        out.push(if chunk.len() > 2 { digit(number, 0) } else { '=' });
    }
    out
}

impl Prepared {
    /// The same, with one more secret that must not show up in a reason.
    pub(super) fn hiding(mut self, secret: String) -> Self {
        self.secrets.push(secret);
        self
    }

    /// The same, with more headers, which only the receiver may see.
    ///
    /// # Errors
    /// If a value cannot stand in a header.
    pub(super) fn with_headers(mut self, headers: Vec<(&'static str, String)>) -> Result<Self, String> {
        for (name, value) in headers {
            self.headers.insert(HeaderName::from_static(name), sensitive(name, &value)?);
            self.recipe.credentials = true;
        }
        Ok(self)
    }

    /// Posts JSON to a URL, which counts as a secret, and judges the answer: 2xx is success; 429, 5xx, a
    /// kept token that holds no more and a connection that fails may be tried again; anything else is refused for now.
    pub(super) async fn post_json(self, url: String, body: String) -> DeliveryOutcome {
        self.send_json(Method::POST, url, body).await
    }

    /// As [`Prepared::post_json`], by another method.
    pub(super) async fn send_json(self, method: Method, url: String, body: String) -> DeliveryOutcome {
        match self.request(method, url, "application/json", body).await {
            Ok(_) => DeliveryOutcome::Ok,
            Err(outcome) => outcome,
        }
    }

    /// As [`Prepared::post_json`], with a form.
    pub(super) async fn post_form(self, url: String, form: &BTreeMap<String, String>) -> DeliveryOutcome {
        match self.request(Method::POST, url, FORM, form_text(form)).await {
            Ok(_) => DeliveryOutcome::Ok,
            Err(outcome) => outcome,
        }
    }

    /// As [`Prepared::post_json`], for a receiver whose answer says more than its status.
    ///
    /// # Errors
    /// The outcome, if the status is not 2xx or there is no answer.
    pub(super) async fn ask_json(self, url: String, body: String) -> Result<Answer, DeliveryOutcome> {
        self.ask(Method::POST, url, body).await
    }

    /// As [`Prepared::ask_json`], by another method.
    ///
    /// # Errors
    /// The outcome, if the status is not 2xx or there is no answer.
    pub(super) async fn ask(self, method: Method, url: String, body: String) -> Result<Answer, DeliveryOutcome> {
        let (response, secrets) = self.request(method, url, "application/json", body).await?;
        let json = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let json = json.is_some_and(|value| value.starts_with("application/json"));
        let bytes = beginning(response, MAX_PARSED_BYTES).await;
        Ok(Answer { json, text: secrets::redact(&String::from_utf8_lossy(&bytes), &secrets) })
    }

    /// Posts bytes to a URL, which counts as a secret.
    pub(crate) async fn post_raw(mut self, url: &str, headers: &[(&'static str, &'static str)], body: Vec<u8>) -> Raw {
        for (name, value) in headers {
            self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let request = match self.open(Method::POST, url) {
            Ok(request) => request.headers(std::mem::take(&mut self.headers)).body(body),
            Err((_, reason)) => return Raw::Unsent { reason },
        };
        match request.send().await {
            Ok(response) if response.status().is_success() => Raw::Success,
            Ok(response) => {
                let status = response.status().as_u16();
                let outworn = self.note(response.status());
                let retry_after = retry_after(&response);
                Raw::Status { status, outworn, retry_after, reason: reason(response, &self.secrets).await }
            }
            Err(error) => {
                let timed_out = error.is_timeout();
                Raw::Broken { timed_out, reason: secrets::redact(&cause(&error.without_url()), &self.secrets) }
            }
        }
    }

    /// As [`Prepared::ask_json`], with a form, for an answer that is a secret itself.
    pub(super) async fn ask_form(
        self,
        url: String,
        form: &BTreeMap<String, String>,
    ) -> Result<String, DeliveryOutcome> {
        let (response, _) = self.request(Method::POST, url, FORM, form_text(form)).await?;
        Ok(String::from_utf8_lossy(&beginning(response, MAX_PARSED_BYTES).await).into_owned())
    }

    /// A request to a URL, which counts as a secret; or why there is none, and whether there may be one later.
    fn open(&mut self, method: Method, url: &str) -> Result<RequestBuilder, (bool, String)> {
        self.secrets.extend(path_of(url));
        // A URL that cannot be used will not become better by itself; a certificate in a file may.
        let (url, host) = self.recipe.aim(url).map_err(|reason| (false, reason))?;
        let client = self.clients.client(self.recipe.clone()).map_err(|reason| (true, reason))?;
        let request = client.request(method, url);
        Ok(match host {
            Some(host) => request.header(HOST, host),
            None => request,
        })
    }

    /// A token that is refused is asked for anew next time; whether that may help, since this one was not new.
    fn note(&self, status: StatusCode) -> bool {
        let refused = self.lent.as_ref().filter(|_| status == StatusCode::UNAUTHORIZED);
        refused.inspect(|lent| lent.forget()).is_some_and(|lent| lent.kept)
    }

    async fn request(
        mut self,
        method: Method,
        url: String,
        content_type: &str,
        body: String,
    ) -> Result<(Response, Vec<String>), DeliveryOutcome> {
        let request = self.open(method, &url).map_err(|(retry, reason)| failed(retry, reason))?;
        let request = request.headers(std::mem::take(&mut self.headers)).header(CONTENT_TYPE, content_type).body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok((response, self.secrets)),
            Ok(response) => {
                let outworn = self.note(response.status());
                Err(judge(response, outworn, &self.secrets).await)
            }
            // A URL or body that cannot be sent will not become better by itself.
            Err(error) => {
                Err(failed(!error.is_builder(), secrets::redact(&cause(&error.without_url()), &self.secrets)))
            }
        }
    }
}

/// The name of a group towards services that know groups by a name: what Alertmanager calls it, so that an incident that one
/// of the two has opened is closed by the other.
pub(super) fn group_id(group_key: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, group_key.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body of a form.
pub(super) fn form_text(form: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = form.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}

/// A text as one part of a URL's path. Dots alone would be a way up.
pub(super) fn escaped_segment(text: &str) -> String {
    if text.chars().all(|char| char == '.') { text.replace('.', "%2E") } else { escaped(text) }
}

/// A text in a form (<https://url.spec.whatwg.org/#urlencoded-serializing>).
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"*-._".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What a receiver said with a status of success, without secrets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) json: bool,
    pub(super) text: String,
}

/// What became of bytes that were posted.
#[derive(Debug)]
pub(crate) enum Raw {
    Success,
    Status {
        status: u16,
        /// Whether a token was refused that had been kept; the next request has another one.
        outworn: bool,
        retry_after: Option<Span>,
        reason: String,
    },
    /// There was no request: a file of certificates is damaged, or the URL is none.
    Unsent {
        reason: String,
    },
    /// There was no answer.
    Broken {
        timed_out: bool,
        reason: String,
    },
}

/// The first bytes of an answer.
async fn beginning(mut response: Response, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= most {
            break;
        }
    }
    bytes.truncate(most);
    bytes
}

/// What a status other than success means.
async fn judge(response: Response, outworn: bool, secrets: &[String]) -> DeliveryOutcome {
    let (status, retry_after) = (response.status(), retry_after(&response));
    DeliveryOutcome::Failed {
        retry: outworn || status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
        reason: reason(response, secrets).await,
        retry_after,
    }
}

/// How long we are asked to wait.
fn retry_after(response: &Response) -> Option<Span> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse::<u32>().ok()?;
    Some(Span::from_seconds(i64::from(seconds)))
}

/// What a status other than success says, without secrets.
async fn reason(response: Response, secrets: &[String]) -> String {
    let status = response.status();
    let answer = beginning(response, MAX_ANSWER_BYTES).await;
    let answer = secrets::redact(&String::from_utf8_lossy(&answer), secrets);
    let excerpt: String =
        answer.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_ANSWER_CHARS).collect();
    let refused_redirect = if status.is_redirection() { ", a redirect that is not followed" } else { "" };
    let colon = if excerpt.is_empty() { "" } else { ": " };
    format!("status {status}{refused_redirect}{colon}{excerpt}")
}

/// What follows the host may be a token (`/hooks/T0/B0/x`); the host itself is worth reading in a reason.
fn path_of(url: &str) -> Option<String> {
    let (_, path) = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'))?;
    Some(path.to_owned())
}

/// The innermost reason of an error says most: `connection refused` rather than `error sending request`.
fn cause(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_encodes_the_vectors_of_rfc_4648() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (text, encoded) in vectors {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
