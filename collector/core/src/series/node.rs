//! One node: what gossip says of it, what it reports itself, and what follows for `up`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::member::{ConditionName, DownCause, MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use crate::catalogue::is_ephemeral;
use crate::ingest::naming::TargetLabels;

/// How long a restarted collector waits to hear from an agent before its silence counts.
pub(crate) const HEARING_TIME: Span = Span::from_seconds(120);
/// How late a frame may come and still count as in time: sampling, network and our own queue. At most a second, and a
/// quarter of a short interval.
const MAX_SLACK: Span = Span::from_seconds(1);
/// The interval assumed of an agent that has not yet said its own.
const ASSUMED_INTERVAL: Span = Span::from_seconds(10);

/// What the collector keeps of a node over its own restarts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) role: Role,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) interval: Span,
    #[serde(default)]
    pub(crate) membership: Option<Membership>,
    /// The last value of `up`.
    #[serde(default)]
    pub(crate) up: Option<bool>,
    #[serde(default)]
    pub(crate) last_report_at: Option<Timestamp>,
    /// The last note of its own life that the history holds; 0 if there is none.
    #[serde(default)]
    pub(crate) life_seq: u64,
    /// The agent said that its gossip is off: it is judged by its reports alone.
    #[serde(default)]
    pub(crate) gossip_off: bool,
}

/// What gossip says of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) state: MemberState,
    pub(crate) since: Timestamp,
    #[serde(default)]
    pub(crate) cause: Option<DownCause>,
}

/// A node as the running collector sees it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) record: NodeRecord,
    pub(crate) target: TargetLabels,
    /// When this run of the collector first expected to hear from it.
    pub(crate) expected_since: Timestamp,
    /// When its last live frame came, in this run.
    pub(crate) heard_at: Option<Timestamp>,
    /// What is wrong about it although it lives, as gossip sees it.
    pub(crate) conditions: Vec<ConditionName>,
    /// Whether gossip spoke of it in this run.
    pub(crate) gossiped: bool,
    pub(crate) connected: bool,
    pub(crate) clock_offset: Option<Span>,
    /// `up` as it was last decided.
    pub(crate) current_up: Option<bool>,
    /// Whether it was stopped and is not back in time, as it was last decided.
    pub(crate) overdue: bool,
    /// Until when its maintenance lasts.
    pub(crate) maintenance_until: Option<Timestamp>,
}

/// What `up` is at a time, and until when that holds by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Up {
    /// `None`: nothing can be said yet.
    pub(crate) value: Option<bool>,
    /// When silence alone will change the value.
    pub(crate) until: Option<Timestamp>,
}

impl Node {
    /// Decides `up`. `frames_are_refused` says that the collector itself makes agents wait, by a full disk; a node that
    /// was stopped is expected back for `grace`.
    pub(crate) fn up(&self, now: Timestamp, frames_are_refused: bool, grace: Span) -> Up {
        let fixed = |value| Up { value, until: None };
        if self.record.role != Role::Agent {
            return fixed(None);
        }
        if frames_are_refused && self.connected && self.heard_at.is_some() && !self.is(MemberState::Down) {
            return fixed(Some(true));
        }
        if let Some(until) = self.heard_at.map(|at| at + self.patience()).filter(|until| now < *until) {
            return Up { value: Some(true), until: Some(until) };
        }
        if let Some(until) = self.expected_back_until(grace).filter(|until| now < *until) {
            return Up { value: self.record.up, until: Some(until) };
        }
        if self.heard_at.is_some() || (self.gossiped && self.is(MemberState::Down)) {
            return fixed(Some(false));
        }
        let until = self.expected_since + HEARING_TIME;
        if now >= until {
            return fixed(Some(false));
        }
        // One that was silent before the restart still is, unless its peers know better: its alert must not resolve.
        let alive = self.gossiped && (self.is(MemberState::Alive) || self.is(MemberState::Suspect));
        Up { value: self.record.up.filter(|up| !up && !alive), until: Some(until) }
    }

    /// Whether it was alive before the start, and now neither gossip nor its own frames know of it although both had the
    /// time to: it died while nobody here was watching.
    pub(crate) fn is_missing(&self, now: Timestamp) -> bool {
        let was_alive = self.is(MemberState::Alive) || self.is(MemberState::Suspect);
        was_alive && !self.gossiped && !self.connected && now >= self.expected_since + HEARING_TIME
    }

    /// Whether it runs, by what gossip says; one that has gossip off is judged by its reports alone.
    pub(crate) fn is_living(&self) -> bool {
        match self.record.membership {
            Some(membership) => matches!(membership.state, MemberState::Alive | MemberState::Suspect),
            None => self.connected || self.current_up == Some(true),
        }
    }

    pub(crate) fn is(&self, state: MemberState) -> bool {
        self.record.membership.is_some_and(|membership| membership.state == state)
    }

    /// Whether a frame should have come by now, in this run, and did not.
    pub(crate) fn misses_frame(&self, now: Timestamp) -> bool {
        self.heard_at.is_some_and(|at| now >= at + self.interval() + self.slack())
    }

    /// Whether nothing has come for so long, in this run, that it counts as silent.
    pub(crate) fn is_silent(&self, now: Timestamp) -> bool {
        self.heard_at.is_some_and(|at| now >= at + self.patience())
    }

    fn interval(&self) -> Span {
        if self.record.interval.is_positive() { self.record.interval } else { ASSUMED_INTERVAL }
    }

    fn slack(&self) -> Span {
        MAX_SLACK.min(Span::from_millis(self.interval().as_millis() / 4))
    }

    /// Two intervals, and the time that a frame in time may take.
    fn patience(&self) -> Span {
        self.interval() * 2 + self.slack()
    }

    /// Until when a node that was stopped in good order is expected back; `None` if it was not stopped.
    pub(crate) fn expected_back_until(&self, grace: Span) -> Option<Timestamp> {
        let left = self.record.membership.filter(|membership| membership.state == MemberState::Left)?;
        Some(left.since + grace)
    }

    /// Whether it is an ephemeral node that went: it is missed by nobody, though its connection may linger.
    pub(crate) fn is_dismissed(&self) -> bool {
        let gone = self.is(MemberState::Down) || self.is(MemberState::Left);
        let silent = self.record.membership.is_none() && self.current_up == Some(false);
        is_ephemeral(&self.record.labels) && (gone || silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::naming::{Naming, NodeFacts};

    const START: i64 = 1_000_000;
    const GRACE: Span = Span::from_seconds(900);

    fn node(heard: Option<i64>, membership: Option<(MemberState, i64)>, up: Option<bool>) -> Node {
        let at = |seconds: i64| Timestamp::from_millis(START + seconds * 1000);
        let membership = membership.map(|(state, since)| Membership { state, since: at(since), cause: None });
        let record = NodeRecord {
            name: "a".into(),
            role: Role::Agent,
            labels: BTreeMap::new(),
            version: String::new(),
            interval: Span::from_seconds(10),
            membership,
            up,
            last_report_at: None,
            life_seq: 0,
            gossip_off: false,
        };
        let facts = NodeFacts { id: NodeId(1), name: "a", labels: &record.labels };
        let target = Naming::standard("c").target(facts);
        let heard_at = heard.map(at);
        Node {
            id: NodeId(1),
            target,
            expected_since: at(0),
            heard_at,
            gossiped: membership.is_some(),
            conditions: Vec::new(),
            connected: true,
            clock_offset: None,
            current_up: None,
            overdue: false,
            maintenance_until: None,
            record,
        }
    }

    fn check(node: &Node, second: f64, value: Option<bool>, until: Option<f64>) {
        let at = |seconds: f64| Timestamp::from_millis(START + (seconds * 1000.0) as i64);
        assert_eq!(node.up(at(second), false, GRACE), Up { value, until: until.map(at) }, "at {second}");
    }

    #[test]
    fn up_falls_after_two_missed_intervals() {
        let node = node(Some(5), None, Some(true));
        check(&node, 5.0, Some(true), Some(26.0));
        check(&node, 25.9, Some(true), Some(26.0));
        check(&node, 26.0, Some(false), None);
    }

    #[test]
    fn an_agent_never_heard_has_no_up_until_there_was_time_to_hear_it() {
        let silent = node(None, Some((MemberState::Alive, 0)), Some(true));
        check(&silent, 1.0, None, Some(120.0));
        check(&silent, 119.9, None, Some(120.0));
        check(&silent, 120.0, Some(false), None);
        // It was silent before the restart, and nothing says that this has changed.
        check(&node(None, None, Some(false)), 1.0, Some(false), Some(120.0));
        check(&node(None, Some((MemberState::Alive, 0)), Some(false)), 1.0, None, Some(120.0));
        // What its peers have confirmed needs no waiting.
        check(&node(None, Some((MemberState::Down, 0)), None), 1.0, Some(false), None);
    }

    #[test]
    fn a_node_that_left_is_expected_back_without_a_dip() {
        let left = node(Some(5), Some((MemberState::Left, 7)), Some(true));
        check(&left, 30.0, Some(true), Some(907.0));
        check(&left, 907.0, Some(false), None);
    }

    #[test]
    fn a_full_disk_of_ours_accuses_no_agent() {
        let node = node(Some(5), None, Some(true));
        let at = Timestamp::from_millis(START + 500_000);
        assert_eq!(node.up(at, true, GRACE).value, Some(true));
        assert_eq!(Node { connected: false, ..node }.up(at, true, GRACE).value, Some(false));
    }
}
