//! The services that are asked in manners of their own: what each takes of a value, and where it must not go.

use serde_json::{Value, json};

use super::super::conversations::{Answers, Service};
use super::*;

/// What satisfies all of them.
const ANSWERS: Answers = |line, _| {
    let answer = json!({"success": true, "errcode": 0, "access_token": "t", "issues": []});
    (if line.starts_with("GET /rest") { 500 } else { 200 }, answer)
};

/// Every kind that is asked here, with values wherever its templates take them.
const RECEIVERS: &str = "    pushover_configs: [{user_key: u, token: t, title: '{{ .CommonLabels.team }}', message: '{{ .CommonAnnotations.summary }}', device: '{{ .CommonLabels.team }}'}, {user_key: u, token: t, html: true}]
    sns_configs: [{api_url: 'http://ADDRESS/sns', topic_arn: 'arn:aws:sns:eu-1:7:t', subject: '{{ .CommonLabels.team }}', attributes: {a: '{{ .CommonLabels.team }}'}, sigv4: {access_key: a, secret_key: k}}]
    msteams_configs: [{webhook_url: 'http://ADDRESS/msteams', text: '{{ .CommonAnnotations.summary }}'}]
    victorops_configs: [{api_key: k, api_url: 'http://ADDRESS/victorops/', routing_key: '{{ .CommonLabels.team }}', custom_fields: {node: '{{ .CommonLabels.instance }}'}}]
    webex_configs: [{api_url: 'http://ADDRESS/webex', room_id: r, http_config: {authorization: {credentials: c}}}]
    jira_configs: [{api_url: 'http://ADDRESS/rest/api/2', project: '{{ .CommonLabels.team }}', issue_type: Bug, summary: '{{ .CommonAnnotations.summary }}', labels: ['{{ .CommonLabels.team }}'], fields: {customfield_1: '{{ .CommonLabels.team }}'}}]
    rocketchat_configs: [{api_url: 'http://ADDRESS/chat', token: t, token_id: u, fields: [{title: '{{ .CommonLabels.team }}', value: '{{ .CommonAnnotations.summary }}'}]}]
    mattermost_configs: [{webhook_url: 'http://ADDRESS/mattermost', text: '{{ .CommonAnnotations.summary }}', attachments: [{title: '{{ .CommonLabels.team }}'}]}]
    wechat_configs: [{api_url: 'http://ADDRESS/wecom/', api_secret: s, corp_id: c, to_user: '@all', message_type: markdown, message: '{{ .CommonAnnotations.summary }}'}]
    incidentio_configs: [{url: 'http://ADDRESS/incidentio', alert_source_token: t}]
";

/// The fields of a form.
fn fields(body: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("{pair:?} is no field"));
        let text = |text: &str| String::from_utf8(unquote(&text.replace('%', "="))).expect("a form is UTF-8");
        (text(name), text(value))
    };
    body.split('&').map(pair).collect()
}

/// Texts that people read in a chat: nobody is called, no link hides where it leads, nothing is read backwards.
fn assert_plain(service: &str, body: &Value) {
    let mut found = Vec::new();
    walk(body, &mut found);
    for told in found {
        for markup in ["@all", "@here", "@channel", "@everyone", "](", "\u{202e}", "\u{2066}"] {
            // WeCom's own field for everybody is the configuration's.
            assert!(!told.contains(markup) || told == "@all", "{service}: {markup} in {told}");
        }
    }
}

/// One text of a message, of no more than so many characters.
fn text<'a>(service: &str, body: &'a Value, pointer: &str, most: usize) -> &'a str {
    let told =
        body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{service}: {pointer} of {body}"));
    assert!(told.chars().count() <= most, "{service} {pointer}: {}", told.chars().count());
    told
}

fn check(value: &str, line: &str, headers: &HeaderMap, body: &str) -> &'static str {
    if headers.get("content-type").is_some_and(|kind| kind == "application/x-www-form-urlencoded") {
        let form = fields(body);
        let known = |names: &[&str]| form.keys().all(|key| names.contains(&key.split('.').next().unwrap_or_default()));
        if line == "POST /sns" {
            let names = ["Action", "Message", "MessageAttributes", "Subject", "TopicArn", "Version"];
            assert!(known(&names), "{form:?}");
            let subject = form.get("Subject").map_or("", String::as_str);
            assert!(subject.len() <= 100 && subject.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            assert_eq!((form["Action"].as_str(), form["TopicArn"].as_str()), ("Publish", "arn:aws:sns:eu-1:7:t"));
            return "sns";
        }
        let names = [
            "device",
            "expire",
            "html",
            "message",
            "priority",
            "retry",
            "sound",
            "title",
            "token",
            "url",
            "url_title",
            "user",
        ];
        assert!(known(&names) && (form["user"].as_str(), form["token"].as_str()) == ("u", "t"), "{form:?}");
        assert!(form["message"].chars().count() <= 1024 && form.get("title").is_none_or(|t| t.chars().count() <= 250));
        if form.contains_key("html") {
            assert!(!form["message"].contains("<script") && !form["message"].contains("<img"), "{form:?}");
        }
        return "pushover";
    }
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    match line.split(['/', '?']).nth(1).unwrap_or_default() {
        "msteams" => {
            assert_plain("msteams", &body);
            text("msteams", &body, "/text", 6000);
            "msteams"
        }
        "victorops" => {
            let path: Vec<&str> = line.split('/').collect();
            assert_eq!(path[..3], ["POST ", "victorops", "k"], "{line}");
            assert_eq!(path.len(), 4, "the routing key is one part of the path: {line}");
            assert_eq!(body["message_type"], "CRITICAL");
            assert!(text("victorops", &body, "/node", 20_480).starts_with(&value.chars().take(8).collect::<String>()));
            "victorops"
        }
        "webex" => {
            assert_plain("webex", &body);
            assert!(text("webex", &body, "/markdown", 7439).len() <= 7439 && body["roomId"] == "r");
            "webex"
        }
        "rest" if line == "POST /rest/api/2/search" => {
            let jql = text("jira", &body, "/jql", 1 << 20);
            // Nothing but the closing quote of each literal is a bare quote.
            let bare = jql.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(bare.matches('"').count() % 2, 0, "{jql}");
            let literals: String = bare.split('"').step_by(2).collect();
            let expected = "statusCategory != Done and project= and labels= order by status ASC,resolutiondate DESC";
            assert_eq!(literals, expected, "{jql}");
            "jira"
        }
        "rest" => {
            assert_eq!(line, "POST /rest/api/2/issue");
            assert!(!text("jira", &body, "/fields/summary", 255).contains(['\r', '\n']));
            let labels = body["fields"]["labels"].as_array().unwrap();
            assert!(labels.iter().all(|label| !label.as_str().unwrap().contains(char::is_whitespace)), "{labels:?}");
            "jira"
        }
        "chat" => {
            assert_plain("rocketchat", &body);
            text("rocketchat", &body, "/attachments/0/fields/0/value", 5000);
            "rocketchat"
        }
        "mattermost" => {
            assert_plain("mattermost", &body);
            text("mattermost", &body, "/text", 16_383);
            "mattermost"
        }
        "wecom" if line.starts_with("GET") => "wechat",
        "wecom" => {
            assert_plain("wechat", &body);
            assert_eq!((&body["touser"], &body["msgtype"]), (&json!("@all"), &json!("markdown")));
            text("wechat", &body, "/markdown/content", 2048);
            "wechat"
        }
        "incidentio" => {
            assert_eq!(body["alerts"][0]["labels"]["instance"], value);
            "incidentio"
        }
        other => panic!("nobody is to be asked {other}: {line}"),
    }
}

#[tokio::test]
async fn the_other_services_take_every_value_as_text_in_its_place() {
    let (service, address) = Service::start(ANSWERS).await;
    let receivers = RECEIVERS.replace("ADDRESS", &address.to_string());
    let senders = Senders::default();
    for value in texts() {
        let mut asked = BTreeSet::new();
        for mut delivery in deliveries(&value, &receivers) {
            let mut integration = (*delivery.integration).clone();
            if let alertmanager::IntegrationConfig::Pushover(pushover) = &mut integration.config {
                pushover.api_url = alertmanager::Secret::new(format!("http://{address}/pushover"));
            }
            delivery.integration = Arc::new(integration);
            assert_eq!(
                senders.deliver(&delivery).await,
                DeliveryOutcome::Ok,
                "{} {value:?}",
                delivery.integration.id()
            );
        }
        for (line, headers, body) in service.seen.lock().unwrap().drain(..) {
            asked.insert(check(&value, &line, &headers, &body));
        }
        assert_eq!(asked.len(), 10, "{asked:?}");
    }
}

#[test]
fn every_kind_of_receiver_is_told_hostile_values() {
    let told = [include_str!("../hostile.rs"), include_str!("services.rs")].concat();
    for kind in alertmanager::receiver::KINDS {
        assert!(told.contains(&format!("    {}:", kind.key)), "no test tells {} what a hostile alert says", kind.name);
    }
}
