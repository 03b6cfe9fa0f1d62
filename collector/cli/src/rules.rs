//! `watchfire rules`, and the rules that ship with Watchfire, for `dev`; packages install the same files to `/etc/watchfire/rules.d`.

mod list;

pub(crate) use list::{RulesArguments, run};

/// File names and contents.
pub(crate) const DEFAULT_RULES: [(&str, &str); 3] = [
    ("membership.yml", include_str!("../../../packaging/rules/membership.yml")),
    ("host.yml", include_str!("../../../packaging/rules/host.yml")),
    ("collector.yml", include_str!("../../../packaging/rules/collector.yml")),
];
