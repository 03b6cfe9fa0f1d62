//! `watchfire keys`: the keys of encrypted gossip, who holds them, and their rotation.
//!
//! A rotation is `install`, `use` of the new key, `remove` of the old one. Each waits until every member that is alive has
//! made the change, so that the next one can be made.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::{Client, ClientArguments, encode};
use crate::output::{Cell, Format, OutputArguments, Page, Printer, Table, Tone, counted, items, number, text};
use crate::{Failure, block_on, members, watch};

/// A key and an end of line fit; whatever is longer is no key.
const MAX_KEY_BYTES: u64 = 256;

#[derive(Args)]
pub(crate) struct KeysArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Which gossip pool's keys, if the collector is in several
    #[arg(long, value_name = "NAME", global = true)]
    pool: Option<String>,
    #[command(subcommand)]
    command: Option<KeysCommand>,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// List the keys by their ids, and what each member holds
    List {
        /// Print again whenever a member changes
        #[arg(short, long)]
        watch: bool,
        /// List the members rather than the keys
        #[arg(long)]
        nodes: bool,
    },
    /// Give every member a further key, which is not used yet: a new one, or one of your own
    Install {
        /// The key, 64 hexadecimal digits; `-` reads it from the standard input [default: a new one]
        key: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Let every member encrypt with an installed key
    Use {
        /// The key's id
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Let every member forget a key that is not used any more
    Remove {
        /// The key's id
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Args)]
struct Wait {
    /// How long to wait until every living member has made the change
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    timeout: String,
}

pub(crate) fn run(arguments: &KeysArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let format = arguments.output.output;
    let pool = arguments.pool.as_deref();
    let path = pool.map_or_else(|| "/v1/keys".to_owned(), |pool| format!("/v1/keys?pool={}", encode(pool)));
    let (op, key, wait) = match &arguments.command {
        None => return list(&client, format, &path, false, false),
        Some(KeysCommand::List { watch, nodes }) => return list(&client, format, &path, *watch, *nodes),
        Some(KeysCommand::Install { key, wait }) => ("install", given(key.as_deref())?, wait),
        Some(KeysCommand::Use { id, wait }) => ("use", id.clone(), wait),
        Some(KeysCommand::Remove { id, wait }) => ("remove", id.clone(), wait),
    };
    let timeout = crate::silence::span(&wait.timeout)?.to_std();
    let body = json!({"op": op, "key": key, "pool": pool});
    block_on(change(&client, format, &path, &body, timeout))
}

fn given(key: Option<&str>) -> Result<String, Failure> {
    let Some("-") = key else { return Ok(key.unwrap_or_default().to_owned()) };
    let mut text = String::new();
    std::io::stdin().take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(anyhow::Error::from)?;
    if text.trim().is_empty() {
        return Err(Failure::Usage("the standard input holds no key".to_owned()));
    }
    Ok(text.trim().to_owned())
}

fn list(client: &Client, format: Format, path: &str, watch: bool, nodes: bool) -> Result<ExitCode, Failure> {
    let fetch = async |client: &Client| client.get(path).await.map(|value| page(value, nodes));
    block_on(watch::show(client, format, watch, watch::MEMBERS, fetch))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks for a change and follows it until every living member has made it.
async fn change(
    client: &Client,
    format: Format,
    path: &str,
    body: &Value,
    timeout: Duration,
) -> Result<ExitCode, Failure> {
    let op = text(body, "/op");
    let answer = client.post("/v1/keys", body).await?;
    let id = text(&answer, "/key").to_owned();
    let done = async {
        let mut value = client.get(path).await?;
        while !waiting(&value, op, &id, true).is_empty() {
            let index = text(&value, "/index").to_owned();
            value = client.wait(path, &index).await?;
        }
        Ok::<Value, Failure>(value)
    };
    let (value, in_time) = match tokio::time::timeout(timeout, done).await {
        Ok(value) => (value?, true),
        Err(_) => (client.get(path).await?, false),
    };
    let late = waiting(&value, op, &id, false);
    let verb = match op {
        "install" => "holds",
        "use" => "encrypts with",
        _ => "has forgotten",
    };
    let mut page = page(value, !in_time);
    page.notes = match (in_time, late.is_empty()) {
        (true, true) => vec![format!("every member {verb} the key {id}")],
        (true, false) => vec![format!("every living member {verb} the key {id}; these are away: {}", late.join(", "))],
        (false, _) => {
            vec![format!("not every member {verb} the key {id} yet; these are told again: {}", late.join(", "))]
        }
    };
    Printer::new(format, false).print(&page).map_err(Failure::from_output)?;
    Ok(crate::code(!in_time))
}

/// The members that have not made a change: the living ones, or all.
fn waiting(value: &Value, op: &str, id: &str, living: bool) -> Vec<String> {
    let made = |node: &Value| {
        let holds = items(node, "/keys").iter().any(|key| key == id);
        match op {
            "install" => holds,
            "use" => text(node, "/primary") == id,
            _ => !holds,
        }
    };
    let counts = |node: &Value| !living || matches!(text(node, "/state"), "alive" | "suspect");
    let waiting = items(value, "/nodes").iter().filter(|node| counts(node) && !made(node));
    waiting.map(|node| text(node, "/name").to_owned()).collect()
}

fn page(value: Value, nodes: bool) -> Page {
    if nodes {
        let table =
            Table::new(["NAME", "STATE", "ENCRYPTS WITH", "HOLDS", "ERROR"], items(&value, "/nodes").iter().map(node));
        let notes = vec![counted(items(&value, "/nodes").len(), "member")];
        return Page { table, notes, value };
    }
    let all = items(&value, "/nodes").len();
    let table =
        Table::new(["KEY", "USE", "HELD BY", "MISSING ON"], items(&value, "/items").iter().map(|key| row(key, all)));
    let notes = match items(&value, "/items").is_empty() {
        true => vec!["gossip is not encrypted".to_owned()],
        false => Vec::new(),
    };
    Page { table, notes, value }
}

fn row(key: &Value, all: usize) -> [Cell; 4] {
    let missing: Vec<&str> = items(key, "/missing").iter().filter_map(Value::as_str).collect();
    let used = match (key["primary"].as_bool(), number(key, "/primary_on")) {
        (Some(true), on) => format!("encrypts ({on})"),
        (_, 0) => String::new(),
        (_, on) => format!("encrypts elsewhere ({on})"),
    };
    let tone = if missing.is_empty() { Tone::Good } else { Tone::Warning };
    let held = format!("{} of {all}", number(key, "/installed"));
    [text(key, "/id").into(), used.into(), Cell::new(held, tone), missing.join(", ").into()]
}

fn node(node: &Value) -> [Cell; 5] {
    let keys: Vec<&str> = items(node, "/keys").iter().filter_map(Value::as_str).collect();
    let state = text(node, "/state");
    [
        text(node, "/name").into(),
        Cell::new(state, members::tone(state)),
        text(node, "/primary").into(),
        keys.join(", ").into(),
        text(node, "/error").into(),
    ]
}
