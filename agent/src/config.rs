//! `agent.toml`: its keys, and what they say once they are read.
//!
//! A running agent starts in spite of keys that nobody knows and shows how many there are: a fleet must not go dark over
//! a misspelt line. `check-config` is strict.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use watchfire_agent_core::agent::Settings as CoreSettings;
use watchfire_shared::config::{ConfigKey, ConfigKind};
use watchfire_shared::member::SERVICE_HTTP;
use watchfire_shared::time::Span;
use watchfire_shell::arguments::Origin;
use watchfire_shell::bind;
use watchfire_shell::config::common::{self, Gossip, Log, Security, key};
use watchfire_shell::config::node::{NodeError, check_node};
use watchfire_shell::config::{ConfigError, Loaded as LoadedRaw, Program, load, optional};
use watchfire_shell::tls;

use crate::action::{self, KeySource, Source, Trust};

/// Every key of `agent.toml`.
pub const KEYS: &[ConfigKey] = &[
    key("node.name", ConfigKind::Text, "\"\"", "Name of this node in the cluster. Default: the host name."),
    key(
        "node.labels",
        ConfigKind::Labels,
        "{}",
        "Labels of this node, such as { role = \"web\", zone = \"eu-1a\" }. A reload changes them.",
    ),
    key(
        "node.data_dir",
        ConfigKind::Path,
        "\"/var/lib/watchfire-agent\"",
        "Folder for identity, known peers and the spool. One process uses it at a time.",
    ),
    key(
        "gossip.cluster",
        ConfigKind::Text,
        "\"watchfire\"",
        "Name of the cluster. Packets of another one are dropped, and its collectors refuse this agent.",
    ),
    common::GOSSIP_ENABLED,
    common::GOSSIP_BIND,
    common::GOSSIP_ADVERTISE,
    common::GOSSIP_JOIN,
    common::GOSSIP_PROFILE,
    common::GOSSIP_KEYRING_FILE,
    key(
        "collect.interval",
        ConfigKind::Duration { min: Span::from_millis(100), max: Span::from_seconds(3600) },
        "\"10s\"",
        "How often the host is sampled. A reload changes it.",
    ),
    key(
        "uplink.collectors",
        ConfigKind::HostPorts,
        "[]",
        "Where collectors take samples, at most three; each gets everything. Empty: those that gossip finds.",
    ),
    key(
        "uplink.tls.ca_file",
        ConfigKind::Path,
        "\"\"",
        "Certificates, in PEM, of those who sign collectors' certificates. It makes the uplink speak TLS 1.3; empty: plaintext. A reload reads the files again.",
    ),
    key(
        "uplink.tls.cert_file",
        ConfigKind::Path,
        "\"\"",
        "This agent's own certificate, in PEM with what leads to its authority; for collectors that ask for one. It need not exist yet.",
    ),
    key(
        "uplink.tls.key_file",
        ConfigKind::Path,
        "\"\"",
        "The key of that certificate, in PEM. A file that everybody can read is refused. It need not exist yet.",
    ),
    key(
        "uplink.tls.server_name",
        ConfigKind::Text,
        "\"\"",
        "The name that collectors' certificates have. Default: the host of the address; for collectors from gossip, their IP address.",
    ),
    key(
        "spool.max_bytes",
        ConfigKind::Integer { min: 1 << 20, max: 1 << 40 },
        "67108864",
        "How much may wait on disk for collectors that are away, bytes; the oldest goes first. 64 MiB last some 10 days.",
    ),
    key(
        "actions.dir",
        ConfigKind::Path,
        "\"/etc/watchfire/actions.d\"",
        "Folder with the actions that collectors may order, *.toml. Files that others than root could write are refused. A reload reads them again.",
    ),
    key(
        "actions.collector_key",
        ConfigKind::Text,
        "\"\"",
        "Public key of the collector whose orders are taken: the 64 digits of its order.pub. Empty, as collector_key_file: none are.",
    ),
    key(
        "actions.collector_key_file",
        ConfigKind::Path,
        "\"\"",
        "File with that key, in place of collector_key. It need not exist yet; a reload reads it again.",
    ),
    key(
        "http.bind",
        ConfigKind::Address,
        "\"127.0.0.1:7951\"",
        "Where /metrics, /v1/members and /v1/events are served.",
    ),
    key(
        "http.advertise",
        ConfigKind::Address,
        "\"\"",
        "Where others reach that, for /v1/sd/prometheus. Default: the bound address; for 0.0.0.0 gossip.advertise's host, or that of the default route.",
    ),
    common::SECURITY_INSECURE,
    common::LOG_LEVEL,
    common::LOG_FORMAT,
];

/// What the file says.
#[derive(Deserialize, Clone, PartialEq, Debug)]
struct Raw {
    node: RawNode,
    gossip: Gossip,
    collect: RawCollect,
    uplink: RawUplink,
    spool: RawSpool,
    actions: RawActions,
    http: RawHttp,
    security: Security,
    log: Log,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawNode {
    name: String,
    labels: BTreeMap<String, String>,
    data_dir: PathBuf,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawCollect {
    interval: Span,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawUplink {
    collectors: Vec<String>,
    tls: tls::RawClient,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawSpool {
    max_bytes: u64,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawActions {
    dir: PathBuf,
    collector_key: String,
    collector_key_file: String,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct RawHttp {
    bind: SocketAddr,
    #[serde(deserialize_with = "optional")]
    advertise: Option<SocketAddr>,
}

/// The configuration of an agent, resolved.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub gossip: watchfire_shell::gossip::Settings,
    pub http_bind: SocketAddr,
    /// Where others reach that, if it is said.
    pub http_advertise: Option<SocketAddr>,
    pub(crate) actions: action::Settings,
    /// How the uplink speaks TLS; `None` is plaintext.
    pub(crate) tls: Option<tls::ClientFiles>,
    /// What the core needs of it.
    pub core: CoreSettings,
    pub log: Log,
}

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Keys that nobody knows, each with its place.
    pub unknown: Vec<String>,
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
    #[error("actions.collector_key: {0}")]
    CollectorKey(String),
    #[error("actions.collector_key and actions.collector_key_file are both given; one of them is to be empty")]
    TwoKeys,
    #[error(
        "gossip.enabled is false and uplink.collectors is empty: this agent would find no collector; name one as host:port"
    )]
    NoCollectors,
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Reads the configuration from the named file (or the default one), the folder beside it, the environment and the flags.
///
/// # Errors
/// Everything that is wrong, at once; an address that must not be bound. Unknown keys only if `strict`.
pub fn read(origin: &Origin, strict: bool) -> Result<Loaded, SettingsError> {
    let program = Program { name: "agent", keys: KEYS, strict };
    resolve(load(&program, origin.config.as_deref(), origin.overrides.clone())?)
}

fn resolve(loaded: LoadedRaw<Raw>) -> Result<Loaded, SettingsError> {
    let raw = loaded.value;
    let plain: Vec<_> = raw.gossip.plain_bind().into_iter().chain([("http.bind", raw.http.bind)]).collect();
    bind::check(&plain, raw.security.insecure)?;
    if !raw.gossip.enabled && raw.uplink.collectors.is_empty() {
        return Err(SettingsError::NoCollectors);
    }
    let name = check_node(raw.node.name, &raw.node.labels, &[SERVICE_HTTP])?;
    // While nothing listens to a network, whoever runs the agent may also say what it runs.
    let alone = [Some(raw.gossip.bind).filter(|_| raw.gossip.enabled), Some(raw.http.bind)]
        .iter()
        .flatten()
        .all(|address| address.ip().to_canonical().is_loopback());
    let actions = action::Settings {
        source: Source { folder: raw.actions.dir.clone(), trust: Trust::new(alone) },
        key: key_source(&raw.actions)?,
    };
    let settings = Settings {
        actions,
        tls: raw.uplink.tls.resolve()?,
        data_dir: raw.node.data_dir,
        core: CoreSettings {
            cluster: raw.gossip.cluster.clone(),
            name,
            labels: raw.node.labels,
            interval: raw.collect.interval,
            collectors: raw.uplink.collectors,
            spool_bytes: raw.spool.max_bytes,
            gossips: raw.gossip.enabled,
        },
        gossip: raw.gossip.into(),
        http_bind: raw.http.bind,
        http_advertise: raw.http.advertise,
        log: raw.log,
    };
    Ok(Loaded { settings, unknown: loaded.warnings.iter().map(ToString::to_string).collect(), files: loaded.files })
}

fn key_source(raw: &RawActions) -> Result<KeySource, SettingsError> {
    match (raw.collector_key.trim(), raw.collector_key_file.as_str()) {
        ("", "") => Ok(KeySource::None),
        ("", file) => Ok(KeySource::File(file.into())),
        (key, "") => key.parse().map(KeySource::Given).map_err(SettingsError::CollectorKey),
        _ => Err(SettingsError::TwoKeys),
    }
}

#[cfg(test)]
mod tests {
    use watchfire_shell::config::{Sources, load_from};

    use super::*;

    fn read_text(text: &str, strict: bool) -> Result<Loaded, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, text).unwrap();
        let sources =
            Sources { config: Some(file), folder: "/nowhere".into(), environment: Vec::new(), overrides: Vec::new() };
        resolve(load_from(&Program { name: "agent", keys: KEYS, strict }, &sources)?)
    }

    #[test]
    fn without_gossip_collectors_have_to_be_named() {
        let error = read_text("[gossip]\nenabled = false\n", false).unwrap_err().to_string();
        assert!(error.contains("uplink.collectors is empty"), "{error}");
        // Nothing is bound, so the address may be any.
        let text = "[gossip]\nenabled = false\nbind = \"0.0.0.0:7950\"\n[uplink]\ncollectors = [\"10.0.0.1:7961\"]\n";
        let settings = read_text(text, true).unwrap().settings;
        assert!(!settings.gossip.enabled && !settings.core.gossips);
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let loaded = read_text("", true).unwrap();
        let settings = loaded.settings;
        assert!(!settings.core.name.is_empty() && loaded.unknown.is_empty());
        assert_eq!(settings.http_bind, "127.0.0.1:7951".parse().unwrap());
        assert_eq!((settings.core.interval, settings.core.spool_bytes), (Span::from_seconds(10), 64 << 20));
        assert_eq!(settings.core.collectors, Vec::<String>::new());
    }

    #[test]
    fn an_unknown_key_stops_the_check_and_not_the_agent() {
        let text = "[colect]\ninterval = \"5s\"\n[node]\nlabel = {}\n";
        let error = read_text(text, true).unwrap_err().to_string();
        let places: Vec<&str> =
            error.lines().filter_map(|line| line.split_once("agent.toml:")).map(|(_, at)| at).collect();
        let expected = [
            "1:2: unknown section `colect`, did you mean `collect`?",
            "4:1: unknown key `label`, did you mean `labels`?",
        ];
        assert_eq!(places, expected);
        assert_eq!(read_text(text, false).unwrap().unknown.len(), 2);
    }

    #[test]
    fn wrong_values_stop_both() {
        let text = "[collect]\ninterval = \"50ms\"\n[node]\nlabels = { cpu = \"x\" }\n";
        for strict in [true, false] {
            let error = read_text(text, strict).unwrap_err().to_string();
            assert!(error.contains("agent.toml:2:12: 50ms is not between 100ms and 1h"), "{error}");
            assert!(error.contains("agent.toml:4:10: a node label may not be called `cpu`"), "{error}");
        }
    }

    #[test]
    fn labels_that_cannot_be_announced_together_are_refused() {
        let labels = |count: usize| {
            let labels: Vec<_> = (0..count).map(|number| format!("l{number} = \"{}\"", "x".repeat(1000))).collect();
            format!("[node]\nlabels = {{ {} }}\n", labels.join(", "))
        };
        read_text(&labels(3), true).unwrap();
        for strict in [true, false] {
            let error = read_text(&labels(5), strict).unwrap_err().to_string();
            assert!(error.starts_with("node.name and node.labels: name, labels, version and services"), "{error}");
        }
    }

    #[test]
    fn certificates_are_named_together_and_need_not_exist() {
        let read = |keys: &str| read_text(&format!("[uplink.tls]\n{keys}\n"), true);
        assert_eq!(read("").unwrap().settings.tls, None);
        assert!(read("ca_file = \"/no/ca.pem\"").unwrap().settings.tls.is_some());
        let all =
            "ca_file = \"/no/ca.pem\"\ncert_file = \"/no/c.pem\"\nkey_file = \"/no/k.pem\"\nserver_name = \"watch\"";
        assert!(read(all).unwrap().settings.tls.is_some());
        let refused = |keys: &str| read(keys).unwrap_err().to_string();
        let own = "cert_file = \"/no/c.pem\"";
        assert_eq!(refused(own), "uplink.tls.cert_file is given without uplink.tls.key_file");
        let both = format!("{own}\nkey_file = \"/no/k.pem\"");
        assert_eq!(refused(&both), "uplink.tls.cert_file is given without uplink.tls.ca_file");
        let name = refused("ca_file = \"/no/ca.pem\"\nserver_name = \"a b\"");
        assert_eq!(name, "uplink.tls.server_name: expected a host name or an IP address, found \"a b\"");
        let typo = refused("ca_fil = \"/no/ca.pem\"");
        assert!(typo.contains("agent.toml:2:1: unknown key `ca_fil`, did you mean `ca_file`?"), "{typo}");
    }

    #[test]
    fn plaintext_is_not_offered_to_a_network() {
        let text = "[gossip]\nbind = \"0.0.0.0:7950\"\n";
        let error = read_text(text, true).unwrap_err().to_string();
        assert!(error.starts_with("`gossip.bind` = 0.0.0.0:7950 is not a loopback address"), "{error}");
        read_text(&format!("{text}[security]\ninsecure = true\n"), true).unwrap();
        let sealed = read_text(&format!("{text}keyring_file = \"/etc/watchfire/gossip.keys\"\n"), true).unwrap();
        assert_eq!(sealed.settings.gossip.keyring_file, Some("/etc/watchfire/gossip.keys".into()));
    }
}
