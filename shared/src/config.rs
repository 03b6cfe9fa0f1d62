//! The vocabulary of the two configuration files: which keys there are, what each takes, and the strict check of a file.
//!
//! A program describes its file once, as a slice of [`ConfigKey`]s. The check of a file, the reference text in the packages
//! and the list that a typo is held against all come from it; reading files and merging them is the shell's.

use std::net::SocketAddr;

use crate::document::{self, Key, Node, Report, Table, Value};
use crate::limits;
use crate::time::Span;

/// One key of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// The path with dots: `gossip.bind`.
    pub path: &'static str,
    pub kind: ConfigKind,
    /// The default as it would stand in the file, in TOML.
    pub default: &'static str,
    /// What it means, in one or two sentences, and how it relates to other keys.
    pub help: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum ConfigKind {
    /// Any text.
    Text,
    /// A path of a file or folder.
    Path,
    /// A list of paths, which may hold `*`.
    Globs,
    /// An IP address with a port, or the empty text where the default says so.
    Address,
    /// A list of `host:port`, names included.
    HostPorts,
    /// A duration between two bounds, both included.
    Duration { min: Span, max: Span },
    /// An integer between two bounds, both included.
    Integer { min: i64, max: i64 },
    /// True or false.
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    TextList,
    /// A table of labels.
    Labels,
    /// Tables of a kind, any number: `[[remote_write]]`. The check is that of one of them; the default is an example.
    Tables(fn(&Node, &mut Report)),
    /// A list of tables (`[[section.key]]`), each with these keys; their paths stand without the list's own.
    TablesOf(&'static [ConfigKey]),
}

/// Checks one file against the keys: unknown tables and keys with the nearest one that exists, wrong kinds, values out
/// of bounds. Everything goes into the report.
pub fn check(root: &Node, keys: &[ConfigKey], report: &mut Report) {
    let Value::Table(entries) = &root.value else { return };
    check_entries("", entries, keys, report);
}

/// Checks the entries of the table at `prefix`, which ends with a dot unless it is the file itself.
fn check_entries(prefix: &str, entries: &[(Key, Node)], keys: &[ConfigKey], report: &mut Report) {
    for (key, node) in entries {
        let path = format!("{prefix}{}", key.name);
        if let Some(known) = keys.iter().find(|known| known.path == path) {
            check_value(known.kind, node, report);
        } else if is_section(keys, &path) {
            if let Some(table) = Table::of(node, report) {
                check_entries(&format!("{path}."), table.entries(), keys, report);
            }
        } else {
            let what = if prefix.is_empty() { "section" } else { "key" };
            report.add(key.at, unknown(what, &key.name, &names_in(keys, prefix)));
        }
    }
}

/// Whether a path is that of a table which holds keys: `gossip`, `uplink.tls`.
#[must_use]
pub fn is_section(keys: &[ConfigKey], path: &str) -> bool {
    keys.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The names that may stand in the table at `prefix`.
fn names_in<'a>(keys: &'a [ConfigKey], prefix: &str) -> Vec<&'a str> {
    let inside = keys.iter().filter_map(|key| key.path.strip_prefix(prefix));
    let mut names: Vec<&str> = inside.filter_map(|rest| rest.split('.').next()).collect();
    names.dedup();
    names
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match document::nearest(name, known.iter().copied()) {
        Some(hint) => format!("unknown {what} `{name}`, did you mean `{hint}`?"),
        None => format!("unknown {what} `{name}`, expected one of {}", known.join(", ")),
    }
}

fn check_value(kind: ConfigKind, node: &Node, report: &mut Report) {
    match kind {
        ConfigKind::Text | ConfigKind::Path => drop(document::text(node, report)),
        ConfigKind::Globs | ConfigKind::TextList => drop(document::text_list(node, report)),
        ConfigKind::Boolean => drop(document::boolean(node, report)),
        ConfigKind::Integer { min, max } => drop(document::integer(min, max)(node, report)),
        ConfigKind::Address => {
            let text = document::text(node, report);
            checked(text, node, report, |text| if text.is_empty() { Ok(()) } else { address(text).map(drop) });
        }
        ConfigKind::HostPorts => {
            document::list(|item, report| {
                let text = document::text(item, report);
                checked(text, item, report, |text| host_port(text).map(drop));
                Some(())
            })(node, report);
        }
        ConfigKind::Duration { min, max } => {
            let text = document::text(node, report);
            checked(text, node, report, |text| duration(text, min, max).map(drop));
        }
        ConfigKind::Word(words) => {
            let text = document::text(node, report);
            checked(text, node, report, |text| match words.contains(&text) {
                true => Ok(()),
                false => Err(unknown("word", text, words)),
            });
        }
        ConfigKind::Tables(check) => match &node.value {
            Value::List(items) => items.iter().for_each(|item| check(item, report)),
            _ => report.add(node.at, format!("expected tables, each in two brackets, found {}", node.describe())),
        },
        ConfigKind::TablesOf(keys) => {
            document::list(|item, report| {
                check_table(item, keys, report);
                Some(())
            })(node, report);
        }
        ConfigKind::Labels => {
            for (name, value) in document::text_map(node, report).unwrap_or_default() {
                if let Err(message) = node_label(&name, &value) {
                    report.add(node.at, message);
                }
            }
        }
    }
}

fn check_table(node: &Node, keys: &[ConfigKey], report: &mut Report) {
    let Some(table) = Table::of(node, report) else { return };
    for (key, value) in table.entries() {
        match keys.iter().find(|known| known.path == key.name) {
            Some(known) => check_value(known.kind, value, report),
            None => {
                let names: Vec<&str> = keys.iter().map(|known| known.path).collect();
                report.add(key.at, unknown("key", &key.name, &names));
            }
        }
    }
}

fn checked(text: Option<String>, node: &Node, report: &mut Report, check: impl Fn(&str) -> Result<(), String>) {
    if let Some(Err(message)) = text.map(|text| check(&text)) {
        report.add(node.at, message);
    }
}

/// Reads a duration within bounds.
///
/// # Errors
/// The message for the user.
pub fn duration(text: &str, min: Span, max: Span) -> Result<Span, String> {
    let span = Span::parse(text).map_err(|error| format!("{error}, found {text:?}"))?;
    if span < min || span > max { Err(format!("{span} is not between {min} and {max}")) } else { Ok(span) }
}

/// Reads an IP address with a port.
///
/// # Errors
/// The message for the user.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected an IP address and a port such as 127.0.0.1:7950 or [::1]:7950";
    text.parse().map_err(|_| format!("{expected}, found {text:?}"))
}

/// Reads `host:port`, where the host may be a name; the address is resolved later.
///
/// # Errors
/// The message for the user.
pub fn host_port(text: &str) -> Result<(&str, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() && port > 0 && !host.contains(char::is_whitespace) => Ok((host, port)),
        _ => Err(format!("expected host:port such as 10.0.0.1:7950, found {text:?}")),
    }
}

/// Labels that the house itself sets, or that metrics bring with them: a node label of that name would change or lose
/// one of theirs.
pub const RESERVED_NODE_LABELS: &[&str] = &[
    "instance",
    "job",
    "alertname",
    "alertstate",
    "cpu",
    "mode",
    "device",
    "mountpoint",
    "fstype",
    "le",
    "quantile",
    "state",
    "cause",
    "node",
    "name",
    "interface",
    "chip",
    "sensor",
    "type",
];

/// Checks one label of a node.
///
/// # Errors
/// The message for the user.
pub fn node_label(name: &str, value: &str) -> Result<(), String> {
    if !crate::labels::is_label_name(name) || name.starts_with("__") {
        return Err(format!(
            "the node label `{name}` is no label name: letters, digits and _, not starting with a digit or __"
        ));
    }
    if RESERVED_NODE_LABELS.contains(&name) {
        return Err(format!("a node label may not be called `{name}`: series have a label of their own of that name"));
    }
    if value.len() > limits::MAX_LABEL_VALUE_BYTES {
        return Err(format!(
            "the value of the node label `{name}` is longer than {} bytes",
            limits::MAX_LABEL_VALUE_BYTES
        ));
    }
    Ok(())
}

/// The reference text of a configuration file: every key with its help and its default. Settings stand behind a `#`
/// without a space, so that they can be told from text.
#[must_use]
pub fn reference(keys: &[ConfigKey]) -> String {
    let mut out = String::new();
    let mut section = "";
    for key in keys {
        if let ConfigKind::Tables(_) = key.kind {
            out += &format!("\n# {}\n", key.help);
            key.default.lines().for_each(|line| out += &format!("#{line}\n"));
            continue;
        }
        let (own, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if own != section {
            let space = if out.is_empty() { "" } else { "\n" };
            out += &format!("{space}[{own}]\n");
            section = own;
        }
        out += &format!("# {}\n#{name} = {}\n", key.help, key.default);
        if let ConfigKind::TablesOf(keys) = key.kind {
            keys.iter().for_each(|key| out += &format!("#   {} = {}: {}\n", key.path, key.default, key.help));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[ConfigKey] = &[
        ConfigKey { path: "gossip.bind", kind: ConfigKind::Address, default: "\"127.0.0.1:7950\"", help: "Where." },
        ConfigKey { path: "gossip.join", kind: ConfigKind::HostPorts, default: "[]", help: "Whom." },
        ConfigKey { path: "gossip.profile", kind: ConfigKind::Word(&["lan", "wan"]), default: "\"lan\"", help: "How." },
        ConfigKey { path: "gossip.tls.file", kind: ConfigKind::Path, default: "\"\"", help: "Deeper." },
        ConfigKey { path: "node.labels", kind: ConfigKind::Labels, default: "{}", help: "What." },
    ];

    #[test]
    fn a_file_is_checked_in_one_go() {
        let mut report = Report::new("agent.toml");
        let file = "[gosip]\n[gossip]\nbnd = 1\nbind = \"here\"\njoin = [\"a\", \"b:1\"]\nprofile = \"lam\"\n[node]\nlabels = { cpu = \"1\" }\n";
        let root = document::toml::parse(file, &mut report).unwrap();
        check(&root, KEYS, &mut report);
        let mistakes: Vec<String> = report.into_mistakes().iter().map(ToString::to_string).collect();
        assert_eq!(
            mistakes,
            [
                "agent.toml:1:2: unknown section `gosip`, did you mean `gossip`?",
                "agent.toml:3:1: unknown key `bnd`, did you mean `bind`?",
                "agent.toml:4:8: expected an IP address and a port such as 127.0.0.1:7950 or [::1]:7950, found \"here\"",
                "agent.toml:5:9: expected host:port such as 10.0.0.1:7950, found \"a\"",
                "agent.toml:6:11: unknown word `lam`, did you mean `lan`?",
                "agent.toml:8:10: a node label may not be called `cpu`: series have a label of their own of that name",
            ]
        );
    }

    #[test]
    fn tables_lie_within_tables() {
        let mut report = Report::new("agent.toml");
        let file = "[gossip.tls]\nfile = 1\nfil = \"x\"\n[gossip.tsl]\n";
        let root = document::toml::parse(file, &mut report).unwrap();
        check(&root, KEYS, &mut report);
        let mistakes: Vec<String> = report.into_mistakes().iter().map(ToString::to_string).collect();
        let expected = [
            "agent.toml:2:8: expected text, found \"1\"",
            "agent.toml:3:1: unknown key `fil`, did you mean `file`?",
            "agent.toml:4:9: unknown key `tsl`, did you mean `tls`?",
        ];
        assert_eq!(mistakes, expected);
    }

    #[test]
    fn the_reference_is_a_valid_file_once_uncommented() {
        let reference = reference(KEYS);
        let text: Vec<&str> = reference.lines().filter(|line| !line.starts_with("# ")).collect();
        let uncommented = text.join("\n").replace('#', "");
        let mut report = Report::new("r");
        let root = document::toml::parse(&uncommented, &mut report).unwrap();
        check(&root, KEYS, &mut report);
        assert_eq!(report.into_mistakes(), []);
    }
}
