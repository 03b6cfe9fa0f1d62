//! What a node_exporter said in half an hour, every ten seconds, on a busy machine with two processors: `real.gz` beside this
//! file. One series a line: its name and labels, a tabulator, its values; one that did not change is left empty, and all
//! later ones of a line that ends early.

use std::io::Read;

use anyhow::Context;
use flate2::read::GzDecoder;
use watchfire_shared::frame::message::SeriesEntry;
use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::sample::MetricKind;

const RECORDED: &[u8] = include_bytes!("real.gz");
/// Scrapes that were recorded.
const SCRAPES: usize = 180;

/// The recorded series, each with its value at each scrape.
pub(super) struct Real {
    series: Vec<(Labels, Vec<f64>)>,
}

impl Real {
    /// Unpacks them.
    ///
    /// # Errors
    /// If the file is not what the head of this module says.
    pub(super) fn unpack() -> anyhow::Result<Self> {
        let mut text = String::new();
        GzDecoder::new(RECORDED).read_to_string(&mut text)?;
        let series: anyhow::Result<Vec<_>> = text.lines().map(parse).collect();
        Ok(Self { series: series? })
    }

    pub(super) fn entries(&self) -> Vec<SeriesEntry> {
        let entry = |(slot, (labels, _)): (u32, &(Labels, Vec<f64>))| SeriesEntry {
            slot,
            labels: labels.clone(),
            kind: MetricKind::Gauge,
        };
        (0..).zip(&self.series).map(entry).collect()
    }

    /// The values at a tick, the recording over and over, a host some scrapes behind the one before it.
    pub(super) fn at(&self, host: usize, tick: usize, values: &mut Vec<f64>) {
        let scrape = (tick + host * 7) % SCRAPES;
        values.clear();
        values.extend(self.series.iter().map(|(_, own)| own[scrape]));
    }
}

fn parse(line: &str) -> anyhow::Result<(Labels, Vec<f64>)> {
    let (name, texts) = line.split_once('\t').context("a line has a tabulator")?;
    let mut values: Vec<f64> = Vec::with_capacity(SCRAPES);
    for text in texts.split(' ') {
        let value = if text.is_empty() { values.last().copied().context("a first value")? } else { text.parse()? };
        values.push(value);
    }
    let last = values.last().copied().unwrap_or_default();
    values.resize(SCRAPES, last);
    Ok((labels(name)?, values))
}

/// `name{label="value",...}` as node_exporter prints it; its values hold no escapes but of quotes and backslashes.
fn labels(text: &str) -> anyhow::Result<Labels> {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let mut pairs = vec![(METRIC_NAME.to_owned(), name.to_owned())];
    let mut rest = rest;
    while let Some((label, after)) = rest.split_once("=\"") {
        let (mut value, mut escaped, mut end) = (String::new(), false, after.len());
        for (at, letter) in after.char_indices() {
            match letter {
                '\\' if !escaped => escaped = true,
                '"' if !escaped => {
                    end = at + 1;
                    break;
                }
                letter => {
                    value.push(letter);
                    escaped = false;
                }
            }
        }
        pairs.push((label.trim_start_matches(',').to_owned(), value));
        rest = after.get(end..).context("a label's value ends")?;
    }
    Ok(Labels::new(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recording_is_that_of_a_host() {
        let real = Real::unpack().unwrap();
        let entries = real.entries();
        assert!(entries.len() > 500, "{}", entries.len());
        let root = entries.iter().find(|entry| entry.labels.get("mountpoint") == Some("/")).unwrap();
        assert!(root.labels.metric_name().starts_with("node_filesystem_"));
        let mut values = Vec::new();
        real.at(3, 1000, &mut values);
        assert_eq!(values.len(), entries.len());
    }
}
