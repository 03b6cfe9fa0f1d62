//! What a process has used, as Linux accounts it.

use std::path::Path;

/// A process's use so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds of all its threads, to the nanosecond.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub rss_bytes: f64,
    /// Resident memory that no file backs, bytes.
    pub anonymous_bytes: f64,
}

/// Reads the use of a process; zeros if it is gone.
#[must_use]
pub fn usage(pid: u32) -> Usage {
    let proc = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(proc.join("status")).unwrap_or_default();
    let kilobytes = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
    };
    Usage {
        cpu_seconds: cpu_nanoseconds(&proc) / 1e9,
        rss_bytes: kilobytes("VmRSS:") * 1024.0,
        anonymous_bytes: kilobytes("RssAnon:") * 1024.0,
    }
}

/// The scheduler's own sum over the threads; `stat` would count in hundredths of a second.
fn cpu_nanoseconds(proc: &Path) -> f64 {
    let threads = std::fs::read_dir(proc.join("task")).into_iter().flatten().flatten();
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
    };
    threads.map(of_thread).sum()
}

/// The middle of some figures, the one that 99 of 100 do not exceed, and their least and greatest.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub p99: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let last = figures.len().saturating_sub(1);
        let at = |i: usize| figures.get(i).copied().unwrap_or(f64::NAN);
        // The nearest rank: with fewer than 100 figures it is the greatest.
        let p99 = (figures.len() * 99).div_ceil(100).saturating_sub(1);
        Self { median: at(last / 2), p99: at(p99), min: at(0), max: at(last) }
    }
}
