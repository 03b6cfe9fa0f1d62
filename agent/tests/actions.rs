//! The supervisor of an action as a process: what it lets through, what it cuts off, and that it leaves nothing behind.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test is a shell, and may unwrap in its helpers too"
)]

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_watchfire-agent");
const PATIENCE: Duration = Duration::from_secs(30);

fn start(script: &str, timeout_ms: u64) -> Child {
    start_in(script, timeout_ms, true)
}

/// `cgroup`: whether a control group may be used where there is one.
fn start_in(script: &str, timeout_ms: u64, cgroup: bool) -> Child {
    let task = json!({
        "cgroup": cgroup,
        "argv": ["/bin/sh", "-c", script],
        "env": [["WF_ACTION", "test"]],
        "timeout_ms": timeout_ms,
    });
    let mut child = Command::new(BINARY)
        .arg("supervise")
        .env("SECRET", "of the agent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{task}").unwrap();
    child
}

/// Keeps the supervisor's standard input open until it has answered.
fn answer(mut child: Child) -> Value {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    serde_json::from_str(&text).unwrap()
}

fn run(script: &str, timeout_ms: u64) -> Value {
    answer(start(script, timeout_ms))
}

/// Whether a process whose arguments hold `mark` is there.
fn is_running(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let dead = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
        !dead && !command.is_empty() && String::from_utf8_lossy(&command).contains(mark)
    })
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_action_sees_a_clean_world_and_its_end_is_told() {
    let outcome = run("env | sort; pwd; umask; cat; grep NoNewPrivs /proc/self/status; echo bad >&2; exit 3", 10_000);
    assert_eq!((&outcome["exit_code"], &outcome["timed_out"], &outcome["left"]), (&json!(3), &json!(false), &json!(0)));
    let output = outcome["output"].as_str().unwrap();
    let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with("PWD=") && !line.starts_with("_=")).collect();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, [path, "WF_ACTION=test", "/", "0077", "NoNewPrivs:\t1", "bad"], "{output}");
}

#[test]
fn what_ignores_the_end_and_what_hides_in_a_session_of_its_own_is_killed_all_the_same() {
    let mark = format!("7{}", std::process::id());
    let script = format!(
        "trap '' TERM; setsid sh -c \"trap '' TERM; sleep {mark} & sleep {mark}\" & (sleep {mark} &) ; echo begun; \
         while :; do sleep {mark}; done"
    );
    let child = start(&script, 500);
    wait_until("the tree runs", || is_running(&mark));
    let outcome = answer(child);
    assert_eq!((&outcome["timed_out"], &outcome["left"]), (&json!(true), &json!(0)), "{outcome}");
    assert_eq!(outcome["output"], "begun\n");
    assert!(!is_running(&mark), "something of the tree is left");
}

#[test]
fn what_an_action_leaves_behind_ends_with_it() {
    let mark = format!("8{}", std::process::id());
    let outcome = run(&format!("setsid sleep {mark} & sleep 0.2; echo done"), 10_000);
    assert_eq!((&outcome["exit_code"], &outcome["output"], &outcome["left"]), (&json!(0), &json!("done\n"), &json!(0)));
    assert!(!is_running(&mark), "something of the tree is left");
}

#[test]
fn nothing_outlives_the_agent() {
    let mark = format!("9{}", std::process::id());
    let mut child = start(&format!("setsid sleep {mark} & sleep {mark}"), 600_000);
    wait_until("the tree runs", || is_running(&mark));
    drop(child.stdin.take());
    let outcome = answer(child);
    assert_eq!(outcome["abandoned"], true, "{outcome}");
    assert!(!is_running(&mark), "something of the tree is left");
}

#[test]
fn a_flood_of_output_is_bounded_and_its_end_is_kept() {
    let outcome = run("head -c 50000000 /dev/zero | tr '\\0' 'x'; echo; echo the end", 60_000);
    let output = outcome["output"].as_str().unwrap();
    assert_eq!((&outcome["exit_code"], &outcome["truncated"]), (&json!(0), &json!(true)));
    assert!(output.len() == 64 << 10 && output.ends_with("x\nthe end\n"));
}

#[test]
fn what_forks_faster_than_it_can_be_looked_at_is_caught() {
    let mark = format!("6{}", std::process::id());
    // Each generation starts the next one and ends; only ever a few are there.
    let outcome = run(&format!("f() {{ sleep 0.001; f & }}; f; sleep {mark}"), 300);
    assert_eq!((&outcome["timed_out"], &outcome["left"]), (&json!(true), &json!(0)), "{outcome}");
    assert!(!is_running(&mark), "something of the tree is left");
}

#[test]
fn an_action_with_too_many_processes_is_stopped_before_its_time() {
    let mark = format!("5{}", std::process::id());
    let script = format!("i=0; while [ $i -lt 300 ]; do sleep {mark} & i=$((i+1)); done; sleep {mark}");
    let outcome = run(&script, 600_000);
    assert_eq!((&outcome["too_many"], &outcome["left"]), (&json!(true), &json!(0)), "{outcome}");
    assert!(!is_running(&mark), "something of the tree is left");
}

#[test]
fn what_cannot_be_executed_is_told() {
    let task = json!({"argv": ["/no/such/program"], "env": [], "timeout_ms": 1000});
    let mut child = Command::new(BINARY).arg("supervise").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{task}").unwrap();
    let outcome = answer(child);
    assert!(outcome["error"].as_str().unwrap().contains("cannot execute /no/such/program"), "{outcome}");
    let mut child = Command::new(BINARY).arg("supervise").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn with_and_without_a_control_group_nothing_is_left() {
    for cgroup in [true, false] {
        let mark = format!("8{}{}", u8::from(cgroup), std::process::id());
        let script = format!(
            "trap '' TERM; setsid sh -c \"trap '' TERM; (setsid sleep {mark} &); sleep {mark}\" & sleep {mark}"
        );
        let child = start_in(&script, 500, cgroup);
        let group = format!("action-{}", child.id());
        let outcome = answer(child);
        assert_eq!((&outcome["timed_out"], &outcome["left"]), (&json!(true), &json!(0)), "{outcome}");
        assert!(!is_running(&mark), "with a group: {cgroup}");
        assert!(cgroup || outcome["cgroup"] == json!(false));
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            assert!(!std::path::Path::new(root).join(&group).exists(), "a group is removed with its action");
        }
    }
}
