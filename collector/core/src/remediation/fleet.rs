//! Guards over the fleet as a whole: what must hold whichever node it is about.

use watchfire_shared::labels::Labels;
use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::Timestamp;

use super::Remediator;
use super::case::CaseState;
use super::decide::Against;
use super::file::Remediation;
use super::guards::{Blocker, Corroborate, Quorum};
use super::situation::{Scope, Seen, Situation};
use super::witness::Testimony;

impl Remediator {
    /// What speaks against acting on the fleet as it is.
    #[allow(clippy::too_many_arguments, reason = "a decision rests on all of these")]
    pub(super) fn guard_fleet(
        &self,
        now: Timestamp,
        remediation: &Remediation,
        alert: &Labels,
        subject: Option<&Seen<'_>>,
        scope: &Scope,
        situation: &Situation<'_>,
        against: &mut Against,
    ) {
        let guards = &remediation.guards;
        if let Some(pause) = self.pauses.of(&remediation.name) {
            against.block("paused", pause.to_string());
        }
        if !situation.fresh {
            against.block("fresh", "the collector has not yet heard from enough of the fleet");
        }
        if guards.blocked_by.contains(&Blocker::Silence) && (situation.silenced)(alert) {
            against.block("silence", "a silence matches the alert");
        }
        if !guards.windows.is_empty() && !guards.windows.iter().any(|window| window.contains(now)) {
            let windows: Vec<String> = guards.windows.iter().map(ToString::to_string).collect();
            against.block("windows", format!("it is outside of the windows {}", windows.join("; ")));
        }
        if guards.quorum == Quorum::Majority {
            let (registered, living) = situation.nodes.quorum();
            let needed = registered / 2 + 1;
            if living < needed {
                let reason = format!(
                    "quorum: {living} of {registered} registered members are believed to live, and a majority is {needed}"
                );
                against.block("quorum", reason);
            }
        }
        self.guard_storm(remediation, subject, scope, against);
        if let (Some(node), Some(corroborate)) = (subject, guards.corroborate) {
            self.guard_testimony(now, node, corroborate, situation, against);
        }
    }

    fn guard_storm(&self, remediation: &Remediation, subject: Option<&Seen<'_>>, scope: &Scope, against: &mut Against) {
        let guards = &remediation.guards;
        let (unhealthy, total) = (scope.with(subject.map(|node| node.id)), scope.total);
        if unhealthy > guards.max_unhealthy.of(total) {
            let reason = format!(
                "max_unhealthy {} exceeded ({unhealthy}/{total}), storm until {} after it is over",
                guards.max_unhealthy, guards.storm_cooldown
            );
            return against.block("max_unhealthy", reason);
        }
        let Some(storm) = self.storms.get(&remediation.name) else { return };
        let Some(until) = storm.calm_since.map(|since| since + guards.storm_cooldown) else { return };
        let (unhealthy, total) = (storm.unhealthy, storm.total);
        let reason =
            format!("max_unhealthy {} was exceeded ({unhealthy}/{total}), storm until {until}", guards.max_unhealthy);
        against.add_until("max_unhealthy", CaseState::Blocked, reason, until);
    }

    /// Of a node that does not report here, others have to say that it is gone. One that reports speaks for itself.
    fn guard_testimony(
        &self,
        now: Timestamp,
        node: &Seen<'_>,
        guard: Corroborate,
        situation: &Situation<'_>,
        against: &mut Against,
    ) {
        if node.up == Some(true) && node.connected {
            return;
        }
        against.ask = Some(node.id);
        let testimony = self.witnesses.testimony(now, node.id, guard, self.observers());
        if testimony.agrees() {
            return;
        }
        if testimony.observers.is_empty() {
            let reason =
                format!("corroborate: no other agent is connected that could say whether {} is down", node.name);
            return against.block("corroborate", reason);
        }
        against.block("corroborate", told(&testimony, node.name, situation));
    }

    /// The agents that can be asked.
    pub(super) fn observers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.agents.keys().copied()
    }
}

fn told(testimony: &Testimony, name: &str, situation: &Situation<'_>) -> String {
    let shown = |(id, state): &(NodeId, Option<Option<MemberState>>)| {
        let observer = situation.nodes.get(*id).map_or_else(|| id.to_string(), |node| node.name.to_owned());
        let word = match state {
            None => "no answer yet",
            Some(None) => "does not know it",
            Some(Some(state)) => state.as_str(),
        };
        format!("{observer}: {word}")
    };
    let observers: Vec<String> = testimony.observers.iter().map(shown).collect();
    format!(
        "corroborate: {} of {} observers see {name} down, and {} have to ({})",
        testimony.down,
        testimony.observers.len(),
        testimony.needed,
        observers.join(", ")
    )
}
