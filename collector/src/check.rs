//! The commands that only look: `check-config`, `check-rules`, `test`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use watchfire_collector_core::{rules, unit_test};
use watchfire_promql::{Syntax, script};
use watchfire_shell::arguments::Origin;
use watchfire_shell::files;
use watchfire_shell::lifecycle::exit;

use crate::junit;
use crate::load::{LoadError, load};

/// Checks the configuration and everything that it names.
pub(crate) fn config(origin: &Origin) -> ExitCode {
    match load(origin) {
        Ok(load) => {
            for file in load
                .settings
                .files
                .iter()
                .chain(&load.rule_files)
                .chain(&load.settings.notify_file)
                .chain(&load.remediation_files)
            {
                println!("{}: ok", file.display());
            }
            load.warnings().for_each(|warning| eprintln!("{warning}"));
            let rules: usize = load.rules.iter().map(|group| group.rules.len()).sum();
            let receivers = load.alertmanager.receivers.len();
            println!("{} groups, {rules} rules, {receivers} receivers", load.rules.len());
            ExitCode::SUCCESS
        }
        Err(LoadError(mistakes)) => {
            for mistake in &mistakes {
                eprintln!("{mistake}");
            }
            let plural = if mistakes.len() == 1 { "" } else { "s" };
            eprintln!("{} mistake{plural}", mistakes.len());
            ExitCode::from(exit::ERROR)
        }
    }
}

/// Checks rule files; with `fatal_lint`, warnings are failures too.
pub(crate) fn rules(paths: &[PathBuf], syntax: Syntax, fatal_lint: bool) -> ExitCode {
    let mut unreadable = false;
    let mut contents = Vec::new();
    for path in paths {
        match files::read_text(path) {
            Ok(content) => contents.push((path.display().to_string(), content)),
            Err(error) => {
                eprintln!("{error}");
                unreadable = true;
            }
        }
    }
    let report = rules::check_with(&contents, syntax);
    print!("{report}");
    let good = report.is_good() && (!fatal_lint || report.warnings.is_empty());
    if good && !unreadable { ExitCode::SUCCESS } else { ExitCode::from(exit::ERROR) }
}

/// What the cases of one file gave.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Each case that passed: its place and what it asks.
    pub(crate) passed: Vec<String>,
    pub(crate) failures: Vec<String>,
}

/// Runs tests: promtool's rule unit tests, and PromQL scripts, which are the files that end in `.test`.
///
/// Every case of every file runs. After each file's failures comes `FILE: N passed, M failed`; the last line is the sum.
/// `junit` is a file to write all of it to.
pub(crate) fn test(paths: &[PathBuf], junit: Option<&Path>) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    let mut outcomes = Vec::new();
    for path in paths {
        let outcome = test_file(path);
        for failure in &outcome.failures {
            println!("{failure}");
        }
        println!("{}: {} passed, {} failed", path.display(), outcome.passed.len(), outcome.failures.len());
        passed += outcome.passed.len();
        failed += outcome.failures.len();
        outcomes.push((path.display().to_string(), outcome));
    }
    let mut written = true;
    if let Some(file) = junit
        && let Err(error) = std::fs::write(file, junit::report(&outcomes))
    {
        eprintln!("{}: {error}", file.display());
        written = false;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && written { ExitCode::SUCCESS } else { ExitCode::from(exit::ERROR) }
}

fn test_file(path: &Path) -> Outcome {
    let name = path.display().to_string();
    let text = match files::read_text(path) {
        Ok(text) => text,
        Err(error) => return Outcome { passed: Vec::new(), failures: vec![error.to_string()] },
    };
    if path.extension().is_some_and(|extension| extension == "test") {
        let report = script::run(&text);
        for note in &report.notes {
            println!("{name}:{}: note: {}", note.line, note.message);
        }
        let told = |failure: &script::Failure| format!("{name}:{}: {}", failure.line, failure.message);
        let passed = report.cases.iter().map(told).collect();
        return Outcome { passed, failures: report.failures.iter().map(told).collect() };
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let report = unit_test::run(&name, &text, &|pattern| read_all(folder, pattern));
    Outcome { passed: report.cases, failures: report.failures }
}

/// Name and content of the files that a pattern names, beginning at a folder.
pub(crate) fn read_all(folder: &Path, pattern: &str) -> Result<Vec<(String, String)>, String> {
    let found = files::expand(&folder.join(pattern).to_string_lossy()).map_err(|error| error.to_string())?;
    let read = |path: PathBuf| Ok((path.display().to_string(), files::read_text(&path).map_err(|e| e.to_string())?));
    found.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_counts_each_case_and_goes_on_after_a_failed_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.test");
        std::fs::write(&path, "eval instant at 0 1 + 1\n  3\n\neval instant at 0 1 + 1\n  2\n").unwrap();
        let outcome = test_file(&path);
        assert_eq!(outcome.passed, [format!("{}:4: 1 + 1", path.display())]);
        let [failure] = outcome.failures.as_slice() else { panic!("{:?}", outcome.failures) };
        assert!(failure.starts_with(&format!("{}:1: ", path.display())), "{failure}");
    }

    #[test]
    fn a_unit_test_finds_its_rules_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        let rules = "groups:\n  - name: g\n    rules:\n      - record: two\n        expr: vector(2)\n";
        std::fs::write(folder.path().join("rules/g.yml"), rules).unwrap();
        let path = folder.path().join("g_test.yml");
        let test = "rule_files: [rules/*.yml]\ntests:\n  - promql_expr_test:\n      - expr: two\n        eval_time: 1m\n        exp_samples: [{labels: two, value: 2}]\n";
        std::fs::write(&path, test).unwrap();
        let outcome = test_file(&path);
        assert_eq!((outcome.passed.len(), outcome.failures), (1, Vec::new()));
        let missing = test_file(&folder.path().join("none.yml"));
        assert_eq!((missing.passed.len(), missing.failures.len()), (0, 1));
    }
}
