//! Remediation with real processes: a firing alert lets a node do what a file there allows, once, or says why not.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use watchfire_tests::house::{House, Setup};

/// Generous: a loaded machine must not fail a test that a quiet one passes in a few seconds.
const SOON: Duration = Duration::from_secs(60);

const RULES: &str = "groups:\n  - name: test\n    rules:\n      - alert: Seen\n        expr: up{job=\"node\"} == 1\n";

const REMEDIATIONS: &str = "remediations:
  - name: repair
    when: { alert: Seen, labels: { instance: web-1 } }
    mode: auto
    steps: [{ action: mark, params: { word: hello } }]
    guards: { cooldown: 1s, attempts: { max: 1, per: 1h }, settle: 0s }
  - name: watch-only
    when: { alert: Seen, labels: { instance: web-2 } }
    steps: [{ action: mark, params: { word: hello } }]
    guards: { settle: 0s }
";

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("the temporary folder is ours");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the file is ours");
}

/// Lays out an agent whose one action adds a line to a file, and returns that file.
fn allow_action(house: &mut House, name: &str) -> PathBuf {
    let folder = house.folder().join(format!("{name}-actions.d"));
    std::fs::create_dir(&folder).expect("the temporary folder is ours");
    let marks = house.folder().join(format!("{name}-marks"));
    let script = house.folder().join(format!("{name}-mark"));
    write(&script, &format!("#!/bin/sh\necho \"$1 $WF_REMEDIATION\" >> {}\necho marked\n", marks.display()), 0o755);
    let action = format!(
        "[action.mark]\nexec = [{script:?}, \"{{word}}\"]\nkind = \"diagnose\"\nidempotent = true\ntimeout = \"20s\"\n\
         verify = {{ exec = [\"/usr/bin/test\", \"-s\", {marks:?}], deadline = \"20s\" }}\n\
         [action.mark.params.word]\npattern = \"[a-z]+\"\n"
    );
    write(&folder.join("mark.toml"), &action, 0o644);
    let key = house.folder().join("watch/data/order.pub");
    let config = format!("[actions]\ndir = {folder:?}\ncollector_key_file = {key:?}\n");
    house.extra.insert(name.to_owned(), config);
    marks
}

async fn remediation(house: &House, name: &str) -> Option<Value> {
    let list = house.get("watch", "/v1/remediations").await?;
    list["items"].as_array()?.iter().find(|item| item["name"] == name).cloned()
}

/// Waits until the only case of a remediation is in a state, and returns the case.
async fn wait_for_case(house: &House, name: &str, state: &str) -> Value {
    house
        .wait(&format!("{name} is {state}"), SOON, async || {
            let case = remediation(house, name).await?["cases"][0].clone();
            (case["state"] == state).then_some(case)
        })
        .await
}

async fn orders(house: &House) -> Option<Vec<Value>> {
    house.get("watch", "/v1/orders").await?["items"].as_array().cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_alert_repairs_once_in_auto_and_not_at_all_in_observe() {
    let rules = tempfile::tempdir().expect("a temporary folder can be made");
    write(&rules.path().join("rules.yml"), RULES, 0o644);
    let setup = Setup { rules: rules.path().join("*.yml"), rule_interval: "1s", ..Setup::default() };
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), setup).await;
    let file = house.folder().join("remediations.yml");
    write(&file, REMEDIATIONS, 0o644);
    house.extra.insert("watch".to_owned(), format!("[remediation]\nfiles = [{file:?}]\n"));
    house.add_collector("watch", &[]);
    let key = house.folder().join("watch/data/order.pub");
    house.wait("the collector has a key", SOON, async || key.exists().then_some(())).await;
    let mode = std::fs::metadata(key.with_extension("key")).expect("the key is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let marks = ["web-1", "web-2"].map(|name| allow_action(&mut house, name));
    let join = [house.node("watch").gossip];
    house.add_agent("web-1", &join);
    house.add_agent("web-2", &join);

    let order = house
        .wait("the order has succeeded", SOON, async || {
            let order = orders(&house).await?.first()?.clone();
            (order["state"] == "succeeded").then_some(order)
        })
        .await;
    assert_eq!(
        (&order["node"], &order["action"], &order["params"]["word"]),
        (&"web-1".into(), &"mark".into(), &"hello".into())
    );
    assert_eq!(
        (&order["exit_code"], &order["verified"], &order["output"]),
        (&0.into(), &true.into(), &"marked\n".into())
    );
    let history: Vec<&str> =
        order["history"].as_array().expect("a list").iter().filter_map(|step| step["state"].as_str()).collect();
    assert_eq!(history, ["dispatched", "accepted", "running", "verifying", "succeeded"]);
    let case = wait_for_case(&house, "repair", "exhausted").await;
    assert!(case.to_string().contains("1 of 1 attempts within 1h were made"), "{case}");
    let case = wait_for_case(&house, "watch-only", "observed").await;
    assert_eq!(case["reasons"][0], "mode is observe: mark would be ordered on web-2");

    // Neither side forgets, nor does it again.
    house.kill("watch");
    house.kill("web-1");
    house.start("watch");
    house.start("web-1");
    wait_for_case(&house, "repair", "exhausted").await;
    wait_for_case(&house, "watch-only", "observed").await;
    let text = std::fs::read_to_string(&marks[0]).expect("the action ran");
    assert_eq!(text, "hello repair\n");
    assert!(!marks[1].exists(), "nothing runs in observe");
    assert_eq!(orders(&house).await.map(|orders| orders.len()), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_pins_another_key_does_nothing_and_says_so() {
    let rules = tempfile::tempdir().expect("a temporary folder can be made");
    write(&rules.path().join("rules.yml"), RULES, 0o644);
    let setup = Setup { rules: rules.path().join("*.yml"), rule_interval: "1s", ..Setup::default() };
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), setup).await;
    let file = house.folder().join("remediations.yml");
    write(&file, REMEDIATIONS, 0o644);
    house.extra.insert("watch".to_owned(), format!("[remediation]\nfiles = [{file:?}]\n"));
    house.add_collector("watch", &[]);
    let marks = allow_action(&mut house, "web-1");
    let stranger = house.folder().join("stranger.pub");
    write(&stranger, &"7".repeat(64), 0o644);
    let own = house.extra["web-1"]
        .replace(&house.folder().join("watch/data/order.pub").display().to_string(), &stranger.display().to_string());
    house.extra.insert("web-1".to_owned(), own);
    house.add_agent("web-1", &[house.node("watch").gossip]);
    let order = house
        .wait("the order is refused", SOON, async || {
            let order = orders(&house).await?.first()?.clone();
            (order["state"] == "refused").then_some(order)
        })
        .await;
    assert_eq!(order["detail"], "it is not signed with the pinned key");
    assert!(!marks.exists(), "nothing runs for a stranger");
    assert_eq!(orders(&house).await.map(|orders| orders.len()), Some(1));
}

const ASKED: &str = "remediations:
  - name: ask
    when: { alert: Posted, from: api }
    mode: approve
    steps: [{ action: mark, params: { word: hello } }]
    guards: { settle: 0s }
";

/// Posts a document to the collector and gives the status and what it answered.
async fn post(house: &House, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{}{path}", house.node("watch").http);
    let answer = reqwest::Client::new().post(url).json(body).send().await.expect("the collector answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap_or_default();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_alert_asks_a_person_who_approves_and_a_pause_and_a_simulation_are_answered() {
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), Setup::default()).await;
    let file = house.folder().join("remediations.yml");
    write(&file, ASKED, 0o644);
    house.extra.insert("watch".to_owned(), format!("[remediation]\nfiles = [{file:?}]\n"));
    house.add_collector("watch", &[]);
    let key = house.folder().join("watch/data/order.pub");
    house.wait("the collector has a key", SOON, async || key.exists().then_some(())).await;
    let marks = allow_action(&mut house, "web-1");
    house.add_agent("web-1", &[house.node("watch").gossip]);
    house.wait_until_complete(SOON).await;
    let simulated = house
        .wait("the simulation would act", SOON, async || {
            let answer = house.get("watch", "/v1/remediations/ask/simulate?node=web-1").await?;
            (answer["would_act"] == true).then_some(answer)
        })
        .await;
    assert_eq!((&simulated["orders"][0]["node"], &simulated["mode"]), (&"web-1".into(), &"approve".into()));

    let (status, _) = post(&house, "/v1/remediations/pause", &json!({"by": "ann", "reason": "release"})).await;
    assert_eq!(status, 200);
    let answer = house.get("watch", "/v1/remediations/ask/simulate?node=web-1").await.expect("an answer");
    assert_eq!((&answer["would_act"], &answer["blocked_by"]), (&false.into(), &json!(["paused"])));
    let alert = json!([{"labels": {"alertname": "Posted", "instance": "web-1:9100"}}]);
    assert_eq!(post(&house, "/api/v2/alerts", &alert).await.0, 200);
    let case = wait_for_case(&house, "ask", "blocked").await;
    assert!(case["reasons"][0].as_str().is_some_and(|text| text.starts_with("everything is paused by ann")), "{case}");
    assert_eq!(post(&house, "/v1/remediations/resume", &json!({})).await.0, 200);
    let case = wait_for_case(&house, "ask", "awaiting_approval").await;
    let id = case["run"].as_str().expect("the attempt's id").to_owned();
    assert_eq!(orders(&house).await.map(|orders| orders.len()), Some(0));

    let (status, answer) = post(&house, &format!("/v1/attempts/{id}/approve"), &json!({"by": "ann"})).await;
    assert_eq!((status, &answer["state"]), (200, &"ordered".into()), "{answer}");
    let order = house
        .wait("the order has succeeded", SOON, async || {
            let order = orders(&house).await?.first()?.clone();
            (order["state"] == "succeeded").then_some(order)
        })
        .await;
    assert_eq!((&order["approver"], &order["attempt"]), (&"ann".into(), &id.clone().into()));
    assert_eq!(std::fs::read_to_string(&marks).expect("the action ran"), "hello ask\n");
    let (status, answer) = post(&house, &format!("/v1/attempts/{id}/approve"), &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &"conflict".into()));
    let metric = |name: &'static str| house.metric("watch", name);
    assert_eq!(metric("watchfire_orders_total{outcome=\"succeeded\"}").await, Some(1.0));
    assert_eq!(orders(&house).await.map(|orders| orders.len()), Some(1));
}

const UNDER_WAY: &str = r#"remediations:
  - name: one
    when: { alert: Seen, labels: { instance: web-1 } }
    mode: auto
    steps: [{ action: slow }]
    guards: { attempts: { max: 1, per: 1h }, settle: 0s, max_unhealthy: "100%", storm_cooldown: 0s }
  - name: two
    when: { alert: Seen, labels: { instance: web-2 } }
    mode: auto
    steps: [{ action: slow }]
    guards: { attempts: { max: 1, per: 1h }, settle: 0s, max_unhealthy: "100%", storm_cooldown: 0s }
"#;

/// Lays out an agent whose one action leaves a mark and goes on for some seconds, and returns the file of marks.
fn allow_slow_action(house: &mut House, name: &str) -> PathBuf {
    let folder = house.folder().join(format!("{name}-actions.d"));
    std::fs::create_dir(&folder).expect("the temporary folder is ours");
    let marks = house.folder().join(format!("{name}-marks"));
    let script = house.folder().join(format!("{name}-slow"));
    write(&script, &format!("#!/bin/sh\necho begun >> {0}\nsleep 4\necho ended >> {0}\n", marks.display()), 0o755);
    let action =
        format!("[action.slow]\nexec = [{script:?}]\nkind = \"restart\"\nidempotent = false\ntimeout = \"30s\"\n");
    write(&folder.join("slow.toml"), &action, 0o644);
    let key = house.folder().join("watch/data/order.pub");
    house.extra.insert(name.to_owned(), format!("[actions]\ndir = {folder:?}\ncollector_key_file = {key:?}\n"));
    marks
}

async fn wait_for_order(house: &House, node: &str, state: &str) -> Value {
    house
        .wait(&format!("the order to {node} is {state}"), SOON * 5, async || {
            orders(house).await?.into_iter().find(|order| order["node"] == node && order["state"] == state)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_when_an_agent_or_the_collector_is_killed_runs_once_and_its_end_is_told() {
    let rules = tempfile::tempdir().expect("a temporary folder can be made");
    write(&rules.path().join("rules.yml"), RULES, 0o644);
    let setup = Setup { rules: rules.path().join("*.yml"), rule_interval: "1s", ..Setup::default() };
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), setup).await;
    let file = house.folder().join("remediations.yml");
    write(&file, UNDER_WAY, 0o644);
    house.extra.insert("watch".to_owned(), format!("[remediation]\nfiles = [{file:?}]\n"));
    house.add_collector("watch", &[]);
    let key = house.folder().join("watch/data/order.pub");
    house.wait("the collector has a key", SOON, async || key.exists().then_some(())).await;
    let marks = ["web-1", "web-2"].map(|name| allow_slow_action(&mut house, name));
    let join = [house.node("watch").gossip];

    // The agent dies in the middle: what it was at dies with it, and is not begun again.
    house.add_agent("web-1", &join);
    house.wait("the action has begun", SOON, async || marks[0].exists().then_some(())).await;
    house.kill("web-1");
    house.start("web-1");
    let order = wait_for_order(&house, "web-1", "interrupted").await;
    assert!(!order["ended_at"].is_null(), "{order}");

    // The collector dies in the middle: the action ends, and its end is told to the collector's next life.
    house.add_agent("web-2", &join);
    house.wait("the action has begun", SOON, async || marks[1].exists().then_some(())).await;
    house.kill("watch");
    house.start("watch");
    let order = wait_for_order(&house, "web-2", "succeeded").await;
    assert_eq!(order["exit_code"], 0, "{order}");

    for name in ["watch", "web-1", "web-2"] {
        house.kill(name);
        house.start(name);
    }
    house.wait_until_complete(SOON).await;
    wait_for_case(&house, "one", "exhausted").await;
    wait_for_case(&house, "two", "exhausted").await;
    let text = |at: usize| std::fs::read_to_string(&marks[at]).expect("the action ran");
    assert_eq!((text(0).as_str(), text(1).as_str()), ("begun\n", "begun\nended\n"));
    assert_eq!(orders(&house).await.map(|orders| orders.len()), Some(2));
}
