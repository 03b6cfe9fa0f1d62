//! Exchanges over streams: one side says everything it has to say, the other answers and ends the stream.
//!
//! They carry what does not fit datagrams (whole views, large metadata) and a probe where datagrams may not get through.
//! The first frame says what is asked: `Sync` (followed by pages and metadata), `MetaRequest`, or a packet of foca's. It is
//! judged before anything else is read, so that whoever has no key is heard no further than that; and it would fit a
//! datagram, so that strangers cost little.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use watchfire_shared::limits::{MAX_GOSSIP_EXCHANGE_BYTES, MAX_GOSSIP_EXCHANGE_FRAMES};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Timestamp;

use super::{Admission, Effect, Gossip, HostAnswer};
use crate::codec::parse;
use crate::envelope::Refusal;
use crate::identity::Identity;
use crate::packet::{FRAME_ENTRIES, MetaItem, Packet, PageEntry, pack_metadata_frames};

/// Exchanges under way at a time, of those that this node began: one of views, one probe, the rest for metadata.
const MAX_EXCHANGES: usize = 32;

/// What this node began.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    open: BTreeMap<u64, Purpose>,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
enum Purpose {
    Sync(NodeId),
    Probe(Identity),
    Fetch,
}

/// What foca says to the one whose packet came over a stream goes back there.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) to: NodeId,
    pub(super) packets: Vec<Packet>,
}

impl Gossip {
    fn begin(&mut self, to: SocketAddr, purpose: Purpose, packets: &[Packet]) -> bool {
        if self.exchanges.open.len() >= MAX_EXCHANGES {
            return false;
        }
        self.exchanges.last += 1;
        let exchange = self.exchanges.last;
        self.exchanges.open.insert(exchange, purpose);
        self.stats.exchanges += 1;
        let frames = self.frames(packets);
        self.out.push(Effect::Exchange { exchange, to, frames });
        true
    }

    /// Seals packets up to what one side may say; the rest is left out.
    fn frames(&mut self, packets: &[Packet]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        for packet in packets {
            let frame = self.envelope.seal_frame(packet);
            bytes += frame.len();
            if bytes > MAX_GOSSIP_EXCHANGE_BYTES || frames.len() == MAX_GOSSIP_EXCHANGE_FRAMES {
                break;
            }
            self.stats.sent_stream_bytes += frame.len() as u64;
            frames.push(frame);
        }
        frames
    }

    /// Opens everything that one side said; nothing of it counts if a part is wrong.
    fn open_frames(&mut self, frames: &[Vec<u8>]) -> Option<Vec<Packet>> {
        let mut packets = Vec::new();
        for frame in frames {
            self.stats.received_stream_bytes += frame.len() as u64;
            match self.envelope.open_frame(frame) {
                Ok(packet) => packets.push(packet),
                // A later version says more.
                Err(Refusal::UnknownKind) => self.refuse(Refusal::UnknownKind),
                Err(refusal) => {
                    self.refuse(refusal);
                    return None;
                }
            }
        }
        Some(packets)
    }

    /// Somebody opened a stream with this frame.
    pub(super) fn opening(&mut self, stream: u64, frame: &[u8]) {
        let admission = if self.leaving.is_some() { Admission::Refused } else { self.admit(frame) };
        self.out.push(Effect::Judged { stream, admission });
    }

    fn admit(&mut self, frame: &[u8]) -> Admission {
        match self.envelope.look_into_frame(frame) {
            // A tie's frame is not seen again, so that a copy of it holds none.
            Ok(Packet::Tie { to, .. }) if to == self.own().id => match self.envelope.open_frame(frame) {
                Ok(_) => Admission::Tie,
                Err(refusal) => self.turn_away(refusal),
            },
            // A later version may ask more; what is not known here is counted once the whole is there.
            Ok(Packet::Sync { .. } | Packet::MetaRequest { .. } | Packet::Foca(_)) | Err(Refusal::UnknownKind) => {
                Admission::Exchange
            }
            Ok(_) => {
                self.stats.dropped_unexpected += 1;
                Admission::Refused
            }
            Err(refusal) => self.turn_away(refusal),
        }
    }

    fn turn_away(&mut self, refusal: Refusal) -> Admission {
        self.refuse(refusal);
        Admission::Refused
    }

    /// Somebody said something and waits.
    pub(super) fn asked(&mut self, now: Timestamp, stream: u64, frames: &[Vec<u8>]) {
        if self.leaving.is_some() {
            return;
        }
        let Some(packets) = self.open_frames(frames) else { return };
        let mut packets = packets.into_iter();
        let answer = match packets.next() {
            Some(Packet::Sync { from }) => self.answer_sync(now, from, packets),
            Some(Packet::MetaRequest { from, wanted }) => self.answer_meta_request(from, &wanted),
            Some(Packet::Foca(body)) => self.answer_foca(now, &body),
            _ => {
                self.stats.dropped_unexpected += 1;
                Vec::new()
            }
        };
        if !answer.is_empty() {
            let frames = self.frames(&answer);
            self.out.push(Effect::Reply { stream, frames });
        }
    }

    fn answer_foca(&mut self, now: Timestamp, body: &[u8]) -> Vec<Packet> {
        let Ok(parsed) = parse(body) else {
            self.stats.dropped_malformed += 1;
            return Vec::new();
        };
        self.reply = Some(Reply { to: parsed.header.src.id, packets: Vec::new() });
        self.conditions.by_stream = true;
        self.receive_foca(now, body, &[]);
        self.conditions.by_stream = false;
        self.reply.take().map(|reply| reply.packets).unwrap_or_default()
    }

    /// Tells a member everything, and takes over everything it tells.
    pub(super) fn begin_sync(&mut self, now: Timestamp, target: Identity) -> bool {
        let from = self.own();
        let own = self.meta_item(from.id, 0);
        let mut packets = vec![Packet::Sync { from }];
        packets.extend(self.pages(now));
        packets.extend(own.map(|item| Packet::Meta { news: false, items: vec![item] }));
        self.begin(target.addr, Purpose::Sync(target.id), &packets)
    }

    fn answer_sync(&mut self, now: Timestamp, from: Identity, packets: impl Iterator<Item = Packet>) -> Vec<Packet> {
        if from.id == self.own().id {
            self.stats.dropped_from_ourselves += 1;
            return Vec::new();
        }
        if !self.syncs.take(now) {
            self.stats.dropped_rate_limited += 1;
            return Vec::new();
        }
        let entries = self.take_over(now, from.id, packets);
        // Who is held for dead here has to join anew; what it said of others is good all the same.
        if !self.view.is_active(from.id) {
            self.stats.dropped_unexpected += 1;
            return Vec::new();
        }
        let theirs: BTreeMap<NodeId, u64> = entries.iter().map(|entry| (entry.identity.id, entry.stamp)).collect();
        let mut answer = self.pages(now);
        let ids: Vec<NodeId> = answer.iter().flat_map(Packet::named).collect();
        let lacking = |id: &NodeId| self.meta_item(*id, theirs.get(id).copied().unwrap_or(0));
        let items: Vec<MetaItem> = ids.iter().filter_map(lacking).collect();
        let items = pack_metadata_frames(items).into_iter().map(|items| Packet::Meta { news: false, items });
        answer.extend(items);
        answer.extend(self.places_for(from.id));
        answer
    }

    fn pages(&self, now: Timestamp) -> Vec<Packet> {
        let mut pages = Vec::new();
        let mut after = 0;
        loop {
            let (entries, next) = self.view.page(now, after, FRAME_ENTRIES);
            pages.push(Packet::Page { nonce: 0, next, entries });
            if next == 0 {
                return pages;
            }
            after = next;
        }
    }

    /// Takes over the pages and the metadata that a member told. Returns the entries of the pages.
    fn take_over(&mut self, now: Timestamp, via: NodeId, packets: impl Iterator<Item = Packet>) -> Vec<PageEntry> {
        let (mut all, mut metadata, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for packet in packets {
            match packet {
                Packet::Page { entries, .. } => all.extend(entries),
                Packet::Meta { items, .. } => metadata.extend(items),
                Packet::Places(told) => places.extend(told),
                _ => self.stats.dropped_unexpected += 1,
            }
        }
        self.import(now, &all, via);
        // What a newcomer says of itself is news to the others too.
        let nameless = self.view.get(via).is_some_and(|entry| entry.metadata.is_none());
        let (news, known): (Vec<_>, Vec<_>) = metadata.into_iter().partition(|item| nameless && item.id == via);
        self.receive_metadata(now, true, news);
        self.receive_metadata(now, false, known);
        self.receive_places(&places);
        all
    }

    pub(super) fn probe_by_stream(&mut self, target: Identity, ping: &Packet) {
        self.begin(target.addr, Purpose::Probe(target), std::slice::from_ref(ping));
    }

    pub(super) fn begin_fetch(&mut self, to: SocketAddr, request: &Packet) {
        self.begin(to, Purpose::Fetch, std::slice::from_ref(request));
    }

    /// What came of an exchange that this node began.
    pub(super) fn exchanged(&mut self, now: Timestamp, exchange: u64, outcome: Result<Vec<Vec<u8>>, HostAnswer>) {
        let Some(purpose) = self.exchanges.open.remove(&exchange) else { return };
        let answer = match outcome {
            Ok(frames) => self.open_frames(&frames).filter(|packets| !packets.is_empty()).ok_or(HostAnswer::Accepted),
            Err(answer) => Err(answer),
        };
        self.stats.exchanges_failed += u64::from(answer.is_err());
        match (purpose, answer) {
            (Purpose::Sync(via), Ok(packets)) => {
                self.take_over(now, via, packets.into_iter());
                self.synced(now, true);
            }
            (Purpose::Sync(_), Err(_)) => self.synced(now, false),
            (Purpose::Probe(target), Ok(packets)) => self.probe_answered(now, &target, packets),
            (Purpose::Probe(target), Err(answer)) => {
                // A connection alone proves nothing; the host is asked both ways.
                if answer == HostAnswer::Refused {
                    self.ask_as_witness(now, target.id);
                }
            }
            (Purpose::Fetch, Ok(packets)) => {
                for packet in packets {
                    if let Packet::Meta { items, .. } = packet {
                        self.receive_metadata(now, false, items);
                    }
                }
            }
            (Purpose::Fetch, Err(_)) => {}
        }
    }

    fn probe_answered(&mut self, now: Timestamp, target: &Identity, packets: Vec<Packet>) {
        let was_open = self.detector.unanswered() == Some(target);
        self.conditions.by_stream = true;
        self.conditions.paths.answered_by_stream(target.id);
        for packet in packets {
            match packet {
                Packet::Foca(body) => self.receive_foca(now, &body, &[]),
                Packet::Noted { body, notes } | Packet::Located { body, notes, .. } => {
                    self.receive_foca(now, &body, &notes);
                }
                _ => self.stats.dropped_unexpected += 1,
            }
        }
        self.conditions.by_stream = false;
        self.stats.probes_by_stream += u64::from(was_open && self.detector.unanswered() != Some(target));
    }
}
