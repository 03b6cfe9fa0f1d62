//! What Jira is told: how the issue of a group is found, and what it says. The name of the group is the sender's.
//!
//! <https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issues/>

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::Jira;
use crate::template::Escape;

/// Jira's limits, characters.
const MAX_SUMMARY_CHARS: usize = 255;
const MAX_DESCRIPTION_CHARS: usize = 32_767;
/// Of a label, which has no spaces.
const MAX_LABEL_CHARS: usize = 255;

/// The body of a delivery of the kind `jira`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub firing: bool,
    pub project: String,
    /// Of a new issue; the label that names the group is missing.
    pub create: Map<String, Value>,
    /// Of an issue that exists.
    pub update: Map<String, Value>,
    /// Whether an update says the labels anew.
    pub update_labels: bool,
}

pub(super) fn render(jira: &Jira, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let project = renderer.exact("project", &jira.project, Escape::None)?;
    let issue_type = renderer.exact("issue_type", &jira.issue_type, Escape::None)?;
    let mut text = |key, template, most| {
        // A summary is one line.
        cut(renderer.text(key, template, Escape::None), most)
    };
    let summary = text("summary", &jira.summary.value, MAX_SUMMARY_CHARS).replace(['\r', '\n'], " ");
    let description = text("description", &jira.description.value, MAX_DESCRIPTION_CHARS);
    let priority = text("priority", &jira.priority, MAX_LABEL_CHARS);
    let labels = jira.labels.value.iter().map(|label| text("labels", label, MAX_LABEL_CHARS));
    let labels: Vec<String> = labels.map(|label| label.split_whitespace().collect::<Vec<_>>().join("_")).collect();
    // The third version of the interface takes a document instead of a text.
    let third = jira.url.expose().trim_end_matches('/').ends_with("/3");
    let description = if third { document(&description) } else { Value::from(description) };
    let mut fields = Map::from_iter([
        ("project".to_owned(), json!({ "key": project })),
        ("issuetype".to_owned(), json!({ "name": issue_type })),
        ("labels".to_owned(), json!(labels)),
    ]);
    if !priority.is_empty() {
        fields.insert("priority".to_owned(), json!({ "name": priority }));
    }
    for (name, value) in &jira.fields {
        let name = renderer.exact("fields", name, Escape::None)?;
        fields.insert(name, renderer.tree("fields", value)?);
    }
    let (mut create, mut update) = (fields.clone(), fields);
    for (key, value, updates) in
        [("summary", summary.into(), jira.summary.update), ("description", description, jira.description.update)]
    {
        if updates {
            update.insert(key.to_owned(), Value::clone(&value));
        }
        create.insert(key.to_owned(), value);
    }
    if !jira.labels.update {
        update.remove("labels");
    }
    let call = Call { firing: renderer.firing(), project, create, update, update_labels: jira.labels.update };
    serde_json::to_string(&call).map_err(|error| error.to_string())
}

/// A document of Atlassian's format: one that the template made, or the text in a paragraph.
fn document(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(document) if document.is_object() => document,
        _ => {
            let content = if text.is_empty() { json!([]) } else { json!([{"type": "text", "text": text}]) };
            json!({"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": content}]})
        }
    }
}
