//! The rows of one fleet, beside those of the peer's.

use super::super::account::Spread;
use super::super::row::{Peer, Row};
use super::faults::Faults;
use super::{Measured, Times};

pub(super) fn print(size: usize, profile: &str, ours: &Measured, theirs: Option<&Measured>) {
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
    row("started at once, until all know all", |measured| (format!("{:.1} s", measured.complete), measured.complete));
    faults(size, profile, ours, theirs);
    let accused = |measured: &Measured| format!("{} wrongly failed", measured.accused);
    let peer = theirs.map(|theirs| Peer { name: theirs.name.clone(), figure: accused(theirs), ratio: 1.0 });
    Row { what: format!("membership, N={size}, `{profile}`: others, over all trials"), ours: accused(ours), peer }
        .print();
}

fn faults(size: usize, profile: &str, ours: &Measured, theirs: Option<&Measured>) {
    type Text = fn(&Faults) -> Option<String>;
    let cases: [(&str, Text); 5] = [
        ("SIGSTOP of one for 10 s", |faults| Some(format!("{} others wrongly failed", faults.stopped))),
        ("rolling restart of all", |faults| Some(format!("{} told as failed", faults.rolling))),
        ("one isolated for 60 s, back after healing", |faults| {
            faults.isolated.map(|(back, wrong)| format!("{back:.1} s; {wrong} others wrongly failed"))
        }),
        ("split 50/50 for 60 s, 99 % / all pairs whole after healing", |faults| {
            faults.split.map(|(most, all, wrong)| format!("{most:.1} / {all:.1} s; {wrong} told as failed after"))
        }),
        ("30 % of datagrams lost for 60 s, then a silent death, all know", |faults| {
            faults.lossy.map(|(wrong, seconds)| format!("{wrong} wrongly failed; {seconds:.1} s"))
        }),
    ];
    for (case, text) in cases {
        let Some(own) = ours.faults.as_ref().and_then(text) else { continue };
        let peer = theirs.and_then(|theirs| {
            let figure = theirs.faults.as_ref().and_then(text)?;
            Some(Peer { name: theirs.name.clone(), figure, ratio: f64::NAN })
        });
        Row { what: format!("membership, N={size}, `{profile}`: {case}"), ours: own, peer }.print();
    }
}

fn written(times: &Times) -> String {
    let (first, all) = (Spread::of(times.first.clone()), Spread::of(times.all.clone()));
    format!("median {:.2} / {:.2} s (all: {:.2} to {:.2})", first.median, all.median, all.min, all.max)
}
