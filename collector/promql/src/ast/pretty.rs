//! Expressions over several lines: what is longer than a line should be is split at its parts, as Prometheus' `Prettify`
//! splits it.

use std::fmt::{self, Write as _};

use super::display::{aggregation, operator, subquery_suffix};
use super::{Expr, ExprKind};

/// The longest text that is kept on one line, bytes.
const MAX_LINE_BYTES: usize = 100;

/// Shows an expression over as many lines as it wants.
#[derive(Debug)]
pub struct Pretty<'a>(pub &'a Expr);

impl fmt::Display for Pretty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pretty(self.0, 0))
    }
}

fn pretty(expr: &Expr, level: usize) -> String {
    let (line, indent) = (expr.to_string(), "  ".repeat(level));
    let long = line.len() > MAX_LINE_BYTES;
    match &expr.kind {
        // In Prometheus it stands at the margin, too.
        ExprKind::Subquery { .. } if !long => line,
        ExprKind::Subquery { expr: inner, range, step, shift } => {
            pretty(inner, level) + &subquery_suffix(range, step.as_ref(), shift)
        }
        ExprKind::Unary { negative, expr: inner } => {
            let sign = if *negative { "-" } else { "+" };
            format!("{indent}{sign}{}", pretty(inner, level).trim())
        }
        _ if !long => indent + &line,
        ExprKind::Aggregate { op, expr: inner, param, grouping, without } => {
            let mut out = indent.clone() + &aggregation(*op, grouping, *without) + "(\n";
            if let Some(param) = param {
                let _ = writeln!(out, "{},", pretty(param, level + 1));
            }
            out + &pretty(inner, level + 1) + "\n" + &indent + ")"
        }
        ExprKind::Binary { op, left, right, bool_modifier, matching } => {
            let (left, right) = (pretty(left, level + 1), pretty(right, level + 1));
            format!("{left}\n{indent}{}\n{right}", operator(*op, *bool_modifier, matching))
        }
        ExprKind::Call { function, args } if !args.is_empty() => {
            let args: Vec<String> = args.iter().map(|arg| pretty(arg, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", function.name, args.join(",\n"))
        }
        ExprKind::Paren(inner) => format!("{indent}(\n{}\n{indent})", pretty(inner, level + 1)),
        _ => indent + &line,
    }
}

#[cfg(test)]
mod tests {
    use crate::ast::Pretty;
    use crate::parse;

    #[test]
    fn what_fits_no_line_is_split_at_its_parts() {
        let check = |text: &str, expected: &str| {
            let expr = parse(text).unwrap();
            let shown = Pretty(&expr).to_string();
            assert_eq!(shown, expected);
            assert_eq!(parse(&shown).unwrap().to_string(), expr.to_string());
        };
        check("sum(up)by(job)", "sum by (job) (up)");
        let (long, other) =
            ("a_metric_whose_name_is_long{label=\"value of it\"}", "another_one_that_is_no_shorter[5m:1m]");
        check(
            &format!("1 - sum by (job, instance) (rate({other})) / on (job) group_left () -(max({long}))"),
            &format!(
                "  1\n-\n    sum by (job, instance) (rate({other}))\n  / on (job) group_left ()\n    -(max({long}))"
            ),
        );
        check(
            &format!("topk(5, (avg_over_time({other}) + {long} + {long}))"),
            &format!(
                "topk(\n  5,\n  (\n        avg_over_time({other})\n      +\n        {long}\n    +\n      {long}\n  )\n)"
            ),
        );
        check(
            &format!(
                "label_replace(max_over_time(rate({other})[10m:]), \"destination\", \"$1\", \"source\", \"(.*)\")"
            ),
            &format!(
                "label_replace(\n  max_over_time(rate({other})[10m:]),\n  \"destination\",\n  \"$1\",\n  \"source\",\n  \"(.*)\"\n)"
            ),
        );
        check(
            &format!("({long} or {long} or {long})[10m:1m] offset 5m"),
            // A line of exactly a hundred is not too long.
            &format!("(\n    {long} or {long}\n  or\n    {long}\n)[10m:1m] offset 5m"),
        );
    }
}
