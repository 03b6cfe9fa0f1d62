//! Actions: what collectors may order this node to do, and doing it.
//!
//! ```text
//! order (frame) -> signature -> machine (agent-core) -> journal thread -> machine -> supervisor process -> machine -> report
//! ```
//!
//! Which actions exist is said by files on this node alone ([`files`]); whose orders are taken, by the pinned key
//! ([`key`]). Without a key nothing runs, and the collector is told so. Nothing here runs a shell.

mod files;

mod key;

mod journal;

mod runner;

pub(crate) mod supervise;

mod cgroup;

mod redact;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, watch};
use watchfire_agent_core::agent::{self, News};
use watchfire_agent_core::order::{Catalogue, ClusterView, Effect, EndCounts, Entry, Fact, Input, Orders};
use watchfire_shared::document::Mistake;
use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::ViewAnswer;
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Order, OrderState};
use watchfire_shell::clock::Clock;
use watchfire_shell::driver::drive;
use watchfire_shell::files::DataDir;
use watchfire_shell::membership::MembershipHandle;

pub(crate) use files::{Source, Trust};
use journal::Journal;
pub(crate) use key::Key;
use runner::Runner;

/// Orders and answers that wait. A collector gives one order at a time; this is a burst of reports seen.
const MAX_INBOX: usize = 128;
/// Messages that wait for the uplink: the reports of one greeting and some more.
const MAX_SAYINGS: usize = 128;

/// What the configuration says of actions.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Settings {
    pub(crate) source: Source,
    pub(crate) key: KeySource,
}

/// Where the collector's key comes from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum KeySource {
    None,
    Given(Key),
    File(PathBuf),
}

impl Settings {
    /// Reads key and files. What cannot be used is left out of the catalogue and stands in its problems.
    fn read(&self) -> (Catalogue, Option<Key>) {
        let (mut catalogue, mistakes) = files::load(&self.source.folder, self.source.trust);
        for mistake in &mistakes {
            tracing::error!("a file of actions cannot be used: {mistake}");
        }
        let key = match &self.key {
            KeySource::None => Err("no collector's key is pinned (actions.collector_key)".to_owned()),
            KeySource::Given(key) => Ok(*key),
            KeySource::File(path) => Key::read(path),
        };
        if let Err(reason) = &key {
            catalogue.refuses.clone_from(reason);
        }
        if key.is_ok() || !catalogue.actions.is_empty() {
            let actions = catalogue.actions.len();
            tracing::info!(actions, refuses = catalogue.refuses, "actions that may be ordered");
        }
        (catalogue, key.ok())
    }

    /// Every mistake in the files; a key's file need not exist yet.
    pub(crate) fn check(&self) -> Vec<Mistake> {
        let mut mistakes = files::load(&self.source.folder, self.source.trust).1;
        if let KeySource::File(path) = &self.key
            && path.exists()
            && let Err(message) = Key::read(path)
        {
            mistakes.push(Mistake { file: "actions.collector_key_file".to_owned(), at: None, message });
        }
        mistakes
    }
}

/// The running part, for those who have something to tell it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    key: Arc<watch::Sender<Option<Key>>>,
    /// What this node sees of the cluster, once gossip has started.
    membership: Arc<OnceLock<MembershipHandle>>,
    /// Where what is to be said goes.
    core: mpsc::Sender<agent::Input>,
    ends: watch::Receiver<Option<EndCounts>>,
    /// Why there is no journal; then there are no orders, whatever is configured.
    no_journal: Option<String>,
}

impl Handle {
    /// How orders ended since the start.
    pub(crate) fn ends(&self) -> Option<EndCounts> {
        *self.ends.borrow()
    }

    /// From now on the cluster can be seen.
    pub(crate) fn follow(&self, membership: MembershipHandle) {
        let _ = self.membership.set(membership);
    }

    fn view(&self) -> ClusterView {
        // Before gossip has started nobody is seen, and a majority least of all.
        self.membership
            .get()
            .map_or(ClusterView { known: 1, living: 0 }, |membership| ClusterView::of(membership.view().members.iter()))
    }

    /// Tells a collector what this node believes of a member. A question that finds no room is asked again.
    fn answer(&self, to: NodeId, about: NodeId) {
        let view = self.membership.get().map(MembershipHandle::view);
        let member = view.as_ref().and_then(|view| view.members.iter().find(|member| member.id == about));
        let message = Message::ViewAnswer(ViewAnswer { about, state: member.map(|member| member.state) });
        let _ = self.core.try_send(agent::Input::Say { to: Some(to), message: Box::new(message) });
    }

    /// Tells what a collector said. A full inbox drops it: a collector asks again, and what it does not hear twice it
    /// takes as not done.
    pub(crate) fn heard(&self, from: NodeId, news: News) {
        let input = match news {
            News::Greeted => Input::Greeted { collector: from },
            News::Seen(id) => Input::Seen { id },
            News::Asked(about) => return self.answer(from, about),
            News::Order(signed) => {
                let key = *self.key.borrow();
                let verified = key.ok_or_else(|| "no collector's key is pinned".to_owned());
                match verified.and_then(|key| key.verify(&signed)) {
                    Ok(order) => Input::Order { from, order: Box::new(order), view: self.view() },
                    Err(reason) => {
                        let claims = Order::from_bytes(&signed.order).ok().map(|order| order.id);
                        Input::Forged { from, claims, reason }
                    }
                }
            }
        };
        if self.inputs.try_send(input).is_err() {
            tracing::warn!(collector = %from, "what a collector said of orders was dropped: too much waits");
        }
    }

    /// Reads files and key again.
    pub(crate) async fn reload(&self, settings: &Settings) {
        let (mut catalogue, key) = settings.read();
        self.key.send_replace(key);
        if let Some(reason) = &self.no_journal {
            catalogue.refuses.clone_from(reason);
        }
        let _ = self.inputs.send(Input::Catalogue(catalogue)).await;
    }
}

/// Starts taking orders. What is to be said goes to the agent's core.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start(
    settings: &Settings,
    data: &DataDir,
    node: NodeId,
    clock: &Clock,
    core: mpsc::Sender<agent::Input>,
) -> std::io::Result<Handle> {
    let (mut catalogue, key) = settings.read();
    let (journal, entries, no_journal) = match Journal::open(data) {
        Ok((journal, entries)) => (Some(journal), entries, None),
        Err(error) => {
            let reason = format!("the journal of orders cannot be used: {error}");
            tracing::error!(reason, "no orders are taken");
            (None, Vec::new(), Some(reason))
        }
    };
    if let Some(reason) = &no_journal {
        catalogue.refuses.clone_from(reason);
    }
    let (inputs, inbox) = mpsc::channel(MAX_INBOX);
    let (sayings, said) = mpsc::channel(MAX_SAYINGS);
    let mut effects = Vec::new();
    let machine = Orders::new(clock.wall(), node, boot(), entries, catalogue, &mut effects);
    let mut performer = Performer {
        journal: start_journal(journal, inputs.clone())?,
        runner: Runner::new(std::env::args_os(), settings.source.trust),
        inputs: inputs.clone(),
        sayings,
    };
    effects.drain(..).for_each(|effect| performer.perform(effect));
    let (told_ends, ends) = watch::channel(machine.ends());
    let now = clock.clone();
    tokio::spawn(drive(
        machine,
        inbox,
        move || now.wall(),
        move |_, effects, orders: &Orders| {
            let ends = orders.ends();
            told_ends.send_if_modified(|last| std::mem::replace(last, ends) != ends);
            effects.drain(..).for_each(|effect| performer.perform(effect));
            ControlFlow::Continue(())
        },
    ));
    tokio::spawn(pass_on(said, core.clone()));
    Ok(Handle { inputs, key: Arc::new(watch::channel(key).0), membership: Arc::default(), core, ends, no_journal })
}

/// The boot of this machine: an order that was given before a reboot is not carried out after it, and a life that ended
/// before one ended with its host.
pub(crate) fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // Without one, each start of the agent counts as a boot: stricter, and as safe.
    if id.trim().is_empty() { format!("start-{:016x}", rand::random::<u64>()) } else { id.trim().to_owned() }
}

async fn pass_on(mut said: mpsc::Receiver<agent::Input>, core: mpsc::Sender<agent::Input>) {
    while let Some(input) = said.recv().await {
        if core.send(input).await.is_err() {
            return;
        }
    }
}

/// What the journal's thread is asked to write.
enum Write {
    Append(Box<Entry>),
    Rewrite(Vec<Entry>),
}

/// Starts the thread that owns the journal; a sync must not keep the agent from sampling.
fn start_journal(mut journal: Option<Journal>, inputs: mpsc::Sender<Input>) -> std::io::Result<mpsc::Sender<Write>> {
    let (writes, mut inbox) = mpsc::channel(MAX_INBOX);
    let mut write = move |write: Write| {
        let none = || Err("there is none".to_owned());
        match write {
            Write::Append(entry) => {
                let result = journal.as_mut().map_or_else(none, |journal| journal.append(&entry));
                let (id, state) = (entry.order.id, entry.report.state);
                let _ = inputs.blocking_send(Input::Journaled { id, state, result });
            }
            Write::Rewrite(entries) => {
                let result = journal.as_mut().map_or_else(none, |journal| journal.rewrite(&entries));
                if let Err(reason) = result {
                    tracing::error!(reason, "the journal of orders could not be written anew");
                }
            }
        }
    };
    let work = move || {
        while let Some(order) = inbox.blocking_recv() {
            write(order);
        }
    };
    std::thread::Builder::new().name("orders".to_owned()).stack_size(256 << 10).spawn(work)?;
    Ok(writes)
}

/// Performs the machine's effects. None of them blocks.
struct Performer {
    journal: mpsc::Sender<Write>,
    runner: Runner,
    inputs: mpsc::Sender<Input>,
    sayings: mpsc::Sender<agent::Input>,
}

impl Performer {
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(entry) => self.write(Write::Append(entry)),
            Effect::Rewrite(entries) => self.write(Write::Rewrite(entries)),
            Effect::Run(job) => {
                let (runner, inputs) = (self.runner.clone(), self.inputs.clone());
                tokio::spawn(async move {
                    let id = job.id;
                    let verifying = async || drop(inputs.send(Input::Verifying { id }).await);
                    let ended = Box::new(runner.run(&job, verifying).await);
                    let _ = inputs.send(Input::Ended { id, ended }).await;
                });
            }
            Effect::Say { to, message } => {
                if self.sayings.try_send(agent::Input::Say { to, message }).is_err() {
                    tracing::warn!("a report of an order waits for the next greeting: too much waits");
                }
            }
            Effect::Fact(fact) => log(&fact),
        }
    }

    /// A journal that takes nothing more is one that failed: the machine waits for no answer but a bad one.
    fn write(&mut self, write: Write) {
        let Err(error) = self.journal.try_send(write) else { return };
        let (mpsc::error::TrySendError::Full(write) | mpsc::error::TrySendError::Closed(write)) = error;
        if let Write::Append(entry) = write {
            let (id, state) = (entry.order.id, entry.report.state);
            let result = Err("the disk does not answer".to_owned());
            let _ = self.inputs.try_send(Input::Journaled { id, state, result });
        }
    }
}

fn log(fact: &Fact) {
    match fact {
        Fact::Forged { from, reason } => tracing::error!(collector = %from, reason, "an order was refused unread"),
        Fact::Refused { id, action, reason } => tracing::warn!(%id, action, reason, "an order was refused"),
        Fact::Accepted { id, action, remediation } => tracing::info!(%id, action, remediation, "an order is accepted"),
        Fact::Ended { id, action, report } if report.state == OrderState::Succeeded => {
            tracing::info!(%id, action, "an action has succeeded");
        }
        Fact::Ended { id, action, report } => {
            let (state, detail) = (report.state.as_str(), &report.detail);
            tracing::warn!(%id, action, state, detail, "an action has not succeeded");
        }
        Fact::JournalFailed { reason } => {
            tracing::error!(reason, "the journal of orders cannot be written: no orders are taken until a restart");
        }
    }
}
