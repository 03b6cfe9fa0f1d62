//! Local health: how far this node trusts its own probes.
//!
//! Lifeguard's LHA-Probe (arXiv 1707.00788, and memberlist's `state.go`): a node whose probes fail while helpers stay
//! silent, or who has to refute suspicions about itself, is probably slow itself, so it probes more patiently. Helpers
//! that reached nobody say so (a nack), and only their missing nacks count. Unlike there, one nack in time is as good as
//! an answer: where most members die at once, the helpers that stay silent are dead as well, and none of it is slowness.

use std::collections::BTreeSet;

use watchfire_shared::member::{NodeId, ProbePath};
use watchfire_shared::time::Span;

use crate::identity::Identity;

/// The worst health: intervals are this many times longer, plus one.
const WORST: u8 = 8;

/// The most that one failed probe counts, the number of helpers that foca draws.
const MOST_AT_ONCE: usize = 3;

/// The probe that is under way.
#[derive(Debug)]
struct Probe {
    target: Identity,
    number: u8,
    answered: bool,
    /// The paths tried so far.
    paths: BTreeSet<ProbePath>,
    /// Helpers that were asked and did not say yet that they reached nobody.
    missing: BTreeSet<NodeId>,
    /// Whether any helper said in time that it reached nobody.
    nacked: bool,
    /// The helper that foca does not know of.
    witness: Option<Identity>,
}

#[derive(Default, Debug)]
pub(crate) struct Health {
    multiplier: u8,
    probe: Option<Probe>,
}

impl Health {
    /// 0 is well, [`WORST`] is worst.
    pub(crate) fn multiplier(&self) -> u8 {
        self.multiplier
    }

    /// How long a step of a probe takes at this health.
    pub(crate) fn stretch(&self, span: Span) -> Span {
        span * (i64::from(self.multiplier) + 1)
    }

    pub(crate) fn probe_started(&mut self, target: Identity, number: u8) {
        let paths = BTreeSet::from([ProbePath::Udp]);
        let missing = BTreeSet::new();
        self.probe = Some(Probe { target, number, answered: false, paths, missing, nacked: false, witness: None });
    }

    pub(crate) fn helper_asked(&mut self, helper: NodeId) {
        if let Some(probe) = &mut self.probe {
            probe.paths.insert(ProbePath::Indirect);
            probe.missing.insert(helper);
        }
    }

    /// The number of the current probe, which `witness` is asked to help with, unless it was asked already or nobody was.
    pub(crate) fn witness_asked(&mut self, witness: Identity) -> Option<u8> {
        let probe =
            self.probe.as_mut().filter(|probe| !probe.missing.is_empty() && !probe.missing.contains(&witness.id))?;
        probe.witness = Some(witness);
        let number = probe.number;
        self.helper_asked(witness.id);
        Some(number)
    }

    /// Whether the witness says that the target of the current probe answered.
    pub(crate) fn is_testimony(&self, from: &Identity, target: &Identity, number: u8) -> bool {
        let probe = self.probe.as_ref().filter(|probe| !probe.answered && probe.number == number);
        probe.is_some_and(|probe| probe.witness.as_ref() == Some(from) && probe.target == *target)
    }

    /// A helper says that it did not reach the target. Returns whether it was asked.
    pub(crate) fn nacked(&mut self, helper: NodeId, target: NodeId, number: u8) -> bool {
        let probe = self.probe.as_mut().filter(|probe| probe.target.id == target && probe.number == number);
        let Some(probe) = probe else { return false };
        let was_asked = probe.missing.remove(&helper);
        probe.nacked |= was_asked;
        was_asked
    }

    /// The target answered, directly or through a helper. Returns whether that was the first answer to the current probe.
    pub(crate) fn answered(&mut self, number: u8) -> bool {
        let probe = self.probe.as_mut().filter(|probe| probe.number == number && !probe.answered);
        let Some(probe) = probe else { return false };
        probe.answered = true;
        self.multiplier = self.multiplier.saturating_sub(1);
        true
    }

    /// The target of the current probe, if it has not answered.
    pub(crate) fn unanswered(&self) -> Option<&Identity> {
        self.probe.as_ref().filter(|probe| !probe.answered).map(|probe| &probe.target)
    }

    /// The probe failed; `still_there` says whether its target is held for alive or suspect. Returns the paths that
    /// were tried.
    pub(crate) fn probe_failed(&mut self, still_there: bool) -> BTreeSet<ProbePath> {
        let Some(probe) = self.probe.take() else { return BTreeSet::from([ProbePath::Udp]) };
        if probe.nacked {
            self.multiplier = self.multiplier.saturating_sub(1);
        } else if still_there {
            // With nobody to ask, the failure itself counts.
            self.worsen(probe.missing.len().clamp(1, MOST_AT_ONCE) as u8);
        }
        probe.paths
    }

    /// This node had to object to a suspicion about itself.
    pub(crate) fn refuted(&mut self) {
        self.worsen(1);
    }

    fn worsen(&mut self, by: u8) {
        self.multiplier = self.multiplier.saturating_add(by).min(WORST);
    }

    /// Probing began anew.
    pub(crate) fn start_over(&mut self) {
        self.probe = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Identity {
        Identity::new(NodeId(7), 1, "10.0.0.7:1".parse().unwrap())
    }

    fn after_failure(helpers: &[u64], nacks: &[u64]) -> u8 {
        let mut health = Health::default();
        health.probe_started(target(), 3);
        helpers.iter().for_each(|helper| health.helper_asked(NodeId(*helper)));
        nacks.iter().for_each(|helper| assert!(health.nacked(NodeId(*helper), NodeId(7), 3)));
        assert!(!health.nacked(NodeId(99), NodeId(7), 3), "nobody asked it");
        health.probe_failed(true);
        health.multiplier()
    }

    #[test]
    fn helpers_that_stay_silent_count_against_oneself_unless_one_speaks() {
        assert_eq!(after_failure(&[], &[]), 1, "with nobody to ask, the failure itself counts");
        assert_eq!(after_failure(&[1, 2], &[]), 2);
        assert_eq!(after_failure(&[1, 2, 3, 4], &[]), 3);
        assert_eq!(after_failure(&[1, 2, 3], &[2]), 0);
        assert_eq!(after_failure(&[1, 2, 3], &[1, 2, 3]), 0);
    }

    #[test]
    fn a_nack_heals_as_an_answer_does() {
        let mut health = Health::default();
        (0..3).for_each(|_| health.refuted());
        health.probe_started(target(), 3);
        health.helper_asked(NodeId(1));
        let member = |id| Identity { id: NodeId(id), ..target() };
        assert_eq!(health.witness_asked(member(1)), None, "it was asked already");
        assert_eq!(health.witness_asked(member(2)), Some(3));
        assert!(health.is_testimony(&member(2), &target(), 3));
        assert!(!health.is_testimony(&member(1), &target(), 3) && !health.is_testimony(&member(2), &target(), 2));
        assert!(!health.is_testimony(&member(2).in_generation(2), &target(), 3), "another life was not asked");
        assert!(health.nacked(NodeId(2), NodeId(7), 3) && !health.nacked(NodeId(2), NodeId(7), 3));
        health.probe_failed(true);
        assert_eq!(health.multiplier(), 2);
    }

    #[test]
    fn answers_heal_once_each_and_late_ones_do_not() {
        let mut health = Health::default();
        (0..20).for_each(|_| health.refuted());
        assert_eq!((health.multiplier(), health.stretch(Span::from_millis(100))), (8, Span::from_millis(900)));
        health.probe_started(target(), 1);
        assert!(!health.answered(0));
        assert_eq!((health.multiplier(), health.unanswered()), (8, Some(&target())));
        assert!(health.answered(1) && !health.answered(1));
        assert_eq!((health.multiplier(), health.unanswered()), (7, None));
        health.probe_started(target(), 2);
        assert_eq!(health.probe_failed(false), BTreeSet::from([ProbePath::Udp]));
        assert_eq!(health.multiplier(), 7, "a member that is gone says nothing about this node");
    }
}
