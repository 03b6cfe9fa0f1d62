//! `/api/v1/metadata` and `/api/v1/targets/metadata`: what metrics mean, as their senders told.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use watchfire_collector_core::metadata;

use super::App;
use crate::prometheus::answer::{ApiError, Result, Success};
use crate::prometheus::parameters::Parameters;

#[derive(Serialize)]
pub(super) struct Family {
    r#type: &'static str,
    unit: String,
    help: String,
}

impl From<&metadata::Family> for Family {
    fn from(family: &metadata::Family) -> Self {
        Self { r#type: family.kind, unit: family.unit.to_string(), help: family.help.to_string() }
    }
}

/// Families by name; one each, since all senders of a metric mean the same.
pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    parameters: Parameters,
) -> Result<BTreeMap<String, Vec<Family>>> {
    let number = |name: &str| {
        let number = parameters.integer(name).map_err(|_| ApiError::bad_data(format!("{name} must be a number")));
        number.map(|number| number.and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX))
    };
    let limit = number("limit")?;
    let per_metric = number("limit_per_metric")?;
    let wanted = parameters.get("metric");
    let view = app.published.view();
    let families = view.metadata.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let named = families.take(limit).map(|(name, family)| {
        let family = (per_metric > 0).then(|| Family::from(family));
        (name.to_owned(), family.into_iter().collect())
    });
    Ok(Success::of(named.collect()))
}

/// Which target told which metadata is not kept.
pub(super) async fn of_targets() -> Success<[(); 0]> {
    Success::of([])
}
