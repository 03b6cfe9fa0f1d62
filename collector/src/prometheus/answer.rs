//! Answers and errors in the shapes of Prometheus' HTTP API, and numbers as Go prints them there.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::ser::{SerializeMap, SerializeSeq, SerializeTuple};
use serde::{Serialize, Serializer};
use watchfire_collector_core::template::number::format_float;
use watchfire_promql::{Answer, PointSeries, QueryError, Value};
use watchfire_shared::labels::Labels;
use watchfire_shared::sample::Sample;
use watchfire_shared::time::Timestamp;

/// The result of a handler.
pub(crate) type Result<T> = std::result::Result<Success<T>, ApiError>;

/// `{"status":"success","data":...}`.
#[derive(Serialize)]
pub(crate) struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    infos: Vec<String>,
}

impl<T> Success<T> {
    pub(crate) fn of(data: T) -> Self {
        Self { status: "success", data, warnings: Vec::new(), infos: Vec::new() }
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

/// The `data` of a query: `{"resultType":...,"result":...}`.
pub(crate) struct QueryData {
    value: Value,
    at: Timestamp,
}

/// The answer of a query that was evaluated at `at`.
pub(crate) fn query(answer: Answer, at: Timestamp) -> Success<QueryData> {
    let data = QueryData { value: answer.value, at };
    Success { status: "success", data, warnings: answer.warnings, infos: answer.infos }
}

impl Serialize for QueryData {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match &self.value {
            Value::Scalar(value) => {
                map.serialize_entry("resultType", "scalar")?;
                map.serialize_entry("result", &Point(self.at.as_millis(), *value))?;
            }
            Value::String(text) => {
                map.serialize_entry("resultType", "string")?;
                map.serialize_entry("result", &(Seconds(self.at.as_millis()), text))?;
            }
            Value::Vector(samples) => {
                map.serialize_entry("resultType", "vector")?;
                map.serialize_entry("result", &Each(samples, one_sample))?;
            }
            Value::Matrix(series) => {
                map.serialize_entry("resultType", "matrix")?;
                map.serialize_entry("result", &Each(series, one_series))?;
            }
        }
        map.end()
    }
}

/// A list whose items are serialised through another form of them.
struct Each<'a, T, U>(&'a [T], fn(&'a T) -> U);

impl<'a, T, U: Serialize> Serialize for Each<'a, T, U> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            list.serialize_element(&(self.1)(item))?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct OneSample<'a> {
    metric: &'a Labels,
    value: Point,
}

fn one_sample(sample: &Sample) -> OneSample<'_> {
    OneSample { metric: &sample.labels, value: Point(sample.at.as_millis(), sample.value) }
}

#[derive(Serialize)]
struct OneSeries<'a> {
    metric: &'a Labels,
    values: Each<'a, (i64, f64), Point>,
}

fn one_series(series: &PointSeries) -> OneSeries<'_> {
    OneSeries { metric: &series.labels, values: Each(&series.points, |(at, value)| Point(*at, *value)) }
}

/// `[1435781430.781, "1"]`
struct Point(i64, f64);

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&Seconds(self.0))?;
        pair.serialize_element(&go_float(self.1))?;
        pair.end()
    }
}

/// Milliseconds as a JSON number of seconds: whole ones without a fraction, others with three digits.
struct Seconds(i64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            serializer.serialize_i64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

/// A number as `jsonutil.MarshalFloat` prints it: shortest form, an exponent only below 1e-6 and from 1e21.
pub(crate) fn go_float(value: f64) -> String {
    let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
    format_float(value, if plain { 'f' } else { 'e' }, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_prometheus_prints_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e6, "1000000"),
            (123_456_789.5, "123456789.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (0.000_001, "0.000001"),
            (2.5e-7, "2.5e-07"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(go_float(value), text);
        }
    }

    #[test]
    fn answers_have_the_shape_of_prometheus() {
        let labels = Labels::new([("__name__", "up")]);
        let at = Timestamp::from_millis(1_435_781_430_781);
        let check = |value, expected: &str| {
            let answer = Answer { value, warnings: Vec::new(), infos: vec!["PromQL info: x".to_owned()] };
            let text = serde_json::to_string(&query(answer, at)).unwrap();
            assert_eq!(text, format!("{{\"status\":\"success\",\"data\":{expected},\"infos\":[\"PromQL info: x\"]}}"));
        };
        let sample = Sample { labels: labels.clone(), at, value: 1.0 };
        check(
            Value::Vector(vec![sample]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[1435781430.781,"1"]}]}"#,
        );
        check(
            Value::Matrix(vec![PointSeries { labels, points: vec![(1000, 0.5), (2500, f64::INFINITY)] }]),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1,"0.5"],[2.5,"+Inf"]]}]}"#,
        );
        check(Value::Scalar(2.0), r#"{"resultType":"scalar","result":[1435781430.781,"2"]}"#);
        check(Value::String("a".into()), r#"{"resultType":"string","result":[1435781430.781,"a"]}"#);
    }
}
