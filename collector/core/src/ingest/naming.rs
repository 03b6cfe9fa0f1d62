//! Final labels: what a series of an agent is called once the collector has added where it comes from.
//!
//! A label that the metric brings itself is never replaced. Names that the collector writes itself are reserved, so that
//! no agent can speak for the membership or for `up`.

use std::collections::BTreeMap;

use watchfire_shared::essential;
use watchfire_shared::labels::{INSTANCE, JOB, Labels, METRIC_NAME, Text, is_label_name, is_metric_name};
use watchfire_shared::limits::{MAX_LABEL_VALUE_BYTES, MAX_LABELS_PER_SERIES, MAX_NAME_BYTES};
use watchfire_shared::member::NodeId;

/// Metric names that only the collector writes.
pub const RESERVED: [&str; 8] = [
    "up",
    "ALERTS",
    "ALERTS_FOR_STATE",
    "watchfire_member_state",
    "watchfire_member_down_cause",
    "watchfire_member_condition",
    "watchfire_node_info",
    "watchfire_node_clock_offset_seconds",
];

/// Whether a series is admitted first where there is no room for all.
pub(crate) fn is_essential(labels: &Labels) -> bool {
    essential::family(labels.metric_name()).is_some()
}

/// A text with places for facts of a node: `{name}`, `{id}`, `{cluster}` and `{labels.NAME}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameTemplate(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Name,
    Id,
    Cluster,
    Label(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("`{{` without `}}`")]
    Unclosed,
    #[error("unknown place `{{{0}}}`, expected {{name}}, {{id}}, {{cluster}} or {{labels.NAME}}")]
    Unknown(String),
}

impl NameTemplate {
    /// Reads a template. Text outside of braces stands for itself.
    ///
    /// # Errors
    /// If a brace is not closed or names something else than the four places.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match place {
                "name" => Part::Name,
                "id" => Part::Id,
                "cluster" => Part::Cluster,
                _ => match place.strip_prefix("labels.") {
                    Some(label) if is_label_name(label) => Part::Label(label.to_owned()),
                    _ => return Err(TemplateError::Unknown(place.to_owned())),
                },
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    fn fill(&self, cluster: &str, node: &NodeFacts<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name => out.push_str(node.name),
                Part::Id => out.push_str(&node.id.to_string()),
                Part::Cluster => out.push_str(cluster),
                Part::Label(name) => out.push_str(node.labels.get(name).map_or("", String::as_str)),
            }
        }
        out
    }
}

/// How series of agents are called, as the configuration says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naming {
    pub cluster: String,
    pub job: NameTemplate,
    pub instance: NameTemplate,
    /// Node labels that go on every series of the node; the others stand on `watchfire_node_info` only.
    pub series_labels: Vec<String>,
}

/// What a name may be built from.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'a> {
    pub id: NodeId,
    pub name: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

/// Labels that every series of one node gets, unless the metric has them itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetLabels {
    pub instance: Text,
    pub job: Text,
    /// All of them, as shared text: ten thousand series of a node copy none of it.
    added: Vec<(Text, Text)>,
}

impl Naming {
    /// The defaults: `job="node"`, `instance="<node name>"`, no node labels on series.
    #[must_use]
    pub fn standard(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            job: NameTemplate(vec![Part::Text("node".to_owned())]),
            instance: NameTemplate(vec![Part::Name]),
            series_labels: Vec::new(),
        }
    }

    /// The labels of one node's series. An instance that comes out empty becomes the node's name.
    #[must_use]
    pub fn target(&self, node: NodeFacts<'_>) -> TargetLabels {
        let instance = self.instance.fill(&self.cluster, &node);
        let instance: Text = if instance.is_empty() { node.name.into() } else { instance.into() };
        let job: Text = self.job.fill(&self.cluster, &node).into();
        let mut added = vec![(Text::from(INSTANCE), instance.clone()), (Text::from(JOB), job.clone())];
        let of_node = self.series_labels.iter().filter_map(|name| node.labels.get_key_value(name));
        added.extend(of_node.map(|(name, value)| (Text::from(name.as_str()), Text::from(value.as_str()))));
        TargetLabels { instance, job, added }
    }
}

impl TargetLabels {
    /// The final labels of one series of the node.
    ///
    /// # Errors
    /// With the reason if the series cannot be kept: no metric name, a reserved one, or a limit of
    /// [`watchfire_shared::limits`].
    pub fn apply(&self, metric: &Labels) -> Result<Labels, String> {
        check(metric)?;
        let mut builder = metric.to_builder();
        for (name, value) in &self.added {
            if builder.get(name).is_none() {
                builder.set(name.clone(), value.clone());
            }
        }
        let labels = builder.build();
        if labels.len() > MAX_LABELS_PER_SERIES {
            return Err(format!("{} has more than {MAX_LABELS_PER_SERIES} labels", metric.metric_name()));
        }
        Ok(labels)
    }

    /// The labels of a series that the collector itself writes about the node.
    #[must_use]
    pub fn own(&self, metric: &str) -> Labels {
        Labels::new([(METRIC_NAME, metric), (INSTANCE, &self.instance), (JOB, &self.job)])
    }
}

fn check(metric: &Labels) -> Result<(), String> {
    let name = metric.metric_name();
    if !is_metric_name(name) {
        return Err("a series without a valid metric name".to_owned());
    }
    if RESERVED.contains(&name) {
        return Err(format!("{name} is written by the collector only"));
    }
    for (label, value) in metric.iter() {
        if label.len() > MAX_NAME_BYTES {
            return Err(format!("a label name of {name} is longer than {MAX_NAME_BYTES} bytes"));
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            return Err(format!("label {label} of {name} is longer than {MAX_LABEL_VALUE_BYTES} bytes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(job: &str, instance: &str, series_labels: &[&str]) -> Naming {
        Naming {
            cluster: "prod".to_owned(),
            job: NameTemplate::parse(job).unwrap(),
            instance: NameTemplate::parse(instance).unwrap(),
            series_labels: series_labels.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn target(naming: &Naming) -> TargetLabels {
        let labels = BTreeMap::from([("zone".to_owned(), "eu".to_owned()), ("role".to_owned(), "web".to_owned())]);
        naming.target(NodeFacts { id: NodeId(0xab), name: "web-1", labels: &labels })
    }

    #[test]
    fn the_node_is_added_and_the_metrics_own_labels_win() {
        let target = target(&naming("node", "{name}", &["zone", "rack"]));
        let metric = Labels::new([("__name__", "m"), ("job", "own"), ("a", "b")]);
        let expected = r#"m{a="b", instance="web-1", job="own", zone="eu"}"#;
        assert_eq!(target.apply(&metric).unwrap().to_string(), expected);
        assert_eq!(target.own("up").to_string(), r#"up{instance="web-1", job="node"}"#);
    }

    #[test]
    fn templates_name_a_node_by_any_of_its_facts() {
        let target = target(&naming("{cluster}/{labels.role}", "{name}:{id}", &[]));
        assert_eq!((&*target.job, &*target.instance), ("prod/web", "web-1:00000000000000ab"));
        assert_eq!(
            self::target(&naming("{labels.none}", "{labels.none}", &[])).own("up").to_string(),
            r#"up{instance="web-1"}"#
        );
    }

    #[test]
    fn a_bad_template_is_refused_with_what_was_expected() {
        assert_eq!(NameTemplate::parse("a{name"), Err(TemplateError::Unclosed));
        let error = NameTemplate::parse("{host}").unwrap_err().to_string();
        assert_eq!(error, "unknown place `{host}`, expected {name}, {id}, {cluster} or {labels.NAME}");
    }

    #[test]
    fn a_series_that_cannot_be_kept_is_refused_by_name() {
        let target = target(&Naming::standard("prod"));
        let long = "x".repeat(MAX_LABEL_VALUE_BYTES + 1);
        let many: Vec<(String, String)> =
            (0..MAX_LABELS_PER_SERIES).map(|i| (format!("l{i}"), "v".to_owned())).collect();
        let bad = [
            Labels::new([("a", "b")]),
            Labels::new([("__name__", "1x")]),
            Labels::new([("__name__", "up")]),
            Labels::new([("__name__", "m"), ("a", &long)]),
            Labels::new(many.into_iter().chain([("__name__".to_owned(), "m".to_owned())])),
        ];
        for labels in bad {
            assert!(target.apply(&labels).is_err(), "{labels}");
        }
    }
}
