//! What both kinds of fleets do: members that start, end and tell of each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// How often it is looked whether everybody has told.
const POLL: Duration = Duration::from_millis(20);

/// What a member tells of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Alive,
    Failed,
    Left,
}

/// One thing that was told.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    by: usize,
    of: usize,
    what: What,
}

/// Everything that the members have told, in the order in which it came.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<Told>>>);

impl Journal {
    pub(super) fn note(&self, by: usize, of: usize, what: What) {
        let told = Told { at: Instant::now(), by, of, what };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    /// When each member, the subject left out, first told so after a time.
    fn first_times(&self, of: usize, what: What, since: Instant) -> BTreeMap<usize, Instant> {
        let mut times = BTreeMap::new();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for told in all.iter().filter(|told| told.of == of && told.by != of && told.what == what && told.at >= since) {
            times.entry(told.by).or_insert(told.at);
        }
        times
    }

    /// How many different members but this one were said to have failed.
    fn accused_but(&self, of: usize, since: Instant) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = all.iter().filter(|told| told.what == What::Failed && told.of != of && told.by != of);
        let accused: std::collections::BTreeSet<usize> =
            failed.filter(|told| told.at >= since).map(|told| told.of).collect();
        accused.len()
    }

    /// How many times members told that another had failed since a time, about anybody.
    pub(super) fn failures(&self, since: Instant) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|told| told.what == What::Failed && told.by != told.of && told.at >= since).count()
    }

    /// When `percent` of 100 pairs of so many members last came to hold each other for alive, judged by what each told
    /// last; nothing while they do not.
    pub(super) fn whole_since(&self, size: usize, percent: usize) -> Option<Instant> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = size * (size - 1);
        let mut broken = std::collections::BTreeSet::new();
        let mut since = None;
        for told in all.iter().filter(|told| told.by != told.of && told.by < size && told.of < size) {
            match told.what {
                What::Alive => broken.remove(&(told.by, told.of)),
                What::Failed | What::Left => broken.insert((told.by, told.of)),
            };
            let whole = broken.len() * 100 <= pairs * (100 - percent);
            since = if whole { since.or(Some(told.at)) } else { None };
        }
        since
    }

    /// How many members each one has told to be alive.
    pub(super) fn alive_counts(&self) -> BTreeMap<usize, usize> {
        let mut known: BTreeMap<usize, std::collections::BTreeSet<usize>> = BTreeMap::new();
        for told in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if told.what == What::Alive {
                known.entry(told.by).or_default().insert(told.of);
            }
        }
        known.into_iter().map(|(by, of)| (by, of.len())).collect()
    }
}

/// The processes of a fleet, by the numbers of their members; they end with it.
#[derive(Default)]
pub(super) struct Processes(BTreeMap<usize, Child>);

impl Processes {
    /// Starts a member, with its output in a file or, without one, for the caller to read.
    pub(super) fn start(
        &mut self,
        member: usize,
        command: &mut Command,
        log: Option<&Path>,
    ) -> anyhow::Result<Option<std::process::ChildStdout>> {
        let output = match log {
            Some(path) => Stdio::from(std::fs::OpenOptions::new().create(true).append(true).open(path)?),
            None => Stdio::piped(),
        };
        let spawned = command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn();
        let mut child = spawned.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let stdout = child.stdout.take();
        self.0.insert(member, child);
        Ok(stdout)
    }

    pub(super) fn pid(&self, member: usize) -> u32 {
        self.0.get(&member).map_or(0, Child::id)
    }

    pub(super) fn signal(&self, member: usize, signal: Signal) {
        let pid = i32::try_from(self.pid(member)).ok().and_then(Pid::from_raw);
        // One that has ended already is what a signal is for.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    /// Waits until a member's process has ended.
    pub(super) async fn wait_for_end(&mut self, member: usize, within: Duration) -> anyhow::Result<()> {
        let Some(mut child) = self.0.remove(&member) else { return Ok(()) };
        let started = Instant::now();
        while child.try_wait()?.is_none() {
            anyhow::ensure!(started.elapsed() < within, "member {member} does not end");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.0.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Members that gossip with each other; all join member 0.
#[allow(async_fn_in_trait, reason = "nobody needs these futures to be sent elsewhere")]
pub(super) trait Fleet {
    fn name(&self) -> String;
    fn journal(&self) -> &Journal;
    fn processes(&self) -> &Processes;
    fn processes_mut(&mut self) -> &mut Processes;

    /// Starts a member, for the first time or again.
    fn start(&mut self, member: usize) -> anyhow::Result<()>;

    /// Waits until every member knows all as alive.
    async fn wait_until_complete(&self, size: usize, within: Duration) -> anyhow::Result<()>;

    /// Writes down from now on what a member tells.
    async fn follow_one(&mut self, member: usize) -> anyhow::Result<()>;

    async fn follow(&mut self, size: usize) -> anyhow::Result<()> {
        for member in 0..size {
            self.follow_one(member).await?;
        }
        Ok(())
    }

    /// The port at which its members gossip.
    fn port(&self) -> u16;

    /// Asks a member to leave.
    fn leave(&self, member: usize) {
        self.processes().signal(member, Signal::TERM);
    }

    fn kill(&self, member: usize) {
        self.processes().signal(member, Signal::KILL);
    }

    fn pid(&self, member: usize) -> u32 {
        self.processes().pid(member)
    }

    async fn wait_for_end(&mut self, member: usize, within: Duration) -> anyhow::Result<()> {
        self.processes_mut().wait_for_end(member, within).await
    }

    /// When each of so many other members told this of a member.
    async fn told(
        &self,
        of: usize,
        what: What,
        since: Instant,
        by: usize,
        within: Duration,
    ) -> anyhow::Result<Vec<Instant>> {
        loop {
            let times = self.journal().first_times(of, what, since);
            if times.len() >= by {
                return Ok(times.into_values().collect());
            }
            let late = since.elapsed() >= within;
            anyhow::ensure!(!late, "{}: {} of {by} told {what:?} of member {of}", self.name(), times.len());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Members but this one that were said to have failed.
    fn accused(&self, of: usize, since: Instant) -> usize {
        self.journal().accused_but(of, since)
    }
}
