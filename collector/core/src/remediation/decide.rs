//! Whether a remediation acts on an alert now, with every reason that speaks against it.
//!
//! All guards are asked, not only the first that says no: whoever reads why nothing happened must not find the next
//! reason only after having removed this one.

use watchfire_shared::labels::{INSTANCE, Labels};
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Actions, OfferedAction};
use watchfire_shared::time::{Span, Timestamp};

use super::case::CaseState;
use super::file::{Blocker, Mode, Remediation};
use super::order::{Issued, State};
use super::{MAX_ORDERS, Remediator};
use crate::rules::alert::ActiveAlert;

/// The rest of the collector as remediation sees it.
pub(crate) struct Situation<'a> {
    /// Whether the collector sees the fleet.
    pub(crate) fresh: bool,
    /// Alerts of the rules that are firing.
    pub(crate) firing: Vec<&'a ActiveAlert>,
    /// The agent whose series have this `instance`, with its name.
    pub(crate) node: &'a dyn Fn(&str) -> Option<(NodeId, String)>,
    /// Until when a node's maintenance lasts, if it is in one.
    pub(crate) maintained: &'a dyn Fn(NodeId) -> Option<Timestamp>,
    /// Whether a silence matches these labels.
    pub(crate) silenced: &'a dyn Fn(&Labels) -> bool,
}

/// What is done about one alert.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Decision {
    Act(Plan),
    Hold {
        state: CaseState,
        reasons: Vec<String>,
        /// When time alone may change the decision.
        until: Option<Timestamp>,
    },
}

/// An order that may be given.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) boot: String,
    pub(super) offered: OfferedAction,
}

/// The reasons so far, the gravest state among them, and the earliest time at which one of them ends.
#[derive(Default)]
struct Against {
    reasons: Vec<String>,
    state: Option<CaseState>,
    until: Option<Timestamp>,
}

impl Against {
    fn add(&mut self, state: CaseState, reason: impl Into<String>) {
        self.reasons.push(reason.into());
        self.state = self.state.max(Some(state));
    }

    fn add_until(&mut self, state: CaseState, reason: impl Into<String>, until: Timestamp) {
        self.add(state, reason);
        self.until = Some(self.until.map_or(until, |own| own.min(until)));
    }
}

impl Remediator {
    pub(super) fn decide(
        &self,
        now: Timestamp,
        remediation: &Remediation,
        alert: &ActiveAlert,
        situation: &Situation<'_>,
    ) -> Decision {
        let mut against = Against::default();
        let fired = alert.fired_at.unwrap_or(now);
        if now.since(fired) < remediation.hold {
            let reason = format!("the alert has to be firing for {}", remediation.hold);
            against.add_until(CaseState::Waiting, reason, fired + remediation.hold);
        }
        if !situation.fresh {
            against.add(CaseState::Blocked, "the collector has not yet heard from enough of the fleet");
        }
        if remediation.guards.blocked_by.contains(&Blocker::Silence) && (situation.silenced)(&alert.labels) {
            against.add(CaseState::Blocked, "a silence matches the alert");
        }
        if self.orders.len() >= MAX_ORDERS {
            against.add(CaseState::Blocked, format!("{MAX_ORDERS} orders were given within a day"));
        }
        let (plan, node) = self.plan(remediation, &alert.labels, situation, &mut against);
        if let Some((node, name)) = &node {
            if let Some(until) = (situation.maintained)(*node) {
                against.add_until(CaseState::Blocked, format!("{name} is in maintenance until {until}"), until);
            }
            self.guard(now, remediation, *node, &mut against);
        }
        self.limit(remediation, &mut against);
        let Against { state, mut reasons, until } = against;
        match (plan, remediation.mode, state) {
            (Some(plan), Mode::Auto, None) => Decision::Act(plan),
            (_, Mode::Auto, state) => Decision::Hold { state: state.unwrap_or(CaseState::Blocked), reasons, until },
            (_, Mode::Observe, state) => {
                let whom = node.map_or_else(|| "a node".to_owned(), |(_, name)| name);
                let would = if state.is_none() { "would be ordered" } else { "would not yet be ordered" };
                reasons.insert(0, format!("mode is observe: {} {would} on {whom}", remediation.action));
                Decision::Hold { state: CaseState::Observed, reasons, until }
            }
        }
    }

    /// What would be ordered, as far as node and action can be told, and the node.
    fn plan(
        &self,
        remediation: &Remediation,
        alert: &Labels,
        situation: &Situation<'_>,
        against: &mut Against,
    ) -> (Option<Plan>, Option<(NodeId, String)>) {
        let Some(instance) = alert.get(INSTANCE) else {
            against.add(CaseState::Blocked, "the alert has no label `instance` that would name a node");
            return (None, None);
        };
        let Some((node, name)) = (situation.node)(instance) else {
            against.add(CaseState::Blocked, format!("no agent is known whose series have the instance {instance:?}"));
            return (None, None);
        };
        let Some(offers) = self.agents.get(&node) else {
            let reason = format!("the agent of {name} is not connected, or takes no orders");
            against.add(CaseState::Blocked, reason);
            return (None, Some((node, name)));
        };
        match offered(offers, remediation) {
            Ok(offered) => {
                let plan = Plan { node, name: name.clone(), boot: offers.boot.clone(), offered: offered.clone() };
                (Some(plan), Some((node, name)))
            }
            Err(reason) => {
                against.add(CaseState::Blocked, format!("{name}: {reason}"));
                (None, Some((node, name)))
            }
        }
    }

    /// What speaks against another order to the node.
    fn guard(&self, now: Timestamp, remediation: &Remediation, node: NodeId, against: &mut Against) {
        if let Some(open) = self.orders.values().find(|own| own.order.target == node && own.state.is_open()) {
            let own = open.order.remediation == remediation.name;
            let state = if own { CaseState::Ordered } else { CaseState::Blocked };
            let of = if own { String::new() } else { format!(" of {}", open.order.remediation) };
            let reason = format!("order {}{of} is {} on the node", open.order.id, open.state.as_str());
            against.add_until(state, reason, open.lost_at);
        }
        let past: Vec<&Issued> = self
            .orders
            .values()
            .filter(|own| own.order.target == node && own.order.remediation == remediation.name && !own.state.is_open())
            .collect();
        let Some(last) = past.iter().max_by_key(|own| own.order.id) else { return };
        if last.state == State::Unknown && !last.idempotent {
            let reason = format!("what became of order {} is not known, and doing it twice may do harm", last.order.id);
            against.add(CaseState::Blocked, reason);
        }
        let guards = &remediation.guards;
        let again = last.ended_at.unwrap_or(last.issued_at) + guards.cooldown;
        if now < again {
            let reason =
                format!("the last order {} at {}; cooldown until {again}", last.state.as_str(), shown_end(last));
            against.add_until(CaseState::Cooldown, reason, again);
        }
        let counted = past.iter().filter(|own| now.since(own.issued_at) < guards.attempts.per);
        let mut times: Vec<Timestamp> = counted.map(|own| own.issued_at).collect();
        times.sort_unstable();
        if let Some(frees) = times.len().checked_sub(guards.attempts.max).and_then(|at| times.get(at)) {
            let until = *frees + guards.attempts.per;
            let reason = format!(
                "{} of {} attempts within {} were made; the next is possible at {until}",
                times.len(),
                guards.attempts.max,
                guards.attempts.per
            );
            against.add_until(CaseState::Exhausted, reason, until);
        }
    }

    /// What speaks against another order of the remediation, whoever it would be for.
    fn limit(&self, remediation: &Remediation, against: &mut Against) {
        let open = |own: &&Issued| own.order.remediation == remediation.name && own.state.is_open();
        let count = self.orders.values().filter(open).count();
        if count >= remediation.guards.max_concurrent && against.state != Some(CaseState::Ordered) {
            let reason = format!("{count} of {} orders at a time are under way", remediation.guards.max_concurrent);
            against.add(CaseState::Blocked, reason);
        }
    }
}

fn shown_end(order: &Issued) -> Timestamp {
    order.ended_at.unwrap_or(order.issued_at)
}

/// The action that an agent offers under the remediation's name for it.
fn offered<'a>(offers: &'a Actions, remediation: &Remediation) -> Result<&'a OfferedAction, String> {
    if !offers.refuses.is_empty() {
        return Err(offers.refuses.clone());
    }
    let Some(offered) = offers.offered.iter().find(|own| own.name == remediation.action) else {
        let problems = offers.problems.first().map(|problem| format!("; {problem}")).unwrap_or_default();
        return Err(format!("no file on the node allows the action {:?}{problems}", remediation.action));
    };
    if let Some(missing) = offered.params.iter().find(|name| !remediation.params.contains_key(*name)) {
        return Err(format!("the action {:?} needs the parameter {missing:?}", remediation.action));
    }
    if let Some(unknown) = remediation.params.keys().find(|name| !offered.params.contains(name)) {
        return Err(format!("the action {:?} has no parameter {unknown:?}", remediation.action));
    }
    Ok(offered)
}

/// How long an offered action may take.
pub(super) fn longest(offered: &OfferedAction) -> Span {
    // No file may say more than twice a quarter of an hour.
    Span::from_millis(i64::try_from(offered.longest_ms).unwrap_or(i64::MAX)).min(Span::from_seconds(1800))
}
