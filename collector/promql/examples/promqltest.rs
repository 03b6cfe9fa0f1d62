//! Runs `promqltest` scripts and prints how each went: `cargo run --example promqltest -- FILE.test..`
#![allow(clippy::disallowed_methods, reason = "an example reads the files that it is given")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut failed = 0;
    for path in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{path}: {error}");
                failed += 1;
                continue;
            }
        };
        let report = watchfire_promql::script::run(&text);
        for failure in &report.failures {
            println!("{path}:{}: {}", failure.line, failure.message);
        }
        println!("{path}: {} passed, {} failed", report.passed, report.failures.len());
        failed += report.failures.len();
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
