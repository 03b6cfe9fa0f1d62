//! One binary that is every program of the house, since cargo does not build another package's binaries for a test.

use std::ffi::OsString;
use std::process::ExitCode;

/// Becomes the program that the first argument names; `None` if it names none.
///
/// `arguments` start with this binary's own name.
pub fn dispatch(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.skip(1).peekable();
    match arguments.peek()?.to_str()? {
        "watchfire-agent" => Some(watchfire_agent::main(arguments)),
        "watchfire-collector" => Some(watchfire_collector::main(arguments)),
        "watchfire" => Some(watchfire::main(arguments)),
        _ => None,
    }
}
