//! What remediation counts of itself.

use super::{CaseState, Remediator, RunState, State};

/// Counts since the start, and of what is now; every word is there, also those of which there is none.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Figures {
    /// Orders that ended, by outcome.
    pub orders: Vec<(&'static str, u64)>,
    /// Attempts that ended, by outcome.
    pub attempts: Vec<(&'static str, u64)>,
    /// Cases by remediation and state.
    pub cases: Vec<(String, &'static str, usize)>,
    /// Remediations that are paused.
    pub paused: usize,
}

impl Remediator {
    pub(crate) fn figures(&self) -> Figures {
        let orders = State::ENDS.iter();
        let orders = orders.map(|state| (state.as_str(), self.ended_orders.get(state).copied().unwrap_or_default()));
        let attempts = RunState::ALL.iter().filter(|state| !state.is_open());
        let attempts = attempts.map(|state| (state.as_str(), self.ended_runs.get(state).copied().unwrap_or_default()));
        let count = |name: &str, state: CaseState| {
            self.cases.iter().filter(|((own, _), case)| own == name && case.state == state).count()
        };
        let cases = self.remediations.iter().flat_map(|remediation| {
            CaseState::ALL
                .iter()
                .map(|state| (remediation.name.clone(), state.as_str(), count(&remediation.name, *state)))
        });
        Figures {
            orders: orders.collect(),
            attempts: attempts.collect(),
            cases: cases.collect(),
            paused: self.remediations.iter().filter(|own| self.pauses.of(&own.name).is_some()).count(),
        }
    }
}
