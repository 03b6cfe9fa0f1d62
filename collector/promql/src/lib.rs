//! PromQL with Prometheus 3 semantics: a parser with places, an evaluator over any [`Storage`], and a runner for test
//! scripts.
//!
//! The crate is pure: it knows no clock (the time of evaluation is an argument, a deadline is a hook), no file, and does
//! not know where series come from. Values are floats; native histograms are not supported, and what would need them
//! is refused by the parser.
//!
//! Invariants:
//! - An [`Expr`] exists only if the parser has checked it, so evaluation never meets a wrong type or argument count.
//! - Nothing recurses deeper than the limits in [`watchfire_shared::limits`] allow.
//! - A selector is read once per query, whatever the number of steps.

pub mod ast;

mod lexer;

mod number;

mod parser;

pub mod storage;

pub mod value;

pub mod error;

mod eval;

pub mod func;

pub mod script;

pub use ast::Expr;
pub use error::{ParseError, QueryError};
pub use eval::{Options, instant, range};
pub use number::format_float;
pub use parser::{Syntax, parse, parse_selector, parse_with, selects_all};
pub use script::series::parse_series;
pub use storage::{Selection, Series, Storage, StorageError, Visitor};
pub use value::{Answer, Effort, PointSeries, Value};
