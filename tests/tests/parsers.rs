//! Our parser and `promql-parser`, a translation of Prometheus' own grammar, read the same trees and refuse the same texts.
//!
//! Where they differ on purpose is listed in [`OURS`] and [`THEIRS`], with the reason. Besides generated expressions all queries of
//! the shipped scripts are read, and those of the scripts in the folder that `WATCHFIRE_CONFORMANCE` names.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use promql_parser::label::{MatchOp, Matcher as TheirMatcher};
use promql_parser::parser::{
    self as theirs, AtModifier, BinModifier, Expr as TheirExpr, LabelModifier, Offset, VectorMatchCardinality,
    VectorSelector, value::ValueType,
};
use proptest::prelude::*;
use watchfire_promql::ast::{At, BinaryOp, Cardinality, Expr, ExprKind, Length, Matching, Selector, Shift};
use watchfire_promql::{Syntax, parse_with};

/// What one of them takes and the other refuses, on purpose.
struct Different {
    example: &'static str,
    /// A part of the message with which it is refused.
    refusal: &'static str,
    /// One of these is in the text.
    marks: &'static [&'static str],
    why: &'static str,
}

/// What ours takes alone.
const OURS: &[Different] = &[
    Different {
        example: "1_000",
        refusal: "bad number or duration syntax",
        marks: &["_0"],
        why: "Prometheus takes digits in groups",
    },
    Different {
        example: "(`raw\\`)",
        refusal: "unterminated quoted string",
        marks: &["\\`"],
        why: "nothing is escaped between backquotes",
    },
    Different {
        example: "x[5m + step()]",
        refusal: "unexpected character inside brackets",
        marks: &["["],
        why: "lengths that are computed are experimental",
    },
    Different {
        example: "x offset -(5 + 1)",
        refusal: "invalid promql query",
        marks: &["offset (", "offset -(", "step()", "STEP()", "range()", "min_of("],
        why: "lengths that are computed are experimental",
    },
    Different {
        example: "sum by (smoothed) (anchored)",
        refusal: "invalid promql query",
        marks: &["smoothed", "anchored"],
        why: "theirs keeps the words of modifiers for themselves",
    },
    Different {
        example: "info(x, {a=~\".*\"})",
        refusal: "vector selector must contain at least one non-empty matcher",
        marks: &["info("],
        why: "labels are chosen here, not series",
    },
];

/// What theirs takes alone.
const THEIRS: &[Different] = &[
    Different {
        example: "x[0]",
        refusal: "duration must be greater than 0",
        marks: &["0]"],
        why: "Prometheus refuses it as well",
    },
    Different {
        example: "+(x[5m])",
        refusal: "unary expression only allowed on expressions of type",
        marks: &["+"],
        why: "Prometheus refuses it as well",
    },
    Different {
        example: "\"\\xff\"",
        refusal: "string is not valid UTF-8",
        marks: &["\\x"],
        why: "texts are UTF-8 here",
    },
    Different {
        example: "x{a=\"b\" or c=\"d\"}",
        refusal: "in label matching",
        marks: &[" or "],
        why: "VictoriaMetrics' alternatives are no PromQL",
    },
    Different {
        example: "info(x, y)",
        refusal: "expected label selectors only",
        marks: &["info("],
        why: "Prometheus refuses it as well",
    },
    Different {
        example: "histogram_count(x)",
        refusal: "is not supported: it reads native histograms",
        marks: &["histogram_"],
        why: "they are not stored",
    },
    Different {
        example: "1 + fill (0) x",
        refusal: "vector matching only allowed between instant vectors",
        marks: &["fill"],
        why: "a number has no sample that could be missing",
    },
];

impl Different {
    fn explains(&self, text: &str, refusal: &str) -> bool {
        refusal.contains(self.refusal) && self.marks.iter().any(|mark| text.contains(mark))
    }
}

/// What both trees are turned into: a text in which everything that counts has its place and its brackets.
fn ours(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number { value, .. } => number(*value),
        ExprKind::String(text) => format!("{text:?}"),
        ExprKind::Selector(selector) => our_selector(selector) + &our_shift(&selector.shift),
        ExprKind::Range { selector, range } => {
            format!("{}[{}]{}", our_selector(selector), our_length(range), our_shift(&selector.shift))
        }
        ExprKind::Subquery { expr, range, step, shift } => {
            let step = step.as_ref().map(our_length).unwrap_or_default();
            format!("subquery({})[{}:{step}]{}", ours(expr), our_length(range), our_shift(shift))
        }
        ExprKind::Unary { negative: true, expr } => match expr.kind {
            ExprKind::Number { value, .. } => number(-value),
            _ => format!("neg({})", ours(expr)),
        },
        // A plus changes nothing, and theirs forgets it.
        ExprKind::Unary { negative: false, expr } => ours(expr),
        ExprKind::Binary { op, left, right, bool_modifier, matching } => {
            format!("({} {}{} {})", ours(left), op.as_str(), our_matching(*op, *bool_modifier, matching), ours(right))
        }
        ExprKind::Call { function, args } => {
            format!("{}({})", function.name, args.iter().map(ours).collect::<Vec<_>>().join(", "))
        }
        ExprKind::Aggregate { op, expr, param, grouping, without } => {
            let param = param.as_ref().map(|param| ours(param) + ", ").unwrap_or_default();
            format!("{}{}({param}{})", op.as_str(), grouped(*without, grouping), ours(expr))
        }
        ExprKind::Paren(inner) => format!("paren({})", ours(inner)),
    }
}

fn number(value: f64) -> String {
    if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") }
}

fn our_length(length: &Length) -> String {
    match length {
        Length::Fixed(span) => span.as_millis().to_string(),
        Length::Computed(expr) => format!("computed {}", ours(expr)),
    }
}

fn our_selector(selector: &Selector) -> String {
    let matchers = selector.matchers.iter().map(|m| format!("{}{}{:?}", m.name, m.op.as_str(), m.value));
    listed(matchers.collect())
}

fn listed(mut matchers: Vec<String>) -> String {
    matchers.sort_unstable();
    format!("{{{}}}", matchers.join(","))
}

fn our_shift(shift: &Shift) -> String {
    let offset = shift.offset.as_ref().map(our_length).filter(|offset| offset != "0");
    let at = match shift.at {
        Some(At::Time(at)) => format!(" @ {}", at.as_millis()),
        Some(At::Start) => " @ start".to_owned(),
        Some(At::End) => " @ end".to_owned(),
        None => String::new(),
    };
    at + &offset.map(|offset| format!(" offset {offset}")).unwrap_or_default()
}

fn our_matching(op: BinaryOp, bool_modifier: bool, matching: &Matching) -> String {
    let word = match matching.cardinality {
        _ if op.is_set() => None,
        Cardinality::ManyToOne => Some(("left", &matching.include)),
        Cardinality::OneToMany => Some(("right", &matching.include)),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    let labels = (matching.on || !matching.labels.is_empty()).then_some((matching.on, &matching.labels));
    modifiers(bool_modifier, labels, word, matching.fill)
}

fn modifiers(
    bool_modifier: bool,
    labels: Option<(bool, &Vec<String>)>,
    group: Option<(&str, &Vec<String>)>,
    fill: (Option<f64>, Option<f64>),
) -> String {
    let mut text = if bool_modifier { " bool".to_owned() } else { String::new() };
    if let Some((on, labels)) = labels {
        text += &format!(" {}{labels:?}", if on { "on" } else { "ignoring" });
    }
    if let Some((side, include)) = group {
        text += &format!(" {side}{include:?}");
    }
    for (side, value) in [("fill_left", fill.0), ("fill_right", fill.1)] {
        text += &value.map(|value| format!(" {side}({})", number(value))).unwrap_or_default();
    }
    text
}

fn grouped(without: bool, labels: &[String]) -> String {
    match (without, labels) {
        (false, []) => String::new(),
        (without, labels) => format!(" {}{labels:?} ", if without { "without" } else { "by" }),
    }
}

fn theirs(expr: &TheirExpr) -> String {
    match expr {
        TheirExpr::NumberLiteral(literal) => number(literal.val),
        TheirExpr::StringLiteral(literal) => format!("{:?}", literal.val),
        TheirExpr::VectorSelector(selector) => {
            their_selector(selector) + &their_shift(selector.offset.as_ref(), selector.at.as_ref())
        }
        TheirExpr::MatrixSelector(matrix) => {
            let shift = their_shift(matrix.vs.offset.as_ref(), matrix.vs.at.as_ref());
            format!("{}[{}]{shift}", their_selector(&matrix.vs), matrix.range.as_millis())
        }
        TheirExpr::Subquery(subquery) => {
            let step = subquery.step.map(|step| step.as_millis().to_string()).unwrap_or_default();
            let shift = their_shift(subquery.offset.as_ref(), subquery.at.as_ref());
            format!("subquery({})[{}:{step}]{shift}", theirs(&subquery.expr), subquery.range.as_millis())
        }
        TheirExpr::Unary(unary) => format!("neg({})", theirs(&unary.expr)),
        TheirExpr::Binary(binary) => {
            let modifiers = binary.modifier.as_ref().map(|modifier| {
                // Beside a number Prometheus leaves out what says how to match; theirs only where nothing is grouped.
                let matches = [&binary.lhs, &binary.rhs].iter().all(|side| side.value_type() == ValueType::Vector);
                let said = if matches {
                    modifier.clone()
                } else {
                    BinModifier { return_bool: modifier.return_bool, ..BinModifier::default() }
                };
                their_modifiers(&said)
            });
            let modifiers = modifiers.unwrap_or_default();
            format!("({} {}{modifiers} {})", theirs(&binary.lhs), binary.op, theirs(&binary.rhs))
        }
        TheirExpr::Call(call) => {
            let args: Vec<String> = call.args.args.iter().map(|arg| theirs(arg)).collect();
            format!("{}({})", call.func.name, args.join(", "))
        }
        TheirExpr::Aggregate(aggregate) => {
            let param = aggregate.param.as_ref().map(|param| theirs(param) + ", ").unwrap_or_default();
            let grouping = match &aggregate.modifier {
                None => String::new(),
                Some(LabelModifier::Include(labels)) => grouped(false, &labels.labels),
                Some(LabelModifier::Exclude(labels)) => grouped(true, &labels.labels),
            };
            format!("{}{grouping}({param}{})", aggregate.op, theirs(&aggregate.expr))
        }
        TheirExpr::Paren(paren) => format!("paren({})", theirs(&paren.expr)),
        TheirExpr::Extension(_) => unreachable!("the parser makes none"),
    }
}

fn their_selector(selector: &VectorSelector) -> String {
    let matcher = |matcher: &TheirMatcher| {
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Re(_) => "=~",
            MatchOp::NotRe(_) => "!~",
        };
        format!("{}{op}{:?}", matcher.name, matcher.value)
    };
    let name = selector.name.iter().map(|name| format!("__name__={name:?}"));
    listed(selector.matchers.matchers.iter().map(matcher).chain(name).collect())
}

fn their_shift(offset: Option<&Offset>, at: Option<&AtModifier>) -> String {
    let at = match at {
        Some(AtModifier::Start) => " @ start".to_owned(),
        Some(AtModifier::End) => " @ end".to_owned(),
        Some(AtModifier::At(at)) => format!(" @ {}", millis_of(*at)),
        None => String::new(),
    };
    let offset = match offset {
        Some(Offset::Pos(offset)) => offset.as_millis() as i128,
        Some(Offset::Neg(offset)) => -(offset.as_millis() as i128),
        None => 0,
    };
    at + &if offset == 0 { String::new() } else { format!(" offset {offset}") }
}

fn millis_of(at: SystemTime) -> i128 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_millis() as i128,
        Err(before) => -(before.duration().as_millis() as i128),
    }
}

fn their_modifiers(modifier: &BinModifier) -> String {
    let labels = modifier.matching.as_ref().and_then(|matching| match matching {
        LabelModifier::Include(labels) => Some((true, &labels.labels)),
        LabelModifier::Exclude(labels) if labels.labels.is_empty() => None,
        LabelModifier::Exclude(labels) => Some((false, &labels.labels)),
    });
    let group = match &modifier.card {
        VectorMatchCardinality::ManyToOne(labels) => Some(("left", &labels.labels)),
        VectorMatchCardinality::OneToMany(labels) => Some(("right", &labels.labels)),
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => None,
    };
    modifiers(modifier.return_bool, labels, group, (modifier.fill_values.lhs, modifier.fill_values.rhs))
}

/// What each of them makes of a text.
fn both(text: &str) -> (Result<String, String>, Result<String, String>) {
    let first = parse_with(text, Syntax::experimental()).map(|expr| ours(&expr)).map_err(|error| error.to_string());
    (first, theirs::parse(text).map(|expr| theirs(&expr)))
}

/// How they differ, if they do and it is not on purpose.
fn difference(text: &str) -> Option<String> {
    let known = |all: &[Different], refusal: &str| all.iter().any(|different| different.explains(text, refusal));
    match both(text) {
        (Ok(ours), Ok(theirs)) => (ours != theirs).then(|| format!("{text}\n  ours   {ours}\n  theirs {theirs}")),
        (Ok(_), Err(error)) => (!known(OURS, &error)).then(|| format!("{text}\n  theirs refuses it: {error}")),
        (Err(error), Ok(_)) => (!known(THEIRS, &error)).then(|| format!("{text}\n  ours refuses it: {error}")),
        (Err(_), Err(_)) => None,
    }
}

/// The queries of a script.
fn queries(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter_map(|line| {
        let mut words = line.trim_start();
        let mut word = || {
            let (first, rest) = words.split_once(' ')?;
            words = rest.trim_start();
            Some(first)
        };
        word().filter(|word| word.starts_with("eval"))?;
        let skipped = if word()? == "range" { 6 } else { 2 };
        (0..skipped).try_for_each(|_| word().map(drop))?;
        Some(words)
    })
}

#[test]
fn scripts_are_read_alike() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/promql/testdata");
    let others = std::env::var_os("WATCHFIRE_CONFORMANCE");
    let (mut count, mut found) = (0, Vec::new());
    for folder in std::iter::once(shipped).chain(others.map(Into::into)) {
        for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "test") {
                let text = std::fs::read_to_string(&file).unwrap();
                count += queries(&text).count();
                found.extend(queries(&text).filter_map(difference));
            }
        }
    }
    assert!(count > 100, "{count} queries only");
    assert!(found.is_empty(), "{} of {count}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn what_differs_on_purpose_does_differ() {
    for Different { example, why, .. } in OURS {
        assert!(matches!(both(example), (Ok(_), Err(_))), "{example}, because {why}: {:?}", both(example));
        assert_eq!(difference(example), None);
    }
    for Different { example, why, .. } in THEIRS {
        assert!(matches!(both(example), (Err(_), Ok(_))), "{example}, because {why}: {:?}", both(example));
        assert_eq!(difference(example), None);
    }
}

fn words(choice: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(choice).prop_map(|word: &str| word.to_owned())
}

fn shifted() -> impl Strategy<Value = String> {
    words(&[
        "",
        "",
        "",
        " offset 5m",
        " offset -1h30m",
        " @ 1.5",
        " @ start()",
        " @ -7 offset 1d",
        " offset 1w @ end()",
    ])
}

fn selectors() -> impl Strategy<Value = String> {
    words(&[
        "x",
        "a:b",
        "x{}",
        "{a=\"b\"}",
        "x{a!=\"\", b=~'c.*', d!~`e|f`,}",
        "{__name__=\"y\", on=\"by\"}",
        "{\"p.q\", \"l.m\"=\"\\u00e9\\n\"}",
        "{\"z\"}",
        "sum",
        "offset",
        "bool{without=\"\\x41\"}",
        "{}",
        "x{a=\"(\"}",
        "x{a=~\"(\"}",
    ])
}

fn ranges() -> impl Strategy<Value = String> {
    let lengths = words(&["5m", "1h30m", "300", "1d", "90s500ms", "1y2w", "0", "0x10", "1.5"]);
    (selectors(), lengths, shifted()).prop_map(|(selector, length, shift)| format!("{selector}[{length}]{shift}"))
}

fn scalars() -> impl Strategy<Value = String> {
    words(&[
        "1",
        "-2.5",
        "1e3",
        ".5",
        "0x1F",
        "Inf",
        "-inf",
        "NaN",
        "5m",
        "1h30m",
        "time()",
        "pi()",
        "scalar(x)",
        "(2)",
        "017",
        "1e",
        "+4",
    ])
}

/// Expressions, most of which are right.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => (selectors(), shifted()).prop_map(|(selector, shift)| selector + &shift),
        2 => (words(&["rate", "increase", "last_over_time", "changes", "absent_over_time", "deriv", "mad_over_time"]), ranges())
            .prop_map(|(function, range)| format!("{function}({range})")),
        1 => (scalars(), ranges()).prop_map(|(scalar, range)| format!("quantile_over_time({scalar}, {range})")),
        1 => scalars(),
        1 => ranges(),
        1 => words(&["\"text\"", "'it\\'s'", "`raw\\`", "\"\\xff\""]),
    ];
    leaf.prop_recursive(5, 32, 3, |inner| {
        let operators = words(&[
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless", "== bool", "< bool",
            "+ on (a)", "- ignoring (a, b,)", "/ on () group_left", "* on (a) group_right (b)", "and ignoring (c)", "or on (a) group_left",
            "^ bool", "+ on (a) fill (0)", "> bool on (a) group_left (b) fill_left (-1)", "ON(a)", "AND", "=~",
        ]);
        let groupings = words(&["", " by (a)", " without (a, b)", " by ()", " BY (\"c d\", on)", " without ()", " by"]);
        let aggregations = words(&["sum", "avg", "COUNT", "min", "max", "group", "stddev", "stdvar"]);
        let chosen = words(&["topk", "bottomk", "quantile", "limitk", "limit_ratio"]);
        let functions = words(&["abs", "ceil", "sort_desc", "timestamp", "absent", "hour", "vector", "scalar", "round", "no_such", "Abs"]);
        prop_oneof![
            6 => (inner.clone(), operators, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            3 => (aggregations.clone(), groupings.clone(), inner.clone()).prop_map(|(op, by, arg)| format!("{op}{by} ({arg})")),
            2 => (aggregations, inner.clone(), groupings.clone()).prop_map(|(op, arg, by)| format!("{op}({arg}){by}")),
            2 => (chosen, groupings, scalars(), inner.clone()).prop_map(|(op, by, k, arg)| format!("{op}{by} ({k}, {arg})")),
            3 => (functions, inner.clone()).prop_map(|(function, arg)| format!("{function}({arg})")),
            1 => (inner.clone(), scalars()).prop_map(|(arg, least)| format!("clamp_min({arg}, {least})")),
            1 => inner.clone().prop_map(|arg| format!("label_replace({arg}, \"a\", \"$1\", \"b\", \"(.*)\")")),
            1 => inner.clone().prop_map(|arg| format!("count_values(\"v\", {arg})")),
            1 => inner.clone().prop_map(|arg| format!("histogram_quantile(0.9, {arg})")),
            2 => inner.clone().prop_map(|arg| format!("({arg})")),
            2 => (words(&["-", "+", "- "]), inner.clone()).prop_map(|(sign, arg)| sign + &arg),
            2 => (inner, words(&["[5m:]", "[1h:30s]", "[300:60]", "[5m:0]"]), shifted())
                .prop_map(|(arg, range, shift)| format!("({arg}){range}{shift}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_expressions_are_read_alike(text in expressions()) {
        let found = difference(&text);
        prop_assert!(found.is_none(), "{}", found.unwrap_or_default());
    }
}
