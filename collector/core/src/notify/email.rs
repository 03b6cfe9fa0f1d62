//! The mail: its headers and both its parts as texts. How they are written down as a MIME message is the sender's.
//!
//! Values from alerts cannot leave their header: whatever ends a line becomes a space, nothing that looks like an encoded
//! word (RFC 2047) stays one, and nothing turns the direction of writing.

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::message::{Context, Renderer};
use crate::alertmanager::{Email, Integration, Template, Threading};
use crate::template::Escape;
use crate::template::escape::straight;

/// A mail that is ready to be written down; the body of a delivery of the kind `email` is one as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The one address of the sender.
    pub from: String,
    /// Addresses with commas between them.
    pub to: String,
    /// In their order; `From` and `To` are among them.
    pub headers: Vec<(String, String)>,
    /// Empty parts are left out.
    pub text: String,
    pub html: String,
}

impl Mail {
    /// Reads the body of a delivery.
    ///
    /// # Errors
    /// If it was written by something else.
    pub fn read(body: &str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|error| error.to_string())
    }
}

/// Characters of a header's value. A line of a mail may have 998 bytes, name included, and words are not broken.
const MAX_HEADER_CHARS: usize = 900;

const DEFAULT_SUBJECT: &str = r#"{{ template "email.default.subject" . }}"#;

pub(super) fn render(
    now: Timestamp,
    email: &Email,
    integration: &Integration,
    context: &Context<'_>,
    renderer: &mut Renderer<'_>,
) -> Result<String, String> {
    let from = renderer.exact("from", &email.from, Escape::None)?;
    let to = renderer.exact("to", &email.to, Escape::None)?;
    let mut headers = Vec::new();
    for (name, template) in &email.headers {
        headers.push((name.clone(), header_value(&renderer.text(name, template, Escape::None))));
    }
    let usual = |headers: &mut Vec<(String, String)>, name: &str, value: &dyn Fn() -> String| {
        if !headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
            headers.push((name.to_owned(), header_value(&value())));
        }
    };
    let subject = Template { at: email.to.at, text: DEFAULT_SUBJECT.to_owned() };
    let subject = renderer.text("email.default.subject", &subject, Escape::None);
    usual(&mut headers, "Subject", &|| subject.clone());
    usual(&mut headers, "From", &|| from.clone());
    usual(&mut headers, "To", &|| to.clone());
    // RFC 3834: nobody's holiday notice shall answer.
    usual(&mut headers, "Auto-Submitted", &|| "auto-generated".to_owned());
    let domain = domain(&from);
    let hash = |text: &str| Labels::new([("", text)]).fingerprint();
    // Equal for every attempt to send this notification, so that a server or reader may recognise a repetition.
    let message = hash(&format!("{} {} {}", integration.id(), context.group_key, now.as_millis()));
    headers.push(("Message-ID".to_owned(), format!("<{}.{message}@{domain}>", now.as_millis())));
    if let Some(threading) = email.threading {
        let group = hash(context.group_key);
        let day = match threading {
            Threading::Group => String::new(),
            Threading::Daily => format!(".{}", now.to_string().chars().take(10).collect::<String>()),
        };
        // No mail has this id; readers that build threads join all that refer to it.
        let root = format!("<group.{group}{day}@{domain}>");
        headers.push(("References".to_owned(), root.clone()));
        headers.push(("In-Reply-To".to_owned(), root));
    }
    let text = straight(&renderer.text("text", &email.text, Escape::None));
    let html = renderer.text("html", &email.html, Escape::Html);
    let mail = Mail { from, to, headers, text, html };
    serde_json::to_string(&mail).map_err(|error| error.to_string())
}

/// One line without control characters.
fn header_value(text: &str) -> String {
    let line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    straight(line.trim()).replace("=?", "= ?").chars().take(MAX_HEADER_CHARS).collect()
}

/// The domain for ids: the sender's own.
fn domain(from: &str) -> &str {
    let domain = from.rsplit('@').next().unwrap_or_default().trim_end().trim_end_matches('>');
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    if from.contains('@') && !domain.is_empty() && domain.bytes().all(valid) { domain } else { "watchfire.invalid" }
}
