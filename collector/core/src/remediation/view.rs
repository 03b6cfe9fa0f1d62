//! What the API shows of remediation.

use std::collections::BTreeMap;

use serde::Serialize;
use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::member::NodeId;
use watchfire_shared::order::OrderId;
use watchfire_shared::time::{Span, Timestamp};

use super::file::{AlertSource, Step as FileStep, Target};
use super::{Case, Figures, Guards, Mode, Pause, Remediator, Run, RunChange, RunState, State, Step, journal};

/// Attempts, and decisions, that are shown of one remediation.
const MAX_SHOWN: usize = 20;

/// Remediations and orders.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By name.
    pub remediations: Vec<RemediationView>,
    /// The newest first.
    pub orders: Vec<OrderView>,
    pub figures: Figures,
}

/// A remediation with what it does about each of its alerts, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RemediationView {
    pub name: String,
    pub file: String,
    pub mode: Mode,
    pub when: WhenView,
    /// Labels of the nodes whose health counts.
    pub scope: BTreeMap<String, String>,
    pub steps: Vec<StepView>,
    pub guards: Guards,
    /// Why nothing begins, if a person paused it.
    pub paused: Option<Pause>,
    /// Until when nothing begins because too many nodes were unhealthy; `None` also while they still are.
    pub storm_until: Option<Timestamp>,
    /// `idle` if no alert concerns it, or else the state of the case that is furthest.
    pub state: &'static str,
    pub cases: Vec<Case>,
    /// The newest first.
    pub attempts: Vec<RunView>,
    pub last_order: Option<OrderId>,
    /// What was decided lately, the newest first.
    pub decisions: Vec<journal::Entry>,
}

/// One step.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StepView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<BTreeMap<String, String>>,
    /// `self`, or labels of nodes as `name=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate: Option<String>,
}

/// One attempt.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunView {
    pub id: OrderId,
    pub state: RunState,
    /// The state's reason in words; may be empty.
    pub detail: String,
    pub node: String,
    pub alert: Labels,
    /// The current step, from 1.
    pub step: usize,
    pub steps: usize,
    pub order: Option<OrderId>,
    pub approver: Option<String>,
    pub began_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub history: Vec<RunChange>,
}

/// When a remediation acts.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WhenView {
    pub alert: String,
    pub r#for: Span,
    pub labels: BTreeMap<String, String>,
    pub from: AlertSource,
}

/// An order.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OrderView {
    pub id: OrderId,
    pub remediation: String,
    /// The attempt that gave it.
    pub attempt: Option<OrderId>,
    pub node: String,
    pub node_id: NodeId,
    pub action: String,
    pub params: BTreeMap<String, String>,
    pub state: State,
    /// The state's reason in words; may be empty.
    pub detail: String,
    pub alert: Labels,
    pub fingerprint: Fingerprint,
    pub approver: Option<String>,
    pub epoch: u64,
    pub seq: u64,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub output: String,
    pub output_truncated: bool,
    pub verified: Option<bool>,
    pub history: Vec<Step>,
}

impl Remediator {
    /// The picture as of now.
    pub(crate) fn view(&self) -> View {
        let mut remediations: Vec<RemediationView> =
            self.remediations.iter().map(|remediation| self.show(remediation)).collect();
        remediations.sort_by(|left, right| left.name.cmp(&right.name));
        View { remediations, orders: self.orders.values().rev().map(show_order).collect(), figures: self.figures() }
    }

    fn show(&self, remediation: &super::Remediation) -> RemediationView {
        let own = |(name, _): &&(String, Fingerprint)| *name == remediation.name;
        let cases: Vec<Case> = self.cases.iter().filter(|(key, _)| own(key)).map(|(_, case)| case.clone()).collect();
        let runs = self.runs.values().rev().filter(|run| run.remediation == remediation.name);
        let storm = self.storms.get(&remediation.name).and_then(|storm| storm.calm_since);
        let last_order = self.orders.values().rev().find(|issued| issued.order.remediation == remediation.name);
        RemediationView {
            name: remediation.name.clone(),
            file: remediation.file.clone(),
            mode: remediation.mode,
            when: WhenView {
                alert: remediation.alert.clone(),
                r#for: remediation.hold,
                labels: remediation.labels.clone(),
                from: remediation.from,
            },
            scope: remediation.scope.clone(),
            steps: remediation.steps.iter().map(show_step).collect(),
            guards: remediation.guards.clone(),
            paused: self.pauses.of(&remediation.name).cloned(),
            storm_until: storm.map(|since| since + remediation.guards.storm_cooldown),
            state: cases.iter().map(|case| case.state).max().map_or("idle", super::CaseState::as_str),
            cases,
            attempts: runs.take(MAX_SHOWN).map(show_run).collect(),
            last_order: last_order.map(|issued| issued.order.id),
            decisions: self.journal.of(&remediation.name).take(MAX_SHOWN).cloned().collect(),
        }
    }
}

fn show_step(step: &FileStep) -> StepView {
    match step {
        FileStep::Escalate { receiver } => StepView { escalate: Some(receiver.clone()), ..StepView::default() },
        FileStep::Act { action, params, on, wait } => StepView {
            action: Some(action.clone()),
            params: Some(params.clone()),
            on: Some(match on {
                Target::Own => "self".to_owned(),
                Target::Selector(labels) => {
                    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    pairs.join(",")
                }
            }),
            wait: Some(*wait),
            escalate: None,
        },
    }
}

fn show_run(run: &Run) -> RunView {
    RunView {
        id: run.id,
        state: run.state,
        detail: run.detail.clone(),
        node: run.node.clone(),
        alert: run.alert.clone(),
        step: run.step + 1,
        steps: run.steps.len(),
        order: run.order,
        approver: run.approver.clone(),
        began_at: run.began_at,
        ended_at: run.ended_at,
        until: run.until,
        history: run.history.clone(),
    }
}

fn show_order(issued: &super::Issued) -> OrderView {
    let order = &issued.order;
    OrderView {
        id: order.id,
        remediation: order.remediation.clone(),
        attempt: issued.run,
        node: issued.node.clone(),
        node_id: order.target,
        action: order.action.clone(),
        params: order.params.clone(),
        state: issued.state,
        detail: issued.detail.clone(),
        alert: issued.alert.clone(),
        fingerprint: order.alert,
        approver: order.approver.clone(),
        epoch: order.epoch,
        seq: order.seq,
        issued_at: issued.issued_at,
        expires_at: order.expires_at,
        ended_at: issued.ended_at,
        exit_code: issued.exit_code,
        output: issued.output.clone(),
        output_truncated: issued.output_truncated,
        verified: issued.verified,
        history: issued.history.clone(),
    }
}
