//! What the API shows of remediation.

use std::collections::BTreeMap;

use serde::Serialize;
use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::member::NodeId;
use watchfire_shared::order::OrderId;
use watchfire_shared::time::{Span, Timestamp};

use super::{Case, Guards, Mode, Remediator, State, Step};

/// Remediations and orders.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By name.
    pub remediations: Vec<RemediationView>,
    /// The newest first.
    pub orders: Vec<OrderView>,
}

/// A remediation with what it does about each of its alerts, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RemediationView {
    pub name: String,
    pub file: String,
    pub mode: Mode,
    pub when: WhenView,
    /// Always `self`: the node that the alert names.
    pub target: &'static str,
    pub action: String,
    pub params: BTreeMap<String, String>,
    pub guards: Guards,
    /// `idle` if no alert concerns it, or else the state of the case that is furthest.
    pub state: &'static str,
    pub cases: Vec<Case>,
    pub last_order: Option<OrderId>,
}

/// When a remediation acts.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WhenView {
    pub alert: String,
    pub r#for: Span,
    pub labels: BTreeMap<String, String>,
}

/// An order.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OrderView {
    pub id: OrderId,
    pub remediation: String,
    pub node: String,
    pub node_id: NodeId,
    pub action: String,
    pub params: BTreeMap<String, String>,
    pub state: State,
    /// The state's reason in words; may be empty.
    pub detail: String,
    pub alert: Labels,
    pub fingerprint: Fingerprint,
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
        View { remediations, orders: self.orders.values().rev().map(show_order).collect() }
    }

    fn show(&self, remediation: &super::Remediation) -> RemediationView {
        let own = |(name, _): &&(String, Fingerprint)| *name == remediation.name;
        let cases: Vec<Case> = self.cases.iter().filter(|(key, _)| own(key)).map(|(_, case)| case.clone()).collect();
        let last_order = self.orders.values().rev().find(|issued| issued.order.remediation == remediation.name);
        RemediationView {
            name: remediation.name.clone(),
            file: remediation.file.clone(),
            mode: remediation.mode,
            when: WhenView {
                alert: remediation.alert.clone(),
                r#for: remediation.hold,
                labels: remediation.labels.clone(),
            },
            target: "self",
            action: remediation.action.clone(),
            params: remediation.params.clone(),
            guards: remediation.guards.clone(),
            state: cases.iter().map(|case| case.state).max().map_or("idle", super::CaseState::as_str),
            cases,
            last_order: last_order.map(|issued| issued.order.id),
        }
    }
}

fn show_order(issued: &super::Issued) -> OrderView {
    let order = &issued.order;
    OrderView {
        id: order.id,
        remediation: order.remediation.clone(),
        node: issued.node.clone(),
        node_id: order.target,
        action: order.action.clone(),
        params: order.params.clone(),
        state: issued.state,
        detail: issued.detail.clone(),
        alert: issued.alert.clone(),
        fingerprint: order.alert,
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
