//! The inventory: a file that names the nodes that should exist.
//!
//! Two forms are read, told apart by their first character. Prometheus' `http_sd`/`file_sd` JSON,
//! `[{"targets": ["web-1:9100"], "labels": {"zone": "a"}}]`, names a node by its target without the port, or by the label
//! `name`. Otherwise each line names one node; what follows a `#` is a comment.
//!
//! The formats: <https://prometheus.io/docs/prometheus/latest/http_sd/>.

use std::collections::BTreeMap;

use serde::Deserialize;
use watchfire_shared::document::{Mistake, Position};
use watchfire_shared::limits::{MAX_MEMBERS, MAX_NODE_NAME_BYTES};

/// A node that should exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    pub name: String,
    /// What the inventory says of it; shown while the node itself has said nothing.
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetGroup {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads a file of either form. `file` names it in mistakes.
///
/// # Errors
/// Every mistake: the place where the JSON breaks, a name that no node can have, more nodes than a cluster holds.
pub fn parse(file: &str, text: &str) -> Result<Vec<Expected>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let nodes = if text.trim_start().starts_with(['[', '{']) {
        of_target_groups(file, text, &mut mistakes)
    } else {
        of_lines(file, text, &mut mistakes)
    };
    if nodes.len() > MAX_MEMBERS {
        let message = format!("it names {} nodes; a cluster holds at most {MAX_MEMBERS}", nodes.len());
        mistakes.push(Mistake { file: file.to_owned(), at: None, message });
    }
    if mistakes.is_empty() { Ok(nodes.into_values().collect()) } else { Err(mistakes) }
}

fn of_lines(file: &str, text: &str, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, Expected> {
    let mut nodes = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        match check(name) {
            Ok(()) => drop(nodes.insert(name.to_owned(), Expected { name: name.to_owned(), labels: BTreeMap::new() })),
            Err(message) => {
                let at = Some(Position { line: place(at + 1), column: 1 });
                mistakes.push(Mistake { file: file.to_owned(), at, message });
            }
        }
    }
    nodes
}

fn of_target_groups(file: &str, text: &str, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, Expected> {
    let groups: Vec<TargetGroup> = match serde_json::from_str(text) {
        Ok(groups) => groups,
        Err(error) => {
            let at = Some(Position { line: place(error.line()), column: place(error.column()) });
            let message = format!("expected target groups as http_sd gives them: {error}");
            mistakes.push(Mistake { file: file.to_owned(), at, message });
            return BTreeMap::new();
        }
    };
    let mut nodes = BTreeMap::new();
    for TargetGroup { targets, mut labels } in groups {
        let named = labels.remove("name");
        // Labels of two underscores serve relabelling and end with it.
        labels.retain(|name, _| !name.starts_with("__"));
        for target in targets {
            let name = named.clone().unwrap_or_else(|| host(&target).to_owned());
            match check(&name) {
                Ok(()) => drop(nodes.insert(name.clone(), Expected { name, labels: labels.clone() })),
                Err(message) => {
                    let message = format!("target {target:?}: {message}");
                    mistakes.push(Mistake { file: file.to_owned(), at: None, message });
                }
            }
        }
    }
    nodes
}

fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A target without its scheme, path and port.
fn host(target: &str) -> &str {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or(rest);
    match rest.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address without a port.
        Some((host, _)) if !host.contains(':') || host.ends_with(']') => host.trim_matches(['[', ']']),
        _ => rest.trim_matches(['[', ']']),
    }
}

fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a node without a name".to_owned());
    }
    if name.len() > MAX_NODE_NAME_BYTES {
        return Err(format!("a name of {} bytes; at most {MAX_NODE_NAME_BYTES} are allowed", name.len()));
    }
    match name.chars().find(|c| c.is_control() || c.is_whitespace()) {
        Some(_) => Err(format!("{name:?} is no name of a node: it holds white space")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, Vec<String>> {
        let parsed = parse("inventory", text);
        let told = |mistakes: Vec<Mistake>| mistakes.iter().map(ToString::to_string).collect();
        parsed.map(|nodes| nodes.into_iter().map(|node| node.name).collect()).map_err(told)
    }

    #[test]
    fn a_list_has_one_node_in_each_line() {
        assert_eq!(names("# racks\nweb-2\n\n  web-1  # the old one\nweb-2\n").unwrap(), ["web-1", "web-2"]);
        assert_eq!(names("").unwrap(), [""; 0]);
        let mistakes = names("web-1\nweb 2\n").unwrap_err();
        assert_eq!(mistakes, ["inventory:2:1: \"web 2\" is no name of a node: it holds white space"]);
    }

    #[test]
    fn target_groups_name_nodes_by_host_or_by_label() {
        let text = r#"[{"targets": ["web-1:9100", "http://db-1:80/metrics", "[2001:db8::1]:9100", "2001:db8::2"],
                        "labels": {"zone": "a", "__meta_x": "y"}},
                       {"targets": ["10.0.0.9:9100"], "labels": {"name": "cache-1"}}, {"targets": []}]"#;
        assert_eq!(names(text).unwrap(), ["2001:db8::1", "2001:db8::2", "cache-1", "db-1", "web-1"]);
        let labels = parse("inventory", text).unwrap().pop().unwrap().labels;
        assert_eq!(labels, BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
    }

    #[test]
    fn what_is_no_inventory_is_refused_with_its_place() {
        let mistakes = names("[{\"targets\": [\"a\"], \"lables\": {}}]").unwrap_err();
        assert!(
            mistakes[0].starts_with("inventory:1:") && mistakes[0].contains("unknown field `lables`"),
            "{mistakes:?}"
        );
        assert_eq!(names("[{\"targets\": [\":9100\"]}]").unwrap_err().len(), 1);
        let many: String = (0..=MAX_MEMBERS).map(|n| format!("node-{n}\n")).collect();
        assert_eq!(names(&many).unwrap_err().len(), 1);
    }
}
