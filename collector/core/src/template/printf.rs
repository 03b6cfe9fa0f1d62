//! `fmt.Sprint`, `fmt.Sprintln` and `fmt.Sprintf` over template values.

use super::value::too_long;
use super::{MAX_OUTPUT_BYTES, Value, number};

/// Width and precision that Go accepts at most.
const MAX_WIDTH: usize = 1_000_000;

/// Values with a space between two of which neither is a text.
pub(super) fn print(args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut text_before = true;
    for value in args {
        let text = matches!(value, Value::Text(_));
        if !text && !text_before {
            out.push(' ');
        }
        value.print_into(&mut out)?;
        text_before = text;
    }
    Ok(out)
}

/// Values with spaces between them and a line end.
pub(super) fn println(args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    for (index, value) in args.iter().enumerate() {
        out.push_str(if index > 0 { " " } else { "" });
        value.print_into(&mut out)?;
    }
    out.push('\n');
    Ok(out)
}

/// One verb with what stands between it and its `%`.
#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats as Go does; what does not fit is shown in the output as `%!verb(...)`, which is no error there either.
pub(super) fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut args = args.iter();
    while let Some(char) = chars.next() {
        if out.len() > MAX_OUTPUT_BYTES {
            return Err(too_long());
        }
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|char| "+-# 0".contains(*char)) {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                _ => verb.zero = true,
            }
        }
        verb.width = size(&mut chars, &mut args, &mut verb.minus);
        if chars.next_if_eq(&'.').is_some() {
            verb.precision = Some(size(&mut chars, &mut args, &mut false).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(name) => match args.next() {
                None => out.push_str(&format!("%!{name}(MISSING)")),
                Some(value) => verb.apply(name, value, &mut out)?,
            },
        }
    }
    let extra: Vec<&Value> = args.collect();
    if !extra.is_empty() {
        out.push_str("%!(EXTRA ");
        for (index, value) in extra.into_iter().enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            out.push_str(value.type_name());
            if !matches!(value, Value::Nil) {
                out.push('=');
                value.print_into(&mut out)?;
            }
        }
        out.push(')');
    }
    Ok(out)
}

/// A width or precision: digits, or `*` for an argument.
fn size<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &mut impl Iterator<Item = &'a Value>,
    minus: &mut bool,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        let Some(Value::Integer(size)) = args.next() else { return None };
        *minus |= *size < 0;
        return usize::try_from(size.unsigned_abs()).ok().map(|size| size.min(MAX_WIDTH));
    }
    let mut size = None;
    while let Some(digit) = chars.peek().and_then(|char| char.to_digit(10)) {
        chars.next();
        size = Some((size.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
    }
    size
}

impl Verb {
    fn apply(&self, name: char, value: &Value, out: &mut String) -> Result<(), String> {
        let formatted = match (name, value) {
            ('T', value) => Some(value.type_name().to_owned()),
            ('v', Value::Float(number)) => Some(self.float('g', *number)),
            ('v', Value::Integer(number)) => Some(self.integer('d', *number)),
            ('v' | 's', Value::Text(text)) => Some(self.cut(text).to_owned()),
            ('q', Value::Text(text)) => Some(quote(self.cut(text), self.sharp)),
            ('x' | 'X', Value::Text(text)) => Some(hexadecimal(text, name)),
            ('v' | 't', Value::Bool(value)) => Some(value.to_string()),
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(number)) => Some(self.float(name, *number)),
            ('d' | 'x' | 'X' | 'o' | 'b' | 'c' | 'q' | 'U', Value::Integer(number) | Value::Duration(number)) => {
                Some(self.integer(name, *number))
            }
            ('s' | 'v', Value::Time(_) | Value::Duration(_) | Value::Nil)
                if name == 'v' || !matches!(value, Value::Nil) =>
            {
                let mut text = String::new();
                value.print_into(&mut text)?;
                Some(text)
            }
            ('v', value) => {
                let mut text = String::new();
                value.print_into(&mut text)?;
                Some(text)
            }
            ('s' | 'q' | 'd' | 'f' | 'g' | 'e' | 'x', Value::List(_) | Value::Map(_) | Value::Struct(_)) => {
                return self.elements(name, value, out);
            }
            _ => None,
        };
        match formatted {
            Some(text) => self.pad(&text, value, out),
            None => {
                out.push_str(&format!("%!{name}({}", value.type_name()));
                if !matches!(value, Value::Nil) {
                    out.push('=');
                    value.print_into(out)?;
                }
                out.push(')');
            }
        }
        if out.len() > MAX_OUTPUT_BYTES { Err(too_long()) } else { Ok(()) }
    }

    /// The verb applied to each element, in the frame that printing gives the collection.
    fn elements(&self, name: char, value: &Value, out: &mut String) -> Result<(), String> {
        match value {
            Value::List(list) => {
                out.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    self.apply(name, item, out)?;
                }
                out.push(']');
            }
            Value::Map(map) if map.kind == super::value::MapKind::Pairs && name == 's' => value.print_into(out)?,
            Value::Map(map) => {
                out.push_str("map[");
                for (index, (key, item)) in map.entries.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    self.apply(name, &Value::text(key.as_str()), out)?;
                    out.push(':');
                    self.apply(name, item, out)?;
                }
                out.push(']');
            }
            other => other.print_into(out)?,
        }
        Ok(())
    }

    fn cut<'t>(&self, text: &'t str) -> &'t str {
        let end =
            self.precision.and_then(|precision| text.char_indices().nth(precision)).map_or(text.len(), |(at, _)| at);
        &text[..end]
    }

    fn float(&self, name: char, value: f64) -> String {
        let precision = match name {
            'e' | 'E' | 'f' | 'F' => Some(self.precision.unwrap_or(6)),
            _ => self.precision,
        };
        let text = number::format_float(value, name, precision);
        self.signed(text)
    }

    fn signed(&self, text: String) -> String {
        let bare = text.starts_with(|char: char| char.is_ascii_digit()) || text == "NaN";
        match (bare && self.plus, bare && self.space) {
            (true, _) => format!("+{text}"),
            (false, true) => format!(" {text}"),
            (false, false) => text,
        }
    }

    fn integer(&self, name: char, value: i64) -> String {
        let char = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        let digits = value.unsigned_abs();
        let (prefix, digits) = match name {
            'x' => (if self.sharp { "0x" } else { "" }, format!("{digits:x}")),
            'X' => (if self.sharp { "0X" } else { "" }, format!("{digits:X}")),
            'o' => (if self.sharp { "0" } else { "" }, format!("{digits:o}")),
            'b' => (if self.sharp { "0b" } else { "" }, format!("{digits:b}")),
            'c' => return char.to_string(),
            'q' => return format!("'{char}'"),
            'U' => return format!("U+{digits:04X}"),
            _ => ("", digits.to_string()),
        };
        let missing = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let digits = "0".repeat(missing) + &digits;
        if value < 0 { format!("-{prefix}{digits}") } else { self.signed(format!("{prefix}{digits}")) }
    }

    fn pad(&self, text: &str, value: &Value, out: &mut String) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        let finite = text.contains(|char: char| char.is_ascii_digit());
        let number = matches!(value, Value::Integer(_)) && self.precision.is_none() || matches!(value, Value::Float(_));
        if self.minus {
            out.push_str(text);
            out.push_str(&" ".repeat(missing));
        } else if self.zero && (number && finite || matches!(value, Value::Text(_))) {
            let sign = usize::from(number && text.starts_with(['+', '-', ' ']));
            out.push_str(&text[..sign]);
            out.push_str(&"0".repeat(missing));
            out.push_str(&text[sign..]);
        } else {
            out.push_str(&" ".repeat(missing));
            out.push_str(text);
        }
    }
}

fn hexadecimal(text: &str, name: char) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    if name == 'X' { hex.to_uppercase() } else { hex }
}

fn quote(text: &str, raw: bool) -> String {
    if raw && !text.contains(|char: char| char == '`' || (char.is_control() && char != '\t')) {
        return format!("`{text}`");
    }
    watchfire_shared::labels::Quoted(text).to_string()
}
