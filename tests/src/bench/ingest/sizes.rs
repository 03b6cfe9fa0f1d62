//! How many bytes a sample takes: on the wire, and on disk once it is in a block with its index. Synthetic values, and those
//! that a recorded node_exporter had.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::load::Load;
use super::native::Frames;
use super::real::Real;
use super::remote_write::Requests;
use super::systems::{Kind, System};
use crate::bench::Effort;
use crate::bench::row::{Peer, Row};

/// Hosts of the load. With this many ticks of them the log has what makes a collector of the smallest size cut a block.
const HOSTS: usize = 20;
/// Hosts that a recorded one is: its values take half of the log.
const REAL_HOSTS: usize = 30;
/// Four hours at ten seconds.
const STEPS: usize = 1440;
/// Bytes at which the collector cuts: a quarter of the least `storage.max_bytes`.
const SMALL: &str = "[storage]\nmax_bytes = 67108864\n";
/// How long a cut may take.
const MAX_CUT: Duration = Duration::from_secs(60);

/// Measures all of it.
///
/// # Errors
/// If a process cannot be started or refuses the load.
pub(super) async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
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
    let own = disk(binary, real).await?;
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
    let own = disk(binary, frames).await?;
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

/// Loads a collector until it has cut a block, and gives the bytes of the blocks by the samples in them.
async fn disk(binary: &Path, frames: Frames) -> anyhow::Result<f64> {
    let system = System::ours(binary, SMALL.to_owned()).await?;
    frames.send(system.ingest()?, None).await?;
    let System::Ours(house) = &system else { anyhow::bail!("the system is ours") };
    let started = Instant::now();
    loop {
        let figure = async |name: &str| house.metric("watch", name).await.unwrap_or_default();
        let (bytes, samples) =
            (figure("watchfire_store_block_bytes").await, figure("watchfire_store_block_samples").await);
        if samples > 0.0 {
            return Ok(bytes / samples);
        }
        ensure!(started.elapsed() < MAX_CUT, "the collector cuts no block");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
