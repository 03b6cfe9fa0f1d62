//! Parameters as Prometheus takes them: from the URL, or from the form of a POST.

use axum::extract::{Form, FromRequest, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use watchfire_shared::time::{Span, Timestamp};

use super::answer::ApiError;

/// Names and values in their order; a name may repeat (`match[]`).
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Query(mut pairs) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|rejection| ApiError::bad_data(rejection.body_text()))?;
        if [Method::POST, Method::PUT].contains(request.method()) && is_form(request.headers()) {
            let form = Form::<Vec<(String, String)>>::from_request(request, state).await;
            let Form(mut form) = form.map_err(|rejection| ApiError::bad_data(rejection.body_text()))?;
            // In Go the form's values stand before those of the URL.
            form.append(&mut pairs);
            pairs = form;
        }
        Ok(Self(pairs))
    }
}

/// A body of another type, or none, is no form and says nothing.
fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
impl Parameters {
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }
}

impl Parameters {
    /// The first value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A time: seconds since 1970, fractions included, or RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let parsed = parse_time(text);
        let error = || ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp"));
        parsed.map(Some).ok_or_else(error)
    }

    /// A bound of a lookup, which Prometheus words in its own way.
    pub(crate) fn bound(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let error = || {
            let message = format!("invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
            ApiError::parameter(name, message)
        };
        parse_time(text).map(Some).ok_or_else(error)
    }

    /// A whole number.
    ///
    /// # Errors
    /// Words it as Go's `strconv.Atoi` does.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
    }

    /// How many items are wanted at most; 0 is no limit.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        match self.integer("limit").map_err(|error| ApiError::parameter("limit", error))? {
            None | Some(0) => Ok(usize::MAX),
            Some(limit) => {
                usize::try_from(limit).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
            }
        }
    }

    /// A time that must be given.
    pub(crate) fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let missing = || ApiError::parameter(name, "cannot parse \"\" to a valid timestamp");
        self.time(name)?.ok_or_else(missing)
    }

    /// A duration: seconds, or as Prometheus writes durations.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Span>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let error = || ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration"));
        parse_duration(text).map(Some).ok_or_else(error)
    }
}

/// A duration: seconds, or as Prometheus writes durations.
pub(crate) fn parse_duration(text: &str) -> Option<Span> {
    match text.parse::<f64>() {
        Ok(seconds) => span_of(seconds),
        Err(_) => Span::parse(text).ok(),
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    match text.parse::<f64>() {
        Ok(seconds) => span_of(seconds).map(|span| Timestamp::from_millis(span.as_millis())),
        Err(_) => Timestamp::parse_rfc3339(text),
    }
}

fn span_of(seconds: f64) -> Option<Span> {
    // What Go's 64 bits of nanoseconds hold.
    const MAX_SECONDS: f64 = 9_223_372_036.0;
    (seconds.abs() <= MAX_SECONDS).then(|| Span::from_millis((seconds * 1000.0).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn times_and_durations_read_as_in_prometheus() {
        let good =
            parameters(&[("a", "1435781430.781"), ("b", "2015-07-01T20:10:30Z"), ("c", "1m"), ("d", "0.5"), ("e", "")]);
        assert_eq!(good.time("a"), Ok(Some(Timestamp::from_millis(1_435_781_430_781))));
        assert_eq!(good.time("b"), Ok(Some(Timestamp::from_millis(1_435_781_430_000))));
        assert_eq!(good.duration("c"), Ok(Some(Span::from_seconds(60))));
        assert_eq!(good.duration("d"), Ok(Some(Span::from_millis(500))));
        assert_eq!((good.time("e"), good.time("f")), (Ok(None), Ok(None)));
        for text in ["x", "1e99", "inf", "NaN"] {
            let bad = parameters(&[("time", text)]);
            let message = format!("invalid parameter \"time\": cannot parse {text:?} to a valid timestamp");
            assert_eq!(bad.time("time"), Err(ApiError::bad_data(message)));
        }
    }
}
