//! The real host, whatever it is: what every Linux has, and figures held against sysinfo's.

use std::collections::BTreeSet;

use watchfire_agent_core::exposition;
use watchfire_agent_core::sampler::{OwnFigures, Rounds, SAMPLERS};
use watchfire_shared::time::Timestamp;

use super::*;

/// Series with their values, by text before the value.
fn sample() -> BTreeMap<String, f64> {
    let text = crate::sampling::once();
    let line = |line: &str| line.rsplit_once(' ').map(|(series, value)| (series.to_owned(), value.parse().unwrap()));
    text.lines().filter(|l| !l.starts_with('#')).filter_map(line).collect()
}

#[test]
fn a_sample_of_this_host_is_plausible() {
    let series = sample();
    for mode in ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"] {
        let name = |series: &&String| {
            series.starts_with("node_cpu_seconds_total{") && series.contains(&format!("mode=\"{mode}\""))
        };
        assert_eq!(series.keys().filter(name).count(), cpus(), "{mode}");
    }
    assert!(series["node_memory_MemAvailable_bytes"] < series["node_memory_MemTotal_bytes"]);
    let roots: Vec<&String> = series
        .keys()
        .filter(|s| s.starts_with("node_filesystem_size_bytes{") && s.contains("mountpoint=\"/\""))
        .collect();
    assert!(roots.is_empty() || roots.iter().all(|root| series[*root] > 0.0));
    assert!(series["node_time_seconds"] > series["node_boot_time_seconds"]);
    assert!(series["watchfire_agent_resident_memory_bytes"] > 1e6);
    assert_eq!(series["watchfire_agent_malformed_lines_total"], 0.0);
}

fn cpus() -> usize {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count()
}

#[test]
fn every_sampler_that_has_a_source_succeeds() {
    let series = sample();
    // These depend on how the kernel was built and what is loaded.
    let optional = BTreeSet::from(["conntrack", "pressure", "os", "netclass", "sockstat", "netstat"]);
    for sampler in SAMPLERS.iter().filter(|sampler| !optional.contains(sampler.name)) {
        let key = format!("node_scrape_collector_success{{collector=\"{}\"}}", sampler.name);
        assert_eq!(series.get(&key), Some(&1.0), "{}", sampler.name);
    }
}

#[test]
fn memory_and_devices_are_those_that_others_see() {
    let series = sample();
    let mut system = System::new().unwrap();
    system.refresh_memory();
    assert_eq!(series["node_memory_MemTotal_bytes"], system.total_memory() as f64);
    let text = std::fs::read_to_string("/proc/net/dev").unwrap();
    for device in text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(device, _)| device.trim()) {
        assert!(series.contains_key(&format!("node_network_receive_bytes_total{{device=\"{device}\"}}")), "{device}");
    }
}

#[test]
fn a_second_round_has_the_same_series_and_fresh_values() {
    let (mut host, mut rounds) = (RealHost::new(), Rounds::default());
    let mut round = |host: &mut RealHost| {
        host.begin();
        rounds.sample(host, Timestamp::EPOCH, &OwnFigures::default());
        exposition::render(rounds.sink())
    };
    let value = |text: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with("node_time_seconds ")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    let (first, second) = (round(&mut host), round(&mut host));
    assert!(value(&second) > value(&first));
    let names = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter(|l| l.starts_with("node_cpu") || l.starts_with("node_memory"))
            .filter_map(|l| l.rsplit_once(' '))
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    assert_eq!(names(&first), names(&second));
}

#[test]
fn a_missing_file_is_missing_and_a_folder_is_an_error() {
    let mut host = RealHost::new();
    assert_eq!(host.read("/proc/no-such-file"), Err(HostError::Missing));
    assert!(matches!(host.read("/proc/sys"), Err(HostError::Failed(_))));
    assert!(host.read("/proc/stat").is_ok_and(|bytes| bytes.starts_with(b"cpu")));
}
