//! Other systems' servers, started for one measurement and ended with it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ingest::systems::package_version;
use super::{peer, version_of};
use crate::house::free_ports;

/// A running peer.
pub(super) struct Server {
    /// Its program and version.
    pub(super) name: String,
    /// `http://address`
    pub(super) base: String,
    child: Child,
    /// Holds its data.
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A Prometheus that takes remote writes, with these rules; `None` if it is not installed.
    ///
    /// # Errors
    /// If it does not become ready.
    pub(super) async fn prometheus(rules: Option<&str>) -> anyhow::Result<Option<Self>> {
        let Some(program) = peer("prometheus") else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let rule_files = match rules {
            Some(rules) => {
                std::fs::write(folder.path().join("rules.yml"), rules)?;
                "rule_files: [rules.yml]\n"
            }
            None => "",
        };
        std::fs::write(&config, format!("global: {{}}\n{rule_files}"))?;
        let address = free_ports()[0];
        let mut command = Command::new(&program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=10y"]);
        Self::start(command, ("Prometheus", &program), (address, "/-/ready"), folder).await.map(Some)
    }

    /// A VictoriaMetrics of one node; `None` if it is not installed.
    ///
    /// # Errors
    /// If it does not become ready.
    pub(super) async fn victoria_metrics() -> anyhow::Result<Option<Self>> {
        let Some(program) = peer("victoria-metrics") else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let address = free_ports()[0];
        let mut command = Command::new(&program);
        command
            .arg(format!("-storageDataPath={}", folder.path().join("data").display()))
            .arg(format!("-httpListenAddr={address}"))
            .args(["-search.latencyOffset=0s", "-search.disableCache", "-retentionPeriod=10y"]);
        Self::start(command, ("VictoriaMetrics", &program), (address, "/health"), folder).await.map(Some)
    }

    async fn start(
        mut command: Command,
        (name, program): (&str, &Path),
        (address, ready): (SocketAddr, &str),
        folder: tempfile::TempDir,
    ) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let version = match name {
            // Debian's build does not know its version; its package does.
            "VictoriaMetrics" => package_version("victoria-metrics"),
            _ => version_of(program),
        };
        let name = format!("{name} {version}");
        let server = Self { name, base: format!("http://{address}"), child, _folder: folder };
        let client = reqwest::Client::builder().no_proxy().build()?;
        let (url, started) = (format!("{}{ready}", server.base), Instant::now());
        while !client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(30), "{} does not become ready", server.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(server)
    }
}
