//! Connections: dialling again, greeting, what arrives, what is lost.

use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::{
    Ack, FEATURE_NO_GOSSIP, Hello, HelloAck, Lane, Nack, NackCode, PROTOCOL, Ping, Position,
};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use super::{AgentCore, Effect, Fact, News};
use crate::uplink::{MAX_GREETING, MAX_RESYNCS, MAX_RETRY, MAX_SILENCE, PING_AFTER, Phase, Session, Target};

impl AgentCore {
    /// What a target's own deadlines ask for.
    pub(super) fn due_target(&mut self, now: Timestamp, at: usize, effects: &mut Vec<Effect>) {
        match &mut self.targets[at].phase {
            Phase::Idle { retry_at } if *retry_at <= now => {
                let connection = self.next_connection;
                self.next_connection += 1;
                let target = &mut self.targets[at];
                target.phase = Phase::Dialling { connection, until: now + MAX_GREETING };
                effects.push(Effect::Connect { connection, address: target.address.clone() });
            }
            Phase::Dialling { until, .. } if *until <= now => {
                self.hang_up(now, at, "no connection in time", None, effects)
            }
            Phase::Greeting { until, .. } if *until <= now => {
                self.hang_up(now, at, "no greeting in time", None, effects)
            }
            Phase::Ready(session) if now.since(session.last_heard) >= MAX_SILENCE => {
                self.hang_up(now, at, "the collector fell silent", None, effects);
            }
            Phase::Ready(session) if session.pinged_at.is_none() && now.since(session.last_heard) >= PING_AFTER => {
                session.pinged_at = Some(now);
                let bytes = Message::Ping(Ping { clock_ms: now.as_millis() }).encode();
                effects.push(Effect::Send { connection: session.connection, bytes });
            }
            _ => {}
        }
    }

    pub(super) fn greet(&mut self, now: Timestamp, connection: u64, effects: &mut Vec<Effect>) {
        let Some(at) = self.target_of(connection) else { return };
        let Phase::Dialling { .. } = self.targets[at].phase else { return };
        self.targets[at].phase = Phase::Greeting { connection, until: now + MAX_GREETING };
        let spooled = self.targets[at].collector.and_then(|collector| self.spool.waiting(collector));
        let off = (!self.settings.gossips).then(|| FEATURE_NO_GOSSIP.to_owned());
        let features = off.into_iter().collect();
        let hello = Hello {
            proto: PROTOCOL,
            features,
            cluster: self.settings.cluster.clone(),
            agent_id: self.node,
            name: self.settings.name.clone(),
            labels: self.settings.labels.clone(),
            version: self.own.version.to_owned(),
            epoch: self.epoch,
            spool_epoch: self.spool.epoch(),
            clock_ms: now.as_millis(),
            interval_ms: self.schedule.interval().as_millis().max(0) as u64,
            spooled,
        };
        effects.push(Effect::Send { connection, bytes: Message::Hello(hello).encode() });
    }

    pub(super) fn frame(&mut self, now: Timestamp, connection: u64, bytes: &[u8], effects: &mut Vec<Effect>) {
        let Some(at) = self.target_of(connection) else { return };
        let message = match Message::decode(bytes) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => return self.hang_up(now, at, &error.to_string(), None, effects),
        };
        if let Some(session) = self.targets[at].session() {
            session.last_heard = now;
            session.pinged_at = None;
        }
        match message {
            Message::HelloAck(answer) => self.greeted(now, at, &answer, effects),
            Message::Ack(ack) => self.acknowledged(now, at, ack, effects),
            Message::Nack(nack) => self.refused(now, at, &nack, effects),
            Message::Slow(slow) => {
                if let Some(session) = self.targets[at].session() {
                    session.credit = u64::from(slow.credit_bytes);
                }
            }
            Message::Ping(ping) => effects.push(Effect::Send { connection, bytes: Message::Pong(ping).encode() }),
            Message::Pong(_) => {}
            Message::Bye(bye) => {
                let wait = i64::try_from(bye.retry_after_ms).map_or(MAX_RETRY, Span::from_millis).min(MAX_RETRY);
                let retry = wait.is_positive().then(|| now + wait);
                self.hang_up(now, at, &bye.reason, retry, effects);
            }
            Message::Order(order) => self.heard(at, News::Order(order), effects),
            Message::OrderSeen(seen) => self.heard(at, News::Seen(seen.id), effects),
            Message::LifeWanted(wanted) => {
                if let Some(session) = self.targets[at].session() {
                    session.life_after = Some(wanted.after);
                }
            }
            Message::ViewQuery(query) => self.heard(at, News::Asked(query.about), effects),
            Message::Hello(_)
            | Message::Dict(_)
            | Message::Data(_)
            | Message::Actions(_)
            | Message::OrderReport(_)
            | Message::Life(_)
            | Message::ViewAnswer(_) => {
                self.hang_up(now, at, "the collector sent a frame that only agents send", None, effects);
            }
        }
    }

    fn greeted(&mut self, now: Timestamp, at: usize, answer: &HelloAck, effects: &mut Vec<Effect>) {
        let Phase::Greeting { connection, .. } = self.targets[at].phase else {
            return self.hang_up(now, at, "a second greeting", None, effects);
        };
        if answer.proto.0 != PROTOCOL.0 {
            let reason = format!("the collector speaks protocol {}, this agent {}", answer.proto.0, PROTOCOL.0);
            return self.hang_up(now, at, &reason, Some(now + MAX_RETRY), effects);
        }
        let collector = answer.collector_id;
        let twice =
            self.targets.iter().enumerate().any(|(i, t)| i != at && t.is_ready() && t.collector == Some(collector));
        if twice {
            return self.hang_up(now, at, "connected to this collector already", Some(now + MAX_RETRY), effects);
        }
        let epoch = self.spool.epoch();
        self.spool.cursor(now, collector).resume(answer.live, answer.backfill, epoch);
        let target = &mut self.targets[at];
        target.attempts = 0;
        target.collector = Some(collector);
        target.phase = Phase::Ready(Box::new(Session::new(connection, answer, self.next_live, now)));
        let address = target.address.clone();
        effects.push(Effect::Fact(Fact::Connected { address, collector: answer.name.clone() }));
        effects.push(Effect::Heard { collector, news: News::Greeted });
        if !self.spool.is_empty() {
            self.with_spool(effects, |spool, effects| spool.save(effects));
        }
        self.tidy(now, effects);
    }

    /// Hands on what concerns orders; they are taken by [`crate::order`].
    fn heard(&mut self, at: usize, news: News, effects: &mut Vec<Effect>) {
        if let Some(session) = self.targets[at].session() {
            effects.push(Effect::Heard { collector: session.collector, news });
        }
    }

    /// Sends a message of [`crate::order`] to a collector, or to all of them, that is connected.
    pub(super) fn say(&mut self, to: Option<NodeId>, message: &Message, effects: &mut Vec<Effect>) {
        let sessions = self.targets.iter_mut().filter_map(Target::session);
        for session in sessions.filter(|session| to.is_none_or(|to| to == session.collector)) {
            effects.push(Effect::Send { connection: session.connection, bytes: message.encode() });
        }
    }

    fn acknowledged(&mut self, now: Timestamp, at: usize, ack: Ack, effects: &mut Vec<Effect>) {
        let epoch = self.epoch;
        let Some(session) = self.targets[at].session() else { return };
        session.credit = u64::from(ack.credit_bytes);
        let collector = session.collector;
        let lane = session.lane(ack.lane);
        let mut done = Vec::new();
        while let Some((seq, _)) = lane.in_flight.front().copied().filter(|(seq, _)| *seq <= ack.seq) {
            lane.in_flight.pop_front();
            done.push(seq);
        }
        if done.is_empty() {
            return;
        }
        session.resyncs = 0;
        self.own.last_ack = Some(now.as_seconds());
        if let Some(cursor) = self.spool.known(collector) {
            match ack.lane {
                Lane::Live => done.iter().for_each(|seq| cursor.delivered(Position { epoch, seq: *seq })),
                Lane::Backfill => cursor.next = cursor.next.max(done.last().map_or(0, |seq| seq + 1)),
            }
        }
        self.spool.advance(collector);
        self.tidy(now, effects);
    }

    fn refused(&mut self, now: Timestamp, at: usize, nack: &Nack, effects: &mut Vec<Effect>) {
        match nack.code {
            NackCode::Resync => self.resync(now, at, nack, effects),
            NackCode::Protocol => {
                let reason = format!("the collector refused the connection: {}", nack.detail);
                self.hang_up(now, at, &reason, Some(now + MAX_RETRY), effects);
            }
            NackCode::Quota | NackCode::Schema | NackCode::Clock => self.dropped(now, at, nack, effects),
        }
    }

    /// The collector misses a predecessor: the lane goes again from this frame on, with dictionary and keyframe.
    fn resync(&mut self, now: Timestamp, at: usize, nack: &Nack, effects: &mut Vec<Effect>) {
        let ring_from = self.ring.front().map_or(self.next_live, |tick| tick.seq);
        let Some(session) = self.targets[at].session() else { return };
        session.resyncs += 1;
        if session.resyncs > MAX_RESYNCS {
            let reason = format!("the collector asked {MAX_RESYNCS} times for the same frames: {}", nack.detail);
            return self.hang_up(now, at, &reason, Some(now + MAX_RETRY), effects);
        }
        let lane = session.lane(nack.lane);
        lane.encoder.restart();
        let again = lane.in_flight.iter().map(|(seq, _)| *seq).find(|seq| *seq >= nack.seq);
        lane.in_flight.retain(|(seq, _)| *seq < nack.seq);
        match (nack.lane, again) {
            // What has left the ring meanwhile stands in the log and goes the other way.
            (Lane::Live, Some(seq)) => session.next_live = seq.max(ring_from),
            (Lane::Backfill, Some(seq)) => {
                session.reader = None;
                session.read_from = seq;
            }
            (_, None) => {}
        }
    }

    /// The collector will never take this frame: it is dropped and counted.
    fn dropped(&mut self, now: Timestamp, at: usize, nack: &Nack, effects: &mut Vec<Effect>) {
        self.own.frames_refused += 1;
        let (address, epoch) = (self.targets[at].address.clone(), self.epoch);
        effects.push(Effect::Fact(Fact::Refused { address, code: nack.code, detail: nack.detail.clone() }));
        // With slots it speaks of a dictionary: those series are left out, frames go on.
        if !nack.slots.is_empty() {
            return;
        }
        let Some(session) = self.targets[at].session() else { return };
        let collector = session.collector;
        let lane = session.lane(nack.lane);
        if nack.code == NackCode::Schema {
            lane.encoder.restart();
        }
        let before = lane.in_flight.len();
        lane.in_flight.retain(|(seq, _)| *seq != nack.seq);
        if lane.in_flight.len() == before {
            return;
        }
        let first_left = lane.in_flight.is_empty();
        if let Some(cursor) = self.spool.known(collector) {
            match nack.lane {
                Lane::Live => cursor.delivered(Position { epoch, seq: nack.seq }),
                Lane::Backfill if first_left => cursor.next = cursor.next.max(nack.seq + 1),
                Lane::Backfill => {}
            }
        }
        self.spool.advance(collector);
        self.tidy(now, effects);
    }

    /// Ends a connection from this side and remembers what was on its way. Without `retry_at` the wait is drawn.
    pub(super) fn hang_up(
        &mut self,
        now: Timestamp,
        at: usize,
        reason: &str,
        retry_at: Option<Timestamp>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(connection) = self.targets[at].connection() {
            effects.push(Effect::Disconnect { connection });
            self.lost(now, at, reason, retry_at, effects);
        }
    }

    /// A connection has ended.
    pub(super) fn lost(
        &mut self,
        now: Timestamp,
        at: usize,
        reason: &str,
        retry_at: Option<Timestamp>,
        effects: &mut Vec<Effect>,
    ) {
        self.forget_session(now, at, effects);
        let target = &mut self.targets[at];
        let retry_at = retry_at.unwrap_or_else(|| target.backoff(now, &mut self.random));
        target.phase = Phase::Idle { retry_at };
        let (address, attempts) = (target.address.clone(), target.attempts);
        effects.push(Effect::Fact(Fact::Lost { address, reason: reason.to_owned(), attempts, retry_at }));
    }

    /// What was on its way is in doubt until the collector says what it has; it goes to the log meanwhile.
    pub(super) fn forget_session(&mut self, now: Timestamp, at: usize, effects: &mut Vec<Effect>) {
        let epoch = self.epoch;
        let Some(session) = self.targets[at].session() else { return };
        let collector = session.collector;
        let sent: Vec<Position> = session.live.in_flight.iter().map(|(seq, _)| Position { epoch, seq: *seq }).collect();
        if let Some(cursor) = self.spool.known(collector) {
            cursor.doubt(sent);
        }
        self.targets[at].phase = Phase::Idle { retry_at: now };
        self.log_ring(now, self.next_live, effects);
        self.tidy(now, effects);
    }
}
