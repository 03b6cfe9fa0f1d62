//! What one collector still lacks: a place in the log, and the ticks behind it that it has from the live lane.

use serde::{Deserialize, Serialize};
use watchfire_shared::frame::message::Position;
use watchfire_shared::time::Timestamp;

/// Runs of live ticks remembered per collector. A run ends with its connection; a thousand is a day of a connection lost
/// every minute and a half. Forgetting one costs sending its ticks twice.
const MAX_RUNS: usize = 1000;

/// Ticks `first..=last` of a live epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Run {
    epoch: u64,
    first: u64,
    last: u64,
}

/// The cursor of one collector.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The first sequence of the log that the collector is not known to have.
    pub(crate) next: u64,
    /// Live ticks that it has, in order.
    runs: Vec<Run>,
    /// The first live tick of the last connection. What the collector names as durable in that epoch, from here on, it
    /// has without a gap.
    open: Option<Position>,
    /// Live ticks that were sent on the last connection and not acknowledged when it died.
    #[serde(skip)]
    in_doubt: Vec<Position>,
    /// When the collector was last one of those to send to.
    pub(crate) seen: Timestamp,
}

impl Cursor {
    pub(crate) fn new(next: u64, now: Timestamp) -> Self {
        Self { next, seen: now, ..Self::default() }
    }

    /// The collector has this tick of the live lane.
    pub(crate) fn delivered(&mut self, at: Position) {
        self.delivered_run(at.epoch, at.seq, at.seq);
    }

    fn delivered_run(&mut self, epoch: u64, first: u64, last: u64) {
        match self.runs.last_mut() {
            Some(run) if run.epoch == epoch && first <= run.last.saturating_add(1) && first >= run.first => {
                run.last = run.last.max(last);
            }
            _ => self.runs.push(Run { epoch, first, last }),
        }
        if self.runs.len() > MAX_RUNS {
            self.runs.remove(0);
        }
    }

    /// Whether the collector has this tick from the live lane.
    pub(crate) fn has(&self, at: Position) -> bool {
        self.runs.iter().rev().any(|run| run.epoch == at.epoch && (run.first..=run.last).contains(&at.seq))
    }

    /// Live frames follow one another from `at` on.
    pub(crate) fn open(&mut self, at: Position) {
        self.open = Some(at);
    }

    /// The connection died with these ticks sent and not acknowledged.
    pub(crate) fn doubt(&mut self, sent: impl IntoIterator<Item = Position>) {
        self.in_doubt.extend(sent);
    }

    /// The collector told what it has: of the live lane, and of the log of `epoch`.
    pub(crate) fn resume(&mut self, live: Option<Position>, backfill: Option<Position>, epoch: u64) {
        if let Some(durable) = live {
            let known: Vec<Position> = std::mem::take(&mut self.in_doubt);
            let is_known = !known.is_empty();
            for at in known.into_iter().filter(|at| at.epoch == durable.epoch && at.seq <= durable.seq) {
                self.delivered(at);
            }
            if let Some(open) =
                self.open.filter(|open| !is_known && open.epoch == durable.epoch && open.seq <= durable.seq)
            {
                self.delivered_run(open.epoch, open.seq, durable.seq);
            }
        }
        self.in_doubt.clear();
        self.open = None;
        if let Some(durable) = backfill.filter(|durable| durable.epoch == epoch) {
            self.next = self.next.max(durable.seq.saturating_add(1));
        }
    }

    /// Forgets live ticks before `oldest`: nobody will ask for them.
    pub(crate) fn prune(&mut self, oldest: Position) {
        self.runs.retain(|run| (run.epoch, run.last) >= (oldest.epoch, oldest.seq));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Position {
        Position { epoch: 9, seq }
    }

    #[test]
    fn only_what_was_sent_counts_as_delivered_after_a_lost_acknowledgement() {
        let mut cursor = Cursor::new(1, Timestamp::EPOCH);
        cursor.open(at(1));
        cursor.delivered(at(1));
        cursor.doubt([at(2), at(3)]);
        cursor.resume(Some(at(2)), None, 1);
        assert_eq!((1..5).map(|seq| cursor.has(at(seq))).collect::<Vec<_>>(), [true, true, false, false]);
        // Ticks 3 to 6 went to the spool; the live lane went on with 7, which the collector then names.
        cursor.open(at(7));
        cursor.doubt([at(7)]);
        cursor.resume(Some(at(7)), None, 1);
        assert_eq!((5..9).map(|seq| cursor.has(at(seq))).collect::<Vec<_>>(), [false, false, true, false]);
    }

    #[test]
    fn after_a_crash_the_open_run_tells_what_the_collector_has_without_a_gap() {
        let mut cursor = Cursor::new(1, Timestamp::EPOCH);
        cursor.delivered(at(2));
        cursor.open(at(5));
        cursor.resume(Some(at(8)), Some(Position { epoch: 1, seq: 4 }), 1);
        assert_eq!((2..10).filter(|seq| cursor.has(at(*seq))).collect::<Vec<_>>(), [2, 5, 6, 7, 8]);
        assert_eq!(cursor.next, 5);
        cursor.prune(at(6));
        assert_eq!((2..10).filter(|seq| cursor.has(at(*seq))).collect::<Vec<_>>(), [5, 6, 7, 8]);
    }
}
