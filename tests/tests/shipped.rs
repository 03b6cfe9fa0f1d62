//! Every file that is shipped for users is loaded here by the code that will read it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests are shells")]

use std::path::{Path, PathBuf};

use watchfire_collector_core::{alertmanager, remediation, rules, unit_test};
use watchfire_shared::config::{self, ConfigKey};
use watchfire_shared::document::{self, Report};
use watchfire_tests::house::project;

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project().join(folder)).expect("the folder is there").flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no .{extension}");
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn mistakes_of(file: &str, text: &str, keys: &[ConfigKey]) -> Vec<String> {
    let mut report = Report::new(file);
    let root = document::toml::parse(text, &mut report);
    root.iter().for_each(|root| config::check(root, keys, &mut report));
    report.into_mistakes().iter().map(ToString::to_string).collect()
}

#[test]
fn configuration_files_have_no_mistake() {
    for path in files("packaging/config", "toml") {
        let keys = match name(&path).as_str() {
            "agent.toml" => watchfire_agent::config::KEYS,
            "collector.toml" => watchfire_collector::config::KEYS,
            other => panic!("{other} is read by no program"),
        };
        assert_eq!(mistakes_of(&name(&path), &read(&path), keys), Vec::<String>::new());
    }
}

#[test]
fn the_settings_of_the_first_steps_have_no_mistake() {
    let text = read(&project().join("packaging/first-steps.md"));
    let blocks: Vec<&str> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    let programs = [watchfire_collector::config::KEYS, watchfire_agent::config::KEYS];
    assert_eq!(blocks.len(), programs.len());
    for (block, keys) in blocks.into_iter().zip(programs) {
        assert_eq!(mistakes_of("first-steps.md", block, keys), Vec::<String>::new());
    }
}

#[test]
fn the_reference_of_each_program_has_no_mistake() {
    for keys in [watchfire_agent::config::KEYS, watchfire_collector::config::KEYS] {
        let reference = config::reference(keys);
        let settings = reference.lines().filter(|line| !line.starts_with("# "));
        let text: Vec<&str> = settings.map(|line| line.trim_start_matches('#')).collect();
        assert_eq!(mistakes_of("reference", &text.join("\n"), keys), Vec::<String>::new());
    }
}

#[test]
fn route_trees_load() {
    for path in files("packaging/config", "yml") {
        alertmanager::parse(&name(&path), &read(&path)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    }
}

#[test]
fn rule_files_load_and_their_unit_tests_pass() {
    let rules: Vec<(String, String)> =
        files("packaging/rules", "yml").iter().map(|path| (name(path), read(path))).collect();
    let report = rules::check(&rules);
    assert!(report.is_good() && report.warnings.is_empty(), "{report}");
    for path in files("packaging/rules/tests", "yml") {
        let load = |pattern: &str| {
            let file = path.parent().unwrap_or(&path).join(pattern);
            Ok(vec![(pattern.to_owned(), read(&file))])
        };
        let report = unit_test::run(&name(&path), &read(&path), &load);
        assert!(report.failures.is_empty() && report.passed > 0, "{report}");
    }
    for (rules, _) in &rules {
        let test = project().join("packaging/rules/tests").join(rules.replace(".yml", "_test.yml"));
        assert!(test.exists(), "{rules} has no unit test");
    }
}

#[test]
fn examples_of_actions_and_remediations_load_and_name_the_defaults() {
    for path in files("packaging/examples/actions.d", "toml") {
        let actions = watchfire_agent_core::action::parse(&name(&path), &read(&path));
        assert!(!actions.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).is_empty());
    }
    for path in files("packaging/examples/remediations.d", "yml") {
        let parsed =
            remediation::parse(&[(name(&path), read(&path))]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        for remediation in parsed {
            assert_eq!(remediation.mode, remediation::Mode::Observe, "an example changes nothing before it was read");
            assert_eq!(remediation.guards, remediation::Guards::default());
        }
    }
}

#[test]
fn every_rule_file_is_linked_into_the_folder_that_the_collector_reads() {
    let links = read(&project().join("packaging/systemd/watchfire-collector.tmpfile"));
    let linked: Vec<&str> = links.lines().filter(|line| line.starts_with("L ")).collect();
    let expected: Vec<String> = files("packaging/rules", "yml")
        .iter()
        .map(|path| name(path))
        .map(|name| format!("L /etc/watchfire/rules.d/{name} - - - - /usr/share/watchfire/rules/{name}"))
        .collect();
    assert_eq!(linked, expected);
}

#[test]
fn the_lint_of_rules_knows_every_family_that_agents_send() {
    let known = read(&project().join("collector/core/src/rules/lint/agent_metrics.txt"));
    let known: Vec<&str> = known.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(known.is_sorted(), "the list is sorted");
    let (mut folders, mut found) = (vec![project().join("agent/core/src"), project().join("agent/src")], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let text = read(&entry);
            // A family's first argument is its name.
            for family in text.split("Family::").skip(1) {
                let literal = ["gauge(", "counter(", "untyped("].iter().any(|make| family.starts_with(make));
                let Some(name) = family.split('"').nth(1).filter(|name| literal && name.contains('_')) else {
                    continue;
                };
                found += 1;
                let is_known =
                    |line: &&str| line.strip_suffix('*').map_or(**line == *name, |start| name.starts_with(start));
                assert!(known.iter().any(is_known), "{name} of {}", entry.display());
            }
        }
    }
    assert!(found > 50, "only {found} families were found in the source");
}
