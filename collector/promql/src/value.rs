//! What a query answers: values, and remarks about how they came to be.

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::Sample;

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub value: Value,
    /// Texts that begin with `PromQL warning:` and end in the position: the result is probably not what was meant. Others
    /// name what could not be read and is missing from the result.
    pub warnings: Vec<String>,
    /// Texts that begin with `PromQL info:` and end in the position.
    pub infos: Vec<String>,
    pub effort: Effort,
}

/// What an evaluation had to look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Samples that selectors and windows took in, each as often as a step saw it.
    pub samples: u64,
    /// The most samples that were held at a time.
    pub peak_samples: usize,
}

/// A query's value. Instant queries give any of them, range queries a matrix.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar(f64),
    /// In the order that the expression gave (`sort`, `topk`), otherwise in no particular order.
    Vector(Vec<Sample>),
    /// Sorted by labels.
    Matrix(Vec<PointSeries>),
    String(String),
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct PointSeries {
    pub labels: Labels,
    /// Time in milliseconds since the epoch and value, times strictly increasing, never empty.
    pub points: Vec<(i64, f64)>,
}
