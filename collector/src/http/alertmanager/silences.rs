//! `/api/v2/silences` and `/api/v2/silence/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use watchfire_collector_core::engine::{self, Input};
use watchfire_collector_core::notify::{Answer, Silence, SilenceError, SilenceState};
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use super::model::{GettableSilence, MatcherShape, PostableSilence, SilenceId};
use super::request::{Body, Filters, Query};
use super::{Refusal, Result};
use crate::http::App;

pub(in crate::http) async fn list(State(app): State<Arc<App>>, query: Query) -> Result<Json<Vec<GettableSilence>>> {
    let filters = Filters::read(&query)?;
    let wanted = |state| match state {
        SilenceState::Active => query.is_on("active"),
        SilenceState::Pending => query.is_on("pending"),
        SilenceState::Expired => query.is_on("expired"),
    };
    let (view, now) = (app.published.view(), app.clock.wall());
    let silences = view.notifications.silences.iter();
    let silences = silences.filter(|silence| wanted(silence.state(now)) && filters.takes_labels(&matched(silence)));
    let mut silences: Vec<&Silence> = silences.collect();
    silences.sort_by_key(|silence| order(silence, now));
    Ok(Json(silences.into_iter().map(|silence| GettableSilence::new(silence, now)).collect()))
}

/// What a filter of silences looks at: the values of their matchers, as if they were labels.
fn matched(silence: &Silence) -> Labels {
    silence.matchers.iter().map(|matcher| (matcher.name.as_str(), matcher.value.as_str())).collect()
}

/// Active ones first, the next to end before others; then pending ones, the next to begin first; then the expired, the
/// last to end first. As `SortSilences` of Alertmanager has it.
fn order(silence: &Silence, now: Timestamp) -> (u8, i64) {
    match silence.state(now) {
        SilenceState::Active => (0, silence.ends_at.as_millis()),
        SilenceState::Pending => (1, silence.starts_at.as_millis()),
        SilenceState::Expired => (2, -silence.ends_at.as_millis()),
    }
}

pub(in crate::http) async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<GettableSilence>> {
    check_id(&id)?;
    let (view, now) = (app.published.view(), app.clock.wall());
    let found = view.notifications.silences.iter().find(|silence| silence.id == id);
    found.map(|silence| Json(GettableSilence::new(silence, now))).ok_or(Refusal::Bare(StatusCode::NOT_FOUND))
}

pub(in crate::http) async fn expire(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<()> {
    check_id(&id)?;
    match answered(&app, Input::ExpireSilence { id }).await? {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::Bare(StatusCode::NOT_FOUND)),
    }
}

pub(in crate::http) async fn set(
    State(app): State<Arc<App>>,
    Body(posted): Body<PostableSilence>,
) -> Result<Json<SilenceId>> {
    let replaces = posted.id.clone().filter(|id| !id.is_empty());
    let silence = read(posted, app.clock.wall())?;
    let input = Input::SetSilence { silence: Box::new(silence), replaces };
    match answered(&app, input).await? {
        Ok(silence_id) => Ok(Json(SilenceId { silence_id })),
        Err(SilenceError::NotFound) => Err(Refusal::Text(StatusCode::NOT_FOUND, SilenceError::NotFound.to_string())),
        Err(error @ (SilenceError::Ended | SilenceError::EndsBeforeItStarts)) => {
            Err(Refusal::bad(format!("Failed to create silence: {error}")))
        }
        Err(error) => Err(Refusal::bad(format!("invalid silence: {error}"))),
    }
}

/// Tells the engine, and waits until what it did is durable and to be seen.
async fn answered(app: &App, input: Input) -> Result<std::result::Result<String, SilenceError>> {
    match app.published.ask(input).await {
        Some((engine::Answer::Notification(Answer::Silence(Ok(id))), false)) => {
            let message = format!("silence {id} holds, but the disk refused it: it ends with this process");
            Err(Refusal::Text(StatusCode::INTERNAL_SERVER_ERROR, message))
        }
        Some((engine::Answer::Notification(Answer::Silence(answer)), _)) => Ok(answer),
        _ => Err(Refusal::Text(StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping".to_owned())),
    }
}

fn check_id(id: &str) -> Result<()> {
    let parts: Vec<&str> = id.split('-').collect();
    let is_uuid = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.chars().all(|char| char.is_ascii_hexdigit()));
    let message = || format!("silenceID in path must be of type uuid: {id:?}");
    if is_uuid { Ok(()) } else { Err(Refusal::invalid(601, message())) }
}

fn read(posted: PostableSilence, now: Timestamp) -> Result<Silence> {
    let missing = |name: &str| Refusal::invalid(602, format!("{name} in body is required"));
    let comment = posted.comment.ok_or_else(|| missing("comment"))?;
    let created_by = posted.created_by.ok_or_else(|| missing("createdBy"))?;
    let ends_at = posted.ends_at.ok_or_else(|| missing("endsAt"))?;
    let matchers = posted.matchers.ok_or_else(|| missing("matchers"))?;
    if matchers.is_empty() {
        return Err(Refusal::invalid(612, "matchers in body should have at least 1 items"));
    }
    let starts_at = posted.starts_at.ok_or_else(|| missing("startsAt"))?;
    Ok(Silence {
        id: new_id(),
        matchers: matchers.into_iter().enumerate().map(|(at, shape)| matcher(at, shape)).collect::<Result<_>>()?,
        starts_at,
        ends_at,
        updated_at: now,
        created_by,
        comment,
        annotations: posted.annotations.unwrap_or_default(),
    })
}

fn matcher(at: usize, shape: MatcherShape) -> Result<Matcher> {
    let read =
        shape.read().map_err(|name| Refusal::invalid(602, format!("matchers.{at}.{name} in body is required")))?;
    read.map_err(|error| Refusal::bad(format!("invalid silence: invalid label matcher {at} in set 0: {error}")))
}

/// A random UUID (RFC 9562, version 4).
fn new_id() -> String {
    let random = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{random:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_uuids() {
        let (one, other) = (new_id(), new_id());
        assert!(one != other && check_id(&one).is_ok() && check_id(&other).is_ok(), "{one} {other}");
        assert_eq!(&one[14..15], "4");
        assert!("89ab".contains(&one[19..20]), "{one}");
        for id in ["", "nope", "00000000-0000-0000-0000-00000000000g", "../../../etc"] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
