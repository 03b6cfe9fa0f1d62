//! Remote write out, done: one task for each remote engine drives its exporter, which decides.
//!
//! A task reads the store beside the engine's thread, sends with the client that notifications use, and hands cursors and
//! figures to the engine. A reload ends the tasks of remotes that changed, each of which goes on from its own cursors. One
//! that panics is started again.

mod send;

mod supervise;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use watchfire_collector_core::engine::Input as EngineInput;
use watchfire_collector_core::export::config::Remote;
use watchfire_collector_core::export::{Cursors, Effect, Exporter, Input, Progress, plan};
use watchfire_collector_core::fact::Fact;
use watchfire_shared::machine::Machine;
use watchfire_shell::clock::Clock;
use watchfire_store::CopiedBlocks;

use crate::engine::{self, Inbox, Published};
use send::Sender;
use supervise::{Latest, supervise};

/// What every task needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) published: Published,
    pub(crate) inbox: Inbox,
    pub(crate) clock: Clock,
}

/// A task, how to end it, and how far it has come.
struct Running {
    remote: Arc<Remote>,
    stop: CancellationToken,
    latest: Latest,
    task: JoinHandle<()>,
}

/// Runs the tasks that are wanted, with the cursors that were saved, until `stop`.
pub(crate) async fn run(
    mut wanted: watch::Receiver<Vec<Remote>>,
    mut saved: BTreeMap<String, Vec<u8>>,
    context: Context,
    stop: CancellationToken,
) {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let remotes = wanted.borrow_and_update().clone();
        let (kept, ended): (Vec<_>, Vec<_>) = running.into_iter().partition(|own| remotes.contains(&*own.remote));
        running = kept;
        end(ended, &mut saved).await;
        for remote in remotes {
            if running.iter().all(|own| *own.remote != remote) {
                let cursors = saved.get(&remote.name).map(Vec::as_slice);
                running.push(start(Arc::new(remote), cursors, &context));
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = wanted.changed() => if changed.is_err() {
                stop.cancelled().await;
                break;
            }
        }
    }
    end(running, &mut saved).await;
}

async fn end(running: Vec<Running>, saved: &mut BTreeMap<String, Vec<u8>>) {
    running.iter().for_each(|own| own.stop.cancel());
    for own in running {
        if let Err(error) = own.task.await {
            tracing::error!(%error, remote = own.remote.name, "remote write has died");
        }
        saved.insert(own.remote.name.clone(), own.latest.get().cursors);
    }
}

fn start(remote: Arc<Remote>, saved: Option<&[u8]>, context: &Context) -> Running {
    let (stop, now) = (CancellationToken::new(), context.clock.wall());
    let begin = Exporter::new(now, Arc::clone(&remote), saved, rand::random());
    let latest = Latest::new(begin.progress(now));
    let task = {
        let (remote, context, latest, stop) = (Arc::clone(&remote), context.clone(), latest.clone(), stop.clone());
        move |from| Task::new(from, &remote, &latest, &context).run(stop.clone())
    };
    let (inbox, clock) = (context.inbox.clone(), context.clock.clone());
    let task = tokio::spawn(supervise(latest.clone(), inbox, clock, stop.clone(), task));
    Running { remote, stop, latest, task }
}

struct Task {
    remote: Arc<Remote>,
    exporter: Exporter,
    sender: Sender,
    copied: CopiedBlocks,
    latest: Latest,
    context: Context,
}

impl Task {
    fn new(from: Progress, remote: &Arc<Remote>, latest: &Latest, context: &Context) -> Self {
        let (remote, latest, context) = (Arc::clone(remote), latest.clone(), context.clone());
        Self {
            sender: Sender::new(Arc::clone(&remote)),
            exporter: Exporter::go_on_from(context.clock.wall(), Arc::clone(&remote), from, rand::random()),
            copied: CopiedBlocks::default(),
            remote,
            latest,
            context,
        }
    }

    /// Works until `stop`.
    async fn run(mut self, stop: CancellationToken) {
        let mut input = Input::Wake;
        loop {
            let mut effects = Vec::new();
            let stopping = matches!(input, Input::Stop);
            self.exporter.handle(self.context.clock.wall(), input, &mut effects);
            let mut answer = None;
            for effect in effects {
                answer = tokio::select! {
                    // What is under way when it has to end was not done; the cursors know nothing of it.
                    () = stop.cancelled(), if !stopping => Some(Input::Stop),
                    done = self.perform(effect) => done,
                }
                .or(answer);
            }
            if stopping {
                return;
            }
            input = match answer {
                Some(answer) => answer,
                None => tokio::select! {
                    () = stop.cancelled() => Input::Stop,
                    () = self.sleep() => Input::Wake,
                },
            };
        }
    }

    async fn sleep(&self) {
        let now = self.context.clock.wall();
        match self.exporter.deadline() {
            Some(at) => tokio::time::sleep(at.since(now).to_std()).await,
            None => std::future::pending().await,
        }
    }

    async fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Look(cursors) => Some(self.look(cursors).await),
            Effect::Send(feed, batch) => {
                let metadata = self.context.published.view().metadata.clone();
                Some(Input::Answered(self.sender.send(self.context.clock.wall(), feed, batch, metadata).await))
            }
            Effect::Save(progress) => {
                self.latest.set(progress.clone());
                self.context.inbox.send(EngineInput::Exported(Box::new(progress))).await;
                None
            }
            Effect::Fact(fact) => {
                tell(&fact);
                None
            }
        }
    }

    async fn look(&mut self, cursors: Cursors) -> Input {
        let Some(feed) = self.context.published.feed().await else { return Input::Stop };
        let (remote, now) = (Arc::clone(&self.remote), self.context.clock.wall());
        let mut copied = std::mem::take(&mut self.copied);
        let planned = tokio::task::spawn_blocking(move || {
            let plan = plan(feed, &cursors, &remote, now, &mut copied);
            (plan, copied)
        });
        let (plan, copied) =
            planned.await.expect("planning does not panic, and is not cancelled while the runtime lives");
        self.copied = copied;
        Input::Planned(Box::new(plan))
    }
}

fn tell(fact: &Fact) {
    engine::write(fact);
}
