//! How many bytes a sample takes: on the wire, and on disk once it is in a block with its index. Synthetic values, and those
//! that a recorded node_exporter had.

use anyhow::bail;
use watchfire_shared::frame::message::{Lane, Position, SeriesEntry};
use watchfire_shared::frame::{FrameReader, Message};
use watchfire_shared::labels::Labels;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Options, RealDisk, Source, Store};

use super::load::Load;
use super::native::Frames;
use super::real::Real;
use super::remote_write::Requests;
use super::systems::{Kind, System};
use crate::bench::Effort;
use crate::bench::row::{Peer, Row};

/// Hosts of the load.
const HOSTS: usize = 20;
/// Hosts that the recorded one is.
const REAL_HOSTS: usize = 10;
/// Four hours at ten seconds.
const STEPS: usize = 1440;
/// Seconds.
const DAY: i64 = 86_400;
/// Pieces of work that a cut may take.
const MAX_STEPS: usize = 10_000;

/// Measures all of it.
///
/// # Errors
/// If a process cannot be started or refuses the load.
pub(super) async fn run(effort: Effort) -> anyhow::Result<()> {
    let load = Load::new(HOSTS, STEPS);
    let frames = Frames::of(load);
    let requests = Requests::of(&load);
    let real = Frames::of_real(Load::new(REAL_HOSTS, STEPS), &Real::unpack()?);
    let own = real.data_bytes() as f64 / real.samples as f64;
    Row {
        what: "bytes per sample on the wire, recorded node_exporter".into(),
        ours: format!("{own:.2} B"),
        peer: None,
    }
    .print();
    let series = real.samples / STEPS;
    let own = disk(&real)?;
    let what = format!("bytes per sample on disk, recorded node_exporter, {series} series, index included");
    Row { what, ours: format!("{own:.2} B"), peer: None }.print();
    let samples = load.samples() as f64;
    let (own, theirs) = (frames.data_bytes() as f64 / samples, requests.bytes() as f64 / samples);
    Row {
        what: "bytes per sample on the wire, synthetic".into(),
        ours: format!("{own:.2} B"),
        peer: Some(Peer { name: "remote write 1.0".into(), figure: format!("{theirs:.1} B"), ratio: theirs / own }),
    }
    .print();
    let own = disk(&frames)?;
    let what = || format!("bytes per sample on disk, synthetic, {} series, index included", load.series());
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut alone = true;
    // Prometheus takes a minute of CPU for as many samples.
    for kind in if effort == Effort::Full { Kind::ALL.to_vec() } else { vec![Kind::VictoriaMetrics] } {
        let Some(system) = System::peer(kind).await? else { continue };
        Requests::of(&load).send(&client, system.http()).await?;
        let theirs = system.settle(&client).await? / samples;
        let peer = Peer { name: kind.name(), figure: format!("{theirs:.2} B"), ratio: theirs / own };
        Row { what: what(), ours: format!("{own:.2} B"), peer: Some(peer) }.print();
        alone = false;
    }
    if alone {
        Row { what: what(), ours: format!("{own:.2} B"), peer: None }.print();
    }
    Ok(())
}

/// Puts the frames into a store of the collector's, cuts its blocks, and gives their bytes by the samples in them. The
/// collector itself would cut two hours later.
fn disk(frames: &Frames) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let options = Options { block_span: Span::from_seconds(4 * 3600), ..Options::default() };
    let (mut store, _) = Store::open(RealDisk::open(folder.path())?, options)?;
    let mut now = Timestamp::MIN;
    for (host, frames) in frames.hosts.iter().enumerate() {
        let source = Source::Agent(NodeId(host as u64), Lane::Backfill);
        let mut reader = FrameReader::default();
        for bytes in frames {
            reader.push(bytes);
            while let Some(frame) = reader.next_frame()? {
                match Message::decode(frame)? {
                    Some(Message::Dict(dict)) => {
                        let own = |entry: &SeriesEntry| {
                            entry.labels.with("instance", &format!("bench-{host}")).with("job", "node")
                        };
                        let labels: Vec<Labels> = dict.add.iter().map(own).collect();
                        store.set_dictionary(&source, &dict, &labels)?;
                    }
                    Some(Message::Data(data)) => {
                        let at = Timestamp::from_millis(data.ts_ms);
                        now = now.max(at);
                        store.append(&source, Position { epoch: 1, seq: data.seq }, at, &data)?;
                    }
                    _ => bail!("a host sends dictionaries and values"),
                }
            }
            if store.pending().bytes > 1 << 20 {
                store.sync()?;
            }
        }
    }
    store.sync()?;
    // The first look notes since when there is data, the later ones that a block's time is over.
    let end = now + Span::from_seconds(DAY);
    for at in [now, end].into_iter().chain(std::iter::repeat_n(end + Span::from_seconds(DAY), MAX_STEPS)) {
        let busy = store.maintain(at)?.busy;
        let found = store.stats();
        if !busy && found.block_samples >= frames.samples as u64 {
            return Ok(found.block_bytes as f64 / found.block_samples as f64);
        }
    }
    bail!("the store has {} of {} samples in blocks", store.stats().block_samples, frames.samples)
}
