//! The `watchfire` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    watchfire::main(std::env::args_os())
}
