//! `/api/v1/query`, `query_range`, `format_query`, and the lookups of series, labels and label values.
//!
//! Evaluation is computation on a snapshot: it runs on blocking threads, a few at a time, and is given up when its time
//! is over or its client has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use watchfire_collector_core::engine::SnapshotStorage;
use watchfire_promql::ast::ExprKind;
use watchfire_promql::{Answer, Expr, Options, QueryError, Storage, instant, parse, range};
use watchfire_shared::labels::{Labels, is_label_name};
use watchfire_shared::limits::MAX_QUERY_BYTES;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::{Span, Timestamp};

use super::App;
use crate::prometheus::answer::{self, ApiError, ErrorKind, QueryData, Result, Success};
use crate::prometheus::parameters::Parameters;

/// How long a query may take; Prometheus' default is the same.
const MAX_QUERY_TIME: Duration = Duration::from_secs(120);
/// Points per series of a range query, as in Prometheus.
const MAX_POINTS: i64 = 11_000;
/// Samples that one query may hold. At 16 bytes each, and with [`super::MAX_QUERIES`] at a time, a few hundred megabytes.
const MAX_SAMPLES: usize = 10_000_000;

pub(super) async fn query(State(app): State<Arc<App>>, parameters: Parameters) -> Result<QueryData> {
    let at = parameters.time("time")?.unwrap_or_else(|| app.clock.wall());
    let expr = expression(&parameters)?;
    let limit = limit(&parameters)?;
    let lookback = lookback(&parameters)?;
    let evaluate = move |storage: &dyn Storage, options: &Options<'_>| instant(storage, &expr, at, options);
    let answer = evaluated(&app, &parameters, lookback, evaluate).await?;
    Ok(answer::query(limited(answer, limit), at))
}

pub(super) async fn query_range(State(app): State<Arc<App>>, parameters: Parameters) -> Result<QueryData> {
    let start = parameters.required_time("start")?;
    let end = parameters.required_time("end")?;
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let missing = || ApiError::parameter("step", "cannot parse \"\" to a valid duration");
    let step = parameters.duration("step")?.ok_or_else(missing)?;
    if !step.is_positive() {
        let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", message));
    }
    if end.since(start).as_millis() / step.as_millis() > MAX_POINTS {
        let message = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::bad_data(message));
    }
    let expr = expression(&parameters)?;
    let limit = limit(&parameters)?;
    let lookback = lookback(&parameters)?;
    let evaluate = move |storage: &dyn Storage, options: &Options<'_>| range(storage, &expr, start, end, step, options);
    let answer = evaluated(&app, &parameters, lookback, evaluate).await?;
    Ok(answer::query(limited(answer, limit), end))
}

pub(super) async fn format_query(parameters: Parameters) -> Result<String> {
    Ok(Success::of(expression(&parameters)?.to_string()))
}

fn expression(parameters: &Parameters) -> std::result::Result<Expr, ApiError> {
    let text = parameters.get("query").unwrap_or_default();
    if text.len() > MAX_QUERY_BYTES {
        return Err(ApiError::parameter("query", format!("longer than {MAX_QUERY_BYTES} bytes")));
    }
    parse(text).map_err(|error| ApiError::parameter("query", error))
}

fn lookback(parameters: &Parameters) -> std::result::Result<Option<Span>, ApiError> {
    parameters.duration("lookback_delta")
}

/// Evaluates on a blocking thread, within the time that the client asked for.
async fn evaluated(
    app: &App,
    parameters: &Parameters,
    lookback: Option<Span>,
    evaluate: impl FnOnce(&dyn Storage, &Options<'_>) -> std::result::Result<Answer, QueryError> + Send + 'static,
) -> std::result::Result<Answer, ApiError> {
    let asked = parameters.duration("timeout")?.map_or(MAX_QUERY_TIME, Span::to_std);
    let deadline = Instant::now() + asked.min(MAX_QUERY_TIME);
    let busy = || ApiError::new(ErrorKind::Timeout, "query timed out in query queue");
    let place = tokio::time::timeout_at(deadline.into(), app.queries.clone().acquire_owned()).await;
    let place = place.map_err(|_| busy())?.map_err(|_| busy())?;
    let snapshot = SnapshotStorage(app.published.snapshot().await);
    let gone = Gone::default();
    let cancelled = gone.0.clone();
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        let over = || cancelled.load(Ordering::Relaxed) || Instant::now() >= deadline;
        let options = Options { max_samples: MAX_SAMPLES, cancelled: Some(&over), ..Options::default() };
        let options = Options { lookback: lookback.unwrap_or(options.lookback), ..options };
        evaluate(&snapshot, &options)
    });
    let answer = task.await.map_err(|_| ApiError::new(ErrorKind::Internal, "the evaluation failed"))?;
    answer.map_err(|error| match error {
        QueryError::Cancelled => ApiError::new(ErrorKind::Timeout, "query timed out in expression evaluation"),
        error => error.into(),
    })
}

/// Dropped with the request: tells the evaluation that nobody waits for it any more.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn limit(parameters: &Parameters) -> std::result::Result<usize, ApiError> {
    match parameters.get("limit") {
        None => Ok(usize::MAX),
        Some(text) => match text.parse::<usize>() {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
            Err(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
        },
    }
}

const TRUNCATED: &str = "results truncated due to limit";

fn limited(mut answer: Answer, limit: usize) -> Answer {
    use watchfire_promql::Value;
    let cut = match &mut answer.value {
        Value::Vector(samples) if samples.len() > limit => {
            samples.truncate(limit);
            true
        }
        Value::Matrix(series) if series.len() > limit => {
            series.truncate(limit);
            true
        }
        _ => false,
    };
    if cut {
        answer.warnings.push(TRUNCATED.to_owned());
    }
    answer
}

/// What a lookup of series selects: any of several lists of matchers, within a time.
struct Lookup {
    selectors: Vec<Vec<Matcher>>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl Lookup {
    fn of(parameters: &Parameters) -> std::result::Result<Self, ApiError> {
        let selectors = parameters.all("match[]").map(selector).collect::<std::result::Result<_, _>>()?;
        let from = parameters.time("start")?.unwrap_or(Timestamp::MIN);
        let to = parameters.time("end")?.unwrap_or(Timestamp::MAX);
        if to < from {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        Ok(Self { selectors, from, to, limit: limit(parameters)? })
    }

    /// Sorted, each item once, over all selectors; everything if there is none.
    fn collect<T: Ord>(&self, mut select: impl FnMut(&[Matcher]) -> Vec<T>) -> Vec<T> {
        let mut found: Vec<T> = match self.selectors.is_empty() {
            true => select(&[]),
            false => self.selectors.iter().flat_map(|matchers| select(matchers)).collect(),
        };
        found.sort_unstable();
        found.dedup();
        found.truncate(self.limit);
        found
    }
}

fn selector(text: &str) -> std::result::Result<Vec<Matcher>, ApiError> {
    let expr = parse(text).map_err(|error| ApiError::parameter("match[]", error))?;
    match expr.kind {
        ExprKind::Selector(selector) => Ok(selector.matchers),
        _ => Err(ApiError::parameter("match[]", "expected a series selector")),
    }
}

pub(super) async fn series(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Vec<Labels>> {
    let lookup = Lookup::of(&parameters)?;
    if lookup.selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let snapshot = app.published.snapshot().await;
    looked_up(move || lookup.collect(|matchers| snapshot.series(matchers, lookup.from, lookup.to))).await
}

pub(super) async fn labels(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Vec<String>> {
    let lookup = Lookup::of(&parameters)?;
    let snapshot = app.published.snapshot().await;
    looked_up(move || lookup.collect(|matchers| snapshot.label_names(matchers, lookup.from, lookup.to))).await
}

pub(super) async fn label_values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Vec<String>> {
    if !is_label_name(&name) {
        return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
    }
    let lookup = Lookup::of(&parameters)?;
    let snapshot = app.published.snapshot().await;
    looked_up(move || lookup.collect(|matchers| snapshot.label_values(&name, matchers, lookup.from, lookup.to))).await
}

async fn looked_up<T: Send + 'static>(look_up: impl FnOnce() -> Vec<T> + Send + 'static) -> Result<Vec<T>> {
    let task = tokio::task::spawn_blocking(look_up).await;
    task.map(Success::of).map_err(|_| ApiError::new(ErrorKind::Internal, "the lookup failed"))
}
