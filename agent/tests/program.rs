//! The agent as a process: what it prints, what it sends to a collector that fails, how it ends.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test is a shell, and may unwrap in its helpers too"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use watchfire_shared::frame::message::{Ack, HelloAck, Lane, Message, PROTOCOL, Position};
use watchfire_shared::frame::{FrameReader, message};
use watchfire_shared::member::NodeId;

const BINARY: &str = env!("CARGO_BIN_EXE_watchfire-agent");
const PATIENCE: Duration = Duration::from_secs(30);

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

#[test]
fn sample_prints_prometheus_text() {
    let output = run(&["sample"]);
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("# TYPE node_cpu_seconds_total counter\nnode_cpu_seconds_total{cpu=\""));
    assert!(text.ends_with('\n') && text.lines().count() > 300);
}

#[test]
fn check_config_names_every_mistake_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, "[collect]\ninterval = \"1x\"\nintervall = 1\n[gossip]\njoin = \"a:1\"\n").unwrap();
    let output = run(&["check-config", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    let places: Vec<&str> = errors
        .lines()
        .filter_map(|line| line.split_once("agent.toml:"))
        .filter_map(|(_, rest)| rest.split_once(": "))
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places, ["2:12", "3:1", "5:8"], "{errors}");
    assert_eq!(run(&["check-config", "--config", "/no/such/agent.toml"]).status.code(), Some(1));
    assert_eq!(run(&["enroll"]).status.code(), Some(2));
    std::fs::write(&path, "").unwrap();
    assert!(run(&["check-config", "--config", path.to_str().unwrap()]).status.success());
}

/// An agent that is killed with its test.
struct Agent(Child);

impl Agent {
    fn start(folder: &Path, collector: &TcpListener) -> Self {
        let config = format!(
            "[node]\nname = \"n\"\ndata_dir = {:?}\n[gossip]\nbind = \"127.0.0.1:0\"\n[http]\nbind = \"127.0.0.1:0\"\n\
             [collect]\ninterval = \"100ms\"\n[uplink]\ncollectors = [\"{}\"]\n",
            folder.join("data"),
            collector.local_addr().unwrap()
        );
        let path = folder.join("agent.toml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new(BINARY).args(["run", "--config"]).arg(path).stderr(Stdio::null()).spawn();
        Self(child.unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for the end and returns the exit code.
    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the agent does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One connection of the agent, as a collector sees it.
struct Session {
    stream: TcpStream,
    reader: FrameReader,
    hello: message::Hello,
}

impl Session {
    fn accept(listener: &TcpListener, live: Option<Position>, backfill: Option<Position>) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Self { stream, reader: FrameReader::default(), hello: hello() };
        let Some(Message::Hello(hello)) = session.next() else { panic!("an agent says Hello first") };
        session.hello = hello;
        session.say(&Message::HelloAck(HelloAck {
            proto: PROTOCOL,
            features: Vec::new(),
            collector_id: NodeId(9),
            name: "c".to_owned(),
            live,
            backfill,
            clock_ms: 0,
            max_series: 10_000,
            credit_bytes: 1 << 20,
        }));
        session
    }

    fn say(&mut self, message: &Message) {
        self.stream.write_all(&message.encode()).unwrap();
    }

    fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Message::decode(frame).unwrap();
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.reader.push(&buffer[..length]),
            }
        }
    }

    fn data(&mut self) -> message::Data {
        loop {
            match self.next() {
                Some(Message::Data(data)) => return data,
                Some(_) => {}
                None => panic!("the connection ended"),
            }
        }
    }
}

fn hello() -> message::Hello {
    message::Hello {
        proto: PROTOCOL,
        features: Vec::new(),
        cluster: String::new(),
        agent_id: NodeId(0),
        name: String::new(),
        labels: Default::default(),
        version: String::new(),
        epoch: 0,
        spool_epoch: 0,
        clock_ms: 0,
        interval_ms: 0,
        spooled: None,
    }
}

#[test]
fn a_collector_that_dies_without_acknowledging_gets_every_tick_after_all() {
    // On a busy machine ticks go to the spool before the first connection stands; then another agent tries.
    let mut attempts = (0..20).filter_map(|_| {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = Agent::start(folder.path(), &listener);
        let mut session = Session::accept(&listener, None, None);
        let first = session.data();
        (first.lane == Lane::Live).then_some((folder, listener, agent, session, first))
    });
    let (_folder, listener, mut agent, mut session, first) = attempts.next().expect("a first tick goes out at once");
    drop(attempts);
    assert_eq!((session.hello.name.as_str(), session.hello.interval_ms), ("n", 100));
    assert!(first.keyframe && first.n > 300, "{} series", first.n);
    let mut times = vec![first.ts_ms];
    times.extend((0..3).map(|_| session.data().ts_ms));
    let epoch = session.hello.epoch;
    drop(session);

    // Of the four ticks, the collector kept the first only.
    times.truncate(1);
    let mut session = Session::accept(&listener, Some(Position { epoch, seq: first.seq }), None);
    assert_eq!(session.hello.epoch, epoch);
    let (mut live, mut backfill) = (Vec::new(), Vec::new());
    while live.len() < 5 || backfill.len() < 3 {
        let data = session.data();
        if data.lane == Lane::Live {
            live.push(data.ts_ms)
        } else {
            backfill.push(data.ts_ms)
        }
        session.say(&Message::Ack(Ack { lane: data.lane, seq: data.seq, credit_bytes: 1 << 20 }));
    }
    // A tick may still be on its way through the spool.
    while backfill.last().is_some_and(|last| last + 100 < live[0]) {
        let data = session.data();
        if data.lane == Lane::Live {
            live.push(data.ts_ms)
        } else {
            backfill.push(data.ts_ms)
        }
        session.say(&Message::Ack(Ack { lane: data.lane, seq: data.seq, credit_bytes: 1 << 20 }));
    }
    times.extend(backfill);
    times.extend(live);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1] && (pair[1] - pair[0]) % 100 == 0), "{times:?}");

    agent.signal(Signal::TERM);
    let mut last = None;
    while let Some(message) = session.next() {
        last = Some(message);
    }
    assert!(matches!(last, Some(Message::Bye(_))), "{last:?}");
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn ticks_of_a_life_without_collectors_are_sent_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut agent = Agent::start(folder.path(), &listener);
    // It is connected and never greeted: nothing can be sent.
    let (silent, _) = listener.accept().unwrap();
    let spool = folder.path().join("data/spool/0000000000000001.seg");
    let deadline = Instant::now() + PATIENCE;
    while std::fs::metadata(&spool).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "nothing was spooled");
        std::thread::sleep(Duration::from_millis(5));
    }
    agent.signal(Signal::KILL);
    assert_eq!(agent.end(), None);
    drop(silent);
    let mut again = Agent::start(folder.path(), &listener);
    let mut session = Session::accept(&listener, None, None);
    let backfill = std::iter::repeat_with(|| session.data()).find(|data| data.lane == Lane::Backfill).unwrap();
    assert!(backfill.keyframe && backfill.seq == 1);
    again.signal(Signal::TERM);
    drop(session);
    assert_eq!(again.end(), Some(0));
}
