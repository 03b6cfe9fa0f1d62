//! Rows by a part of their labels, found by hash so that no label set is built per row.

use std::collections::BTreeMap;

use watchfire_shared::labels::{Labels, METRIC_NAME};

use super::rows::is_name_part;

/// Which labels count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// The listed labels, or all but them.
    pub listed: bool,
    pub names: &'a [String],
    /// With all but the listed: the metric's type and unit do not count either.
    pub without_metadata: bool,
}

impl Part<'_> {
    fn keeps(&self, name: &str) -> bool {
        let listed = self.names.iter().any(|own| own == name);
        if self.listed {
            return listed;
        }
        let dropped = if self.without_metadata { is_name_part(name) } else { name == METRIC_NAME };
        !listed && !dropped
    }

    fn pairs<'l>(&self, labels: &'l Labels) -> impl Iterator<Item = (&'l str, &'l str)> {
        labels.iter().filter(|(name, _)| self.keeps(name))
    }

    /// FNV-1a, as fingerprints of label sets have it.
    fn hash(&self, labels: &Labels) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for (name, value) in self.pairs(labels) {
            for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash
    }
}

/// Numbers for the label sets that differ in the part that counts, in the order of their first appearance.
pub(super) struct Groups<'a> {
    part: Part<'a>,
    /// Groups by hash; more than one only if hashes collide.
    by_hash: BTreeMap<u64, Vec<usize>>,
    labels: Vec<Labels>,
}

impl<'a> Groups<'a> {
    pub(super) const fn new(part: Part<'a>) -> Self {
        Self { part, by_hash: BTreeMap::new(), labels: Vec::new() }
    }

    /// The group of a label set, which becomes a new one if there is none yet.
    pub(super) fn number(&mut self, labels: &Labels) -> usize {
        let hash = self.part.hash(labels);
        if let Some(known) = self.lookup(hash, labels) {
            return known;
        }
        let mut builder = labels.to_builder();
        builder.retain(|name| self.part.keeps(name));
        self.labels.push(builder.build());
        let number = self.labels.len() - 1;
        self.by_hash.entry(hash).or_default().push(number);
        number
    }

    /// The group of a label set, if there is one.
    pub(super) fn find(&self, labels: &Labels) -> Option<usize> {
        self.lookup(self.part.hash(labels), labels)
    }

    fn lookup(&self, hash: u64, labels: &Labels) -> Option<usize> {
        let candidates = self.by_hash.get(&hash)?;
        candidates.iter().copied().find(|number| self.part.pairs(labels).eq(self.labels[*number].iter()))
    }

    /// The labels that count, of a group.
    pub(super) fn labels(&self, number: usize) -> &Labels {
        &self.labels[number]
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }
}
