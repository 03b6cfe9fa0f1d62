//! What relabelling made of a series' labels, so that its rules run once for a series and not for each of its rows.
//!
//! Two generations of a hash table: what is asked for lives in the young one, and the old one goes now and then with what
//! nobody has asked for since. So it holds what is sent now, and not what once was.

use hashbrown::HashTable;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::{Span, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long a series is known that nobody asks for, and at most as long again. Rows come every few seconds or minutes.
const KNOWN_FOR: Span = Span::from_seconds(600);
/// Series of one generation; what it takes then is some 200 MiB. With more, rules run again for those that were forgotten.
const MOST: usize = 500_000;

/// What became of a series' labels.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The series is not sent.
    Dropped,
    /// They are what they were, with the labels that are added to all.
    Unchanged,
    Changed(Labels),
}

/// What is known of a series.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) outcome: Outcome,
    /// The hash of the labels that it is sent with.
    pub(super) sent_as: u64,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    labels: Labels,
    known: Known,
}

/// Labels that series are sent with.
#[derive(Debug)]
struct Sent {
    hash: u64,
    /// The first series that was seen to have become this.
    first: u64,
    is_joined: bool,
}

#[derive(Debug, Default)]
struct Generation {
    entries: HashTable<Entry>,
    sent: HashTable<Sent>,
}

/// Outcomes by labels. Nothing iterates it, so its order is nobody's.
#[derive(Debug)]
pub(super) struct Memo {
    seed: u64,
    young: Generation,
    old: Generation,
    /// Since when the young one is there; `None` before the first batch.
    young_since: Option<Timestamp>,
    /// The text that is hashed.
    text: Vec<u8>,
}

impl Memo {
    /// Texts of labels come from outside, so their hash is not to be foreseen: `seed` is random.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, young: Generation::default(), old: Generation::default(), young_since: None, text: Vec::new() }
    }

    /// What became of these labels; `make` finds out if it is not known, with the labels that the series is sent with.
    pub(super) fn outcome(&mut self, labels: &Labels, make: impl FnOnce() -> (Outcome, Labels)) -> &Known {
        let hash = self.hash(labels);
        let is_it = |entry: &Entry| entry.hash == hash && entry.labels == *labels;
        if self.young.entries.find(hash, is_it).is_none() {
            let old = self.old.entries.find_entry(hash, is_it).ok().map(|entry| entry.remove().0);
            let entry = old.unwrap_or_else(|| {
                let (outcome, sent) = make();
                let sent_as = self.hash(&sent);
                Entry { hash, labels: labels.clone(), known: Known { outcome, sent_as } }
            });
            if !matches!(entry.known.outcome, Outcome::Dropped) {
                self.note_sent(entry.known.sent_as, hash);
            }
            self.young.entries.insert_unique(hash, entry, |entry| entry.hash);
        }
        &self.young.entries.find(hash, is_it).expect("it was there, or was put there just now").known
    }

    /// Whether several series are sent with these labels.
    pub(super) fn is_joined(&self, sent_as: u64) -> bool {
        self.young.sent.find(sent_as, |sent| sent.hash == sent_as).is_some_and(|sent| sent.is_joined)
    }

    fn note_sent(&mut self, sent_as: u64, series: u64) {
        let is_it = |sent: &Sent| sent.hash == sent_as;
        match self.young.sent.find_mut(sent_as, is_it) {
            Some(sent) => sent.is_joined |= sent.first != series,
            None => {
                let old = self.old.sent.find(sent_as, is_it);
                let is_joined = old.is_some_and(|old| old.is_joined || old.first != series);
                let sent = Sent { hash: sent_as, first: series, is_joined };
                self.young.sent.insert_unique(sent_as, sent, |sent| sent.hash);
            }
        }
    }

    fn hash(&mut self, labels: &Labels) -> u64 {
        self.text.clear();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            self.text.extend_from_slice(text.as_bytes());
            // No text holds this byte.
            self.text.push(0xff);
        }
        xxh3_64_with_seed(&self.text, self.seed)
    }

    /// Forgets what was not asked for for long; to be called after each batch.
    pub(super) fn grow_old(&mut self, now: Timestamp) {
        let since = *self.young_since.get_or_insert(now);
        // A clock that went back must not keep what is there for ever.
        if now.since(since) >= KNOWN_FOR || now < since || self.young.entries.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
            self.young_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_looked_at_once_while_it_is_asked_for() {
        let mut memo = Memo::new(7);
        let mut now = Timestamp::EPOCH;
        let series = |number: usize| Labels::new([("__name__", format!("m{number}"))]);
        let mut made = 0;
        let ask = |memo: &mut Memo, number: usize, made: &mut usize| {
            let outcome = memo.outcome(&series(number), || {
                *made += 1;
                let changed = series(number + 1);
                let odd = Outcome::Changed(changed.clone());
                (if number.is_multiple_of(2) { Outcome::Dropped } else { odd }, changed)
            });
            match &outcome.outcome {
                Outcome::Dropped => assert_eq!(number % 2, 0),
                Outcome::Changed(labels) => assert_eq!(*labels, series(number + 1)),
                Outcome::Unchanged => panic!("nothing made that"),
            }
        };
        for round in 0..100 {
            (0..300).for_each(|number| ask(&mut memo, number, &mut made));
            // A hundred that come once.
            (0..100).for_each(|number| ask(&mut memo, 10_000 + round * 100 + number, &mut made));
            memo.grow_old(now);
            now += Span::from_seconds(60);
        }
        assert_eq!(made, 300 + 100 * 100);
        // Those of twenty minutes.
        let (young, old) = (&memo.young, &memo.old);
        let (entries, sent) = (young.entries.len() + old.entries.len(), young.sent.len() + old.sent.len());
        assert!(entries <= 2 * 300 + 22 * 100 && sent <= entries, "{entries} {sent}");
    }

    #[test]
    fn what_several_series_have_become_is_known_as_long_as_they_come() {
        let (mut memo, mut now) = (Memo::new(7), Timestamp::EPOCH);
        let series = |number: usize| Labels::new([("__name__", format!("m{number}"))]);
        // The tens are what is sent.
        let ask = |memo: &mut Memo, number: usize| {
            let sent = series(number / 10);
            let sent_as = memo.outcome(&series(number), || (Outcome::Changed(sent.clone()), sent.clone())).sent_as;
            memo.is_joined(sent_as)
        };
        assert_eq!([10, 20, 21, 10, 20].map(|number| ask(&mut memo, number)), [false, false, true, false, true]);
        for _ in 0..3 {
            now += KNOWN_FOR;
            memo.grow_old(now);
            assert_eq!([10, 20].map(|number| ask(&mut memo, number)), [false, true]);
        }
    }
}
