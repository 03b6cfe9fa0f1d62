//! Threads: what stands above is posted once, each message goes below it, and what stands above is kept up to date.
//!
//! What stands above is either the group's first message or a line of its own that tells how the group went. The line's
//! changes and the reaction at the end are only tried: they must not make a message that people have got go out again.
//!
//! <https://docs.slack.dev/reference/methods/chat.postMessage>, <https://docs.slack.dev/reference/methods/chat.update>,
//! <https://docs.slack.dev/reference/methods/reactions.add>

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};
use watchfire_collector_core::alertmanager::receiver::slack::{POST_MESSAGE, Slack};
use watchfire_collector_core::notify::slack::{KEPT_CHANNEL, KEPT_STATES, KEPT_TS, Thread};
use watchfire_collector_core::notify::{Delivery, DeliveryOutcome, ReceiverData};

use super::{ONLY_NEW, Refusal, UPDATE, call, outcome};
use crate::sender::{Context, failed};

const REACT: &str = "/reactions.add";
/// What names the message above, in a message.
const BELOW: &str = "thread_ts";
/// Errors after which nothing can go below a message any more; a new thread is begun.
const GONE: [&str; 4] = ["thread_not_found", "invalid_thread_ts", "message_not_found", "cannot_reply_to_message"];
/// Lines that are kept; each waits for its first message, of which a group has one at a time.
const MAX_BEGUN: usize = 1024;
/// How long what is only tried may take, and at most which part of the time that is left to the delivery.
const TRIED_FOR: Duration = Duration::from_secs(2);
const TRIED_PART: u32 = 4;

/// A message: when it was posted, which is its id, and its channel.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    ts: String,
    channel: String,
}

/// Lines that were posted for a message that has not got out: the next attempt goes below them instead of another one.
///
/// A line is put down as soon as it stands, for an attempt may end at any wait.
#[derive(Default)]
pub(in crate::sender) struct Begun(Mutex<BTreeMap<String, Place>>);

impl Begun {
    fn get(&self, group: &str) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned()
    }

    fn remove(&self, group: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
    }

    fn put(&self, group: String, place: Place) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(group, place);
        if begun.len() > MAX_BEGUN {
            begun.pop_first();
        }
    }
}

pub(super) async fn send(
    context: &Context,
    slack: &Slack,
    delivery: &Delivery,
    (url, mut message): (&str, Map<String, Value>),
    thread: Value,
) -> DeliveryOutcome {
    let thread: Thread = match serde_json::from_value(thread) {
        Ok(thread) => thread,
        Err(error) => return failed(false, error.to_string()),
    };
    let Some(base) = url.strip_suffix(POST_MESSAGE) else {
        return failed(false, format!("a thread needs a bot, whose URL ends in {POST_MESSAGE}"));
    };
    let group = format!("{} {}", delivery.integration.id(), delivery.group_key);
    let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
    let known = text(BELOW).zip(text("channel")).map(|(ts, channel)| Place { ts, channel });
    let until = Instant::now() + delivery.timeout.to_std();
    let carrier = Carrier { context, slack, base, thread: &thread, group: &group, until };
    // A line that was begun is younger than one that is known.
    let above = context.begun.get(&group).or_else(|| known.clone());
    let stands = above.is_some();
    let posted = match carrier.post(&mut message, above).await {
        // Whatever stood above is gone, for instance because somebody has deleted it.
        Err(Refusal::Slack(error)) if stands && GONE.contains(&error.as_str()) => {
            context.begun.remove(&group);
            message.remove(BELOW);
            carrier.post(&mut message, None).await
        }
        posted => posted,
    };
    match posted {
        Ok(above) => {
            context.begun.remove(&group);
            if known.as_ref() == Some(&above) {
                carrier.refresh(&above).await;
            }
            carrier.react(&above).await;
            let kept = [(KEPT_TS, above.ts), (KEPT_CHANNEL, above.channel), (KEPT_STATES, thread.states.clone())];
            DeliveryOutcome::OkWith(kept.map(|(key, value)| (key.to_owned(), value)).into())
        }
        Err(refusal) => outcome(slack, &message, Err(refusal)),
    }
}

/// Carries one message into a thread.
struct Carrier<'a> {
    context: &'a Context,
    slack: &'a Slack,
    /// Slack's address without the name of a method.
    base: &'a str,
    thread: &'a Thread,
    /// Whose thread it is, in [`Begun`].
    group: &'a str,
    /// When the delivery ends without an answer, and is made again.
    until: Instant,
}

impl Carrier<'_> {
    /// Posts the message below what stands above, which is posted first if it has to be; returns what stands above.
    async fn post(&self, message: &mut Map<String, Value>, above: Option<Place>) -> Result<Place, Refusal> {
        let above = match (above, &self.thread.header) {
            (Some(above), _) => Some(above),
            (None, Some(Value::Object(header))) => {
                let line = place(&self.call(POST_MESSAGE, header).await?)?;
                self.context.begun.put(self.group.to_owned(), line.clone());
                Some(line)
            }
            (None, _) => None,
        };
        if let Some(above) = &above {
            message.insert(BELOW.to_owned(), above.ts.as_str().into());
            message.insert("channel".to_owned(), above.channel.as_str().into());
        }
        let answer = self.call(POST_MESSAGE, message).await?;
        above.map_or_else(|| place(&answer), Ok)
    }

    /// Lets the line tell how the group goes on.
    async fn refresh(&self, above: &Place) {
        let Some(Value::Object(header)) = &self.thread.header else { return };
        let mut change = header.clone();
        change.retain(|key, _| !ONLY_NEW.contains(&key.as_str()));
        change.insert("ts".to_owned(), above.ts.as_str().into());
        change.insert("channel".to_owned(), above.channel.as_str().into());
        self.attempt(UPDATE, &change).await;
    }

    async fn react(&self, above: &Place) {
        let Some(emoji) = &self.thread.emoji else { return };
        let reaction = json!({ "channel": above.channel, "timestamp": above.ts, "name": emoji });
        let Value::Object(reaction) = reaction else { return };
        self.attempt(REACT, &reaction).await;
    }

    /// Calls a method whose failure is only told. People have the message, so the delivery must have an answer in time.
    async fn attempt(&self, method: &str, message: &Map<String, Value>) {
        let most = TRIED_FOR.min(self.until.saturating_duration_since(Instant::now()) / TRIED_PART);
        let reason = match timeout(most, self.call(method, message)).await {
            Ok(Err(Refusal::Slack(error))) if error != "already_reacted" => error,
            Ok(Err(Refusal::Other(DeliveryOutcome::Failed { reason, .. }))) => reason,
            Ok(_) => return,
            Err(_) => format!("no answer within {most:?}"),
        };
        tracing::warn!(method, reason, "Slack did not change a thread");
    }

    async fn call(&self, method: &str, message: &Map<String, Value>) -> Result<ReceiverData, Refusal> {
        call(self.context, self.slack, format!("{}{method}", self.base), message).await
    }
}

/// What Slack calls the message that it took.
fn place(answer: &ReceiverData) -> Result<Place, Refusal> {
    match (answer.get(KEPT_TS), answer.get(KEPT_CHANNEL)) {
        (Some(ts), Some(channel)) => Ok(Place { ts: ts.clone(), channel: channel.clone() }),
        _ => Err(Refusal::Other(failed(false, "Slack's answer does not name the message"))),
    }
}
