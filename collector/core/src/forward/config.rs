//! `[[alertmanager]]` in `collector.toml`: who else is told of alerts.
//!
//! The keys of the HTTP client and `alert_relabel_configs` are those of Prometheus' `alerting`.

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use crate::alertmanager::Secret;
use crate::alertmanager::http::{self, HttpConfig};
use crate::relabel::{self, Rule};
use crate::tables;

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
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        format!("{scheme}://{}{path}", tables::named_by(Some(&self.url)))
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
    tables::read_all(entries, "alertmanager", MAX_ALERTMANAGERS, read, |own| &own.name)
}

fn read(node: &Node, report: &mut Report) -> Option<Alertmanager> {
    let mut table = Table::of(node, report)?;
    let url = table.required(report, "url", tables::url);
    let url = url.map(|url| Secret::new(url.expose().trim_end_matches('/').to_owned()));
    let name = table.optional(report, "name", tables::name).unwrap_or_else(|| tables::named_by(url.as_ref()));
    let timeout = tables::duration(Span::from_seconds(1), Span::from_seconds(600));
    let timeout = table.optional(report, "timeout", timeout).unwrap_or(Span::from_seconds(10));
    let relabel = table.optional(report, "alert_relabel_configs", document::list(relabel::read)).unwrap_or_default();
    let http = http::read_rest(table, report);
    Some(Alertmanager { name, url: url?, timeout, relabel, http })
}
