//! Logs: structured lines on stderr, so that stdout stays data.
//!
//! What is logged follows the facts that cores emit; this module only says how it looks.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable with a filter such as `info` or `watchfire_shell=debug,info`.
pub const LOG_VARIABLE: &str = "WATCHFIRE_LOG";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The filter was not understood.
#[derive(Debug, thiserror::Error)]
#[error("the log filter {filter:?} is not valid: {reason}")]
pub struct FilterError {
    filter: String,
    reason: String,
}

/// Starts logging to stderr. `flag` goes before `WATCHFIRE_LOG`, which goes before `configured`.
///
/// Colour is used on a terminal only, and never when `NO_COLOR` is set. A second call in one process changes nothing.
///
/// # Errors
/// If the filter is not valid.
pub fn start(flag: Option<&str>, configured: &str, format: LogFormat) -> Result<(), FilterError> {
    let filter = match flag {
        Some(flag) => flag.to_owned(),
        None => std::env::var(LOG_VARIABLE).unwrap_or_else(|_| configured.to_owned()),
    };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| FilterError { filter: filter.clone(), reason: error.to_string() })?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // Tests start several programs in one process; the first one's lines serve them all.
    let _ = match format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let error = start(Some("watchfire=loud"), "info", LogFormat::Text).unwrap_err();
        assert!(error.to_string().starts_with("the log filter \"watchfire=loud\" is not valid"), "{error}");
    }
}
