//! Functions that change labels and leave the values alone.

use watchfire_shared::labels::METRIC_NAME;
use watchfire_shared::matcher::{anchored, expand};

use crate::error::QueryError;
use crate::eval::{Call, Column, Evaluator, Row};

/// Sets a label of every row to what `value` gives, if it gives anything.
fn set_label(rows: Vec<Row>, label: &str, value: impl Fn(&Row) -> Option<String>) -> Result<Column, QueryError> {
    if label.is_empty() {
        return Err(QueryError::Execution(format!("invalid destination label name: {label:?}")));
    }
    let set = |mut row: Row| {
        if let Some(value) = value(&row) {
            row.labels = row.labels.with(label, &value);
            // A name that was just given is meant to stay.
            row.drop_name &= label != METRIC_NAME;
        }
        row
    };
    crate::eval::united(rows.into_iter().map(set).collect()).map(Column::Rows)
}

pub(super) fn label_replace(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let mut texts = Vec::with_capacity(4);
    for arg in &call.args[1..] {
        texts.push(evaluator.text(arg)?);
    }
    let [label, replacement, source, expression] = &texts[..] else {
        return Err(QueryError::Execution("label_replace takes four strings".to_owned()));
    };
    let regex = anchored(expression)
        .map_err(|_| QueryError::Execution(format!("invalid regular expression in label_replace(): {expression}")))?;
    let rows = evaluator.rows(&call.args[0])?;
    set_label(rows, label, |row| {
        let captures = regex.captures(row.labels.value(source))?;
        let mut value = String::new();
        expand(&captures, replacement, &mut value);
        Some(value)
    })
}

pub(super) fn label_join(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let (label, separator) = (evaluator.text(&call.args[1])?, evaluator.text(&call.args[2])?);
    let mut sources = Vec::with_capacity(call.args.len());
    for arg in &call.args[3..] {
        sources.push(evaluator.text(arg)?);
    }
    let rows = evaluator.rows(&call.args[0])?;
    set_label(rows, &label, |row| {
        let values: Vec<&str> = sources.iter().map(|source| row.labels.value(source)).collect();
        Some(values.join(&separator))
    })
}
