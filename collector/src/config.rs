//! `collector.toml`: its keys, and what they say once they are read.
//!
//! A text of the file names addresses, durations and paths; [`Settings`] holds what they mean. Nothing here opens a socket
//! or one of the files that it names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use watchfire_collector_core::catalogue::Policy;
use watchfire_collector_core::export;
use watchfire_collector_core::export::config::Remote;
use watchfire_collector_core::forward;
use watchfire_collector_core::forward::config::Alertmanager;
use watchfire_promql::Syntax;
use watchfire_shared::config::{ConfigKey, ConfigKind};
use watchfire_shared::document::Node;
use watchfire_shared::member::{SERVICE_HTTP, SERVICE_INGEST};
use watchfire_shared::time::Span;
use watchfire_shell::bind;
use watchfire_shell::config::common::{self, Gossip, Log, Security, key};
use watchfire_shell::config::node::{NodeError, check_node};
use watchfire_shell::config::{ConfigError, Loaded, Program, load, optional};
use watchfire_shell::tls;

const DAY: i64 = 86_400;

/// Every key of `collector.toml`.
pub const KEYS: &[ConfigKey] = &[
    key("node.name", ConfigKind::Text, "\"\"", "Name of this collector in the cluster. Default: the host name."),
    key(
        "node.data_dir",
        ConfigKind::Path,
        "\"/var/lib/watchfire-collector\"",
        "Folder for identity, samples, alerts and the outbox. One process uses it at a time.",
    ),
    key("node.labels", ConfigKind::Labels, "{}", "Labels that others see of this node."),
    key(
        "gossip.cluster",
        ConfigKind::Text,
        "\"watchfire\"",
        "Name of the cluster. Packets and agents of another one are refused.",
    ),
    common::GOSSIP_BIND,
    common::GOSSIP_ADVERTISE,
    common::GOSSIP_JOIN,
    common::GOSSIP_PROFILE,
    common::GOSSIP_KEYRING_FILE,
    common::GOSSIP_POOLS,
    key("http.bind", ConfigKind::Address, "\"127.0.0.1:7960\"", "Where the API, the UI and queries are served."),
    key(
        "http.external_url",
        ConfigKind::Text,
        "\"\"",
        "The URL under which people reach this collector, for links in notifications. Default: http:// and the bound address.",
    ),
    key("ingest.bind", ConfigKind::Address, "\"127.0.0.1:7961\"", "Where agents send their samples."),
    key(
        "ingest.advertise",
        ConfigKind::Address,
        "\"\"",
        "Where agents reach ingest. Default: the bound address; for 0.0.0.0 that of gossip, or of the default route.",
    ),
    key(
        "ingest.tls.cert_file",
        ConfigKind::Path,
        "\"\"",
        "This collector's certificate, in PEM with what leads to its authority. It makes ingest speak TLS 1.3 only, and lets it listen to a network; empty: plaintext. It need not exist yet when it is checked. A reload reads the files again.",
    ),
    key(
        "ingest.tls.key_file",
        ConfigKind::Path,
        "\"\"",
        "The key of that certificate, in PEM. A file that everybody can read is refused.",
    ),
    key(
        "ingest.tls.client_ca_file",
        ConfigKind::Path,
        "\"\"",
        "Certificates, in PEM, of those who sign agents' certificates: only agents that show one may send. Empty: any agent may.",
    ),
    key(
        "storage.retention",
        ConfigKind::Duration { min: Span::from_seconds(3600), max: Span::from_seconds(3650 * DAY) },
        "\"15d\"",
        "How long samples are kept. Memory does not follow it, disk does: about a byte a sample.",
    ),
    key(
        "storage.out_of_order_window",
        ConfigKind::Duration { min: Span::ZERO, max: Span::from_seconds(7 * DAY) },
        "\"30m\"",
        "How far a pushed sample (`/api/v1/write`) may be behind its series' newest one and is stored still; 0s: not at all, as with Prometheus unless it is told otherwise.",
    ),
    key(
        "storage.max_bytes",
        ConfigKind::Integer { min: 64 << 20, max: 1 << 50 },
        "1073741824",
        "How much disk samples may take, log and blocks together, bytes; the oldest go first, though younger than `retention`.",
    ),
    key(
        "storage.max_series",
        ConfigKind::Integer { min: 1000, max: 100_000_000 },
        "1000000",
        "How many series are kept in memory: those of the last hours. One costs about 1 KiB.",
    ),
    key(
        "rules.files",
        ConfigKind::Globs,
        "[\"/etc/watchfire/rules.d/*.yml\"]",
        "Prometheus rule files. A pattern may match nothing, a file named in words must exist.",
    ),
    key(
        "rules.interval",
        ConfigKind::Duration { min: Span::from_seconds(1), max: Span::from_seconds(DAY) },
        "\"15s\"",
        "How often rule groups without an interval of their own are evaluated.",
    ),
    key(
        "rules.external_labels",
        ConfigKind::Labels,
        "{}",
        "Labels of every alert that leaves this collector, and of every sample of /federate and of remote write, unless they have such a label.",
    ),
    key(
        "query.features",
        ConfigKind::TextList,
        "[]",
        "Experimental PromQL in queries and rules: promql-experimental-functions, promql-duration-expr, promql-binop-fill-modifiers.",
    ),
    key(
        "query.max_samples",
        ConfigKind::Integer { min: 10_000, max: 1_000_000_000 },
        "50000000",
        "Samples that one query may hold, up to 16 bytes each; a series counts for each step of a range.",
    ),
    key(
        "notify.file",
        ConfigKind::Path,
        "\"/etc/watchfire/alertmanager.yml\"",
        "Routes and receivers, as Alertmanager reads them. The default file may be absent: then nobody is notified.",
    ),
    key(
        "nodes.expected_back",
        ConfigKind::Duration { min: Span::from_seconds(1), max: Span::from_seconds(30 * DAY) },
        "\"15m\"",
        "How long a node that was stopped in good order is simply expected back, without an alert or a dip of up.",
    ),
    key(
        "nodes.shared_labels",
        ConfigKind::TextList,
        "[\"region\", \"datacenter\", \"zone\", \"rack\"]",
        "Labels whose values name what nodes share and lose together, the widest first: many deaths at once are then one alert.",
    ),
    key(
        "nodes.group_label",
        ConfigKind::Text,
        "\"role\"",
        "The label that says to which group a node labelled ephemeral = \"true\" belongs.",
    ),
    key(
        "nodes.group_minimum",
        ConfigKind::Labels,
        "{}",
        "How many ephemeral nodes a group should have at least, such as { web = \"3\" }; fewer are an alert.",
    ),
    key(
        "nodes.history_retention",
        ConfigKind::Duration { min: Span::from_seconds(DAY), max: Span::from_seconds(3650 * DAY) },
        "\"400d\"",
        "How long the history of nodes' states is kept, for availability.",
    ),
    key(
        "inventory.files",
        ConfigKind::Globs,
        "[]",
        "Files that name the nodes that should exist, as http_sd JSON or one name a line. Read at start and at reload; one that is not there is an alert.",
    ),
    key(
        "remediation.files",
        ConfigKind::Globs,
        "[\"/etc/watchfire/remediations.d/*.yml\"]",
        "Which alerts order which actions on nodes. A pattern may match nothing, a file named in words must exist.",
    ),
    key(
        "series.instance",
        ConfigKind::Text,
        "\"{name}\"",
        "The label instance of a node's series; {name}, {id}, {cluster} and {labels.NAME} are filled in.",
    ),
    key("series.job", ConfigKind::Text, "\"node\"", "The label job of a node's series, filled in like instance."),
    key(
        "series.node_labels",
        ConfigKind::TextList,
        "[]",
        "Which labels of a node go on all its series; the others stand on watchfire_node_info only.",
    ),
    key(
        "remote_write",
        ConfigKind::Tables(export::config::check),
        export::config::EXAMPLE,
        "Engines that everything is copied to by Prometheus remote write, any number. Needed: url. Then the defaults; besides, \
         basic_auth, authorization, bearer_token_file, tls_config, proxy_url and http_headers as in Prometheus. A series is \
         sent if it satisfies a selector of match (all are, without any), gets labels and rules.external_labels where it has \
         none of that name, and then goes through write_relabel_configs, which are Prometheus'.",
    ),
    key(
        "alertmanager",
        ConfigKind::Tables(forward::config::check),
        forward::config::EXAMPLE,
        "Alertmanagers that are told of the alerts of the rules as Prometheus tells them, any number, beside whom notify.file \
         names. Needed: url. Then the defaults; besides, basic_auth, authorization, bearer_token_file, tls_config, proxy_url \
         and http_headers as in Prometheus.",
    ),
    common::SECURITY_INSECURE,
    common::LOG_LEVEL,
    common::LOG_FORMAT,
];

/// The default of `notify.file`: absent, it means that nobody is notified.
const DEFAULT_NOTIFY_FILE: &str = "/etc/watchfire/alertmanager.yml";

/// What the file says.
#[derive(Deserialize, Clone, PartialEq, Debug)]
struct Raw {
    node: RawNode,
    gossip: Gossip,
    http: RawHttp,
    ingest: RawIngest,
    storage: Storage,
    rules: Rules,
    query: RawQuery,
    notify: RawNotify,
    nodes: RawNodes,
    inventory: Inventory,
    remediation: RawRemediation,
    series: Series,
    security: Security,
    log: Log,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawNode {
    name: String,
    data_dir: PathBuf,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawHttp {
    bind: SocketAddr,
    external_url: String,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawIngest {
    bind: SocketAddr,
    #[serde(deserialize_with = "optional")]
    advertise: Option<SocketAddr>,
    tls: tls::RawServer,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawNotify {
    file: PathBuf,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawRemediation {
    files: Vec<String>,
}

/// How much is kept, and how long.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub struct Storage {
    pub retention: Span,
    /// How far behind its series' newest one a pushed sample may be.
    pub out_of_order_window: Span,
    /// Bytes of the log.
    pub max_bytes: u64,
    pub max_series: usize,
}

/// Which rules, and how often.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub struct Rules {
    /// Paths and patterns, not yet expanded.
    pub files: Vec<String>,
    pub interval: Span,
    pub external_labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawQuery {
    features: Vec<String>,
    max_samples: usize,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawNodes {
    expected_back: Span,
    shared_labels: Vec<String>,
    group_label: String,
    group_minimum: BTreeMap<String, String>,
    history_retention: Span,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct Inventory {
    files: Vec<String>,
}

/// What the collector adds to the series of a node.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub struct Series {
    pub instance: String,
    pub job: String,
    pub node_labels: Vec<String>,
}

/// The configuration of a collector, resolved.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub name: String,
    pub data_dir: PathBuf,
    pub labels: BTreeMap<String, String>,
    pub gossip: watchfire_shell::gossip::Settings,
    pub http_bind: SocketAddr,
    pub external_url: Option<String>,
    pub ingest_bind: SocketAddr,
    pub ingest_advertise: Option<SocketAddr>,
    /// How ingest speaks TLS; `None` is plaintext.
    pub ingest_tls: Option<tls::ServerFiles>,
    pub storage: Storage,
    pub rules: Rules,
    /// What queries and rules may use beyond the stable language.
    pub syntax: Syntax,
    /// Samples that one query may hold.
    pub max_samples: usize,
    /// `None` if the default file does not exist.
    pub notify_file: Option<PathBuf>,
    /// What is expected of nodes; the inventory is not read yet.
    pub nodes: Policy,
    /// Paths and patterns of inventory files, not yet expanded.
    pub inventory_files: Vec<String>,
    /// Paths and patterns, not yet expanded.
    pub remediation_files: Vec<String>,
    pub series: Series,
    /// Whom everything is copied to.
    pub remotes: Vec<Remote>,
    /// Who else is told of alerts.
    pub alertmanagers: Vec<Alertmanager>,
    pub log: Log,
    /// The files that all this was read from.
    pub files: Vec<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    NotLoopback(#[from] bind::NotLoopback),
    #[error(transparent)]
    Tls(#[from] tls::SectionError),
    #[error(transparent)]
    Pools(#[from] common::PoolError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("nodes.group_minimum: expected a number of nodes for {group}, found {found:?}")]
    GroupMinimum { group: String, found: String },
    #[error("query.features: there is no feature {found:?}, did you mean {nearest:?}?")]
    Feature { found: String, nearest: &'static str },
    /// What is wrong between the entries of `remote_write` or of `alertmanager`, one per line.
    #[error("{}", .0.join("\n"))]
    Tables(Vec<String>),
}

/// Reads the configuration from `config` (or the default file), the folder beside it, the environment and the flags.
///
/// # Errors
/// Everything that is wrong, at once; an address that must not be bound.
pub fn read(config: Option<&Path>, overrides: Vec<(String, String)>) -> Result<Settings, SettingsError> {
    let program = Program { name: "collector", keys: KEYS, strict: true };
    resolve(load(&program, config, overrides)?)
}

fn resolve(loaded: Loaded<Raw>) -> Result<Settings, SettingsError> {
    let raw = loaded.value;
    let entries = |key: &str| -> Vec<(String, Node)> {
        let own = loaded.tables.iter().filter(|table| table.key == key);
        own.map(|table| (table.file.clone(), table.node.clone())).collect()
    };
    let remotes = export::config::read_all(&entries("remote_write"), &raw.rules.external_labels);
    let remotes = remotes.map_err(SettingsError::Tables)?;
    let alertmanagers = forward::config::read_all(&entries("alertmanager")).map_err(SettingsError::Tables)?;
    let ingest_tls = raw.ingest.tls.clone().resolve()?;
    let plain_ingest = ingest_tls.is_none().then_some(("ingest.bind", raw.ingest.bind));
    let plain = raw.gossip.plain_bind().into_iter().chain([("http.bind", raw.http.bind)]).chain(plain_ingest);
    let plain: Vec<_> = plain.collect();
    bind::check(&plain, raw.security.insecure)?;
    raw.gossip.check_pools()?;
    let name = check_node(raw.node.name, &raw.node.labels, &[SERVICE_INGEST, SERVICE_HTTP])?;
    let mut gossip: watchfire_shell::gossip::Settings = raw.gossip.into();
    for pool in &mut gossip.pools {
        let own = pool.advertise.unwrap_or(pool.bind);
        pool.ingest_advertise = pool.ingest_advertise.or_else(|| in_segment(own, &raw.ingest));
    }
    let own = gossip.advertise.unwrap_or(gossip.bind);
    let ingest_advertise = raw.ingest.advertise.or_else(|| in_segment(own, &raw.ingest));
    let default_notify = raw.notify.file == Path::new(DEFAULT_NOTIFY_FILE);
    Ok(Settings {
        name,
        data_dir: raw.node.data_dir,
        labels: raw.node.labels,
        gossip,
        http_bind: raw.http.bind,
        external_url: (!raw.http.external_url.is_empty()).then_some(raw.http.external_url),
        ingest_bind: raw.ingest.bind,
        ingest_advertise,
        ingest_tls,
        storage: raw.storage,
        rules: raw.rules,
        syntax: syntax(&raw.query.features)?,
        max_samples: raw.query.max_samples,
        notify_file: (!default_notify || raw.notify.file.exists()).then_some(raw.notify.file),
        nodes: policy(raw.nodes)?,
        inventory_files: raw.inventory.files,
        remediation_files: raw.remediation.files,
        series: raw.series,
        remotes,
        alertmanagers,
        log: raw.log,
        files: loaded.files,
    })
}

fn syntax(features: &[String]) -> Result<Syntax, SettingsError> {
    Syntax::with_features(features.iter().map(String::as_str)).map_err(|found| {
        let nearest = Syntax::FEATURES.iter().map(|name| (strsim::jaro_winkler(found, name), name));
        let nearest = nearest.max_by(|left, right| left.0.total_cmp(&right.0)).map_or("", |(_, name)| name);
        SettingsError::Feature { found: found.to_owned(), nearest }
    })
}

/// Where agents reach an ingest that listens on every address: where they reach gossip, if that is one address.
fn in_segment(gossip: SocketAddr, ingest: &RawIngest) -> Option<SocketAddr> {
    let everywhere = ingest.bind.ip().is_unspecified() && ingest.advertise.is_none() && ingest.bind.port() != 0;
    let ip = gossip.ip().to_canonical();
    (everywhere && !ip.is_unspecified() && !ip.is_loopback()).then(|| SocketAddr::new(ip, ingest.bind.port()))
}

fn policy(raw: RawNodes) -> Result<Policy, SettingsError> {
    let number = |(group, text): (String, String)| match text.parse() {
        Ok(minimum) => Ok((group, minimum)),
        Err(_) => Err(SettingsError::GroupMinimum { group, found: text }),
    };
    Ok(Policy {
        expected_back: raw.expected_back,
        shared_labels: raw.shared_labels,
        group_label: raw.group_label,
        group_minimum: raw.group_minimum.into_iter().map(number).collect::<Result<_, _>>()?,
        inventory: Vec::new(),
        history_retention: raw.history_retention,
    })
}

#[cfg(test)]
mod tests;
