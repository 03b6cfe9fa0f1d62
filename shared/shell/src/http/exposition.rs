//! The text format of metrics, version 0.0.4, as Prometheus and everything that reads it expects it.

use std::fmt::Write;

use watchfire_shared::sample::MetricKind;

use crate::membership::MembershipHandle;

/// The content type of `/metrics`.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes metrics family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    out: String,
    family: String,
}

impl Exposition {
    /// Begins a family: all samples until the next family belong to it.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) -> &mut Self {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str());
        name.clone_into(&mut self.family);
        self
    }

    /// Adds a sample of the current family.
    pub fn sample<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>, value: f64) -> &mut Self {
        self.out.push_str(&self.family);
        let mut open = '{';
        for (name, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.out, "{open}{name}=\"{value}\"");
            open = ',';
        }
        if open == ',' {
            self.out.push('}');
        }
        let _ = match value {
            f64::INFINITY => writeln!(self.out, " +Inf"),
            f64::NEG_INFINITY => writeln!(self.out, " -Inf"),
            value => writeln!(self.out, " {value}"),
        };
        self
    }

    /// A family of one counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> &mut Self {
        self.family(name, MetricKind::Counter, help).sample([], value as f64)
    }

    /// A family of one gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> &mut Self {
        self.family(name, MetricKind::Gauge, help).sample([], value)
    }

    /// What gossip counted since the program began, by event.
    pub fn gossip_events(&mut self, membership: &MembershipHandle) -> &mut Self {
        self.family("watchfire_gossip_events_total", MetricKind::Counter, "What gossip counted, by event.");
        for (event, count) in membership.counters() {
            self.sample([("event", event)], count as f64);
        }
        self
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_a_scraper_reads() {
        let mut out = Exposition::default();
        out.counter("frames_total", "Frames.\nAll.", 3).family("load", MetricKind::Gauge, "Load.");
        out.sample([("path", "C:\\x"), ("say", "\"a\nb\"")], f64::NAN).sample([], f64::NEG_INFINITY).sample([], 0.25);
        let expected = "# HELP frames_total Frames.\\nAll.\n# TYPE frames_total counter\nframes_total 3\n\
                        # HELP load Load.\n# TYPE load gauge\nload{path=\"C:\\\\x\",say=\"\\\"a\\nb\\\"\"} NaN\nload -Inf\nload 0.25\n";
        assert_eq!(out.finish(), expected);
    }
}
