//! The HTTP client: finds whom to ask, asks, and says plainly what went wrong.

use std::time::Duration;

use clap::Args;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::Failure;

/// The collector's address by default, then the local agent's.
const DEFAULT_ADDRESSES: [&str; 2] = ["http://127.0.0.1:7960", "http://127.0.0.1:7951"];
/// Where a collector answers, for an address that names no port.
const DEFAULT_PORT: u16 = 7960;
/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A healthy answer takes milliseconds; a person waits no longer than this for a dead one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A query may take the server two minutes; ours gives up after it did.
const QUERY_TIMEOUT: Duration = Duration::from_secs(130);
/// A blocking query waits half a minute for a change.
const WAIT: &str = "30s";
/// How long the answer of a blocking query may take.
const WAIT_TIMEOUT: Duration = Duration::from_secs(45);

/// Whom to ask.
#[derive(Args, Default)]
pub(crate) struct ClientArguments {
    /// Address of a collector or an agent [default: the collector on this machine, else the agent]
    #[arg(long, env = "WATCHFIRE_ADDR", global = true)]
    addr: Option<String>,
}

impl ClientArguments {
    /// As if this address had been given.
    pub(crate) fn of(addr: &str) -> Self {
        Self { addr: Some(addr.to_owned()) }
    }

    /// Whether an address was given.
    pub(crate) fn is_given(&self) -> bool {
        self.addr.is_some()
    }
}

/// A client and the addresses that it tries in turn.
pub(crate) struct Client {
    http: reqwest::Client,
    addresses: Vec<String>,
}

impl Client {
    pub(crate) fn new(arguments: &ClientArguments) -> Result<Self, Failure> {
        let addresses = match &arguments.addr {
            Some(addr) if addr.contains("://") => vec![addr.trim_end_matches('/').to_owned()],
            Some(addr) if has_port(addr) => vec![format!("http://{addr}")],
            Some(addr) if addr.contains(':') && !addr.starts_with('[') => {
                vec![format!("http://[{addr}]:{DEFAULT_PORT}")]
            }
            Some(addr) => vec![format!("http://{addr}:{DEFAULT_PORT}")],
            None => DEFAULT_ADDRESSES.map(str::to_owned).to_vec(),
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(anyhow::Error::from)?;
        Ok(Self { http, addresses })
    }

    /// The same client for one other address.
    pub(crate) fn at(&self, address: String) -> Self {
        Self { http: self.http.clone(), addresses: vec![address] }
    }

    /// One for the address that is tried first, and one for the agent on this machine.
    pub(crate) fn first_and_local(&self) -> [Self; 2] {
        let [_, local] = DEFAULT_ADDRESSES;
        [self.at(self.address().to_owned()), self.at(local.to_owned())]
    }

    /// The address that is tried first.
    pub(crate) fn address(&self) -> &str {
        self.addresses.first().map(String::as_str).unwrap_or_default()
    }

    /// Asks for a path whose answer is plain text.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let response = self.send(Method::GET, path, |request| request.timeout(TIMEOUT)).await?;
        response.text().await.map_err(|error| Failure::Other(error.into()))
    }

    /// Asks for a path at the first address that answers.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::GET, path, |request| request.timeout(TIMEOUT)).await
    }

    /// Asks for every page of a list and puts them together.
    pub(crate) async fn get_list(&self, path: &str) -> Result<Value, Failure> {
        let mut list = self.get(path).await?;
        while let Some(cursor) = list["next_cursor"].as_str().map(encode) {
            let sign = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{sign}cursor={cursor}")).await?;
            let more = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            if let Some(items) = list["items"].as_array_mut() {
                items.extend(more);
            }
            list["next_cursor"] = page["next_cursor"].take();
        }
        Ok(list)
    }

    /// Asks for a path and waits there until its index is later than `index`, or for half a minute.
    pub(crate) async fn wait(&self, path: &str, index: &str) -> Result<Value, Failure> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{sign}index={}&wait={WAIT}", encode(index));
        self.json(Method::GET, &path, |request| request.timeout(WAIT_TIMEOUT)).await
    }

    /// Sends a form, as queries do.
    pub(crate) async fn post_form(&self, path: &str, pairs: &[(&str, String)]) -> Result<Value, Failure> {
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let body = pairs.join("&");
        let form = |request: RequestBuilder| {
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            request.body(body.clone()).timeout(QUERY_TIMEOUT)
        };
        self.json(Method::POST, path, form).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::POST, path, |request| request.json(body).timeout(TIMEOUT)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::DELETE, path, |request| request.timeout(TIMEOUT)).await
    }

    /// Opens a stream of events, behind the event with the given id.
    pub(crate) async fn events(&self, path: &str, last_id: Option<&str>) -> Result<Response, Failure> {
        let request = |request: RequestBuilder| match last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        self.send(Method::GET, path, request).await
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Value, Failure> {
        let response = self.send(method, path, complete).await?;
        let bytes = response.bytes().await.map_err(anyhow::Error::from)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| Failure::Refused(format!("the answer to {path} is not JSON")))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let mut unreachable = Vec::new();
        for address in &self.addresses {
            let request = complete(self.http.request(method.clone(), format!("{address}{path}")));
            match request.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                // An agent names the collector that knows more. From there it goes no further.
                Ok(response) if response.status() == StatusCode::TEMPORARY_REDIRECT && method == Method::GET => {
                    let location = response.headers().get("location").and_then(|location| location.to_str().ok());
                    let Some(location) = location.map(str::to_owned) else {
                        return Err(refused(address, response).await);
                    };
                    return match complete(self.http.get(&location)).send().await {
                        Ok(response) if response.status().is_success() => Ok(response),
                        Ok(response) => Err(refused(&location, response).await),
                        Err(error) => Err(Failure::Unreachable(format!(
                            "{address} names {location}, where nobody answers ({})",
                            cause(&error)
                        ))),
                    };
                }
                Ok(response) => return Err(refused(address, response).await),
                Err(error) if error.is_builder() => {
                    return Err(Failure::Usage(format!("{address:?} is no address: {}", cause(&error))));
                }
                Err(error) => unreachable.push(format!("{address} ({})", cause(&error))),
            }
        }
        Err(Failure::Unreachable(format!(
            "nobody answers at {}; name a collector or an agent with --addr or WATCHFIRE_ADDR",
            unreachable.join(" nor at ")
        )))
    }
}

/// The innermost reason, without the layers that repeat the address.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

/// What an answer that is no success says, in the words of whichever of the three APIs gave it.
async fn refused(address: &str, response: Response) -> Failure {
    let status = response.status();
    let body: Value = match response.bytes().await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    let named = ["detail", "error", "message", "title"].iter().find_map(|key| body.get(key).and_then(Value::as_str));
    let detail = named.or(body.as_str()).unwrap_or_default();
    // An agent knows members and nothing more.
    let hint = if status == StatusCode::NOT_FOUND && detail.starts_with("there is nothing at ") {
        "; this command needs a collector, name one with --addr or WATCHFIRE_ADDR"
    } else {
        ""
    };
    let colon = if detail.is_empty() { "" } else { ": " };
    let text = crate::output::plain(&format!("{address} answered {status}{colon}{detail}{hint}"));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unauthorised(text),
        StatusCode::GONE => Failure::Gone(text),
        StatusCode::BAD_REQUEST => Failure::Invalid(text),
        _ if body["code"] == "blocked" => Failure::Blocked(text),
        _ => Failure::Refused(text),
    }
}

/// Whether `host:port` has its port; a bare IPv6 address has none.
fn has_port(addr: &str) -> bool {
    match addr.rsplit_once(':') {
        Some((host, port)) => port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')),
        None => false,
    }
}

/// A text as part of a URL's query, of a path, or of a form (RFC 3986, section 2.1).
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{encode, has_port};

    #[test]
    fn texts_survive_in_urls() {
        assert_eq!(encode("a=\"b c\"&ü/~"), "a%3D%22b%20c%22%26%C3%BC%2F~");
    }

    #[test]
    fn an_address_without_a_port_is_a_collectors() {
        for with in ["localhost:80", "10.0.0.1:7951", "[::1]:7960"] {
            assert!(has_port(with), "{with}");
        }
        for without in ["localhost", "10.0.0.1", "::1", "[::1]", "watch.example.org", "watch:http"] {
            assert!(!has_port(without), "{without}");
        }
    }
}
