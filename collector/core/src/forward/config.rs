//! `[[alertmanager]]` in `collector.toml`: who else is told of alerts.
//!
//! The keys of the HTTP client and `alert_relabel_configs` are those of Prometheus' `alerting`.

use watchfire_shared::config;
use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use crate::alertmanager::http::{self, HttpConfig};
use crate::alertmanager::{Secret, check_url};
use crate::export::config::{host_of, name};
use crate::relabel::{self, Rule};

/// How many may be told; each is posted to by itself.
const MAX_ALERTMANAGERS: usize = 16;

/// An Alertmanager that is told of this collector's alerts.
#[derive(Clone, PartialEq, Debug)]
pub struct Alertmanager {
    /// Names it in series, answers and the log.
    pub name: String,
    /// Where it listens, with the prefix of its paths.
    pub url: Secret,
    /// How long a request may take.
    pub timeout: Span,
    /// What becomes of the labels of an alert, and whether it is told.
    pub relabel: Vec<Rule>,
    pub http: HttpConfig,
}

impl Alertmanager {
    /// Its URL without user and password.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let (scheme, rest) = self.url.expose().split_once("://").unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        format!("{scheme}://{host}{path}")
    }
}

/// The text of the reference: an entry, each key with what it takes if it is not said.
pub const EXAMPLE: &str = "\
[[alertmanager]]
name = \"alertmanager\"
url = \"http://127.0.0.1:9093\"
timeout = \"10s\"
alert_relabel_configs = []";

/// Checks one entry.
pub fn check(node: &Node, report: &mut Report) {
    let _ = read(node, report);
}

/// Reads all entries: files with their tables.
///
/// # Errors
/// Every mistake, names that are used twice included.
pub fn read_all(entries: &[(String, Node)]) -> Result<Vec<Alertmanager>, Vec<String>> {
    let mut all: Vec<Alertmanager> = Vec::new();
    let mut mistakes = Vec::new();
    for (file, node) in entries {
        let mut report = Report::new(file.clone());
        if let Some(read) = read(node, &mut report) {
            if all.iter().any(|other| other.name == read.name) {
                report.add(node.at, format!("there is another alertmanager called {:?}; give it a `name`", read.name));
            } else if all.len() == MAX_ALERTMANAGERS {
                report.add(node.at, format!("there are more than {MAX_ALERTMANAGERS} entries of alertmanager"));
            }
            all.push(read);
        }
        mistakes.extend(report.into_mistakes().iter().map(ToString::to_string));
    }
    if mistakes.is_empty() { Ok(all) } else { Err(mistakes) }
}

fn read(node: &Node, report: &mut Report) -> Option<Alertmanager> {
    let mut table = Table::of(node, report)?;
    let url = table.required(report, "url", |node, report| {
        let text = document::text(node, report)?;
        check_url(&text).map_err(|message| report.add(node.at, message)).ok()?;
        Some(Secret::new(text.trim_end_matches('/').to_owned()))
    });
    let host = url.as_ref().map(|url| host_of(url.expose())).unwrap_or_default();
    let name = table.optional(report, "name", name).unwrap_or(host);
    let timeout = table.optional(report, "timeout", |node, report| {
        let text = document::text(node, report)?;
        let (least, most) = (Span::from_seconds(1), Span::from_seconds(600));
        config::duration(&text, least, most).map_err(|message| report.add(node.at, message)).ok()
    });
    let relabel = table.optional(report, "alert_relabel_configs", document::list(relabel::read)).unwrap_or_default();
    let http = http::read_rest(table, report);
    Some(Alertmanager { name, url: url?, timeout: timeout.unwrap_or(Span::from_seconds(10)), relabel, http })
}
