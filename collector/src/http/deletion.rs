//! Deleting series before their time, as Prometheus' `/api/v1/admin/tsdb/*` does it.
//!
//! Prometheus has these behind a flag that is off. Here they are taken where other changes that cannot be undone are: on
//! loopback, and never for a page of another site. Elsewhere the answer is the one that Prometheus gives without its flag.
//! Other than there, a selector that the empty series would satisfy is refused, for it says "everything" without meaning
//! it; `{__name__=~".+"}` means it. A proxy on the same host is on loopback, so what it lets through is its own to say.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use watchfire_collector_core::engine::{Answer, Input};
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;
use watchfire_store::{DeleteError, deletable};

use super::App;
use super::lookup::{MAX_SELECTORS, selector};
use crate::prometheus::answer::{ApiError, ErrorKind};
use crate::prometheus::parameters::Parameters;

/// A selector's text before it is read, since reading compiles its expressions: twice the bytes that its matchers may
/// take, so that they may be quoted, and several times the expressions, which may be in values.
const MAX_TEXT_BYTES: usize = 8192;
const MAX_TEXT_EXPRESSIONS: usize = 64;

/// `POST` or `PUT /api/v1/admin/tsdb/delete_series?match[]=&start=&end=`: 204 once it is durable and no query sees the
/// samples any more.
pub(super) async fn delete_series(State(app): State<Arc<App>>, parameters: Parameters) -> Result<StatusCode, ApiError> {
    check_local(&app)?;
    let input = deletion(&parameters)?;
    match app.published.consult(input).await {
        Some(Answer::Deleted(Ok(()))) => Ok(StatusCode::NO_CONTENT),
        Some(Answer::Deleted(Err(error))) => Err(refused(&error)),
        _ => Err(ApiError::new(ErrorKind::Timeout, "the engine did not answer in time; it may delete them later")),
    }
}

/// `POST` or `PUT /api/v1/admin/tsdb/clean_tombstones`: what was deleted is removed from disk from now on.
pub(super) async fn clean_tombstones(State(app): State<Arc<App>>) -> Result<StatusCode, ApiError> {
    check_local(&app)?;
    match app.inbox.send(Input::CleanDeleted).await {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::new(ErrorKind::Internal, "the engine has stopped")),
    }
}

fn check_local(app: &App) -> Result<(), ApiError> {
    if app.is_local {
        return Ok(());
    }
    let message = "admin APIs disabled: they are taken on a loopback address only; bind [http] to 127.0.0.1";
    Err(ApiError::new(ErrorKind::Unavailable, message))
}

fn deletion(parameters: &Parameters) -> Result<Input, ApiError> {
    let count = parameters.all("match[]").count();
    if count == 0 {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let from = parameters.bound("start")?.unwrap_or(Timestamp::MIN);
    let to = parameters.bound("end")?.unwrap_or(Timestamp::MAX);
    if count > MAX_SELECTORS {
        return Err(ApiError::parameter("match[]", format!("more than {MAX_SELECTORS} selectors")));
    }
    let selectors = deletable(parameters.all("match[]").map(to_delete))?;
    Ok(Input::Delete { selectors, from, to })
}

fn to_delete(text: &str) -> Result<Vec<Matcher>, ApiError> {
    let expressions = text.matches("=~").count() + text.matches("!~").count();
    if text.len() > MAX_TEXT_BYTES || expressions > MAX_TEXT_EXPRESSIONS {
        return Err(ApiError::parameter("match[]", "the selector is too long for one that deletes"));
    }
    selector(text).map_err(|error| ApiError::parameter("match[]", error))
}

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        refused(&error)
    }
}

fn refused(error: &DeleteError) -> ApiError {
    match error {
        DeleteError::TooMany { .. } => {
            let way = "POST /api/v1/admin/tsdb/clean_tombstones removes it, and with it these deletions";
            ApiError::new(ErrorKind::Execution, format!("{error}; {way}"))
        }
        DeleteError::TooManyAtOnce { .. }
        | DeleteError::TooLarge { .. }
        | DeleteError::TooManyMatchers { .. }
        | DeleteError::Costly(_) => ApiError::parameter("match[]", error),
        DeleteError::Unsynced(_) => ApiError::new(ErrorKind::Internal, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use watchfire_store::SyncError;

    use super::*;

    fn check(pairs: &[(&str, &str)], message: &str) {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let error = deletion(&Parameters::of(pairs.collect())).unwrap_err();
        assert_eq!(error, ApiError::bad_data(message));
    }

    #[test]
    fn mistakes_are_worded_as_in_prometheus() {
        check(&[("start", "x")], "no match[] parameter provided");
        let time = |name| {
            format!(
                "invalid parameter {name:?}: invalid time value for '{name}': cannot parse \"x\" to a valid timestamp"
            )
        };
        check(&[("match[]", "{"), ("start", "x")], &time("start"));
        check(&[("match[]", "up"), ("end", "x")], &time("end"));
        check(
            &[("match[]", "up"), ("match[]", "{")],
            "invalid parameter \"match[]\": 1:2: parse error: unexpected end of input inside braces",
        );
        check(
            &[("match[]", "{a=~\".*\"}")],
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        );
        let many = format!("{{{}}}", r#"a=~"\w{50}","#.repeat(65));
        let long = format!("{{a={:?}}}", "x".repeat(9000));
        for text in [many, long] {
            let message = "invalid parameter \"match[]\": the selector is too long for one that deletes";
            check(&[("match[]", &text)], message);
        }
        let several = format!("{{{}}}", r#"a=~"x.*","#.repeat(9));
        check(
            &[("match[]", &several)],
            "invalid parameter \"match[]\": the selector has 9 regular expressions; one that deletes may have 8",
        );
        // Together they are more than may stand, and so would never be taken.
        let eight = format!("{{{}}}", r#"a=~"x.*","#.repeat(8));
        check(
            &[("match[]", eight.as_str()); 33],
            "invalid parameter \"match[]\": one call may delete with 256 selectors, one of several regular expressions counted as so many",
        );
    }

    #[test]
    fn refusals_name_the_way_out() {
        let text = |error| format!("{:?}", refused(&error));
        assert!(text(DeleteError::TooMany { standing: 256, limit: 256 }).contains("clean_tombstones"));
        assert!(text(DeleteError::TooLarge { bytes: 5000, limit: 4096 }).contains("4096"));
        assert!(text(DeleteError::Unsynced(SyncError::Full)).contains("the disk is full"));
    }
}
