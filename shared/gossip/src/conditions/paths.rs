//! What the own probes of each member come to, path by path.
//!
//! A probe goes by datagram, then through helpers, by datagram again, and over a stream, all for one answer; here every
//! answer counts, for it matters on which path none came. A member on which all paths are well takes no memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foca::ProbeNumber;
use watchfire_shared::member::{ConditionName, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use super::Names;

/// Probes of one member in a row that have to agree: with a twentieth of the datagrams lost, a healthy path fails three times
/// in a row once in a million probes.
const PROBES_IN_A_ROW: u8 = 3;
/// The same for a path that has failed through helpers as well, each of which is another way.
const WITH_HELPERS: u8 = 2;
/// Suspicions that a member objected to within [`REFUTED_WITHIN`] that make it a slow one.
const REFUTATIONS: usize = 3;
const REFUTED_WITHIN: Span = Span::from_seconds(600);
/// The last probes of all members, which tell trouble of the own node from trouble of theirs.
const RECENT: usize = 4;

/// The probe that is under way, or was the last one.
#[derive(Debug)]
struct Probe {
    target: NodeId,
    number: ProbeNumber,
    /// Answers that came straight from the target by datagram.
    direct: u32,
    /// The first of them came late.
    late: bool,
    /// Its time says nothing: this node itself was slow.
    lagged: bool,
    helped: bool,
    indirect: bool,
    stream: bool,
}

/// The last probes of one member.
#[derive(Default, Debug)]
struct Track {
    /// In a row, without an answer by any datagram though one came over a stream.
    no_datagram: u8,
    /// In a row, without an answer straight from it though it answered otherwise.
    not_direct: u8,
    /// The last of these during which nothing was heard from it.
    unheard: u8,
    heard: bool,
    late: u8,
    prompt: u8,
    refuted: VecDeque<Timestamp>,
    holds: Names,
}

#[derive(Default, Debug)]
pub(crate) struct Paths {
    probe: Option<Probe>,
    tracks: BTreeMap<NodeId, Track>,
    /// Whose probes came last, and whether datagrams carried.
    recent: VecDeque<(NodeId, bool)>,
}

impl Paths {
    /// A new probe begins: the one before is judged.
    pub(crate) fn probe_started(&mut self, now: Timestamp, target: NodeId, number: ProbeNumber) {
        let (direct, lagged, late) = (0, false, false);
        let fresh = Probe { target, number, direct, late, lagged, helped: false, indirect: false, stream: false };
        if let Some(last) = self.probe.replace(fresh) {
            self.judge(now, &last);
        }
    }

    pub(crate) fn helper_asked(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.helped = true;
        }
    }

    /// This node did not get to its work in time.
    pub(crate) fn lagged(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.lagged = true;
        }
    }

    /// The target answered by datagram, `late` for what is usual in this cluster.
    pub(crate) fn answered(&mut self, by: NodeId, number: ProbeNumber, late: bool) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.target == by && probe.number == number) {
            probe.late |= late && probe.direct == 0;
            probe.direct += 1;
        }
    }

    /// A helper passes on that the target answered it.
    pub(crate) fn answered_through_helper(&mut self, by: NodeId, number: ProbeNumber) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.target == by && probe.number == number) {
            probe.indirect = true;
        }
    }

    pub(crate) fn answered_by_stream(&mut self, by: NodeId) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.target == by) {
            probe.stream = true;
        }
    }

    /// A datagram came straight from a member.
    pub(crate) fn heard(&mut self, from: NodeId) {
        if let Some(track) = self.tracks.get_mut(&from) {
            track.heard = true;
        }
    }

    /// A member objected to a suspicion that others than this node held.
    pub(crate) fn refuted(&mut self, now: Timestamp, id: NodeId) {
        let track = self.tracks.entry(id).or_default();
        if track.refuted.len() == REFUTATIONS {
            track.refuted.pop_front();
        }
        track.refuted.push_back(now);
        track.judge_pace(now);
    }

    pub(crate) fn forget(&mut self, id: NodeId) {
        self.tracks.remove(&id);
        self.probe.take_if(|probe| probe.target == id);
    }

    /// The conditions that this node sees, by member; its own are those of its own datagrams.
    pub(crate) fn seen(&mut self, now: Timestamp, own: NodeId) -> BTreeMap<NodeId, Names> {
        self.tracks.values_mut().for_each(|track| track.judge_pace(now));
        self.tracks.retain(|_, track| !track.is_idle());
        let blocked = self.is_blocked();
        let others = self.tracks.iter().map(|(id, track)| {
            let mut names = track.holds;
            // It is not their datagrams that get lost, but ours.
            names.set(ConditionName::UdpBlocked, names.has(ConditionName::UdpBlocked) && !blocked);
            (*id, names)
        });
        let mut own_names = Names::default();
        own_names.set(ConditionName::UdpBlocked, blocked);
        others.chain([(own, own_names)]).filter(|(_, names)| !names.is_empty()).collect()
    }

    /// Whether no datagram carried in any of the last probes, of two members at least.
    fn is_blocked(&self) -> bool {
        let targets: BTreeSet<NodeId> = self.recent.iter().map(|(id, _)| *id).collect();
        self.recent.len() == RECENT && targets.len() > 1 && self.recent.iter().all(|(_, carried)| !carried)
    }

    fn judge(&mut self, now: Timestamp, probe: &Probe) {
        let answered = probe.direct > 0 || probe.indirect || probe.stream;
        if !answered {
            // It may be dead, which is not decided here.
            return;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((probe.target, probe.direct > 0 || probe.indirect));
        // Two answers to one question that was asked twice, because the first was late.
        let late = probe.late || probe.direct > 1;
        let is_well = probe.direct > 0 && !late;
        if is_well && !self.tracks.contains_key(&probe.target) {
            return;
        }
        let track = self.tracks.entry(probe.target).or_default();
        track.judge_paths(probe);
        if probe.direct > 0 && !probe.lagged {
            (track.late, track.prompt) =
                if late { (track.late.saturating_add(1), 0) } else { (track.late, track.prompt + 1) };
            track.prompt = track.prompt.min(PROBES_IN_A_ROW);
            if track.prompt > 0 && !track.holds.has(ConditionName::Slow) {
                track.late = 0;
            }
        }
        track.judge_pace(now);
        if track.is_idle() {
            self.tracks.remove(&probe.target);
        }
    }
}

impl Track {
    fn judge_paths(&mut self, probe: &Probe) {
        if probe.direct > 0 {
            (self.no_datagram, self.not_direct, self.unheard) = (0, 0, 0);
        } else {
            self.no_datagram = if probe.indirect { 0 } else { self.no_datagram.saturating_add(1) };
            self.not_direct = self.not_direct.saturating_add(1);
            self.unheard = if self.heard { 0 } else { self.unheard.saturating_add(1) };
        }
        self.heard = false;
        let enough = if probe.helped { WITH_HELPERS } else { PROBES_IN_A_ROW };
        let held = self.holds.has(ConditionName::UdpBlocked);
        self.holds.set(ConditionName::UdpBlocked, self.no_datagram >= enough || (held && self.no_datagram > 0));
        let one_way = self.not_direct >= PROBES_IN_A_ROW && self.unheard < PROBES_IN_A_ROW;
        self.holds.set(ConditionName::OneWayLink, one_way);
    }

    fn judge_pace(&mut self, now: Timestamp) {
        self.refuted.retain(|at| now.since(*at) < REFUTED_WITHIN);
        let refutes = self.refuted.len() >= REFUTATIONS;
        let lags = self.late >= PROBES_IN_A_ROW && self.prompt < PROBES_IN_A_ROW;
        if !lags && self.late >= PROBES_IN_A_ROW {
            self.late = 0;
        }
        self.holds.set(ConditionName::Slow, refutes || lags);
    }

    /// Nothing about it is worth remembering.
    fn is_idle(&self) -> bool {
        self.holds.is_empty()
            && self.no_datagram == 0
            && self.not_direct == 0
            && self.late == 0
            && self.refuted.is_empty()
    }
}
