//! Alerts whose names and texts try to be something else, from the pipeline through the real senders to servers that look
//! at what arrives.

mod services;

use watchfire_collector_core::alert::Alert;
use watchfire_collector_core::notify::{Effect, Input, Pipeline};
use watchfire_shared::labels::Labels;
use watchfire_shared::machine::Machine;
use watchfire_shared::time::Timestamp;

use super::email::converse;
use super::*;

/// 2026-01-02T03:04:05Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_000);

/// What a host may call itself and a text may hold.
const TEXTS: &[&str] = &[
    "x\"'`\\",
    "a\nBcc: all@example.org",
    "a\r\nBcc: all@example.org\r\n\r\n<b>body</b>",
    "\r\n.\r\nMAIL FROM:<x@example.org>\r\nRCPT TO:<all@example.org>\r\nDATA\r\n",
    ".\n..\n.\nQUIT",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><svg/onload=alert(1)>' onmouseover='x",
    "javascript:alert(1)//",
    "<!channel> <@U123> <https://evil.example|https://good.example> &lt;!here&gt; *b* _i_ ~s~ `c`",
    "$(reboot); rm -rf / | mail x && `id` > /etc/passwd #",
    "=?utf-8?q?=0D=0ABcc:_all@example.org?=",
    "{{ .ExternalURL }} {{ template \"x\" }} ${HOME} %s %n",
    "\u{202e}gnp.exe\u{202c} \u{2066}x\u{2069} \u{200b}\u{feff}",
    "\0\u{1}\u{1b}[31mred\u{7}\u{7f}\u{85}\u{2028}\u{2029}",
    "é ñ 主机 🔥 \u{fffd} \\ud800 \\x00 %00",
    "<a@example.org>, b@example.org; c@example.org",
    "@all @here @channel @everyone <@all|x> [good](https://evil.example) ![x](https://evil.example/i.png)",
    "../../admin?x=1#y%2F..%2Fz",
    "OPS\" OR project != \"\\",
];
/// Bytes of a text that is far too long for a subject or a title.
const LONG: usize = 10_000;

/// The deliveries of one alert in which every value is the text.
fn deliveries(text: &str, receivers: &str) -> Vec<Delivery> {
    let yaml = format!(
        "route: {{receiver: r, group_wait: 0s, group_by: [alertname, instance], labels: {{owner: '{{{{ .CommonLabels.team }}}}'}}}}\nreceivers:\n  - name: r\n{receivers}"
    );
    let config = alertmanager::parse("alertmanager.yml", &yaml).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let alert = Alert {
        labels: Labels::new([("alertname", "NodeDown"), ("instance", text), ("team", text), (text, "named")]),
        annotations: Labels::new([("summary", text), ("description", text)]),
        starts_at: NOW,
        ends_at: None,
        updated_at: NOW,
        timeout: false,
        generator_url: "http://watch:7960/graph".to_owned(),
    };
    let mut pipeline = Pipeline::new(NOW, Arc::new(config), "http://watch:7960", Vec::new());
    let mut effects = Vec::new();
    pipeline.handle(NOW, Input::Alerts(vec![alert]), &mut effects);
    let delivered = effects.into_iter().filter_map(|effect| match effect {
        Effect::Deliver(delivery) => Some(delivery),
        Effect::Fact(fact) => panic!("{text:?}: {fact:?}"),
        Effect::Save(_) | Effect::Answer(_) => None,
    });
    delivered.collect()
}

fn texts() -> Vec<String> {
    let long = TEXTS.concat();
    let once = TEXTS.iter().map(|text| (*text).to_owned());
    once.chain([long.repeat(LONG / long.len()), "é".repeat(LONG / 2), "&<>".repeat(LONG / 3)]).collect()
}

#[tokio::test]
async fn a_webhook_gets_every_value_as_it_is() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    for text in texts() {
        let config = format!("    webhook_configs: [{{url: 'http://{address}/ok'}}]\n");
        for delivery in deliveries(&text, &config) {
            assert_eq!(Senders::default().deliver(&delivery).await, DeliveryOutcome::Ok);
        }
        let (_, _, body) = receiver.seen.lock().unwrap().pop().unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        for place in ["/alerts/0/labels/instance", "/commonAnnotations/summary", "/routeLabels/owner"] {
            assert_eq!(body.pointer(place).and_then(|value| value.as_str()), Some(text.as_str()), "{place}");
        }
        assert_eq!(body["alerts"][0]["labels"][&text], "named");
        assert!(receiver.seen().is_empty(), "one request for each alert");
    }
}

/// Every text in a JSON value.
fn walk<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) => found.push(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        serde_json::Value::Object(entries) => entries.values().for_each(|value| walk(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn slack_is_told_no_markup_that_a_value_holds() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = format!(
        "    slack_configs:\n      - api_url: 'http://{address}/slack'\n        text: '{{{{ .CommonAnnotations.summary }}}}'\n        fields: [{{title: '{{{{ .GroupLabels.instance }}}}', value: '{{{{ .RouteLabels.owner }}}}'}}]\n"
    );
    for text in texts() {
        for delivery in deliveries(&text, &config) {
            assert_eq!(Senders::default().deliver(&delivery).await, DeliveryOutcome::Ok);
        }
        let (_, _, body) = receiver.seen.lock().unwrap().pop().unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let mut found = Vec::new();
        walk(&body, &mut found);
        for told in found {
            let bare =
                ["&amp;", "&lt;", "&gt;"].iter().fold(told.to_owned(), |rest, escaped| rest.replace(escaped, ""));
            // The links to this collector are its own words, not the alert's.
            assert!(
                !bare.contains(['<', '>']) && (!bare.contains('&') || bare.starts_with("http://watch:7960/")),
                "{told}"
            );
            assert!(told.chars().count() <= 40_000 && !told.contains(['\u{202e}', '\u{2066}']), "{}", told.len());
        }
        assert!(body["attachments"][0]["title"].as_str().unwrap().chars().count() <= 1024);
        let shown = body["attachments"][0]["text"].as_str().unwrap();
        let shown = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let plain: String = text.chars().map(|char| if shown.contains(char) { char } else { '\u{fffd}' }).collect();
        let beginning = shown.trim_end_matches('…');
        assert!(plain.starts_with(beginning), "the text arrives: {beginning:?}");
        assert!(receiver.seen().is_empty(), "one request for each alert");
    }
}

#[tokio::test]
async fn incidents_and_chats_take_every_value_as_text_of_a_length_that_they_take() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = format!(
        "    discord_configs: [{{webhook_url: 'http://{address}/discord', content: '{{{{ .CommonLabels.team }}}}'}}]\n    msteamsv2_configs: [{{webhook_url: 'http://{address}/teams'}}]\n    telegram_configs: [{{api_url: 'http://{address}', bot_token: t, chat_id: 1}}]\n    pagerduty_configs: [{{url: 'http://{address}/pagerduty', routing_key: k}}]\n    opsgenie_configs: [{{api_url: 'http://{address}', api_key: k, tags: '{{{{ .CommonLabels.team }}}}'}}]\n"
    );
    for text in texts() {
        for delivery in deliveries(&text, &config) {
            assert_eq!(Senders::default().deliver(&delivery).await, DeliveryOutcome::Ok);
        }
        let seen: Vec<_> = receiver.seen.lock().unwrap().drain(..).collect();
        assert_eq!(seen.len(), 5, "one request for each service");
        for (line, _, body) in seen {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let longest = |pointer: &str, most: usize| {
                let told = body
                    .pointer(pointer)
                    .and_then(|value| value.as_str())
                    .unwrap_or_else(|| panic!("{line}: {pointer}"));
                assert!(told.chars().count() <= most, "{line} {pointer}: {}", told.len());
                told.to_owned()
            };
            match line.as_str() {
                "POST /discord" => {
                    assert_eq!(body["allowed_mentions"], serde_json::json!({"parse": []}));
                    let told = longest("/embeds/0/description", 4096) + &longest("/embeds/0/title", 256);
                    assert!(!(told + &longest("/content", 2000)).contains(['\u{202e}', '\u{2066}']));
                }
                "POST /teams" => drop(longest("/attachments/0/content/body/1/text", 6000)),
                "POST /bott/sendMessage" => {
                    let told = longest("/text", 4096);
                    let bare = ["&amp;", "&lt;", "&gt;", "&#34;", "&#39;"]
                        .iter()
                        .fold(told, |rest, own| rest.replace(own, ""));
                    assert!(!bare.contains(['<', '>', '&']), "{bare}");
                }
                "POST /pagerduty" => drop(longest("/payload/summary", 1024)),
                "POST /v2/alerts" => drop(longest("/message", 130) + &longest("/source", 100)),
                other => panic!("nobody is to be asked {other}"),
            }
        }
    }
}

/// The headers of a mail, unfolded, and its body.
fn parts_of(data: &[String]) -> (Vec<(String, String)>, String) {
    let end = data.iter().position(String::is_empty).expect("a mail has a body");
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in &data[..end] {
        match (line.starts_with([' ', '\t']), headers.last_mut()) {
            (true, Some((_, value))) => value.push_str(line),
            _ => {
                let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no header"));
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    (headers, data[end..].join("\n"))
}

/// What the parts of a mail say, decoded from base64 or quoted-printable.
fn decoded(body: &str) -> String {
    let mut out = String::new();
    for part in body.split("\n--") {
        let Some((head, content)) = part.split_once("\n\n") else { continue };
        let bytes = match head.split("Content-Transfer-Encoding: ").nth(1).and_then(|rest| rest.lines().next()) {
            Some("base64") => unbase64(content),
            Some("quoted-printable") => unquote(content),
            _ => content.as_bytes().to_vec(),
        };
        out += &String::from_utf8(bytes).expect("the parts are UTF-8");
    }
    out
}

fn unbase64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let whole = |chunk: &[u8]| {
        let number =
            chunk.iter().fold(0, |number: u32, digit| number << 6 | u32::from(*digit)) << (6 * (4 - chunk.len()));
        number.to_be_bytes()[1..chunk.len()].to_vec()
    };
    digits.chunks(4).flat_map(whole).collect()
}

fn unquote(text: &str) -> Vec<u8> {
    let joined = text.replace("=\n", "");
    let mut pieces = joined.split('=');
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        out.push(u8::from_str_radix(&piece[..2], 16).expect("two digits stand behind ="));
        out.extend_from_slice(&piece.as_bytes()[2..]);
    }
    out
}

#[tokio::test]
async fn a_mail_server_hears_one_mail_whatever_its_values_are() {
    for text in texts() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "    email_configs:\n      - to: ops@example.org\n        from: Watch <w@example.org>\n        smarthost: '{}'\n        require_tls: false\n        headers: {{X-Owner: '{{{{ .RouteLabels.owner }}}}'}}\n",
            listener.local_addr().unwrap()
        );
        let server = tokio::spawn(async move { converse(listener, "").await });
        let [delivery] = deliveries(&text, &config).try_into().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert_eq!(Senders::default().deliver(&delivery).await, DeliveryOutcome::Ok);
        let seen = server.await.unwrap();
        let commands = ["EHLO localhost", "MAIL FROM:<w@example.org>", "RCPT TO:<ops@example.org>", "DATA"];
        assert_eq!(seen[..4], commands);
        let [data @ .., end, quit] = &seen[4..] else { panic!("{seen:?}") };
        assert_eq!((end.as_str(), quit.as_str()), (".", "QUIT"), "{text:?}");
        assert!(!data.contains(&".".to_owned()), "a line with one dot ends a mail");
        assert!(data.iter().all(|line| line.is_ascii() && line.len() <= 998), "{text:?}");
        let (headers, body) = parts_of(data);
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let usual = [
            "Date",
            "X-Owner",
            "Subject",
            "From",
            "To",
            "Auto-Submitted",
            "Message-ID",
            "MIME-Version",
            "Content-Type",
        ];
        assert_eq!(names, usual, "{text:?}");
        for (name, value) in &headers {
            assert!(
                value.len() < 4096 && !value.contains(|char: char| char.is_control() && char != '\t'),
                "{name}: {value}"
            );
        }
        let body = decoded(&body);
        for markup in
            ["<script", "<img src=x", "<svg", "onerror=alert(1)>\"", "<b>body", "href=\"javascript:", "\u{202e}"]
        {
            let html = body.split_once("<html").map_or("", |(_, html)| html);
            assert!(!html.contains(markup), "{markup} of {text:?}");
        }
        assert!(body.contains("NodeDown") && body.len() < 4 << 20, "{}", body.len());
    }
}
