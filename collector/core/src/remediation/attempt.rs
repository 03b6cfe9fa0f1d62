//! How attempts go on: from step to step, each of them past the guards again, to success or to a person.

use std::collections::BTreeSet;

use watchfire_shared::labels::{ALERT_NAME, Fingerprint, Labels};
use watchfire_shared::limits::MAX_ORDER_LIFE;
use watchfire_shared::order::{Order, OrderId};
use watchfire_shared::time::{Span, Timestamp};

use super::decide::{Decision, Plan, longest};
use super::file::{Mode, Remediation, Step};
use super::look::Look;
use super::order::{Issued, State};
use super::run::{Run, RunState};
use super::situation::{Firing, Scope};
use super::{EPOCH_KEY, EPOCH_TABLE, Output, Remediator, SavedEpoch, encode, save, save_run, tell, tell_run};
use crate::alert::Alert;

/// The name of the alert by which a receiver is told that a repair failed.
pub const ESCALATION: &str = "RemediationEscalated";
/// The label of it that names the receiver.
pub const ESCALATE_TO: &str = "escalate_to";
/// How long a guard may keep the next step waiting. After that a person has to look.
const PATIENCE: Span = Span::from_seconds(600);
/// How long an escalation stands if nothing else ends it.
const ESCALATION_LIFE: Span = Span::from_seconds(86_400);
/// Changes of one attempt at one time: each step may be ordered, end and hand on.
const MAX_TURNS: usize = 32;

impl Remediator {
    /// Begins an attempt that nothing speaks against: it is ordered, or a person is asked.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        remediation: &Remediation,
        alert: Firing<'_>,
        decision: Decision,
        out: &mut Vec<Output>,
    ) -> OrderId {
        let id = self.next_id(now, out);
        let Decision { plans, subject, .. } = decision;
        let (subject, node) = subject.map_or((None, String::new()), |(id, name)| (Some(id), name));
        let mut run = Run {
            id,
            remediation: remediation.name.clone(),
            alert: alert.labels.clone(),
            fingerprint: alert.labels.fingerprint(),
            subject,
            node,
            steps: remediation.steps.clone(),
            step: 0,
            queue: plans.iter().map(|plan| plan.node).collect(),
            order: None,
            orders: 0,
            state: RunState::Blocked,
            detail: String::new(),
            approver: None,
            began_at: now,
            ended_at: None,
            until: None,
            quiet_since: None,
            forgiven: false,
            told: false,
            history: Vec::new(),
        };
        if remediation.mode == Mode::Approve {
            let until = now + remediation.guards.approve_within;
            run.turn(now, RunState::AwaitingApproval, "a person has to approve it", Some(until));
            self.keep(run, out);
        } else if let Some(plan) = plans.into_iter().next() {
            self.order(now, run, plan, out);
        }
        id
    }

    /// Lets every open attempt go on, and notes of those that are over whether their alerts are.
    pub(super) fn advance(&mut self, now: Timestamp, look: &Look<'_>, out: &mut Vec<Output>) {
        let firing: BTreeSet<Fingerprint> =
            look.situation.firing.iter().map(|alert| alert.labels.fingerprint()).collect();
        let open: Vec<OrderId> = self.runs.values().filter(|run| run.state.is_open()).map(|run| run.id).collect();
        for id in open {
            for _ in 0..MAX_TURNS {
                let Some(run) = self.runs.get(&id).filter(|run| run.state.is_open()).cloned() else { break };
                let is_quiet = look.situation.fresh && !firing.contains(&run.fingerprint);
                if !self.turn_run(now, run, is_quiet, look, out) {
                    break;
                }
            }
        }
        if look.situation.fresh {
            self.note_quiet(now, &firing, look.remediations, out);
        }
    }

    /// One change of an attempt, if one is due; whether there may be another at once.
    fn turn_run(&mut self, now: Timestamp, run: Run, is_quiet: bool, look: &Look<'_>, out: &mut Vec<Output>) -> bool {
        let over = run.until.is_some_and(|until| until <= now);
        match run.state {
            RunState::AwaitingApproval if is_quiet => self.end(now, run, RunState::Cancelled, "the alert is over", out),
            RunState::AwaitingApproval if over => {
                self.end(now, run, RunState::Expired, "nobody approved it in time", out);
            }
            RunState::Ordered => return self.after_order(now, run, look, out),
            RunState::Waiting if is_quiet => self.end(now, run, RunState::Succeeded, "the alert is over", out),
            RunState::Waiting if over => {
                let reason = format!("{}: the alert still fires", run.place());
                return self.next_step(now, run, &reason, look, out);
            }
            RunState::Blocked if is_quiet => {
                let state = if run.orders > 0 { RunState::Succeeded } else { RunState::Cancelled };
                self.end(now, run, state, "the alert is over", out);
            }
            RunState::Blocked if over => {
                let reason = format!("{} could not begin: {}", run.place(), run.detail);
                self.give_up(now, run, &reason, out);
            }
            RunState::Blocked => return self.try_order(now, run, look, out),
            _ => {}
        }
        false
    }

    /// What follows from the end of the order under way.
    fn after_order(&mut self, now: Timestamp, mut run: Run, look: &Look<'_>, out: &mut Vec<Output>) -> bool {
        let Some(order) = run.order.and_then(|id| self.orders.get(&id)) else {
            self.give_up(now, run, "its order is not known any more", out);
            return false;
        };
        let (state, action, node) = (order.state, &order.order.action, &order.node);
        let detail = if order.detail.is_empty() { String::new() } else { format!(": {}", order.detail) };
        let reason = format!("{}: {action} on {node} {}{detail}", run.place(), state.as_str());
        match state {
            state if state.is_open() => false,
            State::Succeeded if !run.queue.is_empty() => self.try_order(now, run, look, out),
            State::Succeeded => {
                let wait = match run.current() {
                    Some(Step::Act { wait, .. }) => *wait,
                    _ => Span::ZERO,
                };
                if wait.is_zero() {
                    self.end(now, run, RunState::Succeeded, "", out);
                    return false;
                }
                let reason = format!("{reason}; the alert may go on for {wait}");
                run.turn(now, RunState::Waiting, &reason, Some(now + wait));
                self.keep(run, out);
                true
            }
            State::Failed | State::TimedOut => self.next_step(now, run, &reason, look, out),
            // It did not run, or nobody knows: another step would be taken in the dark.
            _ => {
                self.give_up(now, run, &reason, out);
                false
            }
        }
    }

    fn next_step(
        &mut self,
        now: Timestamp,
        mut run: Run,
        reason: &str,
        look: &Look<'_>,
        out: &mut Vec<Output>,
    ) -> bool {
        run.step += 1;
        run.queue.clear();
        let step = match run.current() {
            None => {
                run.step -= 1;
                self.end(now, run, RunState::Failed, reason, out);
                return false;
            }
            Some(Step::Escalate { .. }) => {
                self.escalate(now, run, reason, out);
                return false;
            }
            Some(step) => step.clone(),
        };
        let subject = run.subject.and_then(|id| look.situation.nodes.get(id));
        match self.targets(&step, &run.alert, subject, look.situation) {
            Ok(targets) => run.queue = targets.iter().map(|target| target.id).collect(),
            Err(reason) => {
                let reason = format!("{}: {reason}", run.place());
                self.give_up(now, run, &reason, out);
                return false;
            }
        }
        run.turn(now, RunState::Blocked, reason, Some(now + PATIENCE));
        self.keep(run, out);
        true
    }

    /// Orders the current step on the next of its nodes, if every guard allows it.
    fn try_order(&mut self, now: Timestamp, mut run: Run, look: &Look<'_>, out: &mut Vec<Output>) -> bool {
        let Some((remediation, scope)) = look.of(&run.remediation) else {
            self.end(now, run, RunState::Cancelled, "the remediation is configured no more", out);
            return false;
        };
        let (plan, against) = self.decide_step(now, remediation, &run, scope, look.situation);
        self.ask(now, remediation, against.ask, out);
        match plan.filter(|_| against.state.is_none()) {
            Some(plan) => {
                self.order(now, run, plan, out);
                true
            }
            None => {
                let reason = against.reasons.join("; ");
                if run.state != RunState::Blocked || run.detail != reason {
                    let until = run.until.filter(|_| run.state == RunState::Blocked).unwrap_or(now + PATIENCE);
                    run.turn(now, RunState::Blocked, &reason, Some(until));
                    self.keep(run, out);
                }
                false
            }
        }
    }

    /// Nothing more can be done; where the file names a receiver for that, it is told.
    fn give_up(&mut self, now: Timestamp, mut run: Run, reason: &str, out: &mut Vec<Output>) {
        match run.steps.last() {
            Some(Step::Escalate { .. }) => {
                run.step = run.steps.len() - 1;
                self.escalate(now, run, reason, out);
            }
            _ => self.end(now, run, RunState::Failed, reason, out),
        }
    }

    fn escalate(&mut self, now: Timestamp, mut run: Run, reason: &str, out: &mut Vec<Output>) {
        let Some(Step::Escalate { receiver }) = run.current().cloned() else { return };
        run.told = true;
        let detail = format!("{receiver} is told; {reason}");
        let alert = escalation(now, &run, &receiver, reason, now + ESCALATION_LIFE);
        out.push(Output::Escalate(Box::new(alert)));
        self.end(now, run, RunState::Escalated, &detail, out);
    }

    pub(super) fn end(&mut self, now: Timestamp, mut run: Run, state: RunState, detail: &str, out: &mut Vec<Output>) {
        run.turn(now, state, detail, None);
        run.queue.clear();
        *self.ended_runs.entry(state).or_default() += 1;
        self.keep(run, out);
    }

    /// Gives an order: the epoch, the order and its attempt are saved, and only then it is dispatched.
    fn order(&mut self, now: Timestamp, mut run: Run, plan: Plan, out: &mut Vec<Output>) {
        let id = self.next_id(now, out);
        let order = Order {
            id,
            issuer: self.collector,
            epoch: self.epoch,
            seq: self.seq,
            target: plan.node,
            boot: plan.boot,
            action: plan.action,
            params: plan.params,
            digest: plan.offered.digest.clone(),
            not_before: now,
            expires_at: now + MAX_ORDER_LIFE,
            remediation: run.remediation.clone(),
            alert: run.fingerprint,
            approver: run.approver.clone(),
        };
        let longest = longest(&plan.offered);
        let issued = Issued::new(now, order.clone(), &run, plan.name, plan.offered.idempotent, longest);
        out.push(save(&issued));
        out.push(Output::Fact(tell(&issued)));
        run.queue.retain(|node| *node != plan.node);
        run.order = Some(id);
        run.orders += 1;
        let detail = format!("{}: order {id} on {}", run.place(), issued.node);
        run.turn(now, RunState::Ordered, &detail, None);
        self.keep(run, out);
        out.push(Output::Dispatch(Box::new(order)));
        self.orders.insert(id, issued);
        self.changed = true;
    }

    fn keep(&mut self, run: Run, out: &mut Vec<Output>) {
        out.push(save_run(&run));
        out.push(Output::Fact(tell_run(&run)));
        self.runs.insert(run.id, run);
        self.changed = true;
    }

    /// The next place in the sequence, as an identity. The epoch is durable before anything of it leaves.
    fn next_id(&mut self, now: Timestamp, out: &mut Vec<Output>) -> OrderId {
        if !std::mem::replace(&mut self.epoch_saved, true) {
            let value = encode(&SavedEpoch { epoch: self.epoch });
            out.push(Output::Save { table: EPOCH_TABLE, key: EPOCH_KEY.to_owned(), value: Some(value) });
        }
        self.seq += 1;
        OrderId::new(now, self.collector, self.epoch, self.seq)
    }

    /// Notes since when the alerts of earlier attempts are quiet: after long enough the attempts count no more.
    fn note_quiet(
        &mut self,
        now: Timestamp,
        firing: &BTreeSet<Fingerprint>,
        remediations: &[Remediation],
        out: &mut Vec<Output>,
    ) {
        for run in self.runs.values_mut().filter(|run| !run.state.is_open() && run.orders > 0 && !run.forgiven) {
            let quiet = !firing.contains(&run.fingerprint);
            match (quiet, run.quiet_since) {
                (true, None) => {
                    run.quiet_since = Some(now);
                    if std::mem::take(&mut run.told)
                        && let Some(Step::Escalate { receiver }) = run.current()
                    {
                        let alert = escalation(now, run, receiver, &run.detail, now);
                        out.push(Output::Escalate(Box::new(alert)));
                    }
                }
                (false, Some(since)) => {
                    let remediation = remediations.iter().find(|own| own.name == run.remediation);
                    let reset = remediation.map(|own| own.guards.attempts.reset_after_healthy);
                    run.forgiven = reset.is_some_and(|reset| now.since(since) >= reset);
                    run.quiet_since = None;
                }
                _ => continue,
            }
            out.push(save_run(run));
        }
    }
}

impl<'a> Look<'a> {
    /// The remediation called so, and its scope.
    fn of(&self, name: &str) -> Option<(&'a Remediation, &'a Scope)> {
        let remediation = self.remediations.iter().find(|own| own.name == name)?;
        Some((remediation, self.scopes.get(name)?))
    }
}

/// The alert that tells a receiver; with an end that is past it tells that it is over.
fn escalation(now: Timestamp, run: &Run, receiver: &str, reason: &str, ends_at: Timestamp) -> Alert {
    let mut labels = run.alert.to_builder();
    labels.set("alert", run.alert.value(ALERT_NAME).to_owned()).set(ALERT_NAME, ESCALATION);
    labels.set("remediation", run.remediation.clone()).set(ESCALATE_TO, receiver.to_owned());
    let node = if run.node.is_empty() { "it" } else { &run.node };
    let summary = format!("{} could not repair {node}.", run.remediation);
    Alert {
        labels: labels.build(),
        annotations: Labels::new([("summary", summary), ("description", reason.to_owned())]),
        starts_at: run.ended_at.unwrap_or(now),
        ends_at: Some(ends_at),
        timeout: false,
        updated_at: now,
        generator_url: String::new(),
    }
}
