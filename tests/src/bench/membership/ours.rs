//! A fleet of agents without a collector: they sample and gossip, encrypted, and nobody takes their samples.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::fleet::{Fleet, Journal, Processes, What};
use super::namespace::address;

/// How often a fleet that is not complete yet is looked at.
const POLL: Duration = Duration::from_millis(250);

pub(super) struct Agents {
    binary: PathBuf,
    profile: &'static str,
    folder: tempfile::TempDir,
    journal: Journal,
    processes: Processes,
    http: reqwest::Client,
}

impl Agents {
    pub(super) fn new(binary: &Path, profile: &'static str) -> Self {
        Self {
            binary: binary.to_owned(),
            profile,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            journal: Journal::default(),
            processes: Processes::default(),
            http: reqwest::Client::builder().no_proxy().build().expect("the client has no options that can fail"),
        }
    }

    /// The events of one member, into the journal, until the connection ends.
    async fn events(http: reqwest::Client, member: usize, journal: Journal) -> anyhow::Result<()> {
        let mut response = http.get(format!("{}/v1/events", url(member))).send().await?.error_for_status()?;
        let mut kept = Vec::new();
        while let Some(bytes) = response.chunk().await? {
            kept.extend_from_slice(&bytes);
            while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = kept.drain(..=end).collect();
                note(&journal, member, &String::from_utf8_lossy(&line));
            }
        }
        Ok(())
    }

    async fn alive(&self, member: usize) -> usize {
        let answer = self.http.get(format!("{}/v1/members?state=alive&limit=1", url(member))).send().await;
        let list: Value = match answer {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        };
        list["view"]["alive"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default()
    }
}

fn url(member: usize) -> String {
    format!("http://{}:7951", address(member))
}

/// One key, the same for all; the file is its owner's alone, or it would be refused.
fn write_keys(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("{}\n", "5e".repeat(32)))?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?)
}

fn note(journal: &Journal, by: usize, line: &str) {
    let Some(change) = line.strip_prefix("data:").and_then(|data| serde_json::from_str::<Value>(data).ok()) else {
        return;
    };
    let name = change["member"]["name"].as_str().unwrap_or_default();
    let Some(of) = name.strip_prefix('n').and_then(|number| number.parse().ok()) else { return };
    match change["member"]["state"].as_str() {
        Some("alive") => journal.note(by, of, What::Alive),
        Some("down") => journal.note(by, of, What::Failed),
        Some("left") => journal.note(by, of, What::Left),
        _ => {}
    }
}

impl Fleet for Agents {
    fn name(&self) -> String {
        "watchfire-agent".to_owned()
    }

    fn port(&self) -> u16 {
        7950
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
        let folder = self.folder.path().join(format!("n{member}"));
        std::fs::create_dir_all(&folder)?;
        let (own, join, keys) = (address(member), address(0), folder.join("gossip.keys"));
        let join = if member == 0 { String::new() } else { format!("\"{join}:7950\"") };
        let config = format!(
            "[node]\nname = \"n{member}\"\ndata_dir = {:?}\n[gossip]\nbind = \"{own}:7950\"\njoin = [{join}]\nprofile = \"{}\"\nkeyring_file = {keys:?}\n[http]\nbind = \"{own}:7951\"\n",
            folder.join("data"),
            self.profile
        );
        write_keys(&keys)?;
        let path = folder.join("agent.toml");
        std::fs::write(&path, config)?;
        let mut command = Command::new(&self.binary);
        command.args(["watchfire-agent", "run", "--config"]).arg(&path);
        self.processes.start(member, &mut command, Some(&folder.join("log")))?;
        Ok(())
    }

    async fn wait_until_complete(&self, size: usize, within: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        for member in 0..size {
            while self.alive(member).await < size {
                anyhow::ensure!(started.elapsed() < within, "member {member} does not know all {size} members");
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    async fn follow_one(&mut self, member: usize) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.alive(member).await == 0 {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(30), "member {member} does not answer");
            tokio::time::sleep(POLL).await;
        }
        let response = self.http.get(format!("{}/livez", url(member))).send().await;
        response.with_context(|| format!("member {member} does not answer"))?;
        let (http, journal) = (self.http.clone(), self.journal.clone());
        // It ends with the member's connection.
        tokio::spawn(async move { Self::events(http, member, journal).await.unwrap_or_default() });
        Ok(())
    }
}
