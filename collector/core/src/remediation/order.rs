//! Orders that were given, and what became of them. They are the ledger of remediation: attempts and cooldowns are counted
//! in them.

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::Labels;
use watchfire_shared::order::{Order, OrderId, OrderReport, OrderState};
use watchfire_shared::time::{Span, Timestamp};

use super::run::Run;

/// How much longer than its validity an order may begin: the agent's allowance for clocks that are apart.
const SKEW: Span = Span::from_seconds(30);
/// What reports may take on their way, an agent's reconnection included.
const MARGIN: Span = Span::from_seconds(60);
/// Steps of one order's history; the longest way has seven.
const MAX_STEPS: usize = 16;

/// Where an order is in its life, as the collector knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Durable here, and on its way to the agent.
    Dispatched,
    Accepted,
    Running,
    Verifying,
    Succeeded,
    Failed,
    TimedOut,
    Interrupted,
    Refused,
    /// It was not taken in time: the agent says that it never saw it.
    Expired,
    /// The agent was lost and has not told the outcome. It may have run.
    Unknown,
}

impl State {
    /// Every state that an order ends in.
    pub const ENDS: [Self; 7] =
        [Self::Succeeded, Self::Failed, Self::TimedOut, Self::Interrupted, Self::Refused, Self::Expired, Self::Unknown];

    /// Whether the agent may still be at it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Dispatched | Self::Accepted | Self::Running | Self::Verifying)
    }

    /// Whether no report can change it any more.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::TimedOut | Self::Interrupted | Self::Refused)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dispatched => "dispatched",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    fn reported(state: OrderState) -> Option<Self> {
        Some(match state {
            OrderState::Accepted => Self::Accepted,
            OrderState::Running => Self::Running,
            OrderState::Verifying => Self::Verifying,
            OrderState::Succeeded => Self::Succeeded,
            OrderState::Failed => Self::Failed,
            OrderState::TimedOut => Self::TimedOut,
            OrderState::Interrupted => Self::Interrupted,
            OrderState::Refused => Self::Refused,
            OrderState::Unknown => return None,
        })
    }
}

/// One change of an order's state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    pub state: State,
    /// By the collector's clock.
    pub at: Timestamp,
    #[serde(default)]
    pub detail: String,
}

/// An order with what is known of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Issued {
    pub order: Order,
    /// The attempt that it belongs to.
    #[serde(default)]
    pub run: Option<OrderId>,
    /// The step of the attempt, from 0.
    #[serde(default)]
    pub step: usize,
    /// The target's name when the order was given.
    pub node: String,
    /// Labels of the alert because of which it was given.
    pub alert: Labels,
    pub idempotent: bool,
    pub state: State,
    /// The state's reason in words; may be empty.
    pub detail: String,
    pub issued_at: Timestamp,
    /// When the last state began that is not followed by another by itself.
    pub ended_at: Option<Timestamp>,
    /// When it counts as lost unless its end was told.
    pub lost_at: Timestamp,
    pub exit_code: Option<i32>,
    pub output: String,
    pub output_truncated: bool,
    pub verified: Option<bool>,
    pub history: Vec<Step>,
}

impl Issued {
    /// An order that a step of an attempt gives at `now`; doing it takes `longest` at most.
    pub(super) fn new(now: Timestamp, order: Order, run: &Run, node: String, idempotent: bool, longest: Span) -> Self {
        Self {
            lost_at: order.expires_at + SKEW + longest + MARGIN,
            order,
            run: Some(run.id),
            step: run.step,
            node,
            alert: run.alert.clone(),
            idempotent,
            state: State::Dispatched,
            detail: String::new(),
            issued_at: now,
            ended_at: None,
            exit_code: None,
            output: String::new(),
            output_truncated: false,
            verified: None,
            history: vec![Step { state: State::Dispatched, at: now, detail: String::new() }],
        }
    }

    /// Whether the agent would still take it.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        now <= self.order.expires_at
    }

    /// Goes to another state.
    pub(super) fn turn(&mut self, now: Timestamp, state: State, detail: &str) {
        self.state = state;
        detail.clone_into(&mut self.detail);
        self.ended_at = (!state.is_open()).then_some(now);
        if self.history.len() < MAX_STEPS {
            self.history.push(Step { state, at: now, detail: detail.to_owned() });
        }
    }

    /// Takes what the agent says; false if it says nothing new.
    pub(super) fn hear(&mut self, now: Timestamp, report: OrderReport) -> bool {
        let Some(state) = State::reported(report.state) else { return false };
        // Steps are told once and in order; what is behind the known one comes late.
        let behind = state.is_open() && self.state.is_open() && state <= self.state;
        if self.state.is_settled() || behind {
            return false;
        }
        self.turn(now, state, &report.detail);
        if state.is_settled() {
            self.exit_code = report.exit_code;
            self.output = report.output;
            self.output_truncated = report.output_truncated;
            self.verified = report.verified;
        }
        true
    }
}
