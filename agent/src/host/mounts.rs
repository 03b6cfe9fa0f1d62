//! Asks mounts for their sizes without ever waiting for one that is dead.
//!
//! `statfs` on a dead network or FUSE mount does not return. It is called in a thread of its own; one that takes longer
//! than [`DEADLINE`] is left alone with its mount, which counts as an error until the call returns, and another thread
//! goes on with the rest. A dead mount costs one thread, and there are at most [`MAX_THREADS`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use watchfire_agent_core::host::{FilesystemAnswer, FilesystemStats};

/// How long the mounts of a round may take together before the one that is being asked counts as dead.
const DEADLINE: Duration = Duration::from_millis(50);
/// Threads at a time, those that wait for dead mounts included.
const MAX_THREADS: usize = 4;
/// A thread that calls `statfs` needs next to nothing.
const STACK_BYTES: usize = 64 << 10;

/// Calls that may hang.
type Ask = fn(&str) -> FilesystemAnswer;

struct Job {
    points: Vec<String>,
    /// Set when nobody waits any more: the call that hung was the last one.
    abandoned: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Worker {
    jobs: Sender<Job>,
    answers: Receiver<FilesystemAnswer>,
}

#[derive(Debug)]
struct Stuck {
    point: String,
    worker: Worker,
}

/// The threads and the mounts that they wait for.
#[derive(Debug)]
pub(super) struct Guard {
    ask: Ask,
    idle: Option<Worker>,
    stuck: Vec<Stuck>,
}

impl Default for Guard {
    fn default() -> Self {
        Self { ask: statfs, idle: None, stuck: Vec::new() }
    }
}

impl Guard {
    /// One answer per mount point, in order.
    pub(super) fn ask(&mut self, points: &[&str], answers: &mut Vec<FilesystemAnswer>) {
        self.collect_returned();
        let first = answers.len();
        answers.resize(first + points.len(), FilesystemAnswer::Error);
        let mut open: Vec<usize> =
            (0..points.len()).filter(|at| !self.stuck.iter().any(|stuck| stuck.point == points[*at])).collect();
        while !open.is_empty() {
            let Some(worker) = self.worker() else { return };
            let abandoned = Arc::new(AtomicBool::new(false));
            let job =
                Job { points: open.iter().map(|at| points[*at].to_owned()).collect(), abandoned: abandoned.clone() };
            if worker.jobs.send(job).is_err() {
                return;
            }
            let started = Instant::now();
            let mut answered = 0;
            while answered < open.len() {
                let Ok(answer) = worker.answers.recv_timeout(DEADLINE.saturating_sub(started.elapsed())) else { break };
                answers[first + open[answered]] = answer;
                answered += 1;
            }
            if answered == open.len() {
                self.idle = Some(worker);
                return;
            }
            abandoned.store(true, Ordering::Relaxed);
            self.stuck.push(Stuck { point: points[open[answered]].to_owned(), worker });
            open.drain(..=answered);
        }
    }

    /// Threads whose call has returned are of use again; one is enough.
    fn collect_returned(&mut self) {
        let idle = &mut self.idle;
        let returned = |stuck: &mut Stuck| !matches!(stuck.worker.answers.try_recv(), Err(TryRecvError::Empty));
        for stuck in self.stuck.extract_if(.., returned) {
            idle.get_or_insert(stuck.worker);
        }
    }

    fn worker(&mut self) -> Option<Worker> {
        if self.idle.is_some() {
            return self.idle.take();
        }
        if self.stuck.len() >= MAX_THREADS {
            return None;
        }
        start(self.ask).ok()
    }
}

fn start(ask: Ask) -> io::Result<Worker> {
    let (jobs, inbox) = channel::<Job>();
    let (outbox, answers) = channel();
    let work = move || {
        // Ends when the guard drops its end.
        while let Ok(job) = inbox.recv() {
            for point in &job.points {
                if outbox.send(ask(point)).is_err() {
                    return;
                }
                if job.abandoned.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    };
    std::thread::Builder::new().name("mounts".to_owned()).stack_size(STACK_BYTES).spawn(work)?;
    Ok(Worker { jobs, answers })
}

fn statfs(point: &str) -> FilesystemAnswer {
    match rustix::fs::statfs(point) {
        Ok(stats) => FilesystemAnswer::Stats(FilesystemStats {
            block_size: stats.f_bsize as u64,
            blocks: stats.f_blocks,
            blocks_free: stats.f_bfree,
            blocks_available: stats.f_bavail,
            files: stats.f_files,
            files_free: stats.f_ffree,
        }),
        Err(_) => FilesystemAnswer::Error,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Mounts called `dead` hang until this is unlocked.
    static DEAD: Mutex<()> = Mutex::new(());

    fn ask(point: &str) -> FilesystemAnswer {
        if point.starts_with("dead") {
            drop(DEAD.lock());
        }
        FilesystemAnswer::Stats(FilesystemStats::default())
    }

    #[test]
    fn a_dead_mount_costs_one_thread_and_one_deadline_and_comes_back() {
        let good = FilesystemAnswer::Stats(FilesystemStats::default());
        let held = DEAD.lock().unwrap();
        let mut guard = Guard { ask, ..Guard::default() };
        let round = |guard: &mut Guard| {
            let mut answers = Vec::new();
            guard.ask(&["a", "dead", "b"], &mut answers);
            answers
        };
        let started = Instant::now();
        assert_eq!(round(&mut guard), [good, FilesystemAnswer::Error, good]);
        assert!(started.elapsed() >= DEADLINE);
        for _ in 0..100 {
            assert_eq!(round(&mut guard), [good, FilesystemAnswer::Error, good]);
        }
        assert_eq!(guard.stuck.len(), 1, "a stuck mount is not asked again");
        drop(held);
        let deadline = Instant::now() + Duration::from_secs(10);
        while round(&mut guard) != [good, good, good] {
            assert!(Instant::now() < deadline, "the mount answers again");
            std::thread::yield_now();
        }
        assert_eq!(guard.stuck.len(), 0);
    }

    #[test]
    fn many_dead_mounts_cost_no_more_than_four_threads() {
        fn never(_: &str) -> FilesystemAnswer {
            std::thread::park();
            FilesystemAnswer::Error
        }
        let mut guard = Guard { ask: never, ..Guard::default() };
        let points: Vec<String> = (0..20).map(|i| format!("m{i}")).collect();
        let points: Vec<&str> = points.iter().map(String::as_str).collect();
        let mut answers = Vec::new();
        guard.ask(&points, &mut answers);
        assert_eq!((answers.len(), guard.stuck.len()), (20, MAX_THREADS));
        assert!(answers.iter().all(|answer| *answer == FilesystemAnswer::Error));
    }

    #[test]
    fn the_root_has_a_size_and_a_missing_mount_is_an_error() {
        let mut answers = Vec::new();
        Guard::default().ask(&["/", "/no/such/mount"], &mut answers);
        assert!(matches!(answers[0], FilesystemAnswer::Stats(stats) if stats.blocks > 0 && stats.block_size > 0));
        assert_eq!(answers[1], FilesystemAnswer::Error);
    }
}
