//! Silences: matchers that keep alerts quiet from one time to another.

use std::collections::BTreeMap;

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use super::{Effect, RETENTION, state};

/// Silences that are kept at once. Each alert is held against each of them, so this bounds the time of an interval.
pub const MAX_SILENCES: usize = 10_000;
/// Matchers of one silence.
pub const MAX_MATCHERS: usize = 64;

/// A silence. Made with an id by whoever takes it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub id: String,
    /// All of them have to match.
    pub matchers: Vec<Matcher>,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub updated_at: Timestamp,
    pub created_by: String,
    pub comment: String,
}

/// Why a silence cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    #[error("the silence has no id")]
    NoId,
    #[error("at least one matcher is needed")]
    NoMatchers,
    #[error("more than {MAX_MATCHERS} matchers")]
    TooManyMatchers,
    #[error("at least one matcher must not match the empty text")]
    MatchesEverything,
    #[error("the end must be after the start")]
    EndsBeforeItStarts,
    #[error("the end must not be in the past")]
    Ended,
}

impl Silence {
    /// Whether the silence is worth taking at `now`.
    ///
    /// # Errors
    /// What is wrong with it, as Alertmanager's API says it.
    pub fn check(&self, now: Timestamp) -> Result<(), SilenceError> {
        match () {
            () if self.id.is_empty() => Err(SilenceError::NoId),
            () if self.matchers.is_empty() => Err(SilenceError::NoMatchers),
            () if self.matchers.len() > MAX_MATCHERS => Err(SilenceError::TooManyMatchers),
            () if self.matchers.iter().all(|matcher| matcher.matches("")) => Err(SilenceError::MatchesEverything),
            () if self.ends_at <= self.starts_at => Err(SilenceError::EndsBeforeItStarts),
            () if self.ends_at <= now => Err(SilenceError::Ended),
            () => Ok(()),
        }
    }

    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        (self.starts_at..self.ends_at).contains(&now)
    }

    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }
}

/// All silences by id, those that have ended included until their retention is over.
#[derive(Debug, Default)]
pub(super) struct Silences {
    by_id: BTreeMap<String, Silence>,
}

impl Silences {
    pub(super) fn restore(&mut self, silence: Silence) {
        self.by_id.insert(silence.id.clone(), silence);
    }

    /// Takes a silence; past the bound the one that ended first makes room, and if none has ended the new one is left out.
    pub(super) fn set(&mut self, silence: Silence, effects: &mut Vec<Effect>) {
        if self.by_id.len() >= MAX_SILENCES && !self.by_id.contains_key(&silence.id) {
            let ended = self.by_id.values().filter(|other| other.ends_at <= silence.updated_at);
            let Some(id) = ended.min_by_key(|other| other.ends_at).map(|other| other.id.clone()) else { return };
            self.remove(&id, effects);
        }
        effects.push(Effect::Save(state::save_silence(&silence)));
        self.by_id.insert(silence.id.clone(), silence);
    }

    pub(super) fn expire(&mut self, now: Timestamp, id: &str, effects: &mut Vec<Effect>) {
        let Some(silence) = self.by_id.get_mut(id).filter(|silence| silence.ends_at > now) else { return };
        silence.ends_at = now;
        silence.starts_at = silence.starts_at.min(now);
        silence.updated_at = now;
        effects.push(Effect::Save(state::save_silence(silence)));
    }

    pub(super) fn sweep(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let over = self.by_id.values().filter(|silence| silence.ends_at + RETENTION < now);
        for id in over.map(|silence| silence.id.clone()).collect::<Vec<_>>() {
            self.remove(&id, effects);
        }
    }

    fn remove(&mut self, id: &str, effects: &mut Vec<Effect>) {
        self.by_id.remove(id);
        effects.push(Effect::Save(state::delete(state::SILENCES, id.to_owned())));
    }

    /// The ids of the silences that keep an alert with these labels quiet.
    pub(super) fn silenced_by<'a>(&'a self, now: Timestamp, labels: &'a Labels) -> impl Iterator<Item = &'a str> {
        let active = self.by_id.values().filter(move |silence| silence.is_active(now) && silence.matches(labels));
        active.map(|silence| silence.id.as_str())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values()
    }
}
