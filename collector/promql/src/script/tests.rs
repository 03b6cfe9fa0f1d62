use super::*;

/// Asserts that every case of a script passes and that there are as many as `eval` lines.
fn passes(text: &str) {
    let report = run(text);
    assert_eq!(report.failures, [], "{text}");
    assert_eq!(report.passed, text.lines().filter(|line| line.trim_start().starts_with("eval")).count());
}

/// Asserts the line and a part of the message of each failure.
fn fails(text: &str, failures: &[(usize, &str)]) {
    let report = run(text);
    let lines: Vec<usize> = report.failures.iter().map(|failure| failure.line).collect();
    assert_eq!(lines, failures.iter().map(|(line, _)| *line).collect::<Vec<_>>(), "{:?}", report.failures);
    for (failure, (_, part)) in report.failures.iter().zip(failures) {
        assert!(failure.message.contains(part), "{failure:?} should say {part:?}");
    }
}

#[test]
fn the_shipped_scripts_pass() {
    passes(include_str!("../../testdata/selectors.test"));
    passes(include_str!("../../testdata/operators.test"));
    passes(include_str!("../../testdata/aggregations.test"));
    passes(include_str!("../../testdata/functions.test"));
    passes(include_str!("../../testdata/histograms.test"));
    passes(include_str!("../../testdata/info.test"));
}

#[test]
fn a_failed_case_does_not_end_the_script() {
    fails(
        "load 1m\n  x 1 2\n\neval instant at 1m x\n  x 3\n\neval instant at 1m x\n  x 2\n\neval instant at 1m x +\n",
        &[(4, "expected 3 for x, found 2"), (10, "unexpected end of input")],
    );
}

#[test]
fn missing_and_unexpected_series_fail() {
    fails("eval instant at 0 vector(1)\n", &[(1, "unexpected series {} 1")]);
    fails("eval instant at 0 x\n  x 1\n", &[(1, "expected series x 1, found none")]);
}

#[test]
fn expectations_that_are_not_met_fail() {
    fails("eval instant at 0 1\n expect fail\n", &[(1, "should fail")]);
    fails("eval instant at 0 1\n expect warn\n 1\n", &[(1, "expected warning")]);
    fails("load 1m\n x 1 2\n\neval instant at 1m rate(x[2m])\n expect no_info\n {} 1\n", &[(4, "expected no info")]);
    fails("eval instant at 0 sort(vector(1))\n expect string \"a\"\n", &[(1, "expected Text")]);
}

#[test]
fn unreadable_commands_are_failures() {
    fails(
        "frobnicate\n\nload x\n\neval instant x\n\nload 1m\n x 1z\n",
        &[(1, "unknown command"), (3, "expected load <step>"), (5, "expected eval instant"), (8, "expected a value")],
    );
}

#[test]
fn native_histograms_are_left_out_and_noted() {
    let report = run("load 1m\n  h {{count:1}}\n  x 1\n\neval instant at 0 {__name__=~\"h|x\"}\n  x 1\n");
    assert_eq!((report.passed, report.failures.len()), (1, 0));
    assert_eq!(report.notes.len(), 1);
    assert_eq!(report.notes[0].line, 2);
}
