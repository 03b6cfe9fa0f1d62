//! Each sampler against fixture files and its golden output (`testdata/golden/NAME.prom`).
//!
//! `WATCHFIRE_BLESS=1` writes the goldens anew; what changed is then in the diff to be judged.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests read their fixtures")]

use std::path::Path;

use super::*;
use crate::exposition;
use crate::host::{FilesystemAnswer, FilesystemStats, HostFacts, LinkSettings, Uname};

#[derive(Default)]
struct Fixture {
    content: Vec<u8>,
    facts: HostFacts,
    without_netlink: bool,
    /// Cuts every file to this length.
    cut: Option<usize>,
    clock: u64,
}

impl Fixture {
    fn load(&mut self, path: &str) -> Result<&[u8], HostError> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/host").join(path.trim_start_matches('/'));
        self.content = std::fs::read(file).map_err(|_| HostError::Missing)?;
        self.content.truncate(self.cut.unwrap_or(usize::MAX));
        Ok(&self.content)
    }
}

impl Host for Fixture {
    fn read(&mut self, path: &'static str) -> Result<&[u8], HostError> {
        self.load(path)
    }

    fn links(&mut self) -> Result<&[u8], HostError> {
        if self.without_netlink {
            return Err(HostError::Failed("netlink is refused".to_owned()));
        }
        self.load("rtnetlink/links.bin")
    }

    fn link_settings(&mut self, device: &str) -> LinkSettings {
        match device {
            "eth0" => LinkSettings { speed_mbit: Some(1000), duplex: "full" },
            _ => LinkSettings::default(),
        }
    }

    fn filesystems(&mut self, mount_points: &[&str], answers: &mut Vec<FilesystemAnswer>) {
        let stats = FilesystemStats {
            block_size: 4096,
            blocks: 1000,
            blocks_free: 400,
            blocks_available: 300,
            files: 50,
            files_free: 20,
        };
        answers.extend(mount_points.iter().map(|mount_point| match *mount_point {
            "/mnt/dead" => FilesystemAnswer::Error,
            _ => FilesystemAnswer::Stats(stats),
        }));
    }

    fn uname(&mut self) -> Uname {
        Uname {
            sysname: "Linux".to_owned(),
            release: "6.1.0".to_owned(),
            version: "#1 SMP \"quoted\"".to_owned(),
            machine: "x86_64".to_owned(),
            nodename: "web-1".to_owned(),
            domainname: "(none)".to_owned(),
        }
    }

    fn facts(&self) -> &HostFacts {
        &self.facts
    }

    fn wall_clock(&self) -> f64 {
        1_767_225_600.25
    }

    fn monotonic_micros(&self) -> u64 {
        self.clock
    }
}

/// Runs one sampler and compares its text, with the number of malformed lines, to the golden file.
fn check(name: &str, golden: &str, mut fixture: Fixture) {
    let sampler = SAMPLERS.iter().find(|sampler| sampler.name == name).expect("the sampler is in the registry");
    let mut sink = Sink::default();
    sink.begin();
    (sampler.sample)(&mut fixture, &mut sink).expect("the fixture is complete");
    sink.finish(Timestamp::EPOCH);
    let text = format!("{}# malformed: {}\n", exposition::render(&sink), sink.malformed_total());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/golden/{golden}.prom"));
    if std::env::var_os("WATCHFIRE_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{name}");
}

#[test]
fn every_sampler_yields_its_golden_output() {
    for sampler in SAMPLERS {
        check(sampler.name, sampler.name, Fixture::default());
    }
}

#[test]
fn without_netlink_traffic_comes_from_the_file() {
    check("netdev", "netdev_without_netlink", Fixture { without_netlink: true, ..Fixture::default() });
}

#[test]
fn a_round_survives_files_cut_at_every_length() {
    for cut in 0..400 {
        let mut rounds = Rounds::default();
        let mut fixture = Fixture { cut: Some(cut), ..Fixture::default() };
        let round = rounds.sample(&mut fixture, Timestamp::EPOCH, &OwnFigures::default());
        assert!(round.values.len() > SAMPLERS.len(), "self-metrics are there whatever the files hold");
    }
}

#[test]
fn series_of_a_second_round_are_the_same_and_only_values_change() {
    let mut rounds = Rounds::default();
    let mut fixture = Fixture::default();
    let first = rounds.sample(&mut fixture, Timestamp::EPOCH, &OwnFigures::default());
    let own = OwnFigures { frames_sent: 5, ..OwnFigures::default() };
    let second = rounds.sample(&mut fixture, Timestamp::from_millis(1000), &own);
    assert_eq!((second.added.len(), second.removed.len()), (0, 0));
    let name = |slot: usize| first.added.iter().find(|entry| entry.slot as usize == slot).map(|e| e.labels.to_string());
    let changed: Vec<String> = (0..first.values.len())
        .filter(|i| first.values[*i].to_bits() != second.values[*i].to_bits())
        .filter_map(name)
        .collect();
    assert_eq!(changed, ["watchfire_agent_malformed_lines_total", "watchfire_agent_frames_sent_total"]);
}

#[test]
fn a_round_reports_samplers_without_source_as_failed_and_goes_on() {
    let mut rounds = Rounds::default();
    let mut fixture = Fixture { cut: Some(0), ..Fixture::default() };
    rounds.sample(&mut fixture, Timestamp::EPOCH, &OwnFigures::default());
    let text = exposition::render(rounds.sink());
    assert!(text.contains("node_scrape_collector_success{collector=\"time\"} 1\n"));
    assert!(text.contains("node_time_seconds 1.76722560025e+09\n"));
}
