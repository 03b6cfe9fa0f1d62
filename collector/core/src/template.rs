//! Go's `text/template` for annotations, labels and notifications: our own engine over typed [`Value`]s.
//!
//! The language is Go's (<https://pkg.go.dev/text/template>) as far as rule files and Alertmanager templates use it: actions,
//! pipelines, variables, `if`, `with`, `range`, `define`, `template`, `block`, trims, comments, method calls and the
//! built-in functions. The two families of functions are in [`rule`] and [`notification`]. A missing map key is the zero
//! value, as both programs configure it. There are no complex numbers, no function values and no custom delimiters.
//!
//! Rendering ends: output, steps and nesting are bounded, and nothing here panics on any input.

pub mod value;

pub mod rule;

pub mod notification;

mod lex;

mod tree;

mod parse;

mod execute;

pub mod escape;

mod builtin;

mod printf;

mod number;

mod convert;

mod clock;

mod humanize;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use watchfire_shared::document::Position;

pub use escape::Escape;
pub use value::Value;

pub(crate) use convert::{query_escape, unquote};
pub(crate) use number::format_float;
use tree::Body;

/// The longest output, and the longest text that a function may make, bytes. Chat services refuse far shorter messages.
pub const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// Actions, loop rounds and calls of one rendering. A page of 10,000 alerts with ten labels each needs about 500,000.
pub const MAX_STEPS: u32 = 2_000_000;
/// Nesting of blocks and parentheses in one text, and of lists in each other. Real ones stay under ten.
pub const MAX_DEPTH: u32 = 64;
/// Nesting of blocks, parentheses and called templates while rendering. A thread's stack of 2 MiB holds several times as much.
pub const MAX_RUN_DEPTH: u32 = 200;

/// Why a template cannot be read or rendered, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TemplateError {
    /// The file or template whose text `at` counts in; may be empty.
    pub template: Arc<str>,
    pub at: Position,
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.template.is_empty() {
            write!(f, "{}:", self.template)?;
        }
        write!(f, "{}:{}: {}", self.at.line, self.at.column, self.message)
    }
}

/// The functions that templates may call beside the built-in ones.
pub trait Functions {
    /// Whether there is such a function; asked when a template is read.
    fn has(&self, name: &str) -> bool;

    /// Calls a function.
    ///
    /// # Errors
    /// Says what was wrong with the arguments; the rendering ends there.
    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String>;
}

/// Named templates that were read together and may call each other.
#[derive(Debug, Clone, Default)]
pub struct TemplateSet {
    bodies: BTreeMap<String, Arc<Body>>,
}

impl TemplateSet {
    /// Reads a text and adds it under `name`, with the templates that it defines. A later definition replaces an earlier one,
    /// except that an empty one replaces nothing.
    ///
    /// # Errors
    /// The first mistake in the text; the set is then unchanged.
    pub fn add(&mut self, name: &str, text: &str, functions: &dyn Functions) -> Result<(), TemplateError> {
        let variables: &[&str] = &[];
        self.add_with_variables(name, text, functions, variables)
    }

    /// As [`TemplateSet::add`], for a text that finds variables such as `$labels` already set.
    pub(crate) fn add_with_variables(
        &mut self,
        name: &str,
        text: &str,
        functions: &dyn Functions,
        variables: &[&str],
    ) -> Result<(), TemplateError> {
        for (name, body) in parse::parse(name, text, functions, variables)? {
            if !body.is_blank() || !self.bodies.contains_key(&name) {
                self.bodies.insert(name, Arc::new(body));
            }
        }
        Ok(())
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.bodies.keys().map(String::as_str)
    }

    /// Renders a template with `data` as its dot.
    ///
    /// # Errors
    /// The first mistake that happens while rendering, or the bound that was reached.
    pub fn render(&self, name: &str, data: &Value, functions: &dyn Functions) -> Result<String, TemplateError> {
        execute::render(self, name, data, &[], functions, Escape::None)
    }

    /// Renders a text that may call the templates of this set, with its values escaped for where the output goes.
    ///
    /// # Errors
    /// The first mistake in the text or while rendering, or the bound that was reached.
    pub fn render_text(
        &self,
        text: &str,
        data: &Value,
        functions: &dyn Functions,
        escape: Escape,
    ) -> Result<String, TemplateError> {
        // Most fields are plain words.
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let mut set = self.clone();
        set.add("", text, functions)?;
        execute::render(&set, "", data, &[], functions, escape)
    }

    /// Looks for the first call of a template that is not there, in a text that is to be rendered with this set, and in what
    /// it calls.
    ///
    /// # Errors
    /// The text's own mistake, or the call and where it stands.
    pub fn check_text(&self, text: &str, functions: &dyn Functions) -> Result<(), TemplateError> {
        let mut set = self.clone();
        set.add("", text, functions)?;
        let mut seen = BTreeSet::new();
        let mut open = vec![Arc::<str>::from("")];
        while let Some(name) = open.pop() {
            let Some(body) = set.bodies.get(&*name) else { continue };
            for (at, called) in body.calls() {
                if !set.bodies.contains_key(called) {
                    let message = format!("template {called:?} not defined");
                    return Err(TemplateError { template: body.source.clone(), at, message });
                }
                if seen.insert(called.to_owned()) {
                    open.push(called.into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
