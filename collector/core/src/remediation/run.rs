//! Attempts: one pass through the steps of a remediation, for one alert.
//!
//! ```text
//! awaiting_approval -> ordered -> waiting (does the alert end?) -> succeeded
//!        |               ^  |          |
//!        v               |  v          v
//!  expired, cancelled   blocked <- next step -> escalated | failed
//! ```
//!
//! An attempt keeps the steps as they were when it began, goes on whatever becomes of the alert meanwhile, and is durable
//! at each change of its state. What its orders do is in the orders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::member::NodeId;
use watchfire_shared::order::OrderId;
use watchfire_shared::time::Timestamp;

use super::file::Step;

/// Changes of one attempt that are kept: the longest way through ten steps, with each blocked once, has forty.
const MAX_HISTORY: usize = 64;

/// Where an attempt stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    AwaitingApproval,
    /// An order of the current step is under way.
    Ordered,
    /// The step's orders succeeded; the alert has some time to end.
    Waiting,
    /// A guard keeps the current step from being ordered.
    Blocked,
    Succeeded,
    Failed,
    /// A receiver was told that it could not be repaired.
    Escalated,
    /// Nobody approved it in time.
    Expired,
    /// There was no reason for it any more.
    Cancelled,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::AwaitingApproval,
        Self::Ordered,
        Self::Waiting,
        Self::Blocked,
        Self::Succeeded,
        Self::Failed,
        Self::Escalated,
        Self::Expired,
        Self::Cancelled,
    ];

    /// Whether it goes on.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::AwaitingApproval | Self::Ordered | Self::Waiting | Self::Blocked)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting_approval",
            Self::Ordered => "ordered",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Escalated => "escalated",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One change of an attempt.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Change {
    pub state: RunState,
    /// The step, from 0.
    pub step: usize,
    pub at: Timestamp,
    #[serde(default)]
    pub detail: String,
}

/// One attempt.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    pub id: OrderId,
    pub remediation: String,
    /// Labels of the alert.
    pub alert: Labels,
    pub fingerprint: Fingerprint,
    /// The node that the alert names, if it names one.
    pub subject: Option<NodeId>,
    /// Its name.
    pub node: String,
    /// As they were when it began.
    pub steps: Vec<Step>,
    /// The current one, from 0.
    pub step: usize,
    /// Nodes on which the current step is still to be ordered.
    pub queue: Vec<NodeId>,
    /// The last order.
    pub order: Option<OrderId>,
    /// How many orders were given.
    pub orders: usize,
    pub state: RunState,
    /// The state's reason in words; may be empty.
    pub detail: String,
    /// Who approved it.
    #[serde(default)]
    pub approver: Option<String>,
    pub began_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// When the state ends by time alone.
    pub until: Option<Timestamp>,
    /// Since when the alert is quiet, after the end of the attempt.
    #[serde(default)]
    pub quiet_since: Option<Timestamp>,
    /// The alert was quiet for so long that the attempt counts no more.
    #[serde(default)]
    pub forgiven: bool,
    /// A receiver was told, and not yet that the alert is over.
    #[serde(default)]
    pub told: bool,
    pub history: Vec<Change>,
}

impl Run {
    /// Goes to another state.
    pub(super) fn turn(&mut self, now: Timestamp, state: RunState, detail: &str, until: Option<Timestamp>) {
        self.state = state;
        detail.clone_into(&mut self.detail);
        self.until = until;
        self.ended_at = (!state.is_open()).then_some(now);
        if self.history.len() < MAX_HISTORY {
            self.history.push(Change { state, step: self.step, at: now, detail: detail.to_owned() });
        }
    }

    /// Whether it holds a place among those that may be under way at a time.
    pub(super) fn is_under_way(&self) -> bool {
        self.state.is_open() && self.state != RunState::AwaitingApproval
    }

    /// The current step.
    pub(super) fn current(&self) -> Option<&Step> {
        self.steps.get(self.step)
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        format!("step {} of {}", self.step + 1, self.steps.len())
    }
}

/// Parameters with the alert's labels in the place of their names.
///
/// # Errors
/// The label that the alert has not got.
pub(super) fn fill(params: &BTreeMap<String, String>, alert: &Labels) -> Result<BTreeMap<String, String>, String> {
    let value = |(name, value): (&String, &String)| {
        let label = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let Some(label) = label else { return Ok((name.clone(), value.clone())) };
        let found =
            alert.get(label).ok_or_else(|| format!("the alert has no label {label:?} for the parameter {name:?}"));
        found.map(|found| (name.clone(), found.to_owned()))
    };
    params.iter().map(value).collect()
}
