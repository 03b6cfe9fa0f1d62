//! Templates of replacements, as Go's `regexp.Expand` reads them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What a name may begin with: Go's `unicode.IsLetter` and `unicode.IsDigit`, which take neither `²` nor `Ⅷ`.
static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}_]*").expect("it is right"));

/// Appends `template` to `out` with `$1`, `$name` and `${name}` filled in, and `$$` as one `$`. A group that does not
/// exist, or has matched nothing, is empty; a `$` that begins no name is text.
///
/// The source is <https://pkg.go.dev/regexp#Regexp.Expand>: names are letters, digits and `_`, inside braces too, and a
/// number with a leading zero is a name.
pub fn expand(captures: &Captures<'_>, template: &str, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = group(rest) {
            let found =
                if is_number(name) { name.parse().ok().and_then(|at| captures.get(at)) } else { captures.name(name) };
            out.push_str(found.map_or("", |found| found.as_str()));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
}

/// The name that a text begins with, in braces or without, and what follows.
fn group(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('{');
    let text = inside.unwrap_or(text);
    let (name, rest) = text.split_at(NAME.find(text).map_or(0, |name| name.end()));
    let rest = if inside.is_some() { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::anchored;

    #[test]
    fn templates_are_gos() {
        let regex = anchored("(?P<first>[a-z]+)-([0-9]+)(x)?").unwrap();
        let captures = regex.captures("ab-12").unwrap();
        let cases = [
            ("$1/${2}", "ab/12"),
            ("$first:$0", "ab:ab-12"),
            ("$1x", ""),
            ("${1}x", "abx"),
            ("$3$9${none}$$1", "$1"),
            ("${fir-st}", "${fir-st}"),
            ("${1", "${1"),
            ("$01", ""),
            ("5 $", "5 $"),
            ("$-$1", "$-ab"),
            ("$é", ""),
            ("$1²", "ab²"),
            ("$1٣", ""),
        ];
        for (template, expected) in cases {
            let mut out = String::new();
            expand(&captures, template, &mut out);
            assert_eq!(out, expected, "{template}");
        }
    }
}
