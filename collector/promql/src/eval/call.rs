//! Function calls: arguments are evaluated as the function's kind asks for.

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::is_stale;

use super::{Column, Evaluator, Row};
use crate::ast::{Expr, Place, Type};
use crate::error::QueryError;
use crate::func::{Function, Run, WindowRun};

/// A call under evaluation.
pub(crate) struct Call<'e> {
    pub function: &'static Function,
    pub args: &'e [Expr],
}

impl Evaluator<'_> {
    pub(super) fn eval_call(&mut self, call: &Call<'_>) -> Result<Column, QueryError> {
        self.names_unused &= matches!(call.function.run, Run::Window(_));
        match call.function.run {
            Run::Math(apply) => {
                let argument = self.eval(&call.args[0])?;
                self.map_rows(argument, apply)
            }
            Run::Date(apply) => self.eval_date(call, apply),
            Run::Window(run) => self.eval_window(call, run),
            Run::Special(run) => run(self, call),
        }
    }

    /// A function of the time that a sample's value tells, or of the time of evaluation.
    fn eval_date(&mut self, call: &Call<'_>, apply: fn(i64) -> f64) -> Result<Column, QueryError> {
        // Fractions of seconds are cut; beyond 64 bits any day is as good as another.
        let apply = |value: f64| if value.is_finite() { apply(value as i64) } else { f64::NAN };
        let Some(argument) = call.args.first() else {
            let values = self.steps.times().map(|time| apply(time as f64 / 1000.0)).collect();
            return Ok(Column::Rows(vec![Row::new(Labels::default(), values)]));
        };
        let argument = self.eval(argument)?;
        self.map_rows(argument, apply)
    }

    fn eval_window(&mut self, call: &Call<'_>, run: WindowRun) -> Result<Column, QueryError> {
        let unused = std::mem::take(&mut self.names_unused);
        let (params, range) = self.window_arguments(call)?;
        let rows = self.window_rows(range, run.extrapolation, run.with(&params))?;
        if run.expects_counter {
            self.note_gauges(&rows, range.place);
        }
        if run.keeps_name { Ok(Column::Rows(rows)) } else { self.nameless(rows, unused).map(Column::Rows) }
    }

    /// The scalar arguments of a function of windows, each with a value per step, and its range vector.
    pub(super) fn window_arguments<'c>(&mut self, call: &Call<'c>) -> Result<(Vec<Vec<f64>>, &'c Expr), QueryError> {
        let mut params = Vec::new();
        for arg in call.args.iter().filter(|arg| arg.value_type() == Type::Scalar) {
            params.push(self.scalar(arg)?);
        }
        let range = call.args.iter().find(|arg| arg.value_type() == Type::RangeVector);
        let range = range.ok_or_else(|| QueryError::Execution("expected a range vector".to_owned()))?;
        Ok((params, range))
    }

    /// Remarks on metrics whose names are not those of counters.
    fn note_gauges(&mut self, rows: &[Row], place: Place) {
        let mut previous = "";
        for row in rows {
            let name = row.labels.metric_name();
            if name != previous && row.values.iter().any(|value| !is_stale(*value)) {
                self.note_gauge(name, place);
                previous = name;
            }
        }
    }

    /// Remarks on a metric whose name is not that of a counter.
    pub(super) fn note_gauge(&mut self, name: &str, place: Place) {
        let counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if !name.is_empty() && !counter {
            let expected = "name does not end in _total/_sum/_count/_bucket";
            self.inform(&format!("metric might not be a counter, {expected}: {name:?}"), place);
        }
    }
}
