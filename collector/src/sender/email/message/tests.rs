use std::time::{Duration, UNIX_EPOCH};

use super::*;

#[test]
fn a_mail_is_written_down_as_mime() {
    let mail = Mail {
        from: "Wächter <w@example.org>".into(),
        to: r#"ops@example.org, "Ops, night" <night@example.org>"#.into(),
        headers: [
            ("Subject", "[FIRING:1] Plattenplatz knapp auf größe-1 (\"x\" 'y')"),
            ("From", "Wächter <w@example.org>"),
            ("To", r#"ops@example.org, "Ops, night" <night@example.org>"#),
            ("X-Long", "word ".repeat(40).trim_end()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        text: format!(".\n{}\nSchlüssel = Wert\n", "long ".repeat(300)),
        html: "<p>Schlüssel &lt;b&gt;</p>\n".into(),
    };
    let ready = write(&mail, UNIX_EPOCH + Duration::from_secs(1_767_323_045)).unwrap();
    assert_eq!(ready.to.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ops@example.org", "night@example.org"]);
    let written = String::from_utf8(ready.bytes).unwrap();
    assert!(written.is_ascii() && written.lines().all(|line| line.len() <= 998), "{written}");
    assert!(!written.replace("\r\n", "").contains(['\r', '\n']), "every line ends as RFC 5322 says");
    let boundary = written.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let shown = written.replace(&boundary, "BOUNDARY").replace("\r\n", "\n");
    assert_eq!(shown, include_str!("../../../../testdata/mail.eml"), "{shown}");
}

#[test]
fn what_is_no_mail_is_refused_by_name() {
    let bad = |change: &dyn Fn(&mut Mail)| {
        let mut mail = Mail {
            from: "w@example.org".into(),
            to: "a@example.org".into(),
            headers: vec![("From".into(), "w@example.org".into())],
            text: String::new(),
            html: String::new(),
        };
        change(&mut mail);
        write(&mail, UNIX_EPOCH).unwrap_err()
    };
    assert_eq!(bad(&|mail| mail.from = "a@b@c".into()), r#"`from` is no address, found "a@b@c""#);
    let injected = "a@example.org>\r\nRCPT TO:<all@example.org";
    assert!(bad(&|mail| mail.to = injected.into()).starts_with("`to` holds no list of addresses"));
    assert!(bad(&|mail| mail.to = String::new()).contains("`to`"));
    assert_eq!(bad(&|mail| mail.headers.push(("a b".into(), String::new()))), r#""a b" is no header"#);
}
