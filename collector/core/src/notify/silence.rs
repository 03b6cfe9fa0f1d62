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
/// All texts of one silence, bytes. Comments are sentences; [`MAX_SILENCES`] of this size are 160 MB.
pub const MAX_TEXT_BYTES: usize = 16 << 10;

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
    /// Whatever its maker wants to keep with it.
    pub annotations: BTreeMap<String, String>,
}

/// Why a silence cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
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
    #[error("its texts have more than {MAX_TEXT_BYTES} bytes")]
    TooLong,
    #[error("silence not found")]
    NotFound,
    #[error("there are {MAX_SILENCES} silences already, and none of them has ended")]
    TooMany,
}

/// Where a silence stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceState {
    Pending,
    Active,
    Expired,
}

impl Silence {
    /// Whether the silence is worth taking at `now`.
    ///
    /// # Errors
    /// What is wrong with it, as Alertmanager's API says it.
    pub fn check(&self, now: Timestamp) -> Result<(), SilenceError> {
        match () {
            () if self.matchers.is_empty() => Err(SilenceError::NoMatchers),
            () if self.matchers.len() > MAX_MATCHERS => Err(SilenceError::TooManyMatchers),
            () if self.matchers.iter().all(|matcher| matcher.matches("")) => Err(SilenceError::MatchesEverything),
            () if self.ends_at <= self.starts_at => Err(SilenceError::EndsBeforeItStarts),
            () if self.ends_at <= now => Err(SilenceError::Ended),
            () if self.text_bytes() > MAX_TEXT_BYTES => Err(SilenceError::TooLong),
            () => Ok(()),
        }
    }

    fn text_bytes(&self) -> usize {
        let matchers = self.matchers.iter().map(|matcher| matcher.name.len() + matcher.value.len());
        let annotations = self.annotations.iter().map(|(name, value)| name.len() + value.len());
        matchers.chain(annotations).sum::<usize>() + self.created_by.len() + self.comment.len()
    }

    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.state(now) == SilenceState::Active
    }

    #[must_use]
    pub fn state(&self, now: Timestamp) -> SilenceState {
        match () {
            () if self.ends_at <= now => SilenceState::Expired,
            () if self.starts_at > now => SilenceState::Pending,
            () => SilenceState::Active,
        }
    }

    /// Whether this silence may become `new` and stay itself: what it matches never changes, what has begun keeps its
    /// beginning, and what has ended stays so. As Alertmanager's `canUpdate` has it.
    fn can_become(&self, new: &Self, now: Timestamp) -> bool {
        let times = match self.state(now) {
            SilenceState::Pending => new.starts_at >= now,
            SilenceState::Active => new.starts_at.as_millis() / 1000 == self.starts_at.as_millis() / 1000,
            SilenceState::Expired => false,
        };
        times && self.matchers == new.matchers
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

    /// Takes a silence that is new, or that replaces the one called `replaces`, and gives the id that it has from now on.
    ///
    /// The old one changes in place if it may; otherwise it ends now and the new one stands beside it. Past the bound the
    /// silence that ended first makes room.
    pub(super) fn set(
        &mut self,
        now: Timestamp,
        mut silence: Silence,
        replaces: Option<&str>,
        effects: &mut Vec<Effect>,
    ) -> Result<String, SilenceError> {
        silence.check(now)?;
        silence.updated_at = now;
        if let Some(id) = replaces {
            let old = self.by_id.get(id).ok_or(SilenceError::NotFound)?;
            if old.can_become(&silence, now) {
                silence.id.clone_from(&old.id);
                return Ok(self.keep(silence, effects));
            }
        }
        if self.by_id.len() >= MAX_SILENCES {
            let ended = self.by_id.values().filter(|other| other.ends_at <= now && Some(other.id.as_str()) != replaces);
            let first = ended.min_by_key(|other| other.ends_at).map(|other| other.id.clone());
            self.remove(&first.ok_or(SilenceError::TooMany)?, effects);
        }
        if let Some(id) = replaces {
            self.expire(now, id, effects)?;
        }
        silence.starts_at = silence.starts_at.max(now);
        Ok(self.keep(silence, effects))
    }

    /// Takes a silence as it is. Whoever makes such ones bounds their number.
    pub(super) fn mute(&mut self, silence: Silence, effects: &mut Vec<Effect>) {
        self.keep(silence, effects);
    }

    fn keep(&mut self, silence: Silence, effects: &mut Vec<Effect>) -> String {
        effects.push(Effect::Save(state::save_silence(&silence)));
        let id = silence.id.clone();
        self.by_id.insert(id.clone(), silence);
        id
    }

    /// Ends a silence now; one that has ended already stays as it is.
    pub(super) fn expire(
        &mut self,
        now: Timestamp,
        id: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<String, SilenceError> {
        let silence = self.by_id.get_mut(id).ok_or(SilenceError::NotFound)?;
        if silence.ends_at > now {
            silence.ends_at = now;
            silence.starts_at = silence.starts_at.min(now);
            silence.updated_at = now;
            effects.push(Effect::Save(state::save_silence(silence)));
        }
        Ok(id.to_owned())
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
