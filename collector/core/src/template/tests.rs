use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::TemplateSet;
use super::notification::{NotificationData, NotificationFunctions};
use super::rule::{self, RuleData};
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
    rule::expand(text, data, &query).map_err(|error| error.to_string())
}

/// Renders a notification template over two alerts, of which one has resolved.
fn notify(text: &str) -> Result<String, String> {
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
    let data = NotificationData {
        now,
        receiver: "team",
        alerts: &[&firing, &resolved],
        group_labels: &group_labels,
        common_labels: &common_labels,
        common_annotations: &Labels::default(),
        external_url: "http://watch:7960",
    };
    let functions = NotificationFunctions { now };
    let mut set = TemplateSet::default();
    set.add("t", text, &functions).map_err(|error| error.to_string())?;
    set.render("t", &data.value(), &functions).map_err(|error| error.to_string())
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
    let replaced = r#"{{ $x := printf "%500000d" 1 }}{{ reReplaceAll "." $x $x }}"#;
    assert!(expand(replaced).unwrap_err().contains("longer than"));
}
