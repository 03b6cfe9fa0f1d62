//! Documents as YAML text: the block form, with quotes wherever a reader might take a text for something else.
//!
//! What is written here is read by [`super::yaml::parse`] as the same document, positions aside. Texts are quoted unless they
//! are plainly words, so that no version of YAML and no reader takes `no`, `1e3` or `2026-01-01` for anything but text.

use super::{Node, Scalar, ScalarKind, Value};

/// Writes a document, with a line break at its end.
#[must_use]
pub fn emit(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::List(items) if !items.is_empty() => list(items, 0, &mut out),
        Value::Table(entries) if !entries.is_empty() => table(entries, 0, &mut out),
        _ => {
            out.push_str(&inline(node));
            out.push('\n');
        }
    }
    out
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn list(items: &[Node], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push_str("- ");
        match &item.value {
            // The first line of a collection stands behind the dash.
            Value::Table(entries) if !entries.is_empty() => {
                nested(depth + 1, out, |out| table(entries, depth + 1, out))
            }
            Value::List(items) if !items.is_empty() => nested(depth + 1, out, |out| list(items, depth + 1, out)),
            _ => {
                out.push_str(&inline(item));
                out.push('\n');
            }
        }
    }
}

/// Writes a collection without the indentation of its first line.
fn nested(depth: usize, out: &mut String, write: impl FnOnce(&mut String)) {
    let mut inner = String::new();
    write(&mut inner);
    out.push_str(&inner[2 * depth..]);
}

fn table(entries: &[(super::Key, Node)], depth: usize, out: &mut String) {
    for (key, value) in entries {
        indent(depth, out);
        out.push_str(&text(&key.name));
        out.push(':');
        match &value.value {
            Value::Table(entries) if !entries.is_empty() => {
                out.push('\n');
                table(entries, depth + 1, out);
            }
            Value::List(items) if !items.is_empty() => {
                out.push('\n');
                list(items, depth + 1, out);
            }
            _ => {
                out.push(' ');
                out.push_str(&inline(value));
                out.push('\n');
            }
        }
    }
}

/// What fits behind a key or a dash.
fn inline(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::List(_) => "[]".to_owned(),
        Value::Table(_) => "{}".to_owned(),
        Value::Scalar(Scalar { text: word, kind: ScalarKind::Text }) => text(word),
        Value::Scalar(scalar) if is_plain(&scalar.text) => scalar.text.clone(),
        Value::Scalar(scalar) => quoted(&scalar.text),
    }
}

fn text(text: &str) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | '/'));
    if is_word && is_plain(text) && !is_reserved(text) { text.to_owned() } else { quoted(text) }
}

/// Words that YAML 1.1 or 1.2 takes for booleans or nothing.
fn is_reserved(text: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a text means itself without quotes, wherever it stands in block form.
fn is_plain(text: &str) -> bool {
    let starts = text
        .starts_with(|first: char| first.is_ascii_alphanumeric() || matches!(first, '_' | '/' | '.' | '+' | '<'))
        || (text.starts_with('-') && text[1..].starts_with(|second: char| second.is_ascii_digit() || second == '.'));
    let inside = |char: char| char.is_ascii_alphanumeric() || "_/.+-<>=~:@()$^;% ".contains(char);
    starts
        && text.chars().all(inside)
        && !text.contains(": ")
        && !text.ends_with([' ', ':'])
        && !text.starts_with("...")
        && !text.starts_with("<<")
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // What is not printable in YAML, or breaks a line in one of its versions.
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", char as u32))
            }
            char if char.is_control() => out.push_str(&format!("\\u{:04x}", char as u32)),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Key, Position, Report, yaml};
    use super::*;

    const HERE: Position = Position { line: 1, column: 1 };

    fn node(value: Value) -> Node {
        Node { at: HERE, value }
    }

    fn scalar(text: &str, kind: ScalarKind) -> Node {
        node(Value::Scalar(Scalar { text: text.to_owned(), kind }))
    }

    /// The document without positions, and with every scalar a text: what plain and quoted words have in common.
    fn bare(node: &Node) -> Node {
        let value = match &node.value {
            Value::Null => Value::Null,
            Value::Scalar(scalar) => Value::Scalar(Scalar { kind: ScalarKind::Text, ..scalar.clone() }),
            Value::List(items) => Value::List(items.iter().map(bare).collect()),
            Value::Table(entries) => Value::Table(
                entries.iter().map(|(key, value)| (Key { at: HERE, ..key.clone() }, bare(value))).collect(),
            ),
        };
        Node { at: HERE, value }
    }

    fn read(text: &str) -> Node {
        let mut report = Report::new("emitted");
        let read = yaml::parse(text, &mut report);
        bare(&report.finish(read).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}")))
    }

    #[test]
    fn words_stay_words_and_whatever_looks_like_something_else_is_quoted() {
        for (text, emitted) in [
            ("alive", "alive\n"),
            ("/var/lib", "/var/lib\n"),
            ("at 10:30", "at 10:30\n"),
            ("no", "\"no\"\n"),
            ("NULL", "\"NULL\"\n"),
            ("1e3", "\"1e3\"\n"),
            ("2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\"\n"),
            ("", "\"\"\n"),
            ("a: b", "\"a: b\"\n"),
            ("a #b", "\"a #b\"\n"),
            ("- x", "\"- x\"\n"),
            ("---", "\"---\"\n"),
            ("line\nline\u{1b}[31m\u{2028}\"\\", "\"line\\nline\\u001b[31m\\u2028\\\"\\\\\"\n"),
        ] {
            assert_eq!(emit(&scalar(text, ScalarKind::Text)), emitted);
        }
        assert_eq!(emit(&scalar("-1.5e+3", ScalarKind::Plain)), "-1.5e+3\n");
        assert_eq!(emit(&scalar("{{ x }}", ScalarKind::Plain)), "\"{{ x }}\"\n");
    }

    #[test]
    fn collections_nest_in_block_form() {
        let key = |name: &str| Key { at: HERE, name: name.to_owned() };
        let word = |text: &str| scalar(text, ScalarKind::Text);
        let inner = node(Value::Table(vec![(key("a"), word("x")), (key("b"), node(Value::List(vec![])))]));
        let list = node(Value::List(vec![inner, node(Value::List(vec![word("z"), node(Value::Null)]))]));
        let document = node(Value::Table(vec![(key("items"), list), (key("1"), node(Value::Table(vec![])))]));
        let text = "items:\n  - a: x\n    b: []\n  - - z\n    - null\n\"1\": {}\n";
        assert_eq!(emit(&document), text);
        assert_eq!(read(text), bare(&document));
    }

    fn documents() -> impl Strategy<Value = Node> {
        let word = prop_oneof!["[ -~]{0,12}", "\\PC{0,6}", any::<String>(), "[-.:#<a-e0-9 ]{1,6}"];
        let leaf = prop_oneof![
            Just(node(Value::Null)),
            word.clone().prop_map(|text| scalar(&text, ScalarKind::Text)),
            "[a-z0-9.+-]{1,8}"
                .prop_filter("a plain null is nothing", |text| text != "null")
                .prop_map(|text| scalar(&text, ScalarKind::Plain)),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            // A key `<<` merges, quoted or not, for our reader.
            let key = word.clone().prop_filter("a merge", |key| key != "<<");
            let entries = prop::collection::btree_map(key, inner.clone(), 0..4);
            let table = entries.prop_map(|entries| {
                let key = |name| Key { at: HERE, name };
                node(Value::Table(entries.into_iter().map(|(name, value)| (key(name), value)).collect()))
            });
            prop_oneof![prop::collection::vec(inner, 0..4).prop_map(|items| node(Value::List(items))), table]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_document(document in documents()) {
            prop_assert_eq!(read(&emit(&document)), bare(&document));
        }
    }
}
