//! Follows the HTML that a template writes, and escapes each value for the place where it stands.
//!
//! Go's `html/template` finds the same places by analysing the template; following the output needs no analysis and holds
//! whatever way the template takes, because no escaped value changes its place. Values in scripts, event handlers and the
//! names of tags and attributes are refused: mail readers run no scripts, and nothing there can be escaped in general.
//! <https://pkg.go.dev/html/template>

use super::straight;
use crate::template::Value;
use crate::template::value::Markup;

/// What Go writes in place of a value that would be dangerous where it stands.
const REFUSED: &str = "ZgotmplZ";

/// Bytes of a tag's or attribute's name that are kept; longer ones mean nothing to anybody.
const MAX_NAME_BYTES: usize = 64;

/// Attributes that hold an address.
const URLS: &[&str] = &[
    "action",
    "archive",
    "background",
    "cite",
    "classid",
    "codebase",
    "data",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "manifest",
    "poster",
    "profile",
    "src",
    "usemap",
    "xmlns",
];

/// Elements whose content is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// The place in the document that the output has reached.
#[derive(Debug, Default)]
pub(in crate::template) struct Place {
    state: State,
    /// The tag that was opened last, in lower case.
    tag: String,
    closing: bool,
    /// The attribute that is being written, in lower case.
    attribute: String,
    /// The last characters, where the end of something is looked for.
    recent: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Text,
    /// Behind `<`.
    TagOpen,
    TagName,
    /// Between attributes.
    Tag,
    AttributeName,
    AfterName,
    BeforeValue,
    Value {
        quote: Option<char>,
        kind: Kind,
    },
    /// `<!...>` and `<?...>`.
    Declaration,
    Comment,
    /// Inside of one of [`RAW`], which `tag` names.
    Raw,
}

/// What an attribute's value is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Url(UrlPart),
    Css,
    Script,
}

/// How far an address has come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum UrlPart {
    Start,
    Path,
    /// Behind `?` or `#`.
    Query,
}

impl Place {
    /// Follows the template's own text.
    pub(super) fn literal(&mut self, text: &str) {
        text.chars().for_each(|char| self.step(char));
    }

    fn step(&mut self, char: char) {
        self.state = match self.state {
            State::Text if char == '<' => State::TagOpen,
            State::Text => State::Text,
            State::TagOpen => self.tag_open(char),
            State::TagName if char == '>' => self.end_tag(),
            State::TagName if char.is_ascii_whitespace() || char == '/' => State::Tag,
            State::TagName => {
                push_bounded(&mut self.tag, char);
                State::TagName
            }
            State::Tag | State::AfterName | State::AttributeName => self.in_tag(char),
            State::BeforeValue => self.before_value(char),
            State::Value { quote, kind } => self.in_value(quote, kind, char),
            State::Declaration if char == '>' => State::Text,
            State::Declaration => {
                self.recent.push(char);
                if self.recent == "--" { State::Comment } else { State::Declaration }
            }
            State::Comment => {
                self.remember(char, 3);
                if self.recent.ends_with("-->") { State::Text } else { State::Comment }
            }
            State::Raw => self.raw(char),
        };
    }

    fn tag_open(&mut self, char: char) -> State {
        match char {
            '!' | '?' => {
                self.recent.clear();
                State::Declaration
            }
            '/' => {
                self.closing = true;
                self.tag.clear();
                State::TagName
            }
            '<' => State::TagOpen,
            char if char.is_ascii_alphabetic() => {
                self.closing = false;
                self.tag.clear();
                push_bounded(&mut self.tag, char);
                State::TagName
            }
            _ => State::Text,
        }
    }

    fn in_tag(&mut self, char: char) -> State {
        let named = self.state != State::Tag;
        match char {
            '>' => self.end_tag(),
            '=' if named => State::BeforeValue,
            '/' => State::Tag,
            char if char.is_ascii_whitespace() && named => State::AfterName,
            char if char.is_ascii_whitespace() => State::Tag,
            char => {
                if self.state != State::AttributeName {
                    self.attribute.clear();
                }
                push_bounded(&mut self.attribute, char);
                State::AttributeName
            }
        }
    }

    fn before_value(&mut self, char: char) -> State {
        let kind = kind(&self.attribute);
        match char {
            '"' | '\'' => State::Value { quote: Some(char), kind },
            '>' => self.end_tag(),
            char if char.is_ascii_whitespace() => State::BeforeValue,
            char => self.in_value(None, kind, char),
        }
    }

    fn in_value(&mut self, quote: Option<char>, kind: Kind, char: char) -> State {
        match (quote, char) {
            (Some(quote), char) if quote == char => State::Tag,
            (None, '>') => self.end_tag(),
            (None, char) if char.is_ascii_whitespace() => State::Tag,
            (quote, char) => State::Value { quote, kind: kind.after(char) },
        }
    }

    fn end_tag(&mut self) -> State {
        self.recent.clear();
        if !self.closing && RAW.contains(&self.tag.as_str()) { State::Raw } else { State::Text }
    }

    /// Looks for the end tag of the element, which has to be followed by a space, `/` or `>`.
    fn raw(&mut self, char: char) -> State {
        let ends = self.recent.strip_suffix(&self.tag).is_some_and(|before| before.ends_with("</"));
        if ends && (char == '>' || char == '/' || char.is_ascii_whitespace()) {
            self.closing = true;
            return if char == '>' { State::Text } else { State::Tag };
        }
        self.remember(char, self.tag.len() + 2);
        State::Raw
    }

    /// Keeps the last characters, in lower case.
    fn remember(&mut self, char: char, most: usize) {
        self.recent.push(char.to_ascii_lowercase());
        while self.recent.chars().count() > most {
            self.recent.remove(0);
        }
    }

    /// What is written for a value at this place.
    pub(super) fn value(&mut self, value: &Value) -> Result<String, String> {
        let text = straight(&value.print()?);
        if self.state == State::BeforeValue {
            self.state = State::Value { quote: None, kind: kind(&self.attribute) };
        }
        match self.state {
            State::Text if matches!(value, Value::Markup(Markup::Html, _)) => Ok(text),
            State::Text => Ok(escape(&text)),
            State::Value { quote, kind } => self.attribute_value(quote, kind, value, &text),
            State::Raw if self.tag == "script" => Err("a value inside of <script> cannot be made safe".to_owned()),
            State::Raw if self.tag == "style" => Ok(css(&text)),
            State::Raw => Ok(escape(&text)),
            State::Declaration | State::Comment => Ok(String::new()),
            State::TagOpen | State::TagName | State::Tag | State::AttributeName | State::AfterName => {
                Err("a value cannot make up a tag or the name of an attribute".to_owned())
            }
            State::BeforeValue => Err("the value of an attribute has not begun".to_owned()),
        }
    }

    fn attribute_value(
        &mut self,
        quote: Option<char>,
        kind: Kind,
        value: &Value,
        text: &str,
    ) -> Result<String, String> {
        let is_url = matches!(value, Value::Markup(Markup::Url, _));
        let text = match kind {
            Kind::Plain => text.to_owned(),
            Kind::Css => css(text),
            Kind::Script => return Err(format!("a value inside of `{}` cannot be made safe", self.attribute)),
            Kind::Url(UrlPart::Query) if !is_url => percent_encode(text, ""),
            Kind::Url(UrlPart::Start) if !is_url && has_other_scheme(text) => format!("#{REFUSED}"),
            Kind::Url(_) => percent_encode(text, RESERVED),
        };
        if let Kind::Url(UrlPart::Start) = kind {
            self.state = State::Value { quote, kind: Kind::Url(UrlPart::Path) };
        }
        Ok(match quote {
            Some(_) => escape(&text),
            None if text.is_empty() => REFUSED.to_owned(),
            None => escape_unquoted(&text),
        })
    }
}

impl Kind {
    /// The kind behind a character of the template.
    fn after(self, char: char) -> Self {
        match (self, char) {
            (Self::Url(_), '?' | '#') => Self::Url(UrlPart::Query),
            (Self::Url(UrlPart::Start), char) if !char.is_ascii_whitespace() => Self::Url(UrlPart::Path),
            (kind, _) => kind,
        }
    }
}

fn push_bounded(name: &mut String, char: char) {
    if name.len() < MAX_NAME_BYTES {
        name.push(char.to_ascii_lowercase());
    }
}

fn kind(attribute: &str) -> Kind {
    let name = attribute.strip_prefix("data-").unwrap_or(attribute);
    let name = match name.split_once(':') {
        Some(("xmlns", _)) => "xmlns",
        Some((_, name)) => name,
        None => name,
    };
    if name.starts_with("on") || name == "srcdoc" {
        Kind::Script
    } else if name == "style" {
        Kind::Css
    } else if URLS.contains(&name) || ["src", "uri", "url"].iter().any(|part| name.contains(part)) {
        Kind::Url(UrlPart::Start)
    } else {
        Kind::Plain
    }
}

/// Text and quoted attributes, character by character as Go writes them.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&#39;"),
            '+' => out.push_str("&#43;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            char => out.push(char),
        }
    }
    out
}

fn escape_unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in escape(text).chars() {
        match char {
            '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '=' | '`' => out.push_str(&format!("&#{};", char as u32)),
            char => out.push(char),
        }
    }
    out
}

/// What has a meaning in an address and stays as it is.
const RESERVED: &str = "!#$&*+,/:;=?@[]";

/// Writes bytes as `%xx` that are neither unreserved (RFC 3986) nor in `keep`; with anything to keep, `%xx` stays too.
fn percent_encode(text: &str, keep: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    for (at, byte) in bytes.iter().enumerate() {
        let encoded = *byte == b'%'
            && !keep.is_empty()
            && bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let kept = byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || keep.as_bytes().contains(byte);
        if encoded || kept {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

/// Whether an address names a scheme that could run something (`javascript:`).
fn has_other_scheme(url: &str) -> bool {
    let Some((scheme, _)) = url.split_once(':') else { return false };
    !scheme.contains('/') && !["http", "https", "mailto"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// A value in a style sheet: plain words and numbers pass.
fn css(text: &str) -> String {
    let dangerous = |char: char| "\0\"'()/;@[\\]`{}<>".contains(char);
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if text.contains(dangerous) || letters.contains("expression") || letters.contains("mozbinding") {
        return REFUSED.to_owned();
    }
    text.to_owned()
}
