//! What members report: which conditions they see, how many they hold for alive, and whom they hold for gone.
//!
//! Reports are compared with the own view once it has stood still for a while, so that news which is still on its way is no
//! disagreement. A report that is not renewed counts no more.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::member::{ConditionName, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use super::Names;
use crate::view::View;

/// Members that one report names as gone, and with conditions. Both fit a datagram together.
pub(crate) const MOST_GONE: usize = 64;
pub(crate) const MOST_OBSERVED: usize = 48;
/// How long a report counts: three times as long as it takes to be renewed.
const COUNTS_FOR: Span = Span::from_seconds(100);
/// How long ago a member has to have changed here before others may be held against it.
const SETTLED: Span = Span::from_seconds(15);
/// Reports in a row of one member that list others as living than this node does.
const IN_A_ROW: u8 = 3;

/// What one member says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Report {
    /// A number that views share which hold the same members for alive.
    pub(crate) digest: u64,
    /// How many these are, the sender included.
    pub(crate) active: u32,
    /// More are gone than are named.
    pub(crate) cut: bool,
    /// Members that are down or left, with the life of which this is said.
    pub(crate) gone: Vec<(NodeId, u32)>,
    pub(crate) observed: Vec<(NodeId, Names)>,
}

#[derive(Debug)]
struct Held {
    at: Timestamp,
    report: Report,
    /// How often in a row its digest was another one.
    differs: u8,
}

#[derive(Default, Debug)]
pub(crate) struct Reports(BTreeMap<NodeId, Held>);

/// A condition of a member, and who says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    pub(crate) name: ConditionName,
    pub(crate) by: BTreeSet<NodeId>,
    pub(crate) detail: String,
}

impl Reports {
    /// Takes a report of an active member. Returns whether anything may follow from it.
    pub(crate) fn take(&mut self, now: Timestamp, from: NodeId, report: Report, digest: u64) -> bool {
        let before = self.0.remove(&from);
        let differs = match (&before, report.digest == digest) {
            (_, true) => 0,
            (before, false) => before.as_ref().map_or(0, |before| before.differs).saturating_add(1),
        };
        let says = |report: &Report| !report.observed.is_empty() || !report.gone.is_empty();
        let matters =
            differs > 0 || says(&report) || before.is_some_and(|before| before.differs > 0 || says(&before.report));
        self.0.insert(from, Held { at: now, report, differs });
        matters
    }

    pub(crate) fn forget(&mut self, id: NodeId) {
        self.0.remove(&id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that follows from what this node `sees` and from the reports that count.
    pub(crate) fn findings(
        &mut self,
        now: Timestamp,
        own: NodeId,
        view: &View,
        sees: &BTreeMap<NodeId, Names>,
    ) -> BTreeMap<NodeId, Vec<Finding>> {
        self.0.retain(|id, held| now.since(held.at) <= COUNTS_FOR && view.is_active(*id));
        let mut by: BTreeMap<(NodeId, ConditionName), BTreeSet<NodeId>> = BTreeMap::new();
        let reported = self.0.iter().flat_map(|(from, held)| held.report.observed.iter().map(|seen| (*from, *seen)));
        let seen = sees.iter().map(|(id, names)| (own, (*id, *names)));
        for (from, (id, names)) in reported.chain(seen) {
            for name in ConditionName::ALL.into_iter().filter(|name| names.has(*name)) {
                by.entry((id, name)).or_default().insert(from);
            }
        }
        let nodes = self.0.len() + 1;
        let mut findings: BTreeMap<NodeId, Vec<Finding>> = BTreeMap::new();
        for ((id, name), by) in by {
            let detail = format!("{} of {nodes} nodes see that {}", by.len(), words(name));
            findings.entry(id).or_default().push(Finding { name, by, detail });
        }
        self.compare(view, nodes, &mut findings);
        findings
    }

    /// Where views disagree.
    fn compare(&self, view: &View, nodes: usize, findings: &mut BTreeMap<NodeId, Vec<Finding>>) {
        let gone: Vec<_> = view.others().filter(|entry| !entry.is_active() && entry.is_listed()).collect();
        let mut about: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for (from, held) in &self.0 {
            let Held { at, report, differs } = held;
            let named: BTreeSet<NodeId> = report.gone.iter().map(|(id, _)| *id).collect();
            let lives_here = |(id, generation): &&(NodeId, u32)| {
                view.get(*id).is_some_and(|entry| {
                    entry.is_active() && entry.identity.generation <= *generation && entry.since + SETTLED <= *at
                })
            };
            let mut disputed: BTreeSet<NodeId> = report.gone.iter().filter(lives_here).map(|(id, _)| *id).collect();
            if *differs > 0 && !report.cut {
                let settled = gone.iter().filter(|entry| entry.since + SETTLED <= *at).map(|entry| entry.identity.id);
                disputed.extend(settled.filter(|id| !named.contains(id)));
            }
            disputed.remove(from);
            if disputed.is_empty() && *differs >= IN_A_ROW {
                let here = view.active_count() + 1;
                let detail = format!("it holds {} members for alive, this node {here}", report.active);
                let finding = Finding { name: ConditionName::ViewDivergence, by: BTreeSet::from([*from]), detail };
                findings.entry(*from).or_default().push(finding);
            }
            for id in disputed {
                about.entry(id).or_default().insert(*from);
            }
        }
        for (id, by) in about {
            let says =
                if view.is_active(id) { "gone, and this node for alive" } else { "alive, and this node for gone" };
            let detail = format!("{} of {nodes} nodes disagree: they hold it for {says}", by.len());
            findings.entry(id).or_default().push(Finding { name: ConditionName::ViewDivergence, by, detail });
        }
    }
}

fn words(name: ConditionName) -> &'static str {
    match name {
        ConditionName::UdpBlocked => "it answers over TCP and not over UDP",
        ConditionName::OneWayLink => "they hear it, and it does not hear them",
        ConditionName::Slow => "it answers late, or only once it is suspected",
        ConditionName::ViewDivergence => "it lists other members than they do",
    }
}
