//! Whether a remediation acts on an alert now, with every reason that speaks against it.
//!
//! All guards are asked, not only the first that says no: whoever reads why nothing happened must not find the next
//! reason only after having removed this one.

use std::collections::BTreeMap;

use watchfire_shared::labels::{INSTANCE, Labels};
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Actions, OfferedAction};
use watchfire_shared::time::{Span, Timestamp};

use super::case::CaseState;
use super::file::{Mode, Remediation, Step, Target};
use super::guards::Blocker;
use super::order::State;
use super::run::{Run, fill};
use super::situation::{Firing, Scope, Seen, Situation};
use super::{MAX_ORDERS, Remediator};

/// Nodes that one step may be ordered on. A step on more is no repair of one thing.
const MAX_TARGETS: usize = 10;

/// What is done about one alert.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Decision {
    /// Where it would be ordered, as far as that can be told; in the order in which it would be.
    pub(super) plans: Vec<Plan>,
    /// The node that the alert names.
    pub(super) subject: Option<(NodeId, String)>,
    /// What speaks against it; nothing if it is to be done.
    pub(super) against: Against,
}

/// An order that may be given.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) boot: String,
    pub(super) action: String,
    pub(super) params: BTreeMap<String, String>,
    pub(super) offered: OfferedAction,
}

/// The reasons so far, the gravest state among them, and the earliest time at which one of them ends.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Against {
    pub(super) reasons: Vec<String>,
    /// The guards that gave them.
    pub(super) guards: Vec<&'static str>,
    pub(super) state: Option<CaseState>,
    pub(super) until: Option<Timestamp>,
    /// A node about which others have to be asked.
    pub(super) ask: Option<NodeId>,
}

impl Against {
    pub(super) fn add(&mut self, guard: &'static str, state: CaseState, reason: impl Into<String>) {
        self.reasons.push(reason.into());
        if !self.guards.contains(&guard) {
            self.guards.push(guard);
        }
        self.state = self.state.max(Some(state));
    }

    pub(super) fn add_until(
        &mut self,
        guard: &'static str,
        state: CaseState,
        reason: impl Into<String>,
        until: Timestamp,
    ) {
        self.add(guard, state, reason);
        self.until = Some(self.until.map_or(until, |own| own.min(until)));
    }

    pub(super) fn block(&mut self, guard: &'static str, reason: impl Into<String>) {
        self.add(guard, CaseState::Blocked, reason);
    }
}

impl Remediator {
    /// Whether to begin an attempt because of an alert.
    pub(super) fn decide(
        &self,
        now: Timestamp,
        remediation: &Remediation,
        alert: Firing<'_>,
        scope: &Scope,
        situation: &Situation<'_>,
    ) -> Decision {
        let mut against = Against::default();
        if now.since(alert.since) < remediation.hold {
            let reason = format!("the alert has to be firing for {}", remediation.hold);
            against.add_until("for", CaseState::Waiting, reason, alert.since + remediation.hold);
        }
        if self.orders.len().max(self.runs.len()) >= MAX_ORDERS {
            against.block("orders", format!("{MAX_ORDERS} orders were given within a day"));
        }
        let subject = alert.labels.get(INSTANCE).and_then(|instance| situation.nodes.find(instance));
        self.guard_fleet(now, remediation, alert.labels, subject, scope, situation, &mut against);
        let plans = match remediation.steps.first() {
            Some(step) => self.plan(step, alert.labels, subject, situation, &mut against),
            None => Vec::new(),
        };
        self.guard_past(now, remediation, alert.labels, subject, &mut against);
        self.guard_number(remediation, None, subject, situation, &mut against);
        for plan in &plans {
            self.guard_node(now, remediation, plan.node, &plan.name, None, situation, &mut against);
        }
        // What was found out about a node while it was not heard may be over, whoever would act on it.
        if let Some(node) = subject.filter(|node| plans.iter().all(|plan| plan.node != node.id)) {
            self.guard_settled(now, remediation, node.id, node.name, &mut against);
        }
        let subject = subject.map(|node| (node.id, node.name.to_owned()));
        Decision { plans, subject, against }
    }

    /// What speaks against the current step of an attempt on the first of `nodes`, and the order that it would be.
    pub(super) fn decide_step(
        &self,
        now: Timestamp,
        remediation: &Remediation,
        run: &Run,
        scope: &Scope,
        situation: &Situation<'_>,
    ) -> (Option<Plan>, Against) {
        let mut against = Against::default();
        let subject = run.subject.and_then(|id| situation.nodes.get(id));
        self.guard_fleet(now, remediation, &run.alert, subject, scope, situation, &mut against);
        self.guard_number(remediation, Some(run), subject, situation, &mut against);
        if remediation.mode == Mode::Observe {
            against.block("mode", "mode is observe");
        }
        let target = run.queue.first().and_then(|id| situation.nodes.get(*id));
        let Some(target) = target else {
            against.block("node", "the node is not registered any more");
            return (None, against);
        };
        let plan = run.current().and_then(|step| self.plan_on(step, &run.alert, target, &mut against));
        self.guard_node(now, remediation, target.id, target.name, Some(run), situation, &mut against);
        (plan, against)
    }

    /// The orders that a step would be, as far as nodes and actions can be told.
    fn plan(
        &self,
        step: &Step,
        alert: &Labels,
        subject: Option<&Seen<'_>>,
        situation: &Situation<'_>,
        against: &mut Against,
    ) -> Vec<Plan> {
        match self.targets(step, alert, subject, situation) {
            Ok(targets) => {
                let plans = targets.iter().filter_map(|target| self.plan_on(step, alert, target, against));
                plans.collect()
            }
            Err(reason) => {
                against.block("node", reason);
                Vec::new()
            }
        }
    }

    /// The nodes that a step is ordered on, by name.
    pub(super) fn targets<'a>(
        &self,
        step: &Step,
        alert: &Labels,
        subject: Option<&Seen<'a>>,
        situation: &Situation<'a>,
    ) -> Result<Vec<Seen<'a>>, String> {
        let Step::Act { on, .. } = step else { return Ok(Vec::new()) };
        let Target::Selector(labels) = on else {
            return match (subject, alert.get(INSTANCE)) {
                (Some(node), _) => Ok(vec![*node]),
                (None, Some(instance)) => Err(format!("no agent is known whose series have the instance {instance:?}")),
                (None, None) => Err("the alert has no label `instance` that would name a node".to_owned()),
            };
        };
        let mut found: Vec<Seen<'a>> = situation.nodes.agents().filter(|node| node.has(labels)).copied().collect();
        let (count, all) = (found.len(), situation.nodes.agents().count());
        let written: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let written = written.join(",");
        match count {
            0 => Err(format!("no registered agent has the labels {written}")),
            _ if count == all => Err(format!("the selector {written} matches all {all} registered agents")),
            _ if count > MAX_TARGETS => Err(format!(
                "the selector {written} matches {count} agents, and a step may be ordered on {MAX_TARGETS}"
            )),
            _ => {
                found.sort_by_key(|node| node.name);
                Ok(found)
            }
        }
    }

    fn plan_on(&self, step: &Step, alert: &Labels, target: &Seen<'_>, against: &mut Against) -> Option<Plan> {
        let Step::Act { action, params, .. } = step else { return None };
        let name = target.name;
        let Some(agent) = self.agents.get(&target.id) else {
            against.block("agent", format!("the agent of {name} is not connected, or takes no orders"));
            return None;
        };
        let params = match fill(params, alert) {
            Ok(params) => params,
            Err(reason) => {
                against.block("action", reason);
                return None;
            }
        };
        match offered(&agent.offers, action, &params) {
            Ok(offered) => Some(Plan {
                node: target.id,
                name: name.to_owned(),
                boot: agent.offers.boot.clone(),
                action: action.clone(),
                params,
                offered: offered.clone(),
            }),
            Err(reason) => {
                against.block("action", format!("{name}: {reason}"));
                None
            }
        }
    }

    /// What speaks against an order on one node.
    #[allow(clippy::too_many_arguments, reason = "a decision rests on all of these")]
    fn guard_node(
        &self,
        now: Timestamp,
        remediation: &Remediation,
        node: NodeId,
        name: &str,
        run: Option<&Run>,
        situation: &Situation<'_>,
        against: &mut Against,
    ) {
        let guards = &remediation.guards;
        let maintained = situation.nodes.get(node).and_then(|node| node.maintained);
        if let Some(until) = maintained.filter(|_| guards.blocked_by.contains(&Blocker::Maintenance)) {
            let reason = format!("{name} is in maintenance until {until}");
            against.add_until("maintenance", CaseState::Blocked, reason, until);
        }
        self.guard_settled(now, remediation, node, name, against);
        let other = |own: &&super::Issued| own.run.is_none() || own.run != run.map(|run| run.id);
        let mut open = self.orders.values().filter(|own| own.order.target == node && own.state.is_open());
        if let Some(open) = open.find(other) {
            let is_own = open.order.remediation == remediation.name;
            if is_own || guards.blocked_by.contains(&Blocker::OtherRemediationSameNode) {
                let state = if is_own { CaseState::Ordered } else { CaseState::Blocked };
                let of = if is_own { String::new() } else { format!(" of {}", open.order.remediation) };
                let reason = format!("order {}{of} is {} on the node", open.order.id, open.state.as_str());
                against.add_until("other_remediation_same_node", state, reason, open.lost_at);
            }
        }
        let past = self.orders.values().filter(|own| {
            own.order.target == node && own.order.remediation == remediation.name && !own.state.is_open()
        });
        let last = past.max_by_key(|own| own.order.id);
        if let Some(last) = last.filter(|own| own.state == State::Unknown && !own.idempotent) {
            let reason = format!("what became of order {} is not known, and doing it twice may do harm", last.order.id);
            against.block("unknown_outcome", reason);
        }
    }

    /// Whether an agent is back for long enough.
    fn guard_settled(
        &self,
        now: Timestamp,
        remediation: &Remediation,
        node: NodeId,
        name: &str,
        against: &mut Against,
    ) {
        let settle = remediation.guards.settle;
        if let Some(agent) = self.agents.get(&node).filter(|agent| now.since(agent.since) < settle) {
            let until = agent.since + settle;
            let reason = format!("the agent of {name} connected at {}; settle until {until}", agent.since);
            against.add_until("settle", CaseState::Waiting, reason, until);
        }
    }

    /// What speaks against another attempt for the same node, or where the alert names none, for the same alert.
    fn guard_past(
        &self,
        now: Timestamp,
        remediation: &Remediation,
        alert: &Labels,
        subject: Option<&Seen<'_>>,
        against: &mut Against,
    ) {
        let same = |run: &&Run| {
            run.remediation == remediation.name
                && match subject {
                    Some(node) => run.subject == Some(node.id),
                    None => run.fingerprint == alert.fingerprint(),
                }
        };
        let runs: Vec<&Run> = self.runs.values().filter(same).collect();
        if let Some(open) = runs.iter().find(|run| run.state.is_open()) {
            let reason = format!("attempt {} because of another alert is {}", open.id, open.state.as_str());
            against.add("attempts", CaseState::Ordered, reason);
        }
        let guards = &remediation.guards;
        let last = runs.iter().rfind(|run| !run.state.is_open() && run.state != super::RunState::Cancelled);
        if let Some((last, ended)) = last.and_then(|run| Some((run, run.ended_at?))) {
            let again = ended + guards.cooldown;
            if now < again {
                let word = self.word_of(last);
                let reason = format!("the last attempt {word} at {ended}; cooldown until {again}");
                against.add_until("cooldown", CaseState::Cooldown, reason, again);
            }
        }
        let counted = runs.iter().filter(|run| run.orders > 0 && !run.forgiven && !run.state.is_open());
        let counted = counted.filter(|run| now.since(run.began_at) < guards.attempts.per);
        let mut times: Vec<Timestamp> = counted.map(|run| run.began_at).collect();
        times.sort_unstable();
        if let Some(frees) = times.len().checked_sub(guards.attempts.max).and_then(|at| times.get(at)) {
            let until = *frees + guards.attempts.per;
            let (made, max, per) = (times.len(), guards.attempts.max, guards.attempts.per);
            let reason = format!("{made} of {max} attempts within {per} were made; the next is possible at {until}");
            against.add_until("attempts", CaseState::Exhausted, reason, until);
        }
    }

    /// How an attempt ended, or its only order.
    fn word_of(&self, run: &Run) -> &'static str {
        let order = run.order.filter(|_| run.orders == 1).and_then(|id| self.orders.get(&id));
        order.filter(|_| run.state == super::RunState::Failed).map_or(run.state.as_str(), |order| order.state.as_str())
    }

    /// What speaks against another attempt of the remediation beside those that are under way.
    fn guard_number(
        &self,
        remediation: &Remediation,
        run: Option<&Run>,
        subject: Option<&Seen<'_>>,
        situation: &Situation<'_>,
        against: &mut Against,
    ) {
        let guards = &remediation.guards;
        let label = guards.domains.as_ref().map(|domains| domains.label.as_str());
        let domain_of = |node: Option<&Seen<'_>>| {
            let value = node.zip(label).map(|(node, label)| node.label(label));
            value.unwrap_or_default().to_owned()
        };
        let others = self.runs.values().filter(|own| {
            own.remediation == remediation.name && own.is_under_way() && run.is_none_or(|run| run.id != own.id)
        });
        let mut domains: BTreeMap<String, usize> = BTreeMap::new();
        for other in others {
            let node = other.subject.and_then(|id| situation.nodes.get(id));
            *domains.entry(domain_of(node)).or_default() += 1;
        }
        let own = domain_of(subject);
        let here = domains.get(&own).copied().unwrap_or_default();
        if here >= guards.max_concurrent {
            let place = label.filter(|_| !own.is_empty()).map(|label| format!(" in {label} {own}")).unwrap_or_default();
            let reason = format!("{here} of {} attempts at a time are under way{place}", guards.max_concurrent);
            against.block("max_concurrent", reason);
        }
        let Some(limit) = &guards.domains else { return };
        if !domains.contains_key(&own) && domains.len() >= limit.max_zones {
            let (count, max) = (domains.len(), limit.max_zones);
            let names: Vec<&str> = domains.keys().map(|name| if name.is_empty() { "none" } else { name }).collect();
            let reason = format!(
                "attempts are under way in {count} of {max} domains at a time ({} {})",
                limit.label,
                names.join(", ")
            );
            against.block("domains", reason);
        }
    }
}

/// The action that an agent offers under this name and with these parameters.
fn offered<'a>(
    offers: &'a Actions,
    action: &str,
    params: &BTreeMap<String, String>,
) -> Result<&'a OfferedAction, String> {
    if !offers.refuses.is_empty() {
        return Err(offers.refuses.clone());
    }
    let Some(offered) = offers.offered.iter().find(|own| own.name == action) else {
        let problems = offers.problems.first().map(|problem| format!("; {problem}")).unwrap_or_default();
        return Err(format!("no file on the node allows the action {action:?}{problems}"));
    };
    if let Some(missing) = offered.params.iter().find(|name| !params.contains_key(*name)) {
        return Err(format!("the action {action:?} needs the parameter {missing:?}"));
    }
    if let Some(unknown) = params.keys().find(|name| !offered.params.contains(name)) {
        return Err(format!("the action {action:?} has no parameter {unknown:?}"));
    }
    Ok(offered)
}

/// How long an offered action may take.
pub(super) fn longest(offered: &OfferedAction) -> Span {
    // No file may say more than twice a quarter of an hour.
    Span::from_millis(i64::try_from(offered.longest_ms).unwrap_or(i64::MAX)).min(Span::from_seconds(1800))
}
