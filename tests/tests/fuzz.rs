//! The corpora of the fuzzers, and variations of them, through the entries that the fuzzers call.
//!
//! What a fuzzer has found is kept in its corpus, so that it stays mended. `tests/fuzz` tells how fuzzers are run.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_tests::fuzz::TARGETS;

/// Variations of each file. A fuzzer tries millions; these show that the entries work and stop what is easily found.
const VARIATIONS: usize = 40;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join("corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder is readable").path())
        .collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(&path).expect("the file is readable"))).collect()
}

/// Bits turned, bytes taken out, put in, repeated, and parts of another file.
fn varied(rng: &mut StdRng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let to = (at + rng.random_range(0..=16)).min(bytes.len());
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => drop(bytes.drain(at..to)),
            2 => bytes.insert(at, rng.random()),
            3 => bytes.extend_from_within(at..to),
            4 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let part = &other[from..(from + 64).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

macro_rules! entries {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { check(stringify!($name)) })*
    };
}

entries!(gossip, frames, remote_write, wal, block, promql, rules, alertmanager, template);

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the entry is registered");
    let files = corpus(name);
    assert!(files.len() >= 3, "the corpus of {name} has {} files", files.len());
    let (mut rng, mut accepted) = (StdRng::seed_from_u64(1), 0);
    for (path, bytes) in &files {
        let run = |bytes: &[u8], what: &str| {
            let outcome = std::panic::catch_unwind(|| (target.run)(bytes));
            outcome.unwrap_or_else(|_| panic!("{}, {what}: {:?}", path.display(), bytes.escape_ascii().to_string()))
        };
        accepted += usize::from(run(bytes, "as it is"));
        for variation in 0..VARIATIONS {
            let other = &files[rng.random_range(0..files.len())].1;
            run(&varied(&mut rng, bytes, other), &format!("variation {variation}"));
        }
    }
    assert!(4 * accepted >= files.len(), "{accepted} of {} files of {name} hold anything that is read", files.len());
}

#[test]
fn every_entry_has_its_test_and_its_fuzzer() {
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(targets, NAMES);
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no fuzzer in tests/fuzz/Cargo.toml");
        let fuzzer = std::fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(fuzzer.contains(&format!("fuzz::run(\"{name}\"")), "the fuzzer {name} calls another entry");
    }
}
