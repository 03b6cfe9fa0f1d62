//! What happened, for readers who follow it: a bounded record of events, each with an id to go on from.
//!
//! An id is the index of the members that the event belongs to, with a number behind it for what else happened since:
//! `7:42` is the change that made the view 7:42, `7:42.3` the third event after it that changed no member. So whoever has
//! read the members goes on from their index and misses nothing. Readers hold nothing but their place: one that falls
//! behind the record is told so and reads anew; nobody waits for a slow reader.

mod members;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use watchfire_shared::limits::{MAX_EVENT_BYTES_KEPT, MAX_EVENT_STREAMS, MAX_EVENTS_KEPT};
use watchfire_shared::time::Timestamp;

use crate::membership::Index;

pub use members::follow_members;

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// A member entered a state, is described otherwise, or is listed no more.
    Member,
    /// A named condition of a member began or ended.
    Condition,
    /// An alert is pending, fires or is over.
    Alert,
    /// An order was given, or something became of it.
    Order,
    /// A node's maintenance began, changed or ended.
    Maintenance,
}

impl Topic {
    /// Every topic, with the name of its events.
    pub const ALL: [(&str, Self); 5] = [
        ("member", Self::Member),
        ("condition", Self::Condition),
        ("alert", Self::Alert),
        ("order", Self::Order),
        ("maintenance", Self::Maintenance),
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Condition => "condition",
            Self::Alert => "alert",
            Self::Order => "order",
            Self::Maintenance => "maintenance",
        }
    }
}

/// The place of an event in the order of all events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct EventId {
    pub index: Index,
    /// 0 for the change that made the index.
    pub after: u64,
}

impl From<Index> for EventId {
    fn from(index: Index) -> Self {
        Self { index, after: 0 }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after {
            0 => write!(f, "{}", self.index),
            after => write!(f, "{}.{after}", self.index),
        }
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("expected the id of an event such as 7:42 or 7:42.3, found {text:?}");
        let (index, after) = match text.split_once('.') {
            Some((index, after)) => (index, after.parse().map_err(|_| expected())?),
            None => (text, 0),
        };
        Ok(Self { index: index.parse().map_err(|_| expected())?, after })
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    pub id: EventId,
    pub topic: Topic,
    pub at: Timestamp,
    /// The node that it is about, if it is about one.
    pub node: Option<String>,
    /// What happened, as JSON text.
    pub data: String,
}

#[derive(Debug)]
struct Record {
    kept: VecDeque<Arc<Event>>,
    bytes: usize,
    last: EventId,
    /// Everything up to here is kept no more.
    lost: EventId,
}

/// The record of events. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    record: Arc<Mutex<Record>>,
    last: Arc<watch::Sender<EventId>>,
    streams: Arc<Semaphore>,
}

/// What a reader gets.
#[derive(Clone, PartialEq, Debug)]
pub enum Batch {
    /// Events after the reader's place, the oldest first.
    Events(Vec<Arc<Event>>),
    /// Some are kept no more: what holds now is to be read again, and the record goes on from here.
    Lost,
}

impl Journal {
    /// Begins with nothing, at the index of the members.
    #[must_use]
    pub fn new(start: Index) -> Self {
        let start = EventId::from(start);
        let record = Record { kept: VecDeque::new(), bytes: 0, last: start, lost: start };
        Self {
            record: Arc::new(Mutex::new(record)),
            last: Arc::new(watch::channel(start).0),
            streams: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no holder of the record's lock can panic")
    }

    /// Notes a change that made this index of the members.
    pub fn note_change(&self, index: Index, at: Timestamp, node: &str, data: &Value) {
        self.push(Topic::Member, at, Some(node), data, |_| index.into());
    }

    /// Notes something else.
    pub fn note(&self, topic: Topic, at: Timestamp, node: Option<&str>, data: &Value) {
        self.push(topic, at, node, data, |last| EventId { after: last.after + 1, ..last });
    }

    fn push(&self, topic: Topic, at: Timestamp, node: Option<&str>, data: &Value, id: impl FnOnce(EventId) -> EventId) {
        let data = data.to_string();
        let last = {
            let mut record = self.record();
            record.last = id(record.last).max(record.last);
            record.bytes += data.len();
            let event = Event { id: record.last, topic, at, node: node.map(str::to_owned), data };
            record.kept.push_back(Arc::new(event));
            while record.kept.len() > MAX_EVENTS_KEPT || record.bytes > MAX_EVENT_BYTES_KEPT {
                let Some(oldest) = record.kept.pop_front() else { break };
                record.bytes -= oldest.data.len();
                record.lost = oldest.id;
            }
            record.last
        };
        self.last.send_replace(last);
    }

    /// Events up to this index of the members never came here.
    pub fn lose_until(&self, index: Index) {
        let last = {
            let mut record = self.record();
            record.last = record.last.max(index.into());
            record.lost = record.last;
            record.kept.clear();
            record.bytes = 0;
            record.last
        };
        self.last.send_replace(last);
    }

    /// The id of the latest event.
    #[must_use]
    pub fn last(&self) -> EventId {
        *self.last.borrow()
    }

    /// The id after which everything that is kept comes.
    #[must_use]
    pub fn oldest(&self) -> EventId {
        self.record().lost
    }

    /// The id after which the events since a time come, as far as they are kept.
    #[must_use]
    pub fn before(&self, time: Timestamp) -> EventId {
        let record = self.record();
        let earlier = record.kept.iter().take_while(|event| event.at < time);
        earlier.last().map_or(record.lost, |event| event.id)
    }

    /// The events after an id.
    #[must_use]
    pub fn after(&self, id: EventId) -> Batch {
        let record = self.record();
        if id.index.epoch != record.last.index.epoch || id < record.lost {
            return Batch::Lost;
        }
        let first = record.kept.partition_point(|event| event.id <= id);
        Batch::Events(record.kept.range(first..).cloned().collect())
    }

    /// A place for one more reader who stays; `None` if there are too many.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().ok()
    }

    /// Follows the events after an id.
    #[must_use]
    pub fn follow(&self, id: EventId) -> Reader {
        Reader { at: id, last: self.last.subscribe(), journal: self.clone() }
    }
}

/// A reader, who gets each event once and in order.
#[derive(Debug)]
pub struct Reader {
    at: EventId,
    last: watch::Receiver<EventId>,
    journal: Journal,
}

impl Reader {
    /// Where this reader stands: everything up to here was given out.
    #[must_use]
    pub fn at(&self) -> EventId {
        self.at
    }

    /// Waits for events of these topics (all, if none is named). After [`Batch::Lost`] it goes on from the present. May be
    /// dropped and called again without losing one.
    pub async fn next(&mut self, topics: &BTreeSet<Topic>) -> Option<Batch> {
        loop {
            let at = self.at;
            let waited = self.last.wait_for(|last| last.index.epoch != at.index.epoch || *last > at).await;
            waited.ok()?;
            match self.journal.after(at) {
                Batch::Lost => {
                    self.at = self.journal.last();
                    return Some(Batch::Lost);
                }
                Batch::Events(mut events) => {
                    self.at = events.last().map_or(at, |last| last.id);
                    events.retain(|event| topics.is_empty() || topics.contains(&event.topic));
                    if !events.is_empty() {
                        return Some(Batch::Events(events));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Index = Index { epoch: 7, counter: 0 };

    fn index(counter: u64) -> Index {
        Index { counter, ..START }
    }

    fn ids(batch: &Batch) -> Vec<String> {
        let Batch::Events(events) = batch else { panic!("{batch:?}") };
        events.iter().map(|event| event.id.to_string()).collect()
    }

    fn note(journal: &Journal, topic: Topic) {
        journal.note(topic, Timestamp::EPOCH, None, &Value::Null);
    }

    #[tokio::test]
    async fn events_have_ids_that_members_share_and_readers_choose_topics() {
        let journal = Journal::new(START);
        let mut all = journal.follow(START.into());
        note(&journal, Topic::Alert);
        journal.note_change(index(3), Timestamp::EPOCH, "a", &Value::Null);
        note(&journal, Topic::Alert);
        note(&journal, Topic::Order);
        assert_eq!(ids(&all.next(&BTreeSet::new()).await.unwrap()), ["7:0.1", "7:3", "7:3.1", "7:3.2"]);
        assert_eq!(ids(&journal.after(index(3).into())), ["7:3.1", "7:3.2"]);
        let mut orders = journal.follow(START.into());
        assert_eq!(ids(&orders.next(&BTreeSet::from([Topic::Order])).await.unwrap()), ["7:3.2"]);
        for text in ["7:3", "7:3.2"] {
            assert_eq!(text.parse::<EventId>().unwrap().to_string(), text);
        }
        assert!("7".parse::<EventId>().unwrap_err().contains("expected the id of an event"));
    }

    #[tokio::test]
    async fn who_falls_behind_is_told_and_nothing_grows() {
        let journal = Journal::new(START);
        let mut slow = journal.follow(START.into());
        for counter in 1..=MAX_EVENTS_KEPT as u64 + 1 {
            journal.note_change(index(counter), Timestamp::EPOCH, "a", &Value::Null);
        }
        assert_eq!(slow.next(&BTreeSet::new()).await, Some(Batch::Lost));
        note(&journal, Topic::Alert);
        assert_eq!(ids(&slow.next(&BTreeSet::new()).await.unwrap()).len(), 1);
        assert_eq!(journal.after(Index { epoch: 6, counter: 5000 }.into()), Batch::Lost);

        let large = Value::String("x".repeat(MAX_EVENT_BYTES_KEPT / 2));
        for _ in 0..5 {
            journal.note(Topic::Alert, Timestamp::EPOCH, None, &large);
        }
        assert!(journal.record().kept.len() < 5 && journal.record().bytes <= MAX_EVENT_BYTES_KEPT);
    }

    #[test]
    fn a_time_leads_to_the_events_since() {
        let journal = Journal::new(START);
        for seconds in 1..=3 {
            journal.note_change(index(seconds), Timestamp::from_millis(seconds as i64 * 1000), "a", &Value::Null);
        }
        assert_eq!(ids(&journal.after(journal.before(Timestamp::from_millis(2000)))), ["7:2", "7:3"]);
        assert_eq!(ids(&journal.after(journal.before(Timestamp::EPOCH))).len(), 3);
        journal.lose_until(index(9));
        assert_eq!(journal.after(index(8).into()), Batch::Lost);
        assert_eq!(journal.after(index(9).into()), Batch::Events(Vec::new()));
    }
}
