//! Whole messages, as they are handed to the senders.

use watchfire_shared::labels::Labels;
use watchfire_shared::machine::Machine;
use watchfire_shared::time::Timestamp;

use super::world;
use crate::alert::Alert;
use crate::notify::email::Mail;
use crate::notify::{Body, Effect, Input, Pipeline};

/// 2026-01-02T03:04:05Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_000);

/// What a host may call itself: quotes, line ends, tags, shell, SMTP and Slack's syntax.
const HOSTILE: &str =
    "x\"'\r\nBcc: all@example.org\r\n.\r\nQUIT\n<script>alert(1)</script><!channel>$(reboot) =?utf-8?q?=0A?= é";

/// The bodies of the messages about one hostile alert and one that has resolved.
fn bodies(receiver: &str) -> Vec<String> {
    let yaml = format!(
        "route: {{receiver: team, group_wait: 0s, group_by: [alertname]}}\nreceivers:\n  - name: team\n{receiver}"
    );
    let config = world::config(&yaml);
    let mut pipeline = Pipeline::new(NOW, config, "http://watch:7960", Vec::new());
    let alert = |instance: &str, resolved: bool| Alert {
        labels: Labels::new([("alertname", "NodeDown"), ("instance", instance), ("severity", "critical")]),
        annotations: Labels::new([
            ("summary", format!("{instance} is down").as_str()),
            ("runbook", "https://r.example/a?b=c&d=e"),
        ]),
        starts_at: NOW,
        ends_at: resolved.then_some(NOW),
        updated_at: NOW,
        timeout: false,
        generator_url: "http://watch:7960/graph?g0.expr=up&g0.tab=1".to_owned(),
    };
    let mut effects = Vec::new();
    pipeline.handle(NOW, Input::Alerts(vec![alert(HOSTILE, false), alert("b", true)]), &mut effects);
    let deliveries = effects.into_iter().filter_map(|effect| match effect {
        Effect::Deliver(delivery) => Some(delivery),
        Effect::Fact(fact) => panic!("{fact:?}"),
        Effect::Save(_) | Effect::Answer(_) => None,
    });
    let body = |delivery: crate::notify::Delivery| match delivery.body {
        Body::Json(body) => body.to_string(),
    };
    deliveries.map(body).collect()
}

fn pretty(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

#[test]
fn slacks_message_is_the_documented_one() {
    let bodies = bodies(include_str!("../../../testdata/notify/slack.yml"));
    let [plain, full] = bodies.as_slice() else { panic!("{bodies:?}") };
    assert_eq!(pretty(plain), include_str!("../../../testdata/notify/slack_plain.json"), "{}", pretty(plain));
    assert_eq!(pretty(full), include_str!("../../../testdata/notify/slack_full.json"), "{}", pretty(full));
}

#[test]
fn a_mail_says_it_all_and_no_value_leaves_its_place() {
    let bodies = bodies(include_str!("../../../testdata/notify/email.yml"));
    let [plain, full] = bodies.as_slice() else { panic!("{bodies:?}") };
    let plain = Mail::read(plain).unwrap();
    for (name, value) in &plain.headers {
        assert!(!value.contains(char::is_control) && !value.contains("=?"), "{name}: {value:?}");
    }
    assert!(!plain.html.contains("<script>") && plain.html.contains("&lt;script&gt;"), "{}", plain.html);
    assert!(plain.text.contains("x\"'"), "{}", plain.text);
    let subject = plain.headers.iter().find(|(name, _)| name == "Subject").unwrap();
    assert!(subject.1.starts_with("[FIRING:1] NodeDown (x\"'  Bcc: all@example.org "), "{}", subject.1);
    assert_eq!(pretty(full), include_str!("../../../testdata/notify/email_full.json"), "{}", pretty(full));
}

#[test]
fn webhooks_are_told_what_their_payload_makes_of_it() {
    let bodies = bodies(include_str!("../../../testdata/notify/payload.yml"));
    let shown: String = bodies.iter().map(|body| pretty(body)).collect();
    assert_eq!(shown, include_str!("../../../testdata/notify/payload.json"), "{shown}");
    assert!(!shown.contains("t0ken"), "what stands around the actions of a URL is not kept with the message");
}

#[test]
fn incidents_and_chats_get_the_documented_messages() {
    let bodies = bodies(include_str!("../../../testdata/notify/receivers.yml"));
    let shown: String = bodies.iter().map(|body| pretty(body)).collect();
    assert_eq!(shown, include_str!("../../../testdata/notify/receivers.json"), "{shown}");
}

#[test]
fn mails_of_a_group_refer_to_one_thread() {
    let threading = |by: &str| {
        let yaml = format!(
            "    email_configs:\n      - {{to: a@example.org, from: W <w@example.org>, smarthost: 'h:25', threading: {{enabled: true, thread_by_date: {by}}}}}\n"
        );
        let [body] = bodies(&yaml).try_into().unwrap();
        let mail = Mail::read(&body).unwrap();
        let value = |name: &str| mail.headers.iter().find(|(own, _)| own == name).unwrap().1.clone();
        assert_eq!(value("References"), value("In-Reply-To"));
        assert_ne!(value("References"), value("Message-ID"));
        value("References")
    };
    let (group, day) = (threading("none"), threading("daily"));
    assert_eq!(day, group.replace("@example.org>", ".2026-01-02@example.org>"));
    assert!(group.starts_with("<group."), "{group}");
}
