//! A task for a remote engine that is started again when it panics.
//!
//! The next one goes on from the cursors that the last one saved, so a row whose reading or encoding panics is not passed
//! over: the task comes back to it, less and less often, and says so each time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use watchfire_collector_core::engine::Input;
use watchfire_collector_core::export::Progress;
use watchfire_shell::clock::Clock;

use crate::engine::Inbox;

/// How long it waits after the first panic; twice as long after each that follows soon.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// At most, and how long one has to work before the waits begin anew.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How far the task has come, as it was saved last.
#[derive(Clone)]
pub(super) struct Latest(Arc<watch::Sender<Progress>>);

impl Latest {
    pub(super) fn new(progress: Progress) -> Self {
        Self(Arc::new(watch::Sender::new(progress)))
    }

    pub(super) fn get(&self) -> Progress {
        self.0.borrow().clone()
    }

    pub(super) fn set(&self, progress: Progress) {
        self.0.send_replace(progress);
    }
}

/// Runs what `start` makes until it ends by itself.
pub(super) async fn supervise<F>(
    latest: Latest,
    inbox: Inbox,
    clock: Clock,
    stop: CancellationToken,
    start: impl Fn(Progress) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut wait = FIRST_WAIT;
    loop {
        let began = Instant::now();
        let Err(error) = tokio::spawn(start(latest.get())).await else { return };
        if began.elapsed() >= LONGEST_WAIT {
            wait = FIRST_WAIT;
        }
        let mut progress = latest.get();
        let (remote, reason) = (&progress.remote, error.to_string());
        tracing::error!(
            remote,
            reason,
            wait_seconds = wait.as_secs(),
            "remote write has panicked and is started again"
        );
        progress.figures.note_restart(clock.wall(), reason);
        latest.set(progress.clone());
        let rest = async {
            inbox.send(Input::Exported(Box::new(progress))).await;
            tokio::time::sleep(wait).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = rest => wait = (wait * 2).min(LONGEST_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use watchfire_collector_core::export::Figures;

    use super::*;
    use crate::engine::inbox;

    fn progress() -> Progress {
        Progress { remote: "metrics".to_owned(), cursors: vec![0], figures: Figures::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_goes_on_from_what_it_saved_and_is_counted() {
        let (latest, stop, (inbox, mut engine)) = (Latest::new(progress()), CancellationToken::new(), inbox());
        let (saves, begun) = (latest.clone(), Instant::now());
        let supervised = supervise(latest.clone(), inbox, Clock::start(), stop, move |own| {
            let saves = saves.clone();
            async move {
                let lives = own.cursors[0];
                assert_eq!(u64::from(lives), own.figures.restarts);
                if lives == 3 {
                    return;
                }
                saves.set(Progress { cursors: vec![lives + 1], ..own });
                panic!("on purpose");
            }
        });
        supervised.await;
        assert_eq!(begun.elapsed().as_secs(), 1 + 2 + 4);
        for restarts in 1..=3 {
            let Input::Exported(told) = engine.next().await else { panic!() };
            assert_eq!((told.figures.restarts, told.cursors), (restarts, vec![restarts as u8]));
            assert!(told.figures.failing_since.is_some() && told.figures.last_error.unwrap().contains("on purpose"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_one_that_panics_when_it_has_to_stop() {
        let (latest, stop, (inbox, _engine)) = (Latest::new(progress()), CancellationToken::new(), inbox());
        let starts = Arc::new(AtomicU8::new(0));
        let counted = Arc::clone(&starts);
        let supervised = supervise(latest.clone(), inbox, Clock::start(), stop.clone(), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { panic!("on purpose") }
        });
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            stop.cancel();
        };
        tokio::join!(supervised, stopping);
        let starts = u64::from(starts.load(Ordering::Relaxed));
        assert!((18..25).contains(&starts), "a minute between them at most, and at least after a while: {starts}");
        assert_eq!(latest.get().figures.restarts, starts);
    }
}
