//! `watchfire events`: what happens, as it happens: changes of members, conditions, alerts, orders, maintenance.
//!
//! The stream is followed over restarts and lost connections: each event has an id, and the next connection begins behind
//! the last one that came. What the other side no longer keeps is told as missed, never passed over in silence.

mod stream;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ClientArguments, encode};
use crate::output::{Format, OutputArguments, plain, text, yaml};
use crate::{Failure, block_on, when};
use stream::{Event, Parser};

const PATH: &str = "/v1/events";
/// The other side speaks at least every 15 seconds; a connection that is silent for three of them is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// How long to wait before a lost connection is opened again.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct EventsArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Begin behind the event with this id, which JSON output shows
    #[arg(long, value_name = "ID", conflicts_with = "since")]
    after: Option<String>,
    /// Begin with the events since this time, as far as they are kept: 2026-01-01T00:00:00Z, or 1h ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show only events about these: member, condition, alert, order, maintenance
    #[arg(long, value_name = "TOPICS", value_delimiter = ',')]
    topics: Vec<String>,
    /// End after this many events [default: never]
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Show only events about the nodes of these names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// What this command does anyway
    #[arg(short, long, hide = true)]
    watch: bool,
}

pub(crate) fn run(arguments: &EventsArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    block_on(follow(&client, arguments)).map(|()| ExitCode::SUCCESS)
}

async fn follow(client: &Client, arguments: &EventsArguments) -> Result<(), Failure> {
    let mut parameters = Vec::new();
    if !arguments.topics.is_empty() {
        parameters.push(format!("topics={}", encode(&arguments.topics.join(","))));
    }
    if let Some(since) = &arguments.since {
        let since = when::parse(since, when::now()).map_err(Failure::Usage)?;
        parameters.push(format!("since={}", encode(&since.to_string())));
    }
    let sign = if parameters.is_empty() { "" } else { "?" };
    let path = format!("{PATH}{sign}{}", parameters.join("&"));
    let mut follower = Follower {
        format: arguments.output.output,
        last_id: arguments.after.clone(),
        names: arguments.names.clone(),
        left: arguments.count.unwrap_or(u64::MAX),
    };
    let mut connected = false;
    while follower.left > 0 {
        match client.events(&path, follower.last_id.as_deref()).await {
            Ok(response) => {
                connected = true;
                follower.read(response).await?;
                if follower.left > 0 {
                    crate::tell("watchfire: the connection was lost; opening it again");
                }
            }
            // Who was never reached will not be; who was may come back.
            Err(Failure::Unreachable(_)) if connected => {}
            Err(failure) => return Err(failure),
        }
        if follower.left > 0 {
            tokio::time::sleep(RETRY).await;
        }
    }
    Ok(())
}

struct Follower {
    format: Format,
    last_id: Option<String>,
    /// Whose changes are shown; none for all.
    names: Vec<String>,
    /// Events that are still wanted.
    left: u64,
}

impl Follower {
    /// Prints events until the connection ends or enough have come.
    async fn read(&mut self, mut response: reqwest::Response) -> Result<(), Failure> {
        let mut parser = Parser::default();
        while let Ok(Ok(Some(bytes))) = tokio::time::timeout(SILENCE, response.chunk()).await {
            let events = parser.push(&bytes).map_err(Failure::Refused)?;
            for event in events {
                self.take(&event)?;
                if self.left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) -> Result<(), Failure> {
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone());
        }
        if event.data.is_empty() {
            return Ok(());
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| event.data.clone().into());
        let name = node(&data);
        if !(name.is_empty() || self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)) {
            return Ok(());
        }
        self.left -= 1;
        let mut out = std::io::stdout().lock();
        let written = match self.format {
            Format::Json => writeln!(out, "{}", value(event, &data)),
            Format::Yaml => write!(out, "---\n{}", yaml(&value(event, &data))),
            Format::Table if event.name == "resync" => {
                crate::tell("watchfire: events were missed; `watchfire members` shows what holds now");
                Ok(())
            }
            Format::Table => writeln!(out, "{}", line(&event.name, &data)),
        };
        written.and_then(|()| out.flush()).map_err(Failure::from_output)
    }
}

fn value(event: &Event, data: &Value) -> Value {
    json!({"id": event.id, "event": event.name, "data": data})
}

/// The node that an event is about, if it is about one.
fn node(data: &Value) -> &str {
    let places = ["/member/name", "/node", "/labels/instance"];
    places.iter().map(|place| text(data, place)).find(|name| !name.is_empty()).unwrap_or_default()
}

/// An event as people read it: `TIME  NAME  what happened`.
fn line(topic: &str, data: &Value) -> String {
    let turn = || match text(data, "/previous") {
        "" => text(data, "/state").to_owned(),
        previous => format!("{previous} -> {}", text(data, "/state")),
    };
    let what = match topic {
        "condition" if text(data, "/state") == "began" => {
            format!("condition {} began: {}", text(data, "/condition"), text(data, "/detail"))
        }
        "condition" => format!("condition {} ended", text(data, "/condition")),
        "alert" => format!("alert {} {}", text(data, "/labels/alertname"), turn()),
        "order" => format!("order {} of {} {}", text(data, "/action"), text(data, "/remediation"), turn()),
        "maintenance" => match text(data, "/until") {
            "" => "maintenance ended".to_owned(),
            until => format!("maintenance until {until}"),
        },
        _ => return change(data),
    };
    plain(&format!("{}  {}  {what}", text(data, "/at"), node(data)))
}

/// A change of a member: `TIME  NAME  alive -> down (silent), suspected by web-1`; or that it is listed no more.
fn change(change: &Value) -> String {
    let removed = text(change, "/removed");
    if !removed.is_empty() {
        let (at, name, state) = (text(change, "/at"), text(change, "/member/name"), text(change, "/member/state"));
        return plain(&format!("{at}  {name}  {state} -> listed no more ({removed})"));
    }
    let before = match text(change, "/previous") {
        "" => "new",
        state => state,
    };
    let cause = match text(change, "/member/cause") {
        "" => String::new(),
        cause => format!(" ({cause})"),
    };
    let by: Vec<&str> =
        change["member"]["suspected_by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let by = if by.is_empty() { String::new() } else { format!(", suspected by {}", by.join(", ")) };
    let name = text(change, "/member/name");
    plain(&format!("{}  {name}  {before} -> {}{cause}{by}", text(change, "/at"), text(change, "/member/state")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let change = json!({"at": "2026-01-01T00:00:00Z", "previous": "suspect",
            "member": {"name": "web\u{1b}-2", "state": "down", "cause": "refused", "suspected_by": ["web-1", "db-1"]}});
        let told = "2026-01-01T00:00:00Z  web\u{fffd}-2  suspect -> down (refused), suspected by web-1, db-1";
        assert_eq!(line("member", &change), told);
        let change = json!({"at": "2026-01-01T00:00:00Z", "previous": null, "member": {"name": "a", "state": "alive"}});
        assert_eq!(line("member", &change), "2026-01-01T00:00:00Z  a  new -> alive");
        let at = "2026-01-01T00:00:00Z";
        for (topic, data, told) in [
            (
                "condition",
                json!({"at": at, "node": "a", "condition": "slow", "state": "ended"}),
                "a  condition slow ended",
            ),
            (
                "alert",
                json!({"at": at, "labels": {"alertname": "NodeDown", "instance": "b"}, "previous": "pending", "state": "firing"}),
                "b  alert NodeDown pending -> firing",
            ),
            ("maintenance", json!({"at": at, "node": "a", "until": null}), "a  maintenance ended"),
            (
                "member",
                json!({"at": at, "previous": "down", "member": {"name": "a", "state": "down"}, "removed": "forgotten"}),
                "a  down -> listed no more (forgotten)",
            ),
        ] {
            assert_eq!(line(topic, &data), format!("{at}  {told}"));
        }
    }
}
