//! `watchfire report`: how available nodes were, and how much of it is known.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use watchfire_shared::time::Span;

use crate::client::{Client, ClientArguments, encode};
use crate::output::{Cell, OutputArguments, Page, Table, Tone, items, labels, number, text};
use crate::{Failure, block_on, watch};

/// Where less than this is known, bounds are shown in place of one figure.
const ENOUGH_COVERAGE: f64 = 0.95;

#[derive(Args)]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Report on this node only
    node: Option<String>,
    /// How far back to look
    #[arg(long, default_value = "30d", value_name = "DURATION")]
    window: String,
    /// Group nodes by these labels, with commas between
    #[arg(long, value_name = "LABELS", conflicts_with = "node")]
    by: Option<String>,
    /// End with code 3 if something was available for less than this, in percent
    #[arg(long, value_name = "PERCENT")]
    fail_below: Option<f64>,
}

pub(crate) fn run(arguments: &ReportArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let mut path = format!("/v1/availability?window={}", encode(&arguments.window));
    for (name, value) in [("node", &arguments.node), ("by", &arguments.by)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", encode(value));
        }
    }
    let fetch = async |client: &Client| client.get_list(&path).await.map(page);
    let page = block_on(watch::show(&client, arguments.output.output, false, watch::STATUS, fetch))?;
    let below = |bound: f64| {
        let ratios = items(&page.value, "/items").iter().filter_map(|item| item["availability_ratio"].as_f64());
        ratios.into_iter().any(|ratio| ratio * 100.0 < bound)
    };
    Ok(crate::code(arguments.fail_below.is_some_and(below)))
}

fn page(list: Value) -> Page {
    let reported = items(&list, "/items");
    let note = reported.first().map(|item| format!("from {} to {}", text(item, "/from"), text(item, "/to")));
    Page { table: table(reported), notes: note.into_iter().collect(), value: list }
}

fn table(reported: &[Value]) -> Table {
    let row = |item: &Value| -> [Cell; 8] {
        let longest = &items(item, "/longest_outages").first();
        [
            labels(&item["group"], &[]).trim_start_matches("node=").to_owned().into(),
            availability(item),
            item["coverage_ratio"].as_f64().map(|ratio| percent(ratio, 1)).unwrap_or_default().into(),
            number(item, "/outages").to_string().into(),
            duration(&item["mttr_seconds"]).into(),
            between_failures(item).into(),
            duration(&item["maintenance_seconds"]).into(),
            longest.map(|outage| text(outage, "/from").to_owned()).unwrap_or_default().into(),
        ]
    };
    let head = ["SUBJECT", "AVAILABILITY", "COVERAGE", "OUTAGES", "MTTR", "MTBF", "MAINTENANCE", "LONGEST SINCE"];
    Table::new(head, reported.iter().map(row))
}

/// One figure where enough is known to stand for it, or what it lies between.
fn availability(item: &Value) -> Cell {
    let ratio = |name: &str| item[name].as_f64();
    let (Some(own), Some(coverage)) = (ratio("availability_ratio"), ratio("coverage_ratio")) else {
        let bounds = ratio("lower_ratio").zip(ratio("upper_ratio"));
        return bounds.map(between).unwrap_or_else(|| "-".to_owned()).into();
    };
    match ratio("lower_ratio").zip(ratio("upper_ratio")).filter(|_| coverage < ENOUGH_COVERAGE) {
        Some(bounds) => between(bounds).into(),
        None => Cell::new(percent(own, 3), if own < 1.0 { Tone::Warning } else { Tone::Good }),
    }
}

fn between((low, high): (f64, f64)) -> String {
    format!("{} .. {}", percent(low, 3), percent(high, 3))
}

/// Rounded down: what was down for a moment was not up all the time.
fn percent(ratio: f64, digits: i32) -> String {
    let scale = 10f64.powi(digits);
    let shown = (ratio * 100.0 * scale + 1e-6).floor() / scale;
    format!("{shown:.0$}%", usize::try_from(digits).unwrap_or_default())
}

fn between_failures(item: &Value) -> String {
    match item["mtbf_exceeds_seconds"].as_f64() {
        Some(seconds) => format!("> {}", span(seconds)),
        None => duration(&item["mtbf_seconds"]),
    }
}

fn duration(seconds: &Value) -> String {
    seconds.as_f64().filter(|seconds| *seconds > 0.0).map(span).unwrap_or_default()
}

/// As precise as anybody wants to read it.
fn span(seconds: f64) -> String {
    let whole = if seconds >= 86_400.0 {
        (seconds / 3600.0).round() * 3600.0
    } else if seconds >= 3600.0 {
        (seconds / 60.0).round() * 60.0
    } else {
        seconds.round()
    };
    Span::from_seconds(whole as i64).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Paint;

    fn shown(item: &Value) -> String {
        let lines = table(std::slice::from_ref(item)).lines(Paint::off());
        let cells = lines[1].split("  ").map(str::trim).filter(|own| !own.is_empty());
        cells.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn little_coverage_is_told_as_bounds_and_no_outage_as_a_bound_of_time() {
        let known = json!({"group": {"node": "web-1"}, "availability_ratio": 0.999_999, "coverage_ratio": 1.0,
            "lower_ratio": 0.999_999, "upper_ratio": 0.999_999, "outages": 2, "mttr_seconds": 41.4,
            "mtbf_seconds": 90_061.0, "mtbf_exceeds_seconds": null, "maintenance_seconds": 7200.0,
            "longest_outages": [{"node": "web-1", "from": "2026-01-01T00:00:00Z", "to": null}]});
        assert_eq!(shown(&known), "web-1|99.999%|100.0%|2|41s|1d1h|2h|2026-01-01T00:00:00Z");
        let blind = json!({"group": {"role": "db", "zone": "a"}, "availability_ratio": 1.0, "coverage_ratio": 0.875,
            "lower_ratio": 0.875, "upper_ratio": 1.0, "outages": 0, "mttr_seconds": null, "mtbf_seconds": null,
            "mtbf_exceeds_seconds": 3600.0, "maintenance_seconds": 0.0, "longest_outages": []});
        assert_eq!(shown(&blind), "role=db,zone=a|87.500% .. 100.000%|87.5%|0|> 1h");
    }
}
