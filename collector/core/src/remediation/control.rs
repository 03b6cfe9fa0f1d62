//! What people say to remediation: pause, resume, approve; and what they ask: what would be done.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use watchfire_shared::document::nearest;
use watchfire_shared::labels::{ALERT_NAME, INSTANCE, LabelsBuilder};
use watchfire_shared::order::OrderId;
use watchfire_shared::time::{Span, Timestamp};

use super::file::{Mode, Remediation};
use super::run::RunState;
use super::situation::{Firing, Scope, Situation};
use super::{Output, Remediator, encode, save_run, tell_run};
use crate::fact::{Fact, Level};

/// The table of pauses, by remediation.
pub(crate) const PAUSE_TABLE: &str = "remediation_pauses";
/// The key of the pause of all remediations; no remediation can be called so.
const ALL: &str = "*";
/// A person's name or reason, bytes.
pub const MAX_WORDS_BYTES: usize = 1024;
/// The longest pause that ends by itself.
pub const MAX_PAUSE: Span = Span::from_seconds(30 * 86_400);

/// What a person says.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Nothing more begins: of one remediation, or of all.
    Pause {
        remediation: Option<String>,
        by: String,
        reason: String,
        until: Option<Timestamp>,
    },
    Resume {
        remediation: Option<String>,
        by: String,
    },
    /// An attempt may begin.
    Approve {
        id: OrderId,
        by: String,
    },
}

/// What whoever said or asked something is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// It was done; of an attempt that was approved, where it stands now and why.
    Done {
        state: Option<RunState>,
        detail: String,
    },
    Simulated(Box<Simulation>),
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no {what}{hint}")]
    Unknown { what: String, hint: String },
    #[error("{0}")]
    Conflict(String),
}

/// What would be done about an alert of a node.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Simulation {
    pub remediation: String,
    pub mode: Mode,
    pub node: String,
    /// Labels of the alert that was supposed.
    pub alert: BTreeMap<String, String>,
    /// Whether it would be ordered now, if the mode were `auto`.
    pub would_act: bool,
    pub reasons: Vec<String>,
    pub blocked_by: Vec<&'static str>,
    /// What the first step would order.
    pub orders: Vec<SimulatedOrder>,
}

/// An order that would be given.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SimulatedOrder {
    pub node: String,
    pub action: String,
    pub params: BTreeMap<String, String>,
}

/// That nothing begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pause {
    pub by: String,
    pub reason: String,
    pub since: Timestamp,
    /// `None`: until a person resumes it.
    pub until: Option<Timestamp>,
    /// Whether it is the pause of all remediations.
    #[serde(default)]
    pub of_all: bool,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.of_all { "everything is paused" } else { "it is paused" };
        write!(f, "{what} by {} since {}", self.by, self.since)?;
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// Every pause.
#[derive(Debug, Default)]
pub(super) struct Pauses(BTreeMap<String, Pause>);

impl Pauses {
    pub(super) fn restore(records: &[(String, Vec<u8>)]) -> Self {
        let read = |(name, value): &(String, Vec<u8>)| Some((name.clone(), rmp_serde::from_slice(value).ok()?));
        Self(records.iter().filter_map(read).collect())
    }

    /// The pause that keeps a remediation from acting.
    pub(super) fn of(&self, remediation: &str) -> Option<&Pause> {
        self.0.get(ALL).or_else(|| self.0.get(remediation))
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.0.values().filter_map(|pause| pause.until).min()
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Vec<Output>) -> bool {
        let over = self.0.iter().filter(|(_, pause)| pause.until.is_some_and(|until| until <= now));
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for name in &over {
            self.0.remove(name);
            out.push(Output::Save { table: PAUSE_TABLE, key: name.clone(), value: None });
        }
        !over.is_empty()
    }
}

impl Remediator {
    /// Does what a person says. What is refused changes nothing.
    pub(crate) fn command(&mut self, now: Timestamp, command: Command, out: &mut Vec<Output>) -> Answer {
        let done = match command {
            Command::Pause { remediation, by, reason, until } => self.check_name(remediation.as_deref()).map(|()| {
                let of_all = remediation.is_none();
                let key = remediation.unwrap_or_else(|| ALL.to_owned());
                let pause = Pause { by, reason, since: now, until, of_all };
                let fact = Fact::new(Level::Info, "remediation is paused").with("remediation", &key);
                out.push(Output::Fact(fact.with("by", &pause.by).with("reason", &pause.reason)));
                out.push(Output::Save { table: PAUSE_TABLE, key: key.clone(), value: Some(encode(&pause)) });
                self.pauses.0.insert(key, pause);
            }),
            Command::Resume { remediation, by } => self.check_name(remediation.as_deref()).and_then(|()| {
                let key = remediation.unwrap_or_else(|| ALL.to_owned());
                if self.pauses.0.remove(&key).is_none() {
                    let of_all = self.pauses.0.contains_key(ALL);
                    let hint = if of_all { "; everything is: resume that" } else { "" };
                    return Err(Refusal::Conflict(format!("{} is not paused{hint}", name_of(&key))));
                }
                let fact = Fact::new(Level::Info, "remediation goes on").with("remediation", &key).with("by", by);
                out.push(Output::Fact(fact));
                out.push(Output::Save { table: PAUSE_TABLE, key, value: None });
                Ok(())
            }),
            Command::Approve { id, by } => self.approve(now, id, by, out),
        };
        self.changed = true;
        self.look_soon(now);
        match done {
            Ok(()) => Answer::Done { state: None, detail: String::new() },
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn approve(&mut self, now: Timestamp, id: OrderId, by: String, out: &mut Vec<Output>) -> Result<(), Refusal> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Err(Refusal::Unknown { what: format!("attempt {id}"), hint: String::new() });
        };
        if run.state != RunState::AwaitingApproval {
            return Err(Refusal::Conflict(format!("attempt {id} awaits no approval, it is {}", run.state.as_str())));
        }
        let detail = format!("{by} approved it");
        run.approver = Some(by);
        // The guards are asked again, as for any step.
        run.turn(now, RunState::Blocked, &detail, run.until);
        out.push(save_run(run));
        out.push(Output::Fact(tell_run(run)));
        Ok(())
    }

    /// What became of an attempt that was approved.
    pub(crate) fn approved(&self, id: OrderId) -> Answer {
        let run = self.runs.get(&id);
        let detail = run.map(|run| run.detail.clone()).unwrap_or_default();
        Answer::Done { state: run.map(|run| run.state), detail }
    }

    fn check_name(&self, name: Option<&str>) -> Result<(), Refusal> {
        name.map_or(Ok(()), |name| self.named(name).map(|_| ()))
    }

    fn named(&self, name: &str) -> Result<&Remediation, Refusal> {
        let found = self.remediations.iter().find(|own| own.name == name);
        found.ok_or_else(|| {
            let hint = nearest(name, self.remediations.iter().map(|own| own.name.as_str()));
            let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
            Refusal::Unknown { what: format!("remediation called {name}"), hint }
        })
    }

    /// What would be done if the remediation's alert fired on a node for long enough, decided as it would be. Nothing
    /// changes, and nobody is asked.
    pub(crate) fn simulate(&self, now: Timestamp, name: &str, node: &str, situation: &Situation<'_>) -> Answer {
        let remediation = match self.named(name) {
            Ok(remediation) => remediation,
            Err(refusal) => return Answer::Refused(refusal),
        };
        let Some(seen) = situation.nodes.find(node) else {
            let hint = nearest(node, situation.nodes.agents().map(|own| own.name));
            let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
            return Answer::Refused(Refusal::Unknown { what: format!("agent called {node}"), hint });
        };
        let mut labels = LabelsBuilder::default();
        labels.set(ALERT_NAME, remediation.alert.clone()).set(INSTANCE, seen.instance.to_owned());
        for (name, value) in &remediation.labels {
            labels.set(name.clone(), value.clone());
        }
        let labels = labels.build();
        let alert = Firing { labels: &labels, since: now - remediation.hold, of_rules: true };
        let scope = Scope::of(remediation, situation);
        let decision = self.decide(now, remediation, alert, &scope, situation);
        let orders = decision.plans.into_iter();
        let orders = orders.map(|plan| SimulatedOrder { node: plan.name, action: plan.action, params: plan.params });
        Answer::Simulated(Box::new(Simulation {
            remediation: remediation.name.clone(),
            mode: remediation.mode,
            node: seen.name.to_owned(),
            alert: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            would_act: decision.against.state.is_none(),
            reasons: decision.against.reasons,
            blocked_by: decision.against.guards,
            orders: orders.collect(),
        }))
    }
}

fn name_of(key: &str) -> &str {
    if key == ALL { "remediation as a whole" } else { key }
}
