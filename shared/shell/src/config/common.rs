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
pub const GOSSIP_ENABLED: ConfigKey = key(
    "gossip.enabled",
    ConfigKind::Boolean,
    "true",
    "Whether this agent gossips. Without it, it is judged by its reports alone, and uplink.collectors has to name its collectors.",
);
pub const GOSSIP_POOLS: ConfigKey = key(
    "gossip.pool",
    ConfigKind::TablesOf(POOL_KEYS),
    "[]",
    "Further network segments that this collector gossips in, each a [[gossip.pool]] with an address, members, a profile and keys of its own. The members of all pools are one list.",
);
/// The keys of one `[[gossip.pool]]`.
const POOL_KEYS: &[ConfigKey] = &[
    key("name", ConfigKind::Text, "\"\"", "What the pool is called in lists of members; required."),
    key("bind", ConfigKind::Address, "\"\"", "Where gossip listens in this segment, UDP and TCP; required."),
    key(
        "advertise",
        ConfigKind::Address,
        "\"\"",
        "Where this segment's members reach gossip. Default: the bound address.",
    ),
    key("join", ConfigKind::HostPorts, "[]", "Members of this segment to join by."),
    key("profile", ConfigKind::Word(&["local", "lan", "fast", "wan"]), "\"lan\"", "As gossip.profile."),
    key("keyring_file", ConfigKind::Path, "\"\"", "File with this pool's keys. Empty: plaintext."),
    key(
        "ingest_advertise",
        ConfigKind::Address,
        "\"\"",
        "Where this segment's agents reach ingest. Default: if ingest listens on every address, the pool's own address.",
    ),
];
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
    /// Collectors always gossip.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Agents are in one pool.
    #[serde(default)]
    pub pool: Vec<Pool>,
}

const fn yes() -> bool {
    true
}

/// One `[[gossip.pool]]`. What is required is asked for by [`Gossip::check_pools`], so that it is missed with a message.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub struct Pool {
    #[serde(default)]
    pub name: String,
    #[serde(default, deserialize_with = "optional")]
    pub bind: Option<SocketAddr>,
    #[serde(default, deserialize_with = "optional")]
    pub advertise: Option<SocketAddr>,
    #[serde(default)]
    pub join: Vec<String>,
    #[serde(default)]
    pub profile: Profile,
    #[serde(default)]
    pub keyring_file: PathBuf,
    #[serde(default, deserialize_with = "optional")]
    pub ingest_advertise: Option<SocketAddr>,
}

/// Pools that one collector is in, beside the first; each has tasks and a socket of its own.
const MAX_POOLS: usize = 16;
/// A pool's name, bytes. It is a part of file names.
const MAX_POOL_NAME_BYTES: usize = 32;

/// Why the pools of a configuration cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    #[error("gossip.pool: {0} pools, more than {MAX_POOLS}")]
    Many(usize),
    #[error(
        "gossip.pool {at}: expected a `name` of letters, digits, `-` and `_`, at most {MAX_POOL_NAME_BYTES}, found {name:?}"
    )]
    Name { at: usize, name: String },
    #[error("gossip.pool: two pools are called {0:?}; the pool of [gossip] itself is called \"default\"")]
    Twice(String),
    #[error("gossip.pool {name}: expected `bind`, an IP address and a port such as 10.1.0.1:7950")]
    NoBind { name: String },
    #[error("gossip.pool {name}: {bind} is bound by [gossip] or another pool already")]
    SameBind { name: String, bind: SocketAddr },
}

impl Gossip {
    /// The addresses that gossip listens on with their keys, as far as it does so in plain text: encrypted gossip may
    /// listen to a network.
    #[must_use]
    pub fn plain_bind(&self) -> Vec<(&'static str, SocketAddr)> {
        let own = Some(("gossip.bind", self.bind)).filter(|_| self.keyring_file.as_os_str().is_empty() && self.enabled);
        let pools = self.pool.iter().filter(|pool| pool.keyring_file.as_os_str().is_empty());
        own.into_iter().chain(pools.filter_map(|pool| Some(("gossip.pool.bind", pool.bind?)))).collect()
    }

    /// Checks what the check of single keys cannot see.
    ///
    /// # Errors
    /// The first mistake of the pools.
    pub fn check_pools(&self) -> Result<(), PoolError> {
        if self.pool.len() > MAX_POOLS {
            return Err(PoolError::Many(self.pool.len()));
        }
        let mut names = vec![gossip::DEFAULT_POOL];
        let mut binds = vec![self.bind];
        for (at, pool) in self.pool.iter().enumerate() {
            let name = pool.name.clone();
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > MAX_POOL_NAME_BYTES || !name.bytes().all(is_name) {
                return Err(PoolError::Name { at: at + 1, name });
            }
            if names.contains(&pool.name.as_str()) {
                return Err(PoolError::Twice(name));
            }
            let Some(bind) = pool.bind else { return Err(PoolError::NoBind { name }) };
            if bind.port() != 0 && binds.contains(&bind) {
                return Err(PoolError::SameBind { name, bind });
            }
            names.push(&pool.name);
            binds.push(bind);
        }
        Ok(())
    }
}

impl From<Gossip> for gossip::Settings {
    fn from(raw: Gossip) -> Self {
        let Gossip { cluster, bind, advertise, join, profile, keyring_file, enabled, pool } = raw;
        let file = |file: PathBuf| Some(file).filter(|file| !file.as_os_str().is_empty());
        let pools = pool.into_iter().filter_map(|pool| {
            let Pool { name, bind, advertise, join, profile, keyring_file, ingest_advertise } = pool;
            let bind = bind?;
            Some(gossip::PoolSettings {
                name,
                bind,
                advertise,
                join,
                profile,
                keyring_file: file(keyring_file),
                ingest_advertise,
            })
        });
        let pools = pools.collect();
        Self { cluster, bind, advertise, join, profile, keyring_file: file(keyring_file), enabled, pools }
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
