//! The shapes of Alertmanager's answers and bodies.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use watchfire_collector_core::notify::query::{AlertState, AlertView};
use watchfire_collector_core::notify::{Silence, SilenceState};
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::{Span, Timestamp};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Status {
    pub(super) cluster: Cluster,
    pub(super) config: ConfigText,
    /// When the program started; the name is Alertmanager's.
    pub(super) uptime: Timestamp,
    pub(super) version_info: VersionInfo,
}

#[derive(Serialize)]
pub(super) struct Cluster {
    pub(super) status: &'static str,
    pub(super) peers: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct ConfigText {
    pub(super) original: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionInfo {
    pub(super) version: &'static str,
    pub(super) branch: &'static str,
    pub(super) revision: &'static str,
    pub(super) build_user: &'static str,
    pub(super) build_date: &'static str,
    pub(super) go_version: &'static str,
}

#[derive(Serialize)]
pub(in crate::http) struct ReceiverName {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
}

impl ReceiverName {
    pub(super) fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), labels: None }
    }

    /// With the label that Alertmanager gives every receiver.
    pub(super) fn with_labels(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Some([("name".to_owned(), name.to_owned())].into()) }
    }
}

/// An alert as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GettableAlert {
    annotations: Labels,
    ends_at: Timestamp,
    fingerprint: String,
    receivers: Vec<ReceiverName>,
    starts_at: Timestamp,
    status: AlertStatus,
    updated_at: Timestamp,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
    labels: Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertStatus {
    inhibited_by: Vec<String>,
    muted_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

impl GettableAlert {
    /// An alert of the rules has no end of its own: it shows when it would end if the rules fell silent now.
    pub(super) fn new(view: &AlertView, now: Timestamp, resolve_timeout: Span) -> Self {
        Self {
            annotations: view.alert.annotations.clone(),
            ends_at: view.alert.ends_at.unwrap_or(now + resolve_timeout),
            fingerprint: view.fingerprint.to_string(),
            receivers: view.receivers.iter().map(|name| ReceiverName::plain(name)).collect(),
            starts_at: view.alert.starts_at,
            status: AlertStatus {
                inhibited_by: view.inhibited_by.iter().map(ToString::to_string).collect(),
                muted_by: view.muted_by.clone(),
                silenced_by: view.silenced_by.clone(),
                // Alertmanager looks at an alert whenever somebody asks, so nobody sees one unprocessed there.
                state: if view.state == AlertState::Suppressed { "suppressed" } else { "active" },
            },
            updated_at: view.alert.updated_at,
            generator_url: view.alert.generator_url.clone(),
            labels: view.alert.labels.clone(),
        }
    }
}

#[derive(Serialize)]
pub(in crate::http) struct AlertGroup {
    pub(super) alerts: Vec<GettableAlert>,
    pub(super) labels: Labels,
    pub(super) receiver: ReceiverName,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MatcherShape {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_equal: Option<bool>,
    is_regex: Option<bool>,
    name: Option<String>,
    value: Option<String>,
}

impl MatcherShape {
    fn of(matcher: &Matcher) -> Self {
        let (is_equal, is_regex) = match matcher.op {
            MatchOp::Equal => (true, false),
            MatchOp::NotEqual => (false, false),
            MatchOp::Regex => (true, true),
            MatchOp::NotRegex => (false, true),
        };
        let (name, value) = (Some(matcher.name.clone()), Some(matcher.value.clone()));
        Self { is_equal: Some(is_equal), is_regex: Some(is_regex), name, value }
    }

    /// What is missing, or the matcher or why it is none.
    pub(super) fn read(self) -> Result<Result<Matcher, String>, &'static str> {
        let (name, value) = (self.name.ok_or("name")?, self.value.ok_or("value")?);
        let op = match (self.is_equal.unwrap_or(true), self.is_regex.ok_or("isRegex")?) {
            (true, false) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (false, true) => MatchOp::NotRegex,
        };
        if name.is_empty() {
            return Ok(Err("invalid label name \"\"".to_owned()));
        }
        Ok(Matcher::new(name, op, value).map_err(|error| error.to_string()))
    }
}

/// A silence as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GettableSilence {
    id: String,
    status: SilenceStatus,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    comment: String,
    created_by: String,
    ends_at: Timestamp,
    matchers: Vec<MatcherShape>,
    starts_at: Timestamp,
}

#[derive(Serialize)]
struct SilenceStatus {
    state: &'static str,
}

impl GettableSilence {
    pub(super) fn new(silence: &Silence, now: Timestamp) -> Self {
        let state = match silence.state(now) {
            SilenceState::Active => "active",
            SilenceState::Pending => "pending",
            SilenceState::Expired => "expired",
        };
        Self {
            id: silence.id.clone(),
            status: SilenceStatus { state },
            updated_at: silence.updated_at,
            annotations: silence.annotations.clone(),
            comment: silence.comment.clone(),
            created_by: silence.created_by.clone(),
            ends_at: silence.ends_at,
            matchers: silence.matchers.iter().map(MatcherShape::of).collect(),
            starts_at: silence.starts_at,
        }
    }
}

/// A silence as it is asked for; what has to be there is checked by name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PostableSilence {
    #[serde(default)]
    pub(super) id: Option<String>,
    pub(super) matchers: Option<Vec<MatcherShape>>,
    #[serde(default, deserialize_with = "go_time")]
    pub(super) starts_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "go_time")]
    pub(super) ends_at: Option<Timestamp>,
    pub(super) created_by: Option<String>,
    pub(super) comment: Option<String>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Serialize)]
pub(in crate::http) struct SilenceId {
    #[serde(rename = "silenceID")]
    pub(super) silence_id: String,
}

/// An alert as it is reported.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PostableAlert {
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "go_time")]
    pub(super) starts_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "go_time")]
    pub(super) ends_at: Option<Timestamp>,
    #[serde(default, rename = "generatorURL")]
    pub(super) generator_url: Option<String>,
}

/// A time; Go's zero time, which senders put where they have none, is none.
fn go_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let at = Option::<Timestamp>::deserialize(deserializer)?;
    Ok(at.filter(|at| !at.to_string().starts_with("0001-01-01T00:00:00")))
}
