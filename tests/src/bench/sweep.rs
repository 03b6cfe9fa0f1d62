//! The membership in virtual time: whole fleets of [`watchfire_gossip::Gossip`] in one thread, as fast as they compute.
//!
//! It measures what real processes cannot show on one machine: a thousand members, weeks, the same trouble for every
//! setting. `bench --only sweep` runs every case for both profiles; `--only sweep:NAME` one of [`CASES`]; `--pace
//! alpha=3,k=4` puts a third row beside the profiles, `lan` with these figures changed. Every run with the same seed
//! gives the same figures.

mod cases;

mod ours;

mod raw;

mod world;

use std::time::Instant;

use watchfire_gossip::{Pace, Profile};
use watchfire_shared::time::Span;

use super::Effort;
use super::account::{Spread, usage};
use cases::Times;
use ours::Fleet;

/// The cases, each with what its goal is for `lan` and for `fast`.
pub const CASES: [&str; 12] = [
    "killed", "silent", "most", "large", "held-up", "ordinary", "lossy", "cut-off", "join", "leave", "stopped", "idle",
];
/// What is only measured by name: it takes a machine of 24 GiB for itself.
const LARGEST: &str = "largest";

/// Runs one case, or all of them.
///
/// # Errors
/// If there is no such case, or `pace` is not understood.
pub fn run(effort: Effort, case: Option<&str>, pace: Option<&str>) -> anyhow::Result<()> {
    if let Some(case) = case {
        anyhow::ensure!(
            ["curve", LARGEST].contains(&case) || CASES.contains(&case),
            "there is no case {case}; there are {CASES:?}, {LARGEST} and curve"
        );
    }
    if case == Some("curve") {
        curve(effort);
        return Ok(());
    }
    let mut subjects = vec![("lan".to_owned(), Profile::Lan.pace()), ("fast".to_owned(), Profile::Fast.pace())];
    if let Some(changes) = pace {
        subjects = vec![(changes.to_owned(), changed(Profile::Lan.pace(), changes)?)];
    }
    println!("| case | settings | measured | CPU |\n|---|---|---|---|");
    for (name, pace) in &subjects {
        for case in CASES.iter().chain(&[LARGEST]).filter(|one| case.map_or(**one != LARGEST, |case| case == **one)) {
            measure(case, name, *pace, effort);
        }
    }
    if case.is_none_or(|case| case == "held-up") {
        row("held-up, N=128", "raw foca, new_lan", || sweep_raw(effort));
    }
    Ok(())
}

/// `lan` with some figures changed: `probe=500,answer=200,alpha=3,beta=6,k=3,gossip=200,fanout=3`.
fn changed(mut pace: Pace, changes: &str) -> anyhow::Result<Pace> {
    for change in changes.split(',') {
        let (name, value) = change.split_once('=').unwrap_or((change, ""));
        let number: f64 = value.parse().map_err(|_| anyhow::anyhow!("{change}: expected NAME=NUMBER"))?;
        match name {
            "probe" => pace.probe_ms = number as u64,
            "answer" => pace.answer_ms = number as u64,
            "alpha" => pace.suspicion = number,
            "beta" => pace.longest = number,
            "k" => pace.confirmations = number as usize,
            "gossip" => pace.gossip_ms = number as u64,
            "fanout" => pace.fanout = number as usize,
            _ => anyhow::bail!("{name}: expected probe, answer, alpha, beta, k, gossip or fanout"),
        }
    }
    Ok(pace)
}

/// Prints a case's row as it comes, for a run takes minutes.
fn row(case: &str, settings: &str, measure: impl FnOnce() -> String) {
    let (started, before) = (Instant::now(), usage(std::process::id()).cpu_seconds);
    let measured = measure();
    let used = usage(std::process::id());
    eprintln!(
        "{case}, {settings}: {:.1} s, {:.0} MiB",
        started.elapsed().as_secs_f64(),
        used.rss_bytes / f64::from(1 << 20)
    );
    println!("| {case} | {settings} | {measured} | {:.1} s |", used.cpu_seconds - before);
}

fn measure(case: &str, name: &str, pace: Pace, effort: Effort) {
    let full = effort == Effort::Full;
    let trials = if full { 30 } else { 9 };
    let fleet = |members| Fleet::new(pace, members);
    match case {
        "killed" | "silent" => {
            let sizes: &[usize] = &[10, 50, 100];
            for size in sizes {
                row(&format!("{case}, N={size}, first / all know"), name, || {
                    let mut world = fleet(*size).at_rest();
                    written(&cases::deaths(fleet(*size), &mut world, case == "killed", trials))
                });
            }
        }
        // Whole views of everybody are in memory at once: 0.7 GiB for a thousand members, 18 for five thousand.
        "large" | LARGEST => {
            let (size, trials) = match (case, full) {
                (LARGEST, _) => (5000, 3),
                (_, true) => (1000, 15),
                (_, false) => (1000, 5),
            };
            row(&format!("silent, N={size}, first / all know"), name, || {
                let mut world = fleet(size).at_rest();
                let times = cases::deaths(fleet(size), &mut world, false, trials);
                let killed = cases::deaths(fleet(size), &mut world, true, trials);
                let memory = usage(std::process::id()).rss_bytes / size as f64 / 1024.0;
                format!("{}; killed, {}; {memory:.0} KiB a member", written(&times), written(&killed))
            });
        }
        "held-up" => row("held-up, N=128", name, || sweep_ours(fleet(128), effort)),
        "ordinary" => {
            let hours = if full { 24 } else { 1 };
            row(&format!("ordinary network, N=200, {} member hours", hours * 200), name, || {
                // A month's pauses (one a day for each member) and restarts (one a week for each) in those hours.
                let compressed = 720.0 / hours as f64;
                let pauses = (200.0 / 24.0 * compressed).min(60.0);
                let restarts = (200.0 / 168.0 * compressed).min(30.0);
                let wrong = cases::ordinary(fleet(200), hours, pauses, restarts);
                format!(
                    "{wrong} wrong downs; {:.0} pauses, {:.0} restarts",
                    pauses * hours as f64,
                    restarts * hours as f64
                )
            });
        }
        "lossy" => {
            for loss in [0.1, 0.3] {
                row(&format!("{:.0} % loss, N=100, 10 min, then silent deaths", loss * 100.0), name, || {
                    let (wrong, times) = cases::lossy(fleet(100), loss, if full { 10 } else { 3 });
                    format!("{wrong} wrong downs; {}", written(&times))
                });
            }
        }
        "most" => {
            for (members, left) in [(6, 2), (12, 3), (30, 12), (30, 4)] {
                row(&format!("all but {left} of {members} silent at once, all know"), name, || {
                    let seeds = if full { 21 } else { 5 };
                    let runs = (0..seeds).map(|seed| cases::most_die(fleet(members).seeded(seed), left));
                    let (times, wrong): (Vec<f64>, Vec<usize>) = runs.unzip();
                    let times = Spread::of(times);
                    format!(
                        "median {:.1} s (to {:.1}); {} wrong downs",
                        times.median,
                        times.max,
                        wrong.iter().sum::<usize>()
                    )
                });
            }
        }
        "cut-off" => {
            let short = [5, 6, 7, 9].map(|seconds| (100, 40, seconds));
            for (members, cut, seconds) in [(50, 1, 60), (100, 50, 60), (100, 10, 60)].into_iter().chain(short) {
                row(&format!("{cut} of {members} cut off for {seconds} s, 99 % / all pairs back"), name, || {
                    let healed = cases::cut_off(fleet(members), cut, seconds);
                    format!(
                        "{:.2} / {:.2} s; wrong downs {} before, {} after",
                        healed.most, healed.all, healed.wrong_before, healed.wrong_after
                    )
                });
            }
        }
        "join" => {
            row("newcomer knows all / is known to all, N=1000", name, || {
                let (knows, known) = cases::newcomer(fleet(1000));
                format!("{knows:.2} / {known:.2} s")
            });
            row("mass start, N=100, all pairs", name, || format!("{:.2} s", cases::mass_start(fleet(100))));
        }
        "leave" => row("leave known to all, N=50", name, || {
            let (times, wrong) = cases::goodbyes(fleet(50), 9);
            let times = Spread::of(times);
            format!("median {:.2} s (to {:.2}); {wrong} seen as down", times.median, times.max)
        }),
        "stopped" => {
            row("stopped for 10 s, N=50", name, || {
                format!("{} downs of others", cases::stopped(fleet(50), Span::from_seconds(10)))
            });
            row("rolling restart, N=50", name, || format!("{} downs", cases::rolling_restart(fleet(50))));
        }
        "idle" => row("sent by a member at rest, encrypted, N=50", name, || {
            let (bytes, datagrams) = cases::idle(Fleet { sealed: true, ..fleet(50) }, if full { 600 } else { 120 });
            format!("{bytes:.0} B/s, {datagrams:.2} datagrams/s")
        }),
        _ => {}
    }
}

fn written(times: &Times) -> String {
    let (first, all) = (Spread::of(times.first.clone()), Spread::of(times.all.clone()));
    format!("median {:.2} / {:.2} s (all: {:.2} to {:.2})", first.median, all.median, all.min, all.max)
}

/// How many members are held up, for how long, with what gap.
fn conditions(effort: Effort) -> Vec<(usize, i64, i64)> {
    let full = effort == Effort::Full;
    let counts: &[usize] = if full { &[1, 4, 8, 16, 32] } else { &[4, 32] };
    let spans: &[i64] = if full { &[2, 8, 16, 32] } else { &[8, 32] };
    let gaps: &[i64] = if full { &[64, 1000, 4000] } else { &[64, 4000] };
    let mut all = Vec::new();
    for count in counts {
        for span in spans {
            all.extend(gaps.iter().map(|gap| (*count, *span, *gap)));
        }
    }
    all
}

fn sweep_ours(fleet: Fleet, effort: Effort) -> String {
    let (mut all, mut healthy) = (0, 0);
    for (at, (count, span, gap)) in conditions(effort).into_iter().enumerate() {
        let mut world = fleet.seeded(100 + at as u64).at_rest();
        let (wrong, among) = cases::held_up(&mut world, count, Span::from_seconds(span), Span::from_millis(gap));
        all += wrong;
        healthy += among;
    }
    format!("{all} wrong downs, {healthy} at healthy members")
}

fn sweep_raw(effort: Effort) -> String {
    let (mut all, mut healthy) = (0, 0);
    for (at, (count, span, gap)) in conditions(effort).into_iter().enumerate() {
        let mut world = raw::at_rest(128, 100 + at as u64);
        let (wrong, among) = cases::held_up(&mut world, count, Span::from_seconds(span), Span::from_millis(gap));
        all += wrong;
        healthy += among;
    }
    format!("{all} wrong downs, {healthy} at healthy members")
}

/// Detection time against false deaths against bytes, for settings around those of the profiles.
fn curve(effort: Effort) {
    println!(
        "| probe / answer | alpha | beta | K | silent N=10 | N=50 | N=100 | wrong downs, at healthy | B/s |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (probe_ms, answer_ms) in [(1000, 500), (500, 200)] {
        for (suspicion, longest, confirmations) in
            [(2.0, 6.0, 3), (3.0, 6.0, 3), (3.0, 8.0, 4), (4.0, 6.0, 3), (5.0, 6.0, 3)]
        {
            let pace = Pace { probe_ms, answer_ms, suspicion, longest, confirmations, ..Profile::Lan.pace() };
            let silent = |members| {
                let fleet = Fleet::new(pace, members);
                let times =
                    cases::deaths(fleet, &mut fleet.at_rest(), false, if effort == Effort::Full { 30 } else { 9 });
                format!("{:.2} / {:.2}", Spread::of(times.first).median, Spread::of(times.all).median)
            };
            let (ten, fifty, hundred) = (silent(10), silent(50), silent(100));
            let wrong = sweep_ours(Fleet::new(pace, 128), effort);
            let (bytes, _) = cases::idle(Fleet { sealed: true, ..Fleet::new(pace, 50) }, 120);
            println!(
                "| {probe_ms} / {answer_ms} ms | {suspicion} | {longest} | {confirmations} | {ten} | {fifty} | {hundred} | {wrong} | {bytes:.0} |"
            );
        }
    }
}
