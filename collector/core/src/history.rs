//! The history of each node's states: who said what of it, from when to when.
//!
//! A [`Change`] says that a node entered a state, by one source. Changes are only ever added; the interval of a state ends
//! where the next change of the same source begins; an agent and a collector that share their host's name stand apart. The journal of an agent comes later than what it speaks of; the other
//! sources tell what they see when they see it. What availability is computed from stands here, so states that come
//! and go by design (suspicion) do not, and the collector's own absence does, under its own name: during it, its silence
//! about others says nothing.
//!
//! Bounded per node and in all; the oldest go first, also at the end of the retention. The last state of a source that is
//! older than the retention stays, because it still holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watchfire_shared::member::{NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

/// The table of the durable state.
pub(crate) const TABLE: &str = "history";
/// Changes of one node. One that fails and returns every day for a year stays below.
const MAX_PER_NODE: usize = 1000;
/// Changes of all nodes; at some 100 bytes each 20 MB of memory, and ten for each node of the largest cluster.
const MAX_CHANGES: usize = 200_000;
/// Changes of one node that its own agent tells: it must not displace what others say of it.
const MAX_OF_AGENT: usize = MAX_PER_NODE / 2;

/// Who says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The collector, by the reports that came or did not: `reporting`, `silent`; of itself: `running`, `away`, and `blind`
    /// while it runs and hears too little to judge anybody.
    Collector,
    /// The node's peers, by gossip: `alive`, `down`, `left`.
    Peers,
    /// The node's agent, by its own journal, also for the time in which nobody heard it: `running`, `cut_off` (it ran, and
    /// no collector heard it), `suspended`, `stopped`, `ended` (it died; the time is its last sign of life).
    Agent,
    /// A person: `maintenance`, `in_service`, `decommissioned`.
    Operator,
}

impl Source {
    pub const ALL: [Self; 4] = [Self::Collector, Self::Peers, Self::Agent, Self::Operator];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Peers => "peers",
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node entered a state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    pub at: Timestamp,
    pub id: NodeId,
    /// An agent and a collector may both go by their host's name.
    #[serde(default)]
    pub role: Role,
    pub source: Source,
    pub state: String,
    /// Why, where it is known; otherwise empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Change {
    /// Whose word it is about what. Within one stream, each change ends the state before.
    const fn stream(&self) -> (Source, Role) {
        (self.source, self.role)
    }
}

/// One state from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Interval {
    pub node: String,
    pub id: NodeId,
    pub role: Role,
    pub source: Source,
    pub state: String,
    pub from: Timestamp,
    /// `None` while it holds.
    pub to: Option<Timestamp>,
    pub reason: String,
}

/// A change of the durable state: the key, and the change or its removal.
pub(crate) type Saved = (String, Option<Vec<u8>>);

/// All changes, by node and time. Clones share what did not change since.
#[derive(Clone, Debug, Default)]
pub struct History {
    nodes: BTreeMap<Arc<str>, Arc<Vec<Change>>>,
    total: usize,
}

impl History {
    /// Brings back what was saved; gives the number of records that cannot be read as well.
    pub(crate) fn restore(records: Vec<(String, Vec<u8>)>) -> (Self, usize) {
        let mut history = Self::default();
        let mut unreadable = 0;
        for (key, value) in records {
            match (key.split_once('\0'), rmp_serde::from_slice::<Change>(&value)) {
                (Some((node, _)), Ok(change)) => {
                    Arc::make_mut(history.nodes.entry(node.into()).or_default()).push(change);
                    history.total += 1;
                }
                _ => unreadable += 1,
            }
        }
        (history, unreadable)
    }

    /// Notes that a node entered a state, unless its source said so last. Gives what is to be saved.
    pub(crate) fn record(&mut self, node: &str, mut change: Change) -> Vec<Saved> {
        let known = self.nodes.get(node);
        let last = known.and_then(|changes| changes.iter().rev().find(|last| last.stream() == change.stream()));
        if last.is_some_and(|last| last.state == change.state && last.id == change.id) {
            return Vec::new();
        }
        // Times of one stream increase strictly, whatever the clock does: a key holds one change.
        if let Some(last) = last.filter(|last| change.at <= last.at) {
            change.at = last.at + Span::from_millis(1);
        }
        let mut saved = Vec::new();
        let of_agent = |known: &Arc<Vec<Change>>| known.iter().filter(|change| change.source == Source::Agent).count();
        if change.source == Source::Agent && known.map_or(0, of_agent) >= MAX_OF_AGENT {
            self.drop_oldest(node, |change| change.source == Source::Agent, &mut saved);
        } else if known.is_some_and(|changes| changes.len() >= MAX_PER_NODE) {
            self.drop_oldest(node, |_| true, &mut saved);
        } else if self.total >= MAX_CHANGES {
            let oldest = self.nodes.iter().filter_map(|(node, changes)| Some((changes.first()?.at, node)));
            if let Some(node) = oldest.min().map(|(_, node)| Arc::clone(node)) {
                self.drop_oldest(&node, |_| true, &mut saved);
            }
        }
        // Named fields, so that a later version can add one and an older one can pass over it.
        let value = rmp_serde::to_vec_named(&change).expect("texts, numbers and times can always be encoded");
        saved.push((key(node, &change), Some(value)));
        let changes = Arc::make_mut(self.nodes.entry(node.into()).or_default());
        let place = changes.partition_point(|other| (other.at, other.stream()) <= (change.at, change.stream()));
        changes.insert(place, change);
        self.total += 1;
        saved
    }

    fn drop_oldest(&mut self, node: &str, of: impl Fn(&Change) -> bool, saved: &mut Vec<Saved>) {
        let Some(changes) = self.nodes.get_mut(node) else { return };
        let Some(oldest) = changes.iter().position(of) else { return };
        let dropped = Arc::make_mut(changes).remove(oldest);
        saved.push((key(node, &dropped), None));
        self.total -= 1;
        if changes.is_empty() {
            self.nodes.remove(node);
        }
    }

    /// Drops what ended before `until`.
    pub(crate) fn expire(&mut self, until: Timestamp) -> Vec<Saved> {
        let mut saved = Vec::new();
        for (node, changes) in &mut self.nodes {
            let over = ended_before(changes, until);
            if over.is_empty() {
                continue;
            }
            let own = Arc::make_mut(changes);
            for at in over.into_iter().rev() {
                saved.push((key(node, &own.remove(at)), None));
            }
        }
        self.total -= saved.len();
        saved
    }

    /// The intervals that lie in part between two times, of one node or of all, by node and beginning.
    #[must_use]
    pub fn intervals(&self, node: Option<&str>, from: Timestamp, to: Timestamp) -> Vec<Interval> {
        let wanted = self.nodes.iter().filter(|(name, _)| node.is_none_or(|node| node == &***name));
        let mut intervals: Vec<Interval> = wanted.flat_map(|(name, changes)| intervals(name, changes)).collect();
        intervals.retain(|interval| interval.from < to && interval.to.is_none_or(|end| end > from));
        intervals
    }

    /// Every change of one node, the oldest first.
    #[must_use]
    pub fn changes(&self, node: &str) -> &[Change] {
        self.nodes.get(node).map_or(&[], |changes| changes.as_slice())
    }

    /// Whether anything is known of a node.
    #[must_use]
    pub fn knows(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// Names of all nodes of which something is known.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(|node| &**node)
    }
}

/// Sorts by node, then time; a name holds no control character.
fn key(node: &str, change: &Change) -> String {
    // What an earlier version wrote of agents has the same key.
    let role = if change.role == Role::Agent { "" } else { "\0collector" };
    format!("{node}\0{:015}\0{}{role}", change.at.as_millis(), change.source)
}

fn intervals(node: &str, changes: &[Change]) -> Vec<Interval> {
    let end = |at: usize| changes[at + 1..].iter().find(|later| later.stream() == changes[at].stream());
    let interval = |(at, change): (usize, &Change)| Interval {
        node: node.to_owned(),
        id: change.id,
        role: change.role,
        source: change.source,
        state: change.state.clone(),
        from: change.at,
        to: end(at).map(|later| later.at),
        reason: change.reason.clone(),
    };
    changes.iter().enumerate().map(interval).collect()
}

/// Places of the changes whose intervals ended by then.
fn ended_before(changes: &[Change], until: Timestamp) -> Vec<usize> {
    let old = changes.iter().take_while(|change| change.at <= until).count();
    let ended =
        |at: usize| changes[at + 1..].iter().any(|later| later.stream() == changes[at].stream() && later.at <= until);
    (0..old).filter(|at| ended(*at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    fn change(seconds: i64, source: Source, state: &str) -> Change {
        let (state, reason) = (state.to_owned(), String::new());
        Change { at: at(seconds), id: NodeId(7), role: Role::Agent, source, state, reason }
    }

    fn shown(history: &History, from: i64, to: i64) -> Vec<String> {
        let second = |time: Timestamp| time.since(at(0)).as_seconds();
        let intervals = history.intervals(None, at(from), at(to));
        let text =
            |i: &Interval| format!("{} {} {} {}-{:?}", i.node, i.source, i.state, second(i.from), i.to.map(second));
        intervals.iter().map(text).collect()
    }

    /// Applies what is saved to a table, as the durable state does.
    fn keep(table: &mut BTreeMap<String, Vec<u8>>, saved: Vec<Saved>) {
        for (key, value) in saved {
            match value {
                Some(value) => drop(table.insert(key, value)),
                None => assert!(table.remove(&key).is_some(), "{key:?} was never saved"),
            }
        }
    }

    #[test]
    fn a_state_ends_where_the_same_source_says_another() {
        let mut history = History::default();
        let mut table = BTreeMap::new();
        for (node, change) in [
            ("web-1", change(0, Source::Peers, "alive")),
            ("web-1", change(1, Source::Collector, "reporting")),
            ("web-1", change(5, Source::Peers, "alive")),
            ("web-1", change(10, Source::Peers, "down")),
            ("web-2", change(20, Source::Peers, "alive")),
        ] {
            keep(&mut table, history.record(node, change));
        }
        let all = [
            "web-1 peers alive 0-Some(10.0)",
            "web-1 collector reporting 1-None",
            "web-1 peers down 10-None",
            "web-2 peers alive 20-None",
        ];
        assert_eq!(shown(&history, 0, 100), all);
        assert_eq!(shown(&history, 10, 20), [all[1], all[2]]);
        assert_eq!(history.intervals(Some("web-2"), at(0), at(100)).len(), 1);
        let (again, unreadable) = History::restore(table.into_iter().collect());
        assert_eq!((shown(&again, 0, 100), unreadable), (all.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn an_agent_and_a_collector_of_one_name_end_no_states_of_each_other() {
        let mut history = History::default();
        let mut table = BTreeMap::new();
        let of_collector = |seconds, source, state| Change { role: Role::Collector, ..change(seconds, source, state) };
        for change in [
            of_collector(0, Source::Collector, "running"),
            change(0, Source::Collector, "reporting"),
            of_collector(1, Source::Peers, "alive"),
            change(2, Source::Peers, "down"),
            change(3, Source::Collector, "silent"),
        ] {
            keep(&mut table, history.record("host", change));
        }
        let all = [
            "host collector reporting 0-Some(3.0)",
            "host collector running 0-None",
            "host peers alive 1-None",
            "host peers down 2-None",
            "host collector silent 3-None",
        ];
        assert_eq!(shown(&history, 0, 100), all);
        let (again, _) = History::restore(table.into_iter().collect());
        assert_eq!(again.changes("host").len(), 5);
        assert_eq!(shown(&again, 0, 100).len(), 5);
    }

    #[test]
    fn what_still_holds_outlives_the_retention() {
        let mut history = History::default();
        let mut table = BTreeMap::new();
        for (seconds, state) in [(0, "alive"), (10, "down"), (20, "alive"), (90, "down")] {
            keep(&mut table, history.record("web-1", change(seconds, Source::Peers, state)));
        }
        keep(&mut table, history.expire(at(50)));
        let kept = ["web-1 peers alive 20-Some(90.0)", "web-1 peers down 90-None"];
        assert_eq!((shown(&history, 0, 100), table.len()), (kept.map(str::to_owned).to_vec(), 2));
        keep(&mut table, history.expire(at(1000)));
        assert_eq!((shown(&history, 0, 100), history.total), (vec![kept[1].to_owned()], 1));
    }

    #[test]
    fn a_node_that_flaps_for_ever_costs_a_bounded_memory() {
        let mut history = History::default();
        let mut table = BTreeMap::new();
        for n in 0..3000 {
            let state = if n % 2 == 0 { "alive" } else { "down" };
            // The clock stands still.
            keep(&mut table, history.record("web-1", change(0, Source::Peers, state)));
        }
        assert_eq!((history.total, table.len()), (MAX_PER_NODE, MAX_PER_NODE));
        assert_eq!(shown(&history, 0, 100).last().map(String::as_str), Some("web-1 peers down 2.999-None"));
        let (again, unreadable) = History::restore(vec![("web-1".to_owned(), Vec::new())]);
        assert_eq!((again.total, unreadable), (0, 1));
    }

    #[test]
    fn an_agent_that_tells_of_a_thousand_lives_displaces_nobody_elses_word() {
        let mut history = History::default();
        let mut table = BTreeMap::new();
        keep(&mut table, history.record("web-1", change(0, Source::Peers, "alive")));
        for n in 0..3000 {
            let state = if n % 2 == 0 { "running" } else { "ended" };
            keep(&mut table, history.record("web-1", change(n, Source::Agent, state)));
        }
        assert_eq!((history.total, table.len()), (MAX_OF_AGENT + 1, MAX_OF_AGENT + 1));
        assert_eq!(shown(&history, 0, 1), ["web-1 peers alive 0-None"]);
    }
}
