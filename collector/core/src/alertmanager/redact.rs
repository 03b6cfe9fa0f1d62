//! The configuration as it may be shown: written anew from what was read, with `<secret>` in place of each secret.
//!
//! Comments are gone, since nobody knows what stands in them. What Alertmanager's own types call a secret is one here, so
//! that its tools read the text back; a password inside of another URL is masked.

use watchfire_shared::document::{self, Key, Node, Scalar, ScalarKind, Value};

const SECRET: &str = "<secret>";

/// Keys whose value is secret wherever they stand. A path in a key that ends with `_file` is none.
const SECRET_KEYS: &[&str] = &[
    "alert_source_token",
    "api_key",
    "api_secret",
    "app_token",
    "auth_password",
    "auth_secret",
    "bearer_token",
    "bot_token",
    "client_certificate_key",
    "client_secret",
    "credentials",
    "endpoint_params",
    "mattermost_webhook_url",
    "opsgenie_api_key",
    "password",
    "proxy_connect_header",
    "rocketchat_token",
    "rocketchat_token_id",
    "routing_key",
    "secret_key",
    "secrets",
    "service_key",
    "slack_api_url",
    "slack_app_token",
    "smtp_auth_password",
    "smtp_auth_secret",
    "telegram_bot_token",
    "token",
    "token_id",
    "user_key",
    "victorops_api_key",
    "webhook_url",
    "wechat_api_secret",
];

/// Keys that are secret inside of a certain other key only.
const SECRET_INSIDE: &[(&str, &str)] = &[
    ("webhook_configs", "url"),
    ("incidentio_configs", "url"),
    ("slack_configs", "api_url"),
    ("tls_config", "key"),
    ("smtp_tls_config", "key"),
];

/// Keys below which names are the user's labels and not ours.
const LABELS: &[&str] =
    &["match", "match_re", "source_match", "source_match_re", "target_match", "target_match_re", "labels"];

/// The document as text, without its secrets.
pub(super) fn shown(root: &Node) -> String {
    document::emit(&redacted(root, &mut Vec::new()))
}

fn redacted<'a>(node: &'a Node, path: &mut Vec<&'a str>) -> Node {
    let value = match &node.value {
        Value::Null => Value::Null,
        Value::Scalar(scalar) => Value::Scalar(Scalar { text: without_password(&scalar.text), kind: scalar.kind }),
        Value::List(items) => Value::List(items.iter().map(|item| redacted(item, path)).collect()),
        Value::Table(entries) => Value::Table(entries.iter().map(|(key, value)| entry(key, value, path)).collect()),
    };
    Node { at: node.at, value }
}

fn entry<'a>(key: &'a Key, value: &'a Node, path: &mut Vec<&'a str>) -> (Key, Node) {
    if is_secret(&key.name, path) {
        return (key.clone(), masked(value));
    }
    path.push(&key.name);
    let value = redacted(value, path);
    path.pop();
    (key.clone(), value)
}

fn is_secret(key: &str, path: &[&str]) -> bool {
    let is_label = path.last().is_some_and(|parent| LABELS.contains(parent));
    let inside = |(parent, own): &(&str, &str)| *own == key && path.last() == Some(parent);
    !is_label && (SECRET_KEYS.contains(&key) || SECRET_INSIDE.iter().any(inside))
}

/// The same shape with every scalar masked; an empty text counts as not set and stays so.
fn masked(node: &Node) -> Node {
    let value = match &node.value {
        Value::Null => Value::Null,
        Value::Scalar(scalar) if scalar.text.is_empty() => Value::Scalar(scalar.clone()),
        Value::Scalar(_) => Value::Scalar(Scalar { text: SECRET.to_owned(), kind: ScalarKind::Plain }),
        Value::List(items) => Value::List(items.iter().map(masked).collect()),
        Value::Table(entries) => {
            Value::Table(entries.iter().map(|(key, value)| (key.clone(), masked(value))).collect())
        }
    };
    Node { at: node.at, value }
}

/// A text with the password of each URL in it masked: `http://user:xxxxx@host`.
fn without_password(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("://");
        let end = part.find(|char: char| matches!(char, '/' | '?' | '#') || char.is_whitespace()).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        match authority.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => {
                let name = user.split(':').next().unwrap_or_default();
                out.push_str(&format!("{name}:xxxxx@{host}"));
            }
            _ => out.push_str(authority),
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn secrets_are_masked_and_the_rest_is_read_back_as_the_same_routes() {
        let text = r#"
global: {resolve_timeout: 3m, smtp_auth_password: hush1, slack_api_url: 'https://hooks.example/hush2'}
# hush3
route:
  receiver: team
  group_by: ['...']
  routes: [{match: {token: x1}, receiver: team, continue: yes}]
receivers:
  - name: team
    webhook_configs:
      - url: http://hush4.example/
        send_resolved: no
        max_alerts: 5
        http_config:
          proxy_url: http://me:hush5@proxy:3128/
          basic_auth: {username: me, password: "hush\n6"}
          http_headers: {X-Key: {secrets: [hush7], values: [v]}}
      - url: http://hush8.example/
        http_config: {oauth2: {client_id: me, token_url: 'http://t/', endpoint_params: {resource: hush9}}}
      - url_file: /etc/hook
        http_config: {authorization: {credentials_file: /etc/token}}
"#;
        let config = parse("a.yml", text).unwrap();
        let shown = config.shown.to_string();
        assert!(!shown.contains("hush"), "{shown}");
        for kept in [
            "url: <secret>",
            "http://me:xxxxx@proxy:3128/",
            "token: x1",
            "url_file: /etc/hook",
            "max_alerts: 5",
            "send_resolved: no",
            "password: <secret>",
            "- <secret>",
        ] {
            assert!(shown.contains(kept), "{kept} is missing in\n{shown}");
        }
        let readable = shown.replace("<secret>", "https://hidden.example/");
        let again = parse("shown.yml", &readable).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{readable}"));
        assert_eq!(format!("{:?}", again.routes), format!("{:?}", config.routes));
        assert_eq!(again.global.resolve_timeout, config.global.resolve_timeout);
        assert_eq!(again.integrations("team").len(), 3);
    }
}
