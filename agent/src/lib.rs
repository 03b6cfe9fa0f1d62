//! The agent: samples its host, keeps what no collector has yet, sends it, and tells its peers how it is.
//!
//! This crate is a shell: it owns the process's files, sockets and threads and decides nothing. When to sample, what a
//! kernel file means, what goes to whom and what is kept is said by `watchfire-agent-core`.
//!
//! ```text
//! sampler thread (host) --+                +-> sampler thread
//! members (gossip) -------+-> inbox -> core+-> connections to collectors
//! connections ------------+                +-> spool thread (disk)
//! orders (own machine) ---+                +-> orders -> journal thread, supervisor processes
//! ```

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate is a shell")]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use watchfire_shell::arguments::{self, LogArguments, Origin};
use watchfire_shell::lifecycle::{self, exit};

pub mod config;

mod host;

mod sampling;

mod spool;

mod uplink;

mod action;

mod log;

mod http;

mod run;

pub use http::DOCUMENT as OPENAPI;

/// Samples this host and reports to the collectors of its cluster.
#[derive(Parser)]
#[command(name = "watchfire-agent", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent.
    Run {
        #[command(flatten)]
        origin: Origin,
        #[command(flatten)]
        log: LogArguments,
    },
    /// Check the configuration, strictly.
    CheckConfig {
        #[command(flatten)]
        origin: Origin,
    },
    /// Sample this host once and print it as Prometheus text.
    Sample,
    /// Watch over one action; started by the agent itself.
    #[command(hide = true)]
    Supervise,
}

/// The command line of the program, for its manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the program with these arguments, the first being its own name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match arguments::parse::<Arguments>(arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match arguments.command {
        Command::Run { origin, log } => run_program(origin, &log),
        Command::CheckConfig { origin } => check_config(&origin),
        Command::Supervise => action::supervise::main(),
        Command::Sample => {
            print!("{}", sampling::once());
            ExitCode::SUCCESS
        }
    }
}

fn check_config(origin: &Origin) -> ExitCode {
    match config::read(origin, true) {
        Ok(loaded) => {
            let mistakes = loaded.settings.actions.check();
            if !mistakes.is_empty() {
                mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
                return ExitCode::from(exit::ERROR);
            }
            let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
            let files = if files.is_empty() { "built-in defaults".to_owned() } else { files.join(", ") };
            println!("{files}: ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(exit::ERROR)
        }
    }
}

fn run_program(origin: Origin, log: &LogArguments) -> ExitCode {
    let loaded = match config::read(&origin, false) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(exit::ERROR);
        }
    };
    if let Err(error) = log.start(&loaded.settings.log.level, loaded.settings.log.format) {
        eprintln!("watchfire-agent: {error}");
        return ExitCode::from(exit::ERROR);
    }
    // One thread: an agent waits most of its time, and each worker of a larger runtime costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(run::run(loaded, origin));
        // A name that is being resolved for a connection must not hold up the end.
        runtime.shutdown_background();
        result
    });
    result.unwrap_or_else(|error| {
        tracing::error!("{}", lifecycle::with_causes(error.as_ref()));
        ExitCode::from(exit::ERROR)
    })
}
