//! Logs: structured lines on stderr, so that stdout stays data.
//!
//! What is logged follows the facts that cores emit; this module says how it looks, and bounds how much of one kind it is
//! ([`throttle`]).

mod throttle;

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt as format, reload};

use throttle::{Summary, Throttle};

/// The environment variable with a filter such as `info` or `watchfire_shell=debug,info`.
pub const LOG_VARIABLE: &str = "WATCHFIRE_LOG";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How often the log says what was left out of it.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// The running filter, and whether the command line or the environment has chosen it. One process has one log.
static RUNNING: OnceLock<Running> = OnceLock::new();

struct Running {
    filter: reload::Handle<Targets, Registry>,
    chosen: bool,
    bound: Bound,
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
    let variable = std::env::var(LOG_VARIABLE).ok().filter(|variable| !variable.is_empty());
    begin(flag.or(variable.as_deref()), configured, format)
}

fn begin(chosen: Option<&str>, configured: &str, format: LogFormat) -> Result<(), FilterError> {
    let filter = parse(chosen.unwrap_or(configured))?;
    let (filter, handle) = reload::Layer::new(filter);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = format::layer().with_writer(std::io::stderr).with_ansi(colour);
    let bound = Bound::default();
    let registry = tracing_subscriber::registry().with(filter).with(bound.clone());
    // Tests start several programs in one process; the first one's lines serve them all.
    let started = match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if started.is_ok() {
        let _ = RUNNING.set(Running { filter: handle, chosen: chosen.is_some(), bound });
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

/// A filter is a level, or levels by module, of which the longest name that fits counts. It knows no spans and no regular
/// expressions, which would be half a megabyte of every program.
fn parse(filter: &str) -> Result<Targets, FilterError> {
    let compact: String = filter.chars().filter(|char| !char.is_whitespace()).collect();
    compact.parse().map_err(|error| FilterError { filter: filter.to_owned(), reason: format!("{error}") })
}

/// Says each minute, and when it is stopped, how many lines were left out of the log, and of which kind.
pub async fn summaries(stop: CancellationToken) {
    loop {
        let stopped = tokio::time::timeout(SUMMARY_INTERVAL, stop.cancelled()).await.is_ok();
        if let Some(running) = RUNNING.get() {
            running.bound.summarise();
        }
        if stopped {
            return;
        }
    }
}

/// The part of the log that leaves lines out.
#[derive(Clone)]
struct Bound(Arc<Bounding>);

struct Bounding {
    throttle: Mutex<Throttle>,
    began: Instant,
}

impl Default for Bound {
    fn default() -> Self {
        Self(Arc::new(Bounding { throttle: Mutex::default(), began: Instant::now() }))
    }
}

impl Bound {
    fn summarise(&self) {
        let summaries = self.with(Throttle::summarise);
        for Summary { level, message, lines } in summaries {
            match level {
                Level::ERROR => tracing::error!(lines, like = message, "lines were left out of the log"),
                Level::WARN => tracing::warn!(lines, like = message, "lines were left out of the log"),
                _ => tracing::info!(lines, like = message, "lines were left out of the log"),
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Throttle, Duration) -> T) -> T {
        let mut throttle = self.0.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut throttle, self.0.began.elapsed())
    }
}

impl<S: Subscriber> Layer<S> for Bound {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        // What tells of lines that were left out is bounded by their kinds.
        if *about.level() > Level::INFO || about.target() == module_path!() {
            return true;
        }
        let mut message = Message::default();
        event.record(&mut message);
        self.with(|throttle, now| throttle.admit(now, *about.level(), &message.0))
    }
}

/// Reads the message of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Lines that are kept to be looked at.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_hostile_peer_fills_no_disk_and_the_log_says_what_it_left_out() {
        let (lines, bound) = (Lines::default(), Bound::default());
        let writer = lines.clone();
        let written =
            format::layer().with_writer(move || writer.clone()).with_ansi(false).without_time().with_target(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(bound.clone()).with(written), || {
            for peer in 0..100_000 {
                tracing::warn!(peer, "a connection was refused");
            }
            tracing::info!("ready");
            bound.summarise();
            bound.summarise();
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let (refused, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("peer="));
        assert!((200..210).contains(&refused.len()), "{} lines", refused.len());
        let summary = format!(
            " WARN lines were left out of the log lines={} like=\"a connection was refused\"",
            100_000 - refused.len()
        );
        assert_eq!(rest, [" INFO ready", &summary]);
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = start(Some("watchfire=loud"), "info", LogFormat::Text).unwrap_err();
        assert!(error.to_string().starts_with("the log filter \"watchfire=loud\" is not valid"), "{error}");
    }

    #[test]
    fn a_filter_may_say_levels_by_module() {
        let filter = parse("warn, watchfire_shell=debug,watchfire_shell::gossip=error").unwrap();
        let enabled = |module, level| filter.would_enable(module, &level);
        assert!(enabled("hyper", Level::WARN) && !enabled("hyper", Level::INFO));
        assert!(enabled("watchfire_shell::http", Level::DEBUG) && !enabled("watchfire_shell::gossip", Level::WARN));
    }

    #[test]
    fn another_filter_counts_at_once_and_a_bad_one_never() {
        begin(None, "info", LogFormat::Text).unwrap();
        assert!(tracing::enabled!(Level::INFO) && !tracing::enabled!(Level::DEBUG));
        reconfigure("debug").unwrap();
        assert!(tracing::enabled!(Level::DEBUG));
        assert!(reconfigure("watchfire=loud").is_err());
        assert!(tracing::enabled!(Level::DEBUG), "the old one stays");
    }
}
