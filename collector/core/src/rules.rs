//! Rules: what is computed from the series, and what is an alert.
//!
//! [`parse`] and [`check`] read Prometheus rule files. [`RuleSet`] decides when each group is due and hands out a [`Job`];
//! the job runs beside the owner thread on a snapshot and its [`Evaluation`] comes back as an input ([`RuleSet::apply`]),
//! which yields alerts, samples and durable changes. Nothing here reads a clock, a file or the store by itself, and
//! nothing here knows of routes, silences or receivers.
//!
//! Invariants:
//! - at most one evaluation of a group is under way, and its times strictly increase;
//! - the state of an alert changes only in [`alert`], and whatever changes there is in the output's `changes`, so that the
//!   state after a crash is the state that was last saved;
//! - while the collector is blind ([`RuleSet::set_fresh`]), nothing begins to fire and nothing resolves;
//! - evaluation order, results and output are a function of the inputs alone.

mod file;

mod place;

mod lint;

mod report;

pub mod alert;

mod saved;

mod overlay;

mod expand;

mod job;

mod schedule;

mod output;

mod set;

pub mod view;

mod standing;

pub(crate) use file::expression;
pub(crate) use job::vector;

pub use file::{AlertRule, Group, Rule, RuleKind, parse, parse_with};
pub use job::{Clock, Evaluation, Failure, Job, Together};
pub use output::{Append, Fact, Output, Settings, TABLE, Totals};
pub use report::{CheckReport, check, check_with, excerpt};
pub use set::RuleSet;
pub use standing::{Standing, Stood, Turn};

#[cfg(test)]
mod tests;
