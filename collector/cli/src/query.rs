//! `watchfire query`: a PromQL expression at one time or over a range.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use watchfire_shared::time::{Span, Timestamp};

use crate::client::{Client, ClientArguments};
use crate::output::{Cell, OutputArguments, Page, Printer, Table, items, text};
use crate::{Failure, block_on, silence, watch, when};

/// Points of a range, if no step is named: as many as fit a screen.
const POINTS: i64 = 60;

#[derive(Args)]
pub(crate) struct QueryArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// A PromQL expression, such as `up == 0` or `rate(node_network_receive_bytes_total[5m])`
    expression: String,
    /// When, such as `1h ago` or 2026-01-01T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with_all = ["start", "end", "step"])]
    at: Option<String>,
    /// Where a range begins, such as `1h ago`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// Where a range ends [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "start")]
    end: Option<String>,
    /// Distance of two points of a range, such as `1m` [default: a sixtieth of the range]
    #[arg(long, value_name = "DURATION", requires = "start")]
    step: Option<String>,
    /// Print again whenever the answer changes
    #[arg(short, long, conflicts_with_all = ["at", "start"])]
    watch: bool,
    /// End with code 3 if there is no result
    #[arg(long, conflicts_with = "watch")]
    fail_empty: bool,
}

pub(crate) fn run(arguments: &QueryArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let fetch = async |client: &Client| fetch(client, arguments).await;
    if arguments.watch {
        block_on(watch::poll(&client, arguments.output.output, fetch))?;
    }
    let page = block_on(fetch(&client))?;
    Printer::new(arguments.output.output, false).print(&page).map_err(Failure::from_output)?;
    let empty = page.table.len() == 0;
    Ok(crate::code(arguments.fail_empty && empty))
}

async fn fetch(client: &Client, arguments: &QueryArguments) -> Result<Page, Failure> {
    let (path, form) = request(arguments, when::now())?;
    let answer = client.post_form(path, &form).await?;
    let told = items(&answer, "/warnings").iter().chain(items(&answer, "/infos")).filter_map(Value::as_str);
    let mut notes: Vec<String> = told.map(|warning| format!("watchfire: {warning}")).collect();
    let value = answer["data"].clone();
    let table = table(&value);
    if table.len() == 0 {
        notes.push("no result".to_owned());
    }
    Ok(Page { table, notes, value })
}

type Form = Vec<(&'static str, String)>;

fn request(arguments: &QueryArguments, now: Timestamp) -> Result<(&'static str, Form), Failure> {
    let time = |text: &Option<String>| {
        let parsed = text.as_ref().map(|text| when::parse(text, now));
        parsed.unwrap_or(Ok(now)).map_err(Failure::Usage)
    };
    let query = ("query", arguments.expression.clone());
    if arguments.start.is_none() {
        return Ok(("/api/v1/query", vec![query, ("time", time(&arguments.at)?.to_string())]));
    }
    let (start, end) = (time(&arguments.start)?, time(&arguments.end)?);
    if end < start {
        return Err(Failure::Usage(format!("the range ends at {end}, before it starts at {start}")));
    }
    let step = match &arguments.step {
        Some(step) => silence::span(step)?,
        None => Span::from_seconds((end.since(start).as_millis() / 1000 / POINTS).max(1)),
    };
    let step = step.as_seconds().to_string();
    Ok(("/api/v1/query_range", vec![query, ("start", start.to_string()), ("end", end.to_string()), ("step", step)]))
}

fn table(data: &Value) -> Table {
    let results = items(data, "/result");
    match text(data, "/resultType") {
        "vector" => Table::new(["SERIES", "VALUE"], results.iter().map(|one| [series(one).into(), point(one).into()])),
        "matrix" => {
            let rows = results.iter().flat_map(|one| {
                let points = items(one, "/values").iter().chain(items(one, "/histograms"));
                points.map(|pair| -> [Cell; 3] { [series(one).into(), at(&pair[0]).into(), written(&pair[1]).into()] })
            });
            Table::new(["SERIES", "TIME", "VALUE"], rows)
        }
        _ => Table::new(["VALUE"], [[written(&data["result"][1]).into()]]),
    }
}

/// The value of a series of an instant answer.
fn point(one: &Value) -> String {
    written(if one["value"].is_null() { &one["histogram"][1] } else { &one["value"][1] })
}

/// A number, which the API sends as text; a histogram as it comes.
fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn at(seconds: &Value) -> String {
    let millis = (seconds.as_f64().unwrap_or_default() * 1000.0).round();
    Timestamp::from_millis(millis as i64).to_string()
}

/// A series as PromQL writes it.
fn series(one: &Value) -> String {
    let Some(metric) = one["metric"].as_object() else { return String::new() };
    let name = metric.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let labels = metric.iter().filter(|(label, _)| *label != "__name__");
    let labels: Vec<String> =
        labels.map(|(label, value)| format!("{label}={:?}", value.as_str().unwrap_or_default())).collect();
    if labels.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Paint;

    fn check(data: &Value, expected: &[&str]) {
        assert_eq!(table(data).lines(Paint::off()), expected);
    }

    #[test]
    fn every_kind_of_answer_has_its_table() {
        let up = json!({"__name__": "up", "instance": "web-1", "job": "node"});
        check(
            &json!({"resultType": "vector", "result": [{"metric": up, "value": [1.5, "1"]}, {"metric": {}, "value": [1.5, "NaN"]}]}),
            &[
                "SERIES                           VALUE",
                "up{instance=\"web-1\",job=\"node\"}  1",
                "{}                               NaN",
            ],
        );
        check(
            &json!({"resultType": "matrix", "result": [{"metric": {"__name__": "x"}, "values": [[0, "1"], [60.25, "2"]]}]}),
            &[
                "SERIES  TIME                      VALUE",
                "x       1970-01-01T00:00:00Z      1",
                "x       1970-01-01T00:01:00.250Z  2",
            ],
        );
        check(&json!({"resultType": "scalar", "result": [1.5, "3"]}), &["VALUE", "3"]);
    }

    #[test]
    fn ranges_have_a_step_that_fits_them() {
        let now = Timestamp::parse_rfc3339("2026-01-01T12:00:00Z").unwrap();
        let ask = |start: Option<&str>, end: Option<&str>, step: Option<&str>| {
            let text = |text: &str| text.to_owned();
            let arguments = QueryArguments {
                client: ClientArguments::default(),
                output: OutputArguments { output: crate::output::Format::Table },
                expression: text("up"),
                at: None,
                start: start.map(text),
                end: end.map(text),
                step: step.map(text),
                watch: false,
                fail_empty: false,
            };
            let (path, form) = request(&arguments, now)?;
            let pairs: Vec<String> = form[1..].iter().map(|(name, value)| format!("{name}={value}")).collect();
            Ok::<_, Failure>(format!("{path} {}", pairs.join(" ")))
        };
        assert_eq!(ask(None, None, None).unwrap(), "/api/v1/query time=2026-01-01T12:00:00Z");
        let range = "/api/v1/query_range start=2026-01-01T11:00:00Z end=2026-01-01T12:00:00Z step=";
        assert_eq!(ask(Some("1h ago"), None, None).unwrap(), format!("{range}60"));
        assert_eq!(ask(Some("1h ago"), Some("now"), Some("500ms")).unwrap(), format!("{range}0.5"));
        assert!(ask(Some("1h ago"), Some("2h ago"), None).unwrap_err().to_string().contains("before it starts"));
    }
}
