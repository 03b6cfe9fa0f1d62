//! Routes whose shapes other programs' documents describe.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>,
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>.

use watchfire_shell::http::openapi::{Answer, Operation, Parameter, Schema};

const TEXT: Answer = Answer::Text("text/plain");
const QUERY: Parameter = Parameter { name: "query", schema: Schema::Text, help: "A PromQL expression." };
const TIME: Parameter = Parameter { name: "time", schema: Schema::Text, help: "RFC 3339 or seconds since 1970." };
const START: Parameter = Parameter { name: "start", schema: Schema::Text, help: "RFC 3339 or seconds since 1970." };
const END: Parameter = Parameter { name: "end", schema: Schema::Text, help: "RFC 3339 or seconds since 1970." };
const STEP: Parameter = Parameter { name: "step", schema: Schema::Text, help: "A duration, or seconds." };
const MATCH: Parameter = Parameter { name: "match[]", schema: Schema::Text, help: "A selector of series." };

pub(super) const FOREIGN: &[Operation] = &[
    asked("get", "/api/v1/query", "Prometheus: an instant query.", &[QUERY, TIME]),
    asked("post", "/api/v1/query", "The same, with the parameters as a form.", &[]),
    asked("get", "/api/v1/query_range", "Prometheus: a range query.", &[QUERY, START, END, STEP]),
    asked("post", "/api/v1/query_range", "The same, with the parameters as a form.", &[]),
    asked("get", "/api/v1/query_exemplars", "Prometheus: exemplars; there are none.", &[QUERY, START, END]),
    asked("post", "/api/v1/query_exemplars", "The same, with the parameters as a form.", &[]),
    asked("get", "/api/v1/format_query", "Prometheus: an expression in its usual form.", &[QUERY]),
    asked("post", "/api/v1/format_query", "The same, with the parameters as a form.", &[]),
    asked("get", "/api/v1/parse_query", "Prometheus: an expression as a tree.", &[QUERY]),
    asked("post", "/api/v1/parse_query", "The same, with the parameters as a form.", &[]),
    asked("get", "/api/v1/series", "Prometheus: series.", &[MATCH, START, END]),
    asked("post", "/api/v1/series", "The same, with the parameters as a form.", &[]),
    asked("get", "/api/v1/labels", "Prometheus: names of labels.", &[MATCH, START, END]),
    asked("post", "/api/v1/labels", "The same, with the parameters as a form.", &[]),
    asked("get", "/api/v1/label/{name}/values", "Prometheus: values of a label.", &[MATCH, START, END]),
    asked("get", "/api/v1/metadata", "Prometheus: types and help of metrics.", &[]),
    asked("get", "/api/v1/targets", "Prometheus: agents as targets.", &[]),
    asked("get", "/api/v1/targets/metadata", "Prometheus: types and help of targets' metrics.", &[]),
    asked("get", "/api/v1/scrape_pools", "Prometheus: jobs.", &[]),
    asked(
        "get",
        "/api/v1/alertmanagers",
        "Prometheus: the Alertmanagers that are told of alerts (`[[alertmanager]]`), beside the receivers of this collector.",
        &[],
    ),
    asked("get", "/api/v1/notifications", "Prometheus: notices of its web interface; there are none.", &[]),
    asked("get", "/api/v1/rules", "Prometheus: rule groups.", &[]),
    asked("get", "/api/v1/alerts", "Prometheus: pending and firing alerts.", &[]),
    asked("get", "/api/v1/status/buildinfo", "Prometheus: the version.", &[]),
    asked("get", "/api/v1/status/runtimeinfo", "Prometheus: the process.", &[]),
    asked("get", "/api/v1/status/config", "Prometheus: the configuration in force.", &[]),
    asked("get", "/api/v1/status/flags", "Prometheus: flags.", &[]),
    asked("get", "/api/v1/status/tsdb", "Prometheus: the cardinality of the store.", &[]),
    asked("get", "/api/v1/status/walreplay", "Prometheus: the replay of the log, which is done.", &[]),
    Operation {
        answer: Answer::Empty,
        is_foreign: true,
        ..Operation::new("post", "/api/v1/write", "Prometheus: remote write 1.0.")
    },
    done(
        "post",
        "/api/v1/admin/tsdb/delete_series",
        "Prometheus: deletes series within a time; taken on loopback only, which a proxy on the same host makes wider. A \
         selector may have 4096 bytes, 32 matchers and 8 regular expressions, each 128 KiB compiled; 256 deletions may wait \
         to be removed from disk, one of several expressions counted as so many. What is more is refused.",
        &[MATCH, START, END],
    ),
    done("put", "/api/v1/admin/tsdb/delete_series", "The same.", &[MATCH, START, END]),
    done(
        "post",
        "/api/v1/admin/tsdb/clean_tombstones",
        "Prometheus: removes from disk what was deleted; it is begun, not waited for. Taken on loopback only.",
        &[],
    ),
    done("put", "/api/v1/admin/tsdb/clean_tombstones", "The same.", &[]),
    asked("get", "/api/v2/status", "Alertmanager: its state and configuration.", &[]),
    asked("get", "/api/v2/receivers", "Alertmanager: names of receivers.", &[]),
    asked("get", "/api/v2/alerts", "Alertmanager: alerts.", &[]),
    asked("post", "/api/v2/alerts", "Alertmanager: takes alerts.", &[]),
    asked("get", "/api/v2/alerts/groups", "Alertmanager: groups of alerts.", &[]),
    asked("get", "/api/v2/silences", "Alertmanager: silences.", &[]),
    asked("post", "/api/v2/silences", "Alertmanager: makes or changes a silence.", &[]),
    asked("get", "/api/v2/silence/{id}", "Alertmanager: one silence.", &[]),
    asked("delete", "/api/v2/silence/{id}", "Alertmanager: ends a silence.", &[]),
    Operation {
        parameters: &[MATCH],
        ..text("get", "/federate", "Prometheus: the latest samples of series, to be scraped.")
    },
    text("get", "/-/healthy", "Prometheus: 200 while the program answers."),
    text("get", "/-/ready", "Prometheus: 200 once the configuration is loaded and the log replayed."),
    text("post", "/-/reload", "Prometheus: reads the configuration anew; 500 with every mistake if it is bad."),
    text("put", "/-/reload", "The same."),
    link("/", "Where Alertmanager has its page: a way to the alerts that fire."),
    link("/graph", "Where Prometheus has the page of an expression, `g0.expr`: a way to its value."),
    link("/query", "The same."),
    text("get", "/metrics", "The collector's own figures in Prometheus' text format."),
];

const fn asked(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
) -> Operation {
    Operation { parameters, is_foreign: true, ..Operation::new(method, path, summary) }
}

const fn done(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
) -> Operation {
    Operation { answer: Answer::Empty, ..asked(method, path, summary, parameters) }
}

const fn text(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
    Operation { answer: TEXT, is_foreign: true, ..Operation::new(method, path, summary) }
}

const fn link(path: &'static str, summary: &'static str) -> Operation {
    Operation { answer: Answer::Elsewhere, is_foreign: true, ..Operation::get(path, summary) }
}
