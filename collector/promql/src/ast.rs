//! The syntax tree of an expression, with the place of every node.
//!
//! A tree is only built by the parser, which has checked types, argument counts and limits; the evaluator relies on it.
//! Its height is bounded by [`watchfire_shared::limits::MAX_QUERY_DEPTH`], so that recursion over it is safe.

use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::{Span, Timestamp};

use crate::func::Function;

mod display;
mod pretty;

pub use pretty::Pretty;

/// Where a node stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// Line of the first byte, from 1.
    pub line: u32,
    /// Byte in the line, from 1.
    pub column: u32,
}

/// An expression.
#[derive(Debug, Clone)]
pub struct Expr {
    pub kind: ExprKind,
    pub place: Place,
    /// Nodes on the longest way down.
    height: usize,
}

/// The kinds of expression.
#[derive(Debug, Clone)]
pub enum ExprKind {
    /// `duration` tells that it was written as one (`5m` for 300).
    Number {
        value: f64,
        duration: bool,
    },
    String(String),
    /// An instant vector selector.
    Selector(Selector),
    /// A range vector selector, `selector[range]`.
    Range {
        selector: Selector,
        range: Length,
    },
    Subquery {
        expr: Box<Expr>,
        range: Length,
        /// The default of the options if absent.
        step: Option<Length>,
        shift: Shift,
    },
    /// `-expr`, or `+expr` with `negative` unset.
    Unary {
        negative: bool,
        expr: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
        /// Comparisons answer 0 or 1 instead of filtering.
        bool_modifier: bool,
        matching: Matching,
    },
    Call {
        function: &'static Function,
        args: Vec<Expr>,
    },
    Aggregate {
        op: AggregateOp,
        expr: Box<Expr>,
        param: Option<Box<Expr>>,
        grouping: Vec<String>,
        without: bool,
    },
    Paren(Box<Expr>),
}

/// A length of time in brackets or after `offset`.
#[derive(Debug, Clone)]
pub enum Length {
    Fixed(Span),
    /// A scalar expression in seconds that knows the query's range and step (experimental).
    Computed(Box<Expr>),
}

/// Which series a selector reads, and when.
#[derive(Debug, Clone)]
pub struct Selector {
    /// The metric name as written before the braces or quoted within; the matcher on `__name__` is in `matchers` too.
    pub name: Option<String>,
    pub matchers: Vec<Matcher>,
    pub shift: Shift,
}

/// When a selector or subquery reads, other than now.
#[derive(Debug, Clone, Default)]
pub struct Shift {
    /// How far back; negative is ahead.
    pub offset: Option<Length>,
    pub at: Option<At>,
}

/// The `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    Time(Timestamp),
    Start,
    End,
}

/// Types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Scalar,
    InstantVector,
    RangeVector,
    String,
}

impl Type {
    /// The name that error messages use.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::InstantVector => "instant vector",
            Self::RangeVector => "range vector",
            Self::String => "string",
        }
    }
}

/// Operators between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    #[must_use]
    pub const fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Greater | Self::Less | Self::GreaterEqual | Self::LessEqual)
    }

    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// How many samples of each side belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// Which samples of two vectors belong together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matching {
    pub cardinality: Cardinality,
    /// `on` if set, otherwise `ignoring`.
    pub on: bool,
    pub labels: Vec<String>,
    /// Labels that `group_left` and `group_right` take over from the other side.
    pub include: Vec<String>,
    /// What stands for a missing sample of the left and of the right side (experimental).
    pub fill: (Option<f64>, Option<f64>),
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    /// Experimental.
    LimitK,
    /// Experimental.
    LimitRatio,
}

impl AggregateOp {
    /// Every operator.
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::TopK,
        Self::BottomK,
        Self::CountValues,
        Self::Quantile,
        Self::LimitK,
        Self::LimitRatio,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether the operator chooses among the samples instead of making one of them.
    #[must_use]
    pub const fn selects(self) -> bool {
        matches!(self, Self::TopK | Self::BottomK | Self::LimitK | Self::LimitRatio)
    }

    /// Whether Prometheus has it behind a feature flag.
    #[must_use]
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::LimitK | Self::LimitRatio)
    }

    /// The type of the argument before the vector, if the operator takes one.
    #[must_use]
    pub const fn param(self) -> Option<Type> {
        match self {
            Self::TopK | Self::BottomK | Self::Quantile | Self::LimitK | Self::LimitRatio => Some(Type::Scalar),
            Self::CountValues => Some(Type::String),
            _ => None,
        }
    }
}

impl Expr {
    pub(crate) fn new(kind: ExprKind, place: Place) -> Self {
        let mut below = 0;
        kind.children(&mut |child| below = below.max(child.height));
        Self { kind, place, height: below + 1 }
    }

    pub(crate) const fn height(&self) -> usize {
        self.height
    }

    /// The type of the expression's value.
    #[must_use]
    pub fn value_type(&self) -> Type {
        match &self.kind {
            ExprKind::Number { .. } => Type::Scalar,
            ExprKind::String(_) => Type::String,
            ExprKind::Selector(_) | ExprKind::Aggregate { .. } => Type::InstantVector,
            ExprKind::Range { .. } | ExprKind::Subquery { .. } => Type::RangeVector,
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.value_type(),
            ExprKind::Call { function, .. } => function.returns,
            ExprKind::Binary { left, right, .. } => {
                let scalar = left.value_type() == Type::Scalar && right.value_type() == Type::Scalar;
                if scalar { Type::Scalar } else { Type::InstantVector }
            }
        }
    }

    /// The expression without the parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        match &self.kind {
            ExprKind::Paren(inner) => inner.unwrapped(),
            _ => self,
        }
    }

    /// Calls `visit` for this node and every node below it, parents first, from left to right.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        self.kind.children(&mut |child| child.walk(visit));
    }

    /// The lengths that this node has itself.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = &Length> {
        let (range, step, shift) = match &self.kind {
            ExprKind::Selector(selector) => (None, None, Some(&selector.shift)),
            ExprKind::Range { selector, range } => (Some(range), None, Some(&selector.shift)),
            ExprKind::Subquery { range, step, shift, .. } => (Some(range), step.as_ref(), Some(shift)),
            _ => (None, None, None),
        };
        range.into_iter().chain(step).chain(shift.and_then(|shift| shift.offset.as_ref()))
    }

    /// Whether it asks for info metrics beyond what its selectors name: `info` without a name reads one by default.
    #[must_use]
    pub fn reads_info_metrics(&self) -> bool {
        let mut found = false;
        self.walk(&mut |expr| {
            found |= matches!(&expr.kind, ExprKind::Call { function, .. } if function.name == "info");
        });
        found
    }

    /// Every selector in the expression, range selectors included, from left to right.
    #[must_use]
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.walk(&mut |expr| {
            if let ExprKind::Selector(selector) | ExprKind::Range { selector, .. } = &expr.kind {
                found.push(selector);
            }
        });
        found
    }
}

impl ExprKind {
    fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            Self::Number { .. } | Self::String(_) | Self::Selector(_) | Self::Range { .. } => {}
            Self::Subquery { expr, .. } | Self::Unary { expr, .. } | Self::Paren(expr) => visit(expr),
            Self::Binary { left, right, .. } => {
                visit(left);
                visit(right);
            }
            Self::Call { args, .. } => args.iter().for_each(visit),
            Self::Aggregate { expr, param, .. } => {
                if let Some(param) = param {
                    visit(param);
                }
                visit(expr);
            }
        }
    }
}
