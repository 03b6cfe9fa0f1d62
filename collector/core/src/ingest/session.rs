//! What an agent may say of itself, and what a connection may do: the checks at the door.

use watchfire_shared::frame::message::{Hello, PROTOCOL};
use watchfire_shared::labels::is_label_name;
use watchfire_shared::limits::{MAX_METADATA_BYTES, MAX_NAME_BYTES, MAX_NODE_LABELS, MAX_NODE_NAME_BYTES};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Span;

/// Shortest and longest distance of live ticks. Faster than ten a second is no monitoring; slower than an hour makes
/// `up` meaningless.
const INTERVAL: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// Bytes of a version text that are kept as a label value; real ones have ten.
const MAX_VERSION_BYTES: usize = 64;

/// Why an agent was not let in. The reason is for the agent's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rejection(pub(crate) String);

/// Checks a Hello against what this collector serves.
pub(crate) fn admit(hello: &Hello, cluster: &str, own_id: NodeId) -> Result<(), Rejection> {
    let reject = |reason: String| Err(Rejection(reason));
    if hello.proto.0 != PROTOCOL.0 {
        return reject(format!(
            "protocol {}.{} is not spoken here, expected {}.x",
            hello.proto.0, hello.proto.1, PROTOCOL.0
        ));
    }
    if hello.cluster != cluster {
        return reject("this collector belongs to another cluster".to_owned());
    }
    if hello.agent_id == own_id || hello.agent_id == NodeId(0) {
        return reject(format!("node id {} cannot be an agent's", hello.agent_id));
    }
    if hello.name.is_empty() || hello.name.len() > MAX_NODE_NAME_BYTES || hello.name.chars().any(char::is_control) {
        return reject(format!("a node's name has 1 to {MAX_NODE_NAME_BYTES} bytes and no control characters"));
    }
    if !INTERVAL.contains(&hello.interval_ms) {
        return reject(format!("an interval of {} ms is outside 100 ms to 1 h", hello.interval_ms));
    }
    if hello.version.len() > MAX_VERSION_BYTES {
        return reject(format!("the version is longer than {MAX_VERSION_BYTES} bytes"));
    }
    admit_labels(hello)
}

/// Bytes of what a node says of itself. Gossip bounds it by what fits a datagram, and here it is kept for as long.
fn size(hello: &Hello) -> usize {
    let labels = hello.labels.iter().map(|(name, value)| name.len() + value.len());
    hello.name.len() + hello.version.len() + labels.sum::<usize>()
}

fn admit_labels(hello: &Hello) -> Result<(), Rejection> {
    if hello.labels.len() > MAX_NODE_LABELS {
        return Err(Rejection(format!("a node has at most {MAX_NODE_LABELS} labels")));
    }
    if size(hello) > MAX_METADATA_BYTES {
        return Err(Rejection(format!("name, labels and version of a node have at most {MAX_METADATA_BYTES} bytes")));
    }
    for name in hello.labels.keys() {
        if !is_label_name(name) || name.len() > MAX_NAME_BYTES || name.starts_with("__") {
            return Err(Rejection(format!("`{}` is no name of a node label", shown(name))));
        }
    }
    Ok(())
}

/// Foreign text as it may stand in a message: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).take(64).collect()
}

/// How long a connection may be silent before it counts as dead: six ticks, and no less than a minute, since TCP itself
/// would notice a vanished peer only after a quarter of an hour.
pub(crate) fn idle_limit(interval: Span) -> Span {
    (interval * 6).max(Span::from_seconds(60))
}
