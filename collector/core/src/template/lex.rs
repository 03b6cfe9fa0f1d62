//! From text to tokens, with Go's rules for trims, comments and literals.

use std::sync::Arc;

use watchfire_shared::document::Position;

use super::TemplateError;

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside of actions.
    Literal(String),
    Open,
    Close,
    Space,
    Identifier(String),
    /// `.Name`, without the dot.
    Field(String),
    /// `$` or `$name`, with the dollar.
    Variable(String),
    Dot,
    Integer(i64),
    Float(f64),
    Text(String),
    Pipe,
    OpenParen,
    CloseParen,
    Declare,
    Assign,
    Comma,
    End,
}

const SPACES: &[char] = &[' ', '\t', '\r', '\n'];

/// Cuts a text into tokens; the last one is [`Kind::End`].
pub(super) fn lex(name: &Arc<str>, text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { name, text, offset: 0, at: Position { line: 1, column: 1 }, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    name: &'a Arc<str>,
    text: &'a str,
    offset: usize,
    at: Position,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Moves on by so many bytes, which end at a character's border, and returns them.
    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = &self.rest()[..bytes];
        for char in taken.chars() {
            if char == '\n' {
                self.at = Position { line: self.at.line.saturating_add(1), column: 1 };
            } else {
                self.at.column = self.at.column.saturating_add(1);
            }
        }
        self.offset += bytes;
        taken
    }

    fn push(&mut self, at: Position, kind: Kind) {
        self.tokens.push(Token { at, kind });
    }

    fn error<T>(&self, at: Position, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError { template: self.name.clone(), at, message: message.into() })
    }

    fn run(&mut self) -> Result<(), TemplateError> {
        let mut trim_start = false;
        loop {
            let at = self.at;
            let Some(length) = self.rest().find("{{") else {
                let all = self.rest().len();
                let literal = self.take(all);
                self.literal(at, literal, trim_start, false);
                self.push(self.at, Kind::End);
                return Ok(());
            };
            let literal = self.take(length);
            let open = self.at;
            self.take(2);
            let trim_end = self.rest().starts_with('-') && self.rest()[1..].starts_with(SPACES);
            if trim_end {
                self.take(1);
            }
            self.literal(at, literal, trim_start, trim_end);
            let spaces = self.rest().len() - self.rest().trim_start_matches(SPACES).len();
            if self.rest().starts_with("/*") || (trim_end && self.rest()[spaces..].starts_with("/*")) {
                self.take(if self.rest().starts_with("/*") { 0 } else { spaces });
                trim_start = self.comment(open)?;
            } else {
                self.push(open, Kind::Open);
                trim_start = self.action(open)?;
            }
        }
    }

    fn literal(&mut self, at: Position, literal: &str, trim_start: bool, trim_end: bool) {
        let literal = if trim_start { literal.trim_start_matches(SPACES) } else { literal };
        let literal = if trim_end { literal.trim_end_matches(SPACES) } else { literal };
        if !literal.is_empty() {
            self.push(at, Kind::Literal(literal.to_owned()));
        }
    }

    /// Passes over a comment and the end of its action; returns whether the text behind it is trimmed.
    fn comment(&mut self, open: Position) -> Result<bool, TemplateError> {
        let Some(end) = self.rest().find("*/") else { return self.error(open, "the comment is not closed") };
        self.take(end + 2);
        match self.closing() {
            Some(trims) => Ok(trims),
            None => self.error(open, "a comment ends before the closing delimiter }}"),
        }
    }

    /// Takes `}}` or ` -}}` if it stands here; returns whether it trims.
    fn closing(&mut self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            self.take(2);
            return Some(false);
        }
        let spaces = rest.len() - rest.trim_start_matches(SPACES).len();
        if spaces > 0 && rest[spaces..].starts_with("-}}") {
            self.take(spaces + 3);
            return Some(true);
        }
        None
    }

    /// Cuts what stands between `{{` and `}}`; returns whether the text behind it is trimmed.
    fn action(&mut self, open: Position) -> Result<bool, TemplateError> {
        loop {
            let at = self.at;
            if let Some(trims) = self.closing() {
                self.push(at, Kind::Close);
                return Ok(trims);
            }
            let Some(char) = self.peek() else { return self.error(open, "the action is not closed, expected }}") };
            let kind = match char {
                ' ' | '\t' | '\r' | '\n' => {
                    let length = self.rest().len() - self.rest().trim_start_matches(SPACES).len();
                    self.take(length);
                    Kind::Space
                }
                '"' | '`' | '\'' => self.quoted(at, char)?,
                '|' => self.simple(1, Kind::Pipe),
                '(' => self.simple(1, Kind::OpenParen),
                ')' => self.simple(1, Kind::CloseParen),
                ',' => self.simple(1, Kind::Comma),
                ':' if self.rest().starts_with(":=") => self.simple(2, Kind::Declare),
                '=' => self.simple(1, Kind::Assign),
                '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => self.number(at)?,
                '+' | '-' | '0'..='9' => self.number(at)?,
                '.' => {
                    self.take(1);
                    let word = self.word();
                    if word.is_empty() { Kind::Dot } else { Kind::Field(word) }
                }
                '$' => {
                    self.take(1);
                    Kind::Variable(format!("${}", self.word()))
                }
                char if is_word(char) => Kind::Identifier(self.word()),
                char => return self.error(at, format!("unexpected character {char:?} in an action")),
            };
            let word = matches!(
                kind,
                Kind::Field(_) | Kind::Variable(_) | Kind::Identifier(_) | Kind::Integer(_) | Kind::Float(_)
            );
            self.push(at, kind);
            if word && !self.at_terminator() {
                let found = self.peek().unwrap_or(' ');
                return self.error(self.at, format!("unexpected character {found:?} in an action"));
            }
        }
    }

    /// Whether a word may end here, as Go's lexer has it.
    fn at_terminator(&self) -> bool {
        let rest = self.rest();
        rest.starts_with("}}") || rest.chars().next().is_none_or(|c| SPACES.contains(&c) || ".,|:=()".contains(c))
    }

    fn simple(&mut self, bytes: usize, kind: Kind) -> Kind {
        self.take(bytes);
        kind
    }

    fn word(&mut self) -> String {
        let length = self.rest().find(|char: char| !is_word(char)).unwrap_or(self.rest().len());
        self.take(length).to_owned()
    }

    fn quoted(&mut self, at: Position, quote: char) -> Result<Kind, TemplateError> {
        let body = &self.rest()[1..];
        let mut escaped = false;
        let end = body.char_indices().find_map(|(index, char)| {
            let ends = char == quote && !escaped;
            escaped = quote != '`' && char == '\\' && !escaped;
            (ends || (char == '\n' && quote != '`')).then_some((index, ends))
        });
        let Some((end, true)) = end else { return self.error(at, "the quoted text is not closed") };
        let body = &self.take(end + 2)[1..=end];
        if quote == '`' {
            return Ok(Kind::Text(body.replace('\r', "")));
        }
        let text = match super::convert::unquote(body, quote) {
            Ok(text) => text,
            Err(reason) => return self.error(at, reason),
        };
        if quote == '"' {
            return Ok(Kind::Text(text));
        }
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => Ok(Kind::Integer(i64::from(u32::from(char)))),
            _ => self.error(at, "a character constant holds one character"),
        }
    }

    fn number(&mut self, at: Position) -> Result<Kind, TemplateError> {
        let rest = self.rest();
        let mut before = ' ';
        let length = rest
            .char_indices()
            .position(|(index, char)| {
                let sign = matches!(char, '+' | '-')
                    && (index == 0 || (matches!(before, 'e' | 'E' | 'p' | 'P') && !is_hex_integer(&rest[..index])));
                before = char;
                !(sign || char == '.' || char == '_' || char.is_ascii_alphanumeric())
            })
            .unwrap_or(rest.len());
        let text = self.take(length);
        match super::convert::number_literal(text) {
            Some(Value::Integer(value)) => Ok(Kind::Integer(value)),
            Some(Value::Float(value)) => Ok(Kind::Float(value)),
            None => self.error(at, format!("{text:?} is no number")),
        }
    }
}

pub(super) use super::convert::Number as Value;

fn is_hex_integer(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    (digits.starts_with("0x") || digits.starts_with("0X")) && !digits.contains(['p', 'P'])
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}
