//! Answers and errors in the shapes of Prometheus' HTTP API.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use watchfire_promql::{Answer, Effort, QueryError};
use watchfire_shared::time::Timestamp;

use super::json;

/// The result of a handler.
pub(crate) type Result<T> = std::result::Result<Success<T>, ApiError>;

/// `{"status":"success","data":...}`.
#[derive(Serialize)]
pub(crate) struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
}

impl<T> Success<T> {
    pub(crate) fn of(data: T) -> Self {
        Self { status: "success", data, warnings: Vec::new() }
    }

    /// With a remark on what the data is not.
    pub(crate) fn warned(data: T, warning: Option<&'static str>) -> Self {
        Self { status: "success", data, warnings: warning.into_iter().collect() }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// `{"status":"error","errorType":...,"error":...}`, with the status that Prometheus gives to the type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    kind: ErrorKind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    BadData,
    Execution,
    Canceled,
    Timeout,
    Internal,
    /// It is switched off.
    Unavailable,
}

impl ErrorKind {
    fn named(self) -> (&'static str, StatusCode) {
        match self {
            Self::BadData => ("bad_data", StatusCode::BAD_REQUEST),
            Self::Execution => ("execution", StatusCode::UNPROCESSABLE_ENTITY),
            // What nginx calls "client closed request"; nobody reads it.
            Self::Canceled => ("canceled", StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)),
            Self::Timeout => ("timeout", StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
            // So it is in Prometheus.
            Self::Unavailable => ("unavailable", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, message)
    }

    /// A parameter that cannot be used.
    pub(crate) fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {message}"))
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match error {
            QueryError::Execution(_) | QueryError::TooManySamples => ErrorKind::Execution,
            QueryError::Cancelled => ErrorKind::Canceled,
            QueryError::Storage(_) => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            status: &'static str,
            error_type: &'static str,
            error: &'a str,
        }
        let (error_type, status) = self.kind.named();
        (status, Json(Body { status: "error", error_type, error: &self.message })).into_response()
    }
}

/// An answer that is JSON already.
pub(crate) struct Encoded(Vec<u8>);

impl IntoResponse for Encoded {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

/// What an evaluation took, for those who ask.
#[derive(Serialize)]
pub(crate) struct Statistics {
    timings: Timings,
    samples: Samples,
}

/// Seconds. What is not measured apart stands in the total.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timings {
    eval_total_time: f64,
    result_sort_time: f64,
    query_preparation_time: f64,
    inner_eval_time: f64,
    exec_queue_time: f64,
    exec_total_time: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    total_queryable_samples: u64,
    peak_samples: usize,
}

impl Statistics {
    /// Of an evaluation that waited for its turn, and then took its time.
    pub(crate) fn new(effort: Effort, queued: Duration, evaluated: Duration) -> Self {
        let evaluated = evaluated.as_secs_f64();
        Self {
            timings: Timings {
                eval_total_time: evaluated,
                result_sort_time: 0.0,
                query_preparation_time: 0.0,
                inner_eval_time: evaluated,
                exec_queue_time: queued.as_secs_f64(),
                exec_total_time: evaluated,
            },
            samples: Samples { total_queryable_samples: effort.samples, peak_samples: effort.peak_samples },
        }
    }
}

/// The answer of a query that was evaluated at `at`.
///
/// # Errors
/// If it would be longer than anybody should have to read.
pub(crate) fn query(
    answer: &Answer,
    at: Timestamp,
    statistics: Option<&Statistics>,
) -> std::result::Result<Encoded, ApiError> {
    let mut out = b"{\"status\":\"success\",\"data\":{".to_vec();
    json::result(&answer.value, at.as_millis(), &mut out).map_err(|_| {
        ApiError::new(ErrorKind::Execution, "the result is too large: select fewer series or fewer points")
    })?;
    if let Some(statistics) = statistics {
        put("stats", statistics, &mut out);
    }
    out.push(b'}');
    for (name, notes) in [("warnings", &answer.warnings), ("infos", &answer.infos)] {
        if !notes.is_empty() {
            put(name, notes, &mut out);
        }
    }
    out.push(b'}');
    Ok(Encoded(out))
}

fn put(name: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    serde_json::to_writer(out, value).expect("texts and numbers can be written to memory");
}

#[cfg(test)]
mod tests {
    use watchfire_promql::{PointSeries, Value};
    use watchfire_shared::labels::Labels;
    use watchfire_shared::sample::Sample;

    use super::*;

    #[test]
    fn answers_have_the_shape_of_prometheus() {
        let labels = Labels::new([("__name__", "up")]);
        let at = Timestamp::from_millis(1_435_781_430_781);
        let check = |value, expected: &str| {
            let effort = Effort { samples: 3, peak_samples: 2 };
            let answer = Answer { value, warnings: Vec::new(), infos: vec!["PromQL info: x".to_owned()], effort };
            let text = String::from_utf8(query(&answer, at, None).unwrap().0).unwrap();
            assert_eq!(text, format!("{{\"status\":\"success\",\"data\":{expected},\"infos\":[\"PromQL info: x\"]}}"));
        };
        let sample = Sample { labels: labels.clone(), at, value: 1.0 };
        check(
            Value::Vector(vec![sample]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[1435781430.781,"1"]}]}"#,
        );
        check(
            Value::Matrix(vec![PointSeries { labels, points: vec![(1000, 0.5), (2500, f64::INFINITY)] }]),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1,"0.5"],[2.500,"+Inf"]]}]}"#,
        );
        check(Value::Scalar(2.0), r#"{"resultType":"scalar","result":[1435781430.781,"2"]}"#);
        check(Value::String("a\n".into()), r#"{"resultType":"string","result":[1435781430.781,"a\n"]}"#);
    }
}
