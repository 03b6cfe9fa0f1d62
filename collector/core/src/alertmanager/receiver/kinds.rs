//! All kinds of integrations that Alertmanager knows, with the keys of each.
//!
//! A kind that is not supported yet is still checked: its mistakes are told together with the fact that it cannot be used.

use watchfire_shared::document::{Node, Report, Table};

use super::{IntegrationConfig, discord, email, msteamsv2, opsgenie, pagerduty, pushover, slack, telegram, webhook};
use crate::alertmanager::Global;

/// One kind of integration.
#[derive(Debug)]
pub struct Kind {
    /// The key in a receiver: `slack_configs`.
    pub key: &'static str,
    pub name: &'static str,
    support: Support,
}

type Read = fn(&Node, &Global, &mut Report) -> Option<(bool, IntegrationConfig)>;

#[derive(Debug)]
enum Support {
    Full(Read),
    /// Known, but not supported: its keys beside `send_resolved` and `http_config`, keys of which at most one may be set, and
    /// keys of which one must be set, here or in `global`.
    Keys {
        keys: &'static [&'static str],
        at_most_one: &'static [&'static [&'static str]],
        needs: &'static [Need],
    },
}

/// Keys of which at least one must be set, or else one of those in `global`.
#[derive(Debug)]
struct Need {
    own: &'static [&'static str],
    global: &'static [&'static str],
}

const fn need(own: &'static [&'static str], global: &'static [&'static str]) -> Need {
    Need { own, global }
}

const fn known(
    key: &'static str,
    name: &'static str,
    keys: &'static [&'static str],
    at_most_one: &'static [&'static [&'static str]],
    needs: &'static [Need],
) -> Kind {
    Kind { key, name, support: Support::Keys { keys, at_most_one, needs } }
}

/// Every kind.
pub const KINDS: &[Kind] = &[
    Kind { key: "webhook_configs", name: "webhook", support: Support::Full(webhook::read) },
    Kind { key: "slack_configs", name: "slack", support: Support::Full(slack::read) },
    Kind { key: "email_configs", name: "email", support: Support::Full(email::read) },
    Kind { key: "pagerduty_configs", name: "pagerduty", support: Support::Full(pagerduty::read) },
    Kind { key: "opsgenie_configs", name: "opsgenie", support: Support::Full(opsgenie::read) },
    Kind { key: "telegram_configs", name: "telegram", support: Support::Full(telegram::read) },
    Kind { key: "discord_configs", name: "discord", support: Support::Full(discord::read) },
    known(
        "msteams_configs",
        "msteams",
        &["webhook_url", "webhook_url_file", "title", "summary", "text"],
        &[&["webhook_url", "webhook_url_file"]],
        &[need(&["webhook_url", "webhook_url_file"], &[])],
    ),
    Kind { key: "msteamsv2_configs", name: "msteamsv2", support: Support::Full(msteamsv2::read) },
    Kind { key: "pushover_configs", name: "pushover", support: Support::Full(pushover::read) },
    known(
        "sns_configs",
        "sns",
        &[
            "api_url",
            "sigv4",
            "topic_arn",
            "phone_number",
            "target_arn",
            "subject",
            "message",
            "attributes",
            "use_aws_http_client",
        ],
        &[&["topic_arn", "phone_number", "target_arn"]],
        &[need(&["topic_arn", "phone_number", "target_arn"], &[])],
    ),
    known(
        "victorops_configs",
        "victorops",
        &[
            "api_key",
            "api_key_file",
            "api_url",
            "routing_key",
            "message_type",
            "state_message",
            "entity_display_name",
            "monitoring_tool",
            "custom_fields",
        ],
        &[&["api_key", "api_key_file"]],
        &[need(&["routing_key"], &[]), need(&["api_key", "api_key_file"], &["victorops_api_key"])],
    ),
    known("webex_configs", "webex", &["api_url", "message", "room_id"], &[], &[need(&["room_id"], &[])]),
    known(
        "jira_configs",
        "jira",
        &[
            "api_url",
            "api_type",
            "project",
            "summary",
            "description",
            "labels",
            "priority",
            "issue_type",
            "reopen_transition",
            "resolve_transition",
            "wont_fix_resolution",
            "reopen_duration",
            "fields",
        ],
        &[],
        &[need(&["project"], &[]), need(&["issue_type"], &[]), need(&["api_url"], &["jira_api_url"])],
    ),
    known(
        "rocketchat_configs",
        "rocketchat",
        &[
            "api_url",
            "token",
            "token_file",
            "token_id",
            "token_id_file",
            "channel",
            "color",
            "title",
            "title_link",
            "text",
            "fields",
            "short_fields",
            "emoji",
            "icon_url",
            "image_url",
            "thumb_url",
            "link_names",
            "actions",
        ],
        &[&["token", "token_file"], &["token_id", "token_id_file"]],
        &[
            need(&["token", "token_file"], &["rocketchat_token"]),
            need(&["token_id", "token_id_file"], &["rocketchat_token_id"]),
        ],
    ),
    known(
        "mattermost_configs",
        "mattermost",
        &[
            "webhook_url",
            "webhook_url_file",
            "channel",
            "username",
            "text",
            "fallback",
            "color",
            "pretext",
            "author_name",
            "author_link",
            "author_icon",
            "title",
            "title_link",
            "fields",
            "thumb_url",
            "image_url",
            "icon_url",
            "footer",
            "footer_icon",
            "icon_emoji",
            "attachments",
            "type",
            "props",
            "priority",
        ],
        &[&["webhook_url", "webhook_url_file"]],
        &[need(&["webhook_url", "webhook_url_file"], &["mattermost_webhook_url"])],
    ),
    known(
        "wechat_configs",
        "wechat",
        &[
            "api_secret",
            "api_secret_file",
            "corp_id",
            "api_url",
            "message",
            "message_type",
            "agent_id",
            "to_user",
            "to_party",
            "to_tag",
        ],
        &[&["api_secret", "api_secret_file"]],
        &[
            need(&["api_secret", "api_secret_file"], &["wechat_api_secret"]),
            need(&["corp_id"], &["wechat_api_corp_id"]),
        ],
    ),
    known(
        "incidentio_configs",
        "incidentio",
        &["url", "url_file", "alert_source_token", "alert_source_token_file", "max_alerts", "timeout"],
        &[&["url", "url_file"], &["alert_source_token", "alert_source_token_file"]],
        &[need(&["url", "url_file"], &[])],
    ),
];

impl Kind {
    /// Whether notifications of this kind can be sent.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        matches!(self.support, Support::Full(_))
    }

    /// Reads one integration of this kind: whether resolved alerts are sent, and its settings.
    pub(super) fn read(
        &self,
        node: &Node,
        receiver: &str,
        global: &Global,
        report: &mut Report,
    ) -> Option<(bool, IntegrationConfig)> {
        let (keys, at_most_one, needs) = match &self.support {
            Support::Full(read) => return read(node, global, report),
            Support::Keys { keys, at_most_one, needs } => (keys, at_most_one, needs),
        };
        let mut table = Table::of(node, report)?;
        super::Common::read(&mut table, true, global, report);
        for key in *keys {
            table.node(key);
        }
        let set = |key: &str| table.entry(key).filter(|(_, node)| !node.is_null());
        for group in *at_most_one {
            let given: Vec<_> = group.iter().filter_map(|key| set(key)).collect();
            if let [_, (second, _), ..] = given.as_slice() {
                report.add(second.at, format!("at most one of {} may be set", ticked(group)));
            }
        }
        for need in *needs {
            let here = need.own.iter().any(|key| set(key).is_some());
            if !here && !need.global.iter().any(|key| global.is_set(key)) {
                let what =
                    if let [one] = need.own { format!("`{one}`") } else { format!("one of {}", ticked(need.own)) };
                let elsewhere = if need.global.is_empty() { "" } else { ", or in `global` " };
                report.add(table.at(), format!("{what} must be set{elsewhere}{}", ticked(need.global)));
            }
        }
        table.finish(report);
        report.add(
            node.at,
            format!(
                "the receiver {receiver:?} uses `{}`, but {} notifications are not supported yet",
                self.key, self.name
            ),
        );
        None
    }
}

fn ticked(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
