//! The benchmark's binary: `bench [--full] [--only agent|ingest|ingest-load|ingest-sizes|latency|membership|query|rules]`,
//! `bench --only sweep[:CASE]` for the membership in virtual time, `bench --only membership --sizes 10,50 --profiles lan,fast
//! --no-faults` for a part of it. It is also every program of the house, so that it can start them.

#![allow(clippy::disallowed_methods, reason = "a benchmark is a shell")]

use std::process::ExitCode;

use watchfire_tests::bench::{self, Effort};

fn main() -> ExitCode {
    if let Some(code) = watchfire_tests::multicall::dispatch(std::env::args_os()) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)).map(String::as_str)
    };
    let only = value("--only");
    let effort = if arguments.iter().any(|argument| argument == "--full") { Effort::Full } else { Effort::Quick };
    if let Some(case) = only.and_then(|only| only.strip_prefix("sweep")) {
        let swept = bench::sweep::run(effort, case.strip_prefix(':'), value("--pace"));
        return told(swept);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let own = std::env::current_exe()?;
        let part = bench::membership::Part::read(&arguments, effort)?;
        // How the benchmark of the membership runs itself in a network namespace.
        match arguments.iter().any(|argument| argument == "--inside") {
            true => runtime.block_on(bench::membership::inside(&own, effort, &part)),
            false => runtime.block_on(bench::run(own, effort, only, &part)),
        }
    });
    told(result)
}

fn told(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
