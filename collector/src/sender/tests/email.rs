//! What servers that refuse, stall or break off make of a mail. A server that takes mails is a real one, in the suites.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use watchfire_collector_core::notify::email::Mail;

use super::*;

/// A server that answers each line that begins with a word as the script says (`EHLO=250-x|250 AUTH PLAIN;...`), `250 ok` to
/// all others, and `.` only at the end of a mail. Returns what it was sent.
pub(super) async fn converse(listener: tokio::net::TcpListener, script: &str) -> Vec<String> {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let answers: Vec<(&str, String)> = script
        .split(';')
        .filter_map(|part| part.split_once('='))
        .map(|(word, answer)| (word, answer.replace('|', "\r\n") + "\r\n"))
        .collect();
    let answer = |word: &str| answers.iter().find(|(own, _)| word.starts_with(own)).map(|(_, answer)| answer.clone());
    let mut seen = Vec::new();
    let mut in_data = false;
    let _ = write.write_all(answer("GREETING").unwrap_or_else(|| "220 test\r\n".to_owned()).as_bytes()).await;
    while let Ok(Some(line)) = lines.next_line().await {
        seen.push(line.clone());
        if in_data && line != "." {
            continue;
        }
        let usual = if line == "DATA" { "354 go on\r\n" } else { "250 ok\r\n" };
        let answer = answer(&line).unwrap_or_else(|| usual.to_owned());
        in_data = line == "DATA" && answer.starts_with('3');
        if write.write_all(answer.as_bytes()).await.is_err() || line == "QUIT" {
            break;
        }
    }
    seen
}

fn mail(to: &str) -> Mail {
    Mail {
        from: "Watch <w@example.org>".into(),
        to: to.into(),
        headers: [("Subject", "s"), ("From", "w@example.org"), ("To", to)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        text: ".\n..leading dots\nQUIT\n".into(),
        html: String::new(),
    }
}

/// Sends a mail to the server of a script; what became of it, and what the server was sent.
async fn send_mail(config: &str, script: &str) -> (DeliveryOutcome, Vec<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = script.to_owned();
    let server = tokio::spawn(async move { converse(listener, &script).await });
    let to = if config.contains("TWO") { "a@example.org, b@example.org" } else { "root@localhost" };
    let config = config.replace("TWO", "");
    let receiver =
        format!("    email_configs: [{{to: x, from: y, smarthost: '{address}', require_tls: false, {config}}}]\n");
    let outcome = deliver(&receiver, &serde_json::to_string(&mail(to)).unwrap()).await;
    (outcome, server.await.unwrap())
}

#[tokio::test]
async fn a_mail_is_handed_over_line_by_line_with_its_dots() {
    let (outcome, seen) = send_mail("hello: watch.example", "").await;
    assert_eq!(outcome, DeliveryOutcome::Ok);
    let commands = ["EHLO watch.example", "MAIL FROM:<w@example.org>", "RCPT TO:<root@localhost>", "DATA"];
    assert_eq!(seen[..4], commands);
    assert_eq!(seen[seen.len() - 7..], ["..", "...leading dots", "QUIT", "", "", ".", "QUIT"]);
}

#[tokio::test]
async fn a_refusal_says_at_which_step_and_whether_to_come_again() {
    let cases = [
        ("", "GREETING=421 too busy", true, "connecting: transient error (421): too busy"),
        ("", "GREETING=554 go away", false, "connecting: permanent error (554): go away"),
        ("", "MAIL=550 not you", false, "MAIL FROM: permanent error (550): not you"),
        ("", "RCPT=451 greylisted", true, "RCPT TO <root@localhost>: transient error (451): greylisted"),
        ("", "RCPT=550 nobody", false, "RCPT TO <root@localhost>: permanent error (550): nobody"),
        ("", ".=552 too large", false, "the end of DATA: permanent error (552): too large"),
        ("auth_username: u", "EHLO=250-x|250 AUTH PLAIN", true, "`auth_username` is set, but no `auth_password`"),
        (
            "auth_username: u, auth_password: s3cret",
            "EHLO=250-x|250 AUTH PLAIN;AUTH=535 s3cret is wrong",
            false,
            "AUTH: permanent error (535): *** is wrong",
        ),
    ];
    for (config, script, retry, expected) in cases {
        let (outcome, seen) = send_mail(config, script).await;
        assert_eq!(reason(&outcome), (retry, expected));
        assert!(expected.starts_with("the end") || !seen.contains(&"DATA".to_owned()), "{expected}: {seen:?}");
    }
}

#[tokio::test]
async fn nothing_is_said_to_a_server_without_tls_unless_the_file_allows_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver =
        format!("    email_configs: [{{to: x, from: y, smarthost: '{}'}}]\n", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { converse(listener, "").await });
    let outcome = deliver(&receiver, &serde_json::to_string(&mail("a@example.org")).unwrap()).await;
    assert_eq!(reason(&outcome), (true, "the server offers no STARTTLS, which `require_tls` asks for"));
    assert_eq!(server.await.unwrap(), ["EHLO localhost"]);
}

#[tokio::test]
async fn plain_says_for_whom_and_login_answers_what_it_is_asked() {
    let plain = "auth_username: u, auth_password: p, auth_identity: i";
    let (outcome, seen) = send_mail(plain, "EHLO=250-x|250 AUTH LOGIN PLAIN;AUTH=235 ok").await;
    assert_eq!((outcome, seen[1].as_str()), (DeliveryOutcome::Ok, "AUTH PLAIN aQB1AHA="));
    let script = "EHLO=250-x|250 AUTH LOGIN;AUTH=334 VXNlcm5hbWU6;dQ=334 UGFzc3dvcmQ6;cA=235 ok";
    let (outcome, seen) = send_mail("auth_username: u, auth_password: p", script).await;
    assert_eq!(outcome, DeliveryOutcome::Ok, "{seen:?}");
    assert_eq!(seen[1..4], ["AUTH LOGIN", "dQ==", "cA=="]);
    let (outcome, seen) = send_mail("auth_username: u, auth_password: p", "").await;
    assert_eq!(outcome, DeliveryOutcome::Ok, "a relay that asks nobody is used");
    assert!(seen[1].starts_with("MAIL"), "{seen:?}");
}

#[tokio::test]
async fn a_challenge_is_answered_without_the_secret() {
    let script = "EHLO=250-x|250 AUTH CRAM-MD5 PLAIN;AUTH CRAM=334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+;\
                  dGlt=235 ok;AUTH PLAIN=235 ok";
    // The exchange of RFC 2195.
    let (outcome, seen) =
        send_mail("auth_username: tim, auth_secret: tanstaaftanstaaf, auth_password: p", script).await;
    assert_eq!(outcome, DeliveryOutcome::Ok, "{seen:?}");
    let answer = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";
    assert_eq!(seen[1..5], ["EHLO localhost", "AUTH CRAM-MD5", answer, "MAIL FROM:<w@example.org>"]);
    let wrong = script.replace("dGlt=235 ok", "dGlt=535 tanstaaftanstaaf?");
    let (outcome, _) = send_mail("auth_username: tim, auth_secret: tanstaaftanstaaf", &wrong).await;
    assert_eq!(reason(&outcome), (false, "AUTH: permanent error (535): ***?"));
    // As Alertmanager does, the server's order counts.
    let other = script.replace("CRAM-MD5 PLAIN", "PLAIN CRAM-MD5");
    let (outcome, seen) = send_mail("auth_username: tim, auth_secret: s, auth_password: p", &other).await;
    assert_eq!((outcome, seen[2].as_str()), (DeliveryOutcome::Ok, "AUTH PLAIN AHRpbQBw"), "{seen:?}");
    let (outcome, seen) = send_mail("auth_username: tim, auth_secret: tanstaaftanstaaf", &other).await;
    assert_eq!((outcome, seen[2].as_str()), (DeliveryOutcome::Ok, "AUTH CRAM-MD5"), "{seen:?}");
}

#[tokio::test]
async fn one_wrong_recipient_keeps_no_mail_from_the_others() {
    let (outcome, seen) = send_mail("hello: hTWO", "RCPT TO:<a@=550 nobody").await;
    assert_eq!(outcome, DeliveryOutcome::Ok);
    assert!(seen.contains(&"DATA".to_owned()));
    let (outcome, seen) = send_mail("hello: hTWO", "RCPT TO:<b@=451 later").await;
    assert_eq!(reason(&outcome), (true, "RCPT TO <b@example.org>: transient error (451): later"));
    assert!(!seen.contains(&"DATA".to_owned()), "nobody gets it twice");
    let (outcome, _) = send_mail("hello: hTWO", "RCPT=550 nobody").await;
    assert!(!reason(&outcome).0, "nobody is left");
}

#[tokio::test]
async fn receivers_that_hang_delay_no_other() {
    // They take connections and never say a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let receiver = Receiver::default();
    let good = delivery(&format!("http://{}/ok", receiver.start().await), "");
    let email = format!("    email_configs: [{{to: x, from: y, smarthost: '{address}'}}]\n");
    let webhook = format!("    webhook_configs: [{{url: 'http://{address}/'}}]\n");
    let body = serde_json::to_string(&mail("a@example.org")).unwrap();
    let senders = Senders::default();
    let mut hanging = tokio::task::JoinSet::new();
    for index in 0..200 {
        let delivery = parcel(if index % 2 == 0 { &email } else { &webhook }, &body);
        let senders = senders.clone();
        hanging.spawn(async move { senders.deliver(&delivery).await });
    }
    // Every one of them has its connection before the good one begins.
    let mut connections = Vec::new();
    while connections.len() < 200 {
        connections.push(silent.accept().await.unwrap());
    }
    assert_eq!(senders.deliver(&good).await, DeliveryOutcome::Ok);
    assert!(hanging.try_join_next().is_none(), "the others still hang");
}

#[tokio::test]
async fn a_mail_server_that_hangs_is_left_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let email = format!("    email_configs: [{{to: x, from: y, smarthost: '{}'}}]\n", silent.local_addr().unwrap());
    let mut delivery = parcel(&email, &serde_json::to_string(&mail("a@example.org")).unwrap());
    delivery.timeout = Span::from_millis(50);
    assert_eq!(reason(&Senders::default().deliver(&delivery).await), (true, "no answer within 50ms"));
}
