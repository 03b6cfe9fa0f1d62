//! What printed values become so that they stay texts where the output goes: as they are, in HTML, in Slack's markup.
//!
//! Only values are escaped, never the template's own words. [`html`] follows the document to know what a value stands in.

mod html;

use super::Value;
use super::value::Markup;

/// Where the output of a rendering goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// Plain text.
    #[default]
    None,
    /// An HTML document, as Go's `html/template` escapes it.
    Html,
    /// Slack's mrkdwn: `&`, `<` and `>` of values are no markup, unless `safeHtml` lets a value through.
    /// <https://docs.slack.dev/messaging/formatting-message-text#escaping>
    Mrkdwn,
    /// Markdown of chats: no value makes up a link whose text hides where it leads, nor calls everybody.
    Markdown,
}

/// What one rendering has to know to escape its values.
#[derive(Debug, Default)]
pub(super) enum Escaper {
    #[default]
    None,
    Html(html::Place),
    Mrkdwn,
    Markdown,
}

impl Escaper {
    pub(super) fn new(escape: Escape) -> Self {
        match escape {
            Escape::None => Self::None,
            Escape::Html => Self::Html(html::Place::default()),
            Escape::Mrkdwn => Self::Mrkdwn,
            Escape::Markdown => Self::Markdown,
        }
    }

    /// The template's own text goes into the output.
    pub(super) fn literal(&mut self, text: &str) {
        if let Self::Html(place) = self {
            place.literal(text);
        }
    }

    /// What is written for a value.
    pub(super) fn value(&mut self, value: &Value) -> Result<String, String> {
        match self {
            Self::None => value.print(),
            Self::Html(place) => place.value(value),
            Self::Mrkdwn => match value {
                Value::Markup(Markup::Html, text) => Ok(text.to_string()),
                value => value.print().map(|text| mrkdwn(&straight(&text))),
            },
            Self::Markdown => value.print().map(|text| markdown(&straight(&text))),
        }
    }

    /// Marks what a built-in function has escaped already, so that it is not escaped twice.
    pub(super) fn escaped_by(&self, function: &str, result: Value) -> Value {
        match (self, function, result) {
            (Self::Html(_), "html", Value::Text(text)) => Value::Markup(Markup::Html, text),
            (Self::Html(_), "urlquery", Value::Text(text)) => Value::Markup(Markup::Url, text),
            (_, _, result) => result,
        }
    }
}

/// A text without the characters that turn the direction of writing: what is written left to right in a name shall not be
/// read in another order. <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>
pub(crate) fn straight(text: &str) -> String {
    let turns = |char: char| matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|char| if turns(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// What calls all the readers of a chat: <https://docs.mattermost.com/collaborate/mention-people.html>; in Webex, `<@` begins
/// any mention. A character without width takes the meaning and leaves the look.
fn markdown(text: &str) -> String {
    let mut text = text.replace("](", "] (").replace("<@", "<\u{200b}@");
    for everybody in ["@all", "@here", "@channel", "@everyone"] {
        if text.contains(everybody) {
            text = text.replace(everybody, &format!("@\u{200b}{}", &everybody[1..]));
        }
    }
    text
}

fn mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
