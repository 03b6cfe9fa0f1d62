//! What a person says to remediation: pause, resume, approve; and what they ask: what would be done about a node.
//!
//! Nobody proves here who they are, so changes are taken on loopback only, and `by` is what the asker says of itself. Each answer
//! waits until the engine has done it and it is durable, or says that it did not.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use watchfire_collector_core::engine::{self, Input};
use watchfire_collector_core::remediation::{
    Answer, Command, MAX_PAUSE, MAX_WORDS_BYTES, Refusal, RunState, Simulation,
};
use watchfire_shared::order::OrderId;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_shell::http::{ListQuery, Problem};

use super::App;
use super::catalogue::check_local;

/// What is said with a pause or its end. All of it may be left out.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Words {
    by: String,
    reason: String,
    /// How long from now; without it until somebody resumes.
    r#for: Option<String>,
}

/// What is said with an approval.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Approval {
    by: String,
}

/// The answer to what was done.
#[derive(Serialize)]
pub(super) struct Done {
    /// Of an attempt that was approved: where it stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<RunState>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// `POST /v1/remediations/pause {"by": "", "reason": "", "for": "2h"}`: nothing begins any more.
pub(super) async fn pause_all(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Done>, Problem> {
    pause(&app, None, &body).await
}

/// The same of one remediation.
pub(super) async fn pause_one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    pause(&app, Some(name), &body).await
}

/// `POST /v1/remediations/resume {"by": ""}`
pub(super) async fn resume_all(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Done>, Problem> {
    resume(&app, None, &body).await
}

/// The same of one remediation.
pub(super) async fn resume_one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    resume(&app, Some(name), &body).await
}

/// `POST /v1/attempts/{id}/approve {"by": ""}`: the attempt begins, if no guard speaks against it by now.
pub(super) async fn approve(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    check_local(&app)?;
    let approval: Approval = read(&body, "expected {\"by\": \"\"}")?;
    let by = named(&approval.by)?;
    let id: OrderId = id.parse().map_err(|error| Problem::bad_request(format!("id: {error}, found {id:?}")))?;
    tell(&app, Command::Approve { id, by }).await
}

/// `GET /v1/remediations/{name}/simulate?node=web-3`: what would be done if the alert fired there.
pub(super) async fn simulate(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    mut query: ListQuery,
) -> Result<Json<Simulation>, Problem> {
    let node = query.text("node");
    query.finish()?;
    let node = node.ok_or_else(|| Problem::bad_request("node: expected the name or the instance of a node"))?;
    match app.published.consult(Input::Simulate { remediation: name, node }).await {
        Some(engine::Answer::Remediation(Answer::Simulated(simulation))) => Ok(Json(*simulation)),
        Some(engine::Answer::Remediation(Answer::Refused(refusal))) => Err(problem(&refusal)),
        _ => Err(stopping()),
    }
}

async fn pause(app: &App, remediation: Option<String>, body: &Bytes) -> Result<Json<Done>, Problem> {
    check_local(app)?;
    let words: Words = read(body, "expected {\"by\": \"\", \"reason\": \"\", \"for\": \"2h\"}")?;
    let until = words.r#for.as_deref().map(|text| end(app.clock.wall(), text)).transpose()?;
    if words.reason.len() > MAX_WORDS_BYTES {
        let detail = format!("reason: {} bytes; at most {MAX_WORDS_BYTES} are allowed", words.reason.len());
        return Err(Problem::bad_request(detail));
    }
    tell(app, Command::Pause { remediation, by: named(&words.by)?, reason: words.reason, until }).await
}

async fn resume(app: &App, remediation: Option<String>, body: &Bytes) -> Result<Json<Done>, Problem> {
    check_local(app)?;
    let words: Approval = read(body, "expected {\"by\": \"\"}")?;
    tell(app, Command::Resume { remediation, by: named(&words.by)? }).await
}

fn read<T: Default + serde::de::DeserializeOwned>(body: &Bytes, expected: &str) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    let read = serde_json::from_slice(body);
    read.map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}; {expected}")))
}

fn named(by: &str) -> Result<String, Problem> {
    match by.len() {
        0 => Ok("somebody".to_owned()),
        1..=MAX_WORDS_BYTES => Ok(by.to_owned()),
        bytes => Err(Problem::bad_request(format!("by: {bytes} bytes; at most {MAX_WORDS_BYTES} are allowed"))),
    }
}

fn end(now: Timestamp, text: &str) -> Result<Timestamp, Problem> {
    let length = Span::parse(text).map_err(|error| Problem::bad_request(format!("for: {error}, found {text:?}")))?;
    if length.is_positive() && length <= MAX_PAUSE {
        return Ok(now + length);
    }
    Err(Problem::bad_request(format!("for: expected more than 0 and at most {MAX_PAUSE}, found {text:?}")))
}

/// Tells the engine, and waits until what it did is durable and to be seen.
async fn tell(app: &App, command: Command) -> Result<Json<Done>, Problem> {
    match app.published.ask(Input::Remediation(command)).await {
        Some((engine::Answer::Remediation(Answer::Refused(refusal)), _)) => Err(problem(&refusal)),
        Some((engine::Answer::Remediation(_), false)) => {
            let detail = "it holds, but the disk refused it: it ends with this process";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "not_durable", detail))
        }
        Some((engine::Answer::Remediation(Answer::Done { state: Some(RunState::Blocked), detail }), true)) => {
            Err(Problem::new(StatusCode::CONFLICT, "blocked", format!("it is approved, and waits: {detail}")))
        }
        Some((engine::Answer::Remediation(Answer::Done { state, detail }), true)) => Ok(Json(Done { state, detail })),
        _ => Err(stopping()),
    }
}

fn problem(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::Unknown { .. } => Problem::new(StatusCode::NOT_FOUND, "not_found", refusal.to_string()),
        Refusal::Conflict(_) => Problem::new(StatusCode::CONFLICT, "conflict", refusal.to_string()),
    }
}

fn stopping() -> Problem {
    let detail = "the collector is stopping, or busy and has not confirmed it; look again before repeating it";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_confirmed", detail)
}
