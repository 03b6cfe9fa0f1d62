//! The main job with real processes on loopback: a webhook hears of what is killed here.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_tests::house::{House, Setup};

/// Generous: a loaded machine must not fail a test that a quiet one passes in a few seconds.
const SOON: Duration = Duration::from_secs(60);

async fn house_of(agents: &[&str]) -> House {
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), Setup::default()).await;
    house.add_collector("watch", &[]);
    let join = [house.node("watch").gossip];
    for name in agents {
        house.add_agent(name, &join);
    }
    house.wait_until_complete(SOON).await;
    house
}

async fn wait_for_reports(house: &House, agents: usize) {
    house
        .wait("every agent reports", SOON, async || {
            let up = house.query("watch", "sum(up{job=\"node\"})").await?;
            (up as usize == agents).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_is_alerted_and_its_return_resolves_the_alert() {
    let mut house = house_of(&["a", "b", "c"]).await;
    wait_for_reports(&house, 3).await;
    let killed = Instant::now();
    house.kill("b");
    house.wait_for_state("a", "b", "down", SOON).await;
    house.wait_for_state("watch", "b", "down", SOON).await;
    house.wait_for_alert("firing", "AgentDown", "b", killed, SOON).await;
    house.start("b");
    house.wait_for_state("a", "b", "alive", SOON).await;
    house.wait_for_alert("resolved", "AgentDown", "b", killed, SOON).await;
    assert_eq!(house.sink.count("firing", "AgentDown", "b"), 1, "{}", house.logs());
    for (_, alert, instance) in house.sink.received().iter().flat_map(|received| received.alerts()) {
        assert!(instance == "b" || !alert.ends_with("Down"), "{alert} accuses {instance}\n{}", house.logs());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_killed_between_firing_and_delivery_still_notifies() {
    let mut house = house_of(&["a", "b"]).await;
    wait_for_reports(&house, 2).await;
    house.sink.refuse(true);
    house.kill("b");
    house
        .wait("the alert fires", SOON, async || {
            let firing = house
                .query("watch", "count(ALERTS{alertname=\"AgentDown\",instance=\"b\",alertstate=\"firing\"})")
                .await?;
            (firing > 0.0).then_some(())
        })
        .await;
    house.kill("watch");
    assert_eq!(house.sink.received().len(), 0);
    house.sink.refuse(false);
    let restarted = Instant::now();
    house.start("watch");
    house.wait_for_alert("firing", "AgentDown", "b", restarted, SOON).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let notifications = house.sink.count("firing", "AgentDown", "b");
    assert!((1..=2).contains(&notifications), "{notifications} notifications after one crash\n{}", house.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_collector_without_a_join_address_meets_every_agent_again() {
    let mut house = house_of(&["a", "b", "c"]).await;
    wait_for_reports(&house, 3).await;
    house.kill("watch");
    house.wait_for_state("a", "watch", "down", SOON).await;
    house.start("watch");
    house.wait_until_complete(SOON).await;
    wait_for_reports(&house, 3).await;
    let samples = house.query("watch", "min(count_over_time(node_load1[5m]))").await;
    assert!(samples.is_some_and(|samples| samples > 3.0), "history from before the crash is there: {samples:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_shows_as_left_and_alerts_nobody() {
    let mut house = house_of(&["a", "b", "c"]).await;
    wait_for_reports(&house, 3).await;
    assert_eq!(house.stop("c"), Some(0));
    for viewer in ["a", "b", "watch"] {
        house.wait_for_state(viewer, "c", "left", SOON).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(house.states("a").await["c"], "left");
    let about_c =
        house.sink.received().iter().flat_map(|received| received.alerts()).filter(|alert| alert.2 == "c").count();
    assert_eq!(about_c, 0, "{}", house.logs());
    house.start("c");
    house.wait_until_complete(SOON).await;
}

/// The value of the series of a family whose labels hold a text, summed.
async fn metric_sum(house: &House, node: &str, family: &str, holding: &str) -> f64 {
    let (_, text) = house.get_text(node, "/metrics").await.unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(family) && line.contains(holding));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_port_is_counted_and_changes_nothing() {
    let house = house_of(&["a"]).await;
    wait_for_reports(&house, 1).await;
    let mut rng = StdRng::seed_from_u64(5);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let ingest = house.node("watch").ingest.expect("a collector takes frames");
    for round in 0..200 {
        let mut bytes = vec![0u8; rng.random_range(0..2000)];
        rng.fill(bytes.as_mut_slice());
        for node in ["a", "watch"] {
            let _ = socket.send_to(&bytes, house.node(node).gossip);
        }
        let Ok(mut stream) = TcpStream::connect(ingest) else { continue };
        // Every other one claims four gigabytes.
        let length = if round % 2 == 0 { u32::MAX } else { bytes.len() as u32 };
        let _ = stream.write_all(&length.to_le_bytes());
        let _ = stream.write_all(&bytes);
    }
    house
        .wait("the garbage is counted", SOON, async || {
            let gossip = metric_sum(&house, "watch", "watchfire_gossip_events_total", "dropped").await;
            let frames = metric_sum(&house, "watch", "watchfire_ingest_rejected_frames_total", "").await;
            (gossip >= 100.0 && frames >= 100.0).then_some(())
        })
        .await;
    house.wait_until_complete(SOON).await;
    let samples = metric_sum(&house, "watch", "watchfire_ingest_samples_total", "live").await;
    house
        .wait("samples still arrive", SOON, async || {
            let now = metric_sum(&house, "watch", "watchfire_ingest_samples_total", "live").await;
            (samples > 0.0 && now > samples).then_some(())
        })
        .await;
    for node in ["a", "watch"] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", house.pid(node))).unwrap_or_default();
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        assert!(resident.is_some_and(|kilobytes: u64| kilobytes < 150_000), "{node} has grown to {resident:?} kB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_knocks_at_every_port_does_not_fill_the_log() {
    const KNOCKS: usize = 1500;
    let mut house = house_of(&["a"]).await;
    wait_for_reports(&house, 1).await;
    let (watch, agent) = (house.node("watch"), house.node("a"));
    let ports = [watch.ingest.expect("a collector takes frames"), watch.gossip, watch.http, agent.gossip, agent.http];
    for _ in 0..KNOCKS {
        for port in ports {
            let Ok(mut stream) = TcpStream::connect(port) else { continue };
            let _ = stream.write_all(b"\xff\xff\xff\xff knock knock");
        }
    }
    house
        .wait("the knocks are counted", SOON, async || {
            let frames = metric_sum(&house, "watch", "watchfire_ingest_rejected_frames_total", "").await;
            (frames >= 1000.0).then_some(())
        })
        .await;
    for node in ["a", "watch"] {
        assert_eq!(house.stop(node), Some(0));
        let log = std::fs::read_to_string(house.folder().join(format!("{node}.log"))).expect("it has a log");
        let lines = log.lines().count();
        assert!(lines < KNOCKS / 2, "{node} wrote {lines} lines");
        let told = log.lines().any(|line| line.contains("lines were left out of the log"));
        // An agent writes nothing about strangers at its level.
        assert_eq!(told, node == "watch", "{}", log.lines().last().unwrap_or_default());
    }
}
