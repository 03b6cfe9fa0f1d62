use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::notification::{DEFAULTS, NotificationData, NotificationFunctions};
use super::rule::{self, RuleData};
use super::{Escape, TemplateSet};
use crate::alert::Alert;

fn expand(text: &str) -> Result<String, String> {
    let labels = Labels::new([("__name__", "up"), ("instance", "web-1.example.org:9100"), ("severity", "page")]);
    let external_labels = Labels::new([("cluster", "eu")]);
    let data = RuleData {
        labels: &labels,
        value: 1_234_567.0,
        external_labels: &external_labels,
        external_url: "http://watch:7960/base",
        now: Timestamp::from_millis(1_500),
    };
    let query = |expression: &str| match expression {
        "up" => Ok(vec![
            (Labels::new([("instance", "b"), ("__value__", "x")]), 2.0),
            (Labels::new([("instance", "a")]), 1.0),
        ]),
        "none" => Ok(Vec::new()),
        other => Err(format!("cannot evaluate {other}")),
    };
    let expanded = rule::Template::new(text).expand(&rule::Values::new(data), &query);
    expanded.map(|text| text.to_string()).map_err(|error| error.to_string())
}

fn notify(text: &str) -> Result<String, String> {
    notify_escaped(text, Escape::None, "t")
}

/// Renders a notification template over two alerts, of which one has resolved.
fn notify_escaped(text: &str, escape: Escape, name: &str) -> Result<String, String> {
    let alert = |instance: &str, ends_at: Option<i64>| Alert {
        labels: Labels::new([("alertname", "Disk <full>"), ("instance", instance), ("zone", "eu")]),
        annotations: Labels::new([("summary", "a & b")]),
        starts_at: Timestamp::from_millis(1_643_114_203_500),
        ends_at: ends_at.map(Timestamp::from_millis),
        timeout: false,
        updated_at: Timestamp::EPOCH,
        generator_url: "http://g/".to_owned(),
    };
    let (firing, resolved) = (alert("b", None), alert("a", Some(1_643_114_263_500)));
    let group_labels = Labels::new([("alertname", "Disk <full>")]);
    let common_labels = Labels::new([("alertname", "Disk <full>"), ("zone", "eu"), ("a", "first")]);
    let now = Timestamp::from_millis(1_643_114_323_500);
    let route_labels = [("team".to_owned(), "a <b>".to_owned())].into();
    let data = NotificationData {
        now,
        receiver: "team",
        alerts: &[&firing, &resolved],
        group_labels: &group_labels,
        common_labels: &common_labels,
        common_annotations: &Labels::default(),
        external_url: "http://watch:7960",
        reason: "first notification",
        route_labels: &route_labels,
    };
    let functions = NotificationFunctions { now, route_labels: route_labels.clone() };
    let mut set = TemplateSet::default();
    for (name, text) in DEFAULTS {
        set.add(name, text, &functions).unwrap();
    }
    if name.is_empty() {
        return set.render_text(text, &data.value(), &functions, escape).map_err(|error| error.to_string());
    }
    set.add(name, text, &functions).map_err(|error| error.to_string())?;
    set.render(name, &data.value(), &functions).map_err(|error| error.to_string())
}

/// Runs a script of `template`, then `=> output` or `!! error`; `\n` in both is a line end.
fn check(script: &str, expand: fn(&str) -> Result<String, String>) {
    let mut template = String::new();
    let mut cases = 0;
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let unescape = |text: &str| text.replace("\\n", "\n");
        let expected = match (line.strip_prefix("=>"), line.strip_prefix("!!")) {
            (Some(output), _) => Ok(unescape(output.strip_prefix(' ').unwrap_or(output))),
            (_, Some(error)) => Err(unescape(error.strip_prefix(' ').unwrap_or(error))),
            _ => {
                template = unescape(line);
                continue;
            }
        };
        assert_eq!(expand(&template), expected, "{template}");
        cases += 1;
    }
    assert!(cases > 0, "the script holds no case");
}

#[test]
fn the_language_is_gos() {
    check(include_str!("../../testdata/template/language.txt"), expand);
}

#[test]
fn rule_functions_are_prometheus() {
    check(include_str!("../../testdata/template/rule.txt"), expand);
}

#[test]
fn notification_functions_are_alertmanagers() {
    check(include_str!("../../testdata/template/notification.txt"), notify);
}

#[test]
fn values_stay_texts_in_html() {
    check(include_str!("../../testdata/template/html.txt"), |text| notify_escaped(text, Escape::Html, ""));
}

#[test]
fn values_are_no_markup_in_slack() {
    check(include_str!("../../testdata/template/mrkdwn.txt"), |text| notify_escaped(text, Escape::Mrkdwn, ""));
}

#[test]
fn the_default_templates_print_what_alertmanagers_do() {
    let mut names = Vec::new();
    for case in include_str!("../../testdata/template/defaults.txt").split("\n=== ").skip(1) {
        let (head, output) = case.split_once('\n').unwrap();
        let (name, dot) = head.split_once(' ').unwrap();
        let expected = output.trim_end_matches('\n').strip_prefix('|').unwrap().strip_suffix('|').unwrap();
        let found = notify_escaped(&format!("{{{{ template {name:?} {dot} }}}}"), Escape::None, "");
        assert_eq!(found.as_deref(), Ok(expected), "{name}");
        names.push(name);
    }
    assert_eq!(names.len(), 62, "every template of default.tmpl is held against Alertmanager's");
}

#[test]
fn the_default_mail_holds_hostile_values_as_text() {
    let html = r#"{{ template "email.default.html" . }}"#;
    let html = notify_escaped(html, Escape::Html, "").unwrap();
    assert_eq!(html, include_str!("../../testdata/template/email.html"), "{html}");
    let text = notify_escaped(r#"{{ template "email.default.text" . }}"#, Escape::None, "").unwrap();
    assert_eq!(text, include_str!("../../testdata/template/email.txt"), "{text}");
}

#[test]
fn no_value_makes_up_a_link_of_markdown() {
    let text = r#"[ours](http://x) {{ "[a](http://evil) \u202e" }}"#;
    let shown = notify_escaped(text, Escape::Markdown, "").unwrap();
    assert_eq!(shown, "[ours](http://x) [a] (http://evil) \u{fffd}");
}

#[test]
fn a_call_of_a_template_that_is_not_there_is_found_before_it_is_rendered() {
    let functions = NotificationFunctions::for_reading();
    let mut set = TemplateSet::default();
    set.add("a.tmpl", r#"{{ define "a" }}{{ if .x }}{{ template "b" }}{{ end }}{{ end }}"#, &functions).unwrap();
    let check = |text: &str| set.check_text(text, &functions).map_err(|error| error.to_string());
    assert_eq!(check("x"), Ok(()));
    assert_eq!(check(r#"{{ template "c" . }}"#), Err("1:1: template \"c\" not defined".to_owned()));
    let indirect = Err("a.tmpl:1:28: template \"b\" not defined".to_owned());
    assert_eq!(check(r#"{{ range .y }}{{ template "a" . }}{{ end }}"#), indirect);
    assert_eq!(check(r#"{{ define "b" }}{{ end }}{{ template "a" . }}"#), Ok(()));
}

#[test]
fn mistakes_are_named_with_their_place() {
    check(include_str!("../../testdata/template/mistakes.txt"), expand);
}

#[test]
fn a_template_cannot_run_away() {
    let loops = "{{ range $i := 100000 }}{{ range $j := 100000 }}{{ $j }}{{ end }}{{ end }}";
    assert!(expand(loops).unwrap_err().contains("bytes"));
    let silent = "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}";
    assert!(expand(silent).unwrap_err().contains("steps"));
    let recursion = r#"{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}"#;
    assert!(expand(recursion).unwrap_err().contains("levels deep"));
    let (ifs, ends) = ("{{ if (((1))) }}".repeat(50), "{{ end }}".repeat(50));
    let steep =
        format!(r#"{{{{ define "a" }}}}{ifs}{{{{ template "a" . }}}}{ends}{{{{ end }}}}{{{{ template "a" . }}}}"#);
    assert!(expand(&steep).unwrap_err().contains("levels deep"));
    let doubling = r#"{{ $x := "0123456789" }}{{ range 64 }}{{ $x = printf "%s%s" $x $x }}{{ end }}"#;
    assert!(expand(doubling).unwrap_err().contains("longer than"));
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(expand(&deep).unwrap_err().contains("nested deeper"));
    assert_eq!(expand(r#"{{ printf "%.70000d" 7 | len }}"#), Ok("70000".to_owned()));
    let replaced = r#"{{ $x := printf "%500000d" 1 }}{{ reReplaceAll "." $x $x }}"#;
    assert!(expand(replaced).unwrap_err().contains("longer than"));
}
