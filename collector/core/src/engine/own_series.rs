//! Writing the collector's own series: when, and which of them changed so that rules must not wait.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::labels::Labels;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{AppendError, Disk, Store};

use crate::series::Samples;
use crate::series::fleet::Fleet;
use crate::series::write::node_samples;

/// The local source of the collector's series about itself.
const SELF_SOURCE: &str = "collector";
/// The local source of the series about the fleet as a whole.
const FLEET_SOURCE: &str = "fleet";
/// A source has one row per millisecond; a node that changes twice within one waits for the next. A longer wait would
/// mean that the clock was set back, and then the next regular time is early enough.
const MAX_WAIT: Span = Span::from_millis(10);

/// What was last written, and what is to be written next.
pub(crate) struct OwnSeries {
    interval: Span,
    next: Timestamp,
    /// Nodes whose series are to be written, and when.
    waiting: BTreeSet<NodeId>,
    waiting_until: Option<Timestamp>,
    /// The last samples of each node, to see what changes.
    nodes: BTreeMap<NodeId, Samples>,
    own: Samples,
    /// The last samples about the fleet, and when they are to be written out of turn.
    fleet: Samples,
    fleet_due: Option<Timestamp>,
    storage_full: bool,
}

/// What a round of writing did.
#[derive(Default)]
pub(crate) struct Written {
    /// Series whose value or presence changed.
    pub(crate) changed: Vec<Labels>,
    pub(crate) samples: usize,
    /// The store had no room.
    pub(crate) full: bool,
}

impl OwnSeries {
    /// Asks for everything to be written now: rules are about to judge by it.
    pub(crate) fn write_soon(&mut self, now: Timestamp) {
        self.next = self.next.min(now);
    }

    pub(crate) fn new(now: Timestamp, interval: Span) -> Self {
        Self {
            interval,
            next: now,
            waiting: BTreeSet::new(),
            waiting_until: None,
            nodes: BTreeMap::new(),
            own: Samples::new(),
            fleet: Samples::new(),
            fleet_due: None,
            storage_full: false,
        }
    }

    pub(crate) fn set_interval(&mut self, now: Timestamp, interval: Span) {
        self.interval = interval;
        self.next = self.next.min(now + interval);
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        [self.waiting_until, self.fleet_due].into_iter().flatten().fold(self.next, Timestamp::min)
    }

    /// Whether it is time to write everything; moves on to the next time.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.floor(self.interval) + self.interval;
        true
    }

    /// Whether the disk became full, or no longer is, since the last call.
    pub(crate) fn storage_turned(&mut self, full: bool) -> bool {
        std::mem::replace(&mut self.storage_full, full) != full
    }

    /// Adds nodes to those that are written next.
    pub(crate) fn postpone(&mut self, until: Timestamp, ids: impl IntoIterator<Item = NodeId>) {
        self.waiting.extend(ids);
        if !self.waiting.is_empty() {
            self.waiting_until = Some(self.waiting_until.map_or(until, |earlier| earlier.min(until)));
        }
    }

    /// Writes the series of the nodes that wait. A node that is gone, or has lost its name, ends its series.
    pub(crate) fn write_nodes<D: Disk>(&mut self, now: Timestamp, fleet: &Fleet, store: &mut Store<D>) -> Written {
        let mut written = Written::default();
        if self.waiting_until.is_none_or(|at| now < at) {
            return written;
        }
        self.waiting_until = None;
        let (present, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|id| fleet.get(*id).is_some());
        self.write_each(now, gone, fleet, store, &mut written);
        // A node that takes over a name takes over series. Of two points at one time the first stays, so its values come
        // after the markers that end the old node's.
        if written.samples > 0 {
            self.postpone(now + Span::from_millis(1), present);
        } else {
            self.write_each(now, present, fleet, store, &mut written);
        }
        written
    }

    fn write_each<D: Disk>(
        &mut self,
        now: Timestamp,
        ids: Vec<NodeId>,
        fleet: &Fleet,
        store: &mut Store<D>,
        written: &mut Written,
    ) {
        for id in ids {
            let node = fleet.get(id).filter(|node| fleet.is_shown(node));
            let samples = node.map(node_samples).unwrap_or_default();
            let before = self.nodes.remove(&id).unwrap_or_default();
            match store.append_local(&format!("node/{id}"), now, &samples) {
                Err(AppendError::NotAfter { last, .. }) if last.since(now) <= MAX_WAIT => {
                    self.nodes.insert(id, before);
                    self.postpone(last + Span::from_millis(1), [id]);
                    continue;
                }
                result => written.note(&before, &samples, result),
            }
            if !samples.is_empty() {
                self.nodes.insert(id, samples);
            }
        }
    }

    /// Asks for the series about the fleet, out of turn.
    pub(crate) fn want_fleet(&mut self, at: Timestamp) {
        self.fleet_due = Some(self.fleet_due.map_or(at, |earlier| earlier.min(at)));
    }

    pub(crate) fn fleet_is_due(&self, now: Timestamp) -> bool {
        self.fleet_due.is_some_and(|at| at <= now)
    }

    /// Writes the series about the fleet.
    pub(crate) fn write_fleet<D: Disk>(&mut self, now: Timestamp, samples: Samples, store: &mut Store<D>) -> Written {
        self.fleet_due = None;
        let mut written = Written::default();
        let result = store.append_local(FLEET_SOURCE, now, &samples);
        if let Err(AppendError::NotAfter { last, .. }) = result
            && last.since(now) <= MAX_WAIT
        {
            self.want_fleet(last + Span::from_millis(1));
            return written;
        }
        written.note(&self.fleet, &samples, result);
        self.fleet = samples;
        written
    }

    /// Writes the collector's series about itself.
    pub(crate) fn write_self<D: Disk>(&mut self, now: Timestamp, samples: Samples, store: &mut Store<D>) -> Written {
        let mut written = Written::default();
        let result = store.append_local(SELF_SOURCE, now, &samples);
        written.note(&self.own, &samples, result);
        self.own = samples;
        written
    }
}

impl Written {
    fn note(&mut self, before: &Samples, samples: &Samples, result: Result<(), AppendError>) {
        match result {
            Ok(()) | Err(AppendError::Refused(_)) => self.samples += samples.len() + before.len(),
            // A failed log shows at the next sync; whatever else there may be, the next round tries again.
            Err(error) => self.full |= error == AppendError::Full,
        }
        let mut old: BTreeMap<&Labels, f64> = before.iter().map(|(labels, value)| (labels, *value)).collect();
        for (labels, value) in samples {
            if old.remove(labels) != Some(*value) {
                self.changed.push(labels.clone());
            }
        }
        self.changed.extend(old.into_keys().cloned());
    }
}
