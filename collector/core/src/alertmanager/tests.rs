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
    receivers,
    http_config,
    global_secrets,
    inhibit_rules,
    time_intervals,
    templated_labels,
    email,
    slack,
    incidents_and_chats,
    more_incidents_and_chats
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
            IntegrationConfig::Webhook(webhook) => &**webhook,
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

/// The integrations of one receiver, below a `global`.
fn integrations(global: &str, receiver: &str) -> Vec<Arc<Integration>> {
    let text = format!("global: {{{global}}}\nroute: {{receiver: team}}\nreceivers:\n  - name: team\n{receiver}");
    let config = parse("x", &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    config.integrations("team").to_vec()
}

#[test]
fn mails_take_from_global_what_they_leave_out() {
    let global = "smtp_from: w@example.org, smtp_smarthost: 'mail:587', smtp_hello: watch, smtp_auth_username: u, \
                  smtp_auth_password_file: /etc/p, smtp_require_tls: no, smtp_tls_config: {server_name: mail.example}";
    let receiver = "    email_configs:\n      - {to: a@example.org}\n      - {to: a@example.org, from: b@example.org, \
                    smarthost: '[::1]:465', hello: h, auth_username: v, auth_password: q, require_tls: true, tls_config: {}}\n";
    let found = integrations(global, receiver);
    let emails: Vec<&Email> = found
        .iter()
        .map(|integration| match &integration.config {
            IntegrationConfig::Email(email) => &**email,
            other => panic!("{other:?}"),
        })
        .collect();
    let shown = |email: &Email| {
        let Email { from, hello, username, password, require_tls, implicit_tls, tls, .. } = email;
        let Smarthost { host, port } = &email.smarthost;
        let password = password.as_ref().is_some_and(|password| matches!(password, SecretSource::File(_)));
        let username = username.as_deref().unwrap_or("-");
        let name = tls.server_name.as_deref().unwrap_or("-");
        format!("{} {hello} {host} {port} {username} {password} {require_tls} {implicit_tls} {name}", from.text)
    };
    assert_eq!(shown(emails[0]), "w@example.org watch mail 587 u true false false mail.example");
    assert_eq!(shown(emails[1]), "b@example.org h ::1 465 v false true true -");
    assert!(found.iter().all(|integration| !integration.send_resolved), "mails tell of resolved alerts only if asked");
}

#[test]
fn slack_takes_its_address_and_token_from_where_they_are_set() {
    let shown = |global: &str, receiver: &str| {
        let found = integrations(global, &format!("    slack_configs: [{{{receiver}}}]\n"));
        let IntegrationConfig::Slack(slack) = &found[0].config else { panic!("{found:?}") };
        let url = match &slack.url {
            SecretSource::Inline(url) => url.expose().to_owned(),
            SecretSource::File(path) => format!("file {path}"),
        };
        let token = match &slack.http.authorization {
            Some(Authorization::Header { kind, credentials: SecretSource::Inline(token) }) => {
                format!(" {kind} {}", token.expose())
            }
            Some(other) => format!(" {other:?}"),
            None => String::new(),
        };
        url + &token
    };
    let bots = "https://slack.com/api/chat.postMessage";
    assert_eq!(shown("slack_api_url_file: /u", ""), "file /u");
    assert_eq!(shown("slack_api_url: 'http://g/'", "api_url: 'http://o/'"), "http://o/");
    assert_eq!(shown("slack_app_token: g", ""), format!("{bots} Bearer g"));
    assert_eq!(shown("slack_app_token: g", "app_token: o, app_url: 'http://a/'"), "http://a/ Bearer o");
    assert_eq!(shown("slack_app_token: g", "api_url: 'http://o/'"), "http://o/");
    assert_eq!(shown("slack_app_token: g, slack_app_url: 'http://a/'", ""), "http://a/ Bearer g");
    let both = format!("slack_app_token: g, slack_api_url: '{bots}'");
    assert_eq!(shown(&both, "http_config: {authorization: {credentials: w}}"), format!("{bots} Bearer w"));
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
    let receiver =
        "    slack_configs: [{api_url: 'http://127.0.0.1/', title: '{{ template \"a\" . }}{{ template \"b\" . }}'}]\n";
    let calls = format!("route: {{receiver: team}}\nreceivers:\n  - name: team\n{receiver}");
    let undefined = parse("calls.yml", &calls).unwrap().load_templates(&|_| Ok(Vec::new())).unwrap_err();
    let told: Vec<String> = undefined.iter().map(ToString::to_string).collect();
    assert_eq!(told, [r#"calls.yml:4:59: template "a" not defined"#]);
    let own: Vec<&str> = config.templates.names().filter(|name| name.len() < 7).collect();
    assert_eq!(own, ["a", "a.tmpl"]);
    assert!(config.templates.names().any(|name| name == "slack.default.title"), "beside the default ones");
}

/// A file with something in one section of it; `{}` stands where.
fn section(name: &str) -> String {
    let tail = "route: {receiver: r}\nreceivers: [{name: r}]\n";
    match name {
        "root" => format!("{tail}{{}}"),
        "global" => format!("global: {{{{}}}}\n{tail}"),
        "route" => "route: {receiver: r, routes: [{{}}]}\nreceivers: [{name: r}]\n".to_owned(),
        "inhibit_rule" => format!("inhibit_rules: [{{{{}}}}]\n{tail}"),
        "time_interval" => format!("time_intervals: [{{name: t, time_intervals: [{{{{}}}}]}}]\n{tail}"),
        "receiver" => "route: {receiver: r}\nreceivers: [{name: r}, {{}}]\n".to_owned(),
        "http_config" => format!("global: {{http_config: {{{{}}}}}}\n{tail}"),
        "tls_config" => format!("global: {{http_config: {{tls_config: {{{{}}}}}}}}\n{tail}"),
        "sigv4" => "route: {receiver: r}\nreceivers: [{name: r, sns_configs: [{sigv4: {{}}}]}]\n".to_owned(),
        "oauth2" => format!("global: {{http_config: {{oauth2: {{{{}}}}}}}}\n{tail}"),
        "threaded_options" => {
            "route: {receiver: r}\nreceivers: [{name: r, slack_configs: [{threaded_options: {{}}}]}]\n".to_owned()
        }
        "threading" => "route: {receiver: r}\nreceivers: [{name: r, email_configs: [{threading: {{}}}]}]\n".to_owned(),
        kind if kind.ends_with("_config") => {
            format!("route: {{receiver: r}}\nreceivers: [{{name: r, {kind}s: [{{{{}}}}]}}]\n")
        }
        other => panic!("there is no section {other}"),
    }
}

fn section_with(name: &str, entry: &str) -> String {
    section(name).replacen("{}", entry, 1)
}

fn mistakes_of(section_name: &str, entry: &str) -> Vec<String> {
    let found = parse("keys", &section_with(section_name, entry)).err().unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_of_alertmanager_is_known_and_what_is_not_supported_is_refused_by_name() {
    let mut known = 0;
    for line in include_str!("../../testdata/alertmanager/keys.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let section = words.next().unwrap_or_default();
        for word in words {
            let (word, passed) = word.split_once('~').map_or((word, None), |(key, value)| (key, Some(value)));
            let (key, refused) = word.split_once('!').map_or((word, None), |(key, value)| (key, Some(value)));
            let unset = mistakes_of(section, &format!("{key}: null"));
            // The file of the section `root` names some of its keys itself.
            let unknown = unset.iter().find(|mistake| mistake.contains("unknown key"));
            assert_eq!(unknown, None, "{section}: {key}");
            let told = |mistakes: &[String]| {
                mistakes.iter().any(|m| m.contains(&format!("`{key}`")) && m.contains("not supported"))
            };
            if let Some(value) = refused {
                let mistakes = mistakes_of(section, &format!("{key}: {value}"));
                assert!(told(&mistakes), "{section}: {key} is dropped in silence: {mistakes:?}");
            }
            if let Some(value) = passed {
                let text = section_with(section, &format!("{key}: {value}"));
                let warnings = parse("keys", &text).unwrap().warnings;
                let warned = warnings.iter().any(|w| w.message.contains(&format!("`{key}` is passed over")));
                assert!(warned, "{section}: {key} is dropped in silence: {warnings:?}");
            }
            assert!(!told(&unset), "{section}: {key} is refused although nothing is set: {unset:?}");
            known += 1;
        }
        let nonsense = mistakes_of(section, "nosuchkey: null");
        assert!(nonsense.iter().any(|mistake| mistake.contains("unknown key `nosuchkey`")), "{section}: {nonsense:?}");
    }
    assert_eq!(known, 403, "keys that the table holds");
}
