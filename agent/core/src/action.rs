//! Actions: what a file on the node allows to be run, and nothing else.
//!
//! ```toml
//! [action.restart-service]
//! exec = ["/usr/bin/systemctl", "restart", "--", "{unit}"]   # absolute, no shell
//! kind = "restart"
//! idempotent = true
//! timeout = "60s"
//! verify = { exec = ["/usr/bin/systemctl", "is-active", "{unit}"], retries = 5, interval = "3s", deadline = "45s" }
//! max_per_hour = 3
//! cooldown = "5m"
//! [action.restart-service.params.unit]
//! enum = ["nginx.service", "php-fpm.service"]
//! ```
//!
//! An order chooses an action by name and gives its parameters; it adds no word of its own. A parameter fills a whole
//! argument, never a part of one, and is held against a pattern or a list first. Who may own such a file is checked by
//! the shell, which reads it.

use std::collections::BTreeMap;

use watchfire_shared::document::Position;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::order::OfferedAction;
use watchfire_shared::time::Span;

mod file;

#[cfg(test)]
mod tests;

pub use file::parse;

/// Bytes of one parameter's value. It is an argument of a process, such as the name of a unit, and no text.
pub const MAX_PARAM_BYTES: usize = 256;

/// One argument of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Slot {
    Literal(String),
    /// The value of the parameter with this name.
    Param(String),
}

/// What a parameter may be.
#[derive(Clone, Debug, Default)]
pub struct Param {
    /// The whole value has to match it.
    pub pattern: Option<Matcher>,
    /// The value has to be one of these.
    pub allowed: Option<Vec<String>>,
}

/// How it is found out whether an action helped.
#[derive(Clone, Debug)]
pub struct Verify {
    pub exec: Vec<Slot>,
    /// How often it is tried at most.
    pub retries: u32,
    /// The wait between two tries.
    pub interval: Span,
    /// How long all tries together may take.
    pub deadline: Span,
}

/// One action.
#[derive(Clone, Debug)]
pub struct Action {
    pub name: String,
    /// The command; its first word is an absolute path.
    pub exec: Vec<Slot>,
    /// Where the command stands in its file.
    pub exec_at: Position,
    pub kind: String,
    pub idempotent: bool,
    pub timeout: Span,
    pub verify: Option<Verify>,
    /// Orders of this action that are accepted within an hour, whoever gives them.
    pub max_per_hour: u32,
    /// The shortest time between two of them.
    pub cooldown: Span,
    pub params: BTreeMap<String, Param>,
    /// SHA-256 of the file that is executed, in hexadecimal; it is compared before each run.
    pub sha256: Option<String>,
    /// Digest of the text that the action comes from; given by whoever read the file.
    pub digest: String,
}

impl Action {
    /// The path that is executed.
    #[must_use]
    pub fn program(&self) -> &str {
        program(&self.exec)
    }

    /// How long the action and its verification may take together.
    #[must_use]
    pub fn longest(&self) -> Span {
        self.timeout + self.verify.as_ref().map_or(Span::ZERO, |verify| verify.deadline)
    }

    /// How it is offered to collectors.
    #[must_use]
    pub fn offer(&self) -> OfferedAction {
        OfferedAction {
            name: self.name.clone(),
            digest: self.digest.clone(),
            kind: self.kind.clone(),
            idempotent: self.idempotent,
            longest_ms: u64::try_from(self.longest().as_millis()).unwrap_or_default(),
            params: self.params.keys().cloned().collect(),
        }
    }

    /// Holds the parameters of an order against what the file allows.
    ///
    /// # Errors
    /// Which parameter is missing, unknown or has a value that is not allowed.
    pub fn check(&self, given: &BTreeMap<String, String>) -> Result<(), String> {
        if let Some(name) = given.keys().find(|name| !self.params.contains_key(*name)) {
            return Err(format!("the action has no parameter {name:?}"));
        }
        for (name, param) in &self.params {
            let value = given.get(name).ok_or_else(|| format!("the parameter {name:?} is missing"))?;
            param.check(value).map_err(|reason| format!("the parameter {name:?} {reason}"))?;
        }
        Ok(())
    }
}

/// The path that a command executes.
#[must_use]
pub fn program(exec: &[Slot]) -> &str {
    match exec.first() {
        Some(Slot::Literal(path)) => path,
        _ => "",
    }
}

/// The arguments of a command with the parameters filled in; the values were checked before.
#[must_use]
pub fn fill(exec: &[Slot], params: &BTreeMap<String, String>) -> Vec<String> {
    exec.iter()
        .map(|slot| match slot {
            Slot::Literal(text) => text.clone(),
            Slot::Param(name) => params.get(name).cloned().unwrap_or_default(),
        })
        .collect()
}

impl Param {
    fn check(&self, value: &str) -> Result<(), &'static str> {
        if value.len() > MAX_PARAM_BYTES {
            return Err("is too long");
        }
        if value.chars().any(char::is_control) {
            return Err("holds control characters");
        }
        if let Some(allowed) = &self.allowed {
            return if allowed.iter().any(|own| own == value) { Ok(()) } else { Err("is none of those allowed") };
        }
        // What begins with a dash is an option to most programs, unless the file lists it in words.
        if value.is_empty() || value.starts_with('-') {
            return Err("is empty or begins with a dash");
        }
        if self.pattern.as_ref().is_some_and(|pattern| pattern.matches(value)) {
            Ok(())
        } else {
            Err("does not match its pattern")
        }
    }
}
