//! Text to tokens. A token that cannot be read becomes an error token, so that the parser reports whichever mistake
//! comes first.
//!
//! Keywords are not told from names here: whether `sum` is an operator or a metric depends on what follows it.

use crate::ast::Place;

/// A token and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub kind: TokenKind,
    pub text: &'a str,
    pub place: Place,
}

/// The kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A name or keyword; a metric name if it holds a colon.
    Word,
    Number,
    Duration,
    /// With its quotes.
    Text,
    /// An operator or a bracket.
    Symbol,
    /// Something unreadable; the message is for the reader of the query.
    Bad(&'static str),
    /// The end of the text, where a bracket is still open; the message says which.
    Unclosed(&'static str),
    End,
}

/// Symbols, the longer of two with a common beginning first.
const SYMBOLS: [&str; 25] = [
    "==", "!=", "=~", "!~", ">=", "<=", "</", ">/", "=", "<", ">", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}",
    "[", "]", ",", "@",
];

/// Splits the text; the last token is an end, or one that cannot be read.
pub(crate) fn tokens(input: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { input, at: 0, line: 1, line_start: 0, parentheses: 0, brackets: 0, braces: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
        tokens.push(token);
        if matches!(token.kind, TokenKind::End | TokenKind::Unclosed(_) | TokenKind::Bad(_)) {
            return tokens;
        }
    }
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    parentheses: usize,
    /// Within square brackets a colon stands alone, elsewhere it is part of names.
    brackets: usize,
    braces: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.input[self.at..]
    }

    fn skip_blank(&mut self) {
        while let Some(char) = self.rest().chars().next() {
            match char {
                '\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                ' ' | '\t' | '\r' => self.at += 1,
                '#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Token<'a> {
        self.skip_blank();
        let (start, line, column) = (self.at, self.line, (self.at - self.line_start + 1) as u32);
        let (kind, length) = self.scan();
        let text = &self.rest()[..length];
        self.at += length;
        if let Some(last_break) = text.rfind('\n') {
            self.line += text.bytes().filter(|byte| *byte == b'\n').count() as u32;
            self.line_start = start + last_break + 1;
        }
        Token { kind, text, place: Place { start, end: self.at, line, column } }
    }

    fn scan(&mut self) -> (TokenKind, usize) {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let Some(first) = bytes.first().copied() else { return (self.end(), 0) };
        let second_is_digit = bytes.get(1).is_some_and(u8::is_ascii_digit);
        if first.is_ascii_digit() || (first == b'.' && second_is_digit) {
            return scan_number(rest);
        }
        if matches!(first, b'"' | b'\'' | b'`') {
            return scan_text(rest, first);
        }
        if self.brackets > 0 && first == b':' {
            return (TokenKind::Symbol, 1);
        }
        let colons = self.brackets == 0 && self.braces == 0;
        let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || (colons && *byte == b':');
        if in_word(&first) {
            return (TokenKind::Word, bytes.iter().take_while(|byte| in_word(byte)).count());
        }
        let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) else {
            return (TokenKind::Bad("unexpected character"), rest.chars().next().map_or(1, char::len_utf8));
        };
        match *symbol {
            "(" => self.parentheses += 1,
            ")" => self.parentheses = self.parentheses.saturating_sub(1),
            "[" => self.brackets += 1,
            "]" => self.brackets = self.brackets.saturating_sub(1),
            "{" => self.braces += 1,
            "}" => self.braces = self.braces.saturating_sub(1),
            _ => {}
        }
        (TokenKind::Symbol, symbol.len())
    }

    fn end(&self) -> TokenKind {
        match (self.braces, self.parentheses, self.brackets) {
            (0, 0, 0) => TokenKind::End,
            (0, 0, _) => TokenKind::Unclosed("unclosed left bracket"),
            (0, _, _) => TokenKind::Unclosed("unclosed left parenthesis"),
            _ => TokenKind::Unclosed("unexpected end of input inside braces"),
        }
    }
}

fn scan_number(rest: &str) -> (TokenKind, usize) {
    let bytes = rest.as_bytes();
    let run = |from: usize, accept: fn(&u8) -> bool| bytes[from..].iter().take_while(|byte| accept(byte)).count();
    let digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'_';
    let hexadecimal = bytes.len() > 2 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X');
    let mut length =
        if hexadecimal { 2 + run(2, |byte| byte.is_ascii_hexdigit() || *byte == b'_') } else { run(0, digit) };
    if !hexadecimal {
        if bytes.get(length) == Some(&b'.') {
            length += 1 + run(length + 1, digit);
        }
        if matches!(bytes.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
            let exponent = run(length + 1 + sign, digit);
            length += if exponent > 0 { 1 + sign + exponent } else { 0 };
        }
    }
    let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if !bytes.get(length).is_some_and(alphanumeric) {
        return (TokenKind::Number, length);
    }
    let length = run(0, |byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let duration = watchfire_shared::time::Span::parse(&rest[..length]).is_ok();
    (if duration { TokenKind::Duration } else { TokenKind::Bad("bad number or duration syntax") }, length)
}

fn scan_text(rest: &str, quote: u8) -> (TokenKind, usize) {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote != b'`' => escaped = true,
            b'\n' if quote != b'`' => break,
            byte if byte == quote => return (TokenKind::Text, at + 1),
            _ => {}
        }
    }
    (TokenKind::Bad(if quote == b'`' { "unterminated raw string" } else { "unterminated quoted string" }), rest.len())
}

/// The content of a quoted text, with Go's escapes resolved.
///
/// # Errors
/// Says which escape is unknown, or that the bytes are no UTF-8.
pub(crate) fn unquote(token: &str) -> Result<String, String> {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') {
        return Ok(inner.replace('\r', ""));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape(&rest[at + 1..], &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).map_err(|_| "string is not valid UTF-8".to_owned())
}

/// Resolves one escape, the text being what follows its backslash; returns the rest.
fn unescape<'a>(text: &'a str, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let unknown = || format!("unknown escape sequence {:?}", format!("\\{}", text.chars().next().unwrap_or(' ')));
    let first = text.chars().next().ok_or_else(unknown)?;
    let simple = match first {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' | '\'' | '"' => Some(first as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        return Ok(&text[1..]);
    }
    let (skip, digits, radix) = match first {
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        '0'..='7' => (0, 3, 8),
        _ => return Err(unknown()),
    };
    let code =
        text.get(skip..skip + digits).and_then(|code| u32::from_str_radix(code, radix).ok()).ok_or_else(unknown)?;
    if matches!(first, 'u' | 'U') {
        let char = char::from_u32(code).ok_or_else(|| "escape sequence is no Unicode character".to_owned())?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        out.push(u8::try_from(code).map_err(|_| unknown())?);
    }
    Ok(&text[skip + digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_gos() {
        assert_eq!(unquote(r#""a\n\x41\u00e9\101\"""#).as_deref(), Ok("a\nAéA\""));
        assert_eq!(unquote(r"`a\n`").as_deref(), Ok(r"a\n"));
        assert!(unquote(r#""\xff""#).is_err() && unquote(r#""\q""#).is_err());
    }

    #[test]
    fn places_count_lines_and_bytes() {
        let tokens = tokens("a +\n # note\n  b[5m:1m]");
        let places: Vec<_> = tokens.iter().map(|token| (token.text, token.place.line, token.place.column)).collect();
        assert_eq!(places[2], ("b", 3, 3));
        let texts: Vec<_> = tokens.iter().map(|token| token.text).collect();
        assert_eq!(texts, ["a", "+", "b", "[", "5m", ":", "1m", "]", ""]);
    }
}
