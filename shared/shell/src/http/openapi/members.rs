//! What agents and collectors answer alike: members, their events, probes of life.

use super::{Answer, NamedSchema, Operation, Parameter, Schema, field, optional};

const STATE: Schema = Schema::Word(&["alive", "suspect", "down", "left"]);
const ROLE: Schema = Schema::Word(&["agent", "collector"]);
const TEXTS: Schema = Schema::Map(&Schema::Text);
const VIEW: Schema = Schema::Word(&["local", "collector", "merged"]);
const CONDITION: Schema = Schema::Object(&[
    field("name", Schema::Word(&["udp_blocked", "one_way_link", "slow", "view_divergence"]), ""),
    field("since", Schema::Time, "When the node that answers learnt of it."),
    field("seen_by", Schema::List(&Schema::Text), "Some of the members that see it."),
    field("detail", Schema::Text, "What is seen, in words."),
]);

/// The routes of [`super::super::member_routes`].
pub const MEMBER_OPERATIONS: &[Operation] = &[
    Operation {
        parameters: &[
            Parameter {
                name: "state",
                schema: Schema::Text,
                help: "Members in these states only, with commas; or `forgotten` for those that are listed no more, of which only id, name, state and since are known.",
            },
            Parameter { name: "role", schema: Schema::Text, help: "Members with these roles only, with commas." },
            Parameter {
                name: "name",
                schema: Schema::Text,
                help: "Members with this name; may be given several times.",
            },
            Parameter { name: "label", schema: Schema::Text, help: "`NAME=VALUE`; may be given several times." },
            Parameter {
                name: "view",
                schema: VIEW,
                help: "Whose word counts: gossip's, that of the collector's reports, or the worse of both.",
            },
        ],
        answer: Answer::List {
            item: "Member",
            beside: &[field("view", Schema::Named("View"), "Whose view it is, with its counts.")],
        },
        ..Operation::get("/v1/members", "Every member as this node sees it, itself included.")
    },
    Operation {
        answer: Answer::Json(Schema::Named("Member")),
        ..Operation::get("/v1/members/{name}", "One member, by its name or id.")
    },
    Operation {
        parameters: &[
            Parameter { name: "topics", schema: Schema::Text, help: "Events about these only, with commas." },
            Parameter { name: "node", schema: Schema::Text, help: "Events about this node only." },
            Parameter {
                name: "since",
                schema: Schema::Text,
                help: "An event's id, an index of the members, or a time.",
            },
        ],
        answer: Answer::Text("text/event-stream"),
        ..Operation::get(
            "/v1/events",
            "What happens, as server-sent events; by `Accept` also as lines or one list of JSON. The data of a `member` that is listed no more has `removed`: `forgotten`, `replaced` (another id lives under its name) or `expired`.",
        )
    },
    Operation {
        is_foreign: true,
        ..Operation::get(
            "/v1/sd/prometheus",
            "Every agent as a target, for `http_sd_configs`; an error where in doubt.",
        )
    },
];

/// The routes of [`super::super::probe_routes`].
pub const PROBE_OPERATIONS: &[Operation] = &[
    Operation {
        answer: Answer::Text("text/plain"),
        is_foreign: true,
        ..Operation::get("/livez", "200 while the program answers at all.")
    },
    Operation {
        answer: Answer::Text("text/plain"),
        is_foreign: true,
        ..Operation::get("/readyz", "200 while it is ready, or else 503 with the reason.")
    },
];

/// What [`MEMBER_OPERATIONS`] refers to.
pub const MEMBER_SCHEMAS: &[NamedSchema] = &[
    NamedSchema {
        name: "View",
        help: "Whose view a list of members is, with its counts.",
        schema: Schema::Object(&[
            field("node", Schema::Text, "The name of the node that answers."),
            field("alive", Schema::Integer, ""),
            field("suspect", Schema::Integer, ""),
            field("down", Schema::Integer, ""),
            field("left", Schema::Integer, ""),
            field("generated_at", Schema::Time, ""),
            optional("kind", VIEW, "Whose word counts."),
        ]),
    },
    NamedSchema {
        name: "Member",
        help: "One member in one node's view.",
        schema: Schema::Object(&[
            field("id", Schema::Text, "Made once and kept in the data directory; 16 hexadecimal digits."),
            field("name", Schema::Text, ""),
            field("addr", Schema::Text, "Where it gossips."),
            field("state", STATE, ""),
            field("since", Schema::Time, "When it entered this state, by the clock of the node that answers."),
            field("incarnation", Schema::Integer, "How often it refuted a suspicion in this life."),
            field("generation", Schema::Integer, "Which life of the node this is; raised at each start."),
            field("role", ROLE, ""),
            field("labels", TEXTS, ""),
            field("version", Schema::Text, "Of the program."),
            field("services", TEXTS, "Addresses by service name."),
            field("rtt_ms", Schema::Nullable(&Schema::Number), "Round-trip time, milliseconds."),
            field("suspected_by", Schema::List(&Schema::Text), "Who suspected it, while it is suspect or down."),
            field(
                "cause",
                Schema::Nullable(&Schema::Word(&["refused", "silent"])),
                "What its host answered: `refused` is a dead agent, `silent` a dead node.",
            ),
            field("conditions", Schema::List(&CONDITION), "What is wrong about it although it lives."),
            optional("suspicions", Schema::List(&Schema::Any), "The last times that it was held for silent."),
            optional(
                "keys",
                Schema::Object(&[
                    field("ids", Schema::List(&Schema::Text), "The one that it encrypts with first."),
                    field("order", Schema::Integer, "The latest change of keys that it took part in."),
                    optional("trouble", Schema::Text, "Why it could not follow the latest one."),
                ]),
                "The keys of encrypted gossip that it holds, by their ids.",
            ),
            optional(
                "pools",
                Schema::List(&Schema::Text),
                "The pools in which it is, of those of the node that answers.",
            ),
            optional(
                "namesakes",
                Schema::List(&Schema::Object(&[
                    field("id", Schema::Text, "Who it is."),
                    field("addr", Schema::Text, "Where it gossips."),
                ])),
                "Other living members of the same name, while it lives, at most 16: all but one are to be renamed.",
            ),
            optional("gossip_off", Schema::Boolean, "It does not gossip: what is said here, it says of itself."),
            optional("said_by", Schema::Word(&["local", "collector", "both"]), "Who said the state, in other views."),
            optional("says", Schema::Map(&Schema::Nullable(&STATE)), "What each of them says, in other views."),
            optional("last_report_at", Schema::Nullable(&Schema::Time), "When it reported last, in other views."),
        ]),
    },
];
