//! The manners of Prometheus' HTTP API: how parameters are read, and how answers and errors look.

pub(crate) mod answer;

mod json;
mod number;

pub(crate) mod parameters;
pub(crate) mod tree;
