//! Announced maintenance: nodes that are worked on, until when and why.
//!
//! Maintenance belongs to a name, not to an identity: a host that is installed anew in the middle of it stays in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::limits::MAX_MEMBERS;
use watchfire_shared::time::{Span, Timestamp};

/// The longest maintenance that can be announced; whoever needs more decommissions the node or says so again.
pub const MAX_MAINTENANCE: Span = Span::from_seconds(90 * 86_400);
/// A reason, bytes. It is shown in one line.
pub const MAX_REASON_BYTES: usize = 1000;

/// One node's maintenance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Maintenance {
    /// The node's name.
    pub node: String,
    pub since: Timestamp,
    pub until: Timestamp,
    #[serde(default)]
    pub reason: String,
}

/// All maintenance that has not ended.
#[derive(Debug, Default)]
pub(crate) struct Maintenances {
    by_node: BTreeMap<String, Maintenance>,
}

impl Maintenances {
    pub(crate) fn restore(maintenances: impl IntoIterator<Item = Maintenance>) -> Self {
        Self { by_node: maintenances.into_iter().map(|own| (own.node.clone(), own)).collect() }
    }

    pub(crate) fn get(&self, node: &str) -> Option<&Maintenance> {
        self.by_node.get(node)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Maintenance> {
        self.by_node.values()
    }

    /// Announces or changes a node's maintenance; one that goes on keeps its beginning. Returns what holds now, or
    /// `None` if there are as many as there may be members already.
    pub(crate) fn set(&mut self, mut maintenance: Maintenance) -> Option<&Maintenance> {
        if let Some(before) = self.by_node.get(&maintenance.node) {
            maintenance.since = before.since;
        } else if self.by_node.len() >= MAX_MEMBERS {
            return None;
        }
        let node = maintenance.node.clone();
        self.by_node.insert(node.clone(), maintenance);
        self.by_node.get(&node)
    }

    pub(crate) fn end(&mut self, node: &str) -> Option<Maintenance> {
        self.by_node.remove(node)
    }

    /// Takes those whose time is over.
    pub(crate) fn take_over(&mut self, now: Timestamp) -> Vec<Maintenance> {
        let over: Vec<String> = self.all().filter(|own| own.until <= now).map(|own| own.node.clone()).collect();
        over.iter().filter_map(|node| self.by_node.remove(node)).collect()
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.all().map(|own| own.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maintenance(node: &str, since: i64, until: i64) -> Maintenance {
        let at = Timestamp::from_millis;
        Maintenance { node: node.to_owned(), since: at(since), until: at(until), reason: "disks".to_owned() }
    }

    #[test]
    fn one_that_is_prolonged_keeps_its_beginning_and_ends_once() {
        let mut all = Maintenances::restore([maintenance("web-1", 5, 50)]);
        assert_eq!(all.set(maintenance("web-1", 20, 100)), Some(&maintenance("web-1", 5, 100)));
        all.set(maintenance("web-2", 20, 70));
        assert_eq!(all.deadline(), Some(Timestamp::from_millis(70)));
        assert_eq!(all.take_over(Timestamp::from_millis(70)), [maintenance("web-2", 20, 70)]);
        assert_eq!(all.end("web-1"), Some(maintenance("web-1", 5, 100)));
        assert_eq!((all.end("web-1"), all.deadline(), all.all().count()), (None, None, 0));
    }
}
