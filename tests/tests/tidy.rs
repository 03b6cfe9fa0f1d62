//! Gates over the source tree: the arrows between crates, what cores may touch, registries, shipped files, and the shape
//! of the files themselves.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use watchfire_tests::house::project;

/// The crates that only decide. They reach no runtime, and clippy.toml's bans hold in them.
const CORES: [&str; 6] = [
    "watchfire-shared",
    "watchfire-gossip",
    "watchfire-agent-core",
    "watchfire-promql",
    "watchfire-store",
    "watchfire-collector-core",
];

/// Which crates of the house each crate may depend on. An arrow that is not here is refused.
const ARROWS: [(&str, &[&str]); 11] = [
    ("watchfire-shared", &[]),
    ("watchfire-gossip", &["shared"]),
    ("watchfire-shell", &["shared", "gossip"]),
    ("watchfire-agent-core", &["shared"]),
    ("watchfire-promql", &["shared"]),
    ("watchfire-store", &["shared"]),
    ("watchfire-collector-core", &["shared", "gossip", "promql", "store"]),
    ("watchfire-agent", &["shared", "gossip", "shell", "agent-core"]),
    ("watchfire-collector", &["shared", "gossip", "shell", "promql", "store", "collector-core"]),
    ("watchfire", &["shared", "shell", "agent", "collector"]),
    (
        "watchfire-tests",
        &["shared", "gossip", "shell", "agent", "agent-core", "collector", "collector-core", "promql", "store", ""],
    ),
];

/// Crates that bring a runtime, sockets or a clock of their own.
const RUNTIMES: [&str; 8] = ["tokio", "axum", "hyper", "reqwest", "mio", "socket2", "sysinfo", "rustls"];

/// The only files that may lift the bans of clippy.toml: one per shell, and the two disks behind the store's trait.
const SHELL_FILES: [&str; 11] = [
    "agent/src/lib.rs",
    "agent/src/main.rs",
    "collector/cli/src/lib.rs",
    "collector/cli/src/main.rs",
    "collector/src/lib.rs",
    "collector/src/main.rs",
    "collector/store/src/disk/real.rs",
    "collector/store/src/disk/sim.rs",
    "shared/shell/src/lib.rs",
    "tests/src/lib.rs",
    "tests/src/bin/bench.rs",
];

/// A folder whose every file stands in a registry: folder, file of the registry, what the entry of `x.rs` contains.
const REGISTRIES: [(&str, &str, &str); 4] = [
    ("agent/core/src/sampler", "agent/core/src/sampler.rs", "{}::"),
    ("collector/promql/src/func", "collector/promql/src/func.rs", "{}::"),
    ("collector/src/sender", "collector/src/sender.rs", "{}::"),
    ("collector/src/http", "collector/src/http.rs", "{}::"),
];

/// Lines that a source file may have; beyond it is probably two things.
const MAX_LINES: usize = 500;

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        // Of this platform alone: the crates that only others need were never fetched.
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", "host-tuple"])
        .arg("--manifest-path")
        .arg(project().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// Normal dependencies of every package in the graph, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let name = |id: &Value| {
        let packages = metadata["packages"].as_array().expect("packages");
        let package = packages.iter().find(|package| package["id"] == *id).expect("every id has its package");
        package["name"].as_str().expect("a name").to_owned()
    };
    let names: BTreeMap<String, String> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| (package["id"].to_string(), package["name"].as_str().unwrap_or_default().to_owned()))
        .collect();
    let normal = |dependency: &Value| {
        dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let mut graph = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().expect("a graph") {
        let dependencies =
            node["deps"].as_array().expect("dependencies").iter().filter(|dependency| normal(dependency));
        let dependencies = dependencies.map(|dependency| names[&dependency["pkg"].to_string()].clone()).collect();
        graph.insert(name(&node["id"]), dependencies);
    }
    graph
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn arrows_between_crates_are_those_of_the_design() {
    let graph = dependencies();
    for (name, allowed) in ARROWS {
        let allowed: BTreeSet<String> =
            allowed.iter().map(|short| format!("watchfire-{short}").trim_end_matches('-').to_owned()).collect();
        let own: BTreeSet<String> = graph[name].iter().filter(|dep| dep.starts_with("watchfire")).cloned().collect();
        assert!(own.is_subset(&allowed), "{name} depends on {:?}", own.difference(&allowed).collect::<Vec<_>>());
    }
    let members = graph.keys().filter(|name| name.starts_with("watchfire")).count();
    assert_eq!(members, ARROWS.len(), "every crate of the house stands in ARROWS");
}

#[test]
fn cores_reach_no_runtime() {
    let graph = dependencies();
    for core in CORES {
        let reached = reachable(&graph, core);
        for runtime in RUNTIMES {
            assert!(!reached.contains(runtime), "{core} reaches {runtime}");
        }
    }
}

/// Every source file of the product and its tests, relative to the project.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for top in ["shared", "agent", "collector", "tests"] {
        collect(&project().join(top), &mut files);
    }
    let text = |path: &PathBuf| std::fs::read_to_string(path).expect("a source file is text");
    let relative =
        |path: &Path| path.strip_prefix(project()).expect("it lies in the project").to_string_lossy().into_owned();
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| (relative(path), text(path)))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs") || path.contains("/examples/")
}

#[test]
fn only_shells_lift_the_bans_on_clocks_files_and_threads() {
    for (path, text) in sources() {
        if text.contains("clippy::disallowed") && !is_test(&path) {
            assert!(SHELL_FILES.contains(&path.as_str()), "{path} lifts a ban of clippy.toml");
            assert!(text.contains("reason = "), "{path} lifts a ban without a reason");
        }
    }
    assert!(!project().join("shared/clippy.toml").exists(), "a nearer clippy.toml would replace the one at the root");
}

#[test]
fn every_file_says_what_it_is_and_none_is_two_things() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{path} has {lines} lines");
        let unit_tests = path.ends_with("tests.rs") || path.contains("/tests/") && path.contains("/src/");
        assert!(text.starts_with("//!") || unit_tests, "{path} has no head docs");
        assert!(!path.ends_with("/mod.rs"), "{path}: modules are foo.rs beside foo/");
    }
}

#[test]
fn nothing_is_left_open_or_switched_off() {
    // Spelt so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimple", "mented!("], ["#[ign", "ore"]]
        .map(|parts| parts.concat());
    for (path, text) in sources() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{path} holds {mark}");
        }
        if !is_test(&path) {
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            assert!(!product.contains(".unwrap()"), "{path} unwraps in product code");
        }
    }
}

#[test]
fn every_file_of_a_registry_stands_in_it() {
    for (folder, registry, entry) in REGISTRIES {
        let text =
            std::fs::read_to_string(project().join(registry)).unwrap_or_else(|error| panic!("{registry}: {error}"));
        let mut files = Vec::new();
        collect(&project().join(folder), &mut files);
        let stems = files.iter().filter(|file| file.parent() == Some(&project().join(folder)));
        for stem in stems.filter_map(|file| file.file_stem()?.to_str()).filter(|stem| *stem != "tests") {
            let entry = entry.replace("{}", stem);
            assert!(text.contains(&entry), "{folder}/{stem}.rs does not stand in {registry}");
        }
    }
}

#[test]
fn every_limit_has_its_reason() {
    let text = std::fs::read_to_string(project().join("shared/src/limits.rs")).expect("the file is there");
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("pub const")) {
        assert!(lines[i - 1].starts_with("///"), "{line} has no reason");
    }
}
