//! Configuration documents that remember where each word stands, and decoding that reports every mistake at once.
//!
//! YAML and TOML are read into one tree of [`Node`]s with positions ([`yaml`], [`toml`]). A file format is a function
//! that walks the tree with [`Table`] and the `text`, `span`, ... readers; each mistake goes into a [`Report`], with file, line,
//! column, what was expected and the nearest valid word, and the walk goes on.

pub mod yaml;

pub mod toml;

mod emit;

mod read;

use std::fmt;

pub use emit::emit;
pub use read::{Table, boolean, float, integer, list, nearest, span, text, text_list, text_map, word};

/// A place in a file, both numbers from 1; the column counts characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// One value of a document and where it starts.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    pub at: Position,
    pub value: Value,
}

/// What stands at a place of a document.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Nothing: `key:` in YAML.
    Null,
    /// A scalar; what it means depends on who reads it, for YAML's plain words carry no type.
    Scalar(Scalar),
    List(Vec<Node>),
    /// Keys in the order of the file.
    Table(Vec<(Key, Node)>),
}

/// A scalar as it was written.
#[derive(Clone, PartialEq, Debug)]
pub struct Scalar {
    pub text: String,
    pub kind: ScalarKind,
}

/// What the syntax alone says about a scalar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScalarKind {
    /// Quoted in YAML, or a TOML string: text and nothing else.
    Text,
    /// A plain YAML word: text, number or boolean, as the reader wishes.
    Plain,
    /// A TOML integer, float, boolean or date.
    Integer,
    Float,
    Boolean,
    Date,
}

/// A key and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Key {
    pub at: Position,
    pub name: String,
}

/// One mistake in one file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mistake {
    pub file: String,
    /// `None` where the mistake is the file itself.
    pub at: Option<Position>,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}:{}:{}: {}", self.file, at.line, at.column, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Collects the mistakes of one file.
#[derive(Debug)]
pub struct Report {
    file: String,
    mistakes: Vec<Mistake>,
}

impl Report {
    #[must_use]
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), mistakes: Vec::new() }
    }

    /// Adds a mistake at a place.
    pub fn add(&mut self, at: Position, message: impl Into<String>) {
        self.mistakes.push(Mistake { file: self.file.clone(), at: Some(at), message: message.into() });
    }

    /// Adds a mistake of the file as a whole.
    pub fn add_whole(&mut self, message: impl Into<String>) {
        self.mistakes.push(Mistake { file: self.file.clone(), at: None, message: message.into() });
    }

    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The mistakes in the order of the file.
    #[must_use]
    pub fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort();
        self.mistakes.dedup();
        self.mistakes
    }

    /// `value` if it could be read and nothing was wrong; otherwise every mistake.
    ///
    /// # Errors
    /// The mistakes, in the order of the file.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Mistake>> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self.into_mistakes()),
        }
    }
}

impl Node {
    /// What kind of thing this is, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Scalar(scalar) => {
                let mut text: String = scalar.text.chars().take(60).collect();
                if text.len() < scalar.text.len() {
                    text.push('…');
                }
                format!("{text:?}")
            }
        }
    }

    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}

#[cfg(test)]
mod tests;
