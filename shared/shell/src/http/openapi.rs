//! `/v1/openapi.json`: what can be asked here, in OpenAPI's words, made from tables that stand beside the routers.
//!
//! An [`Operation`] is one row: method, path, parameters, what is answered. [`Document`] turns tables into the document, and
//! adds what every row would repeat: path parameters, the parameters of lists, the body of a problem. The tests compare the
//! document with its golden copy, with the routes that exist, and with what real processes answer.
//!
//! The specification: <https://spec.openapis.org/oas/v3.1.0>.

mod members;

mod tables;

use std::collections::BTreeMap;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use serde_json::{Map, Value, json};

pub use members::{MEMBER_OPERATIONS, MEMBER_SCHEMAS, PROBE_OPERATIONS};
pub use tables::{Answer, Field, NamedSchema, Operation, Parameter, Schema, field, optional};

/// Where the document is.
const PATH: &str = "/v1/openapi.json";
/// What every list understands, see [`super::ListQuery`].
const LIST_PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "limit",
        schema: Schema::Integer,
        help: "Items of a page: 100 if nothing is said, 1000 at most.",
    },
    Parameter { name: "cursor", schema: Schema::Text, help: "`next_cursor` of the page before." },
    Parameter { name: "index", schema: Schema::Text, help: "Wait until the list is later than this `index`." },
    Parameter { name: "wait", schema: Schema::Duration, help: "How long to wait with `index`: 30s, and 60s at most." },
    Parameter {
        name: "filter",
        schema: Schema::Text,
        help: "Conditions on the items, such as `state=down,labels.zone=~a.*`.",
    },
    Parameter { name: "fields", schema: Schema::Text, help: "Names of what is shown of each item, with commas." },
];
const OWN: &[Operation] = &[Operation { answer: Answer::Json(Schema::Any), ..Operation::get(PATH, "This document.") }];
const OWN_SCHEMAS: &[NamedSchema] = &[NamedSchema {
    name: "Problem",
    help: "Why a request was not served, as RFC 9457 describes it.",
    schema: Schema::Object(&[
        field("type", Schema::Text, "Always `about:blank`; `code` tells kinds apart."),
        field("title", Schema::Text, "The words of the status."),
        field("status", Schema::Integer, "The status of the answer."),
        field("detail", Schema::Text, "What was wrong with this request, and how to do better."),
        field("code", Schema::Text, "A word for programs, such as `index_gone`."),
    ]),
}];

/// One program's interface.
#[derive(Clone, Copy, Debug)]
pub struct Document {
    pub title: &'static str,
    pub description: &'static str,
    pub version: &'static str,
    pub operations: &'static [&'static [Operation]],
    pub schemas: &'static [&'static [NamedSchema]],
}

impl Document {
    /// Every operation, that of the document itself included.
    pub fn operations(&self) -> impl Iterator<Item = &'static Operation> {
        self.operations.iter().chain(&[OWN]).flat_map(|table| table.iter())
    }

    /// The document.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for operation in self.operations() {
            paths.entry(operation.path).or_default().insert(operation.method.to_owned(), described(operation));
        }
        let schemas = self.schemas.iter().chain(&[OWN_SCHEMAS]).flat_map(|table| table.iter());
        let schemas: Map<String, Value> = schemas.map(|own| (own.name.to_owned(), own.json())).collect();
        json!({
            "openapi": "3.1.0",
            "info": { "title": self.title, "description": self.description, "version": self.version },
            "paths": paths,
            "components": { "schemas": schemas },
        })
    }

    /// The route that serves it: made when it is asked for, for it takes more memory than everything else of an idle program.
    pub fn route<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let own = *self;
        let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], own.json().to_string()) };
        Router::new().route("/v1/openapi.json", get(answer))
    }
}

fn described(operation: &Operation) -> Value {
    let lists = if operation.answer.blocks() { LIST_PARAMETERS } else { &[] };
    // A single answer that can be waited for has no pages.
    let lists = lists.iter().filter(|own| operation.answer.is_list() || matches!(own.name, "index" | "wait"));
    let in_query = operation.parameters.iter().chain(lists).map(Parameter::json);
    let in_path = operation
        .names_in_path()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let mut own = json!({
        "summary": operation.summary,
        "operationId": operation.id(),
        "responses": { "default": { "description": "It was not served.", "content": operation.refusal() } },
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    if !parameters.is_empty() {
        own["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = &operation.body {
        let content = json!({ "application/json": { "schema": body.json() } });
        own["requestBody"] = json!({ "required": operation.needs_body, "content": content });
    }
    let (status, answer) = operation.answer.json();
    own["responses"][status] = answer;
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_an_operation_with_what_every_row_would_repeat() {
        const OPERATIONS: &[Operation] = &[Operation {
            answer: Answer::List { item: "Thing", beside: &[] },
            ..Operation::get("/v1/{kind}/things", "Things of a kind.")
        }];
        let document =
            Document { title: "T", description: "", version: "1", operations: &[OPERATIONS], schemas: &[] }.json();
        let own = &document["paths"]["/v1/{kind}/things"]["get"];
        let names: Vec<&str> =
            own["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert_eq!(names, ["kind", "limit", "cursor", "index", "wait", "filter", "fields"]);
        assert_eq!(own["operationId"], "get_v1_kind_things");
        let schema = &own["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"]["items"]["items"]["$ref"], "#/components/schemas/Thing");
        assert_eq!(schema["required"], json!(["items", "next_cursor", "index"]));
        let refusal = &own["responses"]["default"]["content"];
        assert_eq!(refusal["application/problem+json"]["schema"]["$ref"], "#/components/schemas/Problem");
        assert!(document["paths"][PATH]["get"].is_object() && document["components"]["schemas"]["Problem"].is_object());
    }
}
