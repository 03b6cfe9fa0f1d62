//! The labels of a route, filled in for one notification.
//!
//! A label is a template over the notification's data, and may use other labels of its route by the function `routeLabels`,
//! in any order but not in a circle. One that fails is empty, and the mistake is told.

use std::cell::RefCell;
use std::collections::BTreeMap;

use watchfire_shared::time::Timestamp;

use crate::alertmanager::Template;
use crate::template::notification::{NotificationData, NotificationFunctions};
use crate::template::{Escape, Functions, TemplateSet, Value};

/// Labels that may wait for each other's values. Each takes a few KiB of the stack, and people lose count sooner.
const MAX_NESTED: usize = 16;

/// Fills in all labels; the second part names those that failed and why.
pub(super) fn fill_in(
    now: Timestamp,
    templates: &TemplateSet,
    labels: &BTreeMap<String, Template>,
    data: &NotificationData<'_>,
) -> (BTreeMap<String, String>, Vec<String>) {
    if labels.is_empty() {
        return (BTreeMap::new(), Vec::new());
    }
    let functions = NotificationFunctions { now, route_labels: BTreeMap::new() };
    let progress = RefCell::default();
    let resolver = Resolver { templates, labels, data: data.value(), functions, progress };
    let mut filled = BTreeMap::new();
    let mut mistakes = Vec::new();
    for name in labels.keys() {
        let value = resolver.value(name).unwrap_or_else(|mistake| {
            mistakes.push(format!("the label `{name}` of the route failed: {mistake}"));
            String::new()
        });
        filled.insert(name.clone(), value);
    }
    (filled, mistakes)
}

/// How far one label is.
#[derive(Debug, Clone)]
enum Progress {
    /// It is being rendered; whoever asks for it now stands in a circle.
    Open,
    Done(Result<String, String>),
}

struct Resolver<'a> {
    templates: &'a TemplateSet,
    labels: &'a BTreeMap<String, Template>,
    data: Value,
    functions: NotificationFunctions,
    progress: RefCell<BTreeMap<String, Progress>>,
}

impl Resolver<'_> {
    /// The value of a label; empty if there is none of this name.
    fn value(&self, name: &str) -> Result<String, String> {
        let Some(template) = self.labels.get(name) else { return Ok(String::new()) };
        let known = self.progress.borrow().get(name).cloned();
        match known {
            Some(Progress::Done(value)) => value,
            Some(Progress::Open) => Err(format!("the label `{name}` depends on itself")),
            None if self.open() >= MAX_NESTED => Err(format!("more than {MAX_NESTED} labels need each other")),
            None => {
                self.note(name, Progress::Open);
                let rendered = self.templates.render_text(&template.text, &self.data, self, Escape::None);
                let value = rendered.map_err(|error| error.to_string());
                self.note(name, Progress::Done(value.clone()));
                value
            }
        }
    }

    fn open(&self) -> usize {
        self.progress.borrow().values().filter(|progress| matches!(progress, Progress::Open)).count()
    }

    fn note(&self, name: &str, progress: Progress) {
        self.progress.borrow_mut().insert(name.to_owned(), progress);
    }
}

impl Functions for Resolver<'_> {
    fn has(&self, name: &str) -> bool {
        self.functions.has(name)
    }

    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        match (name, args) {
            ("routeLabels", [Value::Text(label)]) => self.value(label).map(Value::text),
            _ => self.functions.call(name, args),
        }
    }
}

#[cfg(test)]
mod tests {
    use watchfire_shared::document::Position;
    use watchfire_shared::labels::Labels;

    use super::*;

    /// Fills in `name=template` pairs.
    fn fill(labels: &[(&str, String)]) -> (Vec<String>, Vec<String>) {
        let template = |text: &String| Template { at: Position { line: 1, column: 1 }, text: text.clone() };
        let labels = labels.iter().map(|(name, text)| ((*name).to_owned(), template(text))).collect();
        let (none, empty) = (BTreeMap::new(), Labels::default());
        let data = NotificationData {
            now: Timestamp::EPOCH,
            receiver: "team",
            alerts: &[],
            group_labels: &Labels::new([("alertname", "A")]),
            common_labels: &empty,
            common_annotations: &empty,
            external_url: "",
            reason: "",
            route_labels: &none,
        };
        let (filled, mistakes) = fill_in(Timestamp::EPOCH, &TemplateSet::default(), &labels, &data);
        (filled.iter().map(|(name, value)| format!("{name}={value}")).collect(), mistakes)
    }

    fn needs(label: &str) -> String {
        format!("<{{{{ routeLabels {label:?} }}}}>")
    }

    #[test]
    fn labels_are_filled_in_whatever_their_order_and_a_circle_is_told() {
        let labels = [("a", needs("b")), ("b", needs("c")), ("c", "{{ .GroupLabels.alertname }}".to_owned())];
        assert_eq!(fill(&labels), (vec!["a=<<A>>".into(), "b=<A>".into(), "c=A".into()], Vec::new()));
        let (filled, mistakes) = fill(&[("a", needs("b")), ("b", needs("a")), ("c", needs("none"))]);
        assert_eq!(filled, ["a=", "b=", "c=<>"]);
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[0].contains("the label `a` depends on itself"), "{mistakes:?}");
    }

    #[test]
    fn a_long_chain_of_labels_ends() {
        let names: Vec<String> = (0..1000).map(|number| format!("l{number:03}")).collect();
        let labels: Vec<(&str, String)> =
            names.iter().zip(&names[1..]).map(|(own, next)| (own.as_str(), needs(next))).collect();
        let (filled, mistakes) = fill(&labels);
        assert_eq!(filled.len(), 999);
        assert!(mistakes[0].contains("more than 16 labels need each other"), "{}", mistakes[0]);
    }
}
