//! `[[remote_write]]` in `collector.toml`: whom to copy what is stored to, and how.
//!
//! The keys of the HTTP client are those of Prometheus' `remote_write`, and so are `url`, `name` and `headers`.

use std::collections::BTreeMap;

use watchfire_promql::{parse_selector, selects_all};
use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::labels::is_label_name;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Span;

use crate::alertmanager::Secret;
use crate::alertmanager::http::{self, HttpConfig};
use crate::relabel::{self, Rule};
use crate::tables;

/// How many engines may be written to; each costs a look at every source.
const MAX_REMOTES: usize = 16;
const DAY: i64 = 86_400;

/// An engine that is written to.
#[derive(Clone, PartialEq, Debug)]
pub struct Remote {
    /// Names it in series, answers and the state; another name is another engine, which has nothing yet.
    pub name: String,
    pub url: Secret,
    /// How long a request may take.
    pub timeout: Span,
    /// How often it is looked for something to send; while there is more, at once.
    pub send_every: Span,
    /// Samples of one request, about: a row is never divided.
    pub batch_samples: usize,
    /// What is older is left out and counted.
    pub max_backlog: Span,
    /// How much of what is stored already is sent to an engine that is new.
    pub history: Span,
    /// How much is sent again once an engine that was gone is back.
    pub resend: Span,
    /// Only series that satisfy one of these; all if there is none.
    pub matchers: Vec<Vec<Matcher>>,
    /// Labels of every series that has none of that name, sorted by it; the collector's external labels are among them.
    pub labels: Vec<(String, String)>,
    /// What then becomes of the labels of a series, and whether it is sent.
    pub relabel: Vec<Rule>,
    pub http: HttpConfig,
}

/// The text of the reference: an entry, each key with what it takes if it is not said.
pub const EXAMPLE: &str = "\
[[remote_write]]
name = \"metrics\"
url = \"http://127.0.0.1:8428/api/v1/write\"
timeout = \"30s\"
send_every = \"5s\"
batch_samples = 10000
max_backlog = \"1d\"
history = \"0s\"
resend = \"30s\"
match = []
labels = {}
write_relabel_configs = []
headers = {}";

/// Checks one entry.
pub fn check(node: &Node, report: &mut Report) {
    let _ = read(node, report);
}

/// Reads all entries: files with their tables. Every engine gets the external labels of the collector, unless its entry has
/// a label of that name.
///
/// # Errors
/// Every mistake, names that are used twice included.
pub fn read_all(
    entries: &[(String, Node)],
    external_labels: &BTreeMap<String, String>,
) -> Result<Vec<Remote>, Vec<String>> {
    let read = |node: &Node, report: &mut Report| {
        let mut remote = read(node, report)?;
        let mut labels = external_labels.clone();
        labels.extend(std::mem::take(&mut remote.labels));
        remote.labels = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Some(remote)
    };
    tables::read_all(entries, "remote_write", MAX_REMOTES, read, |remote| &remote.name)
}

fn read(node: &Node, report: &mut Report) -> Option<Remote> {
    let mut table = Table::of(node, report)?;
    let url = table.required(report, "url", tables::url);
    let name = table.optional(report, "name", tables::name).unwrap_or_else(|| tables::named_by(url.as_ref()));
    let second = Span::from_seconds(1);
    let mut duration = |key, min, default: i64, max| {
        table.optional(report, key, tables::duration(min, max)).unwrap_or(Span::from_seconds(default))
    };
    let timeout = duration("timeout", second, 30, Span::from_seconds(600));
    let send_every = duration("send_every", Span::from_millis(100), 5, Span::from_seconds(3600));
    let max_backlog = duration("max_backlog", Span::from_seconds(60), DAY, Span::from_seconds(3650 * DAY));
    let history = duration("history", Span::ZERO, 0, Span::from_seconds(3650 * DAY));
    let resend = duration("resend", Span::ZERO, 30, Span::from_seconds(3600));
    let batch = table.optional(report, "batch_samples", document::integer(100, 200_000)).unwrap_or(10_000);
    let matchers = table.optional(report, "match", document::list(selector)).unwrap_or_default();
    let labels = table.optional(report, "labels", labels).unwrap_or_default();
    let relabel = table.optional(report, "write_relabel_configs", document::list(relabel::read)).unwrap_or_default();
    let headers = table.optional(report, "headers", http::plain_headers).unwrap_or_default();
    let mut http = http::read_rest(table, report);
    http.headers.extend(headers);
    Some(Remote {
        name,
        url: url?,
        timeout,
        send_every,
        batch_samples: usize::try_from(batch).unwrap_or(usize::MAX),
        max_backlog,
        history,
        resend,
        matchers,
        labels,
        relabel,
        http,
    })
}

fn selector(node: &Node, report: &mut Report) -> Option<Vec<Matcher>> {
    let text = document::text(node, report)?;
    let matchers =
        parse_selector(&text).map_err(|error| report.add(node.at, format!("{error}, found {text:?}"))).ok()?;
    if selects_all(&matchers) {
        report.add(node.at, format!("a selector has at least one non-empty matcher, found {text:?}"));
    }
    Some(matchers)
}

fn labels(node: &Node, report: &mut Report) -> Option<Vec<(String, String)>> {
    let labels: BTreeMap<String, String> = document::text_map(node, report)?;
    for name in labels.keys().filter(|name| !is_label_name(name) || name.starts_with("__")) {
        report
            .add(node.at, format!("`{name}` is no label name: letters, digits and _, not starting with a digit or __"));
    }
    Some(labels.into_iter().collect())
}
