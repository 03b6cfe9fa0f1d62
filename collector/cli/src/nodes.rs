//! `watchfire nodes`.

mod change;

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::client::{Client, ClientArguments, encode};
use crate::output::{Cell, OutputArguments, Page, Table, Tone, counted, items, labels, number, text};
use crate::{Failure, block_on, members, watch};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct NodesArguments {
    #[command(subcommand)]
    command: Option<change::NodesCommand>,
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Show only the node of this name or id
    name: Option<String>,
    /// Show only nodes of this health
    #[arg(long, value_parser = ["ok", "degraded", "down", "unknown", "maintenance"], conflicts_with = "name")]
    health: Option<String>,
    /// Show only nodes that gossip sees in this state
    #[arg(long, value_parser = ["alive", "suspect", "down", "left"], conflicts_with = "name")]
    state: Option<String>,
    /// Print again whenever a node changes
    #[arg(short, long)]
    watch: bool,
    /// End with code 3 if a node that is shown is degraded or down
    #[arg(long, conflicts_with = "watch")]
    fail_unhealthy: bool,
}

pub(crate) fn run(arguments: &NodesArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    if let Some(command) = &arguments.command {
        return block_on(change::run(&client, arguments.output.output, command));
    }
    let filters = [("health", &arguments.health), ("state", &arguments.state)];
    let filters: Vec<String> =
        filters.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect();
    let fetch = async |client: &Client| match &arguments.name {
        Some(name) => client.get(&format!("/v1/nodes/{}", encode(name))).await.map(one),
        None => client.get_list(&format!("/v1/nodes?{}", filters.join("&"))).await.map(all),
    };
    let page = block_on(watch::show(&client, arguments.output.output, arguments.watch, watch::STATUS, fetch))?;
    let nodes = if arguments.name.is_some() { std::slice::from_ref(&page.value) } else { items(&page.value, "/items") };
    let unhealthy = nodes.iter().any(|node| matches!(text(node, "/health"), "degraded" | "down"));
    Ok(crate::code(arguments.fail_unhealthy && unhealthy))
}

fn all(list: Value) -> Page {
    let nodes = items(&list, "/items");
    let count = |health: &str| nodes.iter().filter(|node| text(node, "/health") == health).count();
    let counts: Vec<String> = ["ok", "degraded", "down", "unknown", "maintenance"]
        .iter()
        .map(|health| (count(health), health))
        .filter(|(count, _)| *count > 0)
        .map(|(count, health)| format!("{count} {health}"))
        .collect();
    Page {
        table: table(nodes),
        notes: vec![format!("{}: {}", counted(nodes.len(), "node"), counts.join(", "))],
        value: list,
    }
}

fn one(node: Value) -> Page {
    Page { table: table(std::slice::from_ref(&node)), notes: Vec::new(), value: node }
}

fn table(nodes: &[Value]) -> Table {
    let row = |node: &Value| -> [Cell; 8] {
        let (firing, pending) = (number(node, "/alerts/firing"), number(node, "/alerts/pending"));
        let alerts = match (firing, pending) {
            (0, 0) => String::new(),
            (firing, 0) => format!("{firing} firing"),
            (0, pending) => format!("{pending} pending"),
            (firing, pending) => format!("{firing} firing, {pending} pending"),
        };
        let reasons: Vec<&str> = items(node, "/reasons").iter().filter_map(Value::as_str).collect();
        [
            text(node, "/name").into(),
            Cell::new(text(node, "/health"), tone(text(node, "/health"))),
            Cell::new(text(node, "/state"), members::tone(text(node, "/state"))),
            text(node, "/role").into(),
            text(node, "/last_report_at").into(),
            alerts.into(),
            labels(&node["labels"], &[]).into(),
            reasons.join("; ").into(),
        ]
    };
    Table::new(["NAME", "HEALTH", "STATE", "ROLE", "LAST REPORT", "ALERTS", "LABELS", "REASONS"], nodes.iter().map(row))
}

fn tone(health: &str) -> Tone {
    match health {
        "ok" => Tone::Good,
        "degraded" => Tone::Warning,
        "down" => Tone::Bad,
        _ => Tone::Plain,
    }
}
