//! The keys and sections that `agent.toml` and `collector.toml` share, so that they mean the same in both.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use watchfire_gossip::Profile;
use watchfire_shared::config::{ConfigKey, ConfigKind};

use super::optional;
use crate::gossip;
use crate::telemetry::LogFormat;

/// One key of a program, for its table.
#[must_use]
pub const fn key(path: &'static str, kind: ConfigKind, default: &'static str, help: &'static str) -> ConfigKey {
    ConfigKey { path, kind, default, help }
}

pub const GOSSIP_BIND: ConfigKey =
    key("gossip.bind", ConfigKind::Address, "\"127.0.0.1:7950\"", "Where gossip listens, UDP and TCP.");
pub const GOSSIP_ADVERTISE: ConfigKey = key(
    "gossip.advertise",
    ConfigKind::Address,
    "\"\"",
    "Where others reach gossip. Default: the bound address; for 0.0.0.0 that of the default route.",
);
pub const GOSSIP_JOIN: ConfigKey =
    key("gossip.join", ConfigKind::HostPorts, "[]", "Members to join by; one that lives is enough. Tried for ever.");
pub const GOSSIP_PROFILE: ConfigKey = key(
    "gossip.profile",
    ConfigKind::Word(&["local", "lan", "fast", "wan"]),
    "\"lan\"",
    "How fast and how careful failure detection is; the same on all members.",
);
pub const GOSSIP_KEYRING_FILE: ConfigKey = key(
    "gossip.keyring_file",
    ConfigKind::Path,
    "\"\"",
    "File with the cluster's gossip keys, one a line, the one to encrypt with first. A reload reads it. Empty: plaintext.",
);
pub const SECURITY_INSECURE: ConfigKey = key(
    "security.insecure",
    ConfigKind::Boolean,
    "false",
    "Lets plaintext listen on addresses that are reachable from outside.",
);
pub const LOG_LEVEL: ConfigKey =
    key("log.level", ConfigKind::Text, "\"info\"", "What is logged; WATCHFIRE_LOG and --log-level go before it.");
pub const LOG_FORMAT: ConfigKey =
    key("log.format", ConfigKind::Word(&["text", "json"]), "\"text\"", "How log lines look.");

/// The section `[gossip]`.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub struct Gossip {
    pub cluster: String,
    pub bind: SocketAddr,
    #[serde(deserialize_with = "optional")]
    pub advertise: Option<SocketAddr>,
    pub join: Vec<String>,
    pub profile: Profile,
    pub keyring_file: PathBuf,
}

impl Gossip {
    /// The address that gossip listens on with its key, if it does so in plain text: encrypted gossip may listen to a network.
    #[must_use]
    pub fn plain_bind(&self) -> Option<(&'static str, SocketAddr)> {
        self.keyring_file.as_os_str().is_empty().then_some(("gossip.bind", self.bind))
    }
}

impl From<Gossip> for gossip::Settings {
    fn from(raw: Gossip) -> Self {
        let Gossip { cluster, bind, advertise, join, profile, keyring_file } = raw;
        let keyring_file = Some(keyring_file).filter(|file| !file.as_os_str().is_empty());
        Self { cluster, bind, advertise, join, profile, keyring_file }
    }
}

/// The section `[security]`.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub struct Security {
    pub insecure: bool,
}

/// The section `[log]`.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// The name of this node: the configured one, or that of the host. `None` if neither has one.
#[must_use]
pub fn node_name(configured: String) -> Option<String> {
    let name = match configured.is_empty() {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => configured,
    };
    (!name.is_empty()).then_some(name)
}
