//! Everything that configuration names, read and checked in one go: the program's own file, rule files, routes,
//! remediations.
//!
//! Start, reload and `check-config` go the same way, so that what was checked is what will run. Nothing here changes
//! anything; a mistake leaves everything as it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watchfire_collector_core::alertmanager::{self, TemplateFile};
use watchfire_collector_core::catalogue::Policy;
use watchfire_collector_core::catalogue::inventory::{self, Expected};
use watchfire_collector_core::engine;
use watchfire_collector_core::ingest::naming::{NameTemplate, Naming};
use watchfire_collector_core::remediation::{self, Remediation};
use watchfire_collector_core::rules::{self, Group};
use watchfire_promql::Syntax;
use watchfire_shared::document::{Mistake, yaml};
use watchfire_shared::labels::Labels;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Span;
use watchfire_shell::arguments::Origin;
use watchfire_shell::files;
use watchfire_store::Options;

use crate::check::read_all;
use crate::config::{self, Settings, SettingsError};

/// A whole configuration that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) settings: Settings,
    pub(crate) rules: Vec<Group>,
    /// The rule files, in the order of their evaluation.
    pub(crate) rule_files: Vec<PathBuf>,
    /// Routes and receivers; without a file, a route to nobody.
    pub(crate) alertmanager: Arc<alertmanager::Config>,
    pub(crate) remediations: Vec<Remediation>,
    pub(crate) remediation_files: Vec<PathBuf>,
    naming: Naming,
    /// What is valid in rule files but hardly meant.
    rule_warnings: Vec<Mistake>,
    /// What is expected of nodes, the inventory included.
    nodes: Policy,
}

/// Why a configuration cannot be used: every mistake, one per line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct LoadError(pub(crate) Vec<String>);

/// Reads and checks everything.
///
/// # Errors
/// All mistakes of all files together. If the program's own file cannot be used, the files that it would name are not
/// looked for.
pub(crate) fn load(origin: &Origin) -> Result<Load, LoadError> {
    let settings = config::read(origin.config.as_deref(), origin.overrides.clone()).map_err(|error| told(&error))?;
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    let naming = naming(&settings, &mut mistakes);
    let (rules, rule_files) = rule_groups(&settings, &mut warnings, &mut mistakes);
    let (remediations, remediation_files) = remediations(&settings, &mut mistakes);
    let alertmanager = routes(settings.notify_file.as_deref(), &mut mistakes);
    if let Some(config) = &alertmanager {
        let known = config.receivers.keys().map(String::as_str).collect();
        mistakes.extend(remediation::unknown_receivers(&remediations, &known).iter().map(Mistake::to_string));
    }
    let nodes = Policy { inventory: inventory(&settings.inventory_files, &mut mistakes), ..settings.nodes.clone() };
    match (naming, alertmanager) {
        (Some(naming), Some(mut alertmanager)) if mistakes.is_empty() => {
            alertmanager.route_escalations(remediation::receivers(&remediations));
            let alertmanager = Arc::new(alertmanager);
            Ok(Load {
                settings,
                rules,
                rule_files,
                alertmanager,
                remediations,
                remediation_files,
                naming,
                rule_warnings: warnings,
                nodes,
            })
        }
        _ => Err(LoadError(mistakes)),
    }
}

fn told(error: &SettingsError) -> LoadError {
    LoadError(error.to_string().lines().map(str::to_owned).collect())
}

fn naming(settings: &Settings, mistakes: &mut Vec<String>) -> Option<Naming> {
    let mut template = |key: &str, text: &str| match NameTemplate::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            mistakes.push(format!("{key}: {error}, found {text:?}"));
            None
        }
    };
    let job = template("series.job", &settings.series.job);
    let instance = template("series.instance", &settings.series.instance);
    Some(Naming {
        cluster: settings.gossip.cluster.clone(),
        job: job?,
        instance: instance?,
        series_labels: settings.series.node_labels.clone(),
    })
}

/// The files that the patterns of a key name. One that two patterns name is one file, at its first place.
fn expand(key: &str, patterns: &[String], mistakes: &mut Vec<String>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for pattern in patterns {
        match files::expand(pattern) {
            Ok(found) => found.into_iter().for_each(|path| {
                if !files.contains(&path) {
                    files.push(path);
                }
            }),
            Err(error) => mistakes.push(format!("{key}: {error}")),
        }
    }
    files
}

fn remediations(settings: &Settings, mistakes: &mut Vec<String>) -> (Vec<Remediation>, Vec<PathBuf>) {
    let files = expand("remediation.files", &settings.remediation_files, mistakes);
    let mut contents = Vec::new();
    for path in &files {
        match files::read_text(path) {
            Ok(content) => contents.push((path.display().to_string(), content)),
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    let parsed = remediation::parse(&contents).unwrap_or_else(|found| {
        mistakes.extend(found.iter().map(Mistake::to_string));
        Vec::new()
    });
    (parsed, files)
}

fn rule_groups(
    settings: &Settings,
    warnings: &mut Vec<Mistake>,
    mistakes: &mut Vec<String>,
) -> (Vec<Group>, Vec<PathBuf>) {
    let files = expand("rules.files", &settings.rules.files, mistakes);
    let groups = files.iter().flat_map(|path| groups_of(path, settings.syntax, warnings, mistakes)).collect();
    (groups, files)
}

/// Every node that a file of the inventory names; the first that names it says its labels.
fn inventory(patterns: &[String], mistakes: &mut Vec<String>) -> Vec<Expected> {
    let mut nodes: BTreeMap<String, Expected> = BTreeMap::new();
    for path in expand("inventory.files", patterns, mistakes) {
        let parsed = match files::read_text(&path) {
            Ok(text) => inventory::parse(&path.display().to_string(), &text),
            Err(error) => {
                mistakes.push(error.to_string());
                continue;
            }
        };
        match parsed {
            Ok(found) => found.into_iter().for_each(|node| {
                nodes.entry(node.name.clone()).or_insert(node);
            }),
            Err(found) => mistakes.extend(found.iter().map(Mistake::to_string)),
        }
    }
    nodes.into_values().collect()
}

fn groups_of(path: &Path, syntax: Syntax, warnings: &mut Vec<Mistake>, mistakes: &mut Vec<String>) -> Vec<Group> {
    let name = path.display().to_string();
    let parsed = match files::read_text(path) {
        Ok(content) => {
            warnings.extend(yaml::unread(&name, &content));
            rules::parse_with(&name, &content, syntax)
        }
        Err(error) => {
            mistakes.push(error.to_string());
            return Vec::new();
        }
    };
    parsed.unwrap_or_else(|found| {
        mistakes.extend(found.iter().map(Mistake::to_string));
        Vec::new()
    })
}

/// What holds without a file: every alert is routed to nobody.
const NOBODY: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

fn routes(file: Option<&Path>, mistakes: &mut Vec<String>) -> Option<alertmanager::Config> {
    let Some(path) = file else {
        return Some(alertmanager::parse("", NOBODY).expect("the built-in text is valid"));
    };
    let text = match files::read_text(path) {
        Ok(text) => text,
        Err(error) => {
            mistakes.push(format!("notify.file: {error}"));
            return None;
        }
    };
    let mut told = |found: Vec<Mistake>| mistakes.extend(found.iter().map(Mistake::to_string));
    let mut config = alertmanager::parse(&path.display().to_string(), &text).map_err(&mut told).ok()?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let templates = |pattern: &str| {
        let files = read_all(folder, pattern)?;
        Ok(files.into_iter().map(|(path, text)| TemplateFile { path, text }).collect())
    };
    config.load_templates(&templates).map_err(told).ok()?;
    Some(config)
}

/// How often the collector writes series about itself and the membership; alerts on them should not wait for long.
const SELF_INTERVAL: Span = Span::from_seconds(5);
/// Samples that one rule may hold at once; ten million are 160 MB.
const MAX_RULE_SAMPLES: usize = 10_000_000;

impl Load {
    /// What the engine is told. `external_url` is used where the configuration names none.
    #[must_use]
    pub(crate) fn engine(&self, node_id: NodeId, external_url: &str) -> engine::Settings {
        let settings = &self.settings;
        let url = settings.external_url.as_deref().unwrap_or(external_url).trim_end_matches('/');
        engine::Settings {
            node_id,
            node_name: settings.name.clone(),
            naming: self.naming.clone(),
            nodes: self.nodes.clone(),
            storage: Options {
                retention: settings.storage.retention,
                max_bytes: settings.storage.max_bytes,
                max_series: settings.storage.max_series,
                ..Options::default()
            },
            out_of_order_window: settings.storage.out_of_order_window,
            self_interval: SELF_INTERVAL,
            rules: self.rules.clone(),
            rule_settings: rules::Settings {
                interval: settings.rules.interval,
                max_samples: MAX_RULE_SAMPLES,
                syntax: settings.syntax,
                external_labels: Labels::new(settings.rules.external_labels.clone()),
                external_url: url.to_owned(),
                ..rules::Settings::default()
            },
            alertmanager: self.alertmanager.clone(),
            remediations: self.remediations.clone(),
            exports: settings.remotes.iter().map(|remote| remote.name.clone()).collect(),
        }
    }

    /// The folder where relative paths in the file of routes begin.
    #[must_use]
    pub(crate) fn notify_folder(&self) -> &Path {
        self.settings.notify_file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// What is valid but should be written otherwise, for the log.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.rule_warnings.iter().chain(&self.alertmanager.warnings).map(ToString::to_string)
    }

    /// Keys that differ from `running` and need a restart to take effect.
    #[must_use]
    pub(crate) fn needs_restart(&self, running: &Settings) -> Vec<&'static str> {
        let new = &self.settings;
        let differs = [
            ("node.name", new.name != running.name),
            ("node.data_dir", new.data_dir != running.data_dir),
            ("gossip", new.gossip != running.gossip),
            ("http.bind", new.http_bind != running.http_bind),
            ("ingest.bind", (new.ingest_bind, new.ingest_advertise) != (running.ingest_bind, running.ingest_advertise)),
            ("ingest.tls", new.ingest_tls.is_some() != running.ingest_tls.is_some()),
            ("storage", new.storage != running.storage),
            ("log.format", new.log.format != running.log.format),
        ];
        differs.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
    }
}
