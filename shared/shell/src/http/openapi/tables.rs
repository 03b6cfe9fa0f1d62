//! The words of which tables of operations are made.

use serde_json::{Map, Value, json};

/// One thing that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// In small letters.
    pub method: &'static str,
    /// As the router has it, with `{name}` where something is filled in.
    pub path: &'static str,
    pub summary: &'static str,
    /// Those of the query; lists have more, see [`super::LIST_PARAMETERS`].
    pub parameters: &'static [Parameter],
    pub body: Option<Schema>,
    /// Whether the body may not be left out.
    pub needs_body: bool,
    pub answer: Answer,
    /// Whether refusals are of another program's form, which its own documents describe.
    pub is_foreign: bool,
}

impl Operation {
    /// A row to be filled in.
    #[must_use]
    pub const fn get(path: &'static str, summary: &'static str) -> Self {
        Self::new("get", path, summary)
    }

    /// A row to be filled in.
    #[must_use]
    pub const fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            summary,
            parameters: &[],
            body: None,
            needs_body: false,
            answer: Answer::Json(Schema::Any),
            is_foreign: false,
        }
    }

    /// What is filled into the path, in order.
    pub fn names_in_path(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// A name for generated clients.
    pub(super) fn id(&self) -> String {
        let words = self.path.split(['/', '-', '{', '}', '.']).filter(|word| !word.is_empty());
        std::iter::once(self.method).chain(words).collect::<Vec<_>>().join("_")
    }

    pub(super) fn refusal(&self) -> Value {
        if self.is_foreign {
            return json!({ "*/*": {} });
        }
        json!({ "application/problem+json": { "schema": Schema::Named("Problem").json() } })
    }
}

/// One parameter of a query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub schema: Schema,
    pub help: &'static str,
}

impl Parameter {
    pub(super) fn json(&self) -> Value {
        json!({ "name": self.name, "in": "query", "description": self.help, "schema": self.schema.json() })
    }
}

/// What is answered with success.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Json(Schema),
    /// One answer of which a later state can be waited for.
    Blocking(Schema),
    /// A page of items with this name, and what stands beside them.
    List {
        item: &'static str,
        beside: &'static [Field],
    },
    /// Text of this media type.
    Text(&'static str),
    /// 204.
    Empty,
    /// 307.
    Elsewhere,
}

impl Answer {
    /// Whether `index` and `wait` are understood.
    #[must_use]
    pub const fn blocks(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Blocking(_))
    }

    #[must_use]
    pub const fn is_list(&self) -> bool {
        matches!(self, Self::List { .. })
    }

    pub(super) fn json(&self) -> (&'static str, Value) {
        let content = match self {
            Self::Elsewhere => return ("307", json!({ "description": "`Location` says where." })),
            Self::Empty => return ("204", json!({ "description": "It is done." })),
            Self::Text(media) => json!({ *media: { "schema": { "type": "string" } } }),
            Self::Json(schema) | Self::Blocking(schema) => json!({ "application/json": { "schema": schema.json() } }),
            Self::List { item, beside } => json!({ "application/json": { "schema": page(item, beside) } }),
        };
        ("200", json!({ "description": "What was asked for.", "content": content }))
    }
}

fn page(item: &str, beside: &[Field]) -> Value {
    let list = [
        ("items", json!({ "type": "array", "items": reference(item) })),
        ("next_cursor", json!({ "type": ["string", "null"], "description": "Of the next page; null on the last." })),
        ("index", json!({ "type": "string", "description": "Of this state, for `?index=`." })),
    ];
    let mut page = object(beside);
    for (name, schema) in list {
        page["properties"][name] = schema;
        if let Some(required) = page["required"].as_array_mut() {
            required.push(name.into());
        }
    }
    page
}

/// A schema that others refer to.
#[derive(Clone, Copy, Debug)]
pub struct NamedSchema {
    pub name: &'static str,
    pub help: &'static str,
    pub schema: Schema,
}

impl NamedSchema {
    pub(super) fn json(&self) -> Value {
        let mut json = self.schema.json();
        json["description"] = self.help.into();
        json
    }
}

/// The shape of a value.
#[derive(Clone, Copy, Debug)]
pub enum Schema {
    Text,
    /// RFC 3339, UTC.
    Time,
    /// Such as `1m30s`.
    Duration,
    Integer,
    Number,
    Boolean,
    Any,
    /// One of some words.
    Word(&'static [&'static str]),
    Nullable(&'static Schema),
    List(&'static Schema),
    /// Any keys, with values of one shape.
    Map(&'static Schema),
    Object(&'static [Field]),
    /// A [`NamedSchema`].
    Named(&'static str),
}

impl Schema {
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Time => json!({ "type": "string", "format": "date-time" }),
            Self::Duration => json!({ "type": "string", "examples": ["1m30s"] }),
            Self::Integer => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number" }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Any => json!({}),
            Self::Word(words) => json!({ "type": "string", "enum": words }),
            Self::Nullable(inner) => nullable(inner.json()),
            Self::List(inner) => json!({ "type": "array", "items": inner.json() }),
            Self::Map(inner) => json!({ "type": "object", "additionalProperties": inner.json() }),
            Self::Object(fields) => object(fields),
            Self::Named(name) => reference(name),
        }
    }
}

fn nullable(mut inner: Value) -> Value {
    let Some(own) = inner.get("type").cloned() else {
        return json!({ "oneOf": [inner, { "type": "null" }] });
    };
    inner["type"] = json!([own, "null"]);
    if let Some(words) = inner.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    inner
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    name: &'static str,
    schema: Schema,
    help: &'static str,
    is_optional: bool,
}

/// A member that is always there. Its help may be empty where the name says it all.
#[must_use]
pub const fn field(name: &'static str, schema: Schema, help: &'static str) -> Field {
    Field { name, schema, help, is_optional: false }
}

/// A member that may be missing.
#[must_use]
pub const fn optional(name: &'static str, schema: Schema, help: &'static str) -> Field {
    Field { name, schema, help, is_optional: true }
}

fn object(fields: &[Field]) -> Value {
    let property = |own: &Field| {
        let mut json = own.schema.json();
        if !own.help.is_empty() {
            json["description"] = own.help.into();
        }
        (own.name.to_owned(), json)
    };
    let properties: Map<String, Value> = fields.iter().map(property).collect();
    let required: Vec<&str> = fields.iter().filter(|own| !own.is_optional).map(|own| own.name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}
