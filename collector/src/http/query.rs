//! `/api/v1/query`, `query_range`, and what needs the parser only: `format_query`, `parse_query`,
//! `query_exemplars`.
//!
//! Evaluation is computation on a snapshot: it runs on blocking threads, a few at a time, and is given up when its time
//! is over or its client has gone. The answer is turned into text there as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use watchfire_collector_core::engine::SnapshotStorage;
use watchfire_promql::ast::{Pretty, Type};
use watchfire_promql::{Answer, Expr, Options, QueryError, Storage, Value, instant, parse, parse_with, range};
use watchfire_shared::limits::MAX_QUERY_BYTES;
use watchfire_shared::time::{Span, Timestamp};

use super::App;
use super::lookup::TRUNCATED;
use crate::prometheus::answer::{self, ApiError, Encoded, ErrorKind, Result, Statistics, Success};
use crate::prometheus::parameters::{Parameters, parse_duration};
use crate::prometheus::tree::tree;

/// How long a query may take; Prometheus' default is the same.
pub(super) const MAX_QUERY_TIME: Duration = Duration::from_secs(120);
/// Points per series of a range query, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

type Evaluated = std::result::Result<Encoded, ApiError>;

pub(super) async fn query(State(app): State<Arc<App>>, parameters: Parameters) -> Evaluated {
    let limit = parameters.limit()?;
    let at = parameters.bound("time")?.unwrap_or_else(|| app.clock.wall());
    let request = Request::of(&parameters, limit, at)?;
    let expr = expression(&app, &parameters)?;
    request.evaluate(&app, move |storage, options| instant(storage, &expr, at, options)).await
}

pub(super) async fn query_range(State(app): State<Arc<App>>, parameters: Parameters) -> Evaluated {
    let limit = parameters.limit()?;
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
    let request = Request::of(&parameters, limit, end)?;
    let expr = expression(&app, &parameters)?;
    if !matches!(expr.value_type(), Type::Scalar | Type::InstantVector) {
        let found = expr.value_type().describe();
        let message = format!("invalid expression type {found:?} for range query, must be Scalar or instant Vector");
        return Err(ApiError::parameter("query", message));
    }
    request.evaluate(&app, move |storage, options| range(storage, &expr, start, end, step, options)).await
}

pub(super) async fn format_query(State(app): State<Arc<App>>, parameters: Parameters) -> Result<String> {
    Ok(Success::of(Pretty(&expression(&app, &parameters)?).to_string()))
}

pub(super) async fn parse_query(State(app): State<Arc<App>>, parameters: Parameters) -> Result<serde_json::Value> {
    Ok(Success::of(tree(&expression(&app, &parameters)?)))
}

/// Exemplars are not kept, so there are none of any query.
pub(super) async fn query_exemplars(parameters: Parameters) -> Result<[(); 0]> {
    let (start, end) = (parameters.bound("start")?, parameters.bound("end")?);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    parse(parameters.get("query").unwrap_or_default()).map_err(|error| ApiError::bad_data(error.to_string()))?;
    Ok(Success::of([]))
}

fn expression(app: &App, parameters: &Parameters) -> std::result::Result<Expr, ApiError> {
    let text = parameters.get("query").unwrap_or_default();
    if text.len() > MAX_QUERY_BYTES {
        return Err(ApiError::parameter("query", format!("longer than {MAX_QUERY_BYTES} bytes")));
    }
    parse_with(text, app.reloader.last().settings.syntax).map_err(|error| ApiError::parameter("query", error))
}

/// What a client asks of an evaluation besides the expression.
struct Request {
    timeout: Duration,
    lookback: Option<Span>,
    limit: usize,
    statistics: bool,
    /// The time of a result that has none of its own.
    at: Timestamp,
}

impl Request {
    fn of(parameters: &Parameters, limit: usize, at: Timestamp) -> std::result::Result<Self, ApiError> {
        let timeout = parameters.duration("timeout")?.map_or(MAX_QUERY_TIME, Span::to_std);
        let lookback = match parameters.get("lookback_delta") {
            None => None,
            Some(text) => Some(parse_duration(text).ok_or_else(|| {
                let message = "error parsing lookback delta duration: cannot parse";
                ApiError::bad_data(format!("{message} {text:?} to a valid duration"))
            })?),
        };
        Ok(Self {
            timeout: timeout.min(MAX_QUERY_TIME),
            // As in Prometheus, one that is not positive asks for the default.
            lookback: lookback.filter(|lookback| lookback.is_positive()),
            limit,
            statistics: parameters.get("stats").is_some(),
            at,
        })
    }

    /// Evaluates on a blocking thread, within the time that the client asked for.
    async fn evaluate(
        self,
        app: &App,
        evaluate: impl FnOnce(&dyn Storage, &Options<'_>) -> std::result::Result<Answer, QueryError> + Send + 'static,
    ) -> Evaluated {
        let asked = Instant::now();
        let deadline = asked + self.timeout;
        let busy = || ApiError::new(ErrorKind::Timeout, "query timed out in query queue");
        let place = tokio::time::timeout_at(deadline.into(), app.queries.clone().acquire_owned()).await;
        let place = place.map_err(|_| busy())?.map_err(|_| busy())?;
        let snapshot = SnapshotStorage(app.published.snapshot().await);
        let settings = &app.reloader.last().settings;
        let (max_samples, subquery_step) = (settings.max_samples, settings.rules.interval);
        let gone = Gone::default();
        let cancelled = gone.0.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            let began = Instant::now();
            let over = || cancelled.load(Ordering::Relaxed) || Instant::now() >= deadline;
            let options = Options { max_samples, subquery_step, cancelled: Some(&over), ..Options::default() };
            let options = Options { lookback: self.lookback.unwrap_or(options.lookback), ..options };
            let answer = limited(evaluate(&snapshot, &options).map_err(told)?, self.limit);
            let statistics =
                self.statistics.then(|| Statistics::new(answer.effort, began.duration_since(asked), began.elapsed()));
            answer::query(&answer, self.at, statistics.as_ref())
        });
        task.await.map_err(|_| ApiError::new(ErrorKind::Internal, "the evaluation failed"))?
    }
}

/// Whoever is still there to read of a cancelled query had asked for too much time.
fn told(error: QueryError) -> ApiError {
    match error {
        QueryError::Cancelled => ApiError::new(ErrorKind::Timeout, "query timed out in query execution"),
        error => error.into(),
    }
}

/// Dropped with the request: tells the evaluation that nobody waits for it any more.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn limited(mut answer: Answer, limit: usize) -> Answer {
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
