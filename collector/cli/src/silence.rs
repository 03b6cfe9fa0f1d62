//! `watchfire silence`: makes, lists and ends silences, and shows what one would keep quiet.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::{Span, Timestamp};

use crate::client::{Client, ClientArguments, encode};
use crate::output::{Cell, Format, OutputArguments, Page, Printer, Table, Tone, counted, items, text};
use crate::{Failure, alerts, block_on, matching, watch, when};

#[derive(Args)]
pub(crate) struct SilenceArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(subcommand)]
    command: SilenceCommand,
}

#[derive(Subcommand)]
enum SilenceCommand {
    /// Keep alerts that match quiet for some time; prints the silence's id
    Add(AddArguments),
    /// List silences that hold or will hold
    List(ListArguments),
    /// List silences by what stands in their matchers
    Query(FindArguments),
    /// End silences now
    Expire {
        /// Ids as `silence list` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Show which alerts a silence with these matchers would keep quiet now
    Preview {
        /// Conditions on labels, all of which have to hold: `NodeDown zone=eu-1`, `instance=~"web-.*"`
        #[arg(required = true, value_name = "MATCHER")]
        matchers: Vec<String>,
    },
}

#[derive(Args)]
struct AddArguments {
    /// Conditions on labels, all of which have to hold: `NodeDown zone=eu-1`, `instance=~"web-.*"`
    #[arg(required = true, value_name = "MATCHER")]
    matchers: Vec<String>,
    /// For how long, such as `2h`
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", conflicts_with = "end")]
    duration: String,
    /// When it begins, such as `in 30m`, or a time [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// When it ends, such as a time, or `in 3h`
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// Why
    #[arg(short, long)]
    comment: String,
    /// Who [default: the user]
    #[arg(long, env = "USER", hide_env_values = true, default_value = "unknown")]
    by: String,
    /// Change this silence instead of making one; if its matchers differ, it ends and a new one begins
    #[arg(long, value_name = "ID")]
    replace: Option<String>,
}

#[derive(Args)]
struct ListArguments {
    /// Show only silences that may concern alerts with these labels, such as `NodeDown instance=web-1`
    #[arg(value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Show those that have ended too
    #[arg(long)]
    expired: bool,
    /// Print again whenever a silence changes
    #[arg(short, long, conflicts_with = "quiet")]
    watch: bool,
    /// Print nothing but the ids, one on each line
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
}

#[derive(Args)]
struct FindArguments {
    /// Conditions on what the silences' matchers say, such as `NodeDown` or `instance=~"web-.*"`, as amtool has them
    #[arg(value_name = "MATCHER")]
    matchers: Vec<String>,
    /// Show those that have ended too
    #[arg(long)]
    expired: bool,
    /// Print nothing but the ids, one on each line, for `silence expire $(watchfire silence query -q NodeDown)`
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
}

pub(crate) fn run(arguments: &SilenceArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let format = arguments.output.output;
    match &arguments.command {
        SilenceCommand::Add(add) => {
            let body = body(add, when::now())?;
            block_on(make(&client, format, add, &body))?;
        }
        SilenceCommand::List(list) => {
            let labels = matching::parse(&list.labels)?;
            if let Some(other) = labels.iter().find(|matcher| matcher.op != MatchOp::Equal) {
                return Err(Failure::Usage(format!("{other} is no label: expected NAME=VALUE")));
            }
            let path = path(list.expired, &[]);
            if list.quiet {
                return ids(&concerning(&block_on(client.get(&path))?, &labels));
            }
            let fetch = async |client: &Client| client.get(&path).await.map(|all| page(&concerning(&all, &labels)));
            block_on(watch::show(&client, format, list.watch, watch::STATUS, fetch))?;
        }
        SilenceCommand::Query(find) => {
            let path = path(find.expired, &matching::parse(&find.matchers)?);
            if find.quiet {
                return ids(&block_on(client.get(&path))?);
            }
            let fetch = async |client: &Client| client.get(&path).await.map(|found| page(&found));
            block_on(watch::show(&client, format, false, watch::STATUS, fetch))?;
        }
        SilenceCommand::Expire { ids } => block_on(async {
            for id in ids {
                client.delete(&format!("/api/v2/silence/{}", encode(id))).await.map_err(|failure| failure.about(id))?;
            }
            Ok(())
        })?,
        SilenceCommand::Preview { matchers } => {
            let matchers = matching::parse(matchers)?;
            let fetch = async |client: &Client| {
                let mut page = alerts::fetch(client, &matchers, None).await?;
                page.notes = vec![format!("{} would be quiet", counted(page.table.len(), "alert"))];
                Ok(page)
            };
            block_on(watch::show(&client, format, false, watch::STATUS, fetch))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the silences are whose matchers fit these, and those that have ended only if they are wanted.
fn path(expired: bool, matchers: &[Matcher]) -> String {
    let filters = matchers.iter().map(|matcher| format!("&filter={}", encode(&matcher.to_string())));
    format!("/api/v2/silences?expired={expired}{}", filters.collect::<String>())
}

fn ids(silences: &Value) -> Result<ExitCode, Failure> {
    items(silences, "").iter().try_for_each(|silence| crate::write_line(text(silence, "/id")))?;
    Ok(ExitCode::SUCCESS)
}

/// What the API is sent.
fn body(arguments: &AddArguments, now: Timestamp) -> Result<Value, Failure> {
    let matchers = matching::parse(&arguments.matchers)?;
    let time = |text: &String| when::parse(text, now).map_err(Failure::Usage);
    let start = arguments.start.as_ref().map_or(Ok(now), time)?;
    let end = match &arguments.end {
        Some(end) => time(end)?,
        None => start + span(&arguments.duration)?,
    };
    if end <= start || end <= now {
        return Err(Failure::Usage(format!("the silence would end at {end}, which is not after its start or is past")));
    }
    Ok(json!({
        "id": arguments.replace,
        "matchers": matchers.iter().map(matching::shape).collect::<Vec<_>>(),
        "startsAt": start,
        "endsAt": end,
        "createdBy": arguments.by,
        "comment": arguments.comment,
    }))
}

/// A length of time from the command line.
pub(crate) fn span(text: &str) -> Result<Span, Failure> {
    let span = Span::parse(text).ok().filter(|span| span.is_positive());
    span.ok_or_else(|| Failure::Usage(format!("{text:?} is no length of time: expected one such as 30m, 2h or 1d12h")))
}

async fn make(client: &Client, format: Format, arguments: &AddArguments, body: &Value) -> Result<(), Failure> {
    let matchers = matching::parse(&arguments.matchers)?;
    let answer = client.post("/api/v2/silences", body).await?;
    let id = text(&answer, "/silenceID");
    let quiet = alerts::fetch(client, &matchers, None).await?.table.len();
    let value = json!({"id": id, "starts_at": body["startsAt"], "ends_at": body["endsAt"], "alerts": quiet});
    if format == Format::Table {
        // Nothing but the id, so that it can be handed on.
        crate::write_line(id)?;
        crate::tell(&format!("holds until {}, {quiet} alerts match now", text(body, "/endsAt")));
        return Ok(());
    }
    let page = Page { value, table: Table::new(["ID"], [[id.into()]]), notes: Vec::new() };
    Printer::new(format, false).print(&page).map_err(Failure::from_output)
}

/// The silences none of whose matchers speaks against an alert with these labels.
fn concerning(silences: &Value, labels: &[Matcher]) -> Value {
    let fits = |matcher: &Value| {
        let label = labels.iter().find(|label| label.name == text(matcher, "/name"));
        label.is_none_or(|label| matching::read(matcher).is_none_or(|matcher| matcher.matches(&label.value)))
    };
    let fitting = items(silences, "").iter().filter(|silence| items(silence, "/matchers").iter().all(fits));
    fitting.cloned().collect()
}

fn page(silences: &Value) -> Page {
    let row = |silence: &Value| -> [Cell; 7] {
        let state = text(silence, "/status/state");
        let tone = if state == "active" { Tone::Good } else { Tone::Plain };
        let matchers: Vec<String> = items(silence, "/matchers").iter().map(matching::shown).collect();
        [
            text(silence, "/id").into(),
            Cell::new(state, tone),
            matchers.join(",").into(),
            text(silence, "/startsAt").into(),
            text(silence, "/endsAt").into(),
            text(silence, "/createdBy").into(),
            text(silence, "/comment").into(),
        ]
    };
    let headings = ["ID", "STATE", "MATCHERS", "START", "END", "BY", "COMMENT"];
    let table = Table::new(headings, items(silences, "").iter().map(row));
    let notes = if table.len() == 0 { vec!["no silences".to_owned()] } else { Vec::new() };
    Page { table, notes, value: json!({ "items": silences }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_lasts_as_long_as_it_was_told_to() {
        let now = Timestamp::parse_rfc3339("2026-01-01T12:00:00Z").unwrap();
        let add = |duration: &str, start: Option<&str>, end: Option<&str>| {
            let text = |text: &str| text.to_owned();
            let arguments = AddArguments {
                matchers: vec![text("NodeDown"), text("zone=~eu-.")],
                duration: text(duration),
                start: start.map(text),
                end: end.map(text),
                comment: text("why"),
                by: text("me"),
                replace: None,
            };
            body(&arguments, now).map(|body| format!("{}..{}", text_of(&body["startsAt"]), text_of(&body["endsAt"])))
        };
        assert_eq!(add("2h", None, None).unwrap(), "2026-01-01T12:00:00Z..2026-01-01T14:00:00Z");
        assert_eq!(add("2h", Some("in 1h"), None).unwrap(), "2026-01-01T13:00:00Z..2026-01-01T15:00:00Z");
        assert_eq!(add("1h", None, Some("in 3d")).unwrap(), "2026-01-01T12:00:00Z..2026-01-04T12:00:00Z");
        for (duration, start, end, message) in [
            ("soon", None, None, "\"soon\" is no length of time: expected one such as 30m, 2h or 1d12h"),
            ("0", None, None, "\"0\" is no length of time: expected one such as 30m, 2h or 1d12h"),
            (
                "1h",
                Some("2h ago"),
                None,
                "the silence would end at 2026-01-01T11:00:00Z, which is not after its start or is past",
            ),
        ] {
            assert_eq!(add(duration, start, end).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_silence_concerns_alerts_that_it_may_match() {
        let silence = |id: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let matchers: Vec<Value> = matching::parse(&words).unwrap().iter().map(matching::shape).collect();
            json!({"id": id, "matchers": matchers})
        };
        let all = json!([
            silence("1", &["NodeDown", "instance=~web-.*"]),
            silence("2", &["instance!=web-1"]),
            silence("3", &["zone=eu"])
        ]);
        let ids = |labels: &[&str]| {
            let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            let found = concerning(&all, &matching::parse(&labels).unwrap());
            items(&found, "").iter().map(|silence| text(silence, "/id").to_owned()).collect::<String>()
        };
        assert_eq!(ids(&[]), "123");
        assert_eq!(ids(&["NodeDown"]), "123");
        assert_eq!(ids(&["AgentDown"]), "23");
        assert_eq!(ids(&["instance=web-1"]), "13");
        assert_eq!(ids(&["NodeDown", "instance=db-1", "zone=us"]), "2");
    }

    fn text_of(value: &Value) -> &str {
        value.as_str().unwrap()
    }
}
