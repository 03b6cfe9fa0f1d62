//! The functions of the language: one registry, one file per family.
//!
//! A new function is one line in [`FUNCTIONS`] and its code in the file of its family.

use crate::ast::{AggregateOp, Type};
use crate::error::QueryError;
use crate::eval::window::Window;
use crate::eval::{Call, Column, Evaluator};

mod rate;

mod over_time;

mod trend;

mod math;

mod date;

mod label;

mod order;

mod presence;

mod histogram;

mod info;

pub(crate) use over_time::quantile;

/// A function and what it takes.
pub struct Function {
    pub name: &'static str,
    /// Types of the arguments; if some are optional, the last type is theirs.
    pub args: &'static [Type],
    pub optional: Optional,
    pub returns: Type,
    /// Behind a feature flag in Prometheus.
    pub experimental: bool,
    /// The value depends on the time of evaluation even if everything it reads is pinned by `@`.
    pub reads_time: bool,
    pub(crate) run: Run,
}

/// Arguments that may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optional {
    None,
    /// At most so many after the required ones.
    UpTo(usize),
    /// Any number after the required ones.
    Any,
}

/// How a function is evaluated.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// Each sample of the vector on its own.
    Math(fn(f64) -> f64),
    /// The seconds since the epoch that each sample tells, or the time of evaluation.
    Date(fn(i64) -> f64),
    /// Each window of the range vector on its own.
    Window(WindowRun),
    /// Anything else.
    Special(fn(&mut Evaluator<'_>, &Call<'_>) -> Result<Column, QueryError>),
}

/// A function of windows.
#[derive(Clone, Copy)]
pub(crate) struct WindowRun {
    /// Takes a window that is not empty and the scalar arguments in their order; `None` is no sample.
    pub apply: fn(&Window<'_>, [f64; 2]) -> Option<f64>,
    pub keeps_name: bool,
    /// Metrics whose names are no counter's are remarked upon.
    pub expects_counter: bool,
    /// Where first and last values and their times are all that counts, unless a counter was reset.
    pub extrapolation: Option<Extrapolation>,
}

/// The functions that extend the change between a window's first and last sample to its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extrapolation {
    Rate,
    Increase,
    Delta,
}

impl WindowRun {
    /// The function with its scalar arguments, each with a value per step.
    pub(crate) fn with<'p>(&self, params: &'p [Vec<f64>]) -> impl Fn(&Window<'_>, usize) -> Option<f64> + use<'p> {
        let apply = self.apply;
        move |window, index| {
            // No function of windows takes more than two scalars.
            let mut values = [0.0; 2];
            for (value, param) in values.iter_mut().zip(params) {
                *value = param[index];
            }
            apply(window, values)
        }
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Function {
    pub(crate) const fn required(&self) -> usize {
        match self.optional {
            Optional::None => self.args.len(),
            Optional::UpTo(_) | Optional::Any => self.args.len() - 1,
        }
    }

    /// The largest number of arguments, if there is one.
    pub(crate) const fn most(&self) -> Option<usize> {
        match self.optional {
            Optional::None => Some(self.args.len()),
            Optional::UpTo(optional) => Some(self.args.len() - 1 + optional),
            Optional::Any => None,
        }
    }

    /// The type of an argument, counted from 0. Only for functions that take arguments.
    pub(crate) fn arg_type(&self, index: usize) -> Type {
        self.args[index.min(self.args.len() - 1)]
    }

    const fn new(name: &'static str, args: &'static [Type], returns: Type, run: Run) -> Self {
        Self { name, args, optional: Optional::None, returns, experimental: false, reads_time: false, run }
    }

    const fn optional(mut self, optional: Optional) -> Self {
        self.optional = optional;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    const fn extrapolating(mut self, kind: Extrapolation) -> Self {
        if let Run::Window(run) = &mut self.run {
            run.extrapolation = Some(kind);
        }
        self
    }

    const fn reads_time(mut self) -> Self {
        self.reads_time = true;
        self
    }
}

const fn math(name: &'static str, apply: fn(f64) -> f64) -> Function {
    Function::new(name, &[Type::InstantVector], Type::InstantVector, Run::Math(apply))
}

const fn date(name: &'static str, apply: fn(i64) -> f64) -> Function {
    Function::new(name, &[Type::InstantVector], Type::InstantVector, Run::Date(apply))
        .optional(Optional::UpTo(1))
        .reads_time()
}

type Apply = fn(&Window<'_>, [f64; 2]) -> Option<f64>;

const fn window(name: &'static str, apply: Apply) -> Function {
    windows(
        name,
        &[Type::RangeVector],
        WindowRun { apply, keeps_name: false, expects_counter: false, extrapolation: None },
    )
}

const fn windows(name: &'static str, args: &'static [Type], run: WindowRun) -> Function {
    Function::new(name, args, Type::InstantVector, Run::Window(run))
}

const fn counter(name: &'static str, apply: Apply) -> Function {
    windows(
        name,
        &[Type::RangeVector],
        WindowRun { apply, keeps_name: false, expects_counter: true, extrapolation: None },
    )
}

const fn keeping(name: &'static str, apply: Apply) -> Function {
    windows(
        name,
        &[Type::RangeVector],
        WindowRun { apply, keeps_name: true, expects_counter: false, extrapolation: None },
    )
}

type SpecialRun = fn(&mut Evaluator<'_>, &Call<'_>) -> Result<Column, QueryError>;

const fn special(name: &'static str, args: &'static [Type], returns: Type, run: SpecialRun) -> Function {
    Function::new(name, args, returns, Run::Special(run))
}

const VECTOR: Type = Type::InstantVector;
const RANGE: Type = Type::RangeVector;
const SCALAR: Type = Type::Scalar;
const TEXT: Type = Type::String;

/// Every function, by name.
pub static FUNCTIONS: &[Function] = &[
    math("abs", f64::abs),
    special("absent", &[VECTOR], VECTOR, presence::absent),
    special("absent_over_time", &[RANGE], VECTOR, presence::absent_over_time),
    math("acos", f64::acos),
    math("acosh", f64::acosh),
    math("asin", f64::asin),
    math("asinh", f64::asinh),
    math("atan", f64::atan),
    math("atanh", f64::atanh),
    window("avg_over_time", over_time::avg),
    math("ceil", f64::ceil),
    window("changes", rate::changes),
    special("clamp", &[VECTOR, SCALAR, SCALAR], VECTOR, math::clamp),
    special("clamp_max", &[VECTOR, SCALAR], VECTOR, math::clamp_max),
    special("clamp_min", &[VECTOR, SCALAR], VECTOR, math::clamp_min),
    math("cos", f64::cos),
    math("cosh", f64::cosh),
    window("count_over_time", over_time::count),
    date("day_of_month", date::day_of_month),
    date("day_of_week", date::day_of_week),
    date("day_of_year", date::day_of_year),
    date("days_in_month", date::days_in_month),
    math("deg", f64::to_degrees),
    window("delta", rate::delta).extrapolating(Extrapolation::Delta),
    window("deriv", trend::deriv),
    special("double_exponential_smoothing", &[RANGE, SCALAR, SCALAR], VECTOR, trend::double_exponential_smoothing)
        .experimental(),
    special("end", &[], SCALAR, presence::end).reads_time().experimental(),
    math("exp", f64::exp),
    keeping("first_over_time", over_time::first),
    math("floor", f64::floor),
    special("histogram_fraction", &[SCALAR, SCALAR, VECTOR], VECTOR, histogram::histogram_fraction),
    special("histogram_quantile", &[SCALAR, VECTOR], VECTOR, histogram::histogram_quantile),
    special("histogram_quantiles", &[VECTOR, TEXT, SCALAR, SCALAR], VECTOR, histogram::histogram_quantiles)
        .optional(Optional::UpTo(9))
        .experimental(),
    date("hour", date::hour),
    window("idelta", rate::idelta),
    counter("increase", rate::increase).extrapolating(Extrapolation::Increase),
    special("info", &[VECTOR, VECTOR], VECTOR, info::info).optional(Optional::UpTo(1)).experimental(),
    window("irate", rate::irate),
    special("label_join", &[VECTOR, TEXT, TEXT, TEXT], VECTOR, label::label_join).optional(Optional::Any),
    special("label_replace", &[VECTOR, TEXT, TEXT, TEXT, TEXT], VECTOR, label::label_replace),
    keeping("last_over_time", over_time::last),
    math("ln", f64::ln),
    math("log10", f64::log10),
    math("log2", f64::log2),
    window("mad_over_time", over_time::mad).experimental(),
    special("max_of", &[SCALAR, SCALAR], SCALAR, math::max_of).experimental(),
    window("max_over_time", over_time::max),
    special("min_of", &[SCALAR, SCALAR], SCALAR, math::min_of).experimental(),
    window("min_over_time", over_time::min),
    date("minute", date::minute),
    date("month", date::month),
    special("pi", &[], SCALAR, math::pi),
    windows(
        "predict_linear",
        &[RANGE, SCALAR],
        WindowRun { apply: trend::predict_linear, keeps_name: false, expects_counter: false, extrapolation: None },
    )
    .reads_time(),
    window("present_over_time", over_time::present),
    special("quantile_over_time", &[SCALAR, RANGE], VECTOR, over_time::quantile_over_time),
    math("rad", f64::to_radians),
    special("range", &[], SCALAR, presence::range).reads_time().experimental(),
    counter("rate", rate::rate).extrapolating(Extrapolation::Rate),
    window("resets", rate::resets),
    special("round", &[VECTOR, SCALAR], VECTOR, math::round).optional(Optional::UpTo(1)),
    special("scalar", &[VECTOR], SCALAR, presence::scalar),
    math("sgn", math::sgn),
    math("sin", f64::sin),
    math("sinh", f64::sinh),
    special("sort", &[VECTOR], VECTOR, order::sort),
    special("sort_by_label", &[VECTOR, TEXT], VECTOR, order::sort_by_label).optional(Optional::Any).experimental(),
    special("sort_by_label_desc", &[VECTOR, TEXT], VECTOR, order::sort_by_label_desc)
        .optional(Optional::Any)
        .experimental(),
    special("sort_desc", &[VECTOR], VECTOR, order::sort_desc),
    math("sqrt", f64::sqrt),
    special("start", &[], SCALAR, presence::start).reads_time().experimental(),
    window("stddev_over_time", over_time::stddev),
    window("stdvar_over_time", over_time::stdvar),
    special("step", &[], SCALAR, presence::step).reads_time().experimental(),
    window("sum_over_time", over_time::sum),
    math("tan", f64::tan),
    math("tanh", f64::tanh),
    special("time", &[], SCALAR, presence::time).reads_time(),
    special("timestamp", &[VECTOR], VECTOR, presence::timestamp).reads_time(),
    window("ts_of_first_over_time", over_time::time_of_first).experimental(),
    window("ts_of_last_over_time", over_time::time_of_last).experimental(),
    window("ts_of_max_over_time", over_time::time_of_max).experimental(),
    window("ts_of_min_over_time", over_time::time_of_min).experimental(),
    special("vector", &[SCALAR], VECTOR, presence::vector),
    date("year", date::year),
];

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Why a function that Prometheus has is not one here.
pub(crate) fn unsupported(name: &str) -> Option<&'static str> {
    let native = ["histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev", "histogram_stdvar"];
    native.contains(&name).then_some("it reads native histograms, which are not stored")
}

/// The function or aggregation whose name is most like this one, if any is like it.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let names = FUNCTIONS.iter().map(|function| function.name).chain(AggregateOp::ALL.map(AggregateOp::as_str));
    let scored = names.map(|name| (strsim::jaro_winkler(&lower, name), name));
    // Below this, the words have little in common.
    let close = scored.filter(|(score, _)| *score > 0.8);
    close.max_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_sorted_and_unique() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn functions_of_windows_take_one_range_and_at_most_two_scalars() {
        for function in FUNCTIONS.iter().filter(|function| matches!(function.run, Run::Window(_))) {
            let ranges = function.args.iter().filter(|arg| **arg == RANGE).count();
            assert!(ranges == 1 && function.args.len() <= 3, "{}", function.name);
        }
    }
}
