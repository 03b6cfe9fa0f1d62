//! `watchfire members`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::{Client, ClientArguments, encode};
use crate::output::{Cell, OutputArguments, Page, Table, Tone, items, labels, number, text};
use crate::{Failure, block_on, watch};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct MembersArguments {
    #[command(subcommand)]
    command: Option<MembersCommand>,
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Show only the member of this name or id, and what is known against it
    #[arg(conflicts_with = "state")]
    name: Option<String>,
    /// Show only members in this state
    #[arg(long, value_parser = ["alive", "suspect", "down", "left", "forgotten"])]
    state: Option<String>,
    /// Show only members of this role
    #[arg(long, value_parser = ["agent", "collector"], conflicts_with = "name")]
    role: Option<String>,
    /// Show only members that fit, such as 'labels.zone=eu-1a,rtt_ms>50'; operators are = != =~ !~ < <= > >=
    #[arg(long, value_name = "CONDITIONS", conflicts_with = "name")]
    filter: Vec<String>,
    /// Whose word to go by: gossip's, that of the collector's reports, or the worse of both
    #[arg(long, value_parser = ["local", "collector", "merged"], conflicts_with = "name")]
    view: Option<String>,
    /// Print again whenever a member changes
    #[arg(short, long)]
    watch: bool,
    /// End with code 3 if a member is suspect or down
    #[arg(long, conflicts_with = "watch")]
    fail_unhealthy: bool,
    /// End with code 3 if no member is shown
    #[arg(long, conflicts_with = "watch")]
    fail_empty: bool,
}

#[derive(Subcommand)]
enum MembersCommand {
    /// Say that a member will not come back: every member lists it no more, and it is expected no more
    Forget {
        #[command(flatten)]
        client: ClientArguments,
        /// The member's name or id
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

pub(crate) fn run(arguments: &MembersArguments) -> Result<ExitCode, Failure> {
    if let Some(MembersCommand::Forget { client, names }) = &arguments.command {
        return forget(&Client::new(client)?, names);
    }
    let client = Client::new(&arguments.client)?;
    let given = [("state", &arguments.state), ("role", &arguments.role), ("view", &arguments.view)];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let filters = arguments.filter.iter().map(|filter| ("filter", filter));
    let parameters: Vec<String> =
        given.chain(filters).map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let sign = if parameters.is_empty() { "" } else { "?" };
    let path = format!("/v1/members{sign}{}", parameters.join("&"));
    let fetch = async |client: &Client| match &arguments.name {
        Some(name) => client.get(&format!("/v1/members/{}", encode(name))).await.map(one),
        None => client.get_list(&path).await.map(page).map_err(|failure| match failure {
            // The words of the others are checked before anything is asked.
            Failure::Invalid(message) if !arguments.filter.is_empty() => Failure::Usage(message),
            failure => failure,
        }),
    };
    let page = block_on(watch::show(&client, arguments.output.output, arguments.watch, watch::MEMBERS, fetch))?;
    let unhealthy = number(&page.value, "/view/suspect") + number(&page.value, "/view/down") > 0
        || matches!(text(&page.value, "/state"), "suspect" | "down");
    let empty = arguments.name.is_none() && items(&page.value, "/items").is_empty();
    Ok(crate::code((arguments.fail_unhealthy && unhealthy) || (arguments.fail_empty && empty)))
}

fn forget(client: &Client, names: &[String]) -> Result<ExitCode, Failure> {
    for name in names {
        block_on(client.post(&format!("/v1/members/{}/forget", encode(name)), &Value::Null))?;
        crate::tell(&format!("{} is forgotten", crate::output::plain(name)));
    }
    Ok(ExitCode::SUCCESS)
}

const HEADINGS: [&str; 7] = ["NAME", "STATE", "ROLE", "ADDRESS", "SINCE", "VERSION", "LABELS"];

fn one(member: Value) -> Page {
    let by: Vec<&str> = items(&member, "/suspected_by").iter().filter_map(Value::as_str).collect();
    let mut notes = if by.is_empty() { Vec::new() } else { vec![format!("suspected by {}", by.join(", "))] };
    let namesake = |other: &Value| {
        let [id, addr] = ["/id", "/addr"].map(|part| text(other, part));
        format!("{id} at {addr} has the same name; rename one of them")
    };
    notes.extend(items(&member, "/namesakes").iter().map(namesake));
    notes.extend(items(&member, "/conditions").iter().map(condition));
    notes.extend(items(&member, "/suspicions").iter().map(suspicion));
    Page { table: Table::new(HEADINGS, [row(&member)]), notes, value: member }
}

fn condition(condition: &Value) -> String {
    let by: Vec<&str> = items(condition, "/seen_by").iter().filter_map(Value::as_str).collect();
    let [name, since, detail] = ["/name", "/since", "/detail"].map(|part| text(condition, part));
    format!("{name} since {since}: {detail} ({})", by.join(", "))
}

fn suspicion(suspicion: &Value) -> String {
    let who = |by: &Value| {
        let paths: Vec<&str> = items(by, "/paths").iter().filter_map(Value::as_str).collect();
        format!("{} ({})", text(by, "/name"), paths.join(", "))
    };
    let by: Vec<String> = items(suspicion, "/by").iter().map(who).collect();
    let by = if by.is_empty() { "others".to_owned() } else { by.join(", ") };
    let end = match text(suspicion, "/end") {
        "" => "not over".to_owned(),
        end => format!("{end} at {}", text(suspicion, "/until")),
    };
    format!("suspected since {} by {by}: {end}", text(suspicion, "/since"))
}

fn page(list: Value) -> Page {
    let table = Table::new(HEADINGS, items(&list, "/items").iter().map(row));
    let count = |state: &str| number(&list, &format!("/view/{state}"));
    let note = format!(
        "{} alive, {} suspect, {} down, {} left, as {} sees it",
        count("alive"),
        count("suspect"),
        count("down"),
        count("left"),
        text(&list, "/view/node")
    );
    Page { table, notes: vec![note], value: list }
}

fn row(member: &Value) -> [Cell; 7] {
    let state = match text(member, "/cause") {
        "" => text(member, "/state").to_owned(),
        cause => format!("{} ({cause})", text(member, "/state")),
    };
    [
        text(member, "/name").into(),
        Cell::new(state, tone(text(member, "/state"))),
        text(member, "/role").into(),
        text(member, "/addr").into(),
        text(member, "/since").into(),
        text(member, "/version").into(),
        labels(&member["labels"], &[]).into(),
    ]
}

/// How a member's state looks.
pub(crate) fn tone(state: &str) -> Tone {
    match state {
        "alive" => Tone::Good,
        "suspect" => Tone::Warning,
        "down" => Tone::Bad,
        _ => Tone::Plain,
    }
}
