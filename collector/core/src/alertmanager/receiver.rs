//! Receivers and their integrations. Each supported kind is a file in this folder; [`KINDS`] is the list of all that
//! Alertmanager knows.

pub mod webhook;

pub mod email;

pub mod slack;

pub mod pagerduty;

pub mod opsgenie;

pub mod telegram;

pub mod discord;

pub mod msteamsv2;

pub mod pushover;

pub mod msteams;

pub mod victorops;

pub mod webex;

pub mod rocketchat;

pub mod mattermost;

pub mod wechat;

pub mod incidentio;

pub mod jira;

pub mod sns;

pub mod field;

mod kinds;

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::http::HttpConfig;
use super::{Global, http, items, route};

pub use discord::Discord;
pub use email::{Email, Smarthost, Threading};
pub use field::Template;
pub use incidentio::IncidentIo;
pub use jira::Jira;
pub use kinds::{KINDS, Kind};
pub use mattermost::Mattermost;
pub use msteams::TeamsConnector;
pub use msteamsv2::Teams;
pub use opsgenie::Opsgenie;
pub use pagerduty::PagerDuty;
pub use pushover::Pushover;
pub use rocketchat::RocketChat;
pub use slack::Slack;
pub use sns::Sns;
pub use telegram::Telegram;
pub use victorops::VictorOps;
pub use webex::Webex;
pub use webhook::Webhook;
pub use wechat::WeChat;

/// A receiver: a name and what is sent to when a route names it. Without integrations it is a place for alerts that nobody
/// wants to hear of.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub name: String,
    pub integrations: Vec<Arc<Integration>>,
    pub labels: BTreeMap<String, String>,
}

/// One way to reach a receiver.
#[derive(Debug, Clone)]
pub struct Integration {
    pub receiver: String,
    /// `webhook`, `email`, ...
    pub kind: &'static str,
    /// Its place among the receiver's integrations of this kind.
    pub index: usize,
    pub send_resolved: bool,
    pub config: IntegrationConfig,
}

/// What the kind needs to know.
#[derive(Debug, Clone)]
pub enum IntegrationConfig {
    Webhook(Box<Webhook>),
    Email(Box<Email>),
    Slack(Box<Slack>),
    PagerDuty(Box<PagerDuty>),
    Opsgenie(Box<Opsgenie>),
    Telegram(Box<Telegram>),
    Discord(Box<Discord>),
    Teams(Box<Teams>),
    Pushover(Box<Pushover>),
    TeamsConnector(Box<TeamsConnector>),
    VictorOps(Box<VictorOps>),
    Webex(Box<Webex>),
    RocketChat(Box<RocketChat>),
    Mattermost(Box<Mattermost>),
    WeChat(Box<WeChat>),
    IncidentIo(Box<IncidentIo>),
    Jira(Box<Jira>),
    Sns(Box<Sns>),
}

/// The longest time that handing over a mail may take. A server that is asked as rarely as once a minute is not hurt, and one
/// that hangs is told apart soon.
const MAIL_TIMEOUT: Span = Span::from_seconds(60);

impl IntegrationConfig {
    /// How long one attempt may take; zero leaves it to the group's interval.
    #[must_use]
    pub fn timeout(&self) -> Span {
        match self {
            Self::Webhook(webhook) => webhook.timeout,
            Self::Slack(slack) => slack.timeout,
            Self::PagerDuty(pagerduty) => pagerduty.timeout,
            Self::Telegram(telegram) => telegram.timeout,
            Self::Email(_) => MAIL_TIMEOUT,
            Self::IncidentIo(incidentio) => incidentio.timeout,
            _ => Span::ZERO,
        }
    }

    /// The texts that are templates.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Webhook(webhook) => webhook.templates(),
            Self::IncidentIo(_) => Vec::new(),
            Self::Email(email) => {
                let Email { to, from, html, text, headers, .. } = &**email;
                [to, from, html, text].into_iter().chain(headers.values()).collect()
            }
            Self::Slack(slack) => slack.templates(),
            Self::PagerDuty(pagerduty) => pagerduty.templates(),
            Self::Opsgenie(opsgenie) => opsgenie.templates(),
            Self::Telegram(telegram) => vec![&telegram.message],
            Self::Discord(discord) => discord.templates(),
            Self::Teams(teams) => teams.templates(),
            Self::Pushover(pushover) => pushover.templates(),
            Self::TeamsConnector(teams) => teams.templates(),
            Self::VictorOps(victorops) => victorops.templates(),
            Self::Webex(webex) => webex.templates(),
            Self::RocketChat(rocketchat) => rocketchat.templates(),
            Self::Mattermost(mattermost) => mattermost.templates(),
            Self::WeChat(wechat) => wechat.templates(),
            Self::Jira(jira) => jira.templates(),
            Self::Sns(sns) => sns.templates(),
        }
    }
}

impl Integration {
    /// `receiver/kind[index]`, which names an integration in the log of notifications and in messages.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}[{}]", self.receiver, self.kind, self.index)
    }
}

/// What every integration may say.
pub(super) struct Common {
    pub(super) send_resolved: bool,
    pub(super) http: Arc<HttpConfig>,
}

impl Common {
    pub(super) fn read(table: &mut Table<'_>, send_resolved: bool, global: &Global, report: &mut Report) -> Self {
        let send_resolved = Self::read_send_resolved(table, send_resolved, report);
        let http = table.optional(report, "http_config", http::read).map_or_else(|| global.http.clone(), Arc::new);
        Self { send_resolved, http }
    }

    /// Of a kind that does not speak HTTP.
    pub(super) fn read_send_resolved(table: &mut Table<'_>, default: bool, report: &mut Report) -> bool {
        table.optional(report, "send_resolved", document::boolean).unwrap_or(default)
    }
}

/// Reads one receiver; with its name but without a value if it holds a mistake.
pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(String, Option<Receiver>)> {
    let mut table = Table::of(node, report)?;
    let name = table.required(report, "name", document::text);
    if name.as_deref() == Some("") {
        report.add(table.at(), "the receiver has no name");
    }
    let called = name.clone().unwrap_or_default();
    let labels = table.optional(report, "labels", route::plain_labels).unwrap_or_default();
    let mut integrations = Vec::new();
    let mut complete = true;
    for kind in KINDS {
        let Some(list) = table.node(kind.key) else { continue };
        for (index, item) in items(list, report).unwrap_or_default().iter().enumerate() {
            match (kind.read)(item, global, report) {
                Some((send_resolved, config)) => integrations.push(Arc::new(Integration {
                    receiver: called.clone(),
                    kind: kind.name,
                    index,
                    send_resolved,
                    config,
                })),
                None => complete = false,
            }
        }
    }
    table.finish(report);
    let name = name?;
    Some((name.clone(), complete.then_some(Receiver { name, integrations, labels })))
}
