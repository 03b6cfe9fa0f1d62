//! Every program of the house in one binary, for the end-to-end tests.

fn main() -> std::process::ExitCode {
    watchfire_tests::multicall::dispatch(std::env::args_os()).unwrap_or_else(|| {
        eprintln!("usage: multicall watchfire-agent|watchfire-collector|watchfire ARGUMENTS...");
        std::process::ExitCode::from(2)
    })
}
