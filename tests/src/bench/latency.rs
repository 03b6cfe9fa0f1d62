//! From `kill -9` of an agent to the webhook's receipt of the alert, with group_wait 0.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Effort;
use super::account::Spread;
use super::row::Row;
use crate::house::{House, Setup};

/// Agents of the fleet; one of them is killed in each round.
const AGENTS: usize = 10;
const WITHIN: Duration = Duration::from_secs(60);

/// Kills one of ten agents again and again.
///
/// # Errors
/// If a process cannot be started.
pub async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let rounds = effort.of(60).max(3);
    let mut house =
        House::new(binary, Setup { interval: "1s", profile: "lan", rule_interval: "15s", ..Setup::default() }).await;
    house.add_collector("watch", &[]);
    let join = [house.node("watch").gossip];
    for i in 0..AGENTS {
        house.add_agent(&format!("agent-{i}"), &join);
    }
    house.wait_until_complete(WITHIN).await;
    let mut seconds = Vec::new();
    for round in 0..rounds {
        let victim = format!("agent-{}", round % AGENTS);
        house.sink.clear();
        let killed = Instant::now();
        house.kill(&victim);
        seconds.push(house.wait_for_alert("firing", "AgentDown", &victim, killed, WITHIN).await.as_secs_f64());
        house.start(&victim);
        house.wait_until_complete(WITHIN).await;
        house.wait_for_alert("resolved", "AgentDown", &victim, killed, WITHIN).await;
    }
    let spread = Spread::of(seconds);
    Row {
        what: format!("kill -9 of one of {AGENTS} agents to the webhook, `lan`, {rounds} kills"),
        ours: format!("median {:.2} s ({:.2} to {:.2})", spread.median, spread.min, spread.max),
        peer: None,
    }
    .print();
    Ok(())
}
