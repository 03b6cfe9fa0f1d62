//! Facts: what the core has to say to the log, as values. The shell writes them.

/// How much a fact matters to an operator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// A decision, for whoever looks closely.
    Debug,
    /// A state change that an operator cares about.
    Info,
    /// Unusual; nobody has to act yet.
    Warn,
    /// A person must act.
    Error,
}

/// One thing worth a line in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    pub level: Level,
    /// Always the same text for the same kind of event; what differs stands in the fields.
    pub message: &'static str,
    pub fields: Vec<(&'static str, String)>,
}

impl Fact {
    pub(crate) fn new(level: Level, message: &'static str) -> Self {
        Self { level, message, fields: Vec::new() }
    }

    /// The fact with one more field.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "callers give what they have at hand, mostly temporaries")]
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }
}
