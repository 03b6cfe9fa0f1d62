//! A fleet as node_exporter shows it, as Prometheus remote write: 101 series per host, an hour of them, and what the single
//! rows of the benchmark ask for besides.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use watchfire_shared::frame::varint;

/// Distance of two samples, milliseconds.
pub(super) const STEP_MS: i64 = 15_000;
/// Steps of an hour, both ends included.
const STEPS: i64 = 241;
/// Samples of one request.
const BATCH: usize = 10_000;
/// Series of the metric that the rows about one metric ask for.
pub(super) const COUNTERS: usize = 1000;
/// Series of the metric that is counted. They have the last two steps only.
pub(super) const WIDE: usize = 100_000;

/// Encoded labels, and how the value moves: a counter's start and rate, or a gauge's middle and swing.
struct Series {
    labels: Vec<u8>,
    counter: bool,
    base: f64,
    slope: f64,
}

/// What is written to every system.
pub(super) struct Fleet {
    series: Vec<Series>,
    wide: Vec<Series>,
    /// Time of the last step, milliseconds.
    pub(super) end_ms: i64,
}

impl Fleet {
    /// Of so many hosts, ending now.
    pub(super) fn new(hosts: usize) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let mut series: Vec<Series> = (0..hosts).flat_map(host).collect();
        series.extend((0..COUNTERS).map(|i| {
            let item = i.to_string();
            Series::new("x", &[("item", &item)], true, 0.0, 0.25 * (i % 17 + 1) as f64)
        }));
        let wide = (0..WIDE).map(|i| Series::new("wide", &[("item", &i.to_string())], false, 1.0, 0.0)).collect();
        Self { series, wide, end_ms: now / STEP_MS * STEP_MS }
    }

    /// Writes the hour, oldest first.
    pub(super) async fn send(&self, client: &reqwest::Client, base: &str) -> anyhow::Result<()> {
        let start = self.end_ms - (STEPS - 1) * STEP_MS;
        for step in 0..STEPS {
            for (number, batch) in self.series.chunks(BATCH).enumerate() {
                post(client, base, batch, number * BATCH, start + step * STEP_MS, step).await?;
            }
        }
        for step in STEPS - 2..STEPS {
            for batch in self.wide.chunks(BATCH) {
                post(client, base, batch, 0, start + step * STEP_MS, step).await?;
            }
        }
        Ok(())
    }
}

impl Series {
    fn new(name: &str, own: &[(&str, &str)], counter: bool, base: f64, slope: f64) -> Self {
        let mut pairs = vec![("__name__", name)];
        pairs.extend_from_slice(own);
        pairs.sort_unstable();
        let mut labels = Vec::new();
        for (name, value) in pairs {
            let mut label = Vec::new();
            field(&mut label, 0x0a, name.as_bytes());
            field(&mut label, 0x12, value.as_bytes());
            field(&mut labels, 0x0a, &label);
        }
        Self { labels, counter, base, slope }
    }

    fn value(&self, number: usize, step: i64) -> f64 {
        match self.counter {
            true => self.base + self.slope * (step * STEP_MS / 1000) as f64,
            false => self.base + self.slope * (step as f64 / 7.0 + number as f64).sin(),
        }
    }
}

const MODES: [&str; 8] = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
const MEMORY: [&str; 10] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapTotal",
    "SwapFree",
    "Dirty",
    "Active",
    "Inactive",
];

/// The series of one host: 64 of CPUs, 10 of memory, 15 of filesystems, 8 of network cards, 3 of load.
fn host(number: usize) -> Vec<Series> {
    let instance = format!("node{number:04}:9100");
    let (of, modulo) = (|divisor: usize| (number % divisor) as f64, number);
    let mut out = Vec::new();
    let mut add = |name: &str, own: &[(&str, &str)], counter: bool, base: f64, slope: f64| {
        let mut pairs = vec![("instance", instance.as_str()), ("job", "node")];
        pairs.extend_from_slice(own);
        out.push(Series::new(name, &pairs, counter, base, slope));
    };
    for cpu in ["0", "1", "2", "3", "4", "5", "6", "7"] {
        for mode in MODES {
            let slope = if mode == "idle" { 0.7 - of(10) * 0.06 } else { 0.04 };
            add("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], true, 1000.0, slope);
        }
    }
    for (i, kind) in MEMORY.iter().enumerate() {
        let base = if i == 0 { 16e9 } else { 1e9 * (1.0 + of(7)) };
        add(&format!("node_memory_{kind}_bytes"), &[], false, base, 1e7 * i as f64);
    }
    for disk in ["a", "b", "c", "d", "e"] {
        let (device, mountpoint) = (format!("/dev/sd{disk}"), format!("/mnt/{disk}"));
        let own = [("device", device.as_str()), ("fstype", "ext4"), ("mountpoint", &mountpoint)];
        add("node_filesystem_size_bytes", &own, false, 1e12, 0.0);
        add("node_filesystem_avail_bytes", &own, false, 1e11 * (1.0 + of(9)), 1e9);
        add("node_filesystem_files", &own, false, 1e11 * (1.0 + of(9)), 1e9);
    }
    for (card, speed) in [("eth0", 1.0), ("eth1", 2.0), ("eth2", 3.0), ("eth3", 4.0)] {
        add("node_network_receive_bytes_total", &[("device", card)], true, 0.0, 1e6 * speed);
        add("node_network_transmit_bytes_total", &[("device", card)], true, 0.0, 5e5);
    }
    for load in ["node_load1", "node_load5", "node_load15"] {
        add(load, &[], false, 1.0 + (modulo % 20) as f64, 0.5);
    }
    out
}

async fn post(
    client: &reqwest::Client,
    base: &str,
    series: &[Series],
    first: usize,
    at_ms: i64,
    step: i64,
) -> anyhow::Result<()> {
    let mut body = Vec::with_capacity(series.len() * 128);
    for (number, series) in (first..).zip(series) {
        let mut sample = vec![0x09];
        sample.extend_from_slice(&series.value(number, step).to_le_bytes());
        sample.push(0x10);
        varint::put(&mut sample, at_ms as u64);
        let mut encoded = series.labels.clone();
        field(&mut encoded, 0x12, &sample);
        field(&mut body, 0x0a, &encoded);
    }
    let request = client.post(format!("{base}/api/v1/write"));
    let request = request.header("Content-Encoding", "snappy").header("Content-Type", "application/x-protobuf");
    let request = request.header("X-Prometheus-Remote-Write-Version", "0.1.0");
    let response = request.body(snap::raw::Encoder::new().compress_vec(&body)?).send().await?;
    ensure!(response.status().is_success(), "{base} answers {} to a write", response.status());
    Ok(())
}

/// A length-delimited protobuf field.
fn field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    varint::put(out, content.len() as u64);
    out.extend_from_slice(content);
}
