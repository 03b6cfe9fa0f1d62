//! What happens to a network and to programs short of dying: stopped processes, restarts, loss, isolation, a split.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::fleet::{Fleet, What};
use super::namespace::{Firewall, address};
use super::{SETTLE, WITHIN, bring_back};

/// How long a fleet is watched after the trouble is over.
const AFTERWARDS: Duration = Duration::from_secs(15);
const STOPPED: Duration = Duration::from_secs(10);
const BROKEN: Duration = Duration::from_secs(60);
/// Between a restart and the next of a rolling one.
const PACE: Duration = Duration::from_millis(500);
/// How often it is looked whether a network is whole.
const POLL: Duration = Duration::from_millis(20);

/// What a fleet did.
#[derive(Default)]
pub(super) struct Faults {
    /// Members that others wrongly said to have failed while one was stopped.
    pub(super) stopped: usize,
    /// Times that anybody was said to have failed during a rolling restart.
    pub(super) rolling: usize,
    /// Members wrongly said to have failed under loss, and seconds until all knew of a silent death then.
    pub(super) lossy: Option<(usize, f64)>,
    /// Seconds from healing until all pairs were whole, and members wrongly said to have failed.
    pub(super) isolated: Option<(f64, usize)>,
    /// Seconds until 99 of 100 pairs were whole, until all were, and failures that were told after healing.
    pub(super) split: Option<(f64, f64, usize)>,
}

/// Brings all of it about, one after another; the fleet is complete and followed.
pub(super) async fn measure<F: Fleet>(
    fleet: &mut F,
    size: usize,
    firewall: Option<&Firewall>,
) -> anyhow::Result<Faults> {
    let mut faults = Faults { stopped: stop(fleet).await, ..Faults::default() };
    if let Some(firewall) = firewall {
        faults.isolated = Some(isolate(fleet, size, firewall).await?);
        faults.split = Some(split(fleet, size, firewall).await?);
        faults.lossy = Some(lose(fleet, size, firewall).await?);
    }
    faults.rolling = roll(fleet, size).await?;
    Ok(faults)
}

async fn stop<F: Fleet>(fleet: &F) -> usize {
    let (victim, since) = (2, Instant::now());
    fleet.processes().signal(victim, Signal::STOP);
    tokio::time::sleep(STOPPED).await;
    fleet.processes().signal(victim, Signal::CONT);
    tokio::time::sleep(AFTERWARDS).await;
    fleet.accused(victim, since)
}

async fn roll<F: Fleet>(fleet: &mut F, size: usize) -> anyhow::Result<usize> {
    let since = Instant::now();
    // Member 0 as well: the others know each other, and it knows them from before.
    for member in 0..size {
        fleet.leave(member);
        fleet.wait_for_end(member, WITHIN).await?;
        fleet.start(member)?;
        fleet.follow_one(member).await?;
        tokio::time::sleep(PACE).await;
    }
    tokio::time::sleep(AFTERWARDS).await;
    Ok(fleet.journal().failures(since))
}

async fn lose<F: Fleet>(fleet: &mut F, size: usize, firewall: &Firewall) -> anyhow::Result<(usize, f64)> {
    let since = Instant::now();
    firewall.lose(30, fleet.port())?;
    tokio::time::sleep(BROKEN).await;
    let accused = fleet.accused(size, since);
    let (victim, since) = (1, Instant::now());
    super::silence(fleet, victim, Some(firewall))?;
    if let Err(error) = fleet.told(victim, What::Failed, since, size - 1, WITHIN).await {
        eprintln!("bench: {error:#}");
    }
    let seconds = since.elapsed().as_secs_f64();
    fleet.kill(victim);
    firewall.let_all_through()?;
    bring_back(fleet, size, victim).await?;
    Ok((accused, seconds))
}

async fn isolate<F: Fleet>(fleet: &F, size: usize, firewall: &Firewall) -> anyhow::Result<(f64, usize)> {
    let (victim, since) = (3, Instant::now());
    firewall.isolate(address(victim), fleet.port())?;
    tokio::time::sleep(BROKEN).await;
    let healed = Instant::now();
    firewall.let_all_through()?;
    let back = whole(fleet, size, 100, healed).await?;
    tokio::time::sleep(AFTERWARDS).await;
    Ok((back, fleet.accused(victim, since)))
}

async fn split<F: Fleet>(fleet: &F, size: usize, firewall: &Firewall) -> anyhow::Result<(f64, f64, usize)> {
    firewall.split(fleet.port())?;
    tokio::time::sleep(BROKEN).await;
    let healed = Instant::now();
    firewall.let_all_through()?;
    let most = whole(fleet, size, 99, healed).await?;
    let all = whole(fleet, size, 100, healed).await?;
    tokio::time::sleep(AFTERWARDS).await;
    Ok((most, all, fleet.journal().failures(healed)))
}

/// Seconds from healing until so many of 100 pairs hold each other for alive.
async fn whole<F: Fleet>(fleet: &F, size: usize, percent: usize, healed: Instant) -> anyhow::Result<f64> {
    loop {
        if let Some(since) = fleet.journal().whole_since(size, percent) {
            return Ok(since.saturating_duration_since(healed).as_secs_f64());
        }
        if healed.elapsed() > WITHIN + SETTLE {
            eprintln!("bench: {}: {percent} of 100 pairs are not whole again", fleet.name());
            return Ok(healed.elapsed().as_secs_f64());
        }
        tokio::time::sleep(POLL).await;
    }
}
