//! Cases: what is done about each alert that a remediation is for, and why. They follow from orders and alerts, and are
//! not kept.

use serde::Serialize;
use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::order::OrderId;
use watchfire_shared::time::Timestamp;

/// Where a case stands. The order is that in which one hides another where several reasons speak.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// The alert has not been firing for long enough.
    Waiting,
    /// The last attempt is over, and it is too early for another.
    Cooldown,
    /// Something has to change first; the reasons say what.
    Blocked,
    /// All attempts were made.
    Exhausted,
    /// A person has to approve it.
    AwaitingApproval,
    /// An attempt is under way.
    Ordered,
    /// The remediation only observes.
    Observed,
}

impl CaseState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Cooldown,
        Self::Blocked,
        Self::Exhausted,
        Self::AwaitingApproval,
        Self::Ordered,
        Self::Observed,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Cooldown => "cooldown",
            Self::Blocked => "blocked",
            Self::Exhausted => "exhausted",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Ordered => "ordered",
            Self::Observed => "observed",
        }
    }
}

/// One alert of one remediation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Case {
    pub fingerprint: Fingerprint,
    /// Labels of the alert.
    pub alert: Labels,
    pub state: CaseState,
    /// Why it is not acted upon, or what is under way.
    pub reasons: Vec<String>,
    /// The guards that speak against acting, by their words in the file and those of no file.
    pub blocked_by: Vec<&'static str>,
    /// The attempt that is under way.
    pub run: Option<OrderId>,
    /// Since when state and reasons are these.
    pub since: Timestamp,
    /// When time alone may change that.
    pub until: Option<Timestamp>,
}
