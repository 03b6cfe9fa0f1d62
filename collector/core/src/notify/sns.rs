//! What Amazon's notification service publishes: the fields of a form, which the sender signs.
//!
//! <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>

use std::collections::BTreeMap;

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::Sns;
use crate::alertmanager::receiver::sns::Destination;
use crate::template::Escape;

/// Bytes that a topic takes, and a phone.
const MAX_MESSAGE_BYTES: usize = 256 << 10;
const MAX_PHONE_BYTES: usize = 1600;
/// Characters of a subject, which are printable ASCII.
const MAX_SUBJECT_CHARS: usize = 100;
/// Of the name of a topic.
const MAX_WORD_CHARS: usize = 2048;

pub(super) fn render(sns: &Sns, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let (key, to, most) = match &sns.destination {
        Destination::Topic(to) => ("TopicArn", to, MAX_MESSAGE_BYTES),
        Destination::Phone(to) => ("PhoneNumber", to, MAX_PHONE_BYTES),
        Destination::Target(to) => ("TargetArn", to, MAX_MESSAGE_BYTES),
    };
    let to = cut(renderer.exact(key, to, Escape::None)?, MAX_WORD_CHARS);
    let mut message = renderer.text("message", &sns.message, Escape::None);
    let whole = message.len();
    message.truncate(message.floor_char_boundary(most));
    let mut attributes: Vec<(String, String)> = Vec::new();
    for (name, template) in &sns.attributes {
        attributes.push((name.clone(), renderer.text("attributes", template, Escape::None)));
    }
    if message.len() < whole {
        attributes.push(("truncated".to_owned(), "true".to_owned()));
    }
    // It refuses empty messages, and empty attributes.
    if message.trim().is_empty() {
        message = "(no details)".to_owned();
    }
    attributes.retain(|(_, value)| !value.is_empty());
    let subject = subject(&renderer.text("subject", &sns.subject, Escape::None));
    let mut form = BTreeMap::from([(key.to_owned(), to), ("Message".to_owned(), message)]);
    if !subject.is_empty() {
        form.insert("Subject".to_owned(), subject);
    }
    for (number, (name, value)) in (1..).zip(attributes) {
        let prefix = format!("MessageAttributes.entry.{number}");
        form.insert(format!("{prefix}.Name"), name);
        form.insert(format!("{prefix}.Value.DataType"), "String".to_owned());
        form.insert(format!("{prefix}.Value.StringValue"), value);
    }
    serde_json::to_string(&form).map_err(|error| error.to_string())
}

/// What may stand in a subject: printable ASCII, not too much of it.
fn subject(text: &str) -> String {
    let printable = |char: char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' };
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.chars().map(printable).take(MAX_SUBJECT_CHARS).collect::<String>().trim_end().to_owned()
}
