use watchfire_shared::labels::Labels;
use watchfire_shared::time::Span;

use super::*;
use crate::alertmanager::http::{Authorization, TlsVersion};

const GOOD: &str = include_str!("../../testdata/alertmanager/good.yml");

/// Reads a file and holds its mistakes against the lines at its end that begin with `#!`.
fn check(name: &str, text: &str) {
    let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
    let found: Vec<String> = match parse(name, text) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    };
    assert!(!expected.is_empty(), "{name} names no mistake; it gives\n#! {}", found.join("\n#! "));
    assert_eq!(found, expected, "{name}\n#! {}", found.join("\n#! "));
}

macro_rules! bad_files {
    ($($name:ident),* $(,)?) => {
        #[test]
        fn each_bad_file_gives_all_its_mistakes() {
            $(check(stringify!($name), include_str!(concat!("../../testdata/alertmanager/bad/", stringify!($name), ".yml")));)*
        }
    };
}

bad_files!(
    empty,
    not_yaml,
    unknown_keys,
    duplicate_key,
    wrong_kinds,
    zero_intervals,
    undefined_names,
    root_with_conditions,
    no_root_receiver,
    group_by,
    matchers,
    duplicate_names,
    webhook,
    unsupported_kinds,
    http_config,
    global_secrets,
    inhibit_rules,
    time_intervals,
    unsupported_parts,
    templated_labels
);

fn good() -> Config {
    parse("good.yml", GOOD).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

#[test]
fn routes_inherit_what_they_leave_out() {
    let config = good();
    let routes = config.routes.routes();
    let shown: Vec<String> = routes
        .iter()
        .map(|route| {
            let group_by = match &route.group_by {
                GroupBy::All => "...".to_owned(),
                GroupBy::Labels(names) => names.iter().cloned().collect::<Vec<_>>().join(","),
            };
            let times = [route.group_wait, route.group_interval, route.repeat_interval].map(|span| span.to_string());
            format!("{} -> {} by {group_by} {}", route.id, route.receiver, times.join("/"))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "{} -> team by alertname,cluster 30s/5m/4h",
            r#"{}/{service=~"^(?:foo|bar)$",team="db"} -> db by ... 0s/5m/1h"#,
            r#"{}/{service=~"^(?:foo|bar)$",team="db"}/{severity="page"} -> pager by ... 0s/1m/1h"#,
            r#"{}/{a!="b",c!~"d e"} -> team by alertname,cluster 30s/5m/4h"#,
            r#"{}/{a!="b",c!~"d e"}#1 -> pager by alertname,cluster 30s/5m/4h"#,
        ]
    );
    assert_eq!(routes[1].mute_time_intervals, ["nights"]);
    assert!(routes[2].mute_time_intervals.is_empty(), "a child does not inherit its parent's quiet times");
}

#[test]
fn an_alert_takes_the_first_route_and_those_after_continue() {
    let config = good();
    let take = |pairs: &[(&str, &str)]| config.routes.matching(&Labels::new(pairs.iter().copied()));
    assert_eq!(take(&[("a", "b")]), [0]);
    assert_eq!(take(&[("team", "db"), ("service", "foo"), ("a", "b")]), [1]);
    assert_eq!(take(&[("team", "db"), ("service", "foo"), ("severity", "page"), ("a", "b")]), [2]);
    assert_eq!(take(&[("team", "db"), ("service", "foo")]), [1, 3]);
    assert_eq!(take(&[("c", "d e"), ("a", "x")]), [0]);
}

#[test]
fn receivers_are_resolved_with_the_global_settings() {
    let config = good();
    let integrations = config.integrations("team");
    assert_eq!(
        integrations.iter().map(|integration| integration.id()).collect::<Vec<_>>(),
        ["team/webhook[0]", "team/webhook[1]"]
    );
    let webhooks: Vec<&Webhook> = integrations
        .iter()
        .map(|integration| match &integration.config {
            IntegrationConfig::Webhook(webhook) => webhook,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(!webhooks[0].http.follow_redirects, "as global says");
    assert_eq!((webhooks[0].max_alerts, webhooks[0].timeout), (10, Span::from_seconds(5)));
    assert!(!integrations[1].send_resolved);
    let http = &webhooks[1].http;
    assert!(
        matches!(&http.authorization, Some(Authorization::Basic { username: Some(_), password: Some(SecretSource::File(path)) }) if path == "/etc/password")
    );
    assert_eq!((http.tls.min_version, http.headers.len(), http.follow_redirects), (TlsVersion::Tls13, 1, true));
    assert_eq!(config.integrations("nobody").len(), 0);
    assert_eq!(config.global.resolve_timeout, Span::from_seconds(60));
}

#[test]
fn secrets_are_never_printed() {
    let printed = format!("{:?}", good());
    assert!(printed.contains("team") && !printed.contains("hunter2") && !printed.contains("token-in-url"), "{printed}");
    let mistakes =
        parse("x", &GOOD.replace("http://127.0.0.1/token-in-url", "htp://127.0.0.1/token-in-url")).unwrap_err();
    assert!(!mistakes.is_empty() && !format!("{mistakes:?}").contains("token-in-url"));
}

#[test]
fn classic_matchers_are_read_with_a_warning() {
    let config = good();
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            r#"good.yml:24:28: the matcher "c!~d e" is in the classic syntax (expected a comma before "e"); write c!~"d e""#
        ]
    );
}

#[test]
fn matchers_are_read_in_both_syntaxes() {
    let cases = [
        (r#"a="b""#, Some(r#"a="b""#)),
        ("a = b ,", Some(r#"a="b""#)),
        (r#"{ a=~"b|c", d!=e }"#, Some(r#"a=~"b|c",d!="e""#)),
        ("{}", Some("")),
        (r#"{"föö bar"="1"}"#, Some(r#""föö bar"="1""#)),
        ("🙂=1", Some(r#""🙂"="1""#)),
        (r#"a="\"\n\u00e9""#, Some("a=\"\\\"\\né\"")),
        (r"a=\d", Some(r#"a="\\d""#)),
        ("a=b=c", Some(r#"a="b=c""#)),
        ("a=", Some(r#"a="""#)),
        ("a", None),
        ("a=b}", Some(r#"a="b""#)),
        ("", None),
        (r#"a="b" c="d""#, None),
        (r#"a=~"(""#, None),
    ];
    for (text, expected) in cases {
        let found = matchers::parse(text)
            .ok()
            .map(|parsed| parsed.matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        assert_eq!(found.as_deref(), expected, "{text}");
    }
}

#[test]
fn template_files_are_loaded_and_their_mistakes_told() {
    let mut config = good();
    let file = |path: &str, text: &str| TemplateFile { path: path.to_owned(), text: text.to_owned() };
    let bad = config.load_templates(&|pattern| match pattern {
        "templates/*.tmpl" => {
            Ok(vec![file("a.tmpl", "{{ define \"a\" }}x{{ end }}"), file("b.tmpl", "x\n{{ nosuch }}")])
        }
        _ => Err("no such file".to_owned()),
    });
    let mistakes: Vec<String> = bad.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        mistakes,
        [
            "b.tmpl:2:4: function \"nosuch\" not defined",
            "good.yml:44:33: cannot read the templates \"/etc/other.tmpl\": no such file",
        ]
    );
    config.load_templates(&|_| Ok(vec![file("a.tmpl", "{{ define \"a\" }}x{{ end }}")])).unwrap();
    let own: Vec<&str> = config.templates.names().filter(|name| name.len() < 7).collect();
    assert_eq!(own, ["a", "a.tmpl"]);
    assert!(config.templates.names().any(|name| name == "slack.default.title"), "beside the default ones");
}
