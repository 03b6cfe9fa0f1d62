//! Round-trip times: measured by the own probes, estimated by network coordinates where nothing was measured yet.
//!
//! The shell holds the watch, since this crate has no clock that is fine enough: it starts it with each probe and hands in
//! what arrives with the time that has passed. Answers carry the place of who answers.

use foca::{Header, Message, ProbeNumber};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Timestamp;

use super::{Effect, Gossip};
use crate::codec::parse;
use crate::identity::Identity;
use crate::note::Note;
use crate::packet::{FRAME_PLACES, PLACES_SINCE, Packet, has_room_for_place};
use crate::place::{Place, Wanderer};

#[derive(Debug, Default)]
pub(super) struct Timing {
    own: Wanderer,
    /// The probe for which the watch runs.
    probe: Option<(ProbeNumber, NodeId)>,
    /// What the watch showed when the datagram came that is being worked on.
    pub(super) arrived: Option<u32>,
    /// The next packet answers a probe.
    answers: bool,
    /// Who answered the probe that was timed, and how long that took.
    measured: Option<(NodeId, u32)>,
}

impl Timing {
    pub(super) fn stop(&mut self) {
        self.probe = None;
    }
}

impl Gossip {
    pub(super) fn time_sent(&mut self, header: &Header<Identity>) {
        match header.message {
            Message::Ping(number) => {
                self.timing.probe = Some((number, header.dst.id));
                self.out.push(Effect::TimeProbe);
            }
            Message::Ack(_) => self.timing.answers = true,
            _ => {}
        }
    }

    pub(super) fn time_received(&mut self, header: &Header<Identity>) {
        let Message::Ack(number) = header.message else { return };
        if let Some(micros) = self.timing.arrived.filter(|_| self.timing.probe == Some((number, header.src.id))) {
            self.timing.stop();
            self.timing.measured = Some((header.src.id, micros));
            self.view.time(header.src.id, |entry| entry.round_trips.add(micros));
        }
    }

    /// Adds the own place to an answer, where there is room.
    pub(super) fn located(&mut self, to: NodeId, packet: Packet) -> Packet {
        if !std::mem::take(&mut self.timing.answers) || !self.takes_places(to) {
            return packet;
        }
        let place = *self.timing.own.place();
        match packet {
            Packet::Foca(body) if has_room_for_place(body.len()) => Packet::Located { place, body, notes: Vec::new() },
            Packet::Noted { body, notes } => Packet::Located { place, body, notes },
            packet => packet,
        }
    }

    fn takes_places(&self, id: NodeId) -> bool {
        self.view.get(id).is_some_and(|entry| entry.protocol() >= PLACES_SINCE)
    }

    pub(super) fn receive_located(&mut self, now: Timestamp, place: Place, body: &[u8], notes: &[Note]) {
        let from = parse(body).ok().map(|parsed| parsed.header.src.id);
        self.timing.measured = None;
        self.receive_foca(now, body, notes);
        if let Some((id, micros)) = self.timing.measured.take().filter(|(id, _)| from == Some(*id)) {
            self.timing.own.learn(f64::from(micros) / 1e6, &place, &mut self.rng);
            self.view.time(id, |entry| entry.place = Some((&place).into()));
            self.estimate_all();
        }
    }

    /// The own place has moved: what is not measured is estimated anew.
    fn estimate_all(&mut self) {
        let own = *self.timing.own.place();
        self.view.stand_at(own);
    }

    /// Where this node and those that it knows stand.
    pub(super) fn places_for(&self, asker: NodeId) -> Vec<Packet> {
        if !self.takes_places(asker) {
            return Vec::new();
        }
        let own = (self.own().id, *self.timing.own.place());
        let others = self.view.others().filter_map(|entry| entry.place.map(|place| (entry.identity.id, place.into())));
        let places: Vec<(NodeId, Place)> = std::iter::once(own).chain(others).collect();
        places.chunks(FRAME_PLACES).map(|places| Packet::Places(places.to_vec())).collect()
    }

    /// A member tells where others stand; who was measured here stands where it said itself.
    pub(super) fn receive_places(&mut self, places: &[(NodeId, Place)]) {
        let own = self.own().id;
        for (id, place) in places.iter().filter(|(id, _)| *id != own) {
            if self.view.get(*id).is_some_and(|entry| entry.round_trips.median().is_none()) {
                self.view.time(*id, |entry| entry.place = Some(place.into()));
            }
        }
        self.estimate_all();
    }
}
