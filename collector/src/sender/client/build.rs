//! `http_config` as a client: TLS, proxies, redirects.
//!
//! Another server name than the host's (`tls_config.server_name`) is asked for as Go does, in the handshake and in the
//! certificate: the connection is made to that name, whose addresses are the host's, while the request names the host.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, Identity, NoProxy, Url, tls};
use watchfire_collector_core::alertmanager::Secret;
use watchfire_collector_core::alertmanager::http::{Proxy, TlsVersion};

use super::{USER_AGENT, cause, sensitive};

/// Redirects followed, as in Go.
const MAX_REDIRECTS: usize = 10;
/// How long a connection may take to be made, within the time of the attempt.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// What a client is made from.
#[derive(Clone, PartialEq)]
pub(super) struct Recipe {
    pub(super) follow_redirects: bool,
    /// Whether requests carry something that only their receiver may see.
    pub(super) credentials: bool,
    pub(super) proxy: Proxy,
    pub(super) ca: Option<String>,
    pub(super) certificate: Option<(String, String)>,
    pub(super) insecure: bool,
    pub(super) versions: (TlsVersion, TlsVersion),
    pub(super) server_name: Option<String>,
    /// The host whose addresses `server_name` has.
    pub(super) host: Option<String>,
}

impl Recipe {
    /// The URL to connect to, and the host to name in the request if that is another one.
    ///
    /// # Errors
    /// If it is no URL.
    pub(super) fn aim(&mut self, url: &str) -> Result<(Url, Option<String>), String> {
        let mut url = Url::parse(url).map_err(|error| format!("the URL cannot be used: {error}"))?;
        let (Some(name), "https", Some(host)) = (&self.server_name, url.scheme(), url.host_str()) else {
            return Ok((url, None));
        };
        let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = host.trim_matches(['[', ']']).to_owned();
        let refused = || format!("tls_config.server_name: {name:?} is no name of a host");
        url.set_host(Some(name)).map_err(|_| refused())?;
        // An address would be connected to. As it stands in the URL now, the resolver will be asked for it.
        self.server_name = Some(url.domain().ok_or_else(refused)?.to_owned());
        self.host = Some(host);
        Ok((url, Some(named)))
    }
}

pub(super) fn build(recipe: &Recipe) -> Result<Client, String> {
    let told = |what: &'static str| move |error: reqwest::Error| format!("{what}: {}", cause(&error.without_url()));
    let (least, most) = recipe.versions;
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIME)
        // It would tell the next host the URL, and with it a token that may stand there.
        .referer(false)
        .redirect(policy(recipe))
        .tls_danger_accept_invalid_certs(recipe.insecure)
        .tls_version_min(version(least))
        .tls_version_max(version(most));
    if let (Some(name), Some(host)) = (&recipe.server_name, &recipe.host) {
        builder = builder.dns_resolver(Renamed { name: name.clone(), host: host.clone() });
    }
    builder = match &recipe.proxy {
        Proxy::Direct => builder.no_proxy(),
        Proxy::Environment => builder,
        Proxy::Through { url, except, headers } => {
            let mut proxy = reqwest::Proxy::all(url.expose()).map_err(told("proxy_url"))?;
            proxy = proxy.no_proxy(except.as_deref().and_then(NoProxy::from_string));
            if !headers.is_empty() {
                proxy = proxy.headers(proxy_headers(headers)?);
            }
            builder.proxy(proxy)
        }
    };
    if let Some(ca) = &recipe.ca {
        let certificates = Certificate::from_pem_bundle(ca.as_bytes()).map_err(told("tls_config.ca"))?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some((certificate, key)) = &recipe.certificate {
        let pem = format!("{key}\n{certificate}\n");
        builder = builder.identity(Identity::from_pem(pem.as_bytes()).map_err(told("tls_config.cert and key"))?);
    }
    builder.build().map_err(told("http_config"))
}

fn version(version: TlsVersion) -> tls::Version {
    match version {
        TlsVersion::Tls12 => tls::Version::TLS_1_2,
        TlsVersion::Tls13 => tls::Version::TLS_1_3,
    }
}

/// Gives a name the addresses of a host.
struct Renamed {
    name: String,
    host: String,
}

impl Resolve for Renamed {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str().eq_ignore_ascii_case(&self.name) { &self.host } else { name.as_str() }.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

fn proxy_headers(headers: &BTreeMap<String, Vec<Secret>>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, values) in headers {
        let header = HeaderName::try_from(name).map_err(|_| format!("proxy_connect_header: {name:?} is no header"))?;
        for value in values {
            map.append(header.clone(), sensitive("proxy_connect_header", value.expose())?);
        }
    }
    Ok(map)
}

fn policy(recipe: &Recipe) -> Policy {
    // A request that names its host by a header must not take it elsewhere.
    let (credentials, renamed) = (recipe.credentials, recipe.host.is_some());
    match recipe.follow_redirects {
        false => Policy::none(),
        true => Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error("more than 10 redirects");
            }
            if leaves(&attempt, credentials, renamed) { attempt.stop() } else { attempt.follow() }
        }),
    }
}

/// Whether a redirect would carry credentials away from the host that they are for.
fn leaves(attempt: &Attempt<'_>, credentials: bool, renamed: bool) -> bool {
    let Some(first) = attempt.previous().first() else { return false };
    let next = attempt.url();
    let secret = credentials || renamed || !first.username().is_empty() || first.password().is_some();
    let elsewhere =
        first.host_str() != next.host_str() || first.port_or_known_default() != next.port_or_known_default();
    let downgraded = first.scheme() == "https" && next.scheme() != "https";
    secret && (elsewhere || downgraded)
}
