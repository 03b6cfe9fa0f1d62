//! The processes of a dev run: re-executions of this binary that end with it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};

use super::layout::{Layout, Node};

/// How long a process may take to say goodbye before it is killed; the agents' own bound is below it.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Which program a process is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Agent,
    Collector,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Collector => "collector",
        }
    }
}

/// A process that runs, or ran.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) pid: u32,
    child: Option<Child>,
}

/// A process that ended by itself, or was ended by somebody else.
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) status: ExitStatus,
}

impl Ended {
    /// Whether a signal that nobody can refuse ended it, as `kill -9` does.
    pub(crate) fn was_killed(&self) -> bool {
        self.status.signal().is_some()
    }

    pub(crate) fn how(&self) -> String {
        match (self.status.signal(), self.status.code()) {
            (Some(signal), _) => format!("was killed by signal {signal}"),
            (None, Some(0)) => "stopped".to_owned(),
            (None, code) => format!("ended with code {}", code.unwrap_or(-1)),
        }
    }
}

/// All processes of the run.
pub(crate) struct Processes {
    running: Vec<Process>,
}

impl Processes {
    pub(crate) fn start(layout: &Layout) -> anyhow::Result<Self> {
        let running = layout.nodes.iter().map(spawn).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { running })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.running.iter()
    }

    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.running.iter().find(|process| process.name == name).map(|process| process.pid)
    }

    pub(crate) fn restart(&mut self, layout: &Layout, name: &str) -> anyhow::Result<()> {
        let node = layout.nodes.iter().find(|node| node.name == name).context("a process of this run")?;
        let process = spawn(node)?;
        self.running.retain(|process| process.name != name);
        self.running.push(process);
        Ok(())
    }

    /// Waits until one of the processes ends. Safe to drop and call again.
    pub(crate) async fn next_end(&mut self) -> Ended {
        std::future::poll_fn(|context| {
            for process in &mut self.running {
                let Some(child) = &mut process.child else { continue };
                let waited = std::pin::pin!(child.wait()).poll(context);
                if let std::task::Poll::Ready(status) = waited {
                    process.child = None;
                    let status = status.unwrap_or_default();
                    return std::task::Poll::Ready(Ended { name: process.name.clone(), kind: process.kind, status });
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Stops everything: agents first, so that the collector still hears them leave.
    pub(crate) async fn stop(mut self) {
        self.running.sort_by_key(|process| process.kind == Kind::Collector);
        for process in &mut self.running {
            let Some(child) = &mut process.child else { continue };
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

fn spawn(node: &Node) -> anyhow::Result<Process> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&node.log)?;
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let child = Command::new(own)
        .args(["dev-process", node.kind.as_str(), &std::process::id().to_string(), "run", "--config"])
        .arg(&node.config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C goes to the whole foreground group; the processes are stopped in order instead.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", node.name))?;
    let pid = child.id().context("the process ended at once")?;
    Ok(Process { name: node.name.clone(), kind: node.kind, pid, child: Some(child) })
}

/// Turns this process into an agent or a collector: `KIND PARENT ARGUMENTS...`.
pub(crate) fn become_one(arguments: &[OsString]) -> ExitCode {
    let (Some(kind), Some(parent)) = (arguments.first(), arguments.get(1)) else { return ExitCode::from(2) };
    let own = OsString::from(format!("watchfire-{}", kind.to_string_lossy()));
    let rest = std::iter::once(own).chain(arguments[2..].iter().cloned());
    // An agent starts itself to watch over an action; that process ends with its agent, in its own way.
    if arguments.get(2).is_some_and(|word| word == "supervise") {
        return watchfire_agent::main(rest);
    }
    // Should dev be killed without a chance to clean up, the kernel ends this process.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    let still_there = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if still_there.as_deref() != parent.to_str() {
        return ExitCode::SUCCESS;
    }
    match kind.to_str() {
        Some("agent") => watchfire_agent::main(rest),
        Some("collector") => watchfire_collector::main(rest),
        _ => ExitCode::from(2),
    }
}
