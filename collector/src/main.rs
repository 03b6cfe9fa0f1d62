//! The binary of the collector; everything is in its library.

fn main() -> std::process::ExitCode {
    watchfire_collector::main(std::env::args_os())
}
