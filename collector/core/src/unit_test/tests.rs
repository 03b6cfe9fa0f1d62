use super::*;

/// The rules that ship, and their unit tests.
const DEFAULT_RULES: &[(&str, &str, &str)] = &[
    (
        "membership",
        include_str!("../../../../packaging/rules/membership.yml"),
        include_str!("../../../../packaging/rules/tests/membership_test.yml"),
    ),
    (
        "host",
        include_str!("../../../../packaging/rules/host.yml"),
        include_str!("../../../../packaging/rules/tests/host_test.yml"),
    ),
    (
        "collector",
        include_str!("../../../../packaging/rules/collector.yml"),
        include_str!("../../../../packaging/rules/tests/collector_test.yml"),
    ),
];

const RULES: &str = include_str!("../../testdata/rules/unit.yml");

fn run_with_rules(test: &str) -> Report {
    run("unit_test.yml", test, &|pattern| match pattern {
        "unit.yml" => Ok(vec![("unit.yml".to_owned(), RULES.to_owned())]),
        _ => Err(format!("no file matches {pattern:?}")),
    })
}

#[test]
fn the_default_rules_pass_their_unit_tests() {
    for (name, rules, tests) in DEFAULT_RULES {
        let report = run(&format!("{name}_test.yml"), tests, &|pattern| {
            assert_eq!(pattern, format!("../{name}.yml"));
            Ok(vec![(format!("{name}.yml"), (*rules).to_owned())])
        });
        assert_eq!(report.failures, [""; 0], "{report}");
        assert!(report.passed > 0, "{name}");
    }
}

#[test]
fn every_default_alert_has_a_unit_test_a_severity_and_words_for_people() {
    for (name, rules, tests) in DEFAULT_RULES {
        let report = rules::check(&[((*name).to_owned(), (*rules).to_owned())]);
        assert!(report.is_good() && report.warnings.is_empty(), "{report}");
        for rule in report.groups.iter().flat_map(|group| &group.rules) {
            let alert = rule.alert().expect("the default rules are alerts");
            assert!(tests.contains(&rule.name), "{} is in no unit test", rule.name);
            assert!(matches!(rule.labels["severity"].as_str(), "critical" | "warning"), "{}", rule.name);
            let texts: Vec<&str> = alert.annotations.keys().map(String::as_str).collect();
            assert_eq!(texts, ["description", "summary"], "{}", rule.name);
        }
    }
}

#[test]
fn the_run_goes_on_after_failures_and_counts_one_per_case() {
    let report = run_with_rules(include_str!("../../testdata/rules/unit_failing_test.yml"));
    let expected = include_str!("../../testdata/rules/unit_failing.txt");
    assert_eq!(report.to_string(), expected.trim_end());
}

#[test]
fn everything_that_promtool_documents_is_understood() {
    let report = run_with_rules(include_str!("../../testdata/rules/unit_test.yml"));
    assert_eq!(report.to_string(), "14 passed, 0 failed");
}

#[test]
fn mistakes_in_a_test_file_are_all_reported_at_their_places() {
    let report = run_with_rules(include_str!("../../testdata/rules/unit_mistakes_test.yml"));
    let expected = include_str!("../../testdata/rules/unit_mistakes.txt");
    assert_eq!(report.to_string(), expected.trim_end());
}

#[test]
fn a_rule_file_that_cannot_be_found_is_a_failure() {
    let report = run_with_rules("rule_files: [other.yml]\ntests: []\n");
    assert_eq!(report.to_string(), "unit_test.yml:1:14: no file matches \"other.yml\"\n0 passed, 1 failed");
}
