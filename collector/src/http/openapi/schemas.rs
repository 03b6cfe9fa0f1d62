//! What the collector's own lists hold.

use watchfire_shell::http::openapi::{NamedSchema, Schema, field, optional};

use super::storage::STORAGE;

pub(super) const HEALTH: Schema = Schema::Word(&["ok", "degraded", "down", "unknown", "maintenance"]);
pub(super) const SOURCE: Schema = Schema::Word(&["collector", "peers", "agent", "operator"]);
pub(super) const MODE: Schema = Schema::Word(&["observe", "approve", "auto"]);
pub(super) const ORDER_STATE: Schema = Schema::Word(&[
    "dispatched",
    "accepted",
    "running",
    "verifying",
    "succeeded",
    "failed",
    "timed_out",
    "interrupted",
    "refused",
    "expired",
    "unknown",
]);
const ATTEMPT_STATE: Schema = Schema::Word(&[
    "awaiting_approval",
    "ordered",
    "waiting",
    "blocked",
    "succeeded",
    "failed",
    "escalated",
    "expired",
    "cancelled",
]);
const CASE_STATE: Schema =
    Schema::Word(&["waiting", "cooldown", "blocked", "exhausted", "awaiting_approval", "ordered", "observed"]);
const TEXTS: Schema = Schema::Map(&Schema::Text);
const TIME_OR_NOT: Schema = Schema::Nullable(&Schema::Time);
const TEXT_OR_NOT: Schema = Schema::Nullable(&Schema::Text);
const NUMBER_OR_NOT: Schema = Schema::Nullable(&Schema::Number);
const WORDS: Schema = Schema::List(&Schema::Text);

pub(super) const SCHEMAS: &[NamedSchema] = &[
    NODE,
    GROUP_HEALTH,
    INTERVAL,
    AVAILABILITY,
    REMEDIATION,
    GUARDS,
    CASE,
    ATTEMPT,
    DECISION,
    ORDER,
    SIMULATION,
    DONE,
    STATUS,
    KEYS,
];

const NODE: NamedSchema = NamedSchema {
    name: "Node",
    help: "A node, with all that the collector knows of it.",
    schema: Schema::Object(&[
        field("id", TEXT_OR_NOT, "Null if the inventory names it and nobody has seen it."),
        field("name", Schema::Text, ""),
        field("role", Schema::Word(&["agent", "collector"]), ""),
        field(
            "state",
            Schema::Nullable(&Schema::Word(&["alive", "suspect", "down", "left"])),
            "What its peers say; null if gossip never spoke of it.",
        ),
        field("health", HEALTH, "The worst of membership, reports and firing alerts."),
        field("reasons", WORDS, "Why it is not `ok`, the worst first."),
        field("last_report_at", TIME_OR_NOT, "When its last live frame came."),
        field("clock_offset_seconds", NUMBER_OR_NOT, "Its clock less the collector's."),
        field(
            "alerts",
            Schema::Object(&[field("firing", Schema::Integer, ""), field("pending", Schema::Integer, "")]),
            "Alerts whose `instance` it is.",
        ),
        field("labels", TEXTS, ""),
        field("version", Schema::Text, "Of its program."),
        field("maintenance_until", TIME_OR_NOT, "Until when it is worked on, if it is."),
        field("gossip", Schema::Boolean, "Whether it gossips; if not, it is judged by its reports alone."),
    ]),
};

const GROUP_HEALTH: NamedSchema = NamedSchema {
    name: "GroupHealth",
    help: "The nodes that agree in some labels.",
    schema: Schema::Object(&[
        field("group", TEXTS, "The labels with their values; one that the nodes have not got is empty."),
        field("nodes", Schema::Integer, ""),
        field("ok", Schema::Integer, ""),
        field("degraded", Schema::Integer, ""),
        field("down", Schema::Integer, ""),
        field("unknown", Schema::Integer, ""),
        field("maintenance", Schema::Integer, ""),
        field("health", HEALTH, "The worst of its nodes; those in maintenance count for nothing."),
        field("reasons", WORDS, "How many are not well, and which."),
    ]),
};

const INTERVAL: NamedSchema = NamedSchema {
    name: "Interval",
    help: "One state of a node from its beginning to its end, by one source.",
    schema: Schema::Object(&[
        field("node", Schema::Text, ""),
        field("id", Schema::Text, ""),
        field("role", Schema::Word(&["agent", "collector"]), "An agent and a collector may share a name."),
        field("source", SOURCE, "Who says so."),
        field(
            "state",
            Schema::Text,
            "collector: reporting, silent, and of itself running, blind, away; peers: alive, down, left; agent: running, cut_off, suspended, \
             stopped, ended; operator: maintenance, in_service, decommissioned.",
        ),
        field("from", Schema::Time, ""),
        field("to", TIME_OR_NOT, "Null while it holds."),
        field("reason", Schema::Text, "May be empty."),
    ]),
};

const AVAILABILITY: NamedSchema = NamedSchema {
    name: "Availability",
    help: "Times of a node or a group in a window, and what follows; null where there is nothing to divide by.",
    schema: Schema::Object(&[
        field("group", TEXTS, "`node` with its name, or the labels that were asked for."),
        field("nodes", Schema::Integer, ""),
        field("from", Schema::Time, ""),
        field("to", Schema::Time, ""),
        field("availability_ratio", NUMBER_OR_NOT, "up / (up + down). Where the coverage is low, see the bounds."),
        field("coverage_ratio", NUMBER_OR_NOT, "Which part of the time is known."),
        field("lower_ratio", NUMBER_OR_NOT, "The availability if all unknown time was down."),
        field("upper_ratio", NUMBER_OR_NOT, "The availability if all unknown time was up."),
        field("up_seconds", Schema::Number, ""),
        field("degraded_seconds", Schema::Number, "The part of up_seconds without a working agent."),
        field("down_seconds", Schema::Number, ""),
        field("unknown_seconds", Schema::Number, ""),
        field("maintenance_seconds", Schema::Number, "Counts for nothing else."),
        field("outages", Schema::Integer, ""),
        field("mttr_seconds", NUMBER_OR_NOT, "down_seconds / outages"),
        field("mttf_seconds", NUMBER_OR_NOT, "up_seconds / outages"),
        field("mtbf_seconds", NUMBER_OR_NOT, "mttr_seconds + mttf_seconds"),
        field("mtbf_exceeds_seconds", NUMBER_OR_NOT, "Without an outage: what the MTBF exceeds, 95 % confidence."),
        field("failures_per_hour", NUMBER_OR_NOT, ""),
        field("failures_per_hour_low", NUMBER_OR_NOT, "95 % confidence interval."),
        field("failures_per_hour_high", NUMBER_OR_NOT, "95 % confidence interval."),
        field(
            "longest_outages",
            Schema::List(&Schema::Object(&[
                field("node", Schema::Text, ""),
                field("from", Schema::Time, ""),
                field("to", TIME_OR_NOT, "Null while it lasts."),
            ])),
            "At most ten.",
        ),
    ]),
};

const REMEDIATION: NamedSchema = NamedSchema {
    name: "Remediation",
    help: "A remediation, with what it does about each of its alerts and why.",
    schema: Schema::Object(&[
        field("name", Schema::Text, ""),
        field("file", Schema::Text, ""),
        field("mode", MODE, ""),
        field(
            "when",
            Schema::Object(&[
                field("alert", Schema::Text, ""),
                field("for", Schema::Duration, ""),
                field("labels", TEXTS, ""),
                field("from", Schema::Text, ""),
            ]),
            "When it acts.",
        ),
        field("scope", TEXTS, "Labels of the nodes whose health counts."),
        field(
            "steps",
            Schema::List(&Schema::Object(&[
                optional("action", Schema::Text, ""),
                optional("params", TEXTS, ""),
                optional("on", Schema::Text, "`self`, or labels of nodes."),
                optional("wait", Schema::Duration, ""),
                optional("escalate", Schema::Text, "A receiver that is told."),
            ])),
            "",
        ),
        field("guards", Schema::Named("Guards"), ""),
        field(
            "paused",
            Schema::Nullable(&Schema::Object(&[
                field("by", Schema::Text, ""),
                field("reason", Schema::Text, ""),
                field("since", Schema::Time, ""),
                field("until", TIME_OR_NOT, ""),
                field("of_all", Schema::Boolean, "Whether every remediation is paused."),
            ])),
            "Why nothing begins, if a person paused it.",
        ),
        field("storm_until", TIME_OR_NOT, "Until when nothing begins because too many nodes were unhealthy."),
        field("state", Schema::Text, "`idle`, or the state of the case that is furthest."),
        field("cases", Schema::List(&Schema::Named("Case")), ""),
        field("attempts", Schema::List(&Schema::Named("Attempt")), "The newest first."),
        field("last_order", TEXT_OR_NOT, ""),
        field("decisions", Schema::List(&Schema::Named("Decision")), "The newest first."),
    ]),
};

const GUARDS: NamedSchema = NamedSchema {
    name: "Guards",
    help: "What speaks against acting, with every default filled in.",
    schema: Schema::Object(&[
        field("cooldown", Schema::Duration, ""),
        field(
            "attempts",
            Schema::Object(&[
                field("max", Schema::Integer, ""),
                field("per", Schema::Duration, ""),
                field("reset_after_healthy", Schema::Duration, ""),
            ]),
            "",
        ),
        field("max_concurrent", Schema::Integer, ""),
        field("max_unhealthy", Schema::Text, "A share of the registered nodes in scope."),
        field("storm_cooldown", Schema::Duration, ""),
        field(
            "domains",
            Schema::Nullable(&Schema::Object(&[
                field("label", Schema::Text, ""),
                field("max_zones", Schema::Integer, ""),
            ])),
            "",
        ),
        field(
            "corroborate",
            Schema::Nullable(&Schema::Object(&[
                field("observers", Schema::Integer, ""),
                field("min", Schema::Integer, ""),
            ])),
            "",
        ),
        field("quorum", Schema::Text, ""),
        field("settle", Schema::Duration, ""),
        field("windows", WORDS, "When it may begin; empty is always."),
        field("blocked_by", WORDS, ""),
        field("approve_within", Schema::Duration, ""),
    ]),
};

const CASE: NamedSchema = NamedSchema {
    name: "Case",
    help: "One firing alert of one remediation.",
    schema: Schema::Object(&[
        field("fingerprint", Schema::Text, ""),
        field("alert", TEXTS, "Labels of the alert."),
        field("state", CASE_STATE, ""),
        field("reasons", WORDS, "Why it is not acted upon, or what is under way."),
        field("blocked_by", WORDS, "The guards that speak against acting."),
        field("run", TEXT_OR_NOT, "The attempt that is under way."),
        field("since", Schema::Time, ""),
        field("until", TIME_OR_NOT, "When time alone may change it."),
    ]),
};

const ATTEMPT: NamedSchema = NamedSchema {
    name: "Attempt",
    help: "One pass through the steps of a remediation.",
    schema: Schema::Object(&[
        field("id", Schema::Text, "A ULID."),
        field("state", ATTEMPT_STATE, ""),
        field("detail", Schema::Text, ""),
        field("node", Schema::Text, ""),
        field("alert", TEXTS, ""),
        field("step", Schema::Integer, "From 1."),
        field("steps", Schema::Integer, ""),
        field("order", TEXT_OR_NOT, ""),
        field("approver", TEXT_OR_NOT, ""),
        field("began_at", Schema::Time, ""),
        field("ended_at", TIME_OR_NOT, ""),
        field("until", TIME_OR_NOT, ""),
        field(
            "history",
            Schema::List(&Schema::Object(&[
                field("state", ATTEMPT_STATE, ""),
                field("step", Schema::Integer, ""),
                field("at", Schema::Time, ""),
                field("detail", Schema::Text, ""),
            ])),
            "",
        ),
    ]),
};

const DECISION: NamedSchema = NamedSchema {
    name: "Decision",
    help: "A case that came to be, or entered another state.",
    schema: Schema::Object(&[
        field("seq", Schema::Integer, ""),
        field("at", Schema::Time, ""),
        field("remediation", Schema::Text, ""),
        field("alert", Schema::Text, ""),
        field("instance", Schema::Text, ""),
        field("state", Schema::Text, ""),
        field("reasons", WORDS, ""),
    ]),
};

const ORDER: NamedSchema = NamedSchema {
    name: "Order",
    help: "An order, with what became of it.",
    schema: Schema::Object(&[
        field("id", Schema::Text, "A ULID."),
        field("remediation", Schema::Text, ""),
        field("attempt", TEXT_OR_NOT, ""),
        field("node", Schema::Text, ""),
        field("node_id", Schema::Text, ""),
        field("action", Schema::Text, ""),
        field("params", TEXTS, ""),
        field("state", ORDER_STATE, ""),
        field("detail", Schema::Text, ""),
        field("alert", TEXTS, ""),
        field("fingerprint", Schema::Text, ""),
        field("approver", TEXT_OR_NOT, ""),
        field("epoch", Schema::Integer, ""),
        field("seq", Schema::Integer, ""),
        field("issued_at", Schema::Time, ""),
        field("expires_at", Schema::Time, ""),
        field("ended_at", TIME_OR_NOT, ""),
        field("exit_code", Schema::Nullable(&Schema::Integer), ""),
        field("output", Schema::Text, ""),
        field("output_truncated", Schema::Boolean, ""),
        field("verified", Schema::Nullable(&Schema::Boolean), "Null if nothing was to be verified."),
        field(
            "history",
            Schema::List(&Schema::Object(&[
                field("state", ORDER_STATE, ""),
                field("at", Schema::Time, ""),
                field("detail", Schema::Text, ""),
            ])),
            "",
        ),
    ]),
};

const SIMULATION: NamedSchema = NamedSchema {
    name: "Simulation",
    help: "What would be done, by the same decision.",
    schema: Schema::Object(&[
        field("remediation", Schema::Text, ""),
        field("mode", MODE, ""),
        field("node", Schema::Text, ""),
        field("alert", TEXTS, "Labels of the alert that is supposed."),
        field("would_act", Schema::Boolean, "Whether it would be ordered now, if the mode were `auto`."),
        field("reasons", WORDS, ""),
        field("blocked_by", WORDS, ""),
        field(
            "orders",
            Schema::List(&Schema::Object(&[
                field("node", Schema::Text, ""),
                field("action", Schema::Text, ""),
                field("params", TEXTS, ""),
            ])),
            "What the first step would order.",
        ),
    ]),
};

const DONE: NamedSchema = NamedSchema {
    name: "Done",
    help: "What became of what was asked for.",
    schema: Schema::Object(&[
        optional("state", ATTEMPT_STATE, "Of an attempt that was approved: where it stands now."),
        optional("detail", Schema::Text, ""),
    ]),
};

const STATUS: NamedSchema = NamedSchema {
    name: "Status",
    help: "How the collector is.",
    schema: Schema::Object(&[
        field("node", Schema::Text, ""),
        field("version", Schema::Text, ""),
        field("ready", Schema::Boolean, ""),
        field("fresh", Schema::Boolean, "Whether enough of the fleet has reported for rules to judge."),
        field("started_at", Schema::Time, ""),
        field("generated_at", Schema::Time, ""),
        field("index", Schema::Text, ""),
        field("members", Schema::Named("View"), ""),
        field("nodes", Schema::Map(&Schema::Integer), "How many there are of each health, and in all."),
        field("agents", Schema::Map(&Schema::Integer), "How many are connected, and expected."),
        field("ingest", Schema::Map(&NUMBER_OR_NOT), ""),
        field("storage", STORAGE, ""),
        field(
            "rules",
            Schema::Object(&[
                field("groups", Schema::Integer, ""),
                field("rules", Schema::Integer, ""),
                field("failing", Schema::List(&TEXTS), ""),
            ]),
            "",
        ),
        field(
            "remote_write",
            Schema::List(&Schema::Object(&[
                field("name", Schema::Text, ""),
                field("sent_samples", Schema::Integer, ""),
                field("failed_requests", Schema::Integer, "Requests that failed and were or will be made again."),
                field("restarts", Schema::Integer, "How many times it was started again after a panic."),
                field("refused_samples", Schema::Integer, "Samples that the engine refused."),
                field("expired_samples", Schema::Integer, "Samples that were too old before they could be sent."),
                field("repeated_samples", Schema::Integer, "Samples that it has already, or may have."),
                field("duplicate_samples", Schema::Integer, "Samples whose labels and time others have, too."),
                field(
                    "left_out_samples",
                    Schema::Integer,
                    "Samples that `match` or `write_relabel_configs` leave out.",
                ),
                field("pending_samples", Schema::Integer, "Samples that wait to be sent, about."),
                field("highest_sent_at", TIME_OR_NOT, "The latest time of a sample that was taken."),
                field("behind_seconds", Schema::Number, "How old the oldest live sample is that waits."),
                field("failing_since", TIME_OR_NOT, ""),
                field("last_error", TEXT_OR_NOT, ""),
                field("last_error_at", TIME_OR_NOT, ""),
                field("last_success_at", TIME_OR_NOT, ""),
            ])),
            "Each engine to which samples are copied.",
        ),
        field("alerts", Schema::Map(&Schema::Integer), ""),
        field(
            "notifications",
            Schema::Object(&[
                field("queued", Schema::Integer, ""),
                field(
                    "integrations",
                    Schema::List(&Schema::Object(&[
                        field("receiver", Schema::Text, ""),
                        field("id", Schema::Text, ""),
                        field("kind", Schema::Text, ""),
                        field("failing", Schema::Boolean, "Whether its last attempt failed."),
                        field("delivered", Schema::Integer, ""),
                        field("failed", Schema::Integer, ""),
                        field("pending", Schema::Integer, ""),
                        field("last_success_at", TIME_OR_NOT, ""),
                        field("last_error_at", TIME_OR_NOT, ""),
                        field("last_error", TEXT_OR_NOT, ""),
                    ])),
                    "",
                ),
            ]),
            "",
        ),
        field(
            "config",
            Schema::Object(&[field("reload_successful", Schema::Boolean, ""), field("loaded_at", Schema::Time, "")]),
            "",
        ),
    ]),
};

const KEYS: NamedSchema = NamedSchema {
    name: "Keys",
    help: "The keys of encrypted gossip. A key itself never leaves a member.",
    schema: Schema::Object(&[
        field("view", Schema::Named("View"), ""),
        field("index", Schema::Text, ""),
        field("next_cursor", TEXT_OR_NOT, ""),
        field(
            "items",
            Schema::List(&Schema::Object(&[
                field("id", Schema::Text, "8 hexadecimal digits."),
                field("primary", Schema::Boolean, "Whether this collector encrypts with it."),
                field("installed", Schema::Integer, "How many members hold it."),
                field("primary_on", Schema::Integer, "How many encrypt with it."),
                field("missing", WORDS, "Members that do not hold it."),
            ])),
            "",
        ),
        field(
            "nodes",
            Schema::List(&Schema::Object(&[
                field("id", Schema::Text, ""),
                field("name", Schema::Text, ""),
                field("state", Schema::Word(&["alive", "suspect", "down", "left"]), ""),
                field("keys", WORDS, "The one that it encrypts with first."),
                field("primary", TEXT_OR_NOT, ""),
                field("order", Schema::Integer, "The latest change of keys that it took part in."),
                optional("error", Schema::Text, "Why it could not make the latest one."),
            ])),
            "",
        ),
    ]),
};
