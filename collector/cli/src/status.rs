//! `watchfire status`: how each collector is.
//!
//! Whoever is asked tells of the collectors that gossip knows, and each of them is asked for itself. One that cannot be
//! reached from here, for its interface may listen on its own machine only, is shown as such.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ClientArguments};
use crate::output::{Cell, OutputArguments, Page, Table, Tone, items, number, text};
use crate::{Failure, block_on, watch};

#[derive(Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Print again whenever something changes
    #[arg(short, long)]
    watch: bool,
    /// End with code 3 if a collector has something to complain about
    #[arg(long, conflicts_with = "watch")]
    fail_unhealthy: bool,
}

pub(crate) fn run(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let page = block_on(watch::show(&client, arguments.output.output, arguments.watch, watch::STATUS, fetch))?;
    let unhealthy =
        items(&page.value, "/items").iter().any(|status| lines(status).iter().any(|line| line.2 != Tone::Plain));
    Ok(crate::code(arguments.fail_unhealthy && unhealthy))
}

/// What every collector says of itself, asked from here.
pub(crate) async fn every(client: &Client) -> Result<Vec<Value>, Failure> {
    let members = client.get_list("/v1/members?role=collector").await?;
    let asked = text(&members, "/view/node").to_owned();
    let mut statuses = Vec::new();
    for member in items(&members, "/items") {
        let name = text(member, "/name");
        let answer = match text(member, "/services/http") {
            _ if name == asked => client.get(watch::STATUS).await,
            "" => Err(Failure::Unreachable("it announces no HTTP address".to_owned())),
            address => client.at(format!("http://{address}")).get(watch::STATUS).await,
        };
        statuses.push(match answer {
            // At the address of another machine's loopback, somebody else may answer.
            Ok(status) if text(&status, "/node") == name => status,
            Ok(_) => absent(member, "its address leads elsewhere from here"),
            Err(failure) => absent(member, &failure.to_string()),
        });
    }
    if statuses.is_empty() {
        return Err(Failure::Refused(format!("{asked} knows of no collector")));
    }
    Ok(statuses)
}

async fn fetch(client: &Client) -> Result<Page, Failure> {
    let statuses = every(client).await?;
    let rows = statuses.iter().flat_map(|status| {
        let name = text(status, "/node");
        lines(status)
            .into_iter()
            .map(move |(part, text, tone)| -> [Cell; 3] { [name.into(), part.into(), Cell::new(text, tone)] })
    });
    let table = Table::new(["COLLECTOR", "PART", "STATE"], rows.collect::<Vec<_>>());
    Ok(Page { table, notes: Vec::new(), value: json!({ "items": statuses }) })
}

fn absent(member: &Value, reason: &str) -> Value {
    json!({"node": member["name"], "version": member["version"], "state": member["state"], "error": reason})
}

/// What is said of a collector: part, text, and whether it is worth a look.
pub(crate) fn lines(status: &Value) -> Vec<(&'static str, String, Tone)> {
    let version = text(status, "/version");
    if !text(status, "/error").is_empty() {
        let told = format!("{version}, {}, not asked: {}", text(status, "/state"), text(status, "/error"));
        return vec![("program", told, Tone::Bad)];
    }
    let count = |pointer: &str| number(status, pointer);
    let good_if = |good: bool, otherwise: Tone| if good { Tone::Plain } else { otherwise };
    let (ready, fresh) = (status["ready"] == true, status["fresh"] == true);
    let readiness = match (ready, fresh) {
        (false, _) => "stopping",
        (true, false) => "ready, waiting for the fleet's reports before rules judge",
        (true, true) => "ready",
    };
    let reload = match status["config"]["reload_successful"] == true {
        true => format!("loaded {}", text(status, "/config/loaded_at")),
        false => format!("the last reload failed, that of {} is in use", text(status, "/config/loaded_at")),
    };
    let (down, suspect) = (count("/members/down"), count("/members/suspect"));
    let rate = status["ingest"]["samples_per_second"].as_f64();
    let rate = rate.map_or("rate not known yet".to_owned(), |rate| format!("{rate:.1} samples/s"));
    let storage = storage(status);
    let mut lines = vec![
        (
            "program",
            format!("{version}, {readiness}, since {}", text(status, "/started_at")),
            good_if(ready && fresh, Tone::Warning),
        ),
        ("config", reload, good_if(status["config"]["reload_successful"] == true, Tone::Bad)),
        (
            "members",
            format!(
                "{} alive, {suspect} suspect, {down} down, {} left",
                count("/members/alive"),
                count("/members/left")
            ),
            good_if(down + suspect == 0, Tone::Warning),
        ),
        (
            "nodes",
            format!(
                "{}: {} ok, {} degraded, {} down, {} unknown, {} in maintenance",
                count("/nodes/total"),
                count("/nodes/ok"),
                count("/nodes/degraded"),
                count("/nodes/down"),
                count("/nodes/unknown"),
                count("/nodes/maintenance")
            ),
            good_if(count("/nodes/down") + count("/nodes/degraded") == 0, Tone::Warning),
        ),
        (
            "ingest",
            format!(
                "{rate}, {} of {} agents connected, {} frames refused",
                count("/agents/connected"),
                count("/agents/expected"),
                count("/ingest/rejected_frames_total")
            ),
            good_if(count("/agents/connected") >= count("/agents/expected"), Tone::Warning),
        ),
        (
            "storage",
            format!(
                "{} series, kept for {}{}",
                count("/storage/series"),
                text(status, "/storage/retention"),
                storage.as_ref().map_or(String::new(), |(told, _)| format!(", {told}"))
            ),
            storage.as_ref().map_or(Tone::Plain, |(_, tone)| *tone),
        ),
        (
            "rules",
            format!(
                "{} in {} groups, {} failing",
                count("/rules/rules"),
                count("/rules/groups"),
                items(status, "/rules/failing").len()
            ),
            Tone::Plain,
        ),
        (
            "alerts",
            format!(
                "{} firing ({} of them quiet), {} pending, {} silences",
                count("/alerts/firing"),
                count("/alerts/suppressed"),
                count("/alerts/pending"),
                count("/alerts/silences")
            ),
            Tone::Plain,
        ),
        ("notifications", format!("{} waiting", count("/notifications/queued")), Tone::Plain),
    ];
    lines.extend(items(status, "/storage/damaged").iter().map(|file| ("damage", damage(file), Tone::Bad)));
    let failing_rules = items(status, "/rules/failing").iter().map(|rule| {
        (
            "rule",
            format!("{} of {} fails: {}", text(rule, "/rule"), text(rule, "/group"), text(rule, "/error")),
            Tone::Bad,
        )
    });
    lines.extend(failing_rules);
    let integrations = items(status, "/notifications/integrations").iter();
    lines.extend(integrations.filter(|own| own["failing"] == true).map(|own| {
        let told = format!(
            "{} fails since its last success ({}): {}",
            text(own, "/id"),
            if text(own, "/last_success_at").is_empty() { "never" } else { text(own, "/last_success_at") },
            text(own, "/last_error")
        );
        ("receiver", told, Tone::Bad)
    }));
    lines
}

/// What there is to say of the store, and how bad it is.
fn storage(status: &Value) -> Option<(&'static str, Tone)> {
    if status["storage"]["full"] == true {
        return Some((
            "DISK FULL: nothing is acknowledged (32 MiB of the disk are left for the collector's own state)",
            Tone::Bad,
        ));
    }
    let is_behind = status["storage"]["behind"] == true;
    is_behind.then_some(("pushes wait: more came than goes to blocks in time", Tone::Warning))
}

/// What a damaged file has cost.
fn damage(file: &Value) -> String {
    let lost = file["lost_samples"].as_u64().map_or("samples are".to_owned(), |lost| format!("{lost} samples are"));
    let times = match (file["from"].as_str(), file["to"].as_str()) {
        (Some(from), Some(to)) => format!(", from {from} to {to}"),
        (None, Some(to)) => format!(", up to {to}"),
        (Some(from), None) => format!(", from {from} on"),
        (None, None) => String::new(),
    };
    let (name, reason, kept) = (text(file, "/file"), text(file, "/reason"), text(file, "/kept_as"));
    format!("{name}: {reason}; {lost} missing{times}; the file is kept as {kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        json!({
            "node": "watch-1", "version": "0.1.0", "ready": true, "fresh": true,
            "members": {"alive": 3}, "agents": {"connected": 2, "expected": 2}, "storage": {"series": 9, "retention": "15d"},
            "config": {"reload_successful": true}, "ingest": {"samples_per_second": 12.34},
            "notifications": {"integrations": [{"id": "team/webhook[0]", "failing": false}]},
        })
    }

    fn complaints(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut status = status();
        change(&mut status);
        let worth_a_look = lines(&status).into_iter().filter(|(_, _, tone)| *tone != Tone::Plain);
        worth_a_look.map(|(part, text, _)| format!("{part}: {text}")).collect()
    }

    #[test]
    fn what_is_wrong_stands_out() {
        assert_eq!(complaints(|_| {}), Vec::<String>::new());
        let failing = complaints(|status| {
            status["notifications"]["integrations"][0] =
                json!({"id": "team/webhook[0]", "failing": true, "last_error": "refused", "last_success_at": null});
            status["rules"]["failing"] = json!([{"rule": "R", "group": "g", "error": "many-to-many"}]);
            status["storage"]["full"] = true.into();
            status["storage"]["damaged"] = json!([
                {"file": "blocks/00000004.block", "kept_as": "blocks/00000004.block.damaged", "reason": "damaged at byte 7",
                 "from": "2026-11-30T08:00:00Z", "to": "2026-11-30T10:00:00Z", "lost_samples": 120},
                {"file": "wal/00000007.wal", "kept_as": "wal/00000007.wal.damaged", "reason": "damaged at byte 9",
                 "from": null, "to": null, "lost_samples": null},
            ]);
        });
        assert_eq!(
            failing,
            [
                "storage: 9 series, kept for 15d, DISK FULL: nothing is acknowledged (32 MiB of the disk are left for the \
                 collector's own state)",
                "damage: blocks/00000004.block: damaged at byte 7; 120 samples are missing, from 2026-11-30T08:00:00Z to \
                 2026-11-30T10:00:00Z; the file is kept as blocks/00000004.block.damaged",
                "damage: wal/00000007.wal: damaged at byte 9; samples are missing; the file is kept as \
                 wal/00000007.wal.damaged",
                "rule: R of g fails: many-to-many",
                "receiver: team/webhook[0] fails since its last success (never): refused",
            ]
        );
        let gone = lines(&absent(&json!({"name": "watch-2", "version": "0.1.0", "state": "down"}), "no answer"));
        assert_eq!(gone, [("program", "0.1.0, down, not asked: no answer".to_owned(), Tone::Bad)]);
    }
}
