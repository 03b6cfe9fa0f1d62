//! Outcomes of tests as JUnit's XML, which build servers show.

use std::fmt::Write as _;

use crate::check::Outcome;

/// A document with a suite for each file and a case for each of its cases.
pub(crate) fn report(outcomes: &[(String, Outcome)]) -> String {
    let total = |count: fn(&Outcome) -> usize| outcomes.iter().map(|(_, outcome)| count(outcome)).sum::<usize>();
    let (tests, failures) = (total(cases), total(|outcome| outcome.failures.len()));
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<testsuites tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">");
    for (file, outcome) in outcomes {
        suite(file, outcome, &mut out);
    }
    out.push_str("</testsuites>\n");
    out
}

fn cases(outcome: &Outcome) -> usize {
    outcome.passed.len() + outcome.failures.len()
}

fn suite(file: &str, outcome: &Outcome, out: &mut String) {
    let (name, tests, failures) = (escaped(file), cases(outcome), outcome.failures.len());
    let _ = writeln!(out, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">");
    for case in &outcome.passed {
        let _ = writeln!(out, "    <testcase classname=\"{name}\" name=\"{}\"/>", escaped(case));
    }
    for failure in &outcome.failures {
        let title = escaped(failure.lines().next().unwrap_or_default());
        let _ = writeln!(out, "    <testcase classname=\"{name}\" name=\"{title}\">");
        let _ = writeln!(out, "      <failure message=\"{title}\">{}</failure>\n    </testcase>", escaped(failure));
    }
    out.push_str("  </testsuite>\n");
}

/// Text for elements and attributes. Characters that XML 1.0 cannot hold at all become the one that stands for them.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_told_and_nothing_breaks_the_markup() {
        let outcome = Outcome {
            passed: vec!["a.test:1: x < 2".to_owned()],
            failures: vec!["a.test:4: \"y\":\n\u{1}expected & found".to_owned()],
        };
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites tests=\"2\" failures=\"1\" errors=\"0\">
  <testsuite name=\"a.test\" tests=\"2\" failures=\"1\" errors=\"0\">
    <testcase classname=\"a.test\" name=\"a.test:1: x &lt; 2\"/>
    <testcase classname=\"a.test\" name=\"a.test:4: &quot;y&quot;:\">
      <failure message=\"a.test:4: &quot;y&quot;:\">a.test:4: &quot;y&quot;:&#10;\u{fffd}expected &amp; found</failure>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(report(&[("a.test".to_owned(), outcome)]), expected);
    }
}
