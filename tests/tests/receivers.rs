//! Receivers that hang, with real processes: nobody else waits for them, and they miss nothing.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchfire_tests::bench::account::usage;
use watchfire_tests::house::{House, Setup};
use watchfire_tests::sink::Sink;
use watchfire_tests::sink::mail::MailSink;
use watchfire_tests::sink::silent::Silent;

/// Far less than the hanging receivers would take one after the other: 10 s and more for every eight of [`GROUPS`].
const SOON: Duration = Duration::from_secs(60);
/// Groups of one alert each; much more than may be under way for one receiver.
const GROUPS: usize = 200;
/// What the notifications that wait may add to the collector's memory, bytes: 100 KiB for each of two times [`GROUPS`].
const MEMORY: f64 = 40e6;

async fn post(house: &House, alerts: &[Value]) {
    let url = format!("http://{}/api/v2/alerts", house.node("watch").http);
    let response = reqwest::Client::new().post(url).json(&alerts).send().await.expect("the collector answers");
    assert!(response.status().is_success(), "{}", response.status());
}

fn alerts(summary: &str) -> Vec<Value> {
    let alert = |number: usize| json!({"labels": {"alertname": "Posted", "instance": format!("host-{number}")}, "annotations": {"summary": summary}});
    (0..GROUPS).map(alert).collect()
}

/// Waits until a webhook was told of every group.
async fn wait_until_told(house: &House, sink: &Sink, who: &str) {
    house
        .wait(&format!("{who} hears of every group"), SOON, async || {
            let told = |number: usize| sink.count("firing", "Posted", &format!("host-{number}")) > 0;
            (0..GROUPS).all(told).then_some(())
        })
        .await;
}

async fn waiting(house: &House) -> u64 {
    let status = house.get("watch", "/v1/status").await.unwrap_or_default();
    status["notifications"]["queued"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_hang_delay_no_other_and_get_everything_once_they_answer() {
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), Setup::default()).await;
    let (webhook, mail) = (Silent::start().await.unwrap(), Silent::start().await.unwrap());
    house.receivers = format!(
        "      - url: http://{}/\n    email_configs:\n      - {{to: a@example.org, from: w@example.org, smarthost: '{}', require_tls: false}}\n",
        webhook.address, mail.address
    );
    house.add_collector("watch", &[]);
    let join = [house.node("watch").gossip];
    house.add_agent("a", &join);
    house.add_agent("b", &join);
    house.wait_until_complete(SOON).await;
    let before = usage(house.pid("watch")).rss_bytes;

    post(&house, &alerts("first")).await;
    wait_until_told(&house, &house.sink, "the healthy webhook").await;
    let killed = Instant::now();
    house.kill("b");
    house.wait_for_alert("firing", "AgentDown", "b", killed, SOON).await;

    // The same alerts again are no more notifications: one waits for each group and receiver.
    for _ in 0..5 {
        post(&house, &alerts("again")).await;
    }
    let queued = waiting(&house).await;
    assert!(queued as usize >= 2 * GROUPS && queued as usize <= 2 * (GROUPS + 2), "{queued} are waiting");
    let grown = usage(house.pid("watch")).rss_bytes - before;
    assert!(grown < MEMORY, "{grown} bytes more for {queued} notifications");

    // A stop waits for nobody who hangs, and whoever answers later has missed nothing.
    assert_eq!(house.stop("watch"), Some(0));
    let (webhook, mail) = (webhook.wake().await, mail.wake().await);
    let (webhook, mail) = (Sink::serve(webhook).unwrap(), MailSink::serve(mail).unwrap());
    house.sink.clear();
    house.start("watch");
    wait_until_told(&house, &webhook, "the webhook that hung").await;
    let told =
        |number: usize| mail.mails().iter().any(|mail| mail.holds(&["[FIRING:1] Posted", &format!("host-{number} ")]));
    house.wait("a mail tells of every group", SOON, async || (0..GROUPS).all(told).then_some(())).await;
    house.wait("nothing waits any more", SOON, async || (waiting(&house).await == 0).then_some(())).await;
    assert_eq!(house.sink.count("firing", "Posted", "host-0"), 0, "the healthy one is not told again");
    let once = (0..GROUPS).all(|number| webhook.count("firing", "Posted", &format!("host-{number}")) == 1);
    assert!(once, "each notification arrives once");
}
