//! An expression as the tree that `/api/v1/parse_query` answers, with the names of Prometheus' own tree view.

use serde_json::{Value, json};
use watchfire_promql::ast::{At, BinaryOp, Cardinality, Expr, ExprKind, Length, Matching, Selector, Shift, Type};
use watchfire_promql::func::{Function, Optional};
use watchfire_shared::matcher::Matcher;

/// The tree of an expression.
pub(crate) fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number { value, .. } => number(*value),
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": text}),
        ExprKind::Selector(selector) => with(&selector.shift, selected("vectorSelector", selector)),
        ExprKind::Range { selector, range } => {
            let mut node = selected("matrixSelector", selector);
            node["range"] = millis(Some(range)).into();
            with(&selector.shift, node)
        }
        ExprKind::Subquery { expr, range, step, shift } => {
            let (range, step) = (millis(Some(range)), millis(step.as_ref()));
            with(shift, json!({"type": "subquery", "expr": tree(expr), "range": range, "step": step}))
        }
        ExprKind::Unary { negative, expr } => match (&expr.kind, negative) {
            // A number's sign is part of it.
            (ExprKind::Number { value, .. }, true) => number(-value),
            (ExprKind::Number { value, .. }, false) => number(*value),
            (_, negative) => {
                json!({"type": "unaryExpr", "op": if *negative { "-" } else { "+" }, "expr": tree(expr)})
            }
        },
        ExprKind::Binary { op, left, right, bool_modifier, matching } => {
            let vectors = [left, right].iter().all(|side| side.value_type() == Type::InstantVector);
            json!({
                "type": "binaryExpr",
                "op": op.as_str(),
                "lhs": tree(left),
                "rhs": tree(right),
                "matching": vectors.then(|| matched(*op, matching)),
                "bool": bool_modifier,
            })
        }
        ExprKind::Call { function, args } => {
            let args: Vec<Value> = args.iter().map(tree).collect();
            json!({"type": "call", "func": signature(function), "args": args})
        }
        ExprKind::Aggregate { op, expr, param, grouping, without } => json!({
            "type": "aggregation",
            "op": op.as_str(),
            "expr": tree(expr),
            "param": param.as_deref().map(tree),
            "grouping": grouping,
            "without": without,
        }),
        ExprKind::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
    }
}

/// All digits and no exponent, as Go's `FormatFloat` with `f` gives it.
fn number(value: f64) -> Value {
    let text = match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    };
    json!({"type": "numberLiteral", "val": text})
}

fn selected(kind: &str, selector: &Selector) -> Value {
    let matcher =
        |matcher: &Matcher| json!({"name": matcher.name, "value": matcher.value, "type": matcher.op.as_str()});
    let matchers: Vec<Value> = selector.matchers.iter().map(matcher).collect();
    json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or_default(),
        "matchers": matchers,
        // Modifiers that this language does not have.
        "anchored": false,
        "smoothed": false,
    })
}

/// A node that reads at another time than now.
fn with(shift: &Shift, mut node: Value) -> Value {
    let (timestamp, edge) = match shift.at {
        Some(At::Time(at)) => (Some(at.as_millis()), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
        None => (None, None),
    };
    node["offset"] = millis(shift.offset.as_ref()).into();
    node["timestamp"] = timestamp.into();
    node["startOrEnd"] = edge.into();
    node
}

/// A length in milliseconds; one that has to be computed is 0, as in Prometheus.
fn millis(length: Option<&Length>) -> i64 {
    match length {
        Some(Length::Fixed(span)) => span.as_millis(),
        Some(Length::Computed(_)) | None => 0,
    }
}

fn matched(op: BinaryOp, matching: &Matching) -> Value {
    let card = match matching.cardinality {
        _ if op.is_set() => "many-to-many",
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill.0, "rhs": matching.fill.1},
    })
}

fn signature(function: &Function) -> Value {
    let name = |of: Type| match of {
        Type::Scalar => "scalar",
        Type::InstantVector => "vector",
        Type::RangeVector => "matrix",
        Type::String => "string",
    };
    let variadic = match function.optional {
        Optional::None => 0,
        Optional::UpTo(most) => most as i64,
        Optional::Any => -1,
    };
    let args: Vec<&str> = function.args.iter().map(|arg| name(*arg)).collect();
    json!({"name": function.name, "argTypes": args, "variadic": variadic, "returnType": name(function.returns)})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &Value) {
        assert_eq!(tree(&watchfire_promql::parse(text).unwrap()), *expected);
    }

    #[test]
    fn trees_have_the_shape_of_prometheus() {
        check("-1e21", &json!({"type": "numberLiteral", "val": "-1000000000000000000000"}));
        check(
            "sum by (job) (rate(x{a!=\"b\"}[5m] @ 1.5 offset -1m))",
            &json!({
                "type": "aggregation", "op": "sum", "param": null, "grouping": ["job"], "without": false,
                "expr": {
                    "type": "call",
                    "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                    "args": [{
                        "type": "matrixSelector", "name": "x", "range": 300_000, "offset": -60_000, "timestamp": 1500,
                        "startOrEnd": null, "anchored": false, "smoothed": false,
                        "matchers": [
                            {"name": "a", "value": "b", "type": "!="},
                            {"name": "__name__", "value": "x", "type": "="},
                        ],
                    }],
                },
            }),
        );
        let vector = |name: &str, edge: Value| {
            json!({
                "type": "vectorSelector", "name": name, "offset": 0, "timestamp": null, "startOrEnd": edge,
                "matchers": [{"name": "__name__", "value": name, "type": "="}], "anchored": false, "smoothed": false,
            })
        };
        check(
            "-(a @ end()) > bool on (x) group_left (y) b",
            &json!({
                "type": "binaryExpr", "op": ">", "bool": true,
                "lhs": {"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": vector("a", json!("end"))}},
                "rhs": vector("b", Value::Null),
                "matching": {
                    "card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"],
                    "fillValues": {"lhs": null, "rhs": null},
                },
            }),
        );
        check(
            "absent_over_time(a[1h:5m])",
            &json!({
                "type": "call",
                "func": {"name": "absent_over_time", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                "args": [{
                    "type": "subquery", "expr": vector("a", Value::Null), "range": 3_600_000, "step": 300_000,
                    "offset": 0, "timestamp": null, "startOrEnd": null,
                }],
            }),
        );
    }
}
