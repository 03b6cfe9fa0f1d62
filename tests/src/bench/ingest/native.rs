//! A sender that speaks the uplink's protocol: one connection per host, each as fast as it is acknowledged.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use watchfire_shared::frame::body::{Coding, ValueState};
use watchfire_shared::frame::message::{Data, Dict, Hello, Lane, PROTOCOL, SeriesEntry};
use watchfire_shared::frame::{FrameReader, Message};
use watchfire_shared::labels::Labels;
use watchfire_shared::limits::{KEYFRAME_EVERY, MAX_UNACKED_FRAMES};
use watchfire_shared::member::NodeId;
use watchfire_shared::sample::MetricKind;

use super::load::{Host, Load, SERIES_PER_HOST, STEP_MS};
use super::real::Real;

/// All frames of some hosts, made before the clock starts.
pub(super) struct Frames {
    pub(super) samples: usize,
    pub(super) hosts: Vec<Vec<Vec<u8>>>,
}

impl Frames {
    /// Of synthetic hosts.
    pub(super) fn of(load: Load) -> Self {
        let ticks = |host| {
            let mut source = Host::new(host);
            move |values: &mut Vec<f64>| source.tick(values)
        };
        let hosts = (0..load.hosts).map(|host| frames(&load, &entries(), ticks(host))).collect();
        Self { samples: load.samples(), hosts }
    }

    /// Of recorded ones.
    pub(super) fn of_real(load: Load, real: &Real) -> Self {
        let entries = real.entries();
        let ticks = |host| {
            let mut step = 0;
            move |values: &mut Vec<f64>| {
                real.at(host, step, values);
                step += 1;
            }
        };
        let hosts = (0..load.hosts).map(|host| frames(&load, &entries, ticks(host))).collect();
        Self { samples: load.hosts * load.steps * entries.len(), hosts }
    }

    /// Bytes of the frames that hold values.
    pub(super) fn data_bytes(&self) -> usize {
        self.hosts.iter().flat_map(|frames| &frames[1..]).map(Vec::len).sum()
    }

    /// Sends everything and waits until it is acknowledged.
    pub(super) async fn send(self, collector: SocketAddr, tls: Option<TlsConnector>) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for (host, frames) in self.hosts.into_iter().enumerate() {
            let tls = tls.clone();
            tasks.spawn(async move {
                let stream = TcpStream::connect(collector).await?;
                stream.set_nodelay(true)?;
                match tls {
                    None => send_host(host, &frames, stream).await,
                    Some(tls) => send_host(host, &frames, tls.connect("localhost".try_into()?, stream).await?).await,
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        anyhow::ensure!(self.samples > 0, "there was nothing to send");
        Ok(())
    }
}

/// A connector that trusts the certificate in this file and shows it, with the key, as its own.
///
/// # Errors
/// If the files cannot be used.
pub(super) fn connector(cert: &Path, key: &Path) -> anyhow::Result<TlsConnector> {
    let raw = serde_json::json!({ "ca_file": cert, "cert_file": cert, "key_file": key, "server_name": "localhost" });
    let raw: watchfire_shell::tls::RawClient = serde_json::from_value(raw)?;
    let files = raw.resolve()?.context("a file of certificates is named")?;
    Ok(TlsConnector::from(files.read()?))
}

fn entries() -> Vec<SeriesEntry> {
    let entry =
        |i: usize| SeriesEntry { slot: i as u32, labels: Labels::new(Host::labels(i)), kind: MetricKind::Counter };
    (0..SERIES_PER_HOST).map(entry).collect()
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
        clock_ms: Load::new(1, 1).first_ms,
        interval_ms: STEP_MS as u64,
        spooled: Some((1, 1)),
    })
}

/// The frames of one host in the lane whose times may lie in the past: first its dictionary.
fn frames(load: &Load, entries: &[SeriesEntry], mut tick: impl FnMut(&mut Vec<f64>)) -> Vec<Vec<u8>> {
    let parts = Dict::parts(Lane::Backfill, 1, entries);
    let dict_id = parts.len() as u32;
    let mut out = vec![parts.into_iter().flat_map(|part| Message::Dict(part).encode()).collect::<Vec<u8>>()];
    let (mut state, mut values) = (ValueState::default(), Vec::new());
    state.resize(entries.len());
    for step in 0..load.steps {
        tick(&mut values);
        let keyframe = (step as u64).is_multiple_of(KEYFRAME_EVERY);
        let mut body = Vec::new();
        state.encode(&values, keyframe, &mut body);
        let data = Data {
            lane: Lane::Backfill,
            seq: step as u64 + 1,
            dict_id,
            ts_ms: load.time(step),
            n: entries.len() as u32,
            keyframe,
            body,
            coding: Coding::Short,
        };
        out.push(Message::Data(data).encode());
    }
    out
}

async fn send_host(
    host: usize,
    frames: &[Vec<u8>],
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> anyhow::Result<()> {
    stream.write_all(&hello(host).encode()).await?;
    stream.flush().await?;
    let mut reader = FrameReader::default();
    let mut buffer = vec![0; 16 << 10];
    let (mut sent, mut acknowledged, mut greeted) = (0usize, 0usize, false);
    while acknowledged + 1 < frames.len() {
        let before = sent;
        while greeted && sent < frames.len() && sent < acknowledged + MAX_UNACKED_FRAMES {
            stream.write_all(&frames[sent]).await?;
            sent += 1;
        }
        if sent > before {
            stream.flush().await?;
        }
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            bail!("the collector hung up after {acknowledged} frames");
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
