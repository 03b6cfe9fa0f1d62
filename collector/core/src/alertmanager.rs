//! `alertmanager.yml`: Alertmanager's configuration file, all of it, read strictly.
//!
//! A file becomes a [`Config`] or a list of every mistake in it, each with its place and the nearest valid word. Keys that
//! exist in Alertmanager but cannot be honoured here are mistakes too: nothing that a user wrote is dropped in silence. No
//! file is read here: secrets named by `*_file` stay paths, and template files are handed in by [`Config::load_templates`].
//!
//! The format: <https://prometheus.io/docs/alerting/latest/configuration/>.

pub mod secret;

pub mod http;

pub mod global;

pub mod matchers;

pub mod route;

pub mod inhibit;

pub mod interval;

pub mod receiver;

mod redact;

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{self, Mistake, Node, Position, Report, Table, Value};

use crate::template::TemplateSet;
use crate::template::notification::NotificationFunctions;

pub use global::Global;
pub use inhibit::InhibitRule;
pub use interval::TimeInterval;
pub use receiver::{Email, Integration, IntegrationConfig, Receiver, Slack, Smarthost, Template, Threading, Webhook};
pub use route::{GroupBy, Route, RouteTree};
pub use secret::{Secret, SecretSource, check_url};

/// A configuration that was read and resolved: defaults filled in, references checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub global: Global,
    pub routes: RouteTree,
    pub receivers: BTreeMap<String, Arc<Receiver>>,
    pub inhibit_rules: Vec<InhibitRule>,
    /// Both `time_intervals` and the older `mute_time_intervals`, by name.
    pub time_intervals: BTreeMap<String, Vec<TimeInterval>>,
    /// Patterns of template files as they stand in the file, and where.
    pub template_patterns: Vec<(Position, String)>,
    /// The default templates, and those of the files once they are loaded.
    pub templates: Arc<TemplateSet>,
    /// What is valid, but should be written otherwise.
    pub warnings: Vec<Mistake>,
    /// The text of the file, secrets included; whoever shows it has to take them out.
    pub original: Secret,
    /// The same without its secrets, written anew.
    pub shown: Arc<str>,
    file: String,
}

/// A file of templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFile {
    pub path: String,
    pub text: String,
}

/// Gets a pattern as it stands in the file (relative to the folder of the configuration, `*` allowed) and returns each file
/// that fits, or why they cannot be read.
pub type LoadTemplates<'a> = &'a dyn Fn(&str) -> Result<Vec<TemplateFile>, String>;

/// Reads a configuration file. `file` names it in mistakes.
///
/// # Errors
/// Every mistake, in the order of the file.
pub fn parse(file: &str, text: &str) -> Result<Config, Vec<Mistake>> {
    let mut report = Report::new(file);
    let config = document::yaml::parse_first(text, &mut report).and_then(|root| {
        let mut config = read(&root, text, &mut report)?;
        config.warnings.extend(document::yaml::unread(file, text));
        Some(config)
    });
    report.finish(config)
}

impl Config {
    /// Loads the files that `templates:` names.
    ///
    /// # Errors
    /// A mistake for each pattern that cannot be loaded and each file that is no template; the configuration is unchanged.
    pub fn load_templates(&mut self, load: LoadTemplates<'_>) -> Result<(), Vec<Mistake>> {
        let functions = NotificationFunctions::for_reading();
        let mut set = default_templates();
        let mut mistakes = Vec::new();
        for (at, pattern) in &self.template_patterns {
            let files = load(pattern).unwrap_or_else(|reason| {
                let message = format!("cannot read the templates {pattern:?}: {reason}");
                mistakes.push(Mistake { file: self.file.clone(), at: Some(*at), message });
                Vec::new()
            });
            for TemplateFile { path, text } in files {
                if let Err(error) = set.add(&path, &text, &functions) {
                    mistakes.push(Mistake { file: path, at: Some(error.at), message: error.message });
                }
            }
        }
        if mistakes.is_empty() {
            mistakes.extend(self.undefined_templates(&set, &functions));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        self.templates = Arc::new(set);
        Ok(())
    }

    /// A mistake for each text of a receiver that calls a template which no file defines.
    fn undefined_templates(&self, set: &TemplateSet, functions: &NotificationFunctions) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let integrations = self.receivers.values().flat_map(|receiver| &receiver.integrations);
        let of_routes = self.routes.routes().iter().flat_map(|route| route.labels.values());
        for template in integrations.flat_map(|integration| integration.config.templates()).chain(of_routes) {
            if let Err(error) = set.check_text(&template.text, functions) {
                let (file, at) = match &*error.template {
                    "" => (self.file.clone(), template.at),
                    file => (file.to_owned(), error.at),
                };
                let mistake = Mistake { file, at: Some(at), message: error.message };
                if !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
            }
        }
        mistakes
    }

    /// Lets the alerts by which remediations escalate go to the receivers that they name, before any other route.
    pub fn route_escalations(&mut self, receivers: impl IntoIterator<Item = String>) {
        receivers.into_iter().for_each(|receiver| self.routes.add_escalation(receiver));
    }

    /// The integrations of a receiver.
    #[must_use]
    pub fn integrations(&self, receiver: &str) -> &[Arc<Integration>] {
        self.receivers.get(receiver).map_or(&[], |receiver| &receiver.integrations)
    }
}

/// The templates that Alertmanager brings itself, by its names.
fn default_templates() -> TemplateSet {
    let functions = NotificationFunctions::for_reading();
    let mut set = TemplateSet::default();
    for (name, text) in crate::template::notification::DEFAULTS {
        set.add(name, text, &functions).expect("a test reads the built-in templates");
    }
    set
}

/// Parts of the file that change nothing about who is notified of what. They are passed over with a warning, which says what
/// there is instead.
const PASSED_OVER: &[(&str, &str)] = &[
    ("tracing", "no spans are sent; `/metrics` counts and the log names what a notification took"),
    ("event_recorder", "follow `/v1/events`, or ask `/v1/history`"),
];

/// Names that several parts of the file declare and refer to, with what was read under them.
type Named<T> = BTreeMap<String, T>;

fn read(root: &Node, text: &str, report: &mut Report) -> Option<Config> {
    let mut warnings = Vec::new();
    let mut table = Table::of(root, report)?;
    let global = table.node("global").map_or_else(|| Some(Global::default()), |node| global::read(node, report));
    let global = global.unwrap_or_default();
    let receivers = table.required(report, "receivers", |node, report| receivers(node, &global, report));
    let receivers = receivers.unwrap_or_default();
    let mut time_intervals = Named::new();
    for key in ["time_intervals", "mute_time_intervals"] {
        table.optional(report, key, |node, report| interval::read_named(node, &mut time_intervals, report));
    }
    let names = route::Names { receivers: &receivers, time_intervals: &time_intervals };
    let routes = table.required(report, "route", |node, report| route::read(node, &names, &mut warnings, report));
    let inhibit_rules = table.optional(report, "inhibit_rules", |node, report| {
        let rules = items(node, report)?.iter();
        Some(rules.filter_map(|item| inhibit::read(item, &mut warnings, report)).collect::<Vec<_>>())
    });
    let template_patterns = table.optional(
        report,
        "templates",
        document::list(|node, report| document::text(node, report).map(|pattern| (node.at, pattern))),
    );
    for (key, instead) in PASSED_OVER {
        warnings.extend(table.node(key).map(|node| Mistake {
            file: report.file().to_owned(),
            at: Some(node.at),
            message: format!("`{key}` is passed over: {instead}"),
        }));
    }
    table.finish(report);
    Some(Config {
        global,
        routes: routes?,
        receivers: receivers.into_iter().filter_map(|(name, receiver)| Some((name, receiver?))).collect(),
        inhibit_rules: inhibit_rules.unwrap_or_default(),
        time_intervals,
        template_patterns: template_patterns.unwrap_or_default(),
        templates: Arc::new(default_templates()),
        warnings,
        original: Secret::new(text),
        shown: redact::shown(root).into(),
        file: report.file().to_owned(),
    })
}

/// Receivers by name; one that holds a mistake is `None`, so that routes may still refer to it.
fn receivers(node: &Node, global: &Global, report: &mut Report) -> Option<Named<Option<Arc<Receiver>>>> {
    let mut receivers = Named::new();
    for item in items(node, report)? {
        let Some((name, receiver)) = receiver::read(item, global, report) else { continue };
        if receivers.insert(name.clone(), receiver.map(Arc::new)).is_some() {
            report.add(item.at, format!("the receiver {name:?} stands here twice"));
        }
    }
    Some(receivers)
}

/// The items of a list, for readers that keep something between two items.
fn items<'a>(node: &'a Node, report: &mut Report) -> Option<&'a [Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        _ => {
            report.add(node.at, format!("expected a list, found {}", node.describe()));
            None
        }
    }
}

#[cfg(test)]
mod tests;
