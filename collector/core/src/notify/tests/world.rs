//! A pipeline with a disk that forgets nothing it was told, and receivers that do as they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::machine::Machine;
use watchfire_shared::time::{Span, Timestamp};

use crate::alert::Alert;
use crate::alertmanager::{self, Config, matchers};
use crate::notify::{
    Answer, Body, Change, Delivery, DeliveryId, DeliveryOutcome, Effect, Fact, Input, Pipeline, PostedAlert, Saved,
    Silence, TABLES, slack,
};

/// What a receiver does with a delivery.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Accepts,
    /// Fails and may be asked again.
    Fails,
    /// Refuses for good.
    Refuses,
    /// Does not answer until it is told to.
    Hangs,
}

pub(super) struct World {
    configs: Vec<(String, Arc<Config>)>,
    current: Arc<Config>,
    pub(super) pipeline: Pipeline,
    pub(super) now: Timestamp,
    pub(super) disk: BTreeMap<(String, String), Vec<u8>>,
    manners: BTreeMap<String, Manner>,
    hanging: Vec<DeliveryId>,
    /// What receivers got, and what was given up.
    pub(super) trace: Vec<String>,
    pub(super) bodies: Vec<String>,
    pub(super) answers: Vec<Answer>,
}

/// Reads a configuration that has no mistakes.
pub(super) fn config(yaml: &str) -> Arc<Config> {
    Arc::new(alertmanager::parse("script", yaml).unwrap_or_else(|mistakes| panic!("{mistakes:?}")))
}

/// Reads `name=value` pairs; with a prefix such as `annotation:` only those that have it, else only those without any.
fn pairs(words: &[&str], prefix: &str) -> Labels {
    let pair = |word: &&str| {
        let (name, value) = word.split_once('=')?;
        let name = name.strip_prefix(prefix)?;
        (!name.contains(':')).then(|| (name.to_owned(), value.to_owned()))
    };
    words.iter().filter_map(pair).collect()
}

impl World {
    pub(super) fn new(configs: Vec<(String, Arc<Config>)>) -> Self {
        let current = configs[0].1.clone();
        let now = Timestamp::EPOCH;
        Self {
            pipeline: Pipeline::new(now, current.clone(), "http://watch:7960", Vec::new()),
            configs,
            current,
            now,
            disk: BTreeMap::new(),
            manners: BTreeMap::new(),
            hanging: Vec::new(),
            trace: Vec::new(),
            bodies: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Runs one command at its time, after everything that is due before:
    ///
    /// `fire LABELS`, `resolve LABELS`, `annotation:NAME=VALUE`, `since=SPAN` (how long it fires already) and `until=SPAN`
    /// (from now, when it ends unless it is sent again) among the labels;
    /// `accepts|fails|refuses|hangs INTEGRATION`; `answer` (hanging deliveries succeed); `silence ID MATCHERS SPAN`; `expire
    /// ID`; `post LABELS` (as `fire`, from outside); `reload NAME`; `crash`; `confirmed`; `nothing`.
    pub(super) fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [at, command, args @ ..] = words.as_slice() else { panic!("{line}") };
        let at = Timestamp::EPOCH + Span::parse(at).unwrap_or_else(|_| panic!("{line}"));
        self.run_until(at);
        match (*command, args) {
            ("fire" | "resolve", args) => {
                let alert = self.alert(*command == "resolve", args);
                self.input(Input::Alerts(vec![alert]));
            }
            ("accepts", [id]) => drop(self.manners.insert((*id).to_owned(), Manner::Accepts)),
            ("fails", [id]) => drop(self.manners.insert((*id).to_owned(), Manner::Fails)),
            ("refuses", [id]) => drop(self.manners.insert((*id).to_owned(), Manner::Refuses)),
            ("hangs", [id]) => drop(self.manners.insert((*id).to_owned(), Manner::Hangs)),
            ("answer", []) => {
                for id in std::mem::take(&mut self.hanging) {
                    self.input(Input::Delivered { id, outcome: DeliveryOutcome::Ok });
                }
            }
            ("silence", [id, condition, span]) => {
                let silence = Silence {
                    id: (*id).to_owned(),
                    matchers: matchers::parse(condition).unwrap().matchers,
                    starts_at: self.now,
                    ends_at: self.now + Span::parse(span).unwrap(),
                    updated_at: self.now,
                    created_by: "me".to_owned(),
                    comment: "because".to_owned(),
                    annotations: BTreeMap::new(),
                };
                self.input(Input::SetSilence { silence, replaces: None });
                assert_eq!(self.answers.pop(), Some(Answer::Silence(Ok((*id).to_owned()))));
            }
            ("expire", [id]) => {
                self.input(Input::ExpireSilence { id: (*id).to_owned() });
                assert_eq!(self.answers.pop(), Some(Answer::Silence(Ok((*id).to_owned()))));
            }
            ("post", args) => {
                let posted = self.posted(args);
                self.input(Input::Post(vec![posted]));
                assert_eq!(self.answers.pop(), Some(Answer::Posted { refused: Vec::new() }));
            }
            ("reload", [name]) => {
                let (_, config) = self.configs.iter().find(|(own, _)| own == name).unwrap();
                self.current = config.clone();
                self.input(Input::Reload(config.clone()));
            }
            ("crash", []) => self.restart(),
            ("confirmed", []) => self.input(Input::Confirmed { since: self.now }),
            ("nothing", []) => {}
            _ => panic!("{line}"),
        }
    }

    /// As [`Self::alert`], reported by somebody outside.
    fn posted(&self, args: &[&str]) -> PostedAlert {
        let alert = self.alert(false, args);
        let pairs = |labels: &Labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        PostedAlert {
            labels: pairs(&alert.labels),
            annotations: pairs(&alert.annotations),
            starts_at: args.iter().any(|word| word.starts_with("since=")).then_some(alert.starts_at),
            ends_at: alert.ends_at,
            generator_url: alert.generator_url,
        }
    }

    fn alert(&self, resolved: bool, args: &[&str]) -> Alert {
        let labels: Vec<&str> =
            args.iter().copied().filter(|w| !w.starts_with("since=") && !w.starts_with("until=")).collect();
        let span =
            |prefix: &str| args.iter().find_map(|word| word.strip_prefix(prefix)).map(|s| Span::parse(s).unwrap());
        Alert {
            labels: pairs(&labels, ""),
            annotations: pairs(&labels, "annotation:"),
            starts_at: self.now - span("since=").unwrap_or(Span::ZERO),
            ends_at: if resolved { Some(self.now) } else { span("until=").map(|until| self.now + until) },
            timeout: false,
            updated_at: self.now,
            generator_url: "http://g/".to_owned(),
        }
    }

    /// A new process with what the old one had on disk.
    fn restart(&mut self) {
        self.restart_quietly();
        self.input(Input::Wake);
    }

    /// A new process that has not been called yet.
    pub(super) fn restart_quietly(&mut self) {
        self.hanging.clear();
        let saved = |((table, key), value): (&(String, String), &Vec<u8>)| {
            assert!(TABLES.contains(&table.as_str()));
            Saved { table: table.clone(), key: key.clone(), value: value.clone() }
        };
        let saved: Vec<Saved> = self.disk.iter().map(saved).collect();
        self.pipeline = Pipeline::new(self.now, self.current.clone(), "http://watch:7960", saved);
    }

    pub(super) fn run_until(&mut self, until: Timestamp) {
        let mut rounds = 0;
        while let Some(deadline) = self.pipeline.deadline().filter(|deadline| *deadline < until) {
            assert!(deadline >= self.now || self.now == Timestamp::EPOCH, "the deadline is in the past");
            self.now = self.now.max(deadline);
            self.input(Input::Wake);
            rounds += 1;
            assert!(rounds < 100_000, "the pipeline does not come to rest");
        }
        self.now = until;
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.pipeline.handle(self.now, input, &mut effects);
        for delivery in self.commit(effects) {
            self.deliver(&delivery);
        }
    }

    /// Makes the changes durable and notes the facts; returns what may be delivered now.
    pub(super) fn commit(&mut self, effects: Vec<Effect>) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for effect in effects {
            match effect {
                Effect::Save(Change { table, key, value: Some(value) }) => {
                    self.disk.insert((table.to_owned(), key), value);
                }
                Effect::Save(Change { table, key, value: None }) => drop(self.disk.remove(&(table.to_owned(), key))),
                Effect::Deliver(delivery) => deliveries.push(delivery),
                Effect::Answer(answer) => self.answers.push(answer),
                Effect::Fact(Fact::Abandoned { integration, reason, .. }) => {
                    self.note(&format!("{integration} abandoned: {reason}"));
                }
                Effect::Fact(Fact::NotRendered { integration, reason, .. }) => {
                    self.note(&format!("{integration} not rendered: {reason}"));
                }
                Effect::Fact(Fact::UnreadableState { table, key }) => panic!("{table} {key} cannot be read"),
                Effect::Fact(_) => {}
            }
        }
        for delivery in &deliveries {
            let row = ("notify_outbox".to_owned(), format!("{:020}", delivery.id.0));
            assert!(self.disk.contains_key(&row), "a delivery without its intent");
        }
        deliveries
    }

    fn note(&mut self, what: &str) {
        let at = Span::from_millis(self.now.as_millis());
        self.trace.push(format!("{at} {what}"));
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let id = delivery.integration.id();
        let Body::Json(body) = &delivery.body;
        let manner = self.manners.get(&id).copied().unwrap_or(Manner::Accepts);
        let failed = |retry| DeliveryOutcome::Failed { retry, reason: "no".to_owned(), retry_after: None };
        let (how, outcome) = match manner {
            Manner::Accepts if delivery.integration.kind == "slack" => ("", Some(self.slack_answers(body))),
            Manner::Accepts => ("", Some(DeliveryOutcome::Ok)),
            Manner::Fails => (" failed", Some(failed(true))),
            Manner::Refuses => (" refused", Some(failed(false))),
            Manner::Hangs => (" hangs", None),
        };
        self.note(&format!("{id}{how} {}", told(body)));
        self.bodies.push(body.to_string());
        match outcome {
            Some(outcome) => self.input(Input::Delivered { id: delivery.id, outcome }),
            None => self.hanging.push(delivery.id),
        }
    }
}

impl World {
    /// Slack names a message by when it was posted; a changed one keeps its name.
    fn slack_answers(&self, body: &str) -> DeliveryOutcome {
        let message: serde_json::Value = serde_json::from_str(body).unwrap();
        let known = message["ts"].as_str().or(message["thread_ts"].as_str());
        let posted = known.map_or_else(|| self.now.as_millis().to_string(), str::to_owned);
        let states = message["thread"]["states"].as_str().unwrap_or_default().to_owned();
        let data = [(slack::KEPT_TS, posted), (slack::KEPT_CHANNEL, "C1".to_owned()), (slack::KEPT_STATES, states)];
        DeliveryOutcome::OkWith(data.map(|(key, value)| (key.to_owned(), value)).into())
    }
}

/// What a message of Slack says: `posts to #channel: title` or `changes 123 in C1: title`; in a thread, `answers 123 in C1:
/// title`, then the line above and the reaction.
fn told_slack(message: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let channel = text(&message["channel"]);
    let title = text(&message["attachments"][0]["title"]).trim().to_owned();
    let thread = &message["thread"];
    let header = &thread["header"]["attachments"][0];
    let header = header["title"].as_str().map(|title| format!(" | {title} ({})", text(&header["color"])));
    let emoji = thread["emoji"].as_str().map(|emoji| format!(" | {emoji}"));
    let above = header.into_iter().chain(emoji).collect::<String>();
    match (message["ts"].as_str(), message["thread_ts"].as_str()) {
        (Some(ts), _) => format!("changes {ts} in {channel}: {title}"),
        (None, Some(ts)) => format!("answers {ts} in {channel}: {title}{above}"),
        (None, None) => format!("posts to {channel}: {title}{above}"),
    }
}

/// The alerts of a message: `firing A{instance=1} resolved B`.
fn told(body: &str) -> String {
    let message: serde_json::Value = serde_json::from_str(body).unwrap();
    if message["attachments"].is_array() {
        return told_slack(&message);
    }
    if let Some(headers) = message["headers"].as_array() {
        let subject = headers.iter().find(|header| header[0] == "Subject").unwrap();
        return subject[1].as_str().unwrap().to_owned();
    }
    let mut words = Vec::new();
    for status in ["firing", "resolved"] {
        let mut first = true;
        for alert in message["alerts"].as_array().unwrap().iter().filter(|alert| alert["status"] == status) {
            if std::mem::take(&mut first) {
                words.push(status.to_owned());
            }
            let labels: BTreeMap<String, String> = serde_json::from_value(alert["labels"].clone()).unwrap();
            let rest: Vec<String> = labels
                .iter()
                .filter(|(name, _)| *name != "alertname")
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let rest = if rest.is_empty() { String::new() } else { format!("{{{}}}", rest.join(",")) };
            words.push(format!("{}{rest}", labels["alertname"]));
        }
    }
    words.join(" ")
}
