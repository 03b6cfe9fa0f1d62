//! The program itself against a server that the tests play: what it asks, what it prints where, and its exit codes.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test is a shell, and may unwrap in its helpers too"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Generous: a loaded machine must not fail a test that a quiet one passes at once.
const SOON: Duration = Duration::from_secs(60);

/// What a server answers to a request: the status, or `None` to hang up, and the body.
type Answer = (Option<u16>, &'static str);

/// A server that gives the answers in their order, one per connection, and tells what it was asked.
struct Server {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Server {
    fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                sender.send(request(&stream)).unwrap();
                let Some(status) = status else { continue };
                let kind = if body.starts_with(':') { "text/event-stream" } else { "application/json" };
                // A stream of events has no length: it ends with the connection.
                let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
        Self { address, asked }
    }

    fn next(&self) -> String {
        self.asked.recv_timeout(SOON).expect("another request comes")
    }

    fn is_done(&self) -> bool {
        self.asked.try_recv().is_err()
    }
}

/// The first line of a request, its `last-event-id` if there is one, and its body.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut first, mut id, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim().split_once(": ") {
            Some(("last-event-id", value)) => id = format!(" after {value}"),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = if body.is_empty() { String::new() } else { format!(" {}", String::from_utf8(body).unwrap()) };
    format!("{}{id}{body}", first.trim().trim_end_matches(" HTTP/1.1"))
}

fn command(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchfire"));
    command.args(arguments).env("WATCHFIRE_ADDR", format!("http://{address}")).env("USER", "me");
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end: exit code, standard output, standard error.
fn run(address: SocketAddr, arguments: &[&str]) -> (i32, String, String) {
    let output = command(address, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs against a server that answers `answers`, and expects an exit code and a part of what is said on standard error.
fn check(answers: Vec<Answer>, arguments: &[&str], code: i32, said: &str) -> String {
    let server = Server::start(answers);
    let (found, stdout, stderr) = run(server.address, arguments);
    assert_eq!(found, code, "{arguments:?}: {stdout}{stderr}");
    assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    stdout
}

const MEMBERS: &str = r#"{"view":{"node":"a","alive":1,"suspect":0,"down":1,"left":0},"index":"7:1","next_cursor":null,"items":[
    {"name":"a","state":"alive","role":"agent","addr":"127.0.0.1:1","since":"2026-01-01T00:00:00Z","version":"0.1.0","labels":{"zone":"x\u001b[2J"}},
    {"name":"b","state":"down","cause":"silent","role":"agent","addr":"127.0.0.1:2","since":"2026-01-01T00:00:00Z","version":"0.1.0","labels":{}}]}"#;

#[test]
fn data_goes_to_stdout_in_the_form_that_was_asked_for() {
    let table =
        check(vec![(Some(200), MEMBERS)], &["members"], 0, "1 alive, 0 suspect, 1 down, 0 left, as a sees it\n");
    let expected = "\
NAME  STATE          ROLE   ADDRESS      SINCE                 VERSION  LABELS
a     alive          agent  127.0.0.1:1  2026-01-01T00:00:00Z  0.1.0    zone=x\u{fffd}[2J
b     down (silent)  agent  127.0.0.1:2  2026-01-01T00:00:00Z  0.1.0\n";
    assert_eq!(table, expected);
    let json = check(vec![(Some(200), MEMBERS)], &["members", "-o", "json"], 0, "");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value, serde_json::from_str::<serde_json::Value>(MEMBERS).unwrap());
    let yaml = check(vec![(Some(200), MEMBERS)], &["members", "-o", "yaml"], 0, "");
    assert!(yaml.contains("\n    state: down\n") && yaml.contains("zone: \"x\\u001b[2J\"\n"), "{yaml}");
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let problem = r#"{"title":"Not Found","status":404,"detail":"there is no node called x, did you mean a?","code":"not_found"}"#;
    check(vec![(Some(404), problem)], &["nodes", "x"], 1, "there is no node called x, did you mean a?");
    let nothing = r#"{"status":404,"detail":"there is nothing at /v1/nodes","code":"not_found"}"#;
    check(vec![(Some(404), nothing)], &["nodes"], 1, "this command needs a collector");
    check(vec![(Some(200), "no JSON")], &["members"], 1, "is not JSON");
    check(vec![], &["membrs"], 2, "a similar subcommand exists: 'members'");
    check(vec![], &["silence", "add", "a", "b", "-c", "x"], 2, "\"b\" is no matcher");
    check(vec![], &["query", "up", "--at", "noon"], 2, "\"noon\" is no time");
    check(vec![(Some(200), MEMBERS)], &["members", "--fail-unhealthy"], 3, "");
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    check(vec![(Some(200), empty)], &["query", "up", "--fail-empty"], 3, "");
    check(vec![(Some(403), r#"{"detail":"no"}"#)], &["members"], 5, "403");
    check(vec![(Some(409), r#"{"detail":"too many","code":"blocked"}"#)], &["members"], 6, "too many");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, stdout, stderr) = run(closed, &["members"]);
    assert_eq!((code, stdout.as_str()), (4, ""));
    assert!(stderr.contains("nobody answers at") && stderr.contains("--addr or WATCHFIRE_ADDR"), "{stderr}");
}

#[test]
fn pages_of_a_list_are_put_together() {
    let first = r#"{"index":"7:1","next_cursor":"a b/1","items":[{"name":"a","health":"ok","alerts":{"firing":1,"pending":0},"reasons":[]}]}"#;
    let second =
        r#"{"index":"7:1","next_cursor":null,"items":[{"name":"c","health":"down","alerts":{},"reasons":["x","y"]}]}"#;
    let server = Server::start(vec![(Some(200), first), (Some(200), second)]);
    let (code, stdout, stderr) = run(server.address, &["nodes", "--health", "ok", "--fail-unhealthy"]);
    assert_eq!((code, stderr.as_str()), (3, "2 nodes: 1 ok, 1 down\n"));
    assert!(stdout.contains("1 firing") && stdout.contains("x; y"), "{stdout}");
    assert_eq!(server.next(), "GET /v1/nodes?health=ok");
    assert_eq!(server.next(), "GET /v1/nodes?health=ok&cursor=a%20b%2F1");
    assert!(server.is_done());
}

/// Reads lines of a running program, and ends it.
struct Running(Child, BufReader<std::process::ChildStdout>);

impl Running {
    fn start(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = command(address, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self(child, stdout)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watched_list_is_printed_at_each_change_and_survives_a_restart_of_the_server() {
    let one = r#"{"index":"7:1","next_cursor":null,"items":[{"name":"a","state":"alive"}]}"#;
    let two = r#"{"index":"7:2","next_cursor":null,"items":[{"name":"a","state":"down"}]}"#;
    let three = r#"{"index":"8:1","next_cursor":null,"items":[{"name":"a","state":"left"}]}"#;
    let gone = r#"{"detail":"another life","code":"index_gone"}"#;
    let answers =
        [(Some(200), one), (Some(200), one), (Some(200), two), (Some(200), two), (Some(200), two), (Some(200), two)];
    let after = [(Some(410), gone), (Some(200), three), (Some(200), three), (Some(200), three), (Some(200), three)];
    let server = Server::start(answers.into_iter().chain(after).collect());
    let mut running = Running::start(server.address, &["members", "--watch", "-o", "json"]);
    let states: Vec<serde_json::Value> = (0..3)
        .map(|_| serde_json::from_str::<serde_json::Value>(&running.line()).unwrap()["items"][0]["state"].clone())
        .collect();
    assert_eq!(states, ["alive", "down", "left"], "each once");
    let waits = |index: &str| format!("GET /v1/members?limit=1&index={index}&wait=30s");
    let list = "GET /v1/members";
    let asked: Vec<String> = (0..8).map(|_| server.next()).collect();
    let first = "GET /v1/members?limit=1".to_owned();
    let expected = [&first, list, &waits("7%3A1"), list, &waits("7%3A2"), list, &waits("7%3A2"), list];
    assert_eq!(asked, expected);
}

#[test]
fn events_are_followed_behind_the_last_one_over_a_lost_connection() {
    let change = |state: &str| {
        format!(r#"{{"at":"2026-01-01T00:00:00Z","previous":"alive","member":{{"name":"b","state":"{state}"}}}}"#)
    };
    let first =
        format!(": watchfire\nid: 7:1\n\n: keepalive\n\nevent: member\nid: 7:2\ndata: {}\n\n", change("suspect"));
    let second = format!(
        ": watchfire\nid: 7:2\n\nevent: resync\nid: 7:9\ndata: {{}}\n\nevent: member\nid: 7:10\ndata: {}\n\n",
        change("down")
    );
    let server = Server::start(vec![(Some(200), first.leak()), (None, ""), (Some(200), second.leak())]);
    let (code, stdout, stderr) = run(server.address, &["events", "--count", "3"]);
    let told = "2026-01-01T00:00:00Z  b  alive -> suspect\n2026-01-01T00:00:00Z  b  alive -> down\n";
    assert_eq!((code, stdout.as_str()), (0, told));
    assert!(stderr.contains("events were missed") && stderr.contains("the connection was lost"), "{stderr}");
    assert_eq!(server.next(), "GET /v1/events");
    assert_eq!([server.next(), server.next()], ["GET /v1/events after 7:2"; 2]);
    assert!(server.is_done());
}

#[test]
fn a_silence_is_asked_for_as_alertmanager_takes_it() {
    let made = r#"{"silenceID":"2f1c"}"#;
    let none = r#"{"status":"success","data":{"alerts":[]}}"#;
    let server = Server::start(vec![(Some(200), made), (Some(200), "[]"), (Some(200), none)]);
    let arguments =
        ["silence", "add", "NodeDown", "zone!~eu-.", "--start", "2100-01-01T00:00:00Z", "--for", "2h", "-c", "why"];
    let (code, stdout, stderr) = run(server.address, &arguments);
    assert_eq!((code, stdout.as_str()), (0, "2f1c\n"), "{stderr}");
    assert_eq!(stderr, "holds until 2100-01-01T02:00:00Z, 0 alerts match now\n");
    let asked = server.next();
    let body = asked.strip_prefix("POST /api/v2/silences ").unwrap();
    let expected = serde_json::json!({"id": null, "comment": "why", "createdBy": "me", "startsAt": "2100-01-01T00:00:00Z",
        "endsAt": "2100-01-01T02:00:00Z", "matchers": [
            {"name": "alertname", "value": "NodeDown", "isRegex": false, "isEqual": true},
            {"name": "zone", "value": "eu-.", "isRegex": true, "isEqual": false}]});
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), expected);
    let missing = r#"{"code":601,"message":"silenceID in path must be of type uuid: \"x/y\""}"#;
    let server = Server::start(vec![(Some(422), missing)]);
    let (code, _, stderr) = run(server.address, &["silence", "expire", "x/y"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("watchfire: x/y: ") && stderr.contains("must be of type uuid"), "{stderr}");
    assert_eq!(server.next(), "DELETE /api/v2/silence/x%2Fy");
}

#[test]
fn a_node_is_put_into_maintenance_and_taken_out_of_it() {
    let quiet = r#"{"name":"web-1","health":"maintenance","reasons":[],"maintenance_until":"2026-01-01T02:00:00Z"}"#;
    let server = Server::start(vec![(Some(200), quiet)]);
    let arguments = ["nodes", "maintenance", "web-1", "--for", "2h", "--reason", "disk"];
    let (code, stdout, stderr) = run(server.address, &arguments);
    assert_eq!((code, stderr.as_str()), (0, "web-1 is in maintenance until 2026-01-01T02:00:00Z\n"));
    assert!(stdout.contains("web-1  maintenance"), "{stdout}");
    assert_eq!(server.next(), r#"POST /v1/nodes/web-1/maintenance {"for":"2h","reason":"disk"}"#);

    let over = r#"{"name":"web-1","health":"ok","reasons":[],"maintenance_until":null}"#;
    let server = Server::start(vec![(Some(200), over)]);
    let (code, stdout, stderr) = run(server.address, &["nodes", "maintenance", "web-1", "--end", "-o", "json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["health"], "ok");
    assert_eq!(server.next(), "DELETE /v1/nodes/web-1/maintenance");

    let conflict = r#"{"status":409,"code":"still_there","detail":"web-1 is running and would come back at once"}"#;
    check(vec![(Some(409), conflict)], &["nodes", "decommission", "web-1"], 1, "would come back at once");
    check(vec![], &["nodes", "maintenance", "web-1"], 2, "--for <DURATION>");
    check(vec![], &["nodes", "maintenance", "web-1", "--for", "soon"], 2, "\"soon\" is no length of time");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = check(vec![], &["completions", shell], 0, "");
        for word in ["silence", "fail-unhealthy", "preview", "maintenance", "events"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn doctor_tells_what_is_wrong_line_by_line() {
    let status = r#"{"node":"w","version":"0.1.0","ready":true,"fresh":true,"generated_at":"2020-01-01T00:00:00Z",
        "config":{"reload_successful":false,"loaded_at":"t"},"storage":{"series":1,"retention":"15d","full":true},
        "rules":{"failing":[{"rule":"R","group":"g","error":"many-to-many"}]},
        "notifications":{"integrations":[{"id":"team/webhook[0]","failing":true,"last_error":"refused"}]}}"#;
    let collectors = r#"{"view":{"node":"w"},"next_cursor":null,"items":[{"name":"w","role":"collector"}]}"#;
    let nodes = r#"{"next_cursor":null,"items":[{"name":"b","health":"degraded","reasons":["no reports"],"clock_offset_seconds":3.0}]}"#;
    let full = r#"{"status":"success","data":{"result":[{"metric":{"instance":"b","mountpoint":"/var"},"value":[1,"0.021"]}]}}"#;
    let none = r#"{"status":"success","data":{"result":[]}}"#;
    let answers = [status, "ok", collectors, status, MEMBERS, nodes, full, none, none, none];
    let server = Server::start(answers.into_iter().map(|answer| (Some(200), answer)).collect());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, stdout, stderr) = run(server.address, &["doctor", "--agent", &closed]);
    assert_eq!((code, stderr.as_str()), (3, "7 problems, 3 warnings\n"), "{stdout}");
    let lines: Vec<String> = stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for told in [
        "problem agent",
        "problem config w",
        "problem storage w",
        "problem rule w R of g fails: many-to-many",
        "problem receiver w",
        "problem member b is down (silent) since 2026-01-01T00:00:00Z",
        "problem disk b /var has 2.1 % left",
        "warning clock w",
        "warning clock b is 3.0 s ahead of the collector's",
        "warning node b is degraded: no reports",
        "ok collector w",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(told)), "{told:?} is missing in\n{stdout}");
    }
    let (code, _, stderr) = run(closed.parse().unwrap(), &["doctor", "--agent", &closed]);
    assert_eq!((code, stderr.as_str()), (4, "2 problems, 0 warnings\n"));
}

#[test]
fn remediate_tells_what_would_be_done_and_ends_with_the_guards_code() {
    let would = r#"{"remediation":"nginx","mode":"auto","node":"web-3","would_act":true,"reasons":[],"blocked_by":[],
        "orders":[{"node":"web-3","action":"restart","params":{"unit":"nginx.service"}}]}"#;
    let server = Server::start(vec![(Some(200), would)]);
    let arguments = ["remediate", "simulate", "--rule", "nginx", "--node", "web 3"];
    let (code, stdout, _) = run(server.address, &arguments);
    assert_eq!(server.next(), "GET /v1/remediations/nginx/simulate?node=web%203");
    assert!(code == 0 && stdout.contains("would run  web-3  restart unit=nginx.service"), "{stdout}");
    let blocked = r#"{"remediation":"nginx","mode":"observe","node":"web-3","would_act":false,"blocked_by":["max_unhealthy"],
        "reasons":["max_unhealthy 33% exceeded (21/60), storm until 2m after it is over"],"orders":[]}"#;
    let stdout = check(vec![(Some(200), blocked)], &arguments, 6, "its mode is observe");
    assert!(stdout.contains("not run") && stdout.contains("exceeded (21/60)"), "{stdout}");
    assert!(server.is_done());
}

#[test]
fn remediate_says_a_persons_word_and_what_stands_in_its_way() {
    let say = |answer: Answer, arguments: &[&str], asked: &str, code: i32, said: &str| {
        let server = Server::start(vec![answer]);
        let (found, stdout, stderr) = run(server.address, arguments);
        assert_eq!((server.next().as_str(), found, stdout.as_str()), (asked, code, ""), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    };
    let pause = ["remediate", "pause", "nginx", "--for", "2h", "--reason", "release"];
    let asked = r#"POST /v1/remediations/nginx/pause {"by":"me","for":"2h","reason":"release"}"#;
    say((Some(200), "{}"), &pause, asked, 0, "nginx begins nothing more");
    let asked = r#"POST /v1/remediations/resume {"by":"me"}"#;
    say((Some(200), "{}"), &["remediate", "resume"], asked, 0, "remediation goes on");
    let blocked = r#"{"code":"blocked","detail":"it is approved, and waits: a silence matches the alert"}"#;
    let asked = r#"POST /v1/attempts/01AB/approve {"by":"ann"}"#;
    let approve = ["remediate", "approve", "01AB", "--by", "ann"];
    say((Some(409), blocked), &approve, asked, 6, "a silence matches the alert");
    check(Vec::new(), &["remediate", "pause", "--for", "long"], 2, "is no length of time");
}

#[test]
fn remediate_lists_every_case_and_every_reason() {
    let list = r#"{"items":[{"name":"idle","mode":"auto","cases":[]},{"name":"nginx","mode":"auto","cases":[
        {"alert":{"instance":"web-3"},"state":"blocked","since":"2026-01-01T00:00:00Z","reasons":["a","b"]}]}],"index":"7:1"}"#;
    let stdout = check(vec![(Some(200), list)], &["remediate"], 0, "2 remediations: 1 blocked");
    let expected = "\
REMEDIATION  MODE  STATE    NODE   SINCE                 WHY
idle         auto  idle
nginx        auto  blocked  web-3  2026-01-01T00:00:00Z  a; b\n";
    assert_eq!(stdout, expected);
}

#[test]
fn keys_are_listed_changed_and_waited_for() {
    let list = r#"{"view":{"node":"watch-1"},"index":"1:4","next_cursor":null,
        "items":[{"id":"aaaaaaaa","primary":true,"installed":2,"primary_on":2,"missing":[]},
                 {"id":"bbbbbbbb","primary":false,"installed":1,"primary_on":0,"missing":["web-1"]}],
        "nodes":[{"id":"1","name":"watch-1","state":"alive","keys":["aaaaaaaa","bbbbbbbb"],"primary":"aaaaaaaa","order":2},
                 {"id":"2","name":"web-1","state":"alive","keys":["aaaaaaaa"],"primary":"aaaaaaaa","order":1,"error":"no room"}]}"#;
    let table = check(vec![(Some(200), list)], &["keys"], 0, "");
    assert!(table.contains("1 of 2   web-1"), "{table}");
    check(vec![(Some(200), list)], &["keys", "list", "--nodes"], 0, "2 members");
    let lacking = r#"{"status":409,"code":"blocked","detail":"web-1 does not hold the key bbbbbbbb yet"}"#;
    check(vec![(Some(409), lacking)], &["keys", "use", "bbbbbbbb"], 6, "web-1 does not hold the key");
    // Every member has made the change at the first look.
    let done = r#"{"op":"use","key":"aaaaaaaa","waiting_for":[]}"#;
    check(vec![(Some(200), done), (Some(200), list)], &["keys", "use", "aaaaaaaa"], 0, "every member encrypts with");
    let gone = r#"{"status":404,"code":"not_found","detail":"there is no member called web-9, did you mean web-1?"}"#;
    check(vec![(Some(404), gone)], &["members", "forget", "web-9"], 1, "did you mean web-1?");
}
