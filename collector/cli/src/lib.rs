//! The operator's client, and `watchfire dev`.
//!
//! The client speaks HTTP to a collector or an agent and nothing else: it reads no data directory and links to no core's
//! state. Data goes to standard output, everything said about it to standard error, and the exit code tells what
//! happened (the contract's codes are in `watchfire_shell::lifecycle`).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate is a shell")]

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use watchfire_shell::arguments;
use watchfire_shell::lifecycle::exit;

mod client;

mod output;

mod watch;

mod matching;

mod when;

mod members;

mod nodes;

mod alerts;

mod status;

mod doctor;

mod events;

mod query;

mod silence;

mod rules;

mod remediate;

mod keys;

mod report;

mod dev;

/// See and steer a fleet that Watchfire watches.
#[derive(Parser)]
#[command(name = "watchfire", version, about, max_term_width = 100)]
struct Arguments {
    /// Of every command: their arguments may stand before it as well.
    #[command(flatten)]
    _client: client::ClientArguments,
    #[command(flatten)]
    _output: output::OutputArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a collector and three agents on this machine, with the default rules, and see an alert arrive
    Dev(dev::DevArguments),
    /// List the members of the cluster and what they are believed to be
    Members(members::MembersArguments),
    /// List the nodes that a collector watches, and how they are
    #[command(visible_alias = "node")]
    Nodes(nodes::NodesArguments),
    /// List alerts that are pending or fire, and what keeps them quiet
    Alerts(alerts::AlertsArguments),
    /// Show how the collectors are
    Status(status::StatusArguments),
    /// Look for what is wrong: collectors, the agent here, clocks, members, receivers, rules, disks
    Doctor(doctor::DoctorArguments),
    /// Follow what happens: members, alerts, orders, maintenance
    Events(events::EventsArguments),
    /// Evaluate a PromQL expression
    Query(query::QueryArguments),
    /// Keep alerts quiet for some time
    Silence(silence::SilenceArguments),
    /// List rules and how their evaluation went
    Rules(rules::RulesArguments),
    /// See what is repaired by itself and why not; pause it, approve it, try what it would do
    Remediate(remediate::RemediateArguments),
    /// List the keys of encrypted gossip and who holds them; rotate them
    Keys(keys::KeysArguments),
    /// Report how available nodes were, and how much of it is known
    Report(report::ReportArguments),
    /// Print completions for a shell, to be sourced or put into its folder of completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// One of the processes that `dev` starts
    #[command(name = "dev-process", hide = true, disable_help_flag = true)]
    DevProcess {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Runs the program with these arguments, the first being its own name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // Fails only if a provider is already there, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = match arguments::parse::<Arguments>(arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let result = match arguments.command {
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Members(arguments) => members::run(&arguments),
        Command::Nodes(arguments) => nodes::run(&arguments),
        Command::Alerts(arguments) => alerts::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Query(arguments) => query::run(&arguments),
        Command::Silence(arguments) => silence::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Remediate(arguments) => remediate::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Completions { shell } => completions(shell),
        Command::DevProcess { arguments } => return dev::process::become_one(&arguments),
    };
    match result {
        Ok(code) => code,
        // Whoever read the output has seen enough.
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&format!("watchfire: {failure}"));
            failure.exit_code()
        }
    }
}

/// The command line with all its arguments, from which man pages and completions are made.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "watchfire", &mut text);
    std::io::stdout().write_all(&text).map_err(Failure::from_output)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command's requests on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    runtime.block_on(future)
}

/// The exit code of a command that did what it was asked, for a condition that it was to look for.
fn code(not_met: bool) -> ExitCode {
    ExitCode::from(if not_met { exit::CONDITION_NOT_MET } else { exit::OK })
}

/// Says something beside the data; nobody has to listen.
fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Writes one line of data.
fn write_line(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{}", output::plain(text)).map_err(Failure::from_output)
}

/// Why a command did not do what it was asked, with the exit code that says so.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
    /// Nobody answered at any of the addresses that were tried.
    #[error("{0}")]
    Unreachable(String),
    /// The other side answered with a problem of its own.
    #[error("{0}")]
    Refused(String),
    /// The other side did not understand what it was asked.
    #[error("{0}")]
    Invalid(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unauthorised(String),
    /// A guard of the other side keeps it from acting.
    #[error("{0}")]
    Blocked(String),
    /// The place in a list is of another life of the other side.
    #[error("{0}")]
    Gone(String),
    /// Nobody reads what is printed any more.
    #[error("the output was closed")]
    Closed,
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Closed => ExitCode::from(exit::OK),
            Self::Other(_) | Self::Refused(_) | Self::Invalid(_) | Self::Gone(_) => ExitCode::from(exit::ERROR),
            Self::Usage(_) => ExitCode::from(exit::USAGE),
            Self::Unreachable(_) => ExitCode::from(exit::UNREACHABLE),
            Self::Unauthorised(_) => ExitCode::from(exit::UNAUTHORISED),
            Self::Blocked(_) => ExitCode::from(exit::GUARD),
        }
    }

    /// What became of writing to standard output.
    fn from_output(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(anyhow::Error::from(error).context("cannot write the output")),
        }
    }

    /// The same, with the name of the thing that it concerns.
    fn about(self, thing: &str) -> Self {
        match self {
            Self::Refused(message) => Self::Refused(format!("{}: {message}", output::plain(thing))),
            Self::Invalid(message) => Self::Invalid(format!("{}: {message}", output::plain(thing))),
            other => other,
        }
    }
}
