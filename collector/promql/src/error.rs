//! What can be wrong with a query: its text, or its evaluation.

use crate::storage::StorageError;

/// A text that is no PromQL expression, or one that cannot be typed or is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// Line of the place, from 1.
    pub line: u32,
    /// Byte in the line, from 1.
    pub column: u32,
    pub message: String,
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
