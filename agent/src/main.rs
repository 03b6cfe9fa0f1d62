//! The binary of the agent; everything is in its library.

fn main() -> std::process::ExitCode {
    watchfire_agent::main(std::env::args_os())
}
