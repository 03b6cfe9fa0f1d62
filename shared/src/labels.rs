//! Label sets: the identity of a series, an alert or a node.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that label sets share, one pointer wide: a store holds one for each name and value of every series.
pub use arcstr::ArcStr as Text;

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";
/// The label that names the node a series comes from.
pub const INSTANCE: &str = "instance";
/// The label that groups nodes of one kind, as Prometheus' scrape jobs do.
pub const JOB: &str = "job";
/// The label that holds an alert's name.
pub const ALERT_NAME: &str = "alertname";

/// A set of labels, sorted by name, each name at most once, no value empty (an empty value is an absent label).
///
/// Cloning is a reference count. Names and values are any UTF-8 text; what may arrive is bounded in [`crate::limits`].
#[derive(Clone, Eq, Hash)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "what is the same allocation is the same text")]
pub struct Labels(Arc<[(Text, Text)]>);

/// Texts that series share are one allocation most of the time, which is told without reading them.
fn same_text(left: &Text, right: &Text) -> bool {
    Text::ptr_eq(left, right) || left == right
}

fn text_order(left: &Text, right: &Text) -> Ordering {
    if Text::ptr_eq(left, right) { Ordering::Equal } else { left.cmp(right) }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&*other.0);
        Arc::ptr_eq(&self.0, &other.0)
            || self.0.len() == other.0.len()
                && pairs.all(|(own, its)| same_text(&own.0, &its.0) && same_text(&own.1, &its.1))
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// That of the names and values one after the other.
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        for (own, its) in self.0.iter().zip(&*other.0) {
            let order = text_order(&own.0, &its.0).then_with(|| text_order(&own.1, &its.1));
            if order.is_ne() {
                return order;
            }
        }
        self.0.len().cmp(&other.0.len())
    }
}

impl Labels {
    /// Builds a set from pairs in any order; of a name that occurs twice the last value stays.
    #[must_use]
    pub fn new<N: Into<Text>, V: Into<Text>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(own, _)| (**own).cmp(name)).ok().map(|at| &*self.0[at].1)
    }

    /// The value of `name`, or the empty text where the label is absent, as matchers see it.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric name, or the empty text.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.value(METRIC_NAME)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pairs in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Pairs in the order of their names, as shared text, for building other sets without copying.
    #[must_use]
    pub fn pairs(&self) -> &[(Text, Text)] {
        &self.0
    }

    /// A builder that starts with these labels.
    #[must_use]
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.0.to_vec() }
    }

    /// A builder that starts with these labels and has room for so many more.
    #[must_use]
    pub fn to_builder_for(&self, more: usize) -> LabelsBuilder {
        let mut pairs = Vec::with_capacity(self.0.len() + more);
        pairs.extend_from_slice(&self.0);
        LabelsBuilder { pairs }
    }

    /// These labels and one more, which replaces an own label of that name.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = self.to_builder();
        builder.set(name, value);
        builder.build()
    }

    /// These labels without one.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        if self.get(name).is_none() {
            return self.clone();
        }
        Self(self.0.iter().filter(|(own, _)| &**own != name).cloned().collect())
    }

    /// The 64-bit FNV-1a hash over the sorted `name 0xff value 0xff`, as Prometheus' `model.LabelSet.Fingerprint` has it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for (name, value) in self.iter() {
            add(name.as_bytes());
            add(&[0xff]);
            add(value.as_bytes());
            add(&[0xff]);
        }
        Fingerprint(hash)
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

/// Collects labels and keeps them sorted.
#[derive(Clone, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(Text, Text)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match (self.pairs.binary_search_by(|(own, _)| own.cmp(&name)), value.is_empty()) {
            (Ok(at), true) => drop(self.pairs.remove(at)),
            (Ok(at), false) => self.pairs[at].1 = value,
            (Err(_), true) => {}
            (Err(at), false) => self.pairs.insert(at, (name, value)),
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(own, _)| &**own != name);
        self
    }

    /// Keeps the labels whose name the condition accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.pairs.retain(|(name, _)| keep(name));
        self
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.binary_search_by(|(own, _)| (**own).cmp(name)).ok().map(|at| &*self.pairs[at].1)
    }

    #[must_use]
    pub fn build(self) -> Labels {
        Labels(self.pairs.into())
    }
}

impl fmt::Display for Labels {
    /// `name{label="value"}` as Prometheus prints a series; names that are no plain identifiers are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = self.metric_name();
        let plain_metric = is_metric_name(metric);
        if plain_metric {
            f.write_str(metric)?;
        }
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if plain_metric && rest.peek().is_none() {
            return Ok(());
        }
        f.write_str("{")?;
        let mut separator = "";
        if !metric.is_empty() && !plain_metric {
            write!(f, "{}", Quoted(metric))?;
            separator = ", ";
        }
        for (name, value) in rest {
            if is_label_name(name) {
                write!(f, "{separator}{name}={}", Quoted(value))?;
            } else {
                write!(f, "{separator}{}={}", Quoted(name), Quoted(value))?;
            }
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text in double quotes with Go's escapes, as label values are printed.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for char in self.0.chars() {
            match char {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                char if (char as u32) < 0x20 || char == '\u{7f}' => write!(f, "\\x{:02x}", char as u32)?,
                char => write!(f, "{char}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Whether the text is a classic label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_label_name(text: &str) -> bool {
    is_identifier(text, false)
}

/// Whether the text is a classic metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
#[must_use]
pub fn is_metric_name(text: &str) -> bool {
    is_identifier(text, true)
}

fn is_identifier(text: &str, colon: bool) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colon && byte == b':');
    text.bytes().next().is_some_and(|first| !first.is_ascii_digit()) && text.bytes().all(allowed)
}

/// A label set's 64-bit hash, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(|_| serde::de::Error::custom("expected 16 hexadecimal digits"))
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::collections::BTreeMap::<String, String>::deserialize(deserializer).map(Self::new)
    }
}

impl<N: Into<Text>, V: Into<Text>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::new(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_unique_and_never_empty() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!((labels.get("c"), labels.value("c")), (None, ""));
        assert_eq!(labels.with("a", "").without("b"), Labels::default());
    }

    #[test]
    fn a_series_prints_as_prometheus_prints_it() {
        let up = Labels::new([(METRIC_NAME, "up"), ("job", "a\"b\\c\n")]);
        assert_eq!(up.to_string(), r#"up{job="a\"b\\c\n"}"#);
        assert_eq!(Labels::new([(METRIC_NAME, "up")]).to_string(), "up");
        assert_eq!(Labels::new([(METRIC_NAME, "a b"), ("c.d", "e")]).to_string(), r#"{"a b", "c.d"="e"}"#);
    }

    #[test]
    fn the_fingerprint_is_alertmanagers() {
        // FNV-1a of the empty input, as model.LabelSet{}.Fingerprint() returns it.
        assert_eq!(Labels::default().fingerprint().to_string(), "cbf29ce484222325");
        let first = Labels::new([("a", "b"), ("c", "d")]);
        assert_ne!(first.fingerprint(), Labels::new([("a", "bc"), ("d", "")]).fingerprint());
    }
}
