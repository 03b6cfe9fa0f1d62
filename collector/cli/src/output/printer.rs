//! Printing one answer, or one after the other while something is watched.
//!
//! On a terminal a watched table is drawn anew in its place. Elsewhere each answer follows the last: JSON as one line each,
//! YAML as documents, tables with an empty line between.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use super::{Format, Paint, Table, yaml};

/// An answer in both of its forms.
pub(crate) struct Page {
    /// For programs.
    pub(crate) value: Value,
    /// For people.
    pub(crate) table: Table,
    /// What people should know beside the table.
    pub(crate) notes: Vec<String>,
}

/// Where answers go.
pub(crate) struct Printer {
    format: Format,
    /// Whether more answers will follow.
    repeats: bool,
    terminal: bool,
    paint: Paint,
    last: Option<Vec<String>>,
}

impl Printer {
    pub(crate) fn new(format: Format, repeats: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { format, repeats, terminal, paint: Paint::for_stdout(), last: None }
    }

    /// Prints an answer, unless it shows the same as the last one.
    pub(crate) fn print(&mut self, page: &Page) -> std::io::Result<()> {
        let lines = page.table.lines(self.paint);
        let shown: Vec<String> = lines.iter().chain(&page.notes).cloned().collect();
        if self.last.as_ref() == Some(&shown) {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        write!(out, "{}", self.form(page, &lines)?)?;
        out.flush()?;
        if self.format == Format::Table {
            page.notes.iter().for_each(|note| crate::tell(&super::plain(note)));
        }
        self.last = Some(shown);
        Ok(())
    }

    fn form(&self, page: &Page, lines: &[String]) -> serde_json::Result<String> {
        Ok(match self.format {
            Format::Json if self.repeats => format!("{}\n", serde_json::to_string(&page.value)?),
            Format::Json => format!("{}\n", serde_json::to_string_pretty(&page.value)?),
            Format::Yaml if self.repeats => format!("---\n{}", yaml(&page.value)),
            Format::Yaml => yaml(&page.value),
            Format::Table => {
                let again = match (self.repeats, self.terminal, &self.last) {
                    (true, true, _) => "\u{1b}[H\u{1b}[2J\u{1b}[3J",
                    (true, false, Some(_)) => "\n",
                    _ => "",
                };
                format!("{again}{}\n", lines.join("\n"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(format: Format, repeats: bool, terminal: bool, last: Option<Vec<String>>, expected: &str) {
        let table = Table::new(["A"], [["x".into()]]);
        let page = Page { value: json!({"a": "x"}), table, notes: Vec::new() };
        let printer = Printer { format, repeats, terminal, paint: Paint { on: false }, last };
        assert_eq!(printer.form(&page, &page.table.lines(printer.paint)).unwrap(), expected);
    }

    #[test]
    fn watched_answers_follow_each_other_or_are_redrawn() {
        check(Format::Json, false, false, None, "{\n  \"a\": \"x\"\n}\n");
        check(Format::Json, true, true, None, "{\"a\":\"x\"}\n");
        check(Format::Yaml, false, false, None, "a: x\n");
        check(Format::Yaml, true, false, None, "---\na: x\n");
        check(Format::Table, false, true, None, "A\nx\n");
        check(Format::Table, true, false, None, "A\nx\n");
        check(Format::Table, true, false, Some(Vec::new()), "\nA\nx\n");
        check(Format::Table, true, true, Some(Vec::new()), "\u{1b}[H\u{1b}[2J\u{1b}[3JA\nx\n");
    }
}
