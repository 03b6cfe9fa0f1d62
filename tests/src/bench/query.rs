//! Queries: what the same questions over the same hour of data take here, in Prometheus and in VictoriaMetrics.
//!
//! Each question is asked five times, each time a second further back, so that no answer can come from a cache. Prometheus
//! must give the same answers: the same series with the same times, values but for the last digits. VictoriaMetrics differs
//! by design in rates and names, and is only asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::Effort;
use super::account::{Spread, usage};
use super::fleet::{COUNTERS, Fleet, WIDE};
use super::row::{Peer, Row};
use super::server::Server;
use crate::house::{House, Setup};

/// How often each question is asked.
const TIMES: usize = 5;

/// A question: at one time, or over the hour at steps of 15 seconds.
#[derive(Clone, Copy)]
enum Question {
    Instant(&'static str),
    Range(&'static str),
}

use Question::{Instant as I, Range as R};

const RATE: Question = R("sum(rate(x[1m]))");
const COUNT: Question = I("count(wide)");
const RAW: Question = I("x[1h]");

/// What dashboards and alerts ask of node_exporter's series.
const MIXED: [Question; 20] = [
    I("node_load1"),
    I("count(node_cpu_seconds_total)"),
    I("sum by (instance) (rate(node_cpu_seconds_total{mode!=\"idle\"}[5m]))"),
    I("1 - avg without (cpu) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))"),
    I("100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))) > 80"),
    I("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.10"),
    I("node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.10"),
    I("predict_linear(node_filesystem_avail_bytes[1h], 86400) < 0"),
    I("topk(10, node_load1)"),
    I("quantile by (job) (0.99, node_load5)"),
    I("max_over_time(node_load1[1h])"),
    I("sum(rate(node_network_receive_bytes_total[5m])) by (device)"),
    I("absent(node_load1{instance=\"node9999:9100\"})"),
    I("count by (instance) (node_cpu_seconds_total{mode=\"idle\"}) * on (instance) group_left () node_load1"),
    I("label_replace(node_load1, \"host\", \"$1\", \"instance\", \"(.*):.*\")"),
    I("avg_over_time(sum(node_load1)[30m:1m])"),
    R("node_load1{instance=\"node0001:9100\"}"),
    R("sum(rate(node_cpu_seconds_total{mode=\"user\"}[5m]))"),
    R("avg by (mode) (rate(node_cpu_seconds_total[5m]))"),
    R("max by (instance) (node_load1)"),
];

/// What one system needed.
struct Outcome {
    name: String,
    rate_ms: f64,
    count_ms: f64,
    raw_ms: f64,
    /// Each question's median.
    mixed_ms: Vec<f64>,
    /// Of the mixed questions, seconds.
    mixed_cpu: f64,
    /// The first answer to each question.
    answers: Vec<Answer>,
}

/// Series by their labels as JSON, with times and values.
type Answer = BTreeMap<String, Vec<(f64, f64)>>;

/// The result of an answer; a scalar has no labels.
fn read(body: &str) -> anyhow::Result<Answer> {
    let body: Value = serde_json::from_str(body)?;
    let point = |pair: &Value| -> Option<(f64, f64)> { Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?)) };
    let mut answer = Answer::new();
    for series in body["data"]["result"].as_array().context("no list of results")? {
        let points = series["values"].as_array().cloned().unwrap_or_else(|| vec![series["value"].clone()]);
        let points: Option<Vec<_>> = points.iter().map(point).collect();
        answer.insert(series["metric"].to_string(), points.context("a point is no pair of numbers")?);
    }
    Ok(answer)
}

/// Where two answers differ, if they do: systems add in different orders, which only the last digits may show.
fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    if let Some(labels) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
        return Some(format!("{labels} is in one of them only, of {} and {} series", ours.len(), theirs.len()));
    }
    let near = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    theirs.iter().find_map(|(labels, theirs)| {
        let Some(ours) = ours.get(labels) else { return Some(format!("{labels} is in one of them only")) };
        let same = ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.0 == b.0 && near(a.1, b.1));
        (!same).then(|| format!("{labels}: {:?} and {:?}", ours.last(), theirs.last()))
    })
}

/// Writes the fleet to each system and asks.
///
/// # Errors
/// If a system cannot be started, refuses the data, or answers with another number of series.
pub async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let hosts = if effort == Effort::Full { 500 } else { 100 };
    let fleet = Fleet::new(hosts);
    let ours = collector(binary, &fleet).await?;
    let mut peers = Vec::new();
    if let Some(server) = Server::prometheus(None).await? {
        peers.push(measure(&server.name, server.pid(), &server.base, &fleet).await?);
    }
    if let Some(server) = Server::victoria_metrics().await? {
        peers.push(measure(&server.name, server.pid(), &server.base, &fleet).await?);
    }
    for peer in peers.iter().filter(|peer| peer.name.starts_with("Prometheus")) {
        for (number, (own, theirs)) in ours.answers.iter().zip(&peer.answers).enumerate() {
            if let Some(difference) = difference(own, theirs) {
                anyhow::bail!("answer {number} differs: {difference}");
            }
        }
    }
    let sum = |outcome: &Outcome| outcome.mixed_ms.iter().sum();
    let mixed = format!("20 mixed queries over {} series", hosts * 100);
    rows(&format!("query `sum(rate(x[1m]))`, {COUNTERS} series, 1 h at 15 s"), "ms", &ours, &peers, |of| of.rate_ms);
    rows(&format!("query `count` over {WIDE} series"), "ms", &ours, &peers, |of| of.count_ms);
    rows(&format!("query a raw hour of {COUNTERS} series as JSON"), "ms", &ours, &peers, |of| of.raw_ms);
    rows(&format!("{mixed}, sum of medians"), "ms", &ours, &peers, sum);
    rows(&format!("{mixed}, CPU for 100"), "s", &ours, &peers, |of| of.mixed_cpu);
    if std::env::var_os("BENCH_VERBOSE").is_some() {
        for outcome in std::iter::once(&ours).chain(&peers) {
            eprintln!("{}: {:.1?}", outcome.name, outcome.mixed_ms);
        }
    }
    Ok(())
}

fn rows(what: &str, unit: &str, ours: &Outcome, peers: &[Outcome], figure: impl Fn(&Outcome) -> f64) {
    let own = format!("{:.*} {unit}", if unit == "s" { 2 } else { 1 }, figure(ours));
    if peers.is_empty() {
        Row { what: what.to_owned(), ours: own.clone(), peer: None }.print();
    }
    for peer in peers {
        let of_peer = Peer {
            name: peer.name.clone(),
            figure: format!("{:.*} {unit}", if unit == "s" { 2 } else { 1 }, figure(peer)),
            ratio: figure(peer) / figure(ours),
        };
        Row { what: what.to_owned(), ours: own.clone(), peer: Some(of_peer) }.print();
    }
}

async fn collector(binary: &Path, fleet: &Fleet) -> anyhow::Result<Outcome> {
    // No rules: their evaluation is another figure.
    let mut house = House::new(binary, Setup { rules: "/nonexistent/*.yml".into(), ..Setup::default() }).await;
    house.add_collector("watch", &[]);
    house.wait_until_complete(Duration::from_secs(30)).await;
    let base = format!("http://{}", house.node("watch").http);
    measure("Watchfire", house.pid("watch"), &base, fleet).await
}

async fn measure(name: &str, pid: u32, base: &str, fleet: &Fleet) -> anyhow::Result<Outcome> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    fleet.send(&client, base).await.with_context(|| format!("writing to {name}"))?;
    let asker = Asker { client, base, end: fleet.end_ms / 1000 };
    asker.settle().await?;
    let mut answers = Vec::new();
    let mut ask = async |question| -> anyhow::Result<f64> {
        let (milliseconds, body) = asker.median(question).await.with_context(|| format!("asking {name}"))?;
        answers.push(read(&body)?);
        Ok(milliseconds)
    };
    let (rate_ms, count_ms, raw_ms) = (ask(RATE).await?, ask(COUNT).await?, ask(RAW).await?);
    let before = usage(pid).cpu_seconds;
    let mut mixed_ms = Vec::new();
    for question in MIXED {
        mixed_ms.push(ask(question).await?);
    }
    let mixed_cpu = usage(pid).cpu_seconds - before;
    Ok(Outcome { name: name.to_owned(), rate_ms, count_ms, raw_ms, mixed_ms, mixed_cpu, answers })
}

struct Asker<'a> {
    client: reqwest::Client,
    base: &'a str,
    /// Seconds.
    end: i64,
}

impl Asker<'_> {
    /// Waits until what was written last can be read.
    async fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let body = self.ask(COUNT, 0).await?;
            if body.contains(&format!("\"{WIDE}\"")) {
                return Ok(());
            }
            anyhow::ensure!(began.elapsed() < Duration::from_secs(30), "what was written cannot be read: {body}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The median time, milliseconds, and the first answer.
    async fn median(&self, question: Question) -> anyhow::Result<(f64, String)> {
        let (mut times, mut first) = (Vec::new(), String::new());
        for back in 0..TIMES {
            let began = Instant::now();
            let body = self.ask(question, back as i64).await?;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            if back == 0 {
                first = body;
            }
        }
        Ok((Spread::of(times).median, first))
    }

    async fn ask(&self, question: Question, back: i64) -> anyhow::Result<String> {
        let end = self.end - back;
        let (path, form) = match question {
            I(query) => ("query", vec![("query", query.to_owned()), ("time", end.to_string())]),
            R(query) => {
                let times = [("start", end - 3600), ("end", end)].map(|(key, time)| (key, time.to_string()));
                let mut form =
                    vec![("query", query.to_owned()), ("step", "15".to_owned()), ("nocache", "1".to_owned())];
                form.extend(times);
                ("query_range", form)
            }
        };
        let response = self.client.post(format!("{}/api/v1/{path}", self.base)).form(&form).send().await?;
        let status = response.status();
        let body = response.text().await?;
        anyhow::ensure!(status.is_success(), "{form:?}: {status} {body}");
        Ok(body)
    }
}
