//! Membership beside Serf: fleets of real processes in one network namespace, each member with an address of its own.
//!
//! The same trials for both, one fleet at a time: kill -9 until all others know, a host that falls silent (its packets are
//! dropped in both directions, so nothing refuses), a graceful leave, and what an idle member costs. The clock runs from the
//! signal to the line or event in which a member tells of it. What others are wrongly said to have failed is counted.

mod fleet;

mod namespace;

mod ours;

mod serf;

use std::path::Path;
use std::time::{Duration, Instant};

use fleet::{Fleet, What};
use namespace::Firewall;

use super::Effort;
use super::account::{Spread, usage};
use super::row::{Peer, Row};

/// How long a trial may take; a fleet that is slower has failed.
const WITHIN: Duration = Duration::from_secs(120);
/// What a fleet does after it is complete, and between two trials, does not count.
const SETTLE: Duration = Duration::from_secs(5);

/// Starts this program again in a network namespace of its own, where [`inside`] measures.
///
/// # Errors
/// If that cannot be started or fails. Without root nothing is measured, which is said and no error.
pub async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    if let Some(reason) = namespace::unavailable() {
        eprintln!("bench: membership is not measured: {reason}");
        return Ok(());
    }
    namespace::enter(binary, effort).await
}

/// Measures all sizes of fleets; this process has a network namespace of its own.
///
/// # Errors
/// If a process of the house cannot be started; a missing peer or packet filter is said and no error.
pub async fn inside(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    namespace::loopback_up()?;
    let firewall = Firewall::find();
    if firewall.is_none() {
        eprintln!("bench: no host falls silent: neither nft nor iptables is installed");
    }
    let sizes: &[usize] = if effort == Effort::Full { &[10, 50, 100] } else { &[10] };
    let profiles: &[&str] = if effort == Effort::Full { &["lan", "fast"] } else { &["lan"] };
    for size in sizes {
        let theirs = match super::peer("serf") {
            Some(program) => Some(measure(serf::Serf::new(program), *size, effort, firewall.as_ref()).await?),
            None => None,
        };
        for profile in profiles {
            let ours = measure(ours::Agents::new(binary, profile), *size, effort, firewall.as_ref()).await?;
            report(*size, profile, &ours, theirs.as_ref());
        }
    }
    Ok(())
}

/// How long after a change the first and the last of the others told of it, seconds.
#[derive(Default)]
struct Times {
    first: Vec<f64>,
    all: Vec<f64>,
}

/// What one fleet did.
struct Measured {
    name: String,
    kill: Times,
    silent: Times,
    leave: Times,
    /// Members that were said to have failed and had not, over all trials.
    accused: usize,
    /// Bytes that a member sends in a second.
    traffic: f64,
    /// Ratio of one CPU that a member uses.
    cpu: f64,
    rss_bytes: f64,
    seconds: f64,
}

async fn measure<F: Fleet>(
    mut fleet: F,
    size: usize,
    effort: Effort,
    firewall: Option<&Firewall>,
) -> anyhow::Result<Measured> {
    let trials = effort.of(10).max(3);
    for member in 0..size {
        fleet.start(member)?;
    }
    fleet.wait_until_complete(size, WITHIN).await?;
    tokio::time::sleep(SETTLE).await;
    let mut measured = idle(&fleet, size, effort).await?;
    fleet.follow(size).await?;
    for trial in 0..trials {
        // Member 0 is the one that all others join.
        let victim = 1 + trial % (size - 1);
        let since = Instant::now();
        fleet.kill(victim);
        measured.accused += note(&mut measured.kill, &fleet, size, victim, What::Failed, since).await?;
        bring_back(&mut fleet, size, victim).await?;
    }
    for trial in 0..firewall.map_or(0, |_| trials) {
        let victim = 1 + trial % (size - 1);
        let since = Instant::now();
        firewall.map_or(Ok(()), |firewall| firewall.silence(namespace::address(victim)))?;
        measured.accused += note(&mut measured.silent, &fleet, size, victim, What::Failed, since).await?;
        // It comes back as another life, as after a power failure.
        fleet.kill(victim);
        firewall.map_or(Ok(()), Firewall::let_all_through)?;
        bring_back(&mut fleet, size, victim).await?;
    }
    for trial in 0..trials {
        let victim = 1 + trial % (size - 1);
        let since = Instant::now();
        fleet.leave(victim);
        measured.accused += note(&mut measured.leave, &fleet, size, victim, What::Left, since).await?;
        bring_back(&mut fleet, size, victim).await?;
    }
    Ok(measured)
}

/// Waits until every other member tells of the victim, and returns how many others were accused meanwhile.
async fn note<F: Fleet>(
    times: &mut Times,
    fleet: &F,
    size: usize,
    victim: usize,
    what: What,
    since: Instant,
) -> anyhow::Result<usize> {
    let others = size - 1;
    let told = fleet.told(victim, what, since, others, WITHIN).await?;
    let seconds: Vec<f64> = told.iter().map(|at| at.saturating_duration_since(since).as_secs_f64()).collect();
    times.first.push(seconds.iter().copied().fold(f64::INFINITY, f64::min));
    times.all.push(seconds.iter().copied().fold(0.0, f64::max));
    Ok(fleet.accused(victim, since))
}

async fn bring_back<F: Fleet>(fleet: &mut F, size: usize, victim: usize) -> anyhow::Result<()> {
    fleet.wait_for_end(victim, WITHIN).await?;
    let since = Instant::now();
    fleet.start(victim)?;
    fleet.told(victim, What::Alive, since, size - 1, WITHIN).await?;
    fleet.follow_one(victim).await?;
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

async fn idle<F: Fleet>(fleet: &F, size: usize, effort: Effort) -> anyhow::Result<Measured> {
    let time = Duration::from_secs(if effort == Effort::Full { 60 } else { 20 });
    let pids: Vec<u32> = (0..size).map(|member| fleet.pid(member)).collect();
    let cpu = || pids.iter().map(|pid| usage(*pid).cpu_seconds).sum::<f64>();
    let (bytes, before, since) = (namespace::sent_bytes()?, cpu(), Instant::now());
    tokio::time::sleep(time).await;
    let (sent, used, seconds) = (namespace::sent_bytes()? - bytes, cpu() - before, since.elapsed().as_secs_f64());
    let members = size as f64;
    Ok(Measured {
        name: fleet.name(),
        kill: Times::default(),
        silent: Times::default(),
        leave: Times::default(),
        accused: 0,
        traffic: sent / seconds / members,
        cpu: used / seconds / members,
        rss_bytes: pids.iter().map(|pid| usage(*pid).rss_bytes).sum::<f64>() / members,
        seconds,
    })
}

fn report(size: usize, profile: &str, ours: &Measured, theirs: Option<&Measured>) {
    type Of = fn(&Measured) -> &Times;
    let cases: [(&str, Of); 3] = [
        ("kill -9, the host answers", |measured| &measured.kill),
        ("a host falls silent", |measured| &measured.silent),
        ("a graceful leave", |measured| &measured.leave),
    ];
    for (case, of) in cases {
        let times = of(ours);
        if times.all.is_empty() {
            continue;
        }
        let all = Spread::of(times.all.clone());
        let peer = theirs.filter(|theirs| !of(theirs).all.is_empty()).map(|theirs| {
            let own = Spread::of(of(theirs).all.clone());
            Peer { name: theirs.name.clone(), figure: written(of(theirs)), ratio: own.median / all.median }
        });
        Row {
            what: format!(
                "membership, N={size}, `{profile}`: {case}, first / all others know, {} trials",
                times.all.len()
            ),
            ours: written(times),
            peer,
        }
        .print();
    }
    let row = |what: &str, figure: fn(&Measured) -> (String, f64)| {
        let (own, value) = figure(ours);
        let peer = theirs.map(|theirs| {
            let (text, theirs_value) = figure(theirs);
            Peer { name: theirs.name.clone(), figure: text, ratio: theirs_value / value }
        });
        Row { what: format!("membership, N={size}, `{profile}`: {what}"), ours: own, peer }.print();
    };
    row("sent by an idle member", |measured| {
        (format!("{:.0} B/s over {:.0} s", measured.traffic, measured.seconds), measured.traffic)
    });
    row("CPU of an idle member", |measured| (format!("{:.3} %", measured.cpu * 100.0), measured.cpu));
    row("resident memory of a member", |measured| {
        (format!("{:.1} MiB", measured.rss_bytes / f64::from(1 << 20)), measured.rss_bytes)
    });
    let accused = |measured: &Measured| format!("{} wrongly failed", measured.accused);
    let peer = theirs.map(|theirs| Peer { name: theirs.name.clone(), figure: accused(theirs), ratio: 1.0 });
    Row { what: format!("membership, N={size}, `{profile}`: others, over all trials"), ours: accused(ours), peer }
        .print();
}

fn written(times: &Times) -> String {
    let (first, all) = (Spread::of(times.first.clone()), Spread::of(times.all.clone()));
    format!("median {:.2} / {:.2} s (all: {:.2} to {:.2})", first.median, all.median, all.min, all.max)
}
