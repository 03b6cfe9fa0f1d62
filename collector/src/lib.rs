//! The collector: takes samples from agents, keeps them, evaluates rules, notifies, and answers questions over HTTP.
//!
//! This crate is a shell: it owns the process's sockets, threads and files and decides nothing. What a frame means, when
//! an alert fires and who hears of it is said by `watchfire-collector-core`, whose engine runs on one thread
//! ([`engine`]); everything here turns what happens outside into its inputs, and its effects into deeds.
//!
//! ```text
//! agents -> ingest --+                      +-> ingest (replies)
//! members (gossip) --+-> inbox -> engine ---+-> rule jobs (worker threads) --> inbox
//! reload ------------+     |                +-> senders (webhook, ...) ------> inbox
//!                          +-> feed of the store -> export (remote write) -> inbox
//!                          +-> orders (signed) -----------> ingest (replies)
//!                          +-> published view and snapshot -> http
//! ```

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate is a shell")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use watchfire_promql::Syntax;
use watchfire_shell::arguments::{self, LogArguments, Origin};
use watchfire_shell::lifecycle::{self, exit};

pub mod config;

mod load;

mod engine;

mod ingest;

mod sender;

mod export;

mod forward;

mod order_key;

mod reload;

mod prometheus;

mod events;

mod http;

mod run;

mod check;

mod junit;

mod verify;

mod backup;

pub use http::DOCUMENT as OPENAPI;

/// Collects what agents report, evaluates rules and notifies.
#[derive(Parser)]
#[command(name = "watchfire-collector", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the collector.
    Run {
        #[command(flatten)]
        origin: Origin,
        #[command(flatten)]
        log: LogArguments,
    },
    /// Check the configuration and every file that it names.
    CheckConfig {
        #[command(flatten)]
        origin: Origin,
    },
    /// Check Prometheus rule files.
    CheckRules {
        /// Fail on warnings too.
        #[arg(long)]
        fatal_lint: bool,
        /// Allow an experimental part of PromQL, as `query.features` does.
        #[arg(long = "enable-feature", value_name = "NAME", value_parser = Syntax::FEATURES)]
        features: Vec<String>,
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check every file of a stopped collector's store: the log, the blocks of history and the state.
    Verify {
        #[command(flatten)]
        origin: Origin,
        /// The data directory, in place of the configuration's.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Copy what a collector keeps, running or not, into a new folder, and check the copy.
    Backup {
        /// The folder of the copy; it must not exist, or be empty.
        #[arg(value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        origin: Origin,
        /// The data directory, in place of the configuration's.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Put a backup into an empty data directory, after it was checked.
    Restore {
        /// The folder of the backup.
        #[arg(value_name = "DIR")]
        from: PathBuf,
        #[command(flatten)]
        origin: Origin,
        /// The data directory, in place of the configuration's.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Run rule unit tests (promtool's YAML) and PromQL scripts (`.test`).
    Test {
        /// Write the outcome of every case to this file, as JUnit's XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
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
        Command::CheckConfig { origin } => check::config(&origin),
        Command::CheckRules { fatal_lint, features, files } => {
            let syntax = Syntax::with_features(features.iter().map(String::as_str)).unwrap_or_default();
            check::rules(&files, syntax, fatal_lint)
        }
        Command::Verify { origin, data_dir } => verify::run(&origin, data_dir),
        Command::Backup { to, origin, data_dir } => backup::backup(&origin, data_dir, &to),
        Command::Restore { from, origin, data_dir } => backup::restore(&origin, data_dir, &from),
        Command::Test { junit, files } => check::test(&files, junit.as_deref()),
    }
}

fn run_program(origin: Origin, log: &LogArguments) -> ExitCode {
    let load = match load::load(&origin) {
        Ok(load) => load,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(exit::ERROR);
        }
    };
    if let Err(error) = log.start(&load.settings.log.level, load.settings.log.format) {
        eprintln!("watchfire-collector: {error}");
        return ExitCode::from(exit::ERROR);
    }
    // Fails only if a provider is already there, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("collector").enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run::run(load, origin)));
    result.unwrap_or_else(|error| {
        tracing::error!("{}", lifecycle::with_causes(error.as_ref()));
        ExitCode::from(exit::ERROR)
    })
}
