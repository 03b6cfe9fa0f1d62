//! `watchfire rules`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ClientArguments};
use crate::output::{Cell, OutputArguments, Page, Table, Tone, counted, items, text};
use crate::{Failure, block_on, watch};

#[derive(Args)]
pub(crate) struct RulesArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Show only rules that fail
    #[arg(long)]
    failing: bool,
    /// Print again whenever a rule or an alert changes
    #[arg(short, long)]
    watch: bool,
    /// End with code 3 if a rule fails
    #[arg(long, conflicts_with = "watch")]
    fail_unhealthy: bool,
}

pub(crate) fn run(arguments: &RulesArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let fetch = async |client: &Client| {
        client.get("/api/v1/rules?exclude_alerts=true").await.map(|answer| page(&answer, arguments.failing))
    };
    let page = block_on(watch::show(&client, arguments.output.output, arguments.watch, watch::STATUS, fetch))?;
    let fails = items(&page.value, "/items").iter().any(fails);
    Ok(crate::code(arguments.fail_unhealthy && fails))
}

fn fails(rule: &Value) -> bool {
    text(rule, "/health") == "err"
}

/// Rules in the order of their evaluation, each with its group and file.
fn page(answer: &Value, failing: bool) -> Page {
    let groups = items(answer, "/data/groups");
    let mut rules: Vec<Value> = groups.iter().flat_map(of_group).collect();
    let (total, broken) = (rules.len(), rules.iter().filter(|rule| fails(rule)).count());
    rules.retain(|rule| !failing || fails(rule));
    let row = |rule: &Value| -> [Cell; 7] {
        let health = match text(rule, "/health") {
            "err" => Cell::new("failing", Tone::Bad),
            "ok" => Cell::new("ok", Tone::Good),
            other => other.into(),
        };
        let state = match text(rule, "/state") {
            "firing" => Cell::new("firing", Tone::Bad),
            "pending" => Cell::new("pending", Tone::Warning),
            other => other.into(),
        };
        [
            text(rule, "/group").into(),
            text(rule, "/name").into(),
            text(rule, "/type").into(),
            state,
            health,
            text(rule, "/lastEvaluation").into(),
            text(rule, "/lastError").into(),
        ]
    };
    let headings = ["GROUP", "RULE", "TYPE", "STATE", "HEALTH", "LAST EVALUATION", "ERROR"];
    let table = Table::new(headings, rules.iter().map(row));
    let notes = vec![format!("{} in {}, {broken} failing", counted(total, "rule"), counted(groups.len(), "group"))];
    Page { table, notes, value: json!({ "items": rules }) }
}

fn of_group(group: &Value) -> Vec<Value> {
    let with_group = |rule: &Value| {
        let mut rule = rule.clone();
        if let Some(members) = rule.as_object_mut() {
            members.insert("group".to_owned(), group["name"].clone());
            members.insert("file".to_owned(), group["file"].clone());
            members.insert("interval".to_owned(), group["interval"].clone());
        }
        rule
    };
    items(group, "/rules").iter().map(with_group).collect()
}
