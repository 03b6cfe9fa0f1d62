//! `/v1/events`: what happens, as it happens.
//!
//! Server-sent events, or lines of JSON for `Accept: application/x-ndjson`, or one JSON list for
//! `Accept: application/json`. All of them begin behind `?since=` (an event's id, an index of the members, or a time) or
//! `Last-Event-ID`; without, streams begin now, and the list has what is kept. `?topics=` and `?node=` choose. A stream that
//! misses events gets `resync` in their place; a list answers 410.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::KeepAlive;
use axum::response::{IntoResponse, Response, Sse, sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use watchfire_shared::limits::MAX_BLOCKING_WAIT;
use watchfire_shared::time::{Span, Timestamp};

use super::Shared;
use super::list::ListQuery;
use super::problem::Problem;
use crate::journal::{Batch, Event, EventId, Reader, Topic};

/// Proxies close connections that are silent for 30 to 60 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back.
const RETRY: Duration = Duration::from_secs(2);
/// When one of too many streams may try again, seconds.
const RETRY_AFTER: &str = "5";
/// Events of one list, if nothing is said and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What a request asks for.
struct Request {
    since: Option<EventId>,
    /// It is of another life of this program, which may have the same index of members but not these events.
    is_foreign: bool,
    topics: BTreeSet<Topic>,
    nodes: Vec<String>,
    wait: Option<Duration>,
    limit: usize,
}

impl Request {
    fn read(shared: &Shared, parts: &Parts) -> Result<Self, Problem> {
        let mut query = ListQuery::bare(parts)?;
        let since = query.text("since").or_else(|| query.text("index"));
        let last_id = parts.headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default().to_owned());
        // Who comes back asks with the same address as at first, and says how far it got.
        let since = match (last_id, since) {
            (Some(id), _) => Some(id.parse().map_err(|error: String| bad("Last-Event-ID", &error))?),
            (None, Some(since)) => Some(place(shared, &since).map_err(|error| bad("since", &error))?),
            (None, None) => None,
        };
        let is_foreign = since.is_some_and(|since| is_foreign(shared, since));
        let topics = query.words("topics", shared.topics)?.into_iter().collect();
        let nodes = query.texts("node");
        let wait = query.text("wait").map(|text| Span::parse(&text).map_err(|error| bad("wait", &error.to_string())));
        let wait = wait.transpose()?.map(|wait| wait.min(MAX_BLOCKING_WAIT).to_std());
        let limit = query.text("limit").map_or(Ok(DEFAULT_LIMIT), |text| {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| bad("limit", &format!("expected a number from 1 to {MAX_LIMIT}, found {text:?}")))
        })?;
        query.finish()?;
        Ok(Self { since, is_foreign, topics, nodes, wait, limit })
    }

    fn takes(&self, event: &Event) -> bool {
        let is_named = || event.node.as_ref().is_some_and(|node| self.nodes.contains(node));
        (self.topics.is_empty() || self.topics.contains(&event.topic)) && (self.nodes.is_empty() || is_named())
    }
}

fn bad(name: &str, error: &str) -> Problem {
    Problem::bad_request(format!("{name}: {error}"))
}

/// An id, or the one after which the events since a time come.
fn place(shared: &Shared, text: &str) -> Result<EventId, String> {
    match Timestamp::parse_rfc3339(text) {
        Some(time) => Ok(shared.journal.before(time)),
        None => text.parse().map_err(|error| format!("{error}; or a time such as 2026-01-01T00:00:00Z")),
    }
}

/// Whether nothing here has led to this place: an index that was never reached, or an event that was never noted.
fn is_foreign(shared: &Shared, since: EventId) -> bool {
    // The members may be ahead of the record by what is about to be noted.
    since > shared.journal.last() && (since.after > 0 || since.index > shared.membership.view().index)
}

/// How a client wants its events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Stream,
    Lines,
    List,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let kinds = accepted.flat_map(|value| value.split(','));
        let kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let form = |kind: String| match kind.as_str() {
            "text/event-stream" | "text/*" | "*/*" => Some(Self::Stream),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Lines),
            "application/json" => Some(Self::List),
            _ => None,
        };
        kinds.filter_map(form).next().unwrap_or(Self::Stream)
    }
}

pub(super) async fn events(State(shared): State<Arc<Shared>>, parts: Parts) -> Result<Response, Problem> {
    let request = Request::read(&shared, &parts)?;
    let form = Form::of(&parts.headers);
    if form == Form::List {
        return list(&shared, &request).await.map(|list| Json(list).into_response());
    }
    let Some(place) = shared.journal.admit() else {
        let detail = "as many streams of events as are allowed are open; end some, or ask for a list";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail);
        return Ok(([(header::RETRY_AFTER, RETRY_AFTER)], problem).into_response());
    };
    let reader = match request.since {
        Some(_) if request.is_foreign => shared.journal.follow(EventId::default()),
        since => shared.journal.follow(since.unwrap_or_else(|| shared.journal.last())),
    };
    Ok(match form {
        Form::Lines => {
            let body = Body::from_stream(lines(reader, request, place));
            ([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-cache")], body)
                .into_response()
        }
        _ => {
            let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keepalive");
            Sse::new(server_sent(reader, request, place)).keep_alive(keep_alive).into_response()
        }
    })
}

async fn list(shared: &Shared, request: &Request) -> Result<Value, Problem> {
    let journal = &shared.journal;
    let since = request.since.unwrap_or_else(|| journal.oldest());
    if let Some(wait) = request.wait.filter(|_| request.since.is_some() && !request.is_foreign) {
        let mut reader = journal.follow(since);
        let wanted = async {
            while let Some(Batch::Events(events)) = reader.next(&request.topics).await {
                if events.iter().any(|event| request.takes(event)) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(wait, wanted).await;
    }
    let last = journal.last();
    let kept = if request.is_foreign { Batch::Lost } else { journal.after(since) };
    let Batch::Events(mut events) = kept else {
        return Err(Problem::index_gone(format!(
            "the events after {since} are not kept any more, or are of another life of this program; read what holds now and begin again from {last}"
        )));
    };
    events.retain(|event| request.takes(event));
    // Who names no place wants what came last; who does goes on page by page.
    if request.since.is_none() {
        events.drain(..events.len().saturating_sub(request.limit));
    }
    let more = events.len() > request.limit;
    events.truncate(request.limit);
    let end = events.last().filter(|_| more).map_or(last, |event| event.id);
    let items: Vec<Value> = events.iter().map(|event| whole(event)).collect();
    Ok(json!({"index": end.to_string(), "next_cursor": more.then(|| end.to_string()), "items": items}))
}

/// An event with everything that server-sent events have outside of the data.
fn whole(event: &Event) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    json!({"id": event.id.to_string(), "event": event.topic.as_str(), "at": event.at, "data": data})
}

fn server_sent(
    reader: Reader,
    request: Request,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    // An id at once, for a client that is cut off before the first event.
    let hello = sse::Event::default().id(reader.at().to_string()).retry(RETRY).comment("watchfire");
    let show = |batch: Batch, at: EventId, request: &Request| match batch {
        Batch::Lost => vec![sse::Event::default().event("resync").id(at.to_string()).data("{}")],
        Batch::Events(events) => {
            let events = events.iter().filter(|event| request.takes(event));
            let show = |event: &Arc<Event>| {
                sse::Event::default().event(event.topic.as_str()).id(event.id.to_string()).data(&event.data)
            };
            events.map(show).collect()
        }
    };
    stream::once(async { hello }).chain(follow(reader, request, place, show)).map(Ok)
}

fn lines(
    reader: Reader,
    request: Request,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let show = |batch: Batch, at: EventId, request: &Request| match batch {
        Batch::Lost => vec![format!("{}\n", json!({"id": at.to_string(), "event": "resync", "data": {}}))],
        Batch::Events(events) => {
            let events = events.iter().filter(|event| request.takes(event));
            events.map(|event| format!("{}\n", whole(event))).collect()
        }
    };
    let events = follow(reader, request, place, show).map(Bytes::from);
    // An empty line is no event, and keeps the connection.
    let silent = stream::unfold(Box::pin(events), |mut events| async move {
        match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Ok(Some(event)) => Some((event, events)),
            Ok(None) => None,
            Err(_) => Some((Bytes::from_static(b"\n"), events)),
        }
    });
    silent.map(Ok)
}

/// What `show` makes of what comes, for as long as the client takes it; `place` is given back at the end.
fn follow<T>(
    reader: Reader,
    request: Request,
    place: OwnedSemaphorePermit,
    show: impl Fn(Batch, EventId, &Request) -> Vec<T>,
) -> impl Stream<Item = T> {
    let state = (reader, request, place, show);
    stream::unfold(state, async |(mut reader, request, place, show)| {
        let batch = reader.next(&request.topics).await?;
        let shown = show(batch, reader.at(), &request);
        Some((shown, (reader, request, place, show)))
    })
    .flat_map(stream::iter)
}
