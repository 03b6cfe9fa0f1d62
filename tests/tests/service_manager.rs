//! What both daemons tell the service manager through their lives, with a socket in its place: the units are
//! `Type=notify` with a watchdog, so a word that is missing is a service that is killed.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, reason = "tests are shells")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use watchfire_tests::house::free_ports;

/// Generous: a loaded machine must not fail a test that a quiet one passes at once.
const SOON: Duration = Duration::from_secs(30);
/// The watchdog's time, as the service manager would set it.
const WATCHDOG: Duration = Duration::from_millis(400);

struct Service {
    child: Child,
    manager: UnixDatagram,
}

impl Service {
    fn start(folder: &Path, program: &str, config: &str) -> Self {
        let file = folder.join("config.toml");
        std::fs::write(&file, config).unwrap();
        let socket = folder.join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_multicall"))
            .args([program, "run", "--config"])
            .arg(file)
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, manager }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The next message that is no ping, as lines.
    fn word(&self) -> Vec<String> {
        let started = Instant::now();
        while started.elapsed() < SOON {
            let message = self.message();
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
        panic!("only pings within {SOON:?}");
    }

    fn message(&self) -> Vec<String> {
        self.manager.set_read_timeout(Some(SOON)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.manager.recv(&mut buffer).expect("the program says something");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check(program: &str, status: &str, config: &str) {
    let folder = tempfile::tempdir().unwrap();
    let [gossip, http, ingest] = free_ports();
    let data = folder.path().join("data");
    let mut config =
        format!("[node]\ndata_dir = {data:?}\n[gossip]\nbind = \"{gossip}\"\n[http]\nbind = \"{http}\"\n{config}");
    config = config.replace("INGEST", &ingest.to_string());
    let mut service = Service::start(folder.path(), program, &config);

    let serving = ["READY=1".to_owned(), format!("STATUS={status}")];
    assert_eq!(service.word(), serving);
    for _ in 0..3 {
        assert_eq!(service.message(), ["WATCHDOG=1"]);
    }

    for (text, after) in [(config.as_str(), status), ("no TOML", "with the old configuration")] {
        std::fs::write(folder.path().join("config.toml"), text).unwrap();
        service.signal(Signal::HUP);
        let reloading = service.word();
        assert_eq!((reloading.len(), reloading[0].as_str()), (2, "RELOADING=1"));
        assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
        let ready = service.word();
        assert_eq!((ready.len(), ready[0].as_str()), (2, "READY=1"));
        assert!(ready[1].contains(after), "{ready:?}");
    }

    service.signal(Signal::TERM);
    assert_eq!(service.word(), ["STOPPING=1"]);
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
    service.manager.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(length) = service.manager.recv(&mut buffer) {
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n", "nothing is said after the end but pings");
    }
}

#[test]
fn the_agent_tells_how_it_is() {
    check("watchfire-agent", "sampling", "");
}

#[test]
fn the_collector_tells_how_it_is() {
    check("watchfire-collector", "serving", "[ingest]\nbind = \"INGEST\"\n[rules]\nfiles = []\n");
}
