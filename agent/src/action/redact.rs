//! What an action wrote goes to the collector and to whoever reads there; secrets in it do not.
//!
//! A line such as `password=hunter2`, `"api_key": "..."` or `Authorization: Bearer ...` keeps its name and loses its value.
//! A secret that stands alone is not recognised: whoever writes an action is to keep it from printing one.

/// Words that name a secret, in lower case; they may be part of a longer name, such as `db_password`.
const NAMES: &[&str] =
    &["password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "api-key", "private_key"];
/// Schemes of authentication, behind which the secret stands.
const SCHEMES: &[&str] = &["bearer ", "basic "];
/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// The text without the values of what is named like a secret.
pub(super) fn secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        redact(line, &mut out);
    }
    out
}

fn redact(line: &str, out: &mut String) {
    // Lower case of ASCII only, so that places stay the same.
    let lower = line.to_ascii_lowercase();
    let mut from = 0;
    while let Some((begin, end)) = next(&lower, from) {
        out.push_str(&line[from..begin]);
        out.push_str(HIDDEN);
        from = end;
    }
    out.push_str(&line[from..]);
}

/// Where the next secret begins and ends.
fn next(line: &str, from: usize) -> Option<(usize, usize)> {
    let rest = &line[from..];
    let scheme = |scheme: &&str| rest.find(*scheme).map(|at| from + at + scheme.len());
    let named = NAMES.iter().filter_map(|name| value_of(line, from, name));
    let begin = named.chain(SCHEMES.iter().filter_map(scheme)).min()?;
    let quoted = line[begin..].starts_with('"') || line[begin..].starts_with('\'');
    let begin = begin + usize::from(quoted);
    let ends = |char: char| {
        if quoted { matches!(char, '"' | '\'' | '\n') } else { char.is_whitespace() || matches!(char, ',' | ';' | '&') }
    };
    let end = line[begin..].find(ends).map_or(line.len(), |length| begin + length);
    (begin < end)
        .then_some((begin, end))
        .or_else(|| if end < line.len() && end >= from { next(line, end + 1) } else { None })
}

/// Where the value begins that stands behind a name with `=` or `:` between them.
fn value_of(line: &str, from: usize, name: &str) -> Option<usize> {
    let mut at = from;
    while let Some(found) = line[at..].find(name) {
        let behind = at + found + name.len();
        let rest = &line[behind..];
        // The name may go on (`token_id`), and may be quoted.
        let rest = rest
            .trim_start_matches(|char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '"' | '\''));
        let rest = rest.trim_start_matches(' ');
        if let Some(value) = rest.strip_prefix(['=', ':']) {
            return Some(line.len() - value.trim_start_matches(' ').len());
        }
        at = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_what_is_named_like_a_secret_are_hidden() {
        for (text, expected) in [
            ("password=hunter2 user=me\n", "password=*** user=me\n"),
            ("DB_PASSWORD: hunter2\nnext\n", "DB_PASSWORD: ***\nnext\n"),
            ("{\"api_key\": \"a b\", \"name\": \"x\"}", "{\"api_key\": \"***\", \"name\": \"x\"}"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("curl https://x/?token=abc&y=1", "curl https://x/?token=***&y=1"),
            ("token=a secret=b", "token=*** secret=***"),
            ("no secret here, no token", "no secret here, no token"),
            ("password=\nlast", "password=\nlast"),
            ("Größe: passwort, token = ü", "Größe: passwort, token = ***"),
        ] {
            assert_eq!(secrets(text), expected);
        }
    }
}
