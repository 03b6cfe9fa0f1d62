//! What a node says of itself as it travels: its metadata and the protocol that it speaks, as one MessagePack map.
//!
//! Every node passes on the bytes as it got them, so what a later version adds to the map reaches those that know it.

use serde::{Deserialize, Serialize};
use watchfire_shared::limits::{
    MAX_ANNOUNCED_BYTES, MAX_LABEL_VALUE_BYTES, MAX_METADATA_BYTES, MAX_NAME_BYTES, MAX_NODE_LABELS,
    MAX_NODE_NAME_BYTES, MAX_TROUBLE_BYTES,
};
use watchfire_shared::member::{HeldKeys, Metadata};

use crate::keyring::MAX_GOSSIP_KEYS;
use crate::packet::PROTOCOL;

/// Services that a node may announce.
const MAX_SERVICES: usize = 16;
/// A program version, bytes.
const MAX_VERSION_BYTES: usize = 64;

#[derive(Serialize)]
struct Announced<'a> {
    #[serde(flatten)]
    metadata: &'a Metadata,
    protocol: u16,
    #[serde(skip_serializing_if = "HeldKeys::is_empty")]
    keys: &'a HeldKeys,
}

/// What a node says beside its metadata.
#[derive(Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct Spoken {
    /// Nodes of the first protocol did not say so.
    #[serde(default = "first")]
    pub(crate) protocol: u16,
    /// Nodes of the first two protocols did not say so.
    #[serde(default)]
    pub(crate) keys: HeldKeys,
}

const fn first() -> u16 {
    1
}

/// Why metadata cannot be announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("the node has no name")]
    NameEmpty,
    #[error("{what} holds a control character")]
    ControlCharacter { what: String },
    #[error("{what} has {bytes} bytes; at most {limit} are allowed")]
    TooLong { what: String, bytes: usize, limit: usize },
    #[error("there are {count} {what}; at most {limit} are allowed")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("name, labels, version and services together take {bytes} bytes; at most {MAX_METADATA_BYTES} are allowed")]
    TooLarge { bytes: usize },
}

/// Checks that metadata can be announced.
///
/// # Errors
/// The first limit that it breaks, by name.
pub fn check_metadata(metadata: &Metadata) -> Result<(), MetadataError> {
    encode_metadata(metadata, &HeldKeys::default()).map(drop)
}

/// The bytes that travel, once they are checked.
pub(crate) fn encode_metadata(metadata: &Metadata, keys: &HeldKeys) -> Result<Vec<u8>, MetadataError> {
    encode_announced(metadata, PROTOCOL, keys)
}

pub(crate) fn encode_announced(metadata: &Metadata, protocol: u16, keys: &HeldKeys) -> Result<Vec<u8>, MetadataError> {
    check_fields(metadata)?;
    let own = encode(&Announced { metadata, protocol, keys: &HeldKeys::default() });
    if own.len() > MAX_METADATA_BYTES {
        return Err(MetadataError::TooLarge { bytes: own.len() });
    }
    Ok(if keys.is_empty() { own } else { encode(&Announced { metadata, protocol, keys }) })
}

fn encode(announced: &Announced) -> Vec<u8> {
    rmp_serde::to_vec_named(announced).expect("text, maps and addresses always have a MessagePack form")
}

/// Metadata that came from another node, held to the same limits, and what the node says beside it.
pub(crate) fn decode_metadata(bytes: &[u8]) -> Option<(Metadata, Spoken)> {
    if bytes.len() > MAX_ANNOUNCED_BYTES {
        return None;
    }
    let metadata: Metadata = rmp_serde::from_slice(bytes).ok()?;
    let spoken: Spoken = rmp_serde::from_slice(bytes).ok()?;
    let keys = &spoken.keys;
    let fits = keys.ids.len() <= MAX_GOSSIP_KEYS
        && keys.trouble.len() <= MAX_TROUBLE_BYTES
        && !keys.trouble.chars().any(char::is_control);
    (fits && check_fields(&metadata).is_ok()).then_some((metadata, spoken))
}

fn check_fields(metadata: &Metadata) -> Result<(), MetadataError> {
    if metadata.name.is_empty() {
        return Err(MetadataError::NameEmpty);
    }
    check_text("the node's name", &metadata.name, MAX_NODE_NAME_BYTES)?;
    check_text("the version", &metadata.version, MAX_VERSION_BYTES)?;
    check_count("labels", metadata.labels.len(), MAX_NODE_LABELS)?;
    check_count("services", metadata.services.len(), MAX_SERVICES)?;
    for (name, value) in &metadata.labels {
        check_text(&format!("the label name {name:.40}"), name, MAX_NAME_BYTES)?;
        check_text(&format!("the value of the label {name:.40}"), value, MAX_LABEL_VALUE_BYTES)?;
    }
    for name in metadata.services.keys() {
        check_text(&format!("the service name {name:.40}"), name, MAX_NAME_BYTES)?;
    }
    Ok(())
}

fn check_text(what: &str, text: &str, limit: usize) -> Result<(), MetadataError> {
    if text.len() > limit {
        return Err(MetadataError::TooLong { what: what.to_owned(), bytes: text.len(), limit });
    }
    if text.chars().any(char::is_control) {
        return Err(MetadataError::ControlCharacter { what: what.replace(char::is_control, "?") });
    }
    Ok(())
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), MetadataError> {
    if count > limit { Err(MetadataError::TooMany { what, count, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use watchfire_shared::member::KeyId;

    use super::*;

    #[test]
    fn metadata_beyond_a_limit_is_refused_by_name() {
        let named = |name: &str| Metadata { name: name.to_owned(), ..Metadata::default() };
        let labelled = |count: usize, bytes: usize| {
            let labels = (0..count).map(|n| (format!("label{n}"), "v".repeat(bytes))).collect();
            Metadata { labels, ..named("web-1") }
        };
        assert_eq!(check_metadata(&labelled(MAX_NODE_LABELS, 40)), Ok(()));
        let cases = [
            (named(""), "the node has no name".to_owned()),
            (named("a\nb"), "the node's name holds a control character".to_owned()),
            (named(&"n".repeat(254)), "the node's name has 254 bytes; at most 253 are allowed".to_owned()),
            (labelled(65, 1), "there are 65 labels; at most 64 are allowed".to_owned()),
            (labelled(1, 1025), "the value of the label label0 has 1025 bytes; at most 1024 are allowed".to_owned()),
        ];
        for (metadata, message) in cases {
            assert_eq!(check_metadata(&metadata).map_err(|error| error.to_string()), Err(message));
        }
        assert!(matches!(check_metadata(&labelled(64, 60)), Err(MetadataError::TooLarge { .. })));
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over_and_a_missing_protocol_is_the_first() {
        #[derive(Serialize)]
        struct Later<'a> {
            #[serde(flatten)]
            metadata: &'a Metadata,
            protocol: u16,
            rack: &'a str,
        }
        let mut metadata = Metadata { name: "web-1".to_owned(), ..Metadata::default() };
        metadata.services.insert("http".to_owned(), "10.0.0.1:7951".parse().unwrap());
        let keyless = |protocol| Spoken { protocol, keys: HeldKeys::default() };
        let later = rmp_serde::to_vec_named(&Later { metadata: &metadata, protocol: 9, rack: "b7" }).unwrap();
        assert_eq!(decode_metadata(&later), Some((metadata.clone(), keyless(9))));
        let earlier = rmp_serde::to_vec_named(&metadata).unwrap();
        assert_eq!(decode_metadata(&earlier), Some((metadata.clone(), keyless(1))));
        let plain = encode_metadata(&metadata, &HeldKeys::default()).unwrap();
        assert_eq!(decode_metadata(&plain), Some((metadata.clone(), keyless(PROTOCOL))));
        let keys = HeldKeys { ids: vec![KeyId([1, 2, 3, 4])], order: 7, trouble: "no room".to_owned() };
        let keyed = encode_metadata(&metadata, &keys).unwrap();
        assert_eq!(decode_metadata(&keyed), Some((metadata, Spoken { protocol: PROTOCOL, keys })));
    }
}
