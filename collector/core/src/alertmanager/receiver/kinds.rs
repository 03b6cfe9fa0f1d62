//! All kinds of integrations that Alertmanager knows.

use watchfire_shared::document::{Node, Report};

use super::{
    IntegrationConfig, discord, email, incidentio, jira, mattermost, msteams, msteamsv2, opsgenie, pagerduty, pushover,
    rocketchat, slack, sns, telegram, victorops, webex, webhook, wechat,
};
use crate::alertmanager::Global;

/// One kind of integration.
#[derive(Debug)]
pub struct Kind {
    /// The key in a receiver: `slack_configs`.
    pub key: &'static str,
    pub name: &'static str,
    /// Reads one integration: whether resolved alerts are sent, and its settings.
    pub(super) read: Read,
}

type Read = fn(&Node, &Global, &mut Report) -> Option<(bool, IntegrationConfig)>;

/// Every kind.
pub const KINDS: &[Kind] = &[
    Kind { key: "webhook_configs", name: "webhook", read: webhook::read },
    Kind { key: "slack_configs", name: "slack", read: slack::read },
    Kind { key: "email_configs", name: "email", read: email::read },
    Kind { key: "pagerduty_configs", name: "pagerduty", read: pagerduty::read },
    Kind { key: "opsgenie_configs", name: "opsgenie", read: opsgenie::read },
    Kind { key: "telegram_configs", name: "telegram", read: telegram::read },
    Kind { key: "discord_configs", name: "discord", read: discord::read },
    Kind { key: "msteams_configs", name: "msteams", read: msteams::read },
    Kind { key: "msteamsv2_configs", name: "msteamsv2", read: msteamsv2::read },
    Kind { key: "pushover_configs", name: "pushover", read: pushover::read },
    Kind { key: "sns_configs", name: "sns", read: sns::read },
    Kind { key: "victorops_configs", name: "victorops", read: victorops::read },
    Kind { key: "webex_configs", name: "webex", read: webex::read },
    Kind { key: "jira_configs", name: "jira", read: jira::read },
    Kind { key: "rocketchat_configs", name: "rocketchat", read: rocketchat::read },
    Kind { key: "mattermost_configs", name: "mattermost", read: mattermost::read },
    Kind { key: "wechat_configs", name: "wechat", read: wechat::read },
    Kind { key: "incidentio_configs", name: "incidentio", read: incidentio::read },
];
