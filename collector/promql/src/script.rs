//! Test scripts in Prometheus' `promqltest` language: load series, evaluate expressions, compare with what is expected.
//!
//! A case is one `eval` command. Besides its own evaluation it is repeated in forms that must give the same: an instant
//! query with everything pinned by `@` at other times, and as the middle of a range query. A failed case does not end
//! the script.
//!
//! Not supported, and said so: native histograms. Series that hold them are left out (see [`Report::notes`]), and a case
//! that expects one fails.

use watchfire_shared::time::{Span, Timestamp};

use crate::ast::Expr;
use crate::error::QueryError;
use crate::eval::{self, Options};
use crate::parser::{Syntax, parse_with};
use crate::value::{Answer, Value};

mod command;

mod expect;

mod memory;

mod rerun;

pub mod series;

pub use memory::Memory;

use command::{Case, Command, Expected, Query};

/// How a script went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases that gave what they expect.
    pub passed: usize,
    /// Line and expression of every one of them.
    pub cases: Vec<Failure>,
    /// Cases that did not, and commands that could not be read.
    pub failures: Vec<Failure>,
    /// Lines whose series were left out, with the reason; not counted as failures.
    pub notes: Vec<Failure>,
}

/// A line of a script and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Samples that a query of a script may hold, as in the original.
const MAX_SAMPLES: usize = 10_000;

fn options() -> Options<'static> {
    Options { max_samples: MAX_SAMPLES, delayed_name_removal: true, ..Options::default() }
}

/// Runs a script from its beginning, with no series loaded.
#[must_use]
pub fn run(text: &str) -> Report {
    let mut report = Report::default();
    let mut memory = Memory::default();
    for (line, command) in command::commands(text) {
        match command {
            Ok(Command::Clear) => memory = Memory::default(),
            Ok(Command::Load { step, series }) => load(&mut memory, step, &series, &mut report),
            Ok(Command::Eval(case)) => match check(&memory, &case) {
                Ok(()) => {
                    report.passed += 1;
                    report.cases.push(Failure { line, message: case.expression });
                }
                Err(message) => report.failures.push(Failure { line, message }),
            },
            Err(message) => report.failures.push(Failure { line, message }),
        }
    }
    report
}

fn load(memory: &mut Memory, step: Span, lines: &[(usize, String)], report: &mut Report) {
    let mut batch = Vec::new();
    for (line, text) in lines {
        match parse_line(text) {
            Ok(series) => batch.push(series),
            Err(error) if error.is_native_histogram() => {
                report.notes.push(Failure { line: *line, message: format!("series left out: {error}") });
            }
            Err(error) => report.failures.push(Failure { line: *line, message: error.to_string() }),
        }
    }
    memory.load(step, batch);
}

use series::parse_series as parse_line;

/// Evaluates a case in all its forms.
fn check(memory: &Memory, case: &Case) -> Result<(), String> {
    let expr = parse_with(&case.expression, Syntax::experimental()).map_err(|error| error.to_string());
    let result = expr.and_then(|expr| {
        evaluate(memory, &expr, case.query).map(|answer| (expr, answer)).map_err(|error| error.to_string())
    });
    if let Some(wanted) = &case.fails {
        return match result {
            Ok(_) => Err(format!("{} should fail and does not", case.expression)),
            Err(message) => expect::check_failure(wanted, &message),
        };
    }
    let (expr, answer) = result.map_err(|error| format!("{}: {error}", case.expression))?;
    expect::check(case, &answer).map_err(|why| format!("{}: {why}", case.expression))?;
    let Query::Instant { at } = case.query else { return Ok(()) };
    rerun_pinned(memory, case, &expr, at)?;
    rerun_as_range(memory, case, &expr, at, &answer.value)
}

fn evaluate(memory: &Memory, expr: &Expr, query: Query) -> Result<Answer, QueryError> {
    match query {
        Query::Instant { at } => eval::instant(memory, expr, at, &options()),
        Query::Range { start, end, step } => eval::range(memory, expr, start, end, step, &options()),
    }
}

/// With everything pinned to its time, a case gives the same at any other time.
fn rerun_pinned(memory: &Memory, case: &Case, expr: &Expr, at: Timestamp) -> Result<(), String> {
    let Some(pinned) = rerun::pinned(expr, at) else { return Ok(()) };
    for other in rerun::other_times(at) {
        let told = |why: String| format!("{pinned} at {} s: {why}", other.as_seconds());
        let answer = eval::instant(memory, &pinned, other, &options()).map_err(|error| told(error.to_string()))?;
        expect::check(case, &answer).map_err(told)?;
    }
    Ok(())
}

/// As the middle of a range query, a case gives the same.
fn rerun_as_range(memory: &Memory, case: &Case, expr: &Expr, at: Timestamp, value: &Value) -> Result<(), String> {
    if case.ordered || rerun::reads_bounds(expr) || !matches!(value, Value::Scalar(_) | Value::Vector(_)) {
        return Ok(());
    }
    let minute = Span::from_seconds(60);
    let told = |why: String| format!("{} as a range query: {why}", case.expression);
    let answer = eval::range(memory, expr, at - minute, at + minute, minute, &options())
        .map_err(|error| told(error.to_string()))?;
    let middle = rerun::middle(&answer.value, at, matches!(case.expected, Expected::Number(_)));
    expect::check_value(case, &middle).map_err(told)
}

#[cfg(test)]
mod tests;
