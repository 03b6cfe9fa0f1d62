use super::*;

struct Example {
    name: String,
    wait: crate::time::Span,
}

fn example(node: &Node, report: &mut Report) -> Option<Example> {
    let mut table = Table::of(node, report)?;
    let name = table.required(report, "name", text);
    let wait = table.optional(report, "group_wait", span);
    let tags = table.optional(report, "tags", text_list);
    let on = table.optional(report, "enabled", boolean);
    table.finish(report);
    let _ = (tags, on);
    Some(Example { name: name?, wait: wait.unwrap_or_default() })
}

fn check(parse: fn(&str, &mut Report) -> Option<Node>, content: &str, expected: &[&str]) {
    let mut report = Report::new("f");
    let value = parse(content, &mut report).and_then(|node| example(&node, &mut report));
    let mistakes = report.finish(value.map(|value| (value.name, value.wait))).err().unwrap_or_default();
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(mistakes, expected, "{content}");
}

#[test]
fn every_mistake_is_reported_at_its_place_with_the_nearest_word() {
    check(yaml::parse, "name: a\ngroup_wait: 5m\nenabled: yes\ntags: [a, 'b', 3]\n", &[]);
    check(
        yaml::parse,
        "group_wiat: 5m\ntags:\n  - [x]\nenabled: 'yes'\n",
        &[
            "f:1:1: the key `name` is missing",
            "f:1:1: unknown key `group_wiat`, did you mean `group_wait`?",
            "f:3:5: expected text, found a list",
            "f:4:10: expected true or false, found \"yes\"",
        ],
    );
    check(yaml::parse, "name: a\nname: b\n", &["f:2:1: the key `name` stands here twice"]);
    check(
        yaml::parse,
        "name: a\ngroup_wait: soon\n",
        &[
            "f:2:13: expected a duration such as 30s, 5m or 1h30m (units y, w, d, h, m, s, ms, largest first), found \"soon\"",
        ],
    );
}

#[test]
fn toml_has_the_same_reports() {
    check(toml::parse, "name = \"a\"\ngroup_wait = \"1m\"\nenabled = true\n", &[]);
    check(
        toml::parse,
        "name = 5\n[zzz]\n",
        &[
            "f:1:8: expected text, found \"5\"",
            "f:2:2: unknown key `zzz`, expected one of enabled, group_wait, name, tags",
        ],
    );
    let mut report = Report::new("f");
    toml::parse("name = \nwait = [1,\n", &mut report);
    assert!(report.into_mistakes().iter().all(|mistake| mistake.message.starts_with("invalid TOML")));
}

#[test]
fn anchors_and_merges_are_expanded_within_bounds() {
    check(yaml::parse, "name: &n a\ngroup_wait: 1m\ntags: [*n]\n", &[]);
    check(yaml::parse, "<<: {name: x}\n", &[]);
    check(
        yaml::parse,
        "tags: [&a {name: x, <<: {name: y}}]\n<<: 5\n",
        &["f:1:1: the key `name` is missing", "f:1:8: expected text, found a table", "f:2:5: `<<` merges a table"],
    );
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f"), ("f", "g")] {
        bomb += &format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 10].join(","));
    }
    let mut report = Report::new("f");
    assert_eq!(yaml::parse(&bomb, &mut report), None);
    let deep = "[".repeat(100_000);
    assert_eq!(yaml::parse(&deep, &mut Report::new("f")), None);
}

#[test]
fn own_keys_win_over_merged_ones_wherever_they_stand() {
    let name = |content: &str| {
        let mut report = Report::new("f");
        let node = yaml::parse(content, &mut report).unwrap();
        let name = example(&node, &mut report).map(|example| example.name);
        report.finish(name).unwrap_or_else(|mistakes| mistakes[0].to_string())
    };
    assert_eq!(name("<<: {name: merged}\nname: own\n"), "own");
    assert_eq!(name("name: own\n<<: {name: merged}\n"), "own");
    assert_eq!(name("<<: [{name: first}, {name: second}]\n"), "first");
    assert_eq!(name("<<: [{<<: {name: inner}}, {name: second}]\n"), "inner");
    assert_eq!(name("<<: {name: merged}\nname: own\nname: own\n"), "f:3:1: the key `name` stands here twice");
}

#[test]
fn a_second_document_is_refused_or_left_alone() {
    let two = "name: a\n---\nname: [b\n";
    check(yaml::parse, two, &["f:2:1: the file holds more than one YAML document; one was expected"]);
    check(yaml::parse_first, two, &[]);
    check(yaml::parse, "---\nname: a\n...\n---\n", &[]);
    assert_eq!(yaml::second_document("---\nname: a\n"), None);
    assert_eq!(yaml::second_document("name: [\n"), None);
}

#[test]
fn the_nearest_word_is_near() {
    let words = ["group_wait", "group_interval", "receiver"];
    assert_eq!(nearest("reciever", words), Some("receiver"));
    assert_eq!(nearest("Group_Wait", words), Some("group_wait"));
    assert_eq!(nearest("colour", words), None);
}
