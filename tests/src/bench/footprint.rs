//! What an agent costs: CPU per tick, memory, bytes per tick, against node_exporter scraped at the same pace.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::account::{Usage, usage};
use super::row::{Peer, Row};
use super::{Effort, peer, version_of};
use crate::house::{House, Setup};

/// Distance of two ticks; one second gives as many ticks as a short run can have.
const INTERVAL: Duration = Duration::from_secs(1);
/// What a process does after its start does not count.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures one idle agent that reports to a collector, then node_exporter.
///
/// # Errors
/// If a process cannot be started.
pub async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let ticks = effort.of(600).max(20);
    let mut house = House::new(binary, Setup { interval: "1s", profile: "lan", ..Setup::default() }).await;
    house.add_collector("watch", &[]);
    let join = [house.node("watch").gossip];
    house.add_agent("a", &join);
    house.wait_until_complete(Duration::from_secs(30)).await;
    tokio::time::sleep(SETTLE).await;
    let (bytes, frames) = received(&house).await;
    let (ours, used) = observe(house.pid("a"), ticks, async || ()).await;
    let (bytes_after, frames_after) = received(&house).await;
    let theirs = exporter(ticks).await?;
    report(&ours, used, ticks, theirs.as_ref());
    let per_tick = (bytes_after - bytes) / (frames_after - frames).max(1.0);
    let series = house.query("watch", "count({instance=\"a\",job=\"node\"})").await.unwrap_or_default();
    let peer = theirs.map(|exporter| Peer {
        name: exporter.name,
        figure: format!("{:.0} B gzip, {} series", exporter.bytes, exporter.series),
        ratio: exporter.bytes / per_tick,
    });
    Row {
        what: "bytes per tick on the wire, idle host".into(),
        ours: format!("{per_tick:.0} B, {series} series"),
        peer,
    }
    .print();
    Ok(())
}

/// Bytes and frames that the collector has received in all.
async fn received(house: &House) -> (f64, f64) {
    let bytes = house.metric("watch", "watchfire_ingest_received_bytes_total").await.unwrap_or_default();
    let frames = house.metric("watch", "watchfire_ingest_received_frames_total").await.unwrap_or_default();
    (bytes, frames)
}

/// CPU seconds per tick over that many ticks, and the use at their end. `each` runs once a tick.
async fn observe(pid: u32, ticks: usize, mut each: impl AsyncFnMut()) -> (f64, Usage) {
    let before = usage(pid);
    let mut pace = tokio::time::interval(INTERVAL);
    for _ in 0..ticks {
        pace.tick().await;
        each().await;
    }
    tokio::time::sleep(INTERVAL / 2).await;
    let after = usage(pid);
    ((after.cpu_seconds - before.cpu_seconds) / ticks as f64, after)
}

struct Exporter {
    name: String,
    cpu_per_tick: f64,
    used: Usage,
    bytes: f64,
    series: usize,
}

fn report(cpu_per_tick: &f64, used: Usage, ticks: usize, theirs: Option<&Exporter>) {
    let peer = |figure: &dyn Fn(&Exporter) -> (String, f64)| {
        theirs.map(|exporter| {
            let (figure, ratio) = figure(exporter);
            Peer { name: exporter.name.clone(), figure, ratio }
        })
    };
    let milliseconds = cpu_per_tick * 1e3;
    Row {
        what: format!("agent, CPU per tick of 1 s, {ticks} ticks"),
        ours: format!("{milliseconds:.2} ms, gossip of two members included"),
        peer: peer(&|exporter| {
            (format!("{:.2} ms", exporter.cpu_per_tick * 1e3), exporter.cpu_per_tick / cpu_per_tick)
        }),
    }
    .print();
    let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
    Row {
        what: "agent, resident memory (of it anonymous)".into(),
        ours: format!("{:.1} MiB ({:.1})", mebibytes(used.rss_bytes), mebibytes(used.anonymous_bytes)),
        peer: peer(&|exporter| {
            let own = exporter.used;
            let figure = format!("{:.1} MiB ({:.1})", mebibytes(own.rss_bytes), mebibytes(own.anonymous_bytes));
            (figure, own.rss_bytes / used.rss_bytes)
        }),
    }
    .print();
}

/// Kills its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn exporter(ticks: usize) -> anyhow::Result<Option<Exporter>> {
    let Some(program) = peer("prometheus-node-exporter") else { return Ok(None) };
    let address = crate::house::free_ports()[0];
    let child = Command::new(&program)
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{address}/metrics");
    let mut bytes = 0.0;
    tokio::time::sleep(SETTLE).await;
    let (cpu_per_tick, used) = observe(running.0.id(), ticks, async || {
        let request = client.get(&url).header("Accept-Encoding", "gzip").send();
        if let Ok(response) = request.await {
            bytes = response.bytes().await.map(|body| body.len() as f64).unwrap_or(bytes);
        }
    })
    .await;
    let text = client.get(&url).send().await?.text().await?;
    let series = text.lines().filter(|line| line.starts_with("node_")).count();
    let name = format!("node_exporter {}", version_of(&program));
    Ok(Some(Exporter { name, cpu_per_tick, used, bytes, series }))
}
