//! The collector's `/v1/openapi.json`: one row for each route, beside the router that has them.
//!
//! What follows another program's interface (Prometheus, Alertmanager) is listed in [`foreign`] without its shapes, which
//! that program's own documents describe.

mod foreign;

mod schemas;

mod storage;

use watchfire_shell::http::openapi::{
    Answer, Document, MEMBER_OPERATIONS, MEMBER_SCHEMAS, Operation, PROBE_OPERATIONS, Parameter, Schema, field,
    optional,
};

use foreign::FOREIGN;
use schemas::{HEALTH, MODE, ORDER_STATE, SCHEMAS, SOURCE};

/// The document.
pub const DOCUMENT: Document = Document {
    title: "Watchfire collector",
    description: "Members, nodes, history and remediation under /v1; Prometheus' API under /api/v1, Alertmanager's under \
                  /api/v2. Times are RFC 3339 in UTC.",
    version: env!("CARGO_PKG_VERSION"),
    operations: &[NODES, REMEDIATION, ABOUT, MEMBER_OPERATIONS, PROBE_OPERATIONS, FOREIGN],
    schemas: &[SCHEMAS, MEMBER_SCHEMAS],
};

const HEALTH_FILTER: Parameter = Parameter { name: "health", schema: HEALTH, help: "Nodes of this health only." };
const STATE_FILTER: Parameter = Parameter {
    name: "state",
    schema: Schema::Word(&["alive", "suspect", "down", "left"]),
    help: "Nodes in this state only.",
};
const ROLE_FILTER: Parameter =
    Parameter { name: "role", schema: Schema::Word(&["agent", "collector"]), help: "Nodes with this role only." };
const LABEL_FILTER: Parameter =
    Parameter { name: "label", schema: Schema::Text, help: "`NAME=VALUE`; may be given several times." };

const NODES: &[Operation] = &[
    Operation {
        parameters: &[HEALTH_FILTER, STATE_FILTER, ROLE_FILTER, LABEL_FILTER],
        answer: Answer::List { item: "Node", beside: &[] },
        ..Operation::get("/v1/nodes", "Every node, with all that the collector knows of it.")
    },
    Operation {
        answer: Answer::Json(Schema::Named("Node")),
        ..Operation::get("/v1/nodes/{name}", "One node, by its name or id.")
    },
    Operation {
        answer: Answer::Empty,
        ..Operation::new("delete", "/v1/nodes/{name}", "The node is gone for good and not expected any more.")
    },
    Operation {
        answer: Answer::Empty,
        ..Operation::new("post", "/v1/nodes/{name}/decommission", "The same as DELETE of the node.")
    },
    Operation {
        body: Some(Schema::Object(&[
            field("for", Schema::Duration, "How long from now."),
            optional("reason", Schema::Text, ""),
        ])),
        needs_body: true,
        answer: Answer::Json(Schema::Named("Node")),
        ..Operation::new(
            "post",
            "/v1/nodes/{name}/maintenance",
            "The node is worked on: nothing is told of it and nothing ordered on it for a while.",
        )
    },
    Operation {
        answer: Answer::Json(Schema::Named("Node")),
        ..Operation::new("delete", "/v1/nodes/{name}/maintenance", "Its maintenance is over now.")
    },
    Operation {
        parameters: &[
            Parameter { name: "by", schema: Schema::Text, help: "Labels to group by; several times or with commas." },
            HEALTH_FILTER,
            STATE_FILTER,
            ROLE_FILTER,
            LABEL_FILTER,
        ],
        answer: Answer::List { item: "GroupHealth", beside: &[] },
        ..Operation::get("/v1/health", "How well groups of nodes are.")
    },
    Operation {
        parameters: &[
            Parameter { name: "node", schema: Schema::Text, help: "Of this node only." },
            Parameter { name: "from", schema: Schema::Time, help: "Intervals that end after this time." },
            Parameter { name: "to", schema: Schema::Time, help: "Intervals that begin before this time." },
            Parameter { name: "source", schema: SOURCE, help: "What this source says." },
            Parameter { name: "state", schema: Schema::Text, help: "Intervals of this state only." },
        ],
        answer: Answer::List { item: "Interval", beside: &[] },
        ..Operation::get("/v1/history", "Which node was in which state from when to when, and who says so.")
    },
    Operation {
        parameters: &[
            Parameter { name: "window", schema: Schema::Duration, help: "How far back: 30d if nothing is said." },
            Parameter { name: "to", schema: Schema::Time, help: "Where the window ends; now if nothing is said." },
            Parameter { name: "by", schema: Schema::Text, help: "Labels to group by; without, each node by itself." },
            Parameter { name: "node", schema: Schema::Text, help: "This node only." },
            HEALTH_FILTER,
            STATE_FILTER,
            ROLE_FILTER,
            LABEL_FILTER,
        ],
        answer: Answer::List { item: "Availability", beside: &[] },
        ..Operation::get(
            "/v1/availability",
            "Which part of a window nodes or groups were up, and how much of it is known.",
        )
    },
];

const SAID: Schema = Schema::Object(&[optional("by", Schema::Text, "Who asks.")]);
const PAUSED: Schema = Schema::Object(&[
    optional("by", Schema::Text, "Who asks."),
    optional("reason", Schema::Text, ""),
    optional("for", Schema::Duration, "How long; without it until somebody resumes."),
]);

const REMEDIATION: &[Operation] = &[
    Operation {
        parameters: &[
            Parameter { name: "mode", schema: MODE, help: "Remediations in this mode only." },
            Parameter { name: "name", schema: Schema::Text, help: "The remediation of this name only." },
        ],
        answer: Answer::List { item: "Remediation", beside: &[] },
        ..Operation::get("/v1/remediations", "Every remediation, with each reason for acting or not acting.")
    },
    Operation {
        answer: Answer::Json(Schema::Named("Remediation")),
        ..Operation::get("/v1/remediations/{name}", "One remediation.")
    },
    said("/v1/remediations/pause", "Nothing begins any more.", PAUSED),
    said("/v1/remediations/resume", "What was paused goes on.", SAID),
    said("/v1/remediations/{name}/pause", "Nothing of this remediation begins any more.", PAUSED),
    said("/v1/remediations/{name}/resume", "This remediation goes on.", SAID),
    Operation {
        parameters: &[Parameter { name: "node", schema: Schema::Text, help: "Required: a node's name or instance." }],
        answer: Answer::Json(Schema::Named("Simulation")),
        ..Operation::get("/v1/remediations/{name}/simulate", "What would be done if the alert fired on a node.")
    },
    said("/v1/attempts/{id}/approve", "An attempt that waits for a person may begin.", SAID),
    Operation {
        parameters: &[
            Parameter { name: "node", schema: Schema::Text, help: "Orders to this node only." },
            Parameter { name: "remediation", schema: Schema::Text, help: "Orders of this remediation only." },
            Parameter { name: "state", schema: ORDER_STATE, help: "Orders in this state only." },
        ],
        answer: Answer::List { item: "Order", beside: &[] },
        ..Operation::get("/v1/orders", "Every order that was given, the newest first, with what became of it.")
    },
];

/// Something that a person says to remediation.
const fn said(path: &'static str, summary: &'static str, body: Schema) -> Operation {
    Operation { body: Some(body), answer: Answer::Json(Schema::Named("Done")), ..Operation::new("post", path, summary) }
}

const ABOUT: &[Operation] = &[
    Operation {
        answer: Answer::Blocking(Schema::Named("Status")),
        ..Operation::get("/v1/status", "How this collector is; the index rises with everything that its lists show.")
    },
    Operation {
        answer: Answer::Empty,
        ..Operation::new(
            "post",
            "/v1/members/{name}/forget",
            "The member will not come back: nobody lists it any more.",
        )
    },
    Operation {
        answer: Answer::Blocking(Schema::Named("Keys")),
        ..Operation::get("/v1/keys", "The keys of encrypted gossip by their ids, and which member holds which.")
    },
    Operation {
        body: Some(Schema::Object(&[
            field("op", Schema::Word(&["install", "use", "remove"]), ""),
            optional("key", Schema::Text, "To install: a key, or nothing for a new one. Otherwise the id of a key."),
        ])),
        needs_body: true,
        answer: Answer::Json(Schema::Object(&[
            field("op", Schema::Text, ""),
            field("key", Schema::Text, "Its id."),
            field("waiting_for", Schema::List(&Schema::Text), "Members that have not made the change yet."),
        ])),
        ..Operation::new("post", "/v1/keys", "Installs a key of encrypted gossip, uses it, or removes it.")
    },
];
