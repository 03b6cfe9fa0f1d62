//! How the rules stood at one time, by reference: what is shown of them is made when somebody asks.
//!
//! Taking one costs a few reference counts for each group, however many alerts there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::time::{Span, Timestamp};

use super::alert::{ActiveAlert, Alerts, State};
use super::job::RuleState;
use super::view::{self, AlertView, AlertsView, GroupView};
use super::{Group, Rule, RuleSet};

/// Every group with its rules and their alerts.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    groups: Vec<Stood>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Stood {
    group: Arc<Group>,
    states: Arc<Vec<RuleState>>,
    interval: Span,
    took: Span,
    evaluated_at: Option<Timestamp>,
}

/// An alert that took another state.
#[derive(Clone, Debug)]
pub struct Turn {
    pub alert: AlertView,
    /// The state before; `None` of an alert that is new.
    pub previous: Option<&'static str>,
    /// `pending`, `firing`, `resolved` of one that fired, or `inactive` of one that was pending.
    pub state: &'static str,
}

impl RuleSet {
    /// How the rules stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let groups = self.groups.iter().map(|scheduled| Stood {
            group: Arc::clone(&scheduled.group),
            states: Arc::clone(&scheduled.states),
            interval: scheduled.clockwork.interval(),
            took: scheduled.took,
            evaluated_at: scheduled.evaluated_at,
        });
        Standing { groups: groups.collect() }
    }
}

impl Standing {
    /// Every group, for whoever chooses what is to be shown of it.
    pub fn groups(&self) -> impl Iterator<Item = &Stood> {
        self.groups.iter()
    }

    /// Every alert that is pending or firing, as it is shown.
    #[must_use]
    pub fn alerts(&self) -> AlertsView {
        AlertsView { alerts: self.active().map(view::alert).collect() }
    }

    /// Every alert that is pending or firing.
    pub fn active(&self) -> impl Iterator<Item = &ActiveAlert> {
        let states = self.groups.iter().flat_map(|stood| stood.states.iter());
        states.flat_map(|state| state.alerts.values()).filter(|alert| alert.state != State::Resolved)
    }

    /// How many groups there are, and how many rules in them.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.groups.len(), self.groups.iter().map(|stood| stood.group.rules.len()).sum())
    }

    /// The rules whose last evaluation failed: group, name and what was wrong.
    pub fn failing(&self) -> impl Iterator<Item = (&Group, &str, &str)> {
        self.groups.iter().flat_map(|stood| {
            let rules = stood.group.rules.iter().zip(stood.states.iter());
            rules.filter_map(|(rule, state)| Some((&*stood.group, rule.name.as_str(), state.error.as_deref()?)))
        })
    }

    /// The alerts that took another state since `before`: first those that ended.
    #[must_use]
    pub fn turns_since(&self, before: &Self) -> Vec<Turn> {
        let unchanged = |stood: &&Stood| !before.groups.iter().any(|old| Arc::ptr_eq(&old.states, &stood.states));
        let outdated = |stood: &&Stood| !self.groups.iter().any(|new| Arc::ptr_eq(&new.states, &stood.states));
        let (old, new) =
            (by_rule(before.groups.iter().filter(outdated)), by_rule(self.groups.iter().filter(unchanged)));
        let none = Alerts::new();
        let mut turns = Vec::new();
        for (rule, alerts) in &old {
            ended(alerts, new.get(rule).copied().unwrap_or(&none), &mut turns);
        }
        for (rule, alerts) in &new {
            turned(old.get(rule).copied().unwrap_or(&none), alerts, &mut turns);
        }
        turns
    }
}

impl Stood {
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The group with those of its rules that are wanted, and their alerts if these are.
    pub fn view(&self, wanted: impl Fn(&Rule) -> bool, with_alerts: bool) -> GroupView {
        let rules = self.group.rules.iter().zip(self.states.iter());
        GroupView {
            name: self.group.name.clone(),
            file: self.group.file.clone(),
            rules: rules
                .filter(|(rule, _)| wanted(rule))
                .map(|(rule, state)| view::rule(rule, state, with_alerts))
                .collect(),
            interval: self.interval.as_seconds(),
            limit: self.group.limit,
            evaluation_time: self.took.as_seconds(),
            last_evaluation: view::time(self.evaluated_at),
        }
    }
}

fn by_rule<'a>(groups: impl Iterator<Item = &'a Stood>) -> BTreeMap<Fingerprint, &'a Alerts> {
    let rules = groups.flat_map(|stood| stood.group.rules.iter().zip(stood.states.iter()));
    rules.map(|(rule, state)| (rule.id, &state.alerts)).collect()
}

/// Alerts by label sets in their order, those that are over left out.
fn active(alerts: &Alerts) -> impl Iterator<Item = (&Labels, &ActiveAlert)> {
    alerts.iter().filter(|(_, alert)| alert.state != State::Resolved)
}

fn ended(old: &Alerts, new: &Alerts, turns: &mut Vec<Turn>) {
    let mut rest = active(new).map(|(labels, _)| labels).peekable();
    for (labels, was) in active(old) {
        while rest.next_if(|other| *other < labels).is_some() {}
        if rest.peek() == Some(&labels) {
            continue;
        }
        let state = if was.state == State::Firing { "resolved" } else { State::Resolved.as_str() };
        turns.push(Turn { alert: view::alert(was), previous: Some(was.state.as_str()), state });
    }
}

fn turned(old: &Alerts, new: &Alerts, turns: &mut Vec<Turn>) {
    let mut rest = active(old).peekable();
    for (labels, is) in active(new) {
        while rest.next_if(|(other, _)| *other < labels).is_some() {}
        let previous = rest.peek().filter(|(other, _)| *other == labels).map(|(_, was)| was.state);
        if previous != Some(is.state) {
            let previous = previous.map(State::as_str);
            turns.push(Turn { alert: view::alert(is), previous, state: is.state.as_str() });
        }
    }
}
