//! How far a remote engine has everything: a time for each source, durable in the small state.
//!
//! A cursor is behind what was really sent rather than before it, so after a crash rows are sent again and none is left
//! out; the engine takes a sample of the same time and value as the one that it has.

use std::collections::BTreeMap;

use watchfire_shared::frame::message::Lane;
use watchfire_shared::frame::varint::{get, put, unzigzag, zigzag};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::Source;

/// The form of the bytes; another one is not read.
const VERSION: u8 = 1;

/// How far one source has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// The engine has taken everything up to here.
    pub(super) sent: Timestamp,
    /// It may have been given everything up to here.
    pub(super) tried: Timestamp,
}

/// The cursors of one remote engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursors {
    /// Where sources begin that have no mark: what is older was there before the engine was.
    since: Timestamp,
    marks: BTreeMap<Source, Mark>,
    /// How many times they went back since they were made or read.
    returns: u64,
}

impl Cursors {
    /// For an engine that gets what is later than `since`.
    #[must_use]
    pub fn new(since: Timestamp) -> Self {
        Self { since, marks: BTreeMap::new(), returns: 0 }
    }

    pub(super) fn mark(&self, source: &Source) -> Mark {
        self.marks.get(source).copied().unwrap_or(Mark { sent: self.since, tried: self.since })
    }

    /// Where the source goes on.
    #[must_use]
    pub fn sent(&self, source: &Source) -> Timestamp {
        self.mark(source).sent
    }

    /// The engine has the source up to here.
    pub(super) fn advance(&mut self, source: &Source, sent: Timestamp) {
        let mark = self.mark(source);
        self.marks.insert(source.clone(), Mark { sent: mark.sent.max(sent), tried: mark.tried.max(sent) });
    }

    /// The engine is about to be given the source up to here.
    pub(super) fn try_up_to(&mut self, source: &Source, tried: Timestamp) {
        let mark = self.mark(source);
        self.marks.insert(source.clone(), Mark { tried: mark.tried.max(tried), ..mark });
    }

    /// How many times they went back: what was known of earlier ones need not be true of these.
    pub(super) fn returns(&self) -> u64 {
        self.returns
    }

    /// Goes back to where `earlier` was: what came after it is sent again.
    pub(super) fn go_back_to(&mut self, earlier: &Self) {
        self.returns += 1;
        for (source, mark) in &mut self.marks {
            mark.sent = mark.sent.min(earlier.mark(source).sent);
        }
    }

    /// Forgets sources that are no more.
    pub(super) fn retain(&mut self, keep: impl Fn(&Source) -> bool) {
        self.marks.retain(|source, _| keep(source));
    }

    /// The bytes that [`decode`](Self::decode) reads: version, `since` (i64), number of marks, then per mark its source as
    /// a byte (0 live lane, 1 backfill lane, 2 local) with the node's id (u64) or the sized name, the zigzag of `sent` less
    /// `since`, and `tried` less `sent`. Little-endian; other numbers are varints.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.since.as_millis().to_le_bytes());
        put(&mut out, self.marks.len() as u64);
        for (source, mark) in &self.marks {
            match source {
                Source::Agent(id, lane) => {
                    out.push(u8::from(*lane == Lane::Backfill));
                    out.extend_from_slice(&id.0.to_le_bytes());
                }
                Source::Local(name) => {
                    out.push(2);
                    put(&mut out, name.len() as u64);
                    out.extend_from_slice(name.as_bytes());
                }
            }
            put(&mut out, zigzag(mark.sent.since(self.since).as_millis()));
            put(&mut out, mark.tried.since(mark.sent).as_millis().max(0) as u64);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) gave; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let since = i64::from_le_bytes(*rest.first_chunk()?);
        let (rest, mut at) = (&rest[8..], 0);
        let mut cursors = Self::new(Timestamp::from_millis(since));
        for _ in 0..get(rest, &mut at)? {
            let kind = *rest.get(at)?;
            at += 1;
            let source = match kind {
                0 | 1 => {
                    let id = u64::from_le_bytes(*rest.get(at..)?.first_chunk()?);
                    at += 8;
                    Source::Agent(NodeId(id), if kind == 0 { Lane::Live } else { Lane::Backfill })
                }
                2 => {
                    let length = usize::try_from(get(rest, &mut at)?).ok()?;
                    let name = std::str::from_utf8(rest.get(at..at.checked_add(length)?)?).ok()?;
                    at += length;
                    Source::Local(name.to_owned())
                }
                _ => return None,
            };
            let sent = Timestamp::from_millis(since.checked_add(unzigzag(get(rest, &mut at)?))?);
            let tried = sent + Span::from_millis(i64::try_from(get(rest, &mut at)?).ok()?);
            cursors.marks.insert(source, Mark { sent, tried });
        }
        (*version == VERSION && at == rest.len()).then_some(cursors)
    }
}
