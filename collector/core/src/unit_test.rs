//! Unit tests for rules, in promtool's format (`prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules`).
//!
//! A file names rule files, series and what should come of them. Its groups run through the same [`RuleSet`] and jobs as in
//! production, at promtool's fixed times and without debounce or timers, over a storage in memory that shows no sample
//! before its time. Every expectation is one case; the run goes on after a failed one.

mod file;

mod memory;

mod compare;

use std::collections::BTreeMap;
use std::fmt;

use watchfire_promql::{Options, Syntax};
use watchfire_shared::document::Mistake;
use watchfire_shared::labels::Labels;
use watchfire_shared::sample::Sample;
use watchfire_shared::time::Timestamp;

use crate::rules::alert::State;
use crate::rules::{self, Group, Output, RuleSet, Settings};
use compare::{Shown, same_alerts, same_samples};
use file::{AlertCase, ExprCase, Test, TestFile};
use memory::Memory;

/// What the cases of one file gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub passed: usize,
    /// The place of every case that passed, and what it asks.
    pub cases: Vec<String>,
    /// One text of one or more lines for each case that failed, and for each mistake in the file or its rules.
    pub failures: Vec<String>,
}

impl fmt::Display for Report {
    /// The failures, then `N passed, M failed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        write!(f, "{} passed, {} failed", self.passed, self.failures.len())
    }
}

/// Gives the rule files that a pattern of `rule_files` names, relative to the test file, as name and content.
pub type Load<'a> = &'a dyn Fn(&str) -> Result<Vec<(String, String)>, String>;

/// Runs the unit tests of a file. `file` is its name for messages.
pub fn run(file: &str, text: &str, load: Load<'_>) -> Report {
    let loaded = file::parse(file, text).and_then(|test_file| {
        let groups = load_groups(file, &test_file, load)?;
        Ok((test_file, groups))
    });
    match loaded {
        Ok((test_file, groups)) => run_tests(file, &test_file, &groups),
        Err(mistakes) => Report { failures: mistakes.iter().map(ToString::to_string).collect(), ..Report::default() },
    }
}

/// Loads the rule files and puts the groups into the order of evaluation.
fn load_groups(file: &str, test_file: &TestFile, load: Load<'_>) -> Result<Vec<Group>, Vec<Mistake>> {
    let (mut groups, mut mistakes) = (Vec::new(), Vec::new());
    for (pattern, at) in &test_file.rule_files {
        match load(pattern) {
            Ok(files) => {
                for (name, content) in files {
                    match rules::parse_with(&name, &content, Syntax::experimental()) {
                        Ok(found) => groups.extend(found),
                        Err(found) => mistakes.extend(found),
                    }
                }
            }
            Err(message) => mistakes.push(Mistake { file: file.to_owned(), at: Some(*at), message }),
        }
    }
    let order: BTreeMap<&str, usize> =
        test_file.group_eval_order.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    // As in promtool, groups that are not named come with the first.
    groups.sort_by_key(|group: &Group| order.get(group.name.as_str()).copied().unwrap_or(0));
    if mistakes.is_empty() { Ok(groups) } else { Err(mistakes) }
}

fn run_tests(file: &str, test_file: &TestFile, groups: &[Group]) -> Report {
    let mut report = Report::default();
    for test in &test_file.tests {
        let bench = Bench::new(test_file, test, groups);
        let outcome = bench.run();
        report.passed += outcome.passed;
        report
            .cases
            .extend(outcome.cases.into_iter().map(|(at, title)| format!("{file}:{}:{}: {title}", at.line, at.column)));
        report.failures.extend(outcome.failures.into_iter().map(|(at, message)| {
            let name = test.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("{file}:{}:{}:{name} {message}", at.line, at.column)
        }));
    }
    report
}

/// One test: rules and series, brought through time.
struct Bench<'a> {
    file: &'a TestFile,
    test: &'a Test,
    rules: RuleSet,
    memory: Memory,
    outcome: Outcome,
}

/// How the cases of one test went.
#[derive(Default)]
struct Outcome {
    passed: usize,
    cases: Vec<(watchfire_shared::document::Position, String)>,
    failures: Vec<(watchfire_shared::document::Position, String)>,
}

impl<'a> Bench<'a> {
    fn new(file: &'a TestFile, test: &'a Test, groups: &[Group]) -> Self {
        let settings = Settings {
            interval: file.evaluation_interval,
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            ..Settings::default()
        };
        let mut rules = RuleSet::new(settings, groups.to_vec(), [], test.start, &mut Output::default());
        rules.set_fresh(test.start, true);
        let memory = Memory::new(&test.input, test.start, test.interval);
        Self { file, test, rules, memory, outcome: Outcome::default() }
    }

    fn run(mut self) -> Outcome {
        let interval = self.file.evaluation_interval;
        let end = self.test.start + self.test.last_eval_time();
        let mut at = self.test.start;
        // A case between two evaluations sees the earlier one, as in promtool.
        let mut cases: Vec<&AlertCase> = self.test.alert_cases.iter().collect();
        cases.sort_by_key(|case| case.eval_time);
        let mut cases = cases.into_iter().peekable();
        while at <= end {
            if let Some(message) = self.evaluate(at) {
                self.give_up(&message);
                return self.outcome;
            }
            while let Some(case) = cases.next_if(|case| self.test.start + case.eval_time < at + interval) {
                self.alert_case(case);
            }
            at += interval;
        }
        for case in &self.test.expr_cases {
            let result = self.query(case);
            self.note(case.at, format!("expr {:?} at {}", case.text, case.eval_time), result);
        }
        if self.test.cases() == 0 {
            self.outcome.passed += 1;
            self.outcome.cases.push((self.test.at, "the rules can be evaluated".to_owned()));
        }
        self.outcome
    }

    /// Evaluates every group; returns what was wrong with the rules.
    fn evaluate(&mut self, at: Timestamp) -> Option<String> {
        self.memory.advance(at);
        for index in 0..self.rules.groups().count() {
            let job = self.rules.job(index, at);
            let evaluation = job.run(&self.memory);
            if let Some(failure) = evaluation.failures.first() {
                let rule = &evaluation.group.rules[failure.rule].name;
                return Some(format!("rule {rule:?} failed at {}: {}", at.since(self.test.start), failure.message));
            }
            let mut out = Output::default();
            self.rules.apply(at, evaluation, &mut out);
            for append in out.appends {
                self.memory.append(append.at, append.samples);
            }
        }
        None
    }

    /// Every case that did not pass yet fails: without its rules a test says nothing.
    fn give_up(&mut self, message: &str) {
        let done = self.outcome.passed + self.outcome.failures.len();
        self.outcome.failures.push((self.test.at, message.to_owned()));
        for _ in done + 1..self.test.cases() {
            self.outcome.failures.push((self.test.at, "not evaluated: a rule failed".to_owned()));
        }
    }

    fn alert_case(&mut self, case: &AlertCase) {
        let firing = self.rules.active().filter(|alert| alert.state == State::Firing && alert.name() == case.name);
        let got: Vec<(Labels, Labels)> =
            firing.map(|alert| (alert.labels.clone(), alert.annotations.clone())).collect();
        let result = same_alerts(&case.expected, &got)
            .map_err(|difference| format!("alert {:?} at {}:\n{difference}", case.name, case.eval_time));
        self.note(case.at, format!("alert {:?} at {}", case.name, case.eval_time), result);
    }

    fn query(&self, case: &ExprCase) -> Result<(), String> {
        let options = Options { subquery_step: self.file.evaluation_interval, ..Options::default() };
        let at = self.test.start + case.eval_time;
        let answer = watchfire_promql::instant(&self.memory, &case.expr, at, &options);
        let vector = answer.map_err(|error| error.to_string()).and_then(|answer| rules::vector(answer.value));
        let title = format!("expr {:?} at {}", case.text, case.eval_time);
        let got = vector.map_err(|error| format!("{title}: {error}"))?;
        let got: Vec<(Labels, f64)> = got.into_iter().map(|Sample { labels, value, .. }| (labels, value)).collect();
        same_samples(&case.expected, &got, self.file.fuzzy_compare)
            .map_err(|difference: Shown| format!("{title}:\n{difference}"))
    }

    fn note(&mut self, at: watchfire_shared::document::Position, title: String, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.outcome.passed += 1;
                self.outcome.cases.push((at, title));
            }
            Err(message) => self.outcome.failures.push((at, message)),
        }
    }
}

#[cfg(test)]
mod tests;
