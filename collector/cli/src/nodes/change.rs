//! `watchfire nodes maintenance | decommission`: what a person says of a node.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::Failure;
use crate::client::{Client, encode};
use crate::output::{Format, Page, Printer, text};

#[derive(Subcommand)]
pub(super) enum NodesCommand {
    /// Announce that a node is worked on: its notifications are muted until then, and its health does not count
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
    name: String,
    /// How long from now, such as `2h`
    #[arg(long = "for", value_name = "DURATION", required_unless_present = "end")]
    duration: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// It is over now
    #[arg(long, conflicts_with = "duration")]
    end: bool,
}

pub(super) async fn run(client: &Client, format: Format, command: &NodesCommand) -> Result<ExitCode, Failure> {
    match command {
        NodesCommand::Maintenance(arguments) => {
            let path = path(&arguments.name, "maintenance");
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
