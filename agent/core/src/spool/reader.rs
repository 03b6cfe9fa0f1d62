//! Reads the log for one collector, record by record, with at most one chunk of it in memory.

use watchfire_shared::frame::body::ValueState;
use watchfire_shared::frame::message::Position;
use watchfire_shared::time::Timestamp;

use super::record::{self, Record, Stop};
use super::{Spool, SpoolEffect};
use crate::dictionary::Dictionary;
use crate::lane::Values;

/// Bytes read at a time: some 150 ticks of an idle host.
const CHUNK_BYTES: usize = 64 << 10;

/// A place in the log.
#[derive(Debug)]
pub(crate) struct LogReader {
    connection: u64,
    /// Records below are read over.
    from: u64,
    segment: u64,
    /// Where the chunk begins in the segment.
    offset: u64,
    chunk: Vec<u8>,
    at: usize,
    waiting: bool,
    dictionary: Dictionary,
    state: ValueState,
    ready: Option<Ready>,
    damaged: u64,
}

/// A tick that was read and not yet taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ready {
    pub(crate) seq: u64,
    pub(crate) live: Position,
    at: Timestamp,
}

/// What a reader gives.
#[derive(PartialEq, Debug)]
pub(crate) enum Next {
    Tick(Ready),
    /// Bytes were asked for.
    Wait,
    /// The log ends here, for now.
    End,
}

impl LogReader {
    /// A reader that begins with the record `from`.
    pub(crate) fn new(connection: u64, from: u64) -> Self {
        Self {
            connection,
            from,
            segment: 0,
            offset: 0,
            chunk: Vec::new(),
            at: 0,
            waiting: false,
            dictionary: Dictionary::default(),
            state: ValueState::default(),
            ready: None,
            damaged: 0,
        }
    }

    /// The next tick, without taking it.
    pub(crate) fn peek(&mut self, spool: &Spool, effects: &mut Vec<SpoolEffect>) -> Next {
        loop {
            if let Some(ready) = self.ready {
                return Next::Tick(ready);
            }
            if self.waiting {
                return Next::Wait;
            }
            let Some(bytes) = spool.bytes_of(self.segment) else {
                let Some((segment, _)) = spool.segment_of(self.from) else { return Next::End };
                self.enter(segment);
                continue;
            };
            match record::read(&self.chunk[self.at..]) {
                Ok((record, length)) => {
                    self.at += length;
                    if !self.take(record) {
                        self.skip_segment(spool);
                    }
                }
                Err(Stop::Short(needed)) => {
                    let place = self.offset + self.at as u64;
                    if place + needed as u64 > bytes {
                        match spool.segment_after(self.segment) {
                            Some(next) if place >= bytes => self.enter(next),
                            Some(_) => self.skip_segment(spool),
                            None => return Next::End,
                        }
                        continue;
                    }
                    let length = needed.max(CHUNK_BYTES).min(usize::try_from(bytes - place).unwrap_or(CHUNK_BYTES));
                    self.offset = place;
                    self.chunk = Vec::new();
                    self.at = 0;
                    self.waiting = true;
                    let (connection, segment) = (self.connection, self.segment);
                    effects.push(SpoolEffect::Read { connection, segment, offset: place, length });
                }
                Err(Stop::Damaged) => self.skip_segment(spool),
            }
        }
    }

    /// The tick that [`LogReader::peek`] gave, with its values.
    pub(crate) fn values(&self) -> Option<Values<'_>> {
        let ready = self.ready?;
        Some(Values { seq: ready.seq, at: ready.at, dictionary: &self.dictionary, values: self.state.values() })
    }

    /// Goes on behind the tick that was given.
    pub(crate) fn advance(&mut self) {
        if let Some(ready) = self.ready.take() {
            self.from = ready.seq + 1;
        }
    }

    /// Takes bytes that were read; `None` if they could not be.
    pub(crate) fn give(&mut self, spool: &Spool, segment: u64, offset: u64, bytes: Option<Vec<u8>>) {
        if !self.waiting || segment != self.segment || offset != self.offset {
            return;
        }
        self.waiting = false;
        match bytes {
            Some(bytes) if !bytes.is_empty() => self.chunk = bytes,
            _ => self.skip_segment(spool),
        }
    }

    /// The first record that was not given yet.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// Parts of the log that could not be read.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    fn enter(&mut self, segment: u64) {
        let (connection, from, damaged) = (self.connection, self.from, self.damaged);
        *self = Self { segment, damaged, ..Self::new(connection, from) };
    }

    /// Gives up the rest of a segment: it cannot be read.
    fn skip_segment(&mut self, spool: &Spool) {
        self.damaged += 1;
        match spool.segment_after(self.segment) {
            Some(next) => {
                self.from = self.from.max(next);
                self.enter(next);
            }
            None => {
                self.from = spool.next_seq;
                self.enter(0);
            }
        }
    }

    /// Applies a record; false if it contradicts what was read before.
    fn take(&mut self, record: Record) -> bool {
        match record {
            Record::Header { .. } => {}
            Record::Dict(part) => self.dictionary.take(&part),
            Record::Data { live, data } => {
                self.dictionary.reserve(data.n as usize);
                if self.dictionary.len() != data.n as usize {
                    return false;
                }
                self.state.resize(data.n as usize);
                if self.state.decode(&data.body, data.keyframe, data.coding).is_err() {
                    return false;
                }
                if data.seq >= self.from {
                    self.ready = Some(Ready { seq: data.seq, live, at: Timestamp::from_millis(data.ts_ms) });
                }
            }
        }
        true
    }
}
