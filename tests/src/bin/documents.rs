//! `documents FOLDER`: writes manual pages, completions and configuration references for the packages.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: documents FOLDER");
        return ExitCode::from(2);
    };
    match watchfire_tests::documents::write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("documents: cannot write below {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
