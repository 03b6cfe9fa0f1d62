//! Rule files, good and bad.

use super::super::*;

fn check_file(name: &str, content: &str, expected: &str) {
    let report = check(&[(name.to_owned(), content.to_owned())]);
    assert_eq!(report.to_string(), expected);
}

#[test]
fn every_mistake_of_a_file_is_reported_with_its_line_and_a_caret() {
    let file = include_str!("../../../testdata/rules/mistakes.yml");
    check_file("mistakes.yml", file, include_str!("../../../testdata/rules/mistakes.txt"));
}

#[test]
fn what_is_loaded_but_seldom_meant_is_a_warning() {
    let file = include_str!("../../../testdata/rules/warnings.yml");
    check_file("warnings.yml", file, include_str!("../../../testdata/rules/warnings.txt"));
}

#[test]
fn everything_of_the_format_is_read() {
    let groups = parse("all.yml", include_str!("../../../testdata/rules/all.yml")).unwrap();
    let [group, empty] = &groups[..] else { panic!("{groups:?}") };
    assert_eq!((group.name.as_str(), group.limit, group.rules.len()), ("all of it", 10, 2));
    assert_eq!(group.interval.map(|span| span.to_string()).as_deref(), Some("30s"));
    assert_eq!(group.query_offset.map(|span| span.to_string()).as_deref(), Some("1m"));
    let alert = group.rules[0].alert().unwrap();
    assert_eq!((alert.hold.to_string(), alert.keep_firing_for.to_string()), ("5m".to_owned(), "1h30m".to_owned()));
    let labels: Vec<(&str, &str)> = group.rules[0].labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("cluster", ""), ("numeric", "1"), ("severity", "page"), ("team", "db")]);
    assert_eq!(group.rules[1].labels["team"], "infra");
    assert!(group.rules[1].alert().is_none());
    assert_eq!((empty.interval, empty.rules.len()), (None, 0));
}

#[test]
fn an_empty_file_has_no_groups() {
    assert!(parse("e", "").unwrap().is_empty());
    assert!(parse("e", "groups:\n").unwrap().is_empty());
}

#[test]
fn a_long_line_is_cut_around_its_mistake() {
    let content = format!("{}x{}", "a".repeat(300), "b".repeat(300));
    let at = watchfire_shared::document::Position { line: 1, column: 301 };
    let shown = excerpt(&content, Some(at));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0].len(), "  1 | ".len() + 100);
    assert_eq!(lines[0].find('x'), lines[1].find('^'));
    assert_eq!(excerpt("a", None), "");
}
