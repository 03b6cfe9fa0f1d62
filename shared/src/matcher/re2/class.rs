//! Classes of characters and what a backslash begins, in RE2's syntax.

use super::after_char;

/// The names of `[:name:]`.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The general categories of Unicode, by the names that Go has for them.
const CATEGORIES: [&str; 36] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// Code points that stand for halves of characters, and none of their own.
const SURROGATES: std::ops::RangeInclusive<u32> = 0xD800..=0xDFFF;

/// Rewrites the class that `text` begins with, and gives what follows it.
pub(super) fn bracketed(text: &str) -> Result<(String, &str), String> {
    let mut rest = &text[1..];
    let mut out = String::from("[");
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let (negated, mut first) = (out.len() > 1, true);
    let begin = out.len();
    // A bracket that comes first is a member.
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((class, after)) = named(rest)? {
            out.push_str(class);
            rest = after;
        } else if let Some((class, after)) = escaped(rest)? {
            out.push_str(&class);
            rest = after;
        } else {
            let from = rest;
            let (low, after) = member(rest, text)?;
            let (high, after) = match after.strip_prefix('-') {
                Some(end) if !end.starts_with(']') && !end.is_empty() => member(end, text)?,
                _ => (low, after),
            };
            if high < low {
                return Err(format!("invalid character class range: `{}`", &from[..from.len() - after.len()]));
            }
            range(low, high, &mut out);
            rest = after;
        }
    }
    if out.len() == begin {
        // Only halves of characters: nothing has them, and everything lacks them.
        out = if negated { r"[\x{0}-\x{10FFFF}]" } else { &super::NOTHING[..super::NOTHING.len() - 1] }.to_owned();
        if negated {
            return Ok((out, &rest[1..]));
        }
    }
    out.push(']');
    Ok((out, &rest[1..]))
}

/// `[:name:]`, if `text` begins like one; without an end the bracket is a member.
fn named(text: &str) -> Result<Option<(&str, &str)>, String> {
    let Some(length) = text.strip_prefix("[:").and_then(|inside| inside.find(":]")) else { return Ok(None) };
    let (whole, rest) = text.split_at(length + 4);
    let name = &whole[2..whole.len() - 2];
    if NAMED.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Ok(Some((whole, rest)));
    }
    Err(format!("invalid character class range: `{whole}`"))
}

/// The class that an escape stands for, such as `\d` or `\p{Greek}`, if `text` begins with one.
pub(super) fn escaped(text: &str) -> Result<Option<(String, &str)>, String> {
    let mut chars = text.chars();
    let (Some('\\'), Some(char)) = (chars.next(), chars.next()) else { return Ok(None) };
    let class = match char {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        'p' | 'P' => return unicode(text, char == 'P').map(Some),
        _ => return Ok(None),
    };
    Ok(Some((class.to_owned(), chars.as_str())))
}

/// `\pL`, `\p{Greek}`, `\P{..}` or `\p{^..}`. Whether there is one of the name, the engine knows.
fn unicode(text: &str, negated: bool) -> Result<(String, &str), String> {
    let wrong = |whole: &str| Err(format!("invalid character class range: `{whole}`"));
    let (name, rest) = match text[2..].strip_prefix('{') {
        None => text[2..].split_at(text[2..].len() - after_char(&text[2..]).len()),
        Some(inside) => match inside.split_once('}') {
            Some(parts) => parts,
            None => return wrong(text),
        },
    };
    let whole = &text[..text.len() - rest.len()];
    let (name, negated) = name.strip_prefix('^').map_or((name, negated), |name| (name, !negated));
    let property = match name {
        "Any" => name.to_owned(),
        _ if CATEGORIES.contains(&name) => format!("gc={name}"),
        // Go knows scripts by their names as Unicode writes them.
        _ if name.split('_').all(|word| word.starts_with(|char: char| char.is_ascii_uppercase())) => {
            format!("sc={name}")
        }
        _ => return wrong(whole),
    };
    let letter = if negated { 'P' } else { 'p' };
    let class = format!("\\{letter}{{{property}}}");
    if property.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'='))
        && regex::Regex::new(&class).is_ok()
    {
        return Ok((class, rest));
    }
    // No character is half of one.
    if name == "Cs" {
        let nothing = if negated { r"[\x{0}-\x{10FFFF}]" } else { super::NOTHING };
        return Ok((nothing.to_owned(), rest));
    }
    wrong(whole)
}

/// One character of a class, escaped or not.
fn member<'a>(text: &'a str, class: &str) -> Result<(u32, &'a str), String> {
    match text.chars().next() {
        None => Err(format!("missing closing ]: `{class}`")),
        Some('\\') => code_point(text),
        Some(char) => Ok((u32::from(char), after_char(text))),
    }
}

/// Appends a range, without those of its code points that are no characters.
fn range(low: u32, high: u32, out: &mut String) {
    let below = (low, high.min(*SURROGATES.start() - 1));
    let above = (low.max(*SURROGATES.end() + 1), high);
    for (low, high) in [below, above] {
        if low <= high {
            out.push_str(&format!(r"\x{{{low:X}}}-\x{{{high:X}}}"));
        }
    }
}

/// Reads the escape that `text` begins with and that stands for one code point.
pub(super) fn code_point(text: &str) -> Result<(u32, &str), String> {
    let mut chars = text.chars();
    chars.next();
    let Some(char) = chars.next() else { return Err("trailing backslash at end of expression: ``".to_owned()) };
    let rest = chars.as_str();
    let wrong = |rest: &str| Err(format!("invalid escape sequence: `{}`", &text[..text.len() - rest.len()]));
    let code = match char {
        'a' => 0x07,
        'f' => 0x0C,
        'n' => 0x0A,
        'r' => 0x0D,
        't' => 0x09,
        'v' => 0x0B,
        'x' => return hexadecimal(rest).or_else(wrong),
        // A digit alone is a reference to a group, which RE2 has not; with another one it is octal.
        '1'..='7' if !rest.starts_with(|next| matches!(next, '0'..='7')) => return wrong(rest),
        '0'..='7' => {
            let digits = rest.bytes().take(2).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            let octal = &text[1..2 + digits];
            return Ok((u32::from_str_radix(octal, 8).unwrap_or(0), &rest[digits..]));
        }
        char if char.is_ascii() && !char.is_ascii_alphanumeric() => u32::from(char),
        _ => return wrong(rest),
    };
    Ok((code, rest))
}

/// What follows `\x`: two digits, or any number of them in braces. Otherwise gives what follows the wrong character.
fn hexadecimal(text: &str) -> Result<(u32, &str), &str> {
    let (mut rest, most) = text.strip_prefix('{').map_or((text, 2), |inside| (inside, usize::MAX));
    let (mut code, mut digits) = (0, 0);
    while digits < most {
        let after = after_char(rest);
        match rest.chars().next() {
            Some('}') if most > 2 && digits > 0 => return Ok((code, after)),
            Some(char) => code = code * 16 + char.to_digit(16).ok_or(after)?,
            None => return Err(after),
        }
        if code > u32::from(char::MAX) {
            return Err(after);
        }
        (rest, digits) = (after, digits + 1);
    }
    Ok((code, rest))
}
