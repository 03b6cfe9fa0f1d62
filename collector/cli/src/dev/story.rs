//! What dev tells its reader: which process to kill, what the members say of each other, and each notification.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use watchfire_shared::labels::Labels;
use watchfire_shared::member::{MemberList, MemberState};

use super::layout::Layout;
use super::process::{Ended, Kind, Processes};
use crate::output::{Paint, plain};

/// How long the reader may look at a firing alert before its agent is started again.
const RESTART_AFTER_ALERT: Duration = Duration::from_secs(5);
/// When an agent is started again even if no alert came.
const RESTART_ANYWAY: Duration = Duration::from_secs(45);

/// An agent that is gone.
struct Gone {
    since: Instant,
    alerted: Option<Instant>,
}

/// Tells the story to standard output.
pub(crate) struct Story {
    paint: Paint,
    restart: bool,
    http: reqwest::Client,
    collector: String,
    expected: usize,
    told_how: bool,
    states: BTreeMap<String, MemberState>,
    gone: BTreeMap<String, Gone>,
    logs: std::path::PathBuf,
}

/// The part of the webhook payload that is told.
#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    alerts: Vec<PayloadAlert>,
}

#[derive(Deserialize)]
struct PayloadAlert {
    status: String,
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
}

impl Story {
    pub(crate) fn new(layout: &Layout, paint: Paint, restart: bool) -> Self {
        Self {
            paint,
            restart,
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap_or_default(),
            collector: format!("http://{}", layout.collector().http),
            expected: layout.nodes.len(),
            told_how: false,
            states: BTreeMap::new(),
            gone: BTreeMap::new(),
            logs: layout.folder().join("log"),
        }
    }

    pub(crate) fn begin(&self, processes: &Processes) {
        println!("{}", self.paint.bold("Watchfire: a collector and three agents on this machine"));
        for process in processes.iter() {
            println!("  {:<10} {:<10} pid {}", process.name, process.kind.as_str(), process.pid);
        }
        println!("  HTTP       {}  (try /v1/members, /api/v1/alerts, /api/v1/query?query=up)", self.collector);
        println!("  logs       {}\n", self.logs.display());
    }

    /// Looks at the collector's members and tells what changed since the last look.
    pub(crate) async fn look(&mut self, processes: &Processes) {
        let Ok(response) = self.http.get(format!("{}/v1/members", self.collector)).send().await else { return };
        let Ok(list) = response.json::<MemberList>().await else { return };
        for member in &list.items {
            let before = self.states.insert(member.name.clone(), member.state);
            if before == Some(member.state) {
                continue;
            }
            let from = before.map_or("new", MemberState::as_str);
            let cause = member.cause.map(|cause| format!(" ({})", cause.as_str())).unwrap_or_default();
            let to = self.paint_state(member.state);
            self.say(&format!("member   {:<10} {from} -> {to}{cause}", plain(&member.name)));
        }
        if !self.told_how && list.view.alive == self.expected {
            self.told_how = true;
            self.tell_how(processes);
        }
    }

    fn tell_how(&self, processes: &Processes) {
        let victim = processes.iter().find(|process| process.kind == Kind::Agent);
        let Some(victim) = victim else { return };
        let command = self.paint.bold(&format!("kill -9 {}", victim.pid));
        println!("\n  All {} members are alive. In another terminal, kill an agent:\n\n    {command}\n", self.expected);
        println!("  It is suspected, declared down by its peers, and the alert arrives here.");
        println!("  Ctrl-C ends everything and leaves nothing behind.\n");
    }

    /// Tells of a process that ended; an error if the run cannot go on.
    pub(crate) fn ended(&mut self, ended: &Ended, processes: &Processes) -> anyhow::Result<()> {
        let pid = processes.pid(&ended.name).unwrap_or_default();
        self.say(&format!("process  {:<10} (pid {pid}) {}", ended.name, self.paint.yellow(&ended.how())));
        if !self.told_how && !ended.was_killed() {
            let log = std::fs::read_to_string(self.logs.join(format!("{}.log", ended.name))).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            anyhow::bail!("{} could not start; its log ends with:\n{}", ended.name, tail.join("\n"));
        }
        self.gone.insert(ended.name.clone(), Gone { since: Instant::now(), alerted: None });
        if ended.kind == Kind::Collector {
            self.say(
                "process  a collector that is gone loses nothing: it comes back, and the agents send what they kept",
            );
        }
        Ok(())
    }

    /// Which processes are to be started again now.
    pub(crate) fn due_restarts(&mut self) -> Vec<String> {
        let due = |name: &str, gone: &Gone| match gone.alerted {
            _ if name == "collector" => gone.since.elapsed() >= RESTART_AFTER_ALERT,
            Some(at) => at.elapsed() >= RESTART_AFTER_ALERT,
            None => gone.since.elapsed() >= RESTART_ANYWAY,
        };
        if !self.restart {
            return Vec::new();
        }
        let names: Vec<String> =
            self.gone.iter().filter(|(name, gone)| due(name, gone)).map(|(n, _)| n.clone()).collect();
        self.gone.retain(|name, _| !names.contains(name));
        names
    }

    pub(crate) fn restarted(&self, name: &str, processes: &Processes) {
        let pid = processes.pid(name).unwrap_or_default();
        self.say(&format!("process  {name:<10} {} (pid {pid})", self.paint.green("started again")));
    }

    /// Prints one notification.
    pub(crate) fn notification(&mut self, body: &[u8]) {
        let Ok(payload) = serde_json::from_slice::<Payload>(body) else {
            self.say("webhook  a notification arrived that is no Alertmanager payload");
            return;
        };
        for alert in &payload.alerts {
            let firing = alert.status == "firing";
            let status = if firing { self.paint.red("FIRING") } else { self.paint.green("RESOLVED") };
            let instance = alert.labels.value("instance");
            let summary = plain(alert.annotations.value("summary"));
            self.say(&format!(
                "webhook  {status} {} {} - {summary}",
                plain(alert.labels.value("alertname")),
                plain(instance)
            ));
            if let Some(gone) = self.gone.get_mut(instance).filter(|_| firing) {
                let seconds = gone.since.elapsed().as_secs_f64();
                if gone.alerted.replace(Instant::now()).is_none() {
                    let after = if self.restart { "; it is started again in 5 s" } else { "" };
                    println!("           {seconds:.1} s after the process ended{after}");
                }
            }
        }
    }

    pub(crate) fn farewell(&self) {
        println!("\nStopping the agents and the collector.");
    }

    fn paint_state(&self, state: MemberState) -> String {
        match state {
            MemberState::Alive => self.paint.green(state.as_str()),
            MemberState::Suspect => self.paint.yellow(state.as_str()),
            MemberState::Down => self.paint.red(state.as_str()),
            MemberState::Left => self.paint.bold(state.as_str()),
        }
    }

    fn say(&self, line: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let text =
            watchfire_shared::time::Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(0)).to_string();
        println!("{}  {line}", text.get(11..19).unwrap_or_default());
    }
}
