//! Expressions in RE2's syntax, rewritten into what the `regex` crate reads.
//!
//! The source is Go's `regexp/syntax` with the flags of `regexp.Compile` (<https://pkg.go.dev/regexp/syntax>): what it
//! refuses is refused, with its words. Everything is written anew (literals escaped, classes of `\d`, `\w`, `\s` and `\b`
//! in ASCII), so that nothing means more to the one engine than to the other. Only what both read alike is left to the
//! crate: whether a name of `\p{..}` exists, and whether groups have good and different names.

mod class;

/// What RE2 repeats at most, repetitions inside each other multiplied.
const MAX_REPEAT: u32 = 1000;
/// Above this a number is none, as in Go; it keeps the arithmetic in range.
const MAX_NUMBER: u32 = 100_000_000;
/// Classes without members and with all, for code points that are no characters.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

/// Rewrites an expression.
///
/// # Errors
/// What RE2 finds wrong with it.
pub(super) fn translate(expression: &str) -> Result<String, String> {
    let mut scanner =
        Scanner { rest: expression, out: String::with_capacity(expression.len() * 2), groups: Vec::new(), flags: 0..0 };
    scanner.scan(expression)?;
    Ok(scanner.out)
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
    /// The groups that are open, the whole expression first.
    groups: Vec<Group>,
    /// Where the flags were written that stood last. A repetition behind flags is one of what stands before them, which
    /// the crate does not know.
    flags: std::ops::Range<usize>,
}

/// How much of [`MAX_REPEAT`] a group needs.
#[derive(Default)]
struct Group {
    /// The most that a part of it needs.
    most: u32,
    /// What its last part needs, if there is one to be repeated.
    last: Option<u32>,
}

impl Group {
    fn push(&mut self, need: u32) {
        self.most = self.most.max(need);
        self.last = Some(need);
    }
}

impl<'a> Scanner<'a> {
    fn scan(&mut self, expression: &str) -> Result<(), String> {
        self.groups.push(Group::default());
        // The repetition that has just been read, which cannot be repeated itself.
        let mut repeated: Option<&'a str> = None;
        while let Some(char) = self.rest.chars().next() {
            let before = self.rest;
            let last = repeated.take();
            match char {
                '(' if before.starts_with("(?") => self.flags()?,
                '(' => self.open("(", 1),
                ')' => self.close(expression)?,
                '|' => {
                    self.skip("|");
                    self.out.push('|');
                    self.group().last = None;
                }
                '^' | '$' | '.' => {
                    self.skip_char();
                    self.atom(&char.to_string());
                }
                '[' => {
                    let (class, rest) = class::bracketed(before)?;
                    self.rest = rest;
                    self.atom(&class);
                }
                '\\' => self.escaped()?,
                '*' | '+' | '?' => {
                    self.skip_char();
                    self.repeat(before, last, None)?;
                    repeated = Some(before);
                }
                '{' if bounds(before).is_some() => {
                    let (least, most, rest) = bounds(before).expect("it was one a line above");
                    self.rest = rest;
                    self.repeat(before, last, Some((least, most)))?;
                    repeated = Some(before);
                }
                char => {
                    self.skip_char();
                    self.literal(char);
                }
            }
        }
        if self.groups.len() > 1 {
            return Err(format!("missing closing ): `{expression}`"));
        }
        Ok(())
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the whole expression is one")
    }

    fn skip(&mut self, text: &str) {
        self.rest = &self.rest[text.len()..];
    }

    fn skip_char(&mut self) {
        self.rest = after_char(self.rest);
    }

    /// Something that can be repeated.
    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        self.group().push(0);
    }

    fn literal(&mut self, char: char) {
        self.out.push_str(&regex::escape(char.encode_utf8(&mut [0; 4])));
        self.group().push(0);
    }

    fn open(&mut self, written: &str, read: usize) {
        self.rest = &self.rest[read..];
        self.out.push_str(written);
        self.groups.push(Group::default());
    }

    fn close(&mut self, expression: &str) -> Result<(), String> {
        if self.groups.len() == 1 {
            return Err(format!("unexpected ): `{expression}`"));
        }
        self.skip(")");
        self.out.push(')');
        let need = self.groups.pop().map_or(0, |group| group.most);
        self.group().push(need);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, and flags with or without a group.
    fn flags(&mut self) -> Result<(), String> {
        let text = self.rest;
        if let Some(named) = text.strip_prefix("(?P<").or_else(|| text.strip_prefix("(?<")) {
            let Some((name, _)) = named.split_once('>') else {
                return Err(format!("invalid named capture: `{text}`"));
            };
            let read = text.len() - named.len() + name.len() + 1;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(format!("invalid named capture: `{}`", &text[..read]));
            }
            self.open(&format!("(?P<{name}>"), read);
            return Ok(());
        }
        // What each flag was said to be; the last word counts.
        let mut said: [(char, Option<bool>); 4] = [('i', None), ('m', None), ('s', None), ('U', None)];
        let (mut on, mut alone) = (true, false);
        for (at, char) in text.char_indices().skip(2) {
            let read = at + char.len_utf8();
            match char {
                '-' if on => (on, alone) = (false, true),
                ':' | ')' if !alone => {
                    self.group_with_flags(&said, char, read);
                    return Ok(());
                }
                char => match said.iter_mut().find(|(flag, _)| *flag == char) {
                    Some((_, value)) => (*value, alone) = (Some(on), false),
                    None => return Err(format!("invalid or unsupported Perl syntax: `{}`", &text[..read])),
                },
            }
        }
        Err(format!("invalid or unsupported Perl syntax: `{text}`"))
    }

    fn group_with_flags(&mut self, said: &[(char, Option<bool>)], end: char, read: usize) {
        let flags = |on| said.iter().filter(move |(_, value)| *value == Some(on)).map(|(flag, _)| *flag);
        let (on, off): (String, String) = (flags(true).collect(), flags(false).collect());
        let minus = if off.is_empty() { "" } else { "-" };
        let written = format!("(?{on}{minus}{off}{end}");
        match end {
            ':' => self.open(&written, read),
            _ => {
                self.rest = &self.rest[read..];
                // The crate takes no flags where none is set.
                if written != "(?)" {
                    let begin = if self.flags.end == self.out.len() { self.flags.start } else { self.out.len() };
                    self.out.push_str(&written);
                    self.flags = begin..self.out.len();
                }
            }
        }
    }

    /// Writes the repetition that `before` begins with; `bounds` are those of `{n,m}`.
    fn repeat(&mut self, before: &str, last: Option<&str>, bounds: Option<(u32, Option<u32>)>) -> Result<(), String> {
        let whole = &before[..before.len() - self.rest.len()];
        if bounds.is_some_and(|(least, most)| least > MAX_REPEAT || most.is_some_and(|m| m > MAX_REPEAT || m < least)) {
            return Err(format!("invalid repeat count: `{whole}`"));
        }
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        let whole = &before[..before.len() - self.rest.len()];
        if let Some(last) = last {
            return Err(format!("invalid nested repetition operator: `{}`", &last[..last.len() - self.rest.len()]));
        }
        let Some(need) = self.group().last else {
            return Err(format!("missing argument to repetition operator: `{whole}`"));
        };
        if let Some((least, most)) = bounds {
            let times = most.unwrap_or(least);
            let need = if most == Some(0) { 0 } else { need.saturating_mul(times.max(1)).max(times) };
            if need > MAX_REPEAT && (least >= 2 || times >= 2) {
                return Err(format!("invalid repeat count: `{whole}`"));
            }
            self.group().push(need);
        }
        if self.flags.end == self.out.len() {
            self.out.insert_str(self.flags.start, whole);
            self.flags = self.flags.start + whole.len()..self.out.len();
        } else {
            self.out.push_str(whole);
        }
        Ok(())
    }

    fn escaped(&mut self) -> Result<(), String> {
        let text = self.rest;
        match text.chars().nth(1) {
            Some(char @ ('A' | 'z')) => {
                self.rest = &text[2..];
                self.atom(&format!("\\{char}"));
            }
            // Between letters of ASCII and all else.
            Some(char @ ('b' | 'B')) => {
                self.rest = &text[2..];
                self.atom(&format!(r"(?-u:\{char})"));
            }
            Some('Q') => {
                let (literal, rest) = text[2..].split_once(r"\E").unwrap_or((&text[2..], ""));
                self.rest = rest;
                literal.chars().for_each(|char| self.literal(char));
            }
            _ => {
                if let Some((class, rest)) = class::escaped(text)? {
                    self.rest = rest;
                    self.atom(&class);
                } else {
                    let (code, rest) = class::code_point(text)?;
                    self.rest = rest;
                    match char::from_u32(code) {
                        Some(char) => self.literal(char),
                        None => self.atom(NOTHING),
                    }
                }
            }
        }
        Ok(())
    }
}

/// The numbers of `{n}`, `{n,}` or `{n,m}` and what follows; anything else after a brace makes it a plain character.
fn bounds(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (least, rest) = number(text.strip_prefix('{')?)?;
    let (most, rest) = match rest.strip_prefix(',') {
        None => (Some(least), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (most, rest) = number(rest)?;
            (Some(most), rest)
        }
    };
    Some((least, most, rest.strip_prefix('}')?))
}

/// A number without leading zeros.
fn number(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(MAX_NUMBER).min(MAX_NUMBER), rest))
}

fn after_char(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

#[cfg(test)]
mod tests;
