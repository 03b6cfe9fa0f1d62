//! What Splunk On-Call is told, without the incident's id, which names the group and is the sender's.
//!
//! <https://help.victorops.com/knowledge-base/rest-endpoint-integration-guide/>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::VictorOps;
use crate::template::Escape;

/// The service's limit, characters.
const MAX_MESSAGE_CHARS: usize = 20_480;
/// Of the fields that are words.
const MAX_WORD_CHARS: usize = 1024;
const RECOVERY: &str = "RECOVERY";
/// What an incident that begins may be.
const TYPES: [&str; 3] = ["INFO", "WARNING", "CRITICAL"];

/// The body of a delivery of the kind `victorops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Stands in the URL.
    pub routing_key: String,
    pub message: BTreeMap<String, String>,
}

pub(super) fn render(victorops: &VictorOps, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let routing_key = renderer.exact("routing_key", &victorops.routing_key, Escape::None)?;
    let firing = renderer.firing();
    let mut text = |key: &str, template, most| cut(renderer.text(key, template, Escape::None), most);
    let mut message: BTreeMap<String, String> = [
        ("state_message", &victorops.state_message, MAX_MESSAGE_CHARS),
        ("entity_display_name", &victorops.entity_display_name, MAX_WORD_CHARS),
        ("monitoring_tool", &victorops.monitoring_tool, MAX_WORD_CHARS),
    ]
    .into_iter()
    .map(|(key, template, most)| (key.to_owned(), text(key, template, most)))
    .collect();
    for (key, template) in &victorops.custom_fields {
        message.insert(key.clone(), text(key, template, MAX_MESSAGE_CHARS));
    }
    let asked = text("message_type", &victorops.message_type, MAX_WORD_CHARS);
    let kind = match TYPES.into_iter().find(|kind| *kind == asked) {
        _ if !firing => RECOVERY,
        Some(kind) => kind,
        None => "CRITICAL",
    };
    message.insert("message_type".to_owned(), kind.to_owned());
    serde_json::to_string(&Call { routing_key, message }).map_err(|error| error.to_string())
}
