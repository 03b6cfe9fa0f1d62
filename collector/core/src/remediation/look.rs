//! One look at everything: storms, open attempts, and every alert that a remediation is for.

use std::collections::BTreeMap;

use watchfire_shared::member::NodeId;
use watchfire_shared::order::OrderId;
use watchfire_shared::time::Timestamp;

use super::decide::{Against, Decision};
use super::file::{Mode, Remediation, Step};
use super::run::{Run, RunState};
use super::situation::{Firing, Scope, Situation};
use super::{Case, CaseState, LOOK_EVERY, Output, Remediator};
use crate::fact::{Fact, Level};

/// What one look at all alerts rests on.
pub(super) struct Look<'a> {
    pub(super) remediations: &'a [Remediation],
    /// By remediation.
    pub(super) scopes: &'a BTreeMap<String, Scope>,
    pub(super) situation: &'a Situation<'a>,
}

impl Remediator {
    /// Looks at every alert and gives the orders that nothing speaks against.
    pub(crate) fn look(&mut self, now: Timestamp, situation: &Situation<'_>, out: &mut Vec<Output>) {
        self.looked_at = now;
        self.give_up_lost(now, out);
        self.forget(now, out);
        self.changed |= self.pauses.expire(now, out);
        let remediations = std::mem::take(&mut self.remediations);
        let scopes: BTreeMap<String, Scope> =
            remediations.iter().map(|own| (own.name.clone(), Scope::of(own, situation))).collect();
        for remediation in &remediations {
            self.storms.update(now, remediation, &scopes[&remediation.name], out);
        }
        self.storms.retain(&remediations, out);
        let look = Look { remediations: &remediations, scopes: &scopes, situation };
        self.advance(now, &look, out);
        let mut cases = BTreeMap::new();
        for remediation in &remediations {
            for alert in situation.firing.iter().filter(|alert| remediation.is_for(alert.labels, alert.of_rules)) {
                let case = self.case(now, remediation, *alert, &look, out);
                cases.insert((remediation.name.clone(), alert.labels.fingerprint()), case);
            }
        }
        self.changed |= cases != self.cases;
        self.cases = cases;
        self.remediations = remediations;
        let busy = self.has_open() || !self.cases.is_empty() || self.storms.any();
        self.look_at = busy.then(|| self.next_look(now)).or(self.pauses.deadline());
    }

    fn next_look(&self, now: Timestamp) -> Timestamp {
        let cases = self.cases.values().filter_map(|case| case.until);
        let lost = self.orders.values().filter(|own| own.state.is_open()).map(|own| own.lost_at);
        let runs = self.runs.values().filter_map(|run| run.until);
        let others = self.storms.deadline(&self.remediations).into_iter().chain(self.pauses.deadline());
        let ends = cases.chain(lost).chain(runs).chain(others);
        ends.filter(|at| *at > now).chain([now + LOOK_EVERY]).min().unwrap_or(now + LOOK_EVERY)
    }

    fn case(
        &mut self,
        now: Timestamp,
        remediation: &Remediation,
        alert: Firing<'_>,
        look: &Look<'_>,
        out: &mut Vec<Output>,
    ) -> Case {
        let fingerprint = alert.labels.fingerprint();
        let own =
            |run: &&Run| run.state.is_open() && run.remediation == remediation.name && run.fingerprint == fingerprint;
        let open = self.runs.values().find(own).map(|run| run.id);
        let (run, against) = match open {
            Some(id) => (Some(id), self.against_open(id)),
            None => {
                let scope = &look.scopes[&remediation.name];
                let decision = self.decide(now, remediation, alert, scope, look.situation);
                self.ask(now, remediation, decision.against.ask, out);
                match (decision.against.state, remediation.mode) {
                    (None, Mode::Auto | Mode::Approve) => {
                        let id = self.begin(now, remediation, alert, decision, out);
                        (Some(id), self.against_open(id))
                    }
                    (_, Mode::Observe) => (None, observed(remediation, decision)),
                    _ => (None, decision.against),
                }
            }
        };
        let Against { reasons, guards, state, until, .. } = against;
        let state = state.unwrap_or(CaseState::Ordered);
        let before = self.cases.get(&(remediation.name.clone(), fingerprint));
        let same = before.filter(|before| before.state == state && before.reasons == reasons);
        let since = same.map_or(now, |before| before.since);
        let news = before.is_none_or(|before| before.state != state || before.blocked_by != guards);
        let alert = alert.labels.clone();
        let case = Case { fingerprint, alert, state, reasons, blocked_by: guards, run, since, until };
        if news {
            let fact =
                Fact::new(Level::Info, "a remediation considers an alert").with("remediation", &remediation.name);
            let fact = fact.with("alert", &case.alert).with("state", state.as_str());
            out.push(Output::Fact(fact.with("reasons", case.reasons.join("; "))));
            self.journal.add(now, &remediation.name, &case, out);
        }
        case
    }

    /// What an open attempt makes of a case.
    fn against_open(&self, id: OrderId) -> Against {
        let mut against = Against::default();
        let Some(run) = self.runs.get(&id) else { return against };
        let order = run.order.and_then(|id| self.orders.get(&id)).filter(|own| own.state.is_open());
        match (run.state, order) {
            (RunState::Ordered, Some(open)) => {
                let reason = format!("order {} is {} on the node", open.order.id, open.state.as_str());
                against.add_until("attempt", CaseState::Ordered, reason, open.lost_at);
            }
            (RunState::AwaitingApproval, _) => {
                let until = run.until.unwrap_or(run.began_at);
                let reason = format!("attempt {id} awaits approval until {until}");
                against.add_until("approval", CaseState::AwaitingApproval, reason, until);
            }
            (RunState::Blocked, _) => against.add("attempt", CaseState::Blocked, run.detail.clone()),
            _ => against.add("attempt", CaseState::Ordered, run.detail.clone()),
        }
        against.until = against.until.or(run.until);
        against
    }

    /// Asks others about a node, unless that was done a moment ago.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        remediation: &Remediation,
        about: Option<NodeId>,
        out: &mut Vec<Output>,
    ) {
        let Some((about, guard)) = about.zip(remediation.guards.corroborate) else { return };
        let agents = self.agents.keys().copied();
        let observers = self.witnesses.ask(now, about, guard, agents);
        out.extend(observers.into_iter().map(|observer| Output::Ask { observer, about }));
    }
}

/// What is shown where nothing is ordered whatever the guards say.
fn observed(remediation: &Remediation, decision: Decision) -> Against {
    let Decision { plans, subject, mut against } = decision;
    let nodes: Vec<String> = plans.into_iter().map(|plan| plan.name).collect();
    let whom = match (nodes.is_empty(), subject) {
        (false, _) => nodes.join(", "),
        (true, Some((_, name))) => name,
        (true, None) => "a node".to_owned(),
    };
    let action = remediation.steps.iter().find_map(|step| match step {
        Step::Act { action, .. } => Some(action.as_str()),
        Step::Escalate { .. } => None,
    });
    let would = if against.state.is_none() { "would be ordered" } else { "would not yet be ordered" };
    against.reasons.insert(0, format!("mode is observe: {} {would} on {whom}", action.unwrap_or_default()));
    against.state = Some(CaseState::Observed);
    against
}
