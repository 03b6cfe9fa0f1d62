//! `watchfire nodes maintenance | decommission`: what a person says of a node.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::{Client, encode};
use crate::output::{Cell, Format, Page, Printer, Table, counted, items, text};
use crate::{Failure, members};

#[derive(Subcommand)]
pub(super) enum NodesCommand {
    /// Announce that a node is worked on: its notifications are muted until then, and its health does not count.
    /// Without a name: list the nodes that are in maintenance
    Maintenance(MaintenanceArguments),
    /// Say that a node is gone for good and expected no more
    Decommission {
        /// The node's name
        name: String,
    },
}

#[derive(Args)]
pub(super) struct MaintenanceArguments {
    /// The node's name
    #[arg(requires = "what")]
    name: Option<String>,
    /// How long from now, such as `2h`
    #[arg(long = "for", value_name = "DURATION", group = "what", requires = "name")]
    duration: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", requires = "duration")]
    reason: String,
    /// It is over now
    #[arg(long, group = "what", requires = "name")]
    end: bool,
}

pub(super) async fn run(client: &Client, format: Format, command: &NodesCommand) -> Result<ExitCode, Failure> {
    match command {
        NodesCommand::Maintenance(arguments) => {
            let Some(name) = &arguments.name else { return list(client, format).await };
            let path = path(name, "maintenance");
            let node = match &arguments.duration {
                Some(duration) => {
                    crate::silence::span(duration)?;
                    client.post(&path, &json!({"for": duration, "reason": arguments.reason})).await?
                }
                None => client.delete(&path).await?,
            };
            show(format, node)?;
        }
        NodesCommand::Decommission { name } => {
            client.post(&path(name, "decommission"), &Value::Null).await?;
            crate::tell(&format!("{} is expected no more", crate::output::plain(name)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the nodes that are in maintenance, until when and why.
async fn list(client: &Client, format: Format) -> Result<ExitCode, Failure> {
    let value = client.get_list("/v1/nodes?health=maintenance").await?;
    let nodes = items(&value, "/items");
    let row = |node: &Value| -> [Cell; 4] {
        let reasons: Vec<&str> = items(node, "/reasons").iter().filter_map(Value::as_str).collect();
        let (until, state) = (text(node, "/maintenance_until"), text(node, "/state"));
        [text(node, "/name").into(), until.into(), Cell::new(state, members::tone(state)), reasons.join("; ").into()]
    };
    let table = Table::new(["NAME", "UNTIL", "STATE", "REASONS"], nodes.iter().map(row));
    let notes = vec![format!("{} in maintenance", counted(nodes.len(), "node"))];
    Printer::new(format, false).print(&Page { table, notes, value }).map_err(Failure::from_output)?;
    Ok(ExitCode::SUCCESS)
}

fn path(name: &str, what: &str) -> String {
    format!("/v1/nodes/{}/{what}", encode(name))
}

/// Prints the node as it is from now on.
fn show(format: Format, node: Value) -> Result<(), Failure> {
    let note = match text(&node, "/maintenance_until") {
        "" => format!("{} is not in maintenance any more", text(&node, "/name")),
        until => format!("{} is in maintenance until {until}", text(&node, "/name")),
    };
    let page = Page { notes: vec![note], ..super::one(node) };
    Printer::new(format, false).print(&page).map_err(Failure::from_output)
}
