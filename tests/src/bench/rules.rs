//! Rules: the CPU of one pass of 200 alerting rules over a fleet, most of whose alerts are active.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Effort;
use super::account::usage;
use super::fleet::Fleet;
use super::row::{Peer, Row};
use super::server::Server;
use crate::house::{House, Setup};

/// Each is an expression with a threshold; twenty thresholds make twenty rules of it.
const EXPRESSIONS: [(&str, &str); 10] = [
    ("node_load1 > ", ""),
    ("100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))) > ", ""),
    ("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.", ""),
    ("node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.", ""),
    ("predict_linear(node_filesystem_avail_bytes[1h], 86400) < ", ""),
    ("sum by (instance) (rate(node_network_receive_bytes_total[5m])) > ", "e6"),
    ("max_over_time(node_load5[30m]) > ", ""),
    ("avg without (cpu) (rate(node_cpu_seconds_total{mode=\"iowait\"}[5m])) > 0.0", ""),
    ("(node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes) / node_memory_SwapTotal_bytes > 0.0", ""),
    ("absent(node_load1{instance=\"node00", ":9100\"})"),
];
const PER_GROUP: usize = 20;
/// How old the newest sample is when measuring begins, the same for every system, since what rates and ranges cover shrinks
/// with the age of the data. A Prometheus takes half a minute for the data, and two passes until alerts fire.
const AGE: Duration = Duration::from_secs(80);
/// Watchfire lets nothing fire in its first two minutes: its collector is started before the peer is measured.
const FIRST_FIRING: Duration = Duration::from_secs(180);
/// How long a system may take for the data; a busy machine takes a few times what an idle one does.
const WRITING: Duration = Duration::from_secs(240);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(60);
/// Alerts are grouped as a configuration without words of its own does; one notification for each alert would be another
/// figure, and Prometheus notifies nobody here.
const ROUTE: &str = "  receiver: sink\n  group_by: [alertname]\n";
/// Distance of two passes, seconds; long enough for the slowest system to rest between them.
const INTERVAL: u64 = 15;
/// Passes that are measured.
const PASSES: u64 = 3;

/// Writes the fleet to each system and measures passes once the alerts are active.
///
/// # Errors
/// If a system cannot be started or refuses the data.
pub async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let full = effort == Effort::Full;
    // An alert is pending for one pass and fires with the next.
    let (hosts, interval) = if full { (500, INTERVAL) } else { (100, 5) };
    let (rules, seconds) = (rules(interval), PASSES * interval);
    let own = Own::start(binary, &rules).await?;
    let theirs = match Server::prometheus(Some(&rules)).await? {
        Some(server) => {
            let outcome = measure(server.pid(), &server.base, hosts, seconds).await?;
            Some((server.name.clone(), outcome))
        }
        None => None,
    };
    let ours = measure(own.house.pid(NAME), &own.base(), hosts, seconds).await?;
    let cpu = |outcome: &Outcome| outcome.cpu_seconds / PASSES as f64;
    Row {
        what: format!("200 rules, {:.0} active alerts, CPU of one pass", ours.alerts),
        ours: format!("{:.2} s", cpu(&ours)),
        peer: theirs.map(|(name, theirs)| Peer {
            name,
            figure: format!("{:.2} s ({:.0} alerts)", cpu(&theirs), theirs.alerts),
            ratio: cpu(&theirs) / cpu(&ours),
        }),
    }
    .print();
    Ok(())
}

struct Outcome {
    cpu_seconds: f64,
    alerts: f64,
}

/// The rule file.
fn rules(interval: u64) -> String {
    let mut out = "groups:\n".to_owned();
    for (group, (before, after)) in EXPRESSIONS.iter().enumerate() {
        let _ = writeln!(out, "- name: g{group}\n  interval: {interval}s\n  rules:");
        for rule in 0..PER_GROUP {
            let threshold = rule + 2;
            let _ = writeln!(out, "  - alert: A{group}_{rule}\n    expr: '{before}{threshold:02}{after}'");
            let _ = writeln!(out, "    for: {interval}s\n    labels: {{severity: warning}}");
            out.push_str("    annotations: {summary: \"x {{ $labels.instance }} value {{ $value | humanize }}\"}\n");
        }
    }
    out
}

/// The collector, which waits without data until it is measured.
struct Own {
    house: House,
    /// Has its rules.
    _folder: tempfile::TempDir,
}

const NAME: &str = "watch";

impl Own {
    async fn start(binary: &Path, rules: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("rules.yml");
        std::fs::write(&file, rules)?;
        let mut house = House::new(binary, Setup { rules: file, route: ROUTE, ..Setup::default() }).await;
        house.add_collector(NAME, &[]);
        house.wait_until_complete(Duration::from_secs(30)).await;
        Ok(Self { house, _folder: folder })
    }

    fn base(&self) -> String {
        format!("http://{}", self.house.node(NAME).http)
    }
}

/// Writes a fleet, waits until the alerts fire and the data is old enough, and measures some passes.
async fn measure(pid: u32, base: &str, hosts: usize, seconds: u64) -> anyhow::Result<Outcome> {
    let client = reqwest::Client::builder().no_proxy().timeout(REQUEST).build()?;
    let fleet = Fleet::new(hosts);
    let sent = tokio::time::timeout(WRITING, fleet.send(&client, base)).await;
    sent.map_err(|_| anyhow::anyhow!("{base}: the data is not written after {} s", WRITING.as_secs()))??;
    let began = Instant::now();
    // Until the first of them fire; by then all of them do.
    while firing(&client, base).await? == 0.0 {
        anyhow::ensure!(began.elapsed() < FIRST_FIRING, "{base}: no alert fires");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let age = Duration::from_millis((now_ms - fleet.end_ms).max(0) as u64);
    tokio::time::sleep(AGE.saturating_sub(age)).await;
    let before = usage(pid).cpu_seconds;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let cpu_seconds = usage(pid).cpu_seconds - before;
    Ok(Outcome { cpu_seconds, alerts: firing(&client, base).await? })
}

async fn firing(client: &reqwest::Client, base: &str) -> anyhow::Result<f64> {
    let form = [("query", "count(ALERTS{alertstate=\"firing\"})")];
    let body = client.post(format!("{base}/api/v1/query")).form(&form).send().await?.text().await?;
    let body: serde_json::Value = serde_json::from_str(&body)?;
    let value = body["data"]["result"][0]["value"][1].as_str();
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or_default())
}
