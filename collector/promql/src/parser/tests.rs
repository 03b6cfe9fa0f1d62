use proptest::prelude::*;

use super::*;

/// Asserts that the text parses and prints as given.
fn check(text: &str, printed: &str) {
    match parse(text) {
        Ok(expr) => {
            assert_eq!(expr.to_string(), printed, "{text}");
            let again = parse(printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
            assert_eq!(again.to_string(), printed);
        }
        Err(error) => panic!("{text}: {error}"),
    }
}

/// Asserts that the text is refused with that message.
fn refused(text: &str, message: &str) {
    match parse(text) {
        Ok(expr) => panic!("{text} was read as {expr}"),
        Err(error) => assert_eq!(error.to_string(), message, "{text}"),
    }
}

#[test]
fn expressions_print_canonically() {
    check("1+2*3^2^1", "1 + 2 * 3 ^ 2 ^ 1");
    check("-1^2", "-1 ^ 2");
    check("a{b='c',d!~\"e\"}", r#"a{b="c",d!~"e"}"#);
    check(r#"{"a.b", c="d"}"#, r#"{"a.b",c="d"}"#);
    check(r#"{__name__="x"}"#, r#"{__name__="x"}"#);
    check("1e21 - 1e-7", "1000000000000000000000 - 0.0000001");
    check("x{b='1', a!='2'}", r#"x{a!="2",b="1"}"#);
    check("rate(x[300])", "rate(x[5m])");
    check("x offset 50 @ 1.5", "x @ 1.500 offset 50s");
    check("x[5m:1m] @ end() offset -1h", "x[5m:1m] @ end() offset -1h");
    check("x[5m:]", "x[5m:]");
    check("SUM(x) BY (job, \"a.b\",)", r#"sum by (job, "a.b") (x)"#);
    check("topk without () (3, x)", "topk without () (3, x)");
    check("a / ON(b) GROUP_LEFT(c) d", "a / on (b) group_left (c) d");
    check("a > bool ignoring (b) d", "a > bool ignoring (b) d");
    check("a and on() b or c unless d", "a and on () b or c unless d");
    check("1 + on () x", "1 + x");
    check("x > bool ignoring () group_left (a) 1", "x > bool 1");
    check("1 + on () 2", "1 + 2");
    check("predict_linear(x[1h], 4h)", "predict_linear(x[1h], 4h)");
    check("sum + by", "sum + by");
    check("a:b:c + (d)", "a:b:c + (d)");
    check(r#"label_replace(x, "a", "$1", 'b', `(.*)`)"#, r#"label_replace(x, "a", "$1", "b", "(.*)")"#);
}

#[test]
fn mistakes_have_a_place_and_prometheus_words() {
    refused("", "unknown position: parse error: no expression found in input");
    refused("foo bar", r#"1:5: parse error: unexpected identifier "bar""#);
    refused("1 +", "1:4: parse error: unexpected end of input");
    refused("a\n+ b)", r#"2:4: parse error: unexpected ")""#);
    refused("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier");
    refused("1 and a", r#"1:1: parse error: set operator "and" not allowed in binary scalar expression"#);
    refused("1 and on(a) x", "1:1: parse error: vector matching only allowed between instant vectors");
    refused("  1 + on(a) x", "1:3: parse error: vector matching only allowed between instant vectors");
    refused("1 < on() 2", "1:3: parse error: comparisons between scalars must use BOOL modifier");
    refused("\"a\" + on(a) x", "1:1: parse error: binary expression must contain only scalar and instant vector types");
    refused(
        "x + on(a) group_left(a) 1",
        r#"1:3: parse error: label "a" must not occur in ON and GROUP clause at once"#,
    );
    refused("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    refused(
        "rate(x)",
        r#"1:6: parse error: expected type range vector in call to function "rate", got instant vector"#,
    );
    refused("rate(x[5m], 1)", r#"1:1: parse error: expected 1 argument(s) in call to "rate", got 2"#);
    refused("rat(x[5m])", r#"1:1: parse error: unknown function with name "rat", did you mean "rate"?"#);
    refused("x[0]", "1:3: parse error: duration must be greater than 0");
    refused("x offset 1m[5m]", "1:1: parse error: no offset modifiers allowed before range");
    refused(
        "(x) offset 1m",
        "1:5: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
    refused("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators");
    refused("a and on (b) group_left c", r#"1:14: parse error: no grouping allowed for "and" operation"#);
    refused("a{b=~\"(\"}", "1:6: parse error: invalid regular expression \"(\": missing closing ): `(`");
    refused("\"a", "1:1: parse error: unterminated quoted string: \"\\\"a\"");
    refused("5mm", "1:1: parse error: bad number or duration syntax: \"5mm\"");
}

#[test]
fn what_is_not_evaluated_is_refused() {
    for text in [
        "limitk(1, x)",
        "limit_ratio(0.5, x)",
        "info(x)",
        "a + fill(0) b",
        "x[step()]",
        "x[5m+1m]",
        "double_exponential_smoothing(x[5m], 0.5, 0.5)",
        "histogram_count(x)",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn hostile_texts_fail_fast() {
    let deep = "(".repeat(50_000);
    assert!(parse(&deep).unwrap_err().message.contains("nested more than"));
    let signs = "-".repeat(50_000) + "x";
    assert!(parse(&signs).unwrap_err().message.contains("nested more than"));
    let long_chain = "1".to_owned() + &"+1".repeat(20_000);
    assert!(parse(&long_chain).unwrap_err().message.contains("nested more than"));
    let brackets = "x[".to_owned() + &"-".repeat(50_000) + "1m]";
    assert!(parse(&brackets).is_err());
    assert!(parse(&"x".repeat((1 << 20) + 1)).unwrap_err().message.contains("longer than"));
}

#[test]
fn experimental_syntax_prints_canonically_too() {
    for (text, printed) in [
        ("x[5m + step()*2] offset (step()-1)", "x[5m + step() * 2] offset (step() - 1)"),
        ("x offset -min_of(STEP(), 1m)", "x offset (-min_of(step(), 1m))"),
        ("x[2*(1m+30s)]", "x[3m]"),
        ("a + on(b) fill(0) c", "a + on (b) fill (0) c"),
        ("a + fill_right(-1) fill_left(NaN) c", "a + fill_left (NaN) fill_right (-1) c"),
    ] {
        let expr = parse_with(text, Syntax::experimental()).unwrap();
        assert_eq!(expr.to_string(), printed);
        assert_eq!(parse_with(printed, Syntax::experimental()).unwrap().to_string(), printed);
    }
    for text in ["a and fill(0) b", "a + fill(0) fill_left(1) b", "1 + fill(0) 2", "x[1m/0]", "x[1m > 2]"] {
        assert!(parse_with(text, Syntax::experimental()).is_err(), "{text}");
    }
}

/// Pieces of expressions, most of which make no sense together.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "x",
        "sum",
        "by",
        "(",
        "(",
        ")",
        ")",
        "{",
        "}",
        "[5m]",
        "[5m:1m]",
        "[",
        "]",
        "+",
        "-",
        "*",
        "^",
        "==",
        "bool",
        "and",
        "on",
        "(a)",
        "ignoring",
        "group_left",
        "offset",
        "1m",
        "@",
        "start()",
        "rate(",
        "topk(1,",
        "1",
        "0x1f",
        "\"a\"",
        "'b'",
        "a=\"b\"",
        "=~",
        "!=",
        ",",
        ":",
        "é",
        "\\",
        "#",
        "\n",
        "step()",
        "fill(1)",
        "Inf",
        "atan2",
        "count_values(\"l\",",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|words| words.join(" "))
}

/// The tree as text in which every operator has its parentheses.
fn shape(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Binary { op, left, right, .. } => format!("({} {} {})", shape(left), op.as_str(), shape(right)),
        ExprKind::Unary { expr, .. } => format!("-({})", shape(expr)),
        ExprKind::Paren(inner) => format!("paren({})", shape(inner)),
        ExprKind::Call { function, args } => {
            format!("{}{:?}", function.name, args.iter().map(shape).collect::<Vec<_>>())
        }
        ExprKind::Aggregate { op, expr, .. } => format!("{}[{}]", op.as_str(), shape(expr)),
        ExprKind::Subquery { expr, .. } => format!("subquery({})", shape(expr)),
        _ => expr.to_string(),
    }
}

/// Instant vectors that nest.
fn vectors() -> impl Strategy<Value = String> {
    let leaves = [
        "x",
        "a:b{c=\"d\"}",
        "{\"é\", __name__=~\".+\"}",
        "x offset -1m @ end()",
        "sum",
        "vector(0x1f)",
        "{\"p.q\"=\"\\n\"}",
    ];
    prop::sample::select(leaves.to_vec()).prop_map(str::to_owned).prop_recursive(6, 24, 2, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "^",
            "% ignoring (a_) group_left ()",
            "/ on (a) group_right (b)",
            "> bool",
            "<",
            "and on ()",
            "or",
            "unless",
            "atan2",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            (
                prop::sample::select(vec![
                    "-",
                    "+",
                    "abs",
                    "sum by (a, \"b c\") ",
                    "topk without () (2 ^ 3, ",
                    "absent"
                ]),
                inner.clone()
            )
                .prop_map(|(function, arg)| match function.ends_with(", ") {
                    true => format!("{function}{arg})"),
                    false => format!("{function}({arg})"),
                }),
            inner.clone().prop_map(|arg| format!("-{arg}")),
            inner.prop_map(|arg| format!("max_over_time(({arg})[1h30m:] offset 5m)")),
        ]
    })
}

proptest! {
    #[test]
    fn nested_expressions_keep_their_shape_when_printed(text in vectors()) {
        let expr = parse(&text).unwrap();
        let again = parse(&expr.to_string()).unwrap();
        // Places and spelling differ, the tree does not: fully parenthesised, both are the same text.
        prop_assert_eq!(shape(&expr), shape(&again), "{}", expr);
    }

    #[test]
    fn what_parses_prints_and_parses_again(text in soup()) {
        if let Ok(expr) = parse_with(&text, Syntax::experimental()) {
            let printed = expr.to_string();
            let again = parse_with(&printed, Syntax::experimental());
            prop_assert_eq!(again.map(|expr| expr.to_string()), Ok(printed));
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.line <= 1 && error.column as usize <= text.len() + 1);
        }
    }
}

#[test]
fn a_selector_alone_may_select_everything() {
    for (text, count, all) in [(" { } ", 0, true), ("{a!=\"b\"}", 1, true), ("up", 1, false), ("{a=~\".+\"}", 1, false)]
    {
        let matchers = parse_selector(text).unwrap();
        assert_eq!((matchers.len(), selects_all(&matchers)), (count, all), "{text}");
    }
    for text in ["{", "x{", "1+1", "up[5m]", "up offset 5m", "sum({})"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
}
