//! The folder of a dev run: configuration, rules, data and logs of each process, on ports that are free.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use watchfire_shell::bind;

use super::process::Kind;

/// The agents of a dev run, with a label each so that there is something to group by.
const AGENTS: [(&str, &str); 3] = [("web-1", "web"), ("web-2", "web"), ("db-1", "db")];
/// The ports that the collector and the first agent have in an installation, taken if they are free.
const COLLECTOR_PORTS: [u16; 3] = [7950, 7960, 7961];

/// One process to be: its name, what it is, and its configuration file.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) http: SocketAddr,
}

/// The files of a run and where its processes listen.
pub(crate) struct Layout {
    folder: PathBuf,
    temporary: bool,
    /// The collector first.
    pub(crate) nodes: Vec<Node>,
}

impl Layout {
    /// Writes everything that the processes need; their notifications go to `sink`.
    pub(crate) fn create(folder: Option<&Path>, sink: SocketAddr) -> anyhow::Result<Self> {
        let temporary = folder.is_none();
        let folder = match folder {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::temp_dir().join(format!("watchfire-dev-{}", std::process::id())),
        };
        make_private(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut layout = Self { folder, temporary, nodes: Vec::new() };
        let gossip = layout.write_collector(sink)?;
        for (name, role) in AGENTS {
            layout.write_agent(name, role, gossip)?;
        }
        Ok(layout)
    }

    pub(crate) fn collector(&self) -> &Node {
        &self.nodes[0]
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn write_collector(&mut self, sink: SocketAddr) -> anyhow::Result<SocketAddr> {
        let [gossip, http, ingest] = COLLECTOR_PORTS.map(free_port);
        let rules = self.folder.join("rules");
        std::fs::create_dir_all(&rules)?;
        for (name, text) in crate::rules::DEFAULT_RULES {
            std::fs::write(rules.join(name), text)?;
        }
        let alertmanager = self.folder.join("alertmanager.yml");
        std::fs::write(&alertmanager, alertmanager_yml(sink))?;
        let config = format!(
            "[node]\nname = \"collector\"\ndata_dir = {data}\n\n[gossip]\nbind = \"{gossip}\"\nprofile = \"local\"\n\n\
             [http]\nbind = \"{http}\"\n\n[ingest]\nbind = \"{ingest}\"\n\n[rules]\nfiles = [{rules}]\ninterval = \"5s\"\n\n\
             [notify]\nfile = {alertmanager}\n",
            data = quoted(&self.folder.join("data/collector")),
            rules = quoted(&rules.join("*.yml")),
            alertmanager = quoted(&alertmanager),
        );
        self.add("collector", Kind::Collector, &config, http)?;
        Ok(gossip)
    }

    fn write_agent(&mut self, name: &str, role: &str, join: SocketAddr) -> anyhow::Result<()> {
        let [gossip, http] = [(); 2].map(|()| bind::free());
        let (Some(gossip), Some(http)) = (gossip, http) else { bail!("no port on 127.0.0.1 is free") };
        let config = format!(
            "[node]\nname = \"{name}\"\nlabels = {{ role = \"{role}\", zone = \"dev\" }}\ndata_dir = {data}\n\n[gossip]\n\
             bind = \"{gossip}\"\njoin = [\"{join}\"]\nprofile = \"local\"\n\n[collect]\ninterval = \"1s\"\n\n[http]\n\
             bind = \"{http}\"\n",
            data = quoted(&self.folder.join("data").join(name)),
        );
        self.add(name, Kind::Agent, &config, http)
    }

    fn add(&mut self, name: &str, kind: Kind, config: &str, http: SocketAddr) -> anyhow::Result<()> {
        // A folder each, for the drop-in folder beside a configuration file belongs to it.
        let folder = self.folder.join("etc").join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::create_dir_all(self.folder.join("log"))?;
        let path = folder.join(format!("{}.toml", kind.as_str()));
        std::fs::write(&path, config)?;
        let log = self.folder.join("log").join(format!("{name}.log"));
        self.nodes.push(Node { name: name.to_owned(), kind, config: path, log, http });
        Ok(())
    }

    /// Removes the folder if it was made for this run only.
    pub(crate) fn remove(&self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            crate::tell(&format!("watchfire: cannot remove {}: {error}", self.folder.display()));
        }
    }
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn alertmanager_yml(sink: SocketAddr) -> String {
    format!(
        "route:\n  receiver: dev\n  group_by: [alertname, instance]\n  group_wait: 0s\n  group_interval: 2s\n  \
         repeat_interval: 4h\nreceivers:\n  - name: dev\n    webhook_configs:\n      - url: http://{sink}/\n        \
         send_resolved: true\n"
    )
}

/// The wished port on loopback if it is free, else another that is.
fn free_port(wished: u16) -> SocketAddr {
    let wished = SocketAddr::from((Ipv4Addr::LOCALHOST, wished));
    if bind::is_free(wished) { wished } else { bind::free().unwrap_or(wished) }
}
