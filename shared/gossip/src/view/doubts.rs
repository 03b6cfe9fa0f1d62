//! The last times that a member was held for silent: who suspected it, and how that ended.

use watchfire_shared::member::{NodeId, ProbePath, Suspecter, Suspicion, SuspicionEnd};
use watchfire_shared::time::Timestamp;

/// Suspicions that are kept of one member; a member that flaps pushes the oldest out.
const MOST: usize = 4;
/// Suspecters that are kept of one suspicion: twice as many as shorten it.
const MOST_SUSPECTERS: usize = 8;

/// Suspicions of one member, the latest last. Suspecters carry no names here: those may become known later.
#[derive(Clone, Default, Debug)]
pub(crate) struct Doubts(Vec<Suspicion>);

impl Doubts {
    /// Somebody holds the member for silent.
    pub(crate) fn open(&mut self, now: Timestamp) -> &mut Suspicion {
        let is_open = self.0.last().is_some_and(|last| last.until.is_none());
        if !is_open {
            if self.0.len() == MOST {
                self.0.remove(0);
            }
            self.0.push(Suspicion { since: now, by: Vec::new(), until: None, end: None });
        }
        self.0.last_mut().expect("an open suspicion was found or just pushed")
    }

    /// `by` tried these paths to the member in vain.
    pub(crate) fn suspected(&mut self, now: Timestamp, by: NodeId, paths: Vec<ProbePath>) {
        let suspicion = self.open(now);
        let known = suspicion.by.iter().any(|suspecter| suspecter.id == by);
        if !known && suspicion.by.len() < MOST_SUSPECTERS {
            suspicion.by.push(Suspecter { id: by, name: String::new(), at: now, paths });
        }
    }

    pub(crate) fn close(&mut self, now: Timestamp, end: SuspicionEnd) {
        if let Some(last) = self.0.last_mut().filter(|last| last.until.is_none()) {
            last.until = Some(now);
            last.end = Some(end);
        }
    }

    /// The host of a member that was confirmed down said afterwards that nobody listens.
    pub(crate) fn refused(&mut self) {
        if let Some(last) = self.0.last_mut().filter(|last| last.end == Some(SuspicionEnd::Confirmed)) {
            last.end = Some(SuspicionEnd::Refused);
        }
    }

    pub(crate) fn last(&self) -> Option<&Suspicion> {
        self.0.last()
    }

    /// All of them, with the names that `name` knows.
    pub(crate) fn named(&self, name: impl Fn(NodeId) -> String) -> Vec<Suspicion> {
        let mut all = self.0.clone();
        let suspecters = all.iter_mut().flat_map(|suspicion| &mut suspicion.by);
        suspecters.for_each(|suspecter| suspecter.name = name(suspecter.id));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_suspicions_are_kept_with_their_ends_and_nothing_grows() {
        let at = Timestamp::from_millis;
        let mut doubts = Doubts::default();
        doubts.close(at(0), SuspicionEnd::Refuted);
        assert!(doubts.last().is_none(), "nothing was open");
        for round in 0..10 {
            for by in (1..20).chain(1..20) {
                doubts.suspected(at(round), NodeId(by), vec![ProbePath::Udp]);
            }
            doubts.close(at(round + 1), SuspicionEnd::Confirmed);
            doubts.close(at(round + 5), SuspicionEnd::Left);
        }
        doubts.refused();
        let all = doubts.named(|id| format!("n{}", id.0));
        let ends: Vec<_> = all.iter().map(|one| (one.since, one.until, one.end, one.by.len())).collect();
        let confirmed = |since| (at(since), Some(at(since + 1)), Some(SuspicionEnd::Confirmed), MOST_SUSPECTERS);
        let refused = (at(9), Some(at(10)), Some(SuspicionEnd::Refused), MOST_SUSPECTERS);
        assert_eq!(ends, [confirmed(6), confirmed(7), confirmed(8), refused]);
        assert_eq!(all[0].by[0].name, "n1");
    }
}
