//! Synthetic hosts: the mix of series that a node_exporter has, from a seed, and a sender that speaks the uplink's protocol.
//!
//! 35 % of the series are constant, 8 % change in one of a hundred steps, 37 % are counters (integers and hundredths),
//! 12 % are gauges in whole pages, 4 % are gauges with two decimals, 4 % wander with all bits.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use watchfire_shared::frame::body::ValueState;
use watchfire_shared::frame::message::{Data, Dict, Hello, Lane, PROTOCOL, SeriesEntry};
use watchfire_shared::frame::{FrameReader, Message};
use watchfire_shared::labels::Labels;
use watchfire_shared::limits::{KEYFRAME_EVERY, MAX_UNACKED_FRAMES};
use watchfire_shared::member::NodeId;
use watchfire_shared::sample::MetricKind;

pub(super) const HOSTS: usize = 20;
pub(super) const SERIES_PER_HOST: usize = 500;
/// Distance of two ticks in the data.
const STEP_MS: i64 = 10_000;

/// A load of so many ticks for every host.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) steps: usize,
    /// Time of the first tick, such that the last one is now.
    pub(super) first_ms: i64,
}

/// How the values of one series move.
enum Walk {
    Constant(f64),
    Rare(f64),
    Counter { value: f64, rate: f64 },
    Hundredths { value: i64, rate: f64 },
    Pages(i64),
    Decimals(i64),
    Float(f64),
}

impl Walk {
    fn new(i: usize, rng: &mut StdRng) -> Self {
        let rate = 10f64.powf(rng.random_range(-0.5..5.5));
        match i % 100 {
            0..35 => Self::Constant(f64::from(rng.random_range(0..1000u32))),
            35..43 => Self::Rare(f64::from(rng.random_range(0..100u32))),
            43..65 => Self::Counter { value: 0.0, rate },
            65..80 => Self::Hundredths { value: 0, rate: rate / 100.0 },
            80..92 => Self::Pages(rng.random_range(1000..1_000_000)),
            92..96 => Self::Decimals(rng.random_range(0..10_000)),
            _ => Self::Float(rng.random_range(0.0..1.0)),
        }
    }

    fn next(&mut self, rng: &mut StdRng) -> f64 {
        let noise = rng.random_range(0.7..1.3);
        match self {
            Self::Constant(value) => *value,
            Self::Rare(value) => {
                *value += f64::from(u8::from(rng.random_range(0..100) == 0));
                *value
            }
            Self::Counter { value, rate } => {
                *value += (*rate * noise).round();
                *value
            }
            Self::Hundredths { value, rate } => {
                *value += (*rate * noise * 100.0).round() as i64;
                *value as f64 / 100.0
            }
            Self::Pages(pages) => {
                *pages = (*pages + rng.random_range(-100..=100)).max(0);
                (*pages * 4096) as f64
            }
            Self::Decimals(value) => {
                *value = (*value + rng.random_range(-20..=20)).max(0);
                *value as f64 / 100.0
            }
            Self::Float(value) => {
                *value += rng.random_range(-0.01..0.01);
                *value
            }
        }
    }
}

/// The series of one host and where their values stand.
pub(super) struct Host {
    walks: Vec<Walk>,
    rng: StdRng,
}

impl Host {
    pub(super) fn new(host: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(host as u64);
        let walks = (0..SERIES_PER_HOST).map(|i| Walk::new(i, &mut rng)).collect();
        Self { walks, rng }
    }

    pub(super) fn tick(&mut self, values: &mut Vec<f64>) {
        values.clear();
        let rng = &mut self.rng;
        values.extend(self.walks.iter_mut().map(|walk| walk.next(rng)));
    }

    /// Metric name and own label of series `i`.
    pub(super) fn labels(i: usize) -> [(&'static str, String); 2] {
        [("__name__", format!("bench_metric_{}_total", i % 10)), ("item", format!("item-{}", i / 10))]
    }
}

impl Load {
    pub(super) fn new(steps: usize) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        Self { steps, first_ms: now / STEP_MS * STEP_MS - (steps as i64 - 1) * STEP_MS }
    }

    pub(super) fn time(&self, step: usize) -> i64 {
        self.first_ms + step as i64 * STEP_MS
    }

    /// Sends everything over one connection per host, each as fast as it is acknowledged; returns the samples sent.
    ///
    /// The frames are made before the clock starts.
    pub(super) async fn send_native(&self, collector: SocketAddr) -> anyhow::Result<usize> {
        let mut tasks = tokio::task::JoinSet::new();
        for host in 0..HOSTS {
            let load = self.clone();
            tasks.spawn(async move { send_host(&load, host, collector).await });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(HOSTS * SERIES_PER_HOST * self.steps)
    }
}

fn hello(host: usize) -> Message {
    Message::Hello(Hello {
        proto: PROTOCOL,
        features: Vec::new(),
        cluster: "watchfire".into(),
        agent_id: NodeId(host as u64 + 1),
        name: format!("bench-{host}"),
        labels: Default::default(),
        version: "0".into(),
        epoch: 1,
        spool_epoch: 1,
        clock_ms: Load::new(1).first_ms,
        interval_ms: STEP_MS as u64,
        spooled: Some((1, 1)),
    })
}

/// The frames of one host in the lane whose times may lie in the past.
fn frames(load: &Load, host: usize) -> Vec<Vec<u8>> {
    let entries: Vec<SeriesEntry> = (0..SERIES_PER_HOST)
        .map(|i| SeriesEntry { slot: i as u32, labels: Labels::new(Host::labels(i)), kind: MetricKind::Counter })
        .collect();
    let parts = Dict::parts(Lane::Backfill, 1, &entries);
    let dict_id = parts.len() as u32;
    let mut out = vec![parts.into_iter().flat_map(|part| Message::Dict(part).encode()).collect::<Vec<u8>>()];
    let (mut state, mut source, mut values) = (ValueState::default(), Host::new(host), Vec::new());
    state.resize(SERIES_PER_HOST);
    for step in 0..load.steps {
        source.tick(&mut values);
        let keyframe = (step as u64).is_multiple_of(KEYFRAME_EVERY);
        let mut body = Vec::new();
        state.encode(&values, keyframe, &mut body);
        let seq = step as u64 + 1;
        let data = Data {
            lane: Lane::Backfill,
            seq,
            dict_id,
            ts_ms: load.time(step),
            n: SERIES_PER_HOST as u32,
            keyframe,
            body,
        };
        out.push(Message::Data(data).encode());
    }
    out
}

async fn send_host(load: &Load, host: usize, collector: SocketAddr) -> anyhow::Result<()> {
    let frames = frames(load, host);
    let mut stream = TcpStream::connect(collector).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&hello(host).encode()).await?;
    let mut reader = FrameReader::default();
    let mut buffer = vec![0; 16 << 10];
    let (mut sent, mut acknowledged, mut greeted) = (0usize, 0usize, false);
    while acknowledged < load.steps {
        while greeted && sent < frames.len() && sent < acknowledged + MAX_UNACKED_FRAMES {
            stream.write_all(&frames[sent]).await?;
            sent += 1;
        }
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            bail!("the collector hung up after {acknowledged} of {} frames", load.steps);
        }
        reader.push(&buffer[..n]);
        while let Some(frame) = reader.next_frame().context("the collector's frames")? {
            match Message::decode(frame)? {
                Some(Message::HelloAck(_)) => greeted = true,
                Some(Message::Ack(ack)) => acknowledged = usize::try_from(ack.seq)?,
                Some(Message::Nack(nack)) => bail!("refused: {nack:?}"),
                Some(Message::Bye(bye)) => bail!("the collector says: {}", bye.reason),
                _ => {}
            }
        }
    }
    Ok(())
}
