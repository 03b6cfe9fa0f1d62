//! kill -9 of a collector under load, again and again: every sample that it acknowledged is found after each, with its value,
//! whether it came over the uplink or by remote write.
//!
//! Ten kills by default; `WATCHFIRE_KILLS=200` for the long run.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use watchfire_shared::frame::body::{Coding, ValueState};
use watchfire_shared::frame::message::{Data, Dict, Hello, Lane, PROTOCOL, SeriesEntry};
use watchfire_shared::frame::{FrameReader, Message, varint};
use watchfire_shared::labels::Labels;
use watchfire_shared::member::NodeId;
use watchfire_shared::sample::MetricKind;
use watchfire_tests::house::{House, Setup};

const SOON: Duration = Duration::from_secs(60);
/// Senders over the uplink, and by remote write.
const AGENTS: u64 = 3;
const PUSHERS: u64 = 2;
/// Series of each.
const SERIES: u64 = 12;
/// Distance of two ticks in the data, milliseconds.
const STEP_MS: u64 = 20;
/// Ticks that each sender sends between two kills at most, so that all of them fit into half a day.
const MAX_TICKS: u64 = 2000;
/// Frames on their way.
const WINDOW: u64 = 32;
/// The least storage, so that blocks are cut and merged under the kills too.
const SMALL: &str = "[storage]\nmax_bytes = 67108864\n";

/// The value of a series at a tick: integers, decimals and floats with all their bits.
fn value(sender: u64, series: u64, tick: u64) -> f64 {
    match series % 3 {
        0 => (tick * (series + 1) + sender) as f64,
        1 => tick as f64 / 10.0 + series as f64,
        _ => ((tick + series + sender) as f64).sqrt(),
    }
}

/// The first tick's time, long enough ago for all ticks.
fn base_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    now - 24 * 3_600_000
}

/// How far a sender is: the highest tick that was acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<AtomicU64>);

impl Acknowledged {
    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, tick: u64) {
        self.0.fetch_max(tick, Ordering::SeqCst);
    }
}

/// Sends ticks over the uplink until the collector is gone.
async fn agent(id: u64, base: u64, address: SocketAddr, acknowledged: Acknowledged) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let hello = Hello {
        proto: PROTOCOL,
        features: Vec::new(),
        cluster: "watchfire".into(),
        agent_id: NodeId(id + 1),
        name: format!("agent-{id}"),
        labels: BTreeMap::new(),
        version: "0".into(),
        epoch: 1,
        spool_epoch: 1,
        clock_ms: base as i64 + 24 * 3_600_000,
        interval_ms: 1000,
        spooled: Some((1, u64::MAX >> 1)),
    };
    stream.write_all(&Message::Hello(hello).encode()).await?;
    let (mut reader, mut buffer) = (FrameReader::default(), vec![0; 8 << 10]);
    let (mut next, mut last, mut begun, mut state) = (None, 0, false, ValueState::default());
    state.resize(SERIES as usize);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            bail!("the collector hung up");
        }
        reader.push(&buffer[..read]);
        while let Some(frame) = reader.next_frame()? {
            match Message::decode(frame)? {
                Some(Message::HelloAck(ack)) => {
                    let durable = ack.backfill.map_or(0, |position| position.seq);
                    assert!(
                        durable >= acknowledged.get(),
                        "{durable} is less than was acknowledged: {}",
                        acknowledged.get()
                    );
                    next = Some(durable + 1);
                    last = durable + MAX_TICKS;
                    stream.write_all(&dictionary()).await?;
                }
                Some(Message::Ack(ack)) if ack.lane == Lane::Backfill => acknowledged.set(ack.seq),
                Some(Message::Nack(nack)) => panic!("refused: {nack:?}"),
                _ => {}
            }
        }
        let Some(next) = &mut next else { continue };
        let first = *next;
        while *next <= last && *next <= acknowledged.get().max(first - 1) + WINDOW {
            let values: Vec<f64> = (0..SERIES).map(|series| value(id, series, *next)).collect();
            let keyframe = !std::mem::replace(&mut begun, true) || next.is_multiple_of(60);
            let mut body = Vec::new();
            state.encode(&values, keyframe, &mut body);
            let ts_ms = (base + *next * STEP_MS) as i64;
            let n = SERIES as u32;
            let data =
                Data { lane: Lane::Backfill, seq: *next, dict_id: 1, ts_ms, n, keyframe, body, coding: Coding::Short };
            stream.write_all(&Message::Data(data).encode()).await?;
            *next += 1;
        }
    }
}

fn dictionary() -> Vec<u8> {
    let entry = |slot: u64| SeriesEntry {
        slot: slot as u32,
        labels: Labels::new([("__name__", "kill_uplink".to_owned()), ("series", slot.to_string())]),
        kind: MetricKind::Gauge,
    };
    let entries: Vec<SeriesEntry> = (0..SERIES).map(entry).collect();
    let parts = Dict::parts(Lane::Backfill, 1, &entries);
    assert_eq!(parts.len(), 1, "so few series are one dictionary");
    parts.into_iter().flat_map(|part| Message::Dict(part).encode()).collect()
}

/// Posts one tick after the other until the collector is gone.
async fn pusher(id: u64, base: u64, address: SocketAddr, acknowledged: Acknowledged) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let url = format!("http://{address}/api/v1/write");
    // What was sent last and not answered may be there: sent again it is the same, and taken.
    for tick in acknowledged.get() + 1..=acknowledged.get() + MAX_TICKS {
        let mut body = Vec::new();
        for series in 0..SERIES {
            let mut content = Vec::new();
            let pusher = format!("pusher-{id}");
            let series_text = series.to_string();
            for (name, text) in [("__name__", "kill_push"), ("pusher", &pusher), ("series", &series_text)] {
                let mut label = Vec::new();
                field(&mut label, 0x0a, name.as_bytes());
                field(&mut label, 0x12, text.as_bytes());
                field(&mut content, 0x0a, &label);
            }
            let mut sample = vec![0x09];
            sample.extend_from_slice(&value(id, series, tick).to_le_bytes());
            sample.push(0x10);
            varint::put(&mut sample, base + tick * STEP_MS);
            field(&mut content, 0x12, &sample);
            field(&mut body, 0x0a, &content);
        }
        let body = snap::raw::Encoder::new().compress_vec(&body)?;
        let request = client.post(&url).header("Content-Encoding", "snappy").body(body);
        let response = request.send().await?;
        let status = response.status();
        assert!(status.is_success() || status.is_server_error(), "{status}: {}", response.text().await?);
        if !status.is_success() {
            bail!("the collector answers {status}");
        }
        acknowledged.set(tick);
    }
    Ok(())
}

fn field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    varint::put(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// Looks for every tick after `from` and up to what was acknowledged.
async fn check(house: &House, selector: &str, sender: u64, base: u64, from: u64, to: u64) -> anyhow::Result<()> {
    let (start, end) = (base + from * STEP_MS, base + to * STEP_MS);
    let query = format!("{selector}[{}ms]", (end - start).max(1));
    let path = format!("/api/v1/query?query={}&time={}", encoded(&query), end as f64 / 1000.0);
    let body = house.get("watch", &path).await.with_context(|| format!("{query} is not answered"))?;
    let mut found = BTreeMap::new();
    for series in body["data"]["result"].as_array().into_iter().flatten() {
        let number: u64 = series["metric"]["series"].as_str().unwrap_or_default().parse()?;
        for pair in series["values"].as_array().into_iter().flatten() {
            let at = (pair[0].as_f64().unwrap_or_default() * 1000.0).round() as u64;
            let text = pair[1].as_str().unwrap_or_default();
            found.insert((number, (at - base) / STEP_MS), text.parse::<f64>()?);
        }
    }
    for tick in from + 1..=to {
        for series in 0..SERIES {
            let expected = value(sender, series, tick);
            let is = found.get(&(series, tick)).copied();
            anyhow::ensure!(
                is.map(f64::to_bits) == Some(expected.to_bits()),
                "{selector}, series {series}, tick {tick} of {to}: expected {expected}, found {is:?}"
            );
        }
    }
    Ok(())
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn wait_until_ready(house: &House) {
    house
        .wait("the collector is ready", SOON, async || {
            (house.get_text("watch", "/-/ready").await?.0 == 200).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_sample_is_found_after_each_kill() {
    let kills: u64 = std::env::var("WATCHFIRE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let setup = Setup { rules: "/nonexistent/*.yml".into(), ..Setup::default() };
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), setup).await;
    house.extra.insert("watch".into(), SMALL.into());
    house.add_collector("watch", &[]);
    let (base, mut random) = (base_ms(), StdRng::seed_from_u64(9));
    let agents: Vec<Acknowledged> = (0..AGENTS).map(|_| Acknowledged::default()).collect();
    let pushers: Vec<Acknowledged> = (0..PUSHERS).map(|_| Acknowledged::default()).collect();
    for kill in 0..kills {
        wait_until_ready(&house).await;
        let before: Vec<u64> = agents.iter().chain(&pushers).map(Acknowledged::get).collect();
        let (ingest, http) = (house.node("watch").ingest.unwrap(), house.node("watch").http);
        let mut senders = JoinSet::new();
        for (id, own) in (0..).zip(&agents) {
            senders.spawn(agent(id, base, ingest, own.clone()));
        }
        for (id, own) in (0..).zip(&pushers) {
            senders.spawn(pusher(id, base, http, own.clone()));
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
        house.kill("watch");
        while let Some(ended) = senders.join_next().await {
            // The connection breaks, which is an error; a panic is a broken promise.
            let _ = ended.unwrap();
        }
        house.start("watch");
        wait_until_ready(&house).await;
        let after = agents.iter().chain(&pushers).map(Acknowledged::get);
        for (at, (from, to)) in (0..).zip(before.into_iter().zip(after)) {
            let (selector, sender) = match at {
                0..AGENTS => (format!("kill_uplink{{instance=\"agent-{at}\"}}"), at),
                _ => (format!("kill_push{{pusher=\"pusher-{}\"}}", at - AGENTS), at - AGENTS),
            };
            let checked = check(&house, &selector, sender, base, from, to).await;
            checked.unwrap_or_else(|error| panic!("after kill {kill}: {error:#}\n{}", house.logs()));
        }
    }
    // Nothing that was found after an earlier kill was lost by a later one, nor by the blocks that were cut meanwhile.
    let mut samples = 0;
    for (id, own) in (0..).zip(&agents) {
        samples += own.get() * SERIES;
        for from in (0..own.get()).step_by(MAX_TICKS as usize) {
            let to = (from + MAX_TICKS).min(own.get());
            check(&house, &format!("kill_uplink{{instance=\"agent-{id}\"}}"), id, base, from, to).await.unwrap();
        }
    }
    for (id, own) in (0..).zip(&pushers) {
        samples += own.get() * SERIES;
        for from in (0..own.get()).step_by(MAX_TICKS as usize) {
            let to = (from + MAX_TICKS).min(own.get());
            check(&house, &format!("kill_push{{pusher=\"pusher-{id}\"}}"), id, base, from, to).await.unwrap();
        }
    }
    let blocks = house.metric("watch", "watchfire_store_blocks").await;
    println!("{kills} kills, {samples} acknowledged samples, all found; {blocks:?} blocks");
    assert!(samples > 0);
    let damaged = house.metric("watch", "watchfire_store_quarantined_total").await;
    assert_eq!(damaged, Some(0.0), "{}", house.logs());
}
