//! Sends what may be sent: live ticks first, then what the log holds.

use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::Position;
use watchfire_shared::life::Life;
use watchfire_shared::time::Timestamp;

use super::{AgentCore, Effect, Fact};
use crate::spool::reader::{LogReader, Next};
use crate::uplink::{Session, Target};

impl AgentCore {
    /// Notes what is to be noted of the agent's own life, keeps it, and tells it to those who asked.
    pub(super) fn live(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.life.observe(now, self.targets.iter().any(Target::is_ready));
        self.keep_life(now, effects);
        self.tell_life(effects);
    }

    pub(super) fn keep_life(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        effects.extend(self.life.take_unsaved(now).map(|bytes| Effect::KeepLife { bytes }));
    }

    pub(super) fn tell_life(&mut self, effects: &mut Vec<Effect>) {
        let last = self.life.last_seq();
        for session in self.targets.iter_mut().filter_map(Target::session) {
            let Some(after) = session.life_after.filter(|after| *after != last) else { continue };
            session.life_after = Some(last);
            let message = Message::Life(Life { notes: self.life.notes_after(after) });
            effects.push(Effect::Send { connection: session.connection, bytes: message.encode() });
        }
    }

    /// Sends to every connected collector as much as its credit allows.
    pub(super) fn deliver(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for at in 0..self.targets.len() {
            self.deliver_live(at, effects);
        }
        for at in 0..self.targets.len() {
            self.deliver_backfill(now, at, effects);
        }
    }

    fn deliver_live(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let Some(session) = self.targets[at].session() else { return };
        let Some(first) = self.ring.front().map(|tick| tick.seq) else { return };
        while session.may_send_live() {
            let Some(tick) = session.next_live.checked_sub(first).and_then(|i| self.ring.get(i as usize)) else {
                return;
            };
            let follows = session.live.encoder.follows(tick.seq);
            if !follows && let Some(cursor) = self.spool.known(session.collector) {
                cursor.open(Position { epoch: self.epoch, seq: tick.seq });
            }
            let mut frames = Vec::new();
            session.live.encoder.encode(tick.values(), &mut frames);
            let sent = send(session.connection, frames, effects);
            session.live.in_flight.push_back((tick.seq, sent.last));
            session.next_live = tick.seq + 1;
            self.own.frames_sent += 1;
            self.own.bytes_sent += sent.all;
        }
    }

    fn deliver_backfill(&mut self, now: Timestamp, at: usize, effects: &mut Vec<Effect>) {
        if let Some(session) = self.targets[at].session() {
            session.held_back = false;
        }
        loop {
            let Some(session) = self.targets[at].session() else { return };
            if session.reader.is_none() {
                if self.spool.advance(session.collector).is_none() {
                    return;
                }
                // What is on its way in either lane is no reason to open the log.
                let from = self.spool.known(session.collector).map_or(0, |cursor| cursor.next).max(session.read_from);
                let Some((from, live)) = self.spool.record(from) else { return };
                if live.is_some_and(|live| comes_live(session, self.epoch, live)) {
                    return;
                }
                session.reader = Some(LogReader::new(session.connection, from));
            }
            if !session.may_send_backfill(now) || !self.send_next(at, effects) {
                return;
            }
        }
    }

    /// Sends the next tick of the log, or passes over it; false if there is nothing more to do now.
    fn send_next(&mut self, at: usize, effects: &mut Vec<Effect>) -> bool {
        let Some(session) = self.targets[at].session() else { return false };
        let Some(mut reader) = session.reader.take() else { return false };
        let mut spool_effects = Vec::new();
        let next = reader.peek(&self.spool, &mut spool_effects);
        effects.extend(spool_effects.into_iter().map(Effect::Spool));
        let session = match self.targets[at].session() {
            Some(session) => session,
            None => return false,
        };
        let idle = session.backfill.in_flight.is_empty();
        let Some(cursor) = self.spool.known(session.collector) else { return false };
        let more = match next {
            Next::Wait => false,
            Next::End => {
                if reader.damaged() > 0 {
                    effects.push(Effect::Fact(Fact::SpoolDamaged { parts: reader.damaged() }));
                }
                session.read_from = reader.from();
                if idle {
                    cursor.next = cursor.next.max(reader.from());
                }
                return false;
            }
            Next::Tick(tick) if cursor.has(tick.live) => {
                reader.advance();
                if idle {
                    cursor.next = cursor.next.max(tick.seq + 1);
                }
                true
            }
            Next::Tick(tick) if comes_live(session, self.epoch, tick.live) => false,
            Next::Tick(tick) => {
                let mut frames = Vec::new();
                if let Some(values) = reader.values() {
                    session.backfill.encoder.encode(values, &mut frames);
                }
                let sent = send(session.connection, frames, effects);
                session.backfill.in_flight.push_back((tick.seq, sent.last));
                session.spend();
                self.own.frames_sent += 1;
                self.own.bytes_sent += sent.all;
                session.read_from = tick.seq + 1;
                reader.advance();
                true
            }
        };
        session.reader = Some(reader);
        more
    }

    pub(super) fn spool_read(&mut self, connection: u64, segment: u64, offset: u64, bytes: Option<Vec<u8>>) {
        let Some(at) = self.target_of(connection) else { return };
        let spool = &self.spool;
        if let Some(reader) = self.targets[at].session().and_then(|session| session.reader.as_mut()) {
            reader.give(spool, segment, offset, bytes);
        }
    }
}

/// Whether a tick of the log is on its way to the collector in the live lane, or will be.
fn comes_live(session: &Session, epoch: u64, live: Position) -> bool {
    live.epoch == epoch && (live.seq >= session.next_live || session.live.has(live.seq))
}

struct Sent {
    /// Bytes of the Data frame.
    last: u64,
    all: u64,
}

fn send(connection: u64, frames: Vec<Vec<u8>>, effects: &mut Vec<Effect>) -> Sent {
    let last = frames.last().map_or(0, |frame| frame.len() as u64);
    let all = frames.iter().map(|frame| frame.len() as u64).sum();
    effects.extend(frames.into_iter().map(|bytes| Effect::Send { connection, bytes }));
    Sent { last, all }
}
