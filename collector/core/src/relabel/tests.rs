//! Rules as they stand in a file, and what they make of labels; the cases are those of Prometheus' own test.

use watchfire_shared::document::{Report, Value, yaml};

use super::*;

fn rules(text: &str) -> Result<Vec<Rule>, Vec<String>> {
    let mut report = Report::new("f");
    let root = yaml::parse(text, &mut report).unwrap();
    let Value::List(items) = &root.value else { panic!("a list, not {text}") };
    let rules: Vec<Rule> = items.iter().filter_map(|item| read(item, &mut report)).collect();
    let mistakes: Vec<String> = report.into_mistakes().iter().map(ToString::to_string).collect();
    if mistakes.is_empty() { Ok(rules) } else { Err(mistakes) }
}

/// Labels as `a=foo b=bar`; what is dropped is `-`.
fn check(labels: &str, text: &str, expected: &str) {
    let labels = Labels::new(labels.split_whitespace().map(|pair| pair.split_once('=').unwrap()));
    let found = apply(&rules(text).unwrap(), &labels, &labels);
    let found = found.map_or("-".to_owned(), |found| {
        let pairs = found.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(found, expected, "{text} of {labels}");
}

#[test]
fn series_become_what_prometheus_makes_of_them() {
    let abc = "a=foo b=bar c=baz";
    let cases = [
        (
            abc,
            r#"[{source_labels: [a], regex: "f(.*)", target_label: d, replacement: "ch${1}-ch${1}"}]"#,
            "a=foo b=bar c=baz d=choo-choo",
        ),
        (
            abc,
            r#"[{source_labels: [a, b], regex: "f(.*);(.*)r", target_label: a, replacement: "b${1}${2}m"},
                  {source_labels: [c, a], regex: "(b).*b(.*)ba(.*)", target_label: d, replacement: "$1$2$2$3"}]"#,
            "a=boobam b=bar c=baz d=boooom",
        ),
        (
            "a=foo",
            r#"[{source_labels: [a], regex: ".*o.*", action: drop},
                      {source_labels: [a], regex: "f(.*)", target_label: d, replacement: "ch$1-ch$1"}]"#,
            "-",
        ),
        ("a=foo b=bar", r#"[{source_labels: [a], regex: ".*o.*", action: drop}]"#, "-"),
        ("a=abc", r#"[{source_labels: [a], regex: ".*(b).*", target_label: d, replacement: "$1"}]"#, "a=abc d=b"),
        ("a=foo", r#"[{source_labels: [a], regex: "no-match", action: drop}]"#, "a=foo"),
        ("a=foo", r#"[{source_labels: [a], regex: "f|o", action: drop}]"#, "a=foo"),
        ("a=foo", r#"[{source_labels: [a], regex: "no-match", action: keep}]"#, "-"),
        ("a=foo", r#"[{source_labels: [a], regex: "f.*", action: KEEP}]"#, "a=foo"),
        ("a=boo", r#"[{source_labels: [a], regex: "f", target_label: b, replacement: "bar"}]"#, "a=boo"),
        // An empty replacement removes.
        ("a=foo f=x", r#"[{source_labels: [a], regex: "(f).*", target_label: f, replacement: ""}]"#, "a=foo"),
        ("a=foo", r#"[{target_label: b, replacement: c}]"#, "a=foo b=c"),
        ("a=foo", r#"[{source_labels: [a], target_label: b}]"#, "a=foo b=foo"),
        ("a=foo b=bar", r#"[{source_labels: [b, a], separator: "", target_label: b}]"#, "a=foo b=barfoo"),
        (abc, r#"[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]"#, "a=foo b=bar c=baz d=976"),
        (
            "a=foo b1=bar b2=baz",
            r#"[{regex: "(b.*)", replacement: "bar_${1}", action: labelmap}]"#,
            "a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz",
        ),
        (
            "a=foo __meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc",
            r#"[{regex: "__meta_(my.*)", action: labelmap}]"#,
            "__meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc a=foo my_bar=aaa my_baz=bbb",
        ),
        // Targets with groups; one that is empty is none.
        (
            "a=some-name-value",
            r#"[{source_labels: [a], regex: "some-([^-]+)-([^,]+)", target_label: "${1}", replacement: "${2}"}]"#,
            "a=some-name-value name=value",
        ),
        (
            "a=some-name-value",
            r#"[{source_labels: [a], regex: "some-([^-]+)-([^,]+)", target_label: "${3}", replacement: "${2}"}]"#,
            "a=some-name-value",
        ),
        (
            "a=some-name-0",
            r#"[{source_labels: [a], regex: "some-([^-]+)-([^,]+)", target_label: "${1}", replacement: "${3}"}]"#,
            "a=some-name-0",
        ),
        ("a=foo b1=bar b2=baz", r#"[{regex: "(b.*)", action: labelkeep}]"#, "b1=bar b2=baz"),
        ("a=foo b1=bar b2=baz", r#"[{regex: "(b.*)", action: labeldrop}]"#, "a=foo"),
        (
            "foo=bAr123Foo",
            r#"[{source_labels: [foo], target_label: upper, action: uppercase}, {source_labels: [foo], target_label: lower, action: lowercase}]"#,
            "foo=bAr123Foo lower=bar123foo upper=BAR123FOO",
        ),
        (
            "foo=aßİ",
            r#"[{source_labels: [foo], target_label: upper, action: uppercase}, {source_labels: [foo], target_label: lower, action: lowercase}]"#,
            "foo=aßİ lower=aßi upper=Aßİ",
        ),
        (
            "port=1234 __port1=1234",
            r#"[{source_labels: [port], target_label: __port1, action: keepequal}]"#,
            "__port1=1234 port=1234",
        ),
        ("port=1234 __port1=5678", r#"[{source_labels: [port], target_label: __port1, action: keepequal}]"#, "-"),
        ("port=1234 __port1=1234", r#"[{source_labels: [port], target_label: __port1, action: dropequal}]"#, "-"),
        (
            "port=1234 __port1=5678",
            r#"[{source_labels: [port], target_label: __port1, action: dropequal}]"#,
            "__port1=5678 port=1234",
        ),
    ];
    for (labels, text, expected) in cases {
        check(labels, text, expected);
    }
}

#[test]
fn of_two_labels_that_are_mapped_to_one_name_that_which_was_set_later_wins() {
    let rules = rules(r#"[{regex: "(cluster|zone|x)", replacement: region, action: labelmap}]"#).unwrap();
    let (first, all) = (Labels::new([("zone", "1")]), Labels::new([("cluster", "eu"), ("zone", "1")]));
    assert_eq!(apply(&rules, &all, &first).unwrap().get("region"), Some("eu"));
    assert_eq!(apply(&rules, &all, &all).unwrap().get("region"), Some("1"));
    check("a=foo b=bar", r#"[{regex: "a(x?)", replacement: "$1", action: labelmap}]"#, "a=foo b=bar");
}

#[test]
fn what_an_action_does_not_look_at_must_not_be_said() {
    let cases = [
        ("[{source_labels: [a]}]", "f:1:2: the action replace needs a `target_label`"),
        ("[{action: hashmod, target_label: b}]", "f:1:2: the action hashmod needs a `modulus` that is not 0"),
        (
            "[{action: hashmod, target_label: b, modulus: -0}]",
            "f:1:2: the action hashmod needs a `modulus` that is not 0",
        ),
        (
            "[{action: lowercase, target_label: b, replacement: x}]",
            "f:1:39: the action lowercase takes no `replacement`",
        ),
        ("[{action: keepequal, target_label: b, regex: x}]", "f:1:39: the action keepequal takes no `regex`"),
        ("[{action: dropequal, target_label: b, separator: x}]", "f:1:39: the action dropequal takes no `separator`"),
        (
            "[{action: labeldrop, regex: b, source_labels: [x]}]",
            "f:1:32: the action labeldrop takes no `source_labels`",
        ),
        ("[{action: labelkeep, regex: b, target_label: x}]", "f:1:32: the action labelkeep takes no `target_label`"),
        (
            "[{action: labelmap, regex: b, replacement: \"\"}]",
            "f:1:2: the action labelmap needs a `replacement` that is not empty",
        ),
        ("[{action: dorp}]", "f:1:11: unknown word \"dorp\", did you mean `drop`?"),
        ("[{action: keep, source_label: [a]}]", "f:1:17: unknown key `source_label`, did you mean `source_labels`?"),
        ("[{action: keep, source_labels: [\"\"]}]", "f:1:33: a label's name is not empty"),
        ("[{action: keep, regex: \"a(\"}]", "f:1:24: invalid regular expression \"a(\": missing closing ): `a(`"),
        ("[{action: hashmod, target_label: b, modulus: -1}]", "f:1:46: -1 is not between 0 and 9223372036854775807"),
    ];
    for (text, expected) in cases {
        let mistakes = rules(text).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake == expected), "{text}: {mistakes:?}");
    }
    // What says the default says nothing.
    let defaults = "[{action: keepequal, target_label: b, regex: (.*), separator: ;, modulus: 0, replacement: $1}]";
    assert_eq!(rules(defaults).map(|rules| rules.len()), Ok(1));
}
