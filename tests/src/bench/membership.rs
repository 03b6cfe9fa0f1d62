//! Membership beside Serf: fleets of real processes in one network namespace, each member with an address of its own.
//!
//! The same trials for both, one fleet at a time: kill -9 until all others know, a host that falls silent (its packets are
//! dropped in both directions, so nothing refuses), a graceful leave, what an idle member costs, and trouble short of death:
//! stopped processes, a rolling restart, loss, isolation, a split. The clock runs from the
//! signal to the line or event in which a member tells of it. What others are wrongly said to have failed is counted.

mod faults;

mod fleet;

mod part;

mod namespace;

mod ours;

mod report;

mod serf;

use std::path::Path;
use std::time::{Duration, Instant};

use fleet::{Fleet, What};
use namespace::Firewall;
pub use part::Part;
use rustix::process::Signal;

use super::Effort;
use super::account::usage;

/// How long a trial may take; a fleet that is slower has failed.
const WITHIN: Duration = Duration::from_secs(60);
/// What a fleet does after it is complete, and between two trials, does not count.
const SETTLE: Duration = Duration::from_secs(3);

/// Starts this program again in a network namespace of its own, where [`inside`] measures.
///
/// # Errors
/// If that cannot be started or fails. Without root nothing is measured, which is said and no error.
pub async fn run(binary: &Path, effort: Effort, part: &Part) -> anyhow::Result<()> {
    if let Some(reason) = namespace::unavailable() {
        eprintln!("bench: membership is not measured: {reason}");
        return Ok(());
    }
    namespace::enter(binary, effort, part).await
}

/// Measures all sizes of fleets; this process has a network namespace of its own.
///
/// # Errors
/// If a process of the house cannot be started; a missing peer or packet filter is said and no error.
pub async fn inside(binary: &Path, effort: Effort, part: &Part) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    namespace::loopback_up()?;
    let firewall = Firewall::find();
    if firewall.is_none() {
        eprintln!("bench: no host falls silent: neither nft nor iptables is installed");
    }
    for size in &part.sizes {
        let theirs = match super::peer("serf") {
            Some(program) => measure(serf::Serf::new(program), *size, effort, part, firewall.as_ref()).await,
            None => Err(anyhow::anyhow!("it is not installed")),
        };
        // Ours is measured whatever becomes of the peer.
        let theirs = theirs.map_err(|error| eprintln!("bench: N={size} without serf: {error:#}")).ok();
        for profile in &part.profiles {
            let ours = measure(ours::Agents::new(binary, profile), *size, effort, part, firewall.as_ref()).await?;
            report::print(*size, profile, &ours, theirs.as_ref());
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
    /// Seconds from the first start until everybody knew everybody.
    complete: f64,
    faults: Option<faults::Faults>,
}

async fn measure<F: Fleet>(
    mut fleet: F,
    size: usize,
    effort: Effort,
    part: &Part,
    firewall: Option<&Firewall>,
) -> anyhow::Result<Measured> {
    let (trials, started) = (part.trials, Instant::now());
    for member in 0..size {
        fleet.start(member)?;
    }
    fleet.wait_until_complete(size, WITHIN).await?;
    let complete = started.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let mut measured = idle(&fleet, size, effort).await?;
    measured.complete = complete;
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
        silence(&fleet, victim, firewall)?;
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
    if part.faults {
        measured.faults = Some(faults::measure(&mut fleet, size, firewall).await?);
    }
    Ok(measured)
}

/// Makes a member's host fall silent. Its program is stopped as well: a connection that it opens has no address of its own
/// in this namespace, and would get through.
fn silence<F: Fleet>(fleet: &F, victim: usize, firewall: Option<&Firewall>) -> anyhow::Result<()> {
    fleet.processes().signal(victim, Signal::STOP);
    firewall.map_or(Ok(()), |firewall| firewall.silence(namespace::address(victim)))
}

/// Waits until every other member tells of the victim, and returns how many others were accused meanwhile. A trial in
/// which not all of them tell is said, and counts with the whole time.
async fn note<F: Fleet>(
    times: &mut Times,
    fleet: &F,
    size: usize,
    victim: usize,
    what: What,
    since: Instant,
) -> anyhow::Result<usize> {
    let others = size - 1;
    let told = match fleet.told(victim, what, since, others, WITHIN).await {
        Ok(told) => told,
        Err(error) => {
            eprintln!("bench: {error:#}");
            vec![since + WITHIN]
        }
    };
    let seconds: Vec<f64> = told.iter().map(|at| at.saturating_duration_since(since).as_secs_f64()).collect();
    times.first.push(seconds.iter().copied().fold(f64::INFINITY, f64::min));
    times.all.push(seconds.iter().copied().fold(0.0, f64::max));
    Ok(fleet.accused(victim, since))
}

async fn bring_back<F: Fleet>(fleet: &mut F, size: usize, victim: usize) -> anyhow::Result<()> {
    fleet.wait_for_end(victim, WITHIN).await?;
    let since = Instant::now();
    fleet.start(victim)?;
    if let Err(error) = fleet.told(victim, What::Alive, since, size - 1, WITHIN).await {
        eprintln!("bench: {error:#}");
    }
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
        complete: 0.0,
        faults: None,
    })
}
