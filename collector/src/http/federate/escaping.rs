//! How names are written that a plain identifier cannot hold, and which way a scraper asks for.
//!
//! The schemes and the negotiation are those of Prometheus' `common` library, as Prometheus' own `/federate` uses them:
//! <https://prometheus.io/docs/instrumenting/escaping_schemes/>.

use std::borrow::Cow;
use std::fmt::Write;

use watchfire_shared::labels::is_metric_name;

/// A scheme, as the parameter `escaping` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Escaping {
    /// Names are quoted and stay what they are.
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

const SCHEMES: [(&str, Escaping); 4] = [
    ("allow-utf-8", Escaping::AllowUtf8),
    ("underscores", Escaping::Underscores),
    ("dots", Escaping::Dots),
    ("values", Escaping::Values),
];

impl Escaping {
    /// The scheme that a header `Accept` asks for: that of the most wanted entry that is text, or of one before it.
    pub(super) fn negotiated(accept: &str) -> Self {
        let mut entries: Vec<Entry<'_>> = accept.split(',').map(Entry::read).collect();
        entries.sort_by(|left, right| right.quality.total_cmp(&left.quality));
        let mut escaping = Self::Underscores;
        for entry in entries {
            let scheme = SCHEMES.iter().find(|(name, _)| *name == entry.escaping);
            escaping = scheme.map_or(escaping, |(_, scheme)| *scheme);
            if entry.media == "text/plain" && ["", "0.0.4"].contains(&entry.version) {
                break;
            }
        }
        escaping
    }

    pub(super) fn as_str(self) -> &'static str {
        SCHEMES.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }

    /// The name as it is written where a name stands, quotes included.
    pub(super) fn written(self, name: &str) -> Cow<'_, str> {
        if is_metric_name(name) {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(name.len() + 8);
        match self {
            Self::AllowUtf8 => return Cow::Owned(format!("\"{}\"", quoted(name))),
            Self::Values => out.push_str("U__"),
            Self::Underscores | Self::Dots => {}
        }
        for (at, character) in name.char_indices() {
            let is_plain = character.is_ascii_alphabetic()
                || matches!(character, '_' | ':')
                || (character.is_ascii_digit() && at > 0);
            match (self, character) {
                (Self::Dots, '.') => out.push_str("_dot_"),
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                _ if is_plain => out.push(character),
                (Self::Dots, _) => out.push_str("__"),
                (Self::Values, _) => drop(write!(out, "_{:x}_", u32::from(character))),
                _ => out.push('_'),
            }
        }
        Cow::Owned(out)
    }
}

/// Text as it stands between quotes.
pub(super) fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// One entry of the header.
struct Entry<'a> {
    media: &'a str,
    version: &'a str,
    escaping: &'a str,
    quality: f64,
}

impl<'a> Entry<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut entry = Self { media, version: "", escaping: "", quality: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "version" => entry.version = value,
                "escaping" => entry.escaping = value,
                "q" => entry.quality = value.parse().unwrap_or(1.0),
                _ => {}
            }
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_prometheus_escapes_them() {
        // As Prometheus 3.5.3 has answered.
        let cases = [
            ("plain_x", "plain_x", "plain_x", "plain_x", "plain_x"),
            ("a:b", "a:b", "a:b", "a:b", "a:b"),
            ("1digit", "\"1digit\"", "_digit", "__digit", "U___31_digit"),
            ("a_b.c:d__e", "\"a_b.c:d__e\"", "a_b_c:d__e", "a__b_dot_c:d____e", "U__a__b_2e_c:d____e"),
            ("load.1 é", "\"load.1 é\"", "load_1__", "load_dot_1____", "U__load_2e_1_20__e9_"),
            ("a\"\\\n", r#""a\"\\\n""#, "a___", "a______", "U__a_22__5c__a_"),
        ];
        for (name, utf8, underscores, dots, values) in cases {
            let schemes = [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];
            assert_eq!(schemes.map(|scheme| scheme.written(name)), [utf8, underscores, dots, values]);
        }
    }

    #[test]
    fn the_scheme_is_the_one_that_prometheus_settles_on() {
        let cases = [
            ("", "underscores"),
            ("*/*", "underscores"),
            ("text/plain;version=0.0.4", "underscores"),
            ("text/plain;version=1.0.0;escaping=allow-utf-8", "allow-utf-8"),
            ("text/plain; version=0.0.4; escaping=dots", "dots"),
            ("text/plain;version=1.0.0;escaping=nonsense", "underscores"),
            ("text/plain;escaping=values;q=0.5, text/plain;escaping=dots;q=0.6", "dots"),
            ("text/plain;version=0.0.4,text/plain;escaping=values", "underscores"),
            ("application/openmetrics-text;version=1.0.0", "underscores"),
            // The text's version 1.0.0 is none that it writes, so it looks on.
            ("text/plain;version=1.0.0;escaping=values;q=0.5,text/plain;escaping=dots;q=0.4", "dots"),
            // What a Prometheus 3 sends.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                "allow-utf-8",
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(Escaping::negotiated(accept).as_str(), expected, "{accept}");
        }
    }
}
