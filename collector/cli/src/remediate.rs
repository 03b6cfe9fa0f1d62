//! `watchfire remediate`: what is repaired by itself and why not, what would be, and a person's word in it.
//!
//! A command that a guard stands in the way of ends with code 6.

mod page;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use watchfire_shell::lifecycle::exit;

use crate::client::{Client, ClientArguments, encode};
use crate::output::{Format, OutputArguments, Page, Printer, text};
use crate::{Failure, block_on, watch};

#[derive(Args)]
pub(crate) struct RemediateArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(subcommand)]
    command: Option<RemediateCommand>,
}

#[derive(Subcommand)]
enum RemediateCommand {
    /// List remediations with what is done about each of their alerts, and why
    List {
        /// Print again whenever something changes
        #[arg(short, long)]
        watch: bool,
    },
    /// Show what one remediation did, what it did not, and why
    Show {
        /// The remediation's name
        name: String,
    },
    /// List orders and what became of them
    Orders {
        /// Show only those on this node
        #[arg(long)]
        node: Option<String>,
        /// Show only those of this remediation
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
    },
    /// Tell what would be done if a remediation's alert fired on a node now; ends with code 6 if a guard would prevent it
    Simulate {
        /// The remediation's name
        #[arg(long, value_name = "NAME")]
        rule: String,
        /// The node's name or instance
        #[arg(long)]
        node: String,
    },
    /// Begin nothing more, of one remediation or of all; what is under way goes on to the end of its step
    Pause {
        /// The remediation's name [default: all of them]
        name: Option<String>,
        /// How long from now, such as `2h` [default: until it is resumed]
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// End a pause
    Resume {
        /// The remediation's name [default: the pause of all of them]
        name: Option<String>,
        #[command(flatten)]
        by: By,
    },
    /// Let an attempt begin that awaits approval; ends with code 6 if a guard keeps it waiting
    Approve {
        /// The attempt's id, as `list` and `show` tell it
        id: String,
        #[command(flatten)]
        by: By,
    },
}

/// Who says it.
#[derive(Args)]
struct By {
    /// Who [default: the user]
    #[arg(long, env = "USER", hide_env_values = true, default_value = "unknown")]
    by: String,
}

pub(crate) fn run(arguments: &RemediateArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let format = arguments.output.output;
    let command = arguments.command.as_ref().unwrap_or(&RemediateCommand::List { watch: false });
    block_on(dispatch(&client, format, command))
}

async fn dispatch(client: &Client, format: Format, command: &RemediateCommand) -> Result<ExitCode, Failure> {
    match command {
        RemediateCommand::List { watch } => {
            let fetch = async |client: &Client| client.get_list("/v1/remediations").await.map(page::list);
            watch::show(client, format, *watch, watch::STATUS, fetch).await?;
        }
        RemediateCommand::Show { name } => {
            print(format, &page::one(client.get(&format!("/v1/remediations/{}", encode(name))).await?))?;
        }
        RemediateCommand::Orders { node, rule } => {
            let filters = [("node", node), ("remediation", rule)];
            let filters: Vec<String> = filters
                .iter()
                .filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_ref()?))))
                .collect();
            print(format, &page::orders(client.get_list(&format!("/v1/orders?{}", filters.join("&"))).await?))?;
        }
        RemediateCommand::Simulate { rule, node } => {
            let path = format!("/v1/remediations/{}/simulate?node={}", encode(rule), encode(node));
            let answer = client.get(&path).await?;
            let would = answer["would_act"].as_bool().unwrap_or_default();
            print(format, &page::simulation(answer))?;
            return Ok(ExitCode::from(if would { exit::OK } else { exit::GUARD }));
        }
        RemediateCommand::Pause { name, duration, reason, by } => {
            if let Some(duration) = duration {
                crate::silence::span(duration)?;
            }
            let body = json!({"by": by.by, "reason": reason, "for": duration});
            client.post(&path(name.as_deref(), "pause"), &body).await?;
            eprintln!("{} begins nothing more", shown(name.as_deref()));
        }
        RemediateCommand::Resume { name, by } => {
            client.post(&path(name.as_deref(), "resume"), &json!({"by": by.by})).await?;
            eprintln!("{} goes on", shown(name.as_deref()));
        }
        RemediateCommand::Approve { id, by } => {
            let answer = client.post(&format!("/v1/attempts/{}/approve", encode(id)), &json!({"by": by.by})).await?;
            let detail = text(&answer, "/detail");
            eprintln!("{}: {}", crate::output::plain(id), crate::output::plain(detail));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(name: Option<&str>, what: &str) -> String {
    match name {
        Some(name) => format!("/v1/remediations/{}/{what}", encode(name)),
        None => format!("/v1/remediations/{what}"),
    }
}

fn shown(name: Option<&str>) -> String {
    name.map_or_else(|| "remediation".to_owned(), crate::output::plain)
}

fn print(format: Format, page: &Page) -> Result<(), Failure> {
    Printer::new(format, false).print(page).map_err(Failure::from_output)
}

/// A member of a value as text, or a number as one.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
