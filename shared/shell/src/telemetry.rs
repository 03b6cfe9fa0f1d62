//! Logs: structured lines on stderr, so that stdout stays data.
//!
//! What is logged follows the facts that cores emit; this module only says how it looks.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The environment variable with a filter such as `info` or `watchfire_shell=debug,info`.
pub const LOG_VARIABLE: &str = "WATCHFIRE_LOG";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The running filter, and whether the command line or the environment has chosen it. One process has one log.
static RUNNING: OnceLock<Running> = OnceLock::new();

struct Running {
    filter: reload::Handle<EnvFilter, Registry>,
    chosen: bool,
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
    let variable = std::env::var(LOG_VARIABLE).ok();
    begin(flag.or(variable.as_deref()), configured, format)
}

fn begin(chosen: Option<&str>, configured: &str, format: LogFormat) -> Result<(), FilterError> {
    let filter = parse(chosen.unwrap_or(configured))?;
    let (filter, handle) = reload::Layer::new(filter);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let registry = tracing_subscriber::registry().with(filter);
    // Tests start several programs in one process; the first one's lines serve them all.
    let started = match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if started.is_ok() {
        let _ = RUNNING.set(Running { filter: handle, chosen: chosen.is_some() });
    }
    Ok(())
}

/// Takes another filter from the configuration, unless the command line or the environment has chosen one.
///
/// # Errors
/// If the filter is not valid; the old one stays.
pub fn reconfigure(configured: &str) -> Result<(), FilterError> {
    let filter = parse(configured)?;
    if let Some(running) = RUNNING.get().filter(|running| !running.chosen) {
        // Fails only if the log has ended, and then nothing is written anyway.
        let _ = running.filter.reload(filter);
    }
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    EnvFilter::try_new(filter).map_err(|error| FilterError { filter: filter.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let error = start(Some("watchfire=loud"), "info", LogFormat::Text).unwrap_err();
        assert!(error.to_string().starts_with("the log filter \"watchfire=loud\" is not valid"), "{error}");
    }

    #[test]
    fn another_filter_counts_at_once_and_a_bad_one_never() {
        begin(None, "info", LogFormat::Text).unwrap();
        assert!(tracing::enabled!(tracing::Level::INFO) && !tracing::enabled!(tracing::Level::DEBUG));
        reconfigure("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(reconfigure("watchfire=loud").is_err());
        assert!(tracing::enabled!(tracing::Level::DEBUG), "the old one stays");
    }
}
