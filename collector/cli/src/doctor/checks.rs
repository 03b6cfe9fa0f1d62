//! What answers mean: each function takes one and gives what is worth a line.

use serde_json::Value;
use watchfire_shared::time::{Span, Timestamp};

use super::{Finding, Level, MAX_OFFSET, finding};
use crate::output::{Tone, items, text};
use crate::status;

/// The collector's clock against that of this machine, which asked between two times.
pub(super) fn clock(node: &str, told: Timestamp, before: Timestamp, after: Timestamp) -> Finding {
    let offset = if told < before {
        before.since(told)
    } else if told > after {
        told.since(after)
    } else {
        Span::ZERO
    };
    if offset <= MAX_OFFSET {
        return finding(Level::Ok, "clock", node, "agrees with this machine's");
    }
    let word = if told < before { "behind" } else { "ahead of" };
    finding(Level::Warning, "clock", node, format!("is {offset} {word} this machine's; see that both keep time by NTP"))
}

/// What a collector says of itself. Members and nodes are told of by name elsewhere.
pub(super) fn status(status: &Value) -> Vec<Finding> {
    let node = text(status, "/node");
    let lines = status::lines(status).into_iter().filter(|(part, ..)| !matches!(*part, "members" | "nodes"));
    lines
        .filter_map(|(part, told, tone)| {
            let level = match tone {
                Tone::Plain | Tone::Good => return None,
                Tone::Warning => Level::Warning,
                Tone::Bad => Level::Problem,
            };
            Some(finding(level, part, node, told))
        })
        .collect()
}

/// Members that are in doubt or gone.
pub(super) fn members(list: &Value) -> Vec<Finding> {
    let namesakes = items(list, "/items").iter().filter_map(namesakes);
    let found = items(list, "/items").iter().filter_map(|member| {
        let (name, since) = (text(member, "/name"), text(member, "/since"));
        let by: Vec<&str> = items(member, "/suspected_by").iter().filter_map(Value::as_str).collect();
        match text(member, "/state") {
            "suspect" => {
                let told = format!("is suspected since {since} by {}", by.join(", "));
                Some(finding(Level::Warning, "member", name, told))
            }
            "down" => {
                let cause = text(member, "/cause");
                let cause = if cause.is_empty() { String::new() } else { format!(" ({cause})") };
                Some(finding(Level::Problem, "member", name, format!("is down{cause} since {since}")))
            }
            _ => None,
        }
    });
    found.chain(namesakes).collect()
}

/// A name that several living members have, told once: of the one with the lowest id.
fn namesakes(member: &Value) -> Option<Finding> {
    let others = items(member, "/namesakes");
    let own = text(member, "/id");
    if others.is_empty() || others.iter().any(|other| text(other, "/id") < own) {
        return None;
    }
    let all = std::iter::once(member).chain(others);
    let all: Vec<String> = all.map(|one| format!("{} at {}", text(one, "/id"), text(one, "/addr"))).collect();
    let told = format!("is the name of several living nodes, {}; rename all but one", all.join(", "));
    Some(finding(Level::Problem, "name", text(member, "/name"), told))
}

/// Nodes that are not well, and clocks that are not right. Those in maintenance are left alone.
pub(super) fn nodes(list: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    for node in items(list, "/items") {
        let name = text(node, "/name");
        let reasons: Vec<&str> = items(node, "/reasons").iter().filter_map(Value::as_str).collect();
        let level = match text(node, "/health") {
            "degraded" | "unknown" => Some(Level::Warning),
            "down" => Some(Level::Problem),
            _ => None,
        };
        let told = format!("is {}: {}", text(node, "/health"), reasons.join("; "));
        found.extend(level.map(|level| finding(level, "node", name, told)));
        if let Some(offset) =
            node["clock_offset_seconds"].as_f64().filter(|offset| offset.abs() > MAX_OFFSET.as_seconds())
        {
            let word = if offset > 0.0 { "ahead of" } else { "behind" };
            let told = format!("is {:.1} s {word} the collector's; see that both keep time by NTP", offset.abs());
            found.push(finding(Level::Warning, "clock", name, told));
        }
    }
    found
}

/// What the agent on this machine says of itself in its metrics.
pub(super) fn agent_metrics(node: &str, metrics: &str) -> Vec<Finding> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.split(' ').next()?.parse::<f64>().ok()
    };
    let more_than_none = |name: &str| value(name).is_some_and(|value| value > 0.0);
    let none = |name: &str| value(name) == Some(0.0);
    let checks = [
        (more_than_none("watchfire_agent_config_unknown_keys"), Level::Warning, "config", UNKNOWN_KEYS),
        (none("watchfire_agent_config_last_reload_successful"), Level::Problem, "config", BAD_RELOAD),
        (none("watchfire_agent_uplinks_connected"), Level::Problem, "uplink", NO_UPLINK),
        (more_than_none("watchfire_agent_spool_degraded"), Level::Problem, "spool", BAD_SPOOL),
    ];
    let wrong = checks.into_iter().filter(|(wrong, ..)| *wrong);
    wrong.map(|(_, level, part, told)| finding(level, part, node, told)).collect()
}

const UNKNOWN_KEYS: &str =
    "its configuration has keys that it does not know; `watchfire-agent check-config` names them";
const BAD_RELOAD: &str =
    "its last reload failed, the configuration before it is in use; `watchfire-agent check-config` tells why";
const NO_UPLINK: &str = "it is connected to no collector; what it samples waits in its spool";
const BAD_SPOOL: &str = "its spool cannot be written; what it samples is lost while no collector takes it";

type Tell = fn(&Value) -> Finding;

/// Queries of which each result is a finding: disks that are full, and what other agents say of themselves.
pub(super) const QUERIES: &[(&str, Tell)] = &[
    (
        "node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs|overlay|squashfs|iso9660|erofs|nsfs\"} \
         / node_filesystem_size_bytes < 0.05 and node_filesystem_readonly == 0 \
         and node_filesystem_avail_bytes < 50 * 1024 ^ 3",
        |sample| {
            let left = result(sample) * 100.0;
            let told = format!("{} has {left:.1} % left", text(sample, "/metric/mountpoint"));
            finding(Level::Problem, "disk", text(sample, "/metric/instance"), told)
        },
    ),
    ("watchfire_agent_config_unknown_keys > 0", |sample| of_agent(sample, Level::Warning, "config", UNKNOWN_KEYS)),
    ("watchfire_agent_config_last_reload_successful == 0", |sample| {
        of_agent(sample, Level::Problem, "config", BAD_RELOAD)
    }),
    ("watchfire_agent_spool_degraded > 0", |sample| of_agent(sample, Level::Problem, "spool", BAD_SPOOL)),
];

fn of_agent(sample: &Value, level: Level, part: &'static str, told: &str) -> Finding {
    finding(level, part, text(sample, "/metric/instance"), told)
}

fn result(sample: &Value) -> f64 {
    sample["value"][1].as_str().and_then(|value| value.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(findings: Vec<Finding>) -> Vec<String> {
        let line = |found: Finding| format!("{} {} {}: {}", found.level.word(), found.part, found.subject, found.text);
        findings.into_iter().map(line).collect()
    }

    #[test]
    fn clocks_that_differ_are_told_apart_from_slow_answers() {
        let at = Timestamp::from_millis;
        let told = |told| shown(vec![clock("w", at(told), at(10_000), at(15_000))]).remove(0);
        assert_eq!(told(12_000), "ok clock w: agrees with this machine's");
        assert_eq!(told(9_500), "ok clock w: agrees with this machine's");
        assert!(told(7_000).starts_with("warning clock w: is 3s behind this machine's"));
        assert!(told(18_000).starts_with("warning clock w: is 3s ahead of this machine's"));
    }

    #[test]
    fn members_and_nodes_are_named_with_what_is_held_against_them() {
        let list = json!({"items": [
            {"name": "a", "state": "alive"}, {"name": "b", "state": "suspect", "since": "t", "suspected_by": ["a", "c"]},
            {"name": "c", "state": "down", "cause": "silent", "since": "u"}, {"name": "d", "state": "left"}]});
        assert_eq!(
            shown(members(&list)),
            ["warning member b: is suspected since t by a, c", "problem member c: is down (silent) since u"]
        );
        let of_one_name = json!({"items": [
            {"name": "a", "id": "02", "addr": "10.0.0.2:1", "state": "alive", "namesakes": [{"id": "01", "addr": "10.0.0.1:1"}]},
            {"name": "a", "id": "01", "addr": "10.0.0.1:1", "state": "alive", "namesakes": [{"id": "02", "addr": "10.0.0.2:1"}]}]});
        let told = "problem name a: is the name of several living nodes, 01 at 10.0.0.1:1, 02 at 10.0.0.2:1; rename all but one";
        assert_eq!(shown(members(&of_one_name)), [told]);
        let list = json!({"items": [
            {"name": "a", "health": "ok", "clock_offset_seconds": -2.5}, {"name": "b", "health": "degraded", "reasons": ["x", "y"]},
            {"name": "c", "health": "maintenance", "reasons": ["z"]}]});
        let expected = [
            "warning clock a: is 2.5 s behind the collector's; see that both keep time by NTP",
            "warning node b: is degraded: x; y",
        ];
        assert_eq!(shown(nodes(&list)), expected);
    }

    #[test]
    fn an_agent_tells_of_itself_in_its_metrics() {
        let well = "# HELP x\nwatchfire_agent_config_unknown_keys 0\nwatchfire_agent_config_last_reload_successful 1\n\
                    watchfire_agent_uplinks_connected 2\nwatchfire_agent_spool_degraded 0\n";
        assert_eq!(shown(agent_metrics("a", well)), Vec::<String>::new());
        let ill = "watchfire_agent_config_unknown_keys 2\nwatchfire_agent_config_last_reload_successful 0\n\
                   watchfire_agent_uplinks_connected 0\nwatchfire_agent_spool_degraded 1\n";
        let parts: Vec<_> = agent_metrics("a", ill).iter().map(|found| found.part).collect();
        assert_eq!(parts, ["config", "config", "uplink", "spool"]);
    }
}
