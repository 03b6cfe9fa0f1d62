//! Remote write out: what the store holds is copied to an engine that others run, for longer than it is kept here.
//!
//! ```text
//! Wake -> Look (store behind the cursors) -> Plan -> Send -> Answered -> Send ... -> Idle until `send_every` is over
//!                                                     |  429, 5xx, no answer: wait longer each time, look again
//!                                                     |  refused: halve until the refused rows are found, drop those;
//!                                                     |  of series that relabelling made one with others, drop only them
//! ```
//!
//! Nothing is queued: what the engine has not taken is in the store, and a durable cursor for each source says where to go
//! on. Outages therefore cost no memory, and end with the oldest rows first.
//!
//! Invariants:
//! - every row behind the cursor is sent until the engine takes it, refuses it, or it is older than `max_backlog`; both of
//!   the latter are counted;
//! - a cursor passes a row only after one of the three, so a crash sends rows again and leaves none out;
//! - one request at a time is under way.
//!
//! An engine that dies may lose what it has acknowledged last, whatever the times of those samples: VictoriaMetrics keeps
//! seconds of it in memory only. So when one comes back after it was gone, the cursors first go back to what they were
//! `resend` before its last acknowledgement, however long ago that is; and that is also what is made durable, for an
//! engine may die together with us.

pub mod config;

mod figures;

mod cursors;

mod plan;

mod memo;

mod joined;

pub mod encode;

pub mod series;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use watchfire_shared::machine::Machine;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::Feed;

use crate::fact::{Fact, Level};
use config::Remote;
pub use cursors::Cursors;
use encode::Content;
pub use figures::Figures;
pub use plan::{Batch, Part, Plan, Run, plan};

/// The table of the durable state that holds the cursors, by the name of the remote.
pub const TABLE: &str = "exports";
/// How long it waits after a first failure, and at most; Prometheus' waits are of this kind.
const FIRST_WAIT: Span = Span::from_millis(500);
const LONGEST_WAIT: Span = Span::from_seconds(60);
/// The longest `Retry-After` that is honoured; one who asks for more is asked again.
const MAX_RETRY_AFTER: Span = Span::from_seconds(600);
/// How often cursors are saved while there is much to send.
const SAVE_EVERY: Span = Span::from_seconds(2);
/// How often the cursors are remembered to go back to.
const REMEMBER_EVERY: Span = Span::from_seconds(5);

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// The deadline was reached.
    Wake,
    /// What [`Effect::Look`] found.
    Planned(Box<Plan>),
    /// What became of [`Effect::Send`].
    Answered(Answer),
    /// The remote is to be written to no more, for now.
    Stop,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It was taken.
    Taken(Content),
    /// There is no sample in it, so nothing was asked.
    Nothing(Content),
    /// A status that says that sending it again would not help.
    Refused { status: u16, reason: String, content: Content },
    /// 429 or 5xx, or there was no answer in time.
    Later { retry_after: Option<Span>, reason: String },
    /// There is nobody: the connection was refused or broke.
    Gone { reason: String },
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Effect {
    /// Find out what lies behind the cursors, with [`plan`].
    Look(Cursors),
    /// Send the batch, which is to be read from the feed.
    Send(Feed, Batch),
    /// Make the cursors durable, soon, and show the figures.
    Save(Progress),
    Fact(Fact),
}

/// How far a remote engine has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Its name.
    pub remote: String,
    pub cursors: Vec<u8>,
    pub figures: Figures,
}

#[derive(Debug)]
enum State {
    /// Nothing is under way until then.
    Idle(Timestamp),
    Looking,
    Sending(Work),
    Stopped,
}

#[derive(Debug)]
struct Work {
    feed: Feed,
    /// The first is on its way.
    batches: VecDeque<Batch>,
    more: bool,
}

/// One remote engine as it is written to.
#[derive(Debug)]
pub struct Exporter {
    remote: Arc<Remote>,
    cursors: Cursors,
    state: State,
    figures: Figures,
    attempts: u32,
    /// Whether nobody is there.
    gone: bool,
    oldest: Option<Timestamp>,
    /// What the cursors were, the latest at the end.
    past: VecDeque<(Timestamp, Cursors)>,
    saved_at: Timestamp,
    random: u64,
    /// Said once, since it stays so until the configuration changes.
    has_told_clash: bool,
    /// It counts as failing because it died, and not yet for another reason.
    has_died: bool,
}

impl Exporter {
    /// Goes on from saved cursors, which lie `resend` back; without any, with what is later than now less the remote's
    /// `history`. `seed` spreads the waits.
    #[must_use]
    pub fn new(now: Timestamp, remote: Arc<Remote>, saved: Option<&[u8]>, seed: u64) -> Self {
        let begin = || Cursors::new(before(now, remote.history));
        let cursors = saved.and_then(Cursors::decode).unwrap_or_else(begin);
        Self {
            past: VecDeque::from([(now, cursors.clone())]),
            cursors,
            remote,
            state: State::Idle(now),
            figures: Figures::default(),
            attempts: 0,
            gone: false,
            oldest: None,
            saved_at: now,
            random: seed | 1,
            has_told_clash: false,
            has_died: false,
        }
    }

    /// Goes on where another exporter has died, and with its figures.
    #[must_use]
    pub fn go_on_from(now: Timestamp, remote: Arc<Remote>, progress: Progress, seed: u64) -> Self {
        let new = Self::new(now, remote, Some(&progress.cursors), seed);
        Self { has_died: progress.figures.failing_since.is_some(), figures: progress.figures, ..new }
    }

    fn planned(&mut self, now: Timestamp, plan: Plan, effects: &mut Vec<Effect>) {
        self.note_expired(now, &plan, effects);
        let Plan { feed, batches, more, pending, oldest, .. } = plan;
        self.figures.pending_samples = pending;
        self.oldest = oldest;
        let known: std::collections::BTreeSet<_> = feed.sources().cloned().collect();
        self.cursors.retain(|source| known.contains(source));
        self.remember(now);
        for run in batches.iter().flat_map(|batch| &batch.runs) {
            self.cursors.try_up_to(&run.source, run.until());
        }
        self.state = State::Sending(Work { feed, batches, more });
        self.save(now, effects);
        self.go_on(now, effects);
    }

    fn note_expired(&mut self, now: Timestamp, plan: &Plan, effects: &mut Vec<Effect>) {
        for (source, after) in &plan.skipped {
            self.cursors.advance(source, *after);
        }
        if plan.expired > 0 {
            self.figures.expired_samples += plan.expired;
            let fact = Fact::new(Level::Warn, "samples were too old to be sent to the remote engine and are left out");
            effects.push(
                self.told(fact)
                    .with_fact("samples", plan.expired)
                    .with_fact("max_backlog", self.remote.max_backlog)
                    .into(),
            );
            self.figures.last_error = Some(format!("samples older than {} were left out", self.remote.max_backlog));
            self.figures.last_error_at = Some(now);
        }
    }

    /// Keeps what the cursors are for as long as `resend` may need it. While requests fail the engine has acknowledged
    /// nothing that is not remembered.
    fn remember(&mut self, now: Timestamp) {
        let last = self.past.back().map(|(at, _)| *at);
        let is_recent = last.is_some_and(|at| now.since(at) < REMEMBER_EVERY);
        // Nothing was acknowledged that the last does not cover, however much was left out since.
        let is_enough = last.zip(self.figures.last_success_at).is_some_and(|(at, success)| success < at);
        if !self.remote.resend.is_positive() || self.figures.failing_since.is_some() || is_recent || is_enough {
            return;
        }
        self.past.push_back((now, self.cursors.clone()));
        // The last that is old enough is what is gone back to; those before it are not needed.
        while let Some((at, _)) = self.past.get(1)
            && self.is_old_enough(now, *at)
        {
            self.past.pop_front();
        }
    }

    /// Whether what was acknowledged before this time is `resend` older than the last acknowledgement, and so safe.
    fn is_old_enough(&self, now: Timestamp, at: Timestamp) -> bool {
        self.figures.last_success_at.unwrap_or(now).since(at) >= self.remote.resend
    }

    /// Sends the next batch, looks for more, or waits for its time.
    fn go_on(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let State::Sending(work) = &self.state else { return };
        if let Some(batch) = work.batches.front() {
            effects.push(Effect::Send(work.feed.clone(), batch.clone()));
            return;
        }
        if work.more {
            self.look(effects);
        } else {
            self.oldest = None;
            self.figures.pending_samples = 0;
            if std::mem::take(&mut self.has_died) {
                self.figures.failing_since = None;
            }
            self.state = State::Idle(now + self.remote.send_every);
            self.save(now, effects);
        }
    }

    fn look(&mut self, effects: &mut Vec<Effect>) {
        self.state = State::Looking;
        effects.push(Effect::Look(self.cursors.clone()));
    }

    fn answered(&mut self, now: Timestamp, answer: Answer, effects: &mut Vec<Effect>) {
        let State::Sending(work) = &mut self.state else { return };
        let Some(batch) = work.batches.pop_front() else { return };
        match answer {
            Answer::Taken(content) => {
                self.count(&content, effects);
                self.taken(now, &batch, content.samples, effects);
            }
            // It says nothing of whoever is there, and acknowledges nothing.
            Answer::Nothing(content) => {
                self.count(&content, effects);
                self.pass(&batch);
            }
            Answer::Refused { status, reason, content } => {
                self.refused(now, &batch, status, reason, &content, effects);
            }
            Answer::Later { retry_after, reason } => return self.failed(now, retry_after, reason, effects),
            Answer::Gone { reason } => {
                self.go_back(now);
                return self.failed(now, None, reason, effects);
            }
        }
        if now.since(self.saved_at) >= SAVE_EVERY {
            self.save(now, effects);
        }
        self.go_on(now, effects);
    }

    /// Counts what was not sent, and says once which series have become one.
    fn count(&mut self, content: &Content, effects: &mut Vec<Effect>) {
        self.figures.left_out_samples += content.left_out as u64;
        self.figures.repeated_samples += content.repeated as u64;
        self.figures.duplicate_samples += content.duplicate as u64;
        if let Some(clash) = content.clash.as_ref().filter(|_| !std::mem::replace(&mut self.has_told_clash, true)) {
            let text = "series have the same labels once they are relabelled; of samples of one time the first is sent";
            let told = self.told(Fact::new(Level::Warn, text));
            effects.push(told.with_fact("kept", &clash.kept).with_fact("dropped", &clash.dropped).into());
        }
    }

    fn taken(&mut self, now: Timestamp, batch: &Batch, samples: usize, effects: &mut Vec<Effect>) {
        self.figures.sent_samples += samples as u64;
        self.figures.last_success_at = Some(now);
        self.pass(batch);
        let latest = batch.runs.iter().map(Run::until).max();
        self.figures.highest_sent_at = self.figures.highest_sent_at.max(latest);
        self.recovered(now, effects);
    }

    fn recovered(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        (self.attempts, self.gone) = (0, false);
        if let Some(since) = self.figures.failing_since.take() {
            let fact = Fact::new(Level::Info, "the remote engine takes samples again");
            effects.push(self.told(fact).with_fact("after", now.since(since)).into());
        }
    }

    /// The cursors pass a batch, unless the rest of it follows.
    fn pass(&mut self, batch: &Batch) {
        if batch.part == Part::Single {
            return;
        }
        for run in &batch.runs {
            self.cursors.advance(&run.source, run.until());
        }
        self.figures.pending_samples = self.figures.pending_samples.saturating_sub(batch.samples() as u64);
    }

    fn refused(
        &mut self,
        now: Timestamp,
        batch: &Batch,
        status: u16,
        reason: String,
        content: &Content,
        effects: &mut Vec<Effect>,
    ) {
        // It answers, so it is there.
        self.recovered(now, effects);
        self.figures.last_error = Some(reason.clone());
        self.figures.last_error_at = Some(now);
        // What is wrong with one row must not cost the others; what is wrong with the request is so with every part of it.
        if matches!(status, 400 | 409 | 413 | 422)
            && let Some([first, second]) = batch.halves().or_else(|| content.is_mixed.then(|| batch.parts()))
            && let State::Sending(work) = &mut self.state
        {
            work.batches.push_front(second);
            work.batches.push_front(first);
            return;
        }
        self.count(content, effects);
        self.pass(batch);
        let samples = content.samples as u64;
        if batch.again {
            self.figures.repeated_samples += samples;
        } else {
            self.figures.refused_samples += samples;
            let fact = Fact::new(Level::Warn, "the remote engine refused samples, which are left out");
            effects.push(self.told(fact).with_fact("samples", samples).with_fact("reason", reason).into());
        }
    }

    /// The request is made again, later, with what lies behind the cursors then.
    fn failed(&mut self, now: Timestamp, retry_after: Option<Span>, reason: String, effects: &mut Vec<Effect>) {
        self.figures.failed_requests += 1;
        self.has_died = false;
        self.figures.last_error_at = Some(now);
        if self.figures.failing_since.is_none() {
            self.figures.failing_since = Some(now);
            let fact =
                Fact::new(Level::Warn, "the remote engine takes no samples; they stay in the store until it does");
            effects.push(self.told(fact).with_fact("reason", &reason).into());
        }
        self.figures.last_error = Some(reason);
        let wait = self.wait().max(retry_after.unwrap_or(Span::ZERO).min(MAX_RETRY_AFTER));
        self.state = State::Idle(now + wait);
        self.save(now, effects);
    }

    /// Doubles with each failure, and is spread by half, so that many collectors do not come back at once.
    fn wait(&mut self) -> Span {
        let longest = Span::from_millis(FIRST_WAIT.as_millis() << self.attempts.min(10)).min(LONGEST_WAIT).as_millis();
        self.attempts = self.attempts.saturating_add(1);
        // Marsaglia's xorshift.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Span::from_millis(longest / 2 + (self.random % (longest as u64 / 2 + 1)) as i64)
    }

    /// Whoever was there died, and may have lost what it had acknowledged.
    fn go_back(&mut self, now: Timestamp) {
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        self.cursors = self.behind(now);
        self.past = VecDeque::from([(now, self.cursors.clone())]);
    }

    /// The cursors as they were `resend` before the last acknowledgement, with what has been tried since; what they are if
    /// nothing is sent again.
    fn behind(&self, now: Timestamp) -> Cursors {
        let mut cursors = self.cursors.clone();
        let old_enough = |entry: &&(Timestamp, Cursors)| self.is_old_enough(now, entry.0);
        if self.remote.resend.is_positive()
            && let Some((_, earlier)) = self.past.iter().rev().find(old_enough).or(self.past.front())
        {
            cursors.go_back_to(earlier);
        }
        cursors
    }

    fn save(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.saved_at = now;
        self.figures.behind_seconds = self.oldest.map_or(0.0, |oldest| now.since(oldest).as_seconds().max(0.0));
        effects.push(Effect::Save(self.progress(now)));
    }

    /// What is to be saved: whoever begins with it leaves nothing out.
    #[must_use]
    pub fn progress(&self, now: Timestamp) -> Progress {
        let cursors = self.behind(now).encode();
        Progress { remote: self.remote.name.clone(), cursors, figures: self.figures.clone() }
    }

    fn told(&self, fact: Fact) -> Told {
        Told(fact.with("remote", &self.remote.name))
    }
}

/// A fact about this remote.
struct Told(Fact);

impl Told {
    fn with_fact(self, name: &'static str, value: impl ToString) -> Self {
        Self(self.0.with(name, value))
    }
}

impl From<Told> for Effect {
    fn from(told: Told) -> Self {
        Self::Fact(told.0)
    }
}

impl Machine for Exporter {
    type Input = Input;
    type Effect = Effect;

    fn wake() -> Input {
        Input::Wake
    }

    fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Wake => {
                if let State::Idle(until) = self.state
                    && until <= now
                {
                    self.look(effects);
                }
            }
            Input::Planned(plan) => {
                if matches!(self.state, State::Looking) {
                    self.planned(now, *plan, effects);
                }
            }
            Input::Answered(answer) => self.answered(now, answer, effects),
            Input::Stop => {
                self.state = State::Stopped;
                self.save(now, effects);
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Idle(until) => Some(until),
            _ => None,
        }
    }
}

/// So much earlier.
pub(super) fn before(now: Timestamp, span: Span) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(span.as_millis()))
}
