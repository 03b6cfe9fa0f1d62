//! Ingest: what a collector costs under saturating load of 100,000 series, acknowledged when durable, over the uplink, over
//! the uplink in TLS, and over remote write; what it keeps in memory and on disk, and how soon it is back after kill -9.
//! Beside Prometheus and VictoriaMetrics, fed the same values by remote write 1.0, one system at a time.

mod load;

mod native;

mod real;

mod remote_write;

mod sizes;

pub(super) mod systems;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Effort;
use super::row::{Peer, Row};
use load::Load;
use native::Frames;
use remote_write::{Requests, SHARDS};
use systems::{Kind, System};

/// Hosts of the load, 500 series each.
const HOSTS: usize = 200;

/// How the load travels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Native,
    NativeTls,
    RemoteWrite,
}

/// One system's run.
struct Outcome {
    name: String,
    cpu_seconds: f64,
    wall_seconds: f64,
    /// Resident memory before the load, bytes.
    empty_bytes: f64,
    /// Memory after the load that no file backs, bytes.
    anonymous_bytes: f64,
    /// From start to ready after kill -9, and how many samples were found then.
    back: Option<(Duration, f64)>,
}

/// Measures the parts whose names the filter is part of: `ingest-load`, `ingest-sizes`.
///
/// # Errors
/// If a process cannot be started or refuses the load.
pub async fn run(binary: &Path, effort: Effort, wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    // Fails only if a provider is already there, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if wanted("ingest-load") {
        saturate(binary, effort).await?;
    }
    if wanted("ingest-sizes") {
        sizes::run(effort).await?;
    }
    Ok(())
}

async fn saturate(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let load = Load::new(HOSTS, effort.of(360).max(60));
    let native = ours(binary, &load, Way::Native).await?;
    let tls = ours(binary, &load, Way::NativeTls).await?;
    // A third of the ticks: the requests of all systems are made beforehand, and take ten times the bytes of frames.
    let pushed = Load::new(HOSTS, (load.steps / 3).max(30));
    let push = ours(binary, &pushed, Way::RemoteWrite).await?;
    let mut peers = Vec::new();
    for kind in Kind::ALL {
        if let Some(system) = System::peer(kind).await? {
            peers.push(measure(kind.name(), system, &pushed, Way::RemoteWrite).await?);
        }
    }
    report(&load, &pushed, [&native, &tls, &push], &peers);
    Ok(())
}

/// Loads a collector of ours.
async fn ours(binary: &Path, load: &Load, way: Way) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let mut extra = String::new();
    if way == Way::NativeTls {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        std::fs::write(&cert, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
        extra = format!("[ingest.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\nclient_ca_file = {cert:?}\n");
    }
    let system = System::ours(binary, extra).await?;
    let outcome = match way {
        Way::NativeTls => send_native(system, load, Some(native::connector(&cert, &key)?)).await,
        Way::Native => send_native(system, load, None).await,
        Way::RemoteWrite => measure("Watchfire".into(), system, load, way).await,
    };
    let mut outcome = outcome?;
    outcome.name = "Watchfire".into();
    Ok(outcome)
}

async fn send_native(system: System, load: &Load, tls: Option<tokio_rustls::TlsConnector>) -> anyhow::Result<Outcome> {
    let address = system.ingest()?;
    let frames = Frames::of(*load);
    around("Watchfire".into(), system, load, async move { frames.send(address, tls).await }).await
}

async fn measure(name: String, system: System, load: &Load, _way: Way) -> anyhow::Result<Outcome> {
    let address = system.http();
    let requests = Requests::of(load);
    let client = reqwest::Client::builder().no_proxy().build()?;
    around(name, system, load, async move { requests.send(&client, address).await.map(drop) }).await
}

/// Measures a system around the sending, then kills it and counts what it still has.
async fn around(
    name: String,
    mut system: System,
    load: &Load,
    sending: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Outcome> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let before = system.usage();
    let started = Instant::now();
    sending.await.with_context(|| format!("loading {name}"))?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let after = system.usage();
    let back = system.kill_and_restart(&client).await?;
    let found = system.count(&client, load).await?;
    Ok(Outcome {
        name,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        wall_seconds,
        empty_bytes: before.rss_bytes,
        anonymous_bytes: after.anonymous_bytes,
        back: Some((back, found)),
    })
}

/// One row for each peer, or one without.
fn rows(what: &str, ours: &str, own: f64, peers: &[Outcome], figure: impl Fn(&Outcome) -> (String, f64)) {
    let row = |peer| Row { what: what.to_owned(), ours: ours.to_owned(), peer }.print();
    if peers.is_empty() {
        row(None);
    }
    for peer in peers {
        let (text, value) = figure(peer);
        row(Some(Peer { name: peer.name.clone(), figure: text, ratio: value / own }));
    }
}

fn report(load: &Load, pushed: &Load, [native, tls, push]: [&Outcome; 3], peers: &[Outcome]) {
    let (series, per_million) =
        (load.series(), |outcome: &Outcome, load: &Load| outcome.cpu_seconds / load.samples() as f64 * 1e6);
    let cpu = |what: &str, own: &Outcome, load: &Load, peers: &[Outcome]| {
        let own = per_million(own, load);
        let what = format!("ingest, CPU per million samples, {series} series x {}, {what}", load.steps);
        rows(&what, &format!("{own:.3} s (acknowledged = durable)"), own, peers, |peer| {
            let figure = per_million(peer, pushed);
            (format!("{figure:.2} s (remote write)"), figure)
        });
    };
    cpu("uplink", native, load, peers);
    cpu("uplink in TLS 1.3, both sides with a certificate", tls, load, &[]);
    cpu("remote write", push, pushed, peers);

    let rate = |outcome: &Outcome, load: &Load| load.samples() as f64 / outcome.wall_seconds / 1e6;
    let own = rate(native, load);
    rows(
        "ingest, samples per second of wall time, one sender, uplink",
        &format!("{own:.2} M, {} connections", load.hosts),
        own,
        &[],
        |_| unreachable!("there is no peer"),
    );
    let own = rate(push, pushed);
    for peer in peers {
        let theirs = rate(peer, pushed);
        Row {
            what: format!("ingest, samples per second of wall time, one sender, remote write, {SHARDS} at a time"),
            ours: format!("{own:.2} M"),
            peer: Some(Peer { name: peer.name.clone(), figure: format!("{theirs:.2} M"), ratio: own / theirs }),
        }
        .print();
    }

    let memory = |outcome: &Outcome| outcome.anonymous_bytes / series as f64;
    let own = memory(native);
    let what =
        format!("memory per series (anonymous), {series} series, {} samples each; peers {}", load.steps, pushed.steps);
    rows(&what, &format!("{own:.0} B"), own, peers, |peer| (format!("{:.0} B", memory(peer)), memory(peer)));
    let own = native.empty_bytes / 1048576.0;
    rows("memory of the empty process (resident)", &format!("{own:.1} MiB"), own, peers, |peer| {
        (format!("{:.1} MiB", peer.empty_bytes / 1048576.0), peer.empty_bytes / 1048576.0)
    });

    let back = |outcome: &Outcome| outcome.back.map(|(took, _)| took.as_secs_f64()).unwrap_or(f64::NAN);
    let lost = |outcome: &Outcome, load: &Load| {
        load.samples() as f64 - outcome.back.map(|(_, found)| found).unwrap_or_default()
    };
    let own = back(native);
    let what = format!(
        "ready after kill -9, {} M samples in the log; peers {} M",
        load.samples() / 1_000_000,
        pushed.samples() / 1_000_000
    );
    rows(&what, &format!("{own:.2} s, {:.0} acknowledged lost", lost(native, load)), own, peers, |peer| {
        (format!("{:.2} s, {:.0} lost", back(peer), lost(peer, pushed)), back(peer))
    });
    for (what, outcome, load) in [("TLS", tls, load), ("remote write", push, pushed)] {
        let what = format!("ready after kill -9, {} M samples that came by {what}", load.samples() / 1_000_000);
        let ours = format!("{:.2} s, {:.0} acknowledged lost", back(outcome), lost(outcome, load));
        Row { what, ours, peer: None }.print();
    }
}
