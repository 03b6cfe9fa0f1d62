//! The benchmark: each figure that the README quotes, measured here, beside a peer in the same run where one is installed.
//!
//! Times are CPU seconds of whole processes as the kernel accounts them, and ratios; wall time is only given where waiting
//! is the point (kill to webhook). A peer's program is taken from `PATH` or from the folder that `PEERS` names, and its
//! version stands in the row.

pub mod account;

pub mod row;

pub mod footprint;

pub mod ingest;

pub mod latency;

pub mod membership;

pub mod sweep;

mod fleet;

mod server;

pub mod query;

pub mod rules;

use std::path::PathBuf;

use row::Row;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Short enough for every CI run: about a twentieth of the counts.
    Quick,
    /// The counts that the figures in the README rest on.
    Full,
}

impl Effort {
    /// `full`, or a twentieth of it but at least one.
    #[must_use]
    pub fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => (full / 20).max(1),
        }
    }
}

/// Measures everything and prints the rows as they come.
///
/// # Errors
/// If a process of the house cannot be started; a missing peer is no error.
pub async fn run(binary: PathBuf, effort: Effort, only: Option<&str>, part: &membership::Part) -> anyhow::Result<()> {
    Row::print_heading();
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    if wanted("agent") {
        footprint::run(&binary, effort).await?;
    }
    ingest::run(&binary, effort, &wanted).await?;
    if wanted("latency") {
        latency::run(&binary, effort).await?;
    }
    if wanted("membership") {
        membership::run(&binary, effort, part).await?;
    }
    if wanted("query") {
        query::run(&binary, effort).await?;
    }
    if wanted("rules") {
        rules::run(&binary, effort).await?;
    }
    Ok(())
}

/// A peer's program, if it is installed.
#[must_use]
pub fn peer(program: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("PEERS").map(|peers| PathBuf::from(peers).join("root/usr"));
    let unpacked = peers.into_iter().flat_map(|usr| ["bin", "sbin"].map(|folder| usr.join(folder)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    unpacked
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The version that a peer's program prints, without what surrounds it.
#[must_use]
pub fn version_of(program: &std::path::Path) -> String {
    let output = std::process::Command::new(program).arg("--version").output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or("of unknown version");
    version.trim_end_matches(',').split('+').next().unwrap_or_default().to_owned()
}
