//! The command line against a real collector: what it prints where, and the code that it ends with.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::process::{Command, Stdio};
use std::time::Duration;

use watchfire_tests::house::{House, Setup, free_ports};

const SOON: Duration = Duration::from_secs(60);

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `watchfire` with these words.
fn run(addr: &str, words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_multicall"));
    command.arg("watchfire").args(words).env("WATCHFIRE_ADDR", addr).env("USER", "tester").stdin(Stdio::null());
    let output = command.output().expect("the binary can be started");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the output is UTF-8");
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs a line and holds its code, a part of its data and a part of what it says beside against what is expected.
fn check(addr: &str, line: &str, code: i32, out: &str, err: &str) {
    let ran = run(addr, &line.split(' ').collect::<Vec<_>>());
    let told = format!("watchfire {line}\n{}\n--- stderr\n{}", ran.out, ran.err);
    assert_eq!(ran.code, Some(code), "{told}");
    assert!(ran.out.contains(out) && ran.err.contains(err), "{told}");
    assert_eq!(out.is_empty(), ran.out.is_empty(), "data goes to standard output, and nothing else does: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_print_data_and_end_with_the_code_that_says_what_happened() {
    let mut house = House::new(env!("CARGO_BIN_EXE_multicall"), Setup::default()).await;
    house.add_collector("watch", &[]);
    let join = [house.node("watch").gossip];
    house.add_agent("web-1", &join);
    house.add_agent("web-2", &join);
    house.wait_until_complete(SOON).await;
    let addr = house.node("watch").http.to_string();
    for (line, code, out, err) in [
        ("members", 0, "web-1", "3 alive, 0 suspect, 0 down, 0 left, as watch sees it"),
        ("members web-1", 0, "role=test", ""),
        ("members web-9", 1, "", "did you mean web-"),
        ("members --state gone", 2, "", "possible values: alive, suspect, down, left"),
        ("members --state down -o json", 0, "\"items\": []", ""),
        ("nodes web-1 -o yaml", 0, "name: web-1", ""),
        ("status -o json", 0, "\"ready\": true", ""),
        ("query vector(1)", 0, "{}      1", ""),
        ("query vector(1)<0 --fail-empty", 3, "SERIES", "no result"),
        ("query up{", 1, "", "parse error"),
        ("query", 2, "", "<EXPRESSION>"),
        ("events --watch --count 0", 0, "", ""),
        ("silence add instance=~( -c x", 2, "", "missing closing )"),
        ("silence expire nosuch", 1, "", "nosuch"),
        ("silence query -q", 0, "", ""),
        ("completions fish", 0, "silence", ""),
        ("memebrs", 2, "", "members"),
    ] {
        check(&addr, line, code, out, err);
    }
    let [nobody, ..] = free_ports();
    check(&nobody.to_string(), "members", 4, "", "nobody answers at");
    check(&house.node("web-1").http.to_string(), "members", 0, "web-2", "as web-1 sees it");
    check(&house.node("web-1").http.to_string(), "nodes", 1, "", "this command needs a collector");

    let id = run(&addr, &["silence", "add", "NodeDown", "zone=~eu-.*", "-c", "it is known"]).out;
    let id = id.trim();
    check(&addr, "silence query NodeDown", 0, "tester", "");
    check(&addr, "silence query zone=~eu.* -q", 0, id, "");
    check(&addr, "silence list AgentDown -q", 0, "", "");
    check(&addr, &format!("silence expire {id}"), 0, "", "");
    check(&addr, "silence list -q", 0, "", "");
    check(&addr, "silence query --expired -q", 0, id, "");

    house.kill("web-2");
    house.wait_for_state("watch", "web-2", "down", SOON).await;
    check(&addr, "members --fail-unhealthy", 3, "down (refused)", "1 down");
    check(&addr, "members web-2 --fail-unhealthy", 3, "down (refused)", "suspected by");
    check(&addr, "members web-1 --fail-unhealthy", 0, "alive", "");
}
