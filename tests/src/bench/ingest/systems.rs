//! The systems that take the load: a collector of ours, and peers that take remote write.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::load::{Load, STEP_MS};
use crate::bench::account::{Usage, usage};
use crate::bench::{peer, version_of};
use crate::house::{House, Setup, free_ports};

/// How long a system may take to become ready; one that replays a log reads gigabytes.
const MAX_READY: Duration = Duration::from_secs(120);
/// Names of metrics in the load.
const METRICS: usize = 10;

/// A program beside which we are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Prometheus,
    VictoriaMetrics,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Prometheus, Self::VictoriaMetrics];

    fn program(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    /// As the table calls it, with its version.
    pub(super) fn name(self) -> String {
        let program = peer(self.program()).unwrap_or_default();
        match self {
            Self::Prometheus => format!("Prometheus {}", version_of(&program)),
            // Debian's build does not know its version; its package does.
            Self::VictoriaMetrics => format!("VictoriaMetrics {}", package_version("victoria-metrics")),
        }
    }
}

/// The version in the name of an unpacked package, or what Debian's own database says.
pub(in crate::bench) fn package_version(package: &str) -> String {
    let debs = std::env::var_os("PEERS").map(|peers| PathBuf::from(peers).join("debs"));
    let names = debs.into_iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = names.into_iter().find_map(|name| name.strip_prefix(&format!("{package}_")).map(str::to_owned));
    version.map_or_else(
        || "of unknown version".to_owned(),
        |text| text.split(['+', '-', '_']).next().unwrap_or_default().to_owned(),
    )
}

/// A system that runs.
pub(super) enum System {
    Ours(Box<House>),
    Peer(Box<Peer>),
}

/// A peer's process and its folder, both ended with this.
pub(super) struct Peer {
    kind: Kind,
    folder: tempfile::TempDir,
    address: SocketAddr,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn spawn(kind: Kind, folder: &Path, address: SocketAddr) -> anyhow::Result<Child> {
        let program = peer(kind.program()).context("the program is not installed")?;
        let data = folder.join("data");
        let mut command = Command::new(program);
        match kind {
            Kind::Prometheus => {
                let config = folder.join("prometheus.yml");
                std::fs::write(&config, "global: {}\n")?;
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg(format!("--web.listen-address={address}"))
                    .args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"])
                    .arg("--storage.tsdb.retention.time=10y")
            }
            // It drops what is older than its retention, and hides the newest 30 s unless told otherwise.
            Kind::VictoriaMetrics => command
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-httpListenAddr={address}"))
                .args(["-retentionPeriod=100y", "-search.latencyOffset=1ms", "-loggerLevel=ERROR"])
                .args(["-search.maxUniqueTimeseries=1000000", "-search.maxSamplesPerQuery=1000000000"]),
        };
        Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }
}

impl System {
    /// A collector without rules: their evaluation is another figure. `extra` is what its configuration says besides.
    pub(super) async fn ours(binary: &Path, extra: String) -> anyhow::Result<Self> {
        let setup = Setup { rules: "/nonexistent/*.yml".into(), ..Setup::default() };
        let mut house = House::new(binary, setup).await;
        house.extra.insert("watch".into(), extra);
        house.add_collector("watch", &[]);
        let system = Self::Ours(Box::new(house));
        system.ready(&reqwest::Client::builder().no_proxy().build()?).await?;
        Ok(system)
    }

    /// A peer, if it is installed.
    pub(super) async fn peer(kind: Kind) -> anyhow::Result<Option<Self>> {
        if peer(kind.program()).is_none() {
            return Ok(None);
        }
        let (folder, address) = (tempfile::tempdir()?, free_ports()[0]);
        let child = Peer::spawn(kind, folder.path(), address)?;
        let system = Self::Peer(Box::new(Peer { kind, folder, address, child }));
        system.ready(&reqwest::Client::builder().no_proxy().build()?).await?;
        Ok(Some(system))
    }

    /// Where remote write and queries go.
    pub(super) fn http(&self) -> SocketAddr {
        match self {
            Self::Ours(house) => house.node("watch").http,
            Self::Peer(peer) => peer.address,
        }
    }

    /// Where frames go.
    pub(super) fn ingest(&self) -> anyhow::Result<SocketAddr> {
        match self {
            Self::Ours(house) => house.node("watch").ingest.context("a collector takes frames"),
            Self::Peer(_) => anyhow::bail!("a peer takes no frames"),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        match self {
            Self::Ours(house) => usage(house.pid("watch")),
            Self::Peer(peer) => usage(peer.child.id()),
        }
    }

    /// The folder of its samples.
    pub(super) fn data(&self) -> PathBuf {
        match self {
            Self::Ours(house) => house.folder().join("watch/data/store"),
            Self::Peer(peer) => peer.folder.path().join("data"),
        }
    }

    async fn ready(&self, client: &reqwest::Client) -> anyhow::Result<()> {
        let path = match self {
            Self::Peer(peer) if peer.kind == Kind::VictoriaMetrics => "health",
            _ => "-/ready",
        };
        let url = format!("http://{}/{path}", self.http());
        let started = Instant::now();
        while !client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
            ensure!(started.elapsed() < MAX_READY, "{url} does not become ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends it as `kill -9` does and starts it again; returns how long it took to become ready.
    pub(super) async fn kill_and_restart(&mut self, client: &reqwest::Client) -> anyhow::Result<Duration> {
        let started;
        match self {
            Self::Ours(house) => {
                house.kill("watch");
                started = Instant::now();
                house.start("watch");
            }
            Self::Peer(peer) => {
                peer.child.kill()?;
                peer.child.wait()?;
                started = Instant::now();
                peer.child = Peer::spawn(peer.kind, peer.folder.path(), peer.address)?;
            }
        }
        self.ready(client).await?;
        Ok(started.elapsed())
    }

    /// How many samples of the load can be queried.
    pub(super) async fn count(&self, client: &reqwest::Client, load: &Load) -> anyhow::Result<f64> {
        // Whatever time has passed since the last tick.
        let seconds = load.steps as i64 * STEP_MS / 1000 + 3600;
        let url = format!("http://{}/api/v1/query", self.http());
        let mut sum = 0.0;
        for metric in 0..METRICS {
            let query = format!("sum(count_over_time(bench_metric_{metric}_total[{seconds}s]))");
            let response = client.post(&url).form(&[("query", query.as_str()), ("nocache", "1")]).send().await?;
            let body: serde_json::Value = response.json().await?;
            ensure!(body["status"] == "success", "{query}: {body}");
            let value = body["data"]["result"][0]["value"][1].as_str().unwrap_or("0");
            sum += value.parse::<f64>()?;
        }
        Ok(sum)
    }

    /// Makes the samples as small as the system makes them, and returns the bytes that they take.
    pub(super) async fn settle(&self, client: &reqwest::Client) -> anyhow::Result<f64> {
        let at = |path: &str| format!("http://{}/{path}", self.http());
        match self {
            Self::Peer(peer) if peer.kind == Kind::Prometheus => {
                // A snapshot writes what is in memory as a block.
                client.post(at("api/v1/admin/tsdb/snapshot")).send().await?.error_for_status()?;
                Ok(folder_bytes(&self.data().join("snapshots")))
            }
            Self::Peer(_) => {
                for path in ["internal/force_flush", "internal/force_merge"] {
                    client.get(at(path)).send().await?.error_for_status()?;
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok(folder_bytes(&self.data()))
            }
            Self::Ours(_) => Ok(folder_bytes(&self.data())),
        }
    }
}

/// Length of all files below a folder.
fn folder_bytes(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        Ok(found) => found.len() as f64,
        Err(_) => 0.0,
    };
    entries.map(bytes).sum()
}
