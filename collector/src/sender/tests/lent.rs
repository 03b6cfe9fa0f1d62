//! Credentials that others lend: tokens of OAuth 2, and the keys of one of Amazon's roles.

use serde_json::json;

use super::conversations::{Answers, Service, to};
use super::*;

const OAUTH2: &str = "    webhook_configs:\n      - url: 'http://ADDRESS/hook'\n        http_config:\n          oauth2: {client_id: 'me: &', client_secret: s3cret, token_url: 'http://ADDRESS/token', scopes: [a, b], endpoint_params: {audience: 'x y'}}\n";

#[tokio::test]
async fn a_token_is_asked_for_once_and_anew_when_nobody_takes_it() {
    let answers: Answers = |line, asked| match (line, asked) {
        ("POST /token", asked) => {
            (200, json!({"access_token": format!("t0ken{asked}"), "token_type": "bearer", "expires_in": 3600}))
        }
        (_, 3) => (401, json!({"error": "no more t0ken0"})),
        _ => (200, json!({})),
    };
    let (service, address) = Service::start(answers).await;
    let (senders, delivery) = (Senders::default(), to(address, OAUTH2, &json!({})));
    for _ in 0..2 {
        assert_eq!(senders.deliver(&delivery).await, DeliveryOutcome::Ok);
    }
    let refused = senders.deliver(&delivery).await;
    assert_eq!(reason(&refused), (true, "status 401 Unauthorized: {\"error\":\"no more ***\"}"));
    assert_eq!(senders.deliver(&delivery).await, DeliveryOutcome::Ok);
    let shown = |headers: &HeaderMap| headers["authorization"].to_str().unwrap().to_owned();
    let seen = service.seen.lock().unwrap();
    let asked: Vec<(&str, String)> = seen.iter().map(|(line, headers, _)| (line.as_str(), shown(headers))).collect();
    // `me%3A%20%26:s3cret`: both are escaped as in a form (RFC 6749, section 2.3.1).
    let (me, hook) = ("Basic bWUlM0ElMjAlMjY6czNjcmV0", "POST /hook");
    let token = |token: &str| format!("Bearer {token}");
    let expected = [
        ("POST /token", me.to_owned()),
        (hook, token("t0ken0")),
        (hook, token("t0ken0")),
        (hook, token("t0ken0")),
        ("POST /token", me.to_owned()),
        (hook, token("t0ken4")),
    ];
    assert_eq!(asked, expected);
    assert_eq!(seen[0].2, "audience=x%20y&grant_type=client_credentials&scope=a%20b");
    assert_eq!(seen[0].1["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn a_server_that_wants_the_secret_in_the_form_gets_it_there() {
    let answers: Answers = |line, asked| match (line, asked) {
        ("POST /token", 0) => (401, json!({"error": "invalid_client"})),
        ("POST /token", _) => (200, json!({"access_token": "t0ken"})),
        _ => (200, json!({})),
    };
    let (service, address) = Service::start(answers).await;
    assert_eq!(Senders::default().deliver(&to(address, OAUTH2, &json!({}))).await, DeliveryOutcome::Ok);
    let seen = service.seen.lock().unwrap();
    let [_, (_, headers, form), (_, hook, _)] = seen.as_slice() else { panic!("three requests: {seen:?}") };
    assert_eq!(headers.get("authorization"), None);
    let expected =
        "audience=x%20y&client_id=me%3A%20%26&client_secret=s3cret&grant_type=client_credentials&scope=a%20b";
    assert_eq!((form.as_str(), hook["authorization"].to_str().unwrap()), (expected, "Bearer t0ken"));
}

#[tokio::test]
async fn a_client_without_a_secret_is_named_in_the_form_too() {
    let answers: Answers = |line, asked| match (line, asked) {
        ("POST /token", 0) => (401, json!({"error": "invalid_client"})),
        ("POST /token", _) => (200, json!({"access_token": "t0ken"})),
        _ => (200, json!({})),
    };
    let (service, address) = Service::start(answers).await;
    let config = OAUTH2.replace("client_secret: s3cret, ", "");
    assert_eq!(Senders::default().deliver(&to(address, &config, &json!({}))).await, DeliveryOutcome::Ok);
    let form = service.seen.lock().unwrap()[1].2.clone();
    assert_eq!(form, "audience=x%20y&client_id=me%3A%20%26&grant_type=client_credentials&scope=a%20b");
}

#[tokio::test]
async fn tokens_end_and_are_lent_by_nobody_who_says_no() {
    let answers: Answers = |line, asked| match line {
        "POST /token" => (200, json!({"access_token": format!("t{asked}"), "expires_in": "10"})),
        _ => (200, json!({})),
    };
    let (service, address) = Service::start(answers).await;
    let (senders, delivery) = (Senders::default(), to(address, OAUTH2, &json!({})));
    for _ in 0..2 {
        assert_eq!(senders.deliver(&delivery).await, DeliveryOutcome::Ok);
    }
    let lines: Vec<String> = service.asked().into_iter().map(|(line, _)| line).collect();
    assert_eq!(
        lines,
        ["POST /token", "POST /hook", "POST /token", "POST /hook"],
        "ten seconds are none with the margin"
    );

    let (service, address) = Service::start(|_, _| (400, json!({"error": "s3cret is wrong"}))).await;
    let refused = Senders::default().deliver(&to(address, OAUTH2, &json!({}))).await;
    assert_eq!(reason(&refused), (true, "oauth2: status 400 Bad Request: {\"error\":\"*** is wrong\"}"));
    assert!(service.asked().iter().all(|(line, _)| line == "POST /token"));
}

/// A delivery to a topic with the rights of a role that is asked for at the service.
fn with_role(address: SocketAddr) -> Delivery {
    let config = "    sns_configs: [{api_url: 'http://ADDRESS/', topic_arn: x, sigv4: {access_key: AK, secret_key: s3cret, role_arn: 'arn:aws:iam::7:role/r', external_id: e}}]\n";
    let mut parcel = to(address, config, &json!({"TopicArn": "arn:aws:sns:eu-1:7:t", "Message": "m"}));
    let mut integration = (*parcel.integration).clone();
    if let alertmanager::IntegrationConfig::Sns(sns) = &mut integration.config {
        let role = sns.signing.role.as_mut().unwrap();
        role.sts_url = Some(alertmanager::Secret::new(format!("http://{address}/sts")));
    }
    parcel.integration = Arc::new(integration);
    parcel
}

#[tokio::test]
async fn amazons_role_is_assumed_once_and_signs() {
    let service = Receiver::default();
    let address = service.start().await;
    let (senders, delivery) = (Senders::default(), with_role(address));
    let _ = rustls::crypto::ring::default_provider().install_default();
    for _ in 0..2 {
        assert_eq!(senders.deliver(&delivery).await, DeliveryOutcome::Ok);
    }
    let seen = service.seen.lock().unwrap();
    let lines: Vec<&str> = seen.iter().map(|(line, ..)| line.as_str()).collect();
    assert_eq!(lines, ["POST /sts", "POST /", "POST /"]);
    let form = "Action=AssumeRole&ExternalId=e&RoleArn=arn%3Aaws%3Aiam%3A%3A7%3Arole%2Fr&RoleSessionName=watchfire&Version=2011-06-15";
    assert_eq!(seen[0].2, form);
    let credential = |at: usize| {
        let headers = &seen[at].1;
        let token = headers.get("x-amz-security-token").map(|token| token.to_str().unwrap().to_owned());
        let signed = headers["authorization"].to_str().unwrap().to_owned();
        let scope: Vec<&str> = signed.split(['=', ',']).nth(1).unwrap().split('/').collect();
        (scope[0].to_owned(), scope[3].to_owned(), token)
    };
    assert_eq!(credential(0), ("AK".to_owned(), "sts".to_owned(), None));
    assert_eq!(credential(1), ("LENT".to_owned(), "sns".to_owned(), Some("t0ken".to_owned())));
}
