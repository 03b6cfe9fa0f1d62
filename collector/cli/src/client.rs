//! The HTTP client: finds whom to ask, asks, and says plainly what went wrong.

use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;

use crate::Failure;

/// The collector's address by default, then the local agent's.
const DEFAULT_ADDRESSES: [&str; 2] = ["http://127.0.0.1:7960", "http://127.0.0.1:7951"];
/// A healthy answer takes milliseconds; a person waits no longer than this for a dead one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom to ask.
#[derive(Args)]
pub(crate) struct ClientArguments {
    /// Address of a collector or an agent [default: the collector on this machine, else the agent]
    #[arg(long, env = "WATCHFIRE_ADDR", global = true)]
    addr: Option<String>,
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
            Some(addr) => vec![format!("http://{addr}")],
            None => DEFAULT_ADDRESSES.map(str::to_owned).to_vec(),
        };
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(anyhow::Error::from)?;
        Ok(Self { http, addresses })
    }

    /// Asks for a path at the first address that answers.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let mut unreachable = Vec::new();
        for address in &self.addresses {
            match self.http.get(format!("{address}{path}")).send().await {
                Ok(response) if response.status().is_success() => {
                    return Ok(response.json().await.map_err(anyhow::Error::from)?);
                }
                Ok(response) => return Err(refused(address, response).await),
                Err(error) if error.is_connect() || error.is_timeout() => {
                    unreachable.push(format!("{address} ({})", cause(&error)));
                }
                Err(error) => return Err(Failure::Other(error.into())),
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

async fn refused(address: &str, response: reqwest::Response) -> Failure {
    let status = response.status();
    let body: serde_json::Value = response.json().await.unwrap_or_default();
    let detail = ["detail", "title", "error"].iter().find_map(|key| body.get(key).and_then(serde_json::Value::as_str));
    Failure::Refused(format!("{address} answered {status}{}", detail.map(|d| format!(": {d}")).unwrap_or_default()))
}
