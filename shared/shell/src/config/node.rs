//! What a file says of the node itself, held against what gossip announces of it.
//!
//! A name or labels that cannot be announced would make a node that nobody hears of, so they are refused where they are
//! read: at the check, at a start and at a reload.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use watchfire_gossip::{MetadataError, check_metadata};
use watchfire_shared::member::{Metadata, Role};

/// Why a node cannot be what its file says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    #[error("node.name is empty and the host has no name")]
    NoName,
    #[error("node.name {0:?} begins or ends with a space")]
    OuterSpace(String),
    #[error("node.name {0:?} holds a character that is not seen or turns the direction of writing")]
    Unseen(String),
    #[error("node.name and node.labels: {0}")]
    Metadata(#[from] MetadataError),
}

/// Checks the name and the labels of a node that announces these services, and returns the name: the configured one, or
/// that of the host.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn check_node(
    configured: String,
    labels: &BTreeMap<String, String>,
    services: &[&str],
) -> Result<String, NodeError> {
    let name = super::common::node_name(configured).ok_or(NodeError::NoName)?;
    if name.trim() != name {
        return Err(NodeError::OuterSpace(name));
    }
    if name.chars().any(is_unseen) {
        return Err(NodeError::Unseen(name));
    }
    // Where the services listen is known later; no address takes more room than this one.
    let longest = SocketAddr::from((Ipv6Addr::from([u8::MAX; 16]), u16::MAX));
    let metadata = Metadata {
        name,
        role: Role::Collector,
        labels: labels.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        services: services.iter().map(|service| ((*service).to_owned(), longest)).collect(),
    };
    check_metadata(&metadata)?;
    Ok(metadata.name)
}

/// Unicode's characters of format that make two names look alike or one look like another: zero widths, marks and
/// overrides of direction, the byte order mark. Control characters are refused with everything else that is announced.
const fn is_unseen(char: char) -> bool {
    matches!(
        char,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_announced_is_refused_where_it_is_read() {
        let none = BTreeMap::new();
        let check = |name: &str, labels: &BTreeMap<String, String>| {
            check_node(name.to_owned(), labels, &["http", "ingest"]).map_err(|error| error.to_string())
        };
        assert_eq!(check("web 1.München", &none).unwrap(), "web 1.München");
        assert!(!check("", &none).unwrap().is_empty());
        for (name, message) in [
            ("web-1 ", "node.name \"web-1 \" begins or ends with a space"),
            ("\u{a0}web-1", "node.name \"\\u{a0}web-1\" begins or ends with a space"),
            (
                "web\u{202e}1",
                "node.name \"web\\u{202e}1\" holds a character that is not seen or turns the direction of writing",
            ),
            ("web\u{7}1", "node.name and node.labels: the node's name holds a control character"),
        ] {
            assert_eq!(check(name, &none), Err(message.to_owned()));
        }
        let labels = |count: usize| (0..count).map(|number| (format!("l{number}"), "x".repeat(1000))).collect();
        assert!(check("web-1", &labels(3)).is_ok());
        let message = check("web-1", &labels(5)).unwrap_err();
        assert!(message.starts_with("node.name and node.labels: name, labels, version and services together take 51"));
    }
}
