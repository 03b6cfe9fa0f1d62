//! `/v1/events`: changes of members as server-sent events.
//!
//! The id of an event is the index of the view that it made, so a client that comes back with `Last-Event-ID` misses
//! nothing as long as the changes are kept. One that missed some gets `event: resync` and reads the members again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream, StreamExt};

use super::Shared;
use super::problem::Problem;
use crate::membership::{Changes, Events, MemberEvent};

/// Proxies close connections that are silent for 30 to 60 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let changes = match headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default()) {
        None => shared.membership.changes(),
        Some(id) => {
            let index = id.parse().map_err(|error| Problem::bad_request(format!("Last-Event-ID: {error}")))?;
            shared.membership.changes_after(index)
        }
    };
    // An id at once, for a client that is cut off before the first change.
    let hello = Event::default().id(changes.at().to_string()).comment("watchfire");
    let events = stream::unfold(changes, next).flat_map(stream::iter);
    let events = stream::once(async { hello }).chain(events).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keepalive")))
}

async fn next(mut changes: Changes) -> Option<(Vec<Event>, Changes)> {
    let events = match changes.next().await? {
        Events::Changes(events) => events.iter().map(|event| described(event)).collect(),
        Events::Lost => vec![Event::default().event("resync").id(changes.at().to_string()).data("{}")],
    };
    Some((events, changes))
}

fn described(event: &MemberEvent) -> Event {
    let data = serde_json::to_string(&event.change).expect("a change of a member always encodes");
    Event::default().event("member").id(event.index.to_string()).data(data)
}
