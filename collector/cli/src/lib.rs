//! The operator's client, and `watchfire dev`.
//!
//! The client speaks HTTP to a collector or an agent and nothing else: it reads no data directory and links to no core's
//! state. Data goes to standard output, everything said about it to standard error, and the exit code tells what
//! happened (the contract's codes are in `watchfire_shell::lifecycle`).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate is a shell")]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod client;

mod output;

mod members;

mod rules;

mod dev;

/// See and steer a fleet that Watchfire watches.
#[derive(Parser)]
#[command(name = "watchfire", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a collector and three agents on this machine, with the default rules, and see an alert arrive.
    Dev(dev::DevArguments),
    /// List the members of the cluster and what they are believed to be.
    Members(members::MembersArguments),
    /// One of the processes that `dev` starts.
    #[command(name = "dev-process", hide = true, disable_help_flag = true)]
    DevProcess {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// The command line of the program, for its manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the program with these arguments, the first being its own name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // Fails only if a provider is already there, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let result = match arguments.command {
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Members(arguments) => members::run(&arguments),
        Command::DevProcess { arguments } => return dev::process::become_one(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("watchfire: {failure}");
            failure.exit_code()
        }
    }
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
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Other(_) | Self::Refused(_) => ExitCode::from(1),
            Self::Unreachable(_) => ExitCode::from(4),
        }
    }
}
