//! The life of a program: signals, what the service manager is told, tasks that are stopped in reverse order, exit codes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The exit codes of every Watchfire program.
pub mod exit {
    pub const OK: u8 = 0;
    /// Something failed; the message says what.
    pub const ERROR: u8 = 1;
    /// The command line was not understood.
    pub const USAGE: u8 = 2;
    /// What was asked about is not so: a member is not alive, an alert fires.
    pub const CONDITION_NOT_MET: u8 = 3;
    /// The server could not be reached.
    pub const UNREACHABLE: u8 = 4;
    /// The server refused the credentials.
    pub const UNAUTHORISED: u8 = 5;
    /// A guard forbids the action.
    pub const GUARD: u8 = 6;
}

/// What a program was asked to do by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals of this process. Installed before the program says that it is ready, so that none is lost or kills it.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    /// Installs the handlers. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. May be dropped and called again without losing one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

/// Tells the service manager, if there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// Tells the service manager that the program serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells the service manager that a reload began; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock for the service manager"),
    }
}

/// Tells the service manager that the program stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Pings the service manager's watchdog at half its period until `stop`; ends at once where there is none.
///
/// It runs as a task of the main runtime, so that a runtime that hangs is a missing ping.
pub async fn watchdog(stop: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((period / 2).max(Duration::from_millis(1)));
    loop {
        tokio::select! {
            _ = ticks.tick() => tell(&[NotifyState::Watchdog]),
            () = stop.cancelled() => return,
        }
    }
}

/// An error and what led to it, each said once: many messages have their cause in them already.
#[must_use]
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.ends_with(&told) {
            text += &format!(": {told}");
        }
        cause = error.source();
    }
    text
}

/// What was started, by name. It is stopped in reverse order: what feeds others was started after them.
#[derive(Debug, Default)]
pub struct Tasks {
    running: Vec<Task>,
    /// The names of those that ended by themselves.
    ended: Arc<watch::Sender<Vec<&'static str>>>,
}

#[derive(Debug)]
struct Task {
    name: &'static str,
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

/// Tells that a task ended, whichever way it did.
struct End {
    name: &'static str,
    stop: CancellationToken,
    ended: Arc<watch::Sender<Vec<&'static str>>>,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.ended.send_modify(|ended| ended.push(self.name));
        }
    }
}

/// How long one task may take to stop. systemd's own limit for all of them is 90 s.
const MAX_STOP_TIME: Duration = Duration::from_secs(10);

impl Tasks {
    /// Starts a task. It is handed the token that tells it to stop.
    pub fn spawn<F>(&mut self, name: &'static str, start: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let end = End { name, stop: stop.clone(), ended: self.ended.clone() };
        let task = start(stop.clone());
        let handle = tokio::spawn(async move {
            let _end = end;
            task.await;
        });
        self.running.push(Task { name, stop, handle });
    }

    /// The names of tasks that ended by themselves, though nobody stopped them: by a panic or a bug.
    #[must_use]
    pub fn ended(&self) -> Vec<&'static str> {
        self.ended.borrow().clone()
    }

    /// The same as a value to wait on: a program that lost a part of itself should not go on for a moment.
    #[must_use]
    pub fn deaths(&self) -> watch::Receiver<Vec<&'static str>> {
        self.ended.subscribe()
    }

    /// Stops every task, the last one first, and returns the names of those that had to be cut off or had panicked.
    pub async fn stop(&mut self) -> Vec<&'static str> {
        let mut failed = Vec::new();
        while let Some(mut task) = self.running.pop() {
            task.stop.cancel();
            tracing::debug!(task = task.name, "stopping");
            match tokio::time::timeout(MAX_STOP_TIME, &mut task.handle).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(task = task.name, %error, "task failed");
                    failed.push(task.name);
                }
                Err(_) => {
                    tracing::warn!(task = task.name, "task did not stop in time and was cut off");
                    task.handle.abort();
                    failed.push(task.name);
                }
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn tasks_stop_in_reverse_order_and_failures_are_named() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Tasks::default();
        for name in ["gossip", "http"] {
            let order = order.clone();
            tasks.spawn(name, |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push(name);
            });
        }
        tasks.spawn("broken", |_| async { panic!("on purpose") });
        let mut deaths = tasks.deaths();
        assert_eq!(*deaths.wait_for(|names| !names.is_empty()).await.unwrap(), ["broken"]);
        assert_eq!(tasks.ended(), ["broken"]);
        assert_eq!(tasks.stop().await, ["broken"]);
        assert_eq!(*order.lock().unwrap(), ["http", "gossip"]);
        assert!(tasks.stop().await.is_empty());
    }

    #[test]
    fn a_cause_that_a_message_has_in_it_is_not_said_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("keys: {source}")]
        struct Keys {
            source: io::Error,
        }
        #[derive(Debug, thiserror::Error)]
        #[error("gossip cannot start")]
        struct Start(#[from] Keys);
        let error = Start::from(Keys { source: io::Error::other("no space") });
        assert_eq!(with_causes(&error), "gossip cannot start: keys: no space");
    }

    #[tokio::test]
    async fn a_program_without_a_service_manager_has_no_watchdog() {
        watchdog(CancellationToken::new()).await;
    }
}
