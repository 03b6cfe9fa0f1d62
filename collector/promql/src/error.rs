//! What can be wrong with a query: its text, or its evaluation.

use crate::storage::StorageError;

/// A text that is no PromQL expression, or one that cannot be typed or is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: parse error: {message}", position(*.line, *.column))]
pub struct ParseError {
    /// Line of the place, from 1; 0 where there is none.
    pub line: u32,
    /// Byte in the line, from 1.
    pub column: u32,
    pub message: String,
}

fn position(line: u32, column: u32) -> String {
    if line == 0 { "unknown position".to_owned() } else { format!("{line}:{column}") }
}

/// Why an evaluation gave no value. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The data or the arguments do not allow an answer, such as many-to-many matching.
    #[error("{0}")]
    Execution(String),
    /// The query holds more samples at once than the options allow.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// The cancel hook of the options said so.
    #[error("query was canceled in query execution")]
    Cancelled,
    #[error("{0}")]
    Storage(#[from] StorageError),
}
