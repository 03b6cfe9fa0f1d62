//! Ingest: CPU per million samples of the collector under saturating load, acknowledged when durable, against Prometheus
//! fed the same values by remote write 1.0.

mod load;

mod remote_write;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::account::usage;
use super::row::{Peer, Row};
use super::{Effort, peer, version_of};
use crate::house::{House, Setup, free_ports};
use load::{HOSTS, Load, SERIES_PER_HOST};

/// One system's run.
struct Outcome {
    samples: f64,
    cpu_seconds: f64,
    wall_seconds: f64,
    anonymous_bytes: f64,
}

impl Outcome {
    fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / self.samples * 1e6
    }
}

/// Loads a collector, then Prometheus.
///
/// # Errors
/// If a process cannot be started or refuses the load.
pub async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let steps = effort.of(1440).max(120);
    let ours = collector(binary, steps).await?;
    let theirs = prometheus(steps).await?;
    let series = HOSTS * SERIES_PER_HOST;
    let peer = |figure: &dyn Fn(&Outcome) -> (String, f64)| {
        theirs.as_ref().map(|(name, outcome)| {
            let (figure, ratio) = figure(outcome);
            Peer { name: name.clone(), figure, ratio }
        })
    };
    Row {
        what: format!("ingest, CPU per million samples, {series} series x {steps}, saturated"),
        ours: format!("{:.3} s (acknowledged = durable)", ours.cpu_per_million()),
        peer: peer(&|theirs| {
            (
                format!("{:.2} s (remote write)", theirs.cpu_per_million()),
                theirs.cpu_per_million() / ours.cpu_per_million(),
            )
        }),
    }
    .print();
    let rate = |outcome: &Outcome| outcome.samples / outcome.wall_seconds;
    Row {
        what: "ingest, samples per second of wall time".into(),
        ours: format!("{:.2} M, {HOSTS} connections", rate(&ours) / 1e6),
        peer: peer(&|theirs| (format!("{:.2} M, 1 connection", rate(theirs) / 1e6), rate(&ours) / rate(theirs))),
    }
    .print();
    let per_series = |outcome: &Outcome| outcome.anonymous_bytes / series as f64;
    Row {
        what: "ingest, anonymous memory per series after the load".into(),
        ours: format!("{:.0} B", per_series(&ours)),
        peer: peer(&|theirs| (format!("{:.0} B", per_series(theirs)), per_series(theirs) / per_series(&ours))),
    }
    .print();
    Ok(())
}

async fn collector(binary: &Path, steps: usize) -> anyhow::Result<Outcome> {
    // No rules: their evaluation is another figure.
    let setup = Setup { rules: "/nonexistent/*.yml".into(), ..Setup::default() };
    let mut house = House::new(binary, setup).await;
    house.add_collector("watch", &[]);
    house.wait_until_complete(Duration::from_secs(30)).await;
    let pid = house.pid("watch");
    let address = house.node("watch").ingest.expect("a collector takes frames");
    let before = usage(pid);
    let started = Instant::now();
    let samples = Load::new(steps).send_native(address).await?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let after = usage(pid);
    let stored = house.query("watch", "count({job=\"node\"})").await.unwrap_or_default();
    anyhow::ensure!(stored as usize >= HOSTS * SERIES_PER_HOST, "only {stored} series can be queried");
    Ok(Outcome {
        samples: samples as f64,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        wall_seconds,
        anonymous_bytes: after.anonymous_bytes,
    })
}

/// Ends its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn prometheus(steps: usize) -> anyhow::Result<Option<(String, Outcome)>> {
    let Some(program) = peer("prometheus") else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n")?;
    let address = free_ports()[0];
    let child = Command::new(&program)
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=10y"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let ready = format!("http://{address}/-/ready");
    let started = Instant::now();
    while !client.get(&ready).send().await.is_ok_and(|response| response.status().is_success()) {
        anyhow::ensure!(started.elapsed() < Duration::from_secs(30), "Prometheus does not become ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let requests = remote_write::requests(&Load::new(steps));
    let before = usage(running.0.id());
    let started = Instant::now();
    let samples = remote_write::send(&client, address, requests).await?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let after = usage(running.0.id());
    let outcome = Outcome {
        samples: samples as f64,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        wall_seconds,
        anonymous_bytes: after.anonymous_bytes,
    };
    Ok(Some((format!("Prometheus {}", version_of(&program)), outcome)))
}
