//! What Opsgenie is told: an alert to be made, or its end. Its alias, which names the group, and the key are the sender's.
//!
//! <https://docs.opsgenie.com/docs/alert-api>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::message::{Renderer, cut};
use crate::alertmanager::Template;
use crate::alertmanager::receiver::Opsgenie;
use crate::alertmanager::receiver::opsgenie;
use crate::template::Escape;

/// Opsgenie's limits, characters.
const MAX_MESSAGE_CHARS: usize = 130;
const MAX_DESCRIPTION_CHARS: usize = 15_000;
const MAX_DETAILS_CHARS: usize = 8000;
const MAX_ENTITY_CHARS: usize = 512;
const MAX_SOURCE_CHARS: usize = 100;
const MAX_NOTE_CHARS: usize = 25_000;
const MAX_TAG_CHARS: usize = 50;
const MAX_TAGS: usize = 20;

/// The body of a delivery of the kind `opsgenie`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// An alert is made, or counted once more if it is open.
    Create(Box<Create>),
    Close {
        source: String,
    },
}

/// An alert as Opsgenie takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub details: BTreeMap<String, String>,
    pub source: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responders: Vec<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub priority: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entity: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
}

pub(super) fn render(opsgenie: &Opsgenie, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let source = cut(renderer.text("source", &opsgenie.source, Escape::None), MAX_SOURCE_CHARS);
    if !renderer.firing() {
        return serde_json::to_string(&Call::Close { source }).map_err(|error| error.to_string());
    }
    let responders = opsgenie.responders.iter().flat_map(|one| responders(one, renderer)).collect();
    let mut details: BTreeMap<String, String> =
        renderer.common_labels().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut text = |key: &str, template: &Template, most| cut(renderer.text(key, template, Escape::None), most);
    for (name, template) in &opsgenie.details {
        details.insert(name.clone(), text(name, template, MAX_DETAILS_CHARS));
    }
    let words = |text: String| -> Vec<String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.take(MAX_TAGS).map(|word| word.chars().take(MAX_TAG_CHARS).collect()).collect()
    };
    let create = Create {
        message: text("message", &opsgenie.message, MAX_MESSAGE_CHARS),
        description: text("description", &opsgenie.description, MAX_DESCRIPTION_CHARS),
        details,
        source,
        responders,
        tags: words(text("tags", &opsgenie.tags, MAX_DETAILS_CHARS)),
        note: text("note", &opsgenie.note, MAX_NOTE_CHARS),
        priority: text("priority", &opsgenie.priority, MAX_TAG_CHARS),
        entity: text("entity", &opsgenie.entity, MAX_ENTITY_CHARS),
        actions: words(text("actions", &opsgenie.actions, MAX_DETAILS_CHARS)),
    };
    serde_json::to_string(&Call::Create(Box::new(create))).map_err(|error| error.to_string())
}

/// A responder with what it says; `teams` stands for one team for each name in its list, and one that says nothing for none.
fn responders(one: &opsgenie::Responder, renderer: &mut Renderer<'_>) -> Vec<BTreeMap<String, String>> {
    let mut text = |template| renderer.text("responders", template, Escape::None).trim().to_owned();
    let kind = text(&one.kind).to_ascii_lowercase();
    let entry = |key: &str, value: &str, kind: &str| {
        BTreeMap::from([(key.to_owned(), value.to_owned()), ("type".to_owned(), kind.to_owned())])
    };
    let name = text(&one.name);
    if kind == "teams" {
        let names = name.split(',').map(str::trim).filter(|name| !name.is_empty());
        return names.map(|name| entry("name", name, "team")).collect();
    }
    let mut said = BTreeMap::new();
    for (key, value) in [("id", text(&one.id)), ("name", name), ("username", text(&one.username))] {
        if !value.is_empty() {
            said.extend(entry(key, &value, &kind));
        }
    }
    if said.is_empty() { Vec::new() } else { vec![said] }
}
