//! `watchfire-agent supervise`: a process of its own around each action, which sees that nothing is left of it.
//!
//! It is a subreaper: whatever the action starts stays below it, also what leaves its session, so the whole tree is found
//! in `/proc` and ended with it: TERM, a grace, then STOP for all (so that nothing forks away) and KILL; where a control
//! group can be had ([`super::cgroup`]), one write to it kills everything first. That happens
//! when the time is over, when the action itself has ended and left something behind, and when the agent is gone, whose
//! end of standard input closes then.
//!
//! The action gets no environment but `PATH` and what the task names, no standard input, no new privileges, a umask of
//! 077, no core dumps, and `/` as its folder.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, kill_process, pidfd_open,
    set_child_subreaper, setrlimit, setsid, umask, waitpid,
};
use serde::{Deserialize, Serialize};
use watchfire_shared::limits::MAX_ACTION_OUTPUT_BYTES;

use super::cgroup::Cgroup;

/// The only `PATH` that an action sees.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long killing is tried. A process in the middle of a disk operation may take a while to die.
const MAX_KILL_TIME: Duration = Duration::from_secs(10);
/// The wait between two looks at `/proc` while the tree is being ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Processes below an action at a time. No repair needs as many; a fork bomb is stopped while it can still be counted.
const MAX_PROCESSES: usize = 256;
/// How often they are counted while the action runs.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// A task as text, bytes: sixty-four arguments and some variables.
const MAX_TASK_BYTES: u64 = 256 << 10;

/// What to run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) timeout_ms: u64,
    /// Whether a control group may be used where one can be had.
    #[serde(default = "yes")]
    pub(super) cgroup: bool,
}

fn yes() -> bool {
    true
}

/// How it ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Why it could not be run at all; empty if it was.
    #[serde(default)]
    pub(super) error: String,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    #[serde(default)]
    pub(super) timed_out: bool,
    /// It started more processes than an action may.
    #[serde(default)]
    pub(super) too_many: bool,
    /// The agent went away.
    #[serde(default)]
    pub(super) abandoned: bool,
    /// The end of what the tree wrote.
    #[serde(default)]
    pub(super) output: String,
    #[serde(default)]
    pub(super) truncated: bool,
    /// Processes that could not be killed in time.
    #[serde(default)]
    pub(super) left: usize,
    /// It ran in a control group of its own.
    #[serde(default)]
    pub(super) cgroup: bool,
}

/// Reads a task from standard input, runs it, and writes its outcome to standard output.
pub(crate) fn main() -> ExitCode {
    let mut line = String::new();
    // A buffer of one byte at a time is not needed: nothing follows the line but the end.
    let read = std::io::stdin().lock().take(MAX_TASK_BYTES).read_line(&mut line);
    let task: Option<Task> = read.ok().and_then(|_| serde_json::from_str(&line).ok());
    let Some(task) = task else {
        eprintln!("watchfire-agent supervise: started by the agent only, which gives it a task");
        return ExitCode::from(2);
    };
    let outcome = run(&task).unwrap_or_else(|error| Outcome { error, ..Outcome::default() });
    let text = serde_json::to_string(&outcome).unwrap_or_default();
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn confine() -> Result<(), String> {
    let told = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    setsid().map_err(told("cannot make a session"))?;
    set_child_subreaper(Some(getpid())).map_err(told("cannot become a subreaper"))?;
    rustix::thread::set_no_new_privs(true).map_err(told("cannot give up privileges"))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(told("cannot bound core dumps"))?;
    umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}

fn run(task: &Task) -> Result<Outcome, String> {
    confine()?;
    let (program, arguments) = task.argv.split_first().ok_or("there is no command")?;
    let (reader, writer) = std::io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    let errors = writer.try_clone().map_err(|error| format!("cannot make a pipe: {error}"))?;
    let deadline = Instant::now() + Duration::from_millis(task.timeout_ms);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(task.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors);
    let (child, cgroup) = match task.cgroup.then(Cgroup::make).flatten() {
        Some(group) => group.around(|| command.spawn()),
        None => (command.spawn(), None),
    };
    // It holds the writing ends of the pipe, which otherwise never ends.
    drop(command);
    let child = child.map_err(|error| format!("cannot execute {program}: {error}"))?;
    let reader = OwnedFd::from(reader);
    let flags = fcntl_getfl(&reader).map_err(|error| error.to_string())?;
    fcntl_setfl(&reader, flags | OFlags::NONBLOCK).map_err(|error| error.to_string())?;
    let mut tree = Tree { main: Pid::from_child(&child), status: None, cgroup };
    let mut output = Output { reader: Some(reader), ring: VecDeque::new(), truncated: false };
    let why = tree.watch(deadline, &mut output);
    let left = tree.end(matches!(why, Why::Late | Why::Abandoned), &mut output);
    output.drain();
    let status = tree.status;
    Ok(Outcome {
        error: String::new(),
        exit_code: status.and_then(|status| status.exit_status()),
        signal: status.and_then(|status| status.terminating_signal()),
        timed_out: why == Why::Late,
        too_many: why == Why::TooMany,
        abandoned: why == Why::Abandoned,
        truncated: output.truncated,
        output: String::from_utf8_lossy(output.ring.make_contiguous()).into_owned(),
        left,
        cgroup: tree.cgroup.is_some(),
    })
}

/// Why watching ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Ended,
    Late,
    TooMany,
    Abandoned,
}

/// The end of what the tree wrote.
struct Output {
    /// `None` once every writer has closed its end.
    reader: Option<OwnedFd>,
    ring: VecDeque<u8>,
    truncated: bool,
}

impl Output {
    /// Takes what is there.
    fn drain(&mut self) {
        let mut buffer = [0; 16 << 10];
        while let Some(reader) = &self.reader {
            match rustix::io::read(reader, &mut buffer) {
                Ok(0) => self.reader = None,
                Ok(length) => self.push(&buffer[..length]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.reader = None,
            }
        }
    }

    /// Takes one portion, so that a flood of output does not keep from looking at the clock.
    fn portion(&mut self) {
        let mut buffer = [0; 16 << 10];
        let Some(reader) = &self.reader else { return };
        match rustix::io::read(reader, &mut buffer) {
            Ok(0) => self.reader = None,
            Ok(length) => self.push(&buffer[..length]),
            Err(_) => {}
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.ring.extend(bytes);
        if let Some(excess) = self.ring.len().checked_sub(MAX_ACTION_OUTPUT_BYTES).filter(|excess| *excess > 0) {
            self.ring.drain(..excess);
            self.truncated = true;
        }
    }
}

/// The action and everything below it.
struct Tree {
    main: Pid,
    status: Option<WaitStatus>,
    cgroup: Option<Cgroup>,
}

impl Tree {
    /// Waits until the action ends by itself, its time is over, or the agent goes away.
    fn watch(&mut self, deadline: Instant, output: &mut Output) -> Why {
        let Ok(pidfd) = pidfd_open(self.main, PidfdFlags::empty()) else { return Why::Late };
        let stdin = std::io::stdin();
        let mut count_at = Instant::now() + COUNT_EVERY;
        loop {
            self.reap();
            let left = deadline.saturating_duration_since(Instant::now());
            match () {
                () if self.status.is_some() => return Why::Ended,
                () if left.is_zero() => return Why::Late,
                () if Instant::now() < count_at => {}
                () if self.descendants().len() > MAX_PROCESSES => return Why::TooMany,
                () => count_at = Instant::now() + COUNT_EVERY,
            }
            let left = left.min(COUNT_EVERY);
            let mut fds = vec![PollFd::new(&stdin, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
            fds.extend(output.reader.as_ref().map(|reader| PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)));
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let ready = poll(&mut fds, Some(&timeout)).is_ok();
            // The agent says nothing after the task; whatever comes now is its end of the pipe closing.
            let abandoned = ready && !fds[0].revents().is_empty();
            if abandoned {
                return Why::Abandoned;
            }
            output.portion();
        }
    }

    /// Ends everything that is left; returns how many processes could not be.
    fn end(&mut self, gently: bool, output: &mut Output) -> usize {
        if gently {
            self.tell_all(Signal::TERM);
            let until = Instant::now() + GRACE;
            // What multiplies instead of ending gets no time to do so.
            while Instant::now() < until && (1..=MAX_PROCESSES).contains(&self.descendants().len()) {
                self.step(output);
            }
        }
        let until = Instant::now() + MAX_KILL_TIME;
        loop {
            let alive = self.descendants().len().max(usize::from(self.is_populated()));
            if alive == 0 || Instant::now() > until {
                self.reap();
                return alive;
            }
            if let Some(cgroup) = &self.cgroup {
                cgroup.kill();
            }
            self.freeze();
            self.tell_all(Signal::KILL);
            self.step(output);
        }
    }

    fn is_populated(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::is_populated)
    }

    fn step(&mut self, output: &mut Output) {
        output.portion();
        self.reap();
        std::thread::sleep(LOOK_EVERY);
    }

    /// Stops processes until no new ones appear: what is stopped starts nothing.
    fn freeze(&self) {
        let mut stopped = Vec::new();
        // Each round stops everything that the last one started; a fork bomb is still after a few.
        for _ in 0..100 {
            let fresh: Vec<Pid> = self.descendants().into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if fresh.is_empty() {
                return;
            }
            for pid in &fresh {
                let _ = kill_process(*pid, Signal::STOP);
            }
            stopped.extend(fresh);
        }
    }

    fn tell_all(&self, signal: Signal) {
        for pid in self.descendants() {
            let _ = kill_process(pid, signal);
            // One that is stopped hears of TERM only when it goes on.
            if signal == Signal::TERM {
                let _ = kill_process(pid, Signal::CONT);
            }
        }
    }

    /// Collects what has ended; orphans become children of a subreaper.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            if pid == self.main {
                self.status = Some(status);
            }
        }
    }

    /// Every living process below this one.
    fn descendants(&self) -> Vec<Pid> {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let mut dead = Vec::new();
        for pid in pids {
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            // The name in parentheses may hold anything, parentheses included.
            let Some((_, rest)) = stat.rsplit_once(')') else { continue };
            let mut fields = rest.split_whitespace();
            let state = fields.next();
            let Some(parent) = fields.next().and_then(|field| field.parse().ok()) else { continue };
            children.entry(parent).or_default().push(pid);
            if matches!(state, Some("Z" | "X")) {
                dead.push(pid);
            }
        }
        let (mut open, mut found) = (vec![getpid().as_raw_nonzero().get()], Vec::new());
        while let Some(parent) = open.pop() {
            for pid in children.remove(&parent).unwrap_or_default() {
                open.push(pid);
                found.extend(Pid::from_raw(pid).filter(|_| !dead.contains(&pid)));
            }
        }
        found
    }
}
