//! What `check-rules` tells about rule files.

use std::fmt::{self, Write as _};

use watchfire_promql::Syntax;
use watchfire_shared::document::{Mistake, Position, yaml};

use super::{Group, file, lint};

/// The result of checking rule files.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// The groups of the files without a mistake, file by file.
    pub groups: Vec<Group>,
    /// What keeps files from being loaded.
    pub mistakes: Vec<Mistake>,
    /// What is loaded but seldom meant.
    pub warnings: Vec<Mistake>,
    excerpts: Vec<String>,
    /// The lines that the warnings are about.
    marks: Vec<String>,
}

/// Checks rule files, given as name and content.
#[must_use]
pub fn check(files: &[(String, String)]) -> CheckReport {
    check_with(files, Syntax::default())
}

/// As [`check`], with the choice of what expressions may use.
#[must_use]
pub fn check_with(files: &[(String, String)], syntax: Syntax) -> CheckReport {
    let mut report = CheckReport::default();
    let mut good = Vec::new();
    for (name, content) in files {
        match file::parse_with(name, content, syntax) {
            Ok(groups) => {
                good.push((name, content, groups.len()));
                report.groups.extend(groups);
            }
            Err(mistakes) => {
                report.excerpts.extend(mistakes.iter().map(|mistake| excerpt(content, mistake.at)));
                report.mistakes.extend(mistakes);
            }
        }
    }
    let mut rest = report.groups.as_slice();
    for (name, content, count) in good {
        let (groups, others) = rest.split_at(count);
        let mut warnings = lint::lint(groups, &report.groups);
        warnings.extend(yaml::unread(name, content));
        report.marks.extend(warnings.iter().map(|warning| excerpt(content, warning.at)));
        report.warnings.extend(warnings);
        rest = others;
    }
    report
}

impl CheckReport {
    /// Whether every file can be loaded.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// How many rules were found in the good files.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }
}

impl fmt::Display for CheckReport {
    /// Every mistake with its line and a caret, then the warnings, then what was found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (mistake, excerpt) in self.mistakes.iter().zip(&self.excerpts) {
            writeln!(f, "{mistake}\n{excerpt}")?;
        }
        for (warning, mark) in self.warnings.iter().zip(&self.marks) {
            let place = warning.at.map(|at| format!("{}:{}:", at.line, at.column)).unwrap_or_default();
            writeln!(f, "{}:{place} warning: {}\n{mark}", warning.file, warning.message)?;
        }
        let counts = [
            (self.groups.len(), "group"),
            (self.rules(), "rule"),
            (self.mistakes.len(), "mistake"),
            (self.warnings.len(), "warning"),
        ];
        let counts = counts.map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }));
        writeln!(f, "{}", counts.join(", "))
    }
}

/// The line of a place with a caret below it; the empty text where there is no such line.
#[must_use]
pub fn excerpt(content: &str, at: Option<Position>) -> String {
    // Longer lines are cut around the caret, so that a minified file does not flood the terminal.
    const WIDTH: usize = 100;
    let Some((at, line)) = at.and_then(|at| Some((at, content.lines().nth(at.line.checked_sub(1)? as usize)?))) else {
        return String::new();
    };
    let column = (at.column.saturating_sub(1) as usize).min(line.chars().count());
    let skipped = if line.chars().count() > WIDTH { column.saturating_sub(WIDTH / 2) } else { 0 };
    let shown: String =
        line.chars().skip(skipped).take(WIDTH).map(|char| if char == '\t' { ' ' } else { char }).collect();
    let number = at.line.to_string();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "  {number} | {shown}\n  {:width$} | {:caret$}^",
        "",
        "",
        width = number.len(),
        caret = column - skipped
    );
    out
}
