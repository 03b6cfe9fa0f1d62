//! What the command lines of the daemons have in common: where the configuration comes from, how the log looks, and how
//! a line that was not understood is answered.
//!
//! It reads no file; [`crate::config`] does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::lifecycle::exit;
use crate::telemetry::{self, FilterError, LogFormat};

/// Where a configuration comes from: the command line's part, the same for every reload of one process.
#[derive(clap::Args, Clone, PartialEq, Debug, Default)]
pub struct Origin {
    /// The configuration, in place of the file in /etc/watchfire; the folder of more settings (agent.d, collector.d) is then looked for beside it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key, such as `http.bind=127.0.0.1:9000`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub overrides: Vec<(String, String)>,
}

/// How a daemon logs; each goes before what the configuration says.
#[derive(clap::Args, Clone, PartialEq, Debug, Default)]
pub struct LogArguments {
    /// What is logged, such as `info` or `watchfire_shell=debug,info`.
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl LogArguments {
    /// Starts the log. `level` and `format` are the configuration's.
    ///
    /// # Errors
    /// If the filter is not valid.
    pub fn start(&self, level: &str, format: LogFormat) -> Result<(), FilterError> {
        telemetry::start(self.log_level.as_deref(), level, self.log_format.unwrap_or(format))
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Reads a command line, the first argument being the program's own name.
///
/// # Errors
/// The code to exit with: the line was not understood, or asked for help or the version. What there is to say is printed.
pub fn parse<A: clap::Parser>(arguments: impl Iterator<Item = OsString>) -> Result<A, ExitCode> {
    A::try_parse_from(arguments).map_err(|error| {
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Arguments {
        #[command(flatten)]
        origin: Origin,
    }

    fn origin(line: &str) -> Result<Origin, ExitCode> {
        parse::<Arguments>(line.split(' ').map(OsString::from)).map(|arguments| arguments.origin)
    }

    #[test]
    fn values_may_hold_what_ends_a_key() {
        let origin = origin("agent --config a.toml --set node.name=x=y").unwrap();
        assert_eq!(origin.config, Some("a.toml".into()));
        assert_eq!(origin.overrides, [("node.name".to_owned(), "x=y".to_owned())]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_a_usage_error_and_help_is_none() {
        assert_eq!(origin("agent --set node.name").unwrap_err(), ExitCode::from(exit::USAGE));
        assert_eq!(origin("agent --help").unwrap_err(), ExitCode::SUCCESS);
    }
}
