//! The names to join by: each is looked up beside the others, and what it stands for is handed over at once.
//!
//! A name that does not resolve now keeps what it stood for last, and one that is slow holds up itself alone.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use watchfire_gossip::Input;

use super::sockets;

/// Tells the machine what the names stand for, and again when that changes, until `stop`.
pub(super) async fn resolve(join: Vec<String>, inputs: mpsc::Sender<Input>, stop: CancellationToken) {
    if join.is_empty() {
        return stop.cancelled().await;
    }
    tokio::select! {
        () = keep_resolving(&join, &inputs, sockets::resolve) => {}
        () = stop.cancelled() => {}
    }
}

/// Looks names up by `look_up`, which gives nothing if a name does not resolve now. Returns when nobody listens any more.
async fn keep_resolving<'a, F: Future<Output = Option<Vec<SocketAddr>>>>(
    join: &'a [String],
    inputs: &mpsc::Sender<Input>,
    look_up: impl Fn(&'a str) -> F,
) {
    let mut ticks = tokio::time::interval(sockets::RESOLVE_EVERY);
    let mut known: Vec<Vec<SocketAddr>> = vec![Vec::new(); join.len()];
    let mut told = BTreeSet::new();
    loop {
        ticks.tick().await;
        let look_up = |(at, name): (usize, &'a String)| {
            let found = look_up(name);
            async move { (at, found.await) }
        };
        let mut found: FuturesUnordered<_> = join.iter().enumerate().map(look_up).collect();
        while let Some((at, found)) = found.next().await {
            if let Some(found) = found {
                known[at] = found;
            }
            let seeds: BTreeSet<SocketAddr> = known.iter().flatten().copied().collect();
            if seeds != told {
                told.clone_from(&seeds);
                if inputs.send(Input::Seeds(seeds.into_iter().collect())).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_holds_up_nobody_and_one_that_fails_keeps_what_it_stood_for() {
        let join = ["slow", "moves", "fails later"].map(str::to_owned);
        let (inputs, mut told) = mpsc::channel(8);
        let address = |last: u8| SocketAddr::from(([192, 0, 2, last], 7950));
        let (begin, round) = (tokio::time::Instant::now(), Cell::new(0));
        let look_up = |name: &str| {
            let name = name.to_owned();
            round.set(round.get() + u8::from(name == "slow"));
            let round = round.get();
            async move {
                match (name.as_str(), round) {
                    ("slow", _) => {
                        tokio::time::sleep(Duration::from_secs(5)).await;
                        Some(vec![address(1)])
                    }
                    ("moves", round) => Some(vec![address(10 + round)]),
                    ("fails later", 1) => Some(vec![address(3)]),
                    _ => None,
                }
            }
        };
        let seen = async {
            let mut seen = Vec::new();
            for _ in 0..4 {
                let Some(Input::Seeds(seeds)) = told.recv().await else { panic!("no seeds were told") };
                seen.push((begin.elapsed().as_secs(), seeds));
            }
            seen
        };
        let seen = tokio::select! {
            () = keep_resolving(&join, &inputs, look_up) => panic!("it ended"),
            seen = seen => seen,
        };
        let expected = [
            (0, vec![address(11)]),
            (0, vec![address(3), address(11)]),
            (5, vec![address(1), address(3), address(11)]),
            (30, vec![address(1), address(3), address(12)]),
        ];
        assert_eq!(seen, expected);
    }
}
