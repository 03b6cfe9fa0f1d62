//! A fleet of Serf agents, which tell what they see in their log. <https://github.com/hashicorp/serf>

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, Journal, Processes, What};
use super::namespace::address;

/// How often a fleet that is not complete yet is looked at.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Serf {
    program: PathBuf,
    journal: Journal,
    processes: Processes,
}

impl Serf {
    pub(super) fn new(program: PathBuf) -> Self {
        Self { program, journal: Journal::default(), processes: Processes::default() }
    }
}

/// `... serf: EventMemberFailed: n3 127.1.0.4`
fn note(journal: &Journal, by: usize, line: &str) {
    let Some((_, event)) = line.split_once("serf: EventMember") else { return };
    let Some((kind, rest)) = event.split_once(": ") else { return };
    let name = rest.split_whitespace().next().unwrap_or_default();
    let Some(of) = name.strip_prefix('n').and_then(|number| number.parse().ok()) else { return };
    match kind {
        "Join" => journal.note(by, of, What::Alive),
        "Failed" => journal.note(by, of, What::Failed),
        "Leave" => journal.note(by, of, What::Left),
        _ => {}
    }
}

impl Fleet for Serf {
    /// By what it calls itself, which need not be its package's version.
    fn name(&self) -> String {
        let output =
            Command::new(&self.program).arg("version").output().map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&output).into_owned();
        format!("serf ({})", text.lines().next().unwrap_or_default().trim())
    }

    fn port(&self) -> u16 {
        7946
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn processes_mut(&mut self) -> &mut Processes {
        &mut self.processes
    }

    fn start(&mut self, member: usize) -> anyhow::Result<()> {
        let own = address(member);
        let mut command = Command::new(&self.program);
        command.args(["agent", "-profile=lan", "-log-level=info"]);
        // By default only an interrupt is a leave.
        command.args([format!("-node=n{member}"), format!("-bind={own}:7946"), format!("-rpc-addr={own}:7373")]);
        if member != 0 {
            // Without a retry, one that starts before member 0 listens ends at once.
            command.args([format!("-retry-join={}:7946", address(0)), "-retry-interval=1s".to_owned()]);
        }
        let stdout = self.processes.start(member, &mut command, None)?;
        let journal = self.journal.clone();
        std::thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok) {
                note(&journal, member, &line);
            }
        });
        Ok(())
    }

    async fn wait_until_complete(&self, size: usize, within: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let known = self.journal.alive_counts();
            if known.len() == size && known.values().all(|known| *known >= size) {
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < within, "{} of {size} members tell of others", known.len());
            tokio::time::sleep(POLL).await;
        }
    }

    fn leave(&self, member: usize) {
        self.processes.signal(member, rustix::process::Signal::INT);
    }

    /// Its log has been read since it started.
    async fn follow_one(&mut self, _member: usize) -> anyhow::Result<()> {
        Ok(())
    }
}
