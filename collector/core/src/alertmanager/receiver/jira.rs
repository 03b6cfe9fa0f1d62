//! `jira_configs`: an issue in Jira for each group, kept up to date, resolved and reopened with it.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table, Value};
use watchfire_shared::time::Span;

use super::field::{self, Template, Tree};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret};

/// Where an issue is made and what it says.
#[derive(Debug, Clone)]
pub struct Jira {
    pub url: Secret,
    pub api: Api,
    pub http: Arc<HttpConfig>,
    pub project: Template,
    pub issue_type: Template,
    pub summary: Updatable<Template>,
    pub description: Updatable<Template>,
    pub labels: Updatable<Vec<Template>>,
    pub priority: Template,
    /// Transitions by their names; empty ones are not made.
    pub reopen_transition: String,
    pub resolve_transition: String,
    /// The resolution of issues that are left alone.
    pub wont_fix_resolution: String,
    /// How long after it was resolved an issue is reopened rather than followed by another one.
    pub reopen_duration: Span,
    /// More fields by their ids.
    pub fields: Vec<(Template, Tree)>,
}

/// A field, and whether it follows the group once the issue exists.
#[derive(Debug, Clone)]
pub struct Updatable<T> {
    pub value: T,
    pub update: bool,
}

/// Which of Jira's interfaces searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// That of the cloud if the address is Atlassian's.
    Auto,
    Cloud,
    DataCenter,
}

const APIS: &[(&str, Api)] = &[("auto", Api::Auto), ("cloud", Api::Cloud), ("datacenter", Api::DataCenter)];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = table.optional(report, "api_url", secret::url).or_else(|| global.urls.get("jira_api_url").cloned());
    if url.is_none() && !secret::is_given(&table, "api_url") {
        report.add(table.at(), "`api_url` must be set, or in `global` `jira_api_url`");
    }
    let api = table.optional(report, "api_type", document::word(APIS)).unwrap_or(Api::Auto);
    let project = field::needed(&mut table, report, "project");
    let issue_type = field::needed(&mut table, report, "issue_type");
    let summary = updatable(&mut table, report, "summary", r#"{{ template "jira.default.summary" . }}"#);
    let description = updatable(&mut table, report, "description", r#"{{ template "jira.default.description" . }}"#);
    let labels = table.optional(report, "labels", read_labels).unwrap_or(Updatable { value: Vec::new(), update: true });
    let priority = field::or_default(&mut table, report, "priority", r#"{{ template "jira.default.priority" . }}"#);
    let mut word = |key| table.optional(report, key, document::text).unwrap_or_default();
    let (reopen_transition, resolve_transition) = (word("reopen_transition"), word("resolve_transition"));
    let wont_fix_resolution = word("wont_fix_resolution");
    let reopen_duration = table.optional(report, "reopen_duration", document::span).unwrap_or(Span::ZERO);
    let fields = match table.optional(report, "fields", field::tree) {
        Some(Tree::Table(fields)) => fields,
        Some(_) => {
            report.add(table.at(), "`fields` must be a table of fields and their values");
            Vec::new()
        }
        None => Vec::new(),
    };
    table.finish(report);
    let jira = Jira {
        url: url?,
        api,
        http: common.http,
        project: project?,
        issue_type: issue_type?,
        summary,
        description,
        labels,
        priority,
        reopen_transition,
        resolve_transition,
        wont_fix_resolution,
        reopen_duration,
        fields,
    };
    Some((common.send_resolved, IntegrationConfig::Jira(Box::new(jira))))
}

/// A text, or a table with the text as `template`.
fn updatable(table: &mut Table<'_>, report: &mut Report, key: &'static str, default: &str) -> Updatable<Template> {
    let at = table.at();
    let usual = || Template { at, text: default.to_owned() };
    let read = |node: &Node, report: &mut Report| {
        if !matches!(node.value, Value::Table(_)) {
            return field::template(node, report).map(|value| Updatable { value, update: true });
        }
        let mut table = Table::of(node, report)?;
        let value = table.optional(report, "template", field::template).unwrap_or_else(usual);
        let update = table.optional(report, "enable_update", document::boolean).unwrap_or(true);
        table.finish(report);
        Some(Updatable { value, update })
    };
    table.optional(report, key, read).unwrap_or_else(|| Updatable { value: usual(), update: true })
}

/// A list of texts, or a table with the list as `values`.
fn read_labels(node: &Node, report: &mut Report) -> Option<Updatable<Vec<Template>>> {
    let list = document::list(field::template);
    if !matches!(node.value, Value::Table(_)) {
        return list(node, report).map(|value| Updatable { value, update: true });
    }
    let mut table = Table::of(node, report)?;
    let value = table.optional(report, "values", list).unwrap_or_default();
    let update = table.optional(report, "enable_update", document::boolean).unwrap_or(true);
    table.finish(report);
    Some(Updatable { value, update })
}

impl Jira {
    /// Every template of the issue.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let Self { project, issue_type, priority, .. } = self;
        let mut templates = vec![project, issue_type, priority, &self.summary.value, &self.description.value];
        templates.extend(&self.labels.value);
        templates.extend(self.fields.iter().flat_map(|(name, value)| [vec![name], value.templates()].concat()));
        templates
    }
}
