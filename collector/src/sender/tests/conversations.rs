//! Services that answer: what they are asked, in which order, and what their answers mean.

use serde_json::{Value, json};

use super::*;

/// `sha256sum` of the group's key.
const GROUP: &str = "ad4b39d3af6c5f089ddb8504a474cd124febe3ef322f263d58074fb0c51dc572";

pub(super) type Answers = fn(&str, usize) -> (u16, Value);

/// A service that answers by the request's line and the number of times that it was asked.
#[derive(Clone)]
pub(super) struct Service {
    answers: Answers,
    pub(super) seen: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
}

async fn converse(State(service): State<Service>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 4 << 20).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri);
    let mut seen = service.seen.lock().unwrap();
    let (status, answer) = (service.answers)(&line, seen.len());
    seen.push((line, parts.headers, String::from_utf8(body.to_vec()).unwrap()));
    (StatusCode::from_u16(status).unwrap(), axum::Json(answer)).into_response()
}

impl Service {
    pub(super) async fn start(answers: Answers) -> (Self, SocketAddr) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let service = Self { answers, seen: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(converse).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (service, address)
    }

    /// What it was asked since the last time: line and body.
    pub(super) fn asked(&self) -> Vec<(String, Value)> {
        let seen: Vec<_> = self.seen.lock().unwrap().drain(..).collect();
        seen.into_iter().map(|(line, _, body)| (line, serde_json::from_str(&body).unwrap_or(json!(body)))).collect()
    }
}

pub(super) fn to(address: SocketAddr, receiver: &str, body: &Value) -> Delivery {
    let mut parcel = parcel(&receiver.replace("ADDRESS", &address.to_string()), &body.to_string());
    parcel.group_key = "{}:{alertname=\"A\"}".to_owned();
    parcel
}

#[tokio::test]
async fn splunk_on_calls_incident_is_named_after_the_group() {
    let (service, address) = Service::start(|_, _| (200, json!({"result": "success"}))).await;
    let config = "    victorops_configs: [{api_key: s3cret/k, routing_key: r, api_url: 'http://ADDRESS/generic/'}]\n";
    let body = json!({"routing_key": "a/../b?c", "message": {"message_type": "CRITICAL"}});
    assert_eq!(Senders::default().deliver(&to(address, config, &body)).await, DeliveryOutcome::Ok);
    let expected = json!({"message_type": "CRITICAL", "entity_id": GROUP});
    assert_eq!(service.asked(), [("POST /generic/s3cret%2Fk/a%2F..%2Fb%3Fc".to_owned(), expected)]);
}

#[tokio::test]
async fn rocketchat_gets_the_users_token_and_its_answer_counts() {
    let answers: Answers = |_, asked| match asked {
        0 => (200, json!({"success": true})),
        _ => (200, json!({"success": false, "error": "no room for s3cret"})),
    };
    let (service, address) = Service::start(answers).await;
    let config = "    rocketchat_configs: [{api_url: 'http://ADDRESS/chat', token: s3cret, token_id: user7}]\n";
    let delivery = to(address, config, &json!({"channel": "#a"}));
    assert_eq!(Senders::default().deliver(&delivery).await, DeliveryOutcome::Ok);
    {
        let seen = service.seen.lock().unwrap();
        let [(line, headers, _)] = seen.as_slice() else { panic!("one request: {seen:?}") };
        let shown = (line.as_str(), &headers["x-auth-token"], &headers["x-user-id"]);
        assert_eq!(
            shown,
            ("POST /chat/api/v1/chat.postMessage", &"s3cret".parse().unwrap(), &"user7".parse().unwrap())
        );
    }
    let refused = Senders::default().deliver(&delivery).await;
    assert_eq!(reason(&refused), (false, "Rocket.Chat answers \"no room for ***\""));
}

#[tokio::test]
async fn wecoms_token_is_kept_until_it_does_not_hold_any_more() {
    let answers: Answers = |line, asked| match (line.contains("gettoken"), asked) {
        (true, asked) => (200, json!({"errcode": 0, "access_token": format!("t{asked}")})),
        (false, 2) => (200, json!({"errcode": 42001, "errmsg": "access_token expired"})),
        (false, _) => (200, json!({"errcode": 0})),
    };
    let (service, address) = Service::start(answers).await;
    let config = "    wechat_configs: [{api_url: 'http://ADDRESS/cgi-bin/', api_secret: 's3cret&', corp_id: c}]\n";
    let (senders, delivery) = (Senders::default(), to(address, config, &json!({"touser": "a"})));
    assert_eq!(senders.deliver(&delivery).await, DeliveryOutcome::Ok);
    assert_eq!(reason(&senders.deliver(&delivery).await), (true, "WeCom answers 42001: access_token expired"));
    assert_eq!(senders.deliver(&delivery).await, DeliveryOutcome::Ok);
    let lines: Vec<String> = service.asked().into_iter().map(|(line, _)| line).collect();
    let (token, sent) =
        ("GET /cgi-bin/gettoken?corpid=c&corpsecret=s3cret%26", "POST /cgi-bin/message/send?access_token=");
    let sent = |token: &str| format!("{sent}{token}");
    assert_eq!(lines, [token.to_owned(), sent("t0"), sent("t0"), token.to_owned(), sent("t3")]);
}

#[tokio::test]
async fn incidentio_webex_mattermost_and_teams_get_their_message_and_token() {
    let (service, address) = Service::start(|_, _| (202, json!({}))).await;
    for (config, line, token) in [
        (
            "incidentio_configs: [{url: 'http://ADDRESS/v2/alerts', alert_source_token: a}]",
            "POST /v2/alerts",
            Some("Bearer a"),
        ),
        (
            "webex_configs: [{api_url: 'http://ADDRESS/v1/messages', room_id: r, http_config: {authorization: {credentials: b}}}]",
            "POST /v1/messages",
            Some("Bearer b"),
        ),
        ("mattermost_configs: [{webhook_url: 'http://ADDRESS/hooks/h'}]", "POST /hooks/h", None),
        ("msteams_configs: [{webhook_url: 'http://ADDRESS/w'}]", "POST /w", None),
    ] {
        let delivery = to(address, &format!("    {config}\n"), &json!({"a": "b"}));
        assert_eq!(Senders::default().deliver(&delivery).await, DeliveryOutcome::Ok);
        let seen: Vec<_> = service.seen.lock().unwrap().drain(..).collect();
        let [(found, headers, body)] = seen.as_slice() else { panic!("one request: {seen:?}") };
        let authorization = headers.get("authorization").map(|value| value.to_str().unwrap());
        assert_eq!((found.as_str(), body.as_str(), authorization), (line, "{\"a\":\"b\"}", token));
    }
}

const JIRA: &str = "    jira_configs: [{api_url: 'http://ADDRESS/rest/api/2', project: OPS, issue_type: Bug, \
                    resolve_transition: Done, reopen_transition: Reopen, reopen_duration: 2h, wont_fix_resolution: No}]\n";

fn call(firing: bool) -> Value {
    let fields = |summary: &str| json!({"summary": summary, "labels": ["watch"]});
    json!({"firing": firing, "project": "OPS", "create": fields("new"), "update": fields("again"), "update_labels": true})
}

#[tokio::test]
async fn jiras_issue_is_made_once_and_only_for_what_fires() {
    let (service, address) = Service::start(|_, _| (200, json!({"issues": []}))).await;
    assert_eq!(Senders::default().deliver(&to(address, JIRA, &call(true))).await, DeliveryOutcome::Ok);
    let [search, create] = service.asked().try_into().unwrap();
    let label = format!("ALERT{{{GROUP}}}");
    let jql = format!(
        "resolution != \"No\" and (resolutiondate is EMPTY OR resolutiondate >= -120m) and project=\"OPS\" and \
         labels=\"{label}\" order by status ASC,resolutiondate DESC"
    );
    assert_eq!(
        search,
        ("POST /rest/api/2/search".to_owned(), json!({"jql": jql, "maxResults": 2, "fields": ["status"]}))
    );
    let fields = json!({"fields": {"summary": "new", "labels": [label, "watch"]}});
    assert_eq!(create, ("POST /rest/api/2/issue".to_owned(), fields));

    assert_eq!(Senders::default().deliver(&to(address, JIRA, &call(false))).await, DeliveryOutcome::Ok);
    assert_eq!(service.asked().len(), 1, "it was looked for, and nothing was made");
}

#[tokio::test]
async fn jiras_issue_is_changed_and_resolved_with_the_group() {
    let answers: Answers = |line, _| {
        let status = json!({"statusCategory": {"key": "indeterminate"}});
        match line {
            "POST /rest/api/2/search" => (200, json!({"issues": [{"key": "OPS-7", "fields": {"status": status}}]})),
            "GET /rest/api/2/issue/OPS-7/transitions" => {
                (200, json!({"transitions": [{"id": "11", "name": "Start"}, {"id": "31", "name": "Done"}]}))
            }
            _ => (200, Value::Null),
        }
    };
    let (service, address) = Service::start(answers).await;
    assert_eq!(Senders::default().deliver(&to(address, JIRA, &call(false))).await, DeliveryOutcome::Ok);
    let asked = service.asked();
    let lines: Vec<&str> = asked.iter().map(|(line, _)| line.as_str()).collect();
    let transitions = "/rest/api/2/issue/OPS-7/transitions";
    let expected = [
        "POST /rest/api/2/search",
        "PUT /rest/api/2/issue/OPS-7",
        &format!("GET {transitions}"),
        &format!("POST {transitions}"),
    ];
    assert_eq!(lines, expected);
    assert_eq!(asked[1].1["fields"]["summary"], "again");
    assert_eq!(asked[3].1, json!({"transition": {"id": "31"}}));

    assert_eq!(Senders::default().deliver(&to(address, JIRA, &call(true))).await, DeliveryOutcome::Ok);
    assert_eq!(service.asked().len(), 2, "it is open, and nothing is reopened");
}

#[tokio::test]
async fn what_amazon_publishes_is_signed_and_a_fifo_topic_knows_the_group() {
    let (service, address) = Service::start(|_, _| (200, json!({}))).await;
    let config =
        "    sns_configs: [{api_url: 'http://ADDRESS/', topic_arn: x, sigv4: {access_key: AK, secret_key: s3cret}}]\n";
    let body = json!({"TopicArn": "arn:aws:sns:eu-1:7:t.fifo", "Message": "a b"});
    assert_eq!(Senders::default().deliver(&to(address, config, &body)).await, DeliveryOutcome::Ok);
    let seen = service.seen.lock().unwrap();
    let [(line, headers, body)] = seen.as_slice() else { panic!("one request: {seen:?}") };
    assert_eq!(
        (line.as_str(), &headers["content-type"]),
        ("POST /", &"application/x-www-form-urlencoded".parse().unwrap())
    );
    for part in ["Action=Publish", "Version=2010-03-31", "Message=a%20b", &format!("MessageGroupId={GROUP}")] {
        assert!(body.split('&').any(|pair| pair == part), "{part} is missing in {body}");
    }
    let authorization = headers["authorization"].to_str().unwrap();
    let day = &headers["x-amz-date"].to_str().unwrap()[..8];
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=AK/{day}/eu-1/sns/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature="
    );
    assert!(authorization.starts_with(&scope), "{authorization}");
    assert_eq!(authorization.len(), scope.len() + 64);
}
