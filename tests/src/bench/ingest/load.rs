//! Synthetic hosts: the mix of series that a node_exporter has, from a seed.
//!
//! 35 % of the series are constant, 8 % change in one of a hundred steps, 37 % are counters (integers and hundredths),
//! 12 % are gauges in whole pages, 4 % are gauges with two decimals, 4 % wander with all bits.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub(super) const SERIES_PER_HOST: usize = 500;
/// Distance of two ticks in the data.
pub(super) const STEP_MS: i64 = 10_000;

/// A load of so many ticks of so many hosts.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) hosts: usize,
    pub(super) steps: usize,
    /// Time of the first tick, such that the last one is now.
    pub(super) first_ms: i64,
}

/// How the values of one series move.
enum Walk {
    Constant(f64),
    Rare(f64),
    Counter { value: f64, rate: f64 },
    Hundredths { value: i64, rate: f64 },
    Pages(i64),
    Decimals(i64),
    Float(f64),
}

impl Walk {
    fn new(i: usize, rng: &mut StdRng) -> Self {
        let rate = 10f64.powf(rng.random_range(-0.5..5.5));
        match i % 100 {
            0..35 => Self::Constant(f64::from(rng.random_range(0..1000u32))),
            35..43 => Self::Rare(f64::from(rng.random_range(0..100u32))),
            43..65 => Self::Counter { value: 0.0, rate },
            65..80 => Self::Hundredths { value: 0, rate: rate / 100.0 },
            80..92 => Self::Pages(rng.random_range(1000..1_000_000)),
            92..96 => Self::Decimals(rng.random_range(0..10_000)),
            _ => Self::Float(rng.random_range(0.0..1.0)),
        }
    }

    fn next(&mut self, rng: &mut StdRng) -> f64 {
        let noise = rng.random_range(0.7..1.3);
        match self {
            Self::Constant(value) => *value,
            Self::Rare(value) => {
                *value += f64::from(u8::from(rng.random_range(0..100) == 0));
                *value
            }
            Self::Counter { value, rate } => {
                *value += (*rate * noise).round();
                *value
            }
            Self::Hundredths { value, rate } => {
                *value += (*rate * noise * 100.0).round() as i64;
                *value as f64 / 100.0
            }
            Self::Pages(pages) => {
                *pages = (*pages + rng.random_range(-100..=100)).max(0);
                (*pages * 4096) as f64
            }
            Self::Decimals(value) => {
                *value = (*value + rng.random_range(-20..=20)).max(0);
                *value as f64 / 100.0
            }
            Self::Float(value) => {
                *value += rng.random_range(-0.01..0.01);
                *value
            }
        }
    }
}

/// The series of one host and where their values stand.
pub(super) struct Host {
    walks: Vec<Walk>,
    rng: StdRng,
}

impl Host {
    pub(super) fn new(host: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(host as u64);
        let walks = (0..SERIES_PER_HOST).map(|i| Walk::new(i, &mut rng)).collect();
        Self { walks, rng }
    }

    pub(super) fn tick(&mut self, values: &mut Vec<f64>) {
        values.clear();
        let rng = &mut self.rng;
        values.extend(self.walks.iter_mut().map(|walk| walk.next(rng)));
    }

    /// Metric name and own label of series `i`.
    pub(super) fn labels(i: usize) -> [(&'static str, String); 2] {
        [("__name__", format!("bench_metric_{}_total", i % 10)), ("item", format!("item-{}", i / 10))]
    }
}

impl Load {
    pub(super) fn new(hosts: usize, steps: usize) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        Self { hosts, steps, first_ms: now / STEP_MS * STEP_MS - (steps as i64 - 1) * STEP_MS }
    }

    pub(super) fn time(&self, step: usize) -> i64 {
        self.first_ms + step as i64 * STEP_MS
    }

    pub(super) fn series(&self) -> usize {
        self.hosts * SERIES_PER_HOST
    }

    pub(super) fn samples(&self) -> usize {
        self.series() * self.steps
    }
}
