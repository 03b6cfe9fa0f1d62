//! From `kill -9` of an agent to the people: the webhook's body, Slack's message and the end of the mail's DATA, with
//! group_wait 0.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Effort;
use super::account::Spread;
use super::row::Row;
use crate::house::{House, Setup};
use crate::sink::mail::MailSink;

/// Agents of the fleet; one of them is killed in each round.
const AGENTS: usize = 10;
const WITHIN: Duration = Duration::from_secs(60);
/// Where Slack's messages are posted at the sink.
const SLACK: &str = "/services/T0/B0/x";

/// Kills one of ten agents again and again.
///
/// # Errors
/// If a process cannot be started.
pub async fn run(binary: &Path, effort: Effort) -> anyhow::Result<()> {
    let rounds = effort.of(60).max(3);
    let mut house =
        House::new(binary, Setup { interval: "1s", profile: "lan", rule_interval: "15s", ..Setup::default() }).await;
    let mail = MailSink::start().await?;
    house.receivers = format!(
        "    slack_configs:\n      - {{api_url: 'http://{}{SLACK}', channel: '#alerts'}}\n    email_configs:\n      - {{to: a@example.org, from: w@example.org, smarthost: '{}', require_tls: false}}\n",
        house.sink.address, mail.address
    );
    house.add_collector("watch", &[]);
    let join = [house.node("watch").gossip];
    for i in 0..AGENTS {
        house.add_agent(&format!("agent-{i}"), &join);
    }
    house.wait_until_complete(WITHIN).await;
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        let victim = format!("agent-{}", round % AGENTS);
        house.sink.clear();
        mail.clear();
        let killed = Instant::now();
        house.kill(&victim);
        let times = arrivals(&house, &mail, &victim, killed).await;
        for (all, time) in seconds.iter_mut().zip(times) {
            all.push(time.as_secs_f64());
        }
        house.start(&victim);
        house.wait_until_complete(WITHIN).await;
        house.wait_for_alert("resolved", "AgentDown", &victim, killed, WITHIN).await;
    }
    for (what, seconds) in ["the webhook", "Slack's message", "the end of SMTP's DATA"].into_iter().zip(seconds) {
        let spread = Spread::of(seconds);
        Row {
            what: format!("kill -9 of one of {AGENTS} agents to {what}, `lan`, {rounds} kills"),
            ours: format!(
                "median {:.2} s, p99 {:.2} s ({:.2} to {:.2})",
                spread.median, spread.p99, spread.min, spread.max
            ),
            peer: None,
        }
        .print();
    }
    Ok(())
}

/// How long after the kill each of the three was told.
async fn arrivals(house: &House, mail: &MailSink, victim: &str, killed: Instant) -> [Duration; 3] {
    let webhook = house.wait_for_alert("firing", "AgentDown", victim, killed, WITHIN).await;
    let texts = ["[FIRING:1]", "AgentDown", victim];
    let told = format!("Slack is told of {victim}");
    let slack = house.wait(&told, WITHIN, async || house.sink.find_text(SLACK, &texts)).await.at;
    let told = format!("a mail tells of {victim}");
    let taken = async || mail.mails().into_iter().find(|mail| mail.holds(&texts));
    let mail = house.wait(&told, WITHIN, taken).await.at;
    [webhook, slack.saturating_duration_since(killed), mail.saturating_duration_since(killed)]
}
