//! Durable before done: changes of state are committed first, and what depends on them is released after.
//!
//! While the state cannot be written, changes are kept (one per record, so their number is bounded by the records) and
//! deliveries are held. Nothing is lost by that, but an alert must not wait for a disk for ever: alerts fail open, so
//! after [`PATIENCE`] deliveries are released all the same, at the price of being sent twice should we crash. Orders are not:
//! actions fail closed.

use std::collections::BTreeMap;

use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{State, StateChange, StateError};

use crate::fact::{Fact, Level};
use crate::notify::Delivery;
use crate::remediation;

/// How long after a failed commit the next one is tried.
const RETRY: Span = Span::from_seconds(1);
/// How long deliveries wait for the disk. Short against any repeat interval, long against a hiccup.
const PATIENCE: Span = Span::from_seconds(5);
/// How long a change that nothing waits for may stay in memory, so that a thousand agents that connect at once cost one
/// transaction and not a thousand.
const LAZY: Span = Span::from_millis(500);
/// Deliveries that are held at most. Notification itself bounds what is under way to one per group and integration;
/// beyond this number, which no working route tree reaches in five seconds, the oldest is released early.
const MAX_HELD: usize = 10_000;

/// What waits for the disk.
#[derive(Default)]
pub(crate) struct Ledger {
    changes: BTreeMap<(&'static str, String), Option<Vec<u8>>>,
    held: Vec<Delivery>,
    /// What waits for the disk however long that takes: actions fail closed.
    held_closed: Vec<remediation::Output>,
    /// When the changes have to be committed at the latest; `None` if there are none.
    due: Option<Timestamp>,
    /// Since when commits have failed, and when the next one is tried.
    failing: Option<Failing>,
    failures: u64,
}

#[derive(Clone, Copy)]
struct Failing {
    since: Timestamp,
    retry_at: Timestamp,
}

/// What a settled ledger gives away.
#[derive(Default)]
pub(crate) struct Released {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) orders: Vec<remediation::Output>,
    pub(crate) facts: Vec<Fact>,
}

impl Ledger {
    /// Adds a change of a record, to be durable when this input is done; a later change of the record replaces it.
    pub(crate) fn change(&mut self, now: Timestamp, table: &'static str, key: String, value: Option<Vec<u8>>) {
        self.changes.insert((table, key), value);
        self.due = Some(now);
    }

    /// Adds a change that nothing waits for; it is committed with the next ones, or a little later by itself.
    pub(crate) fn change_soon(&mut self, now: Timestamp, table: &'static str, key: String, value: Option<Vec<u8>>) {
        self.changes.insert((table, key), value);
        self.due.get_or_insert(now + LAZY);
    }

    /// Adds a delivery that may go once all changes so far are durable.
    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        self.held.push(delivery);
    }

    /// Adds something that may go only once all changes so far are durable, whatever happens.
    pub(crate) fn order(&mut self, output: remediation::Output) {
        self.held_closed.push(output);
        if self.held_closed.len() > MAX_HELD {
            self.held_closed.remove(0);
        }
    }

    /// Whether no change waits for a disk that refused it.
    pub(crate) fn is_durable(&self) -> bool {
        self.failing.is_none()
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// When a commit is tried again, or deliveries have waited long enough.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self.failing {
            Some(failing) => Some(failing.retry_at),
            None => self.due,
        }
    }

    /// Commits everything pending in one transaction and releases what waited for it.
    pub(crate) fn settle(&mut self, now: Timestamp, state: &mut State) -> Released {
        let mut released = Released::default();
        if self.changes.is_empty() {
            self.release_all(&mut released);
            return released;
        }
        if self.held.is_empty() && self.held_closed.is_empty() && self.due.is_some_and(|due| now < due) {
            return released;
        }
        if self.failing.is_some_and(|failing| now < failing.retry_at) {
            self.release_the_impatient(now, &mut released);
            return released;
        }
        match state.commit(&self.transaction()) {
            Ok(()) => self.committed(&mut released),
            Err(error) => self.failed(now, &error, &mut released),
        }
        released
    }

    fn transaction(&self) -> Vec<StateChange> {
        let changes = self.changes.iter();
        changes.map(|((table, key), value)| StateChange { table, key: key.clone(), value: value.clone() }).collect()
    }

    fn committed(&mut self, released: &mut Released) {
        self.changes.clear();
        self.due = None;
        self.release_all(released);
        if self.failing.take().is_some() {
            released.facts.push(Fact::new(Level::Info, "the state can be written again"));
        }
    }

    fn release_all(&mut self, released: &mut Released) {
        released.deliveries = std::mem::take(&mut self.held);
        released.orders = std::mem::take(&mut self.held_closed);
    }

    fn failed(&mut self, now: Timestamp, error: &StateError, released: &mut Released) {
        self.failures += 1;
        if self.failing.is_none() {
            let fact = Fact::new(Level::Error, "the state cannot be written; notifications wait for it a few seconds");
            released.facts.push(fact.with("error", error));
        }
        let since = self.failing.map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, retry_at: now + RETRY });
        self.release_the_impatient(now, released);
    }

    fn release_the_impatient(&mut self, now: Timestamp, released: &mut Released) {
        let Some(failing) = self.failing else { return };
        let excess = self.held.len().saturating_sub(MAX_HELD);
        let count = if now.since(failing.since) >= PATIENCE { self.held.len() } else { excess };
        if count > 0 {
            released.deliveries.extend(self.held.drain(..count));
            let fact = Fact::new(Level::Warn, "notifications go out although the state cannot be written");
            released.facts.push(fact.with("deliveries", count));
        }
    }
}

#[cfg(test)]
mod tests {
    use watchfire_shared::member::NodeId;
    use watchfire_shared::order::OrderId;
    use watchfire_store::SimDisk;

    use super::*;

    #[test]
    fn an_order_waits_for_the_disk_however_long_that_takes() {
        let disk = SimDisk::new();
        let (mut state, _) = State::open(disk.clone()).unwrap();
        let mut ledger = Ledger::default();
        let start = Timestamp::from_millis(1_800_000_000_000);
        let order = remediation::Output::Seen { node: NodeId(1), id: OrderId(1) };
        disk.fail_syncs(1000);
        ledger.change(start, "orders", "1".to_owned(), Some(vec![1]));
        ledger.order(order.clone());
        for second in 0..60 {
            let released = ledger.settle(start + Span::from_seconds(second), &mut state);
            assert_eq!(released.orders, [], "after {second} s");
        }
        assert!(ledger.failures() > 10);
        disk.fail_syncs(0);
        let released = ledger.settle(start + Span::from_seconds(61), &mut state);
        assert_eq!(released.orders, [order]);
    }
}
