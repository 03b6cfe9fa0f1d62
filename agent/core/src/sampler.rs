//! Samplers: each reads one subject of the host and yields its series under node_exporter's names, types and labels.
//!
//! A sampler parses; [`Host`] reads. Lines that it cannot read are counted and skipped, and a source that fails takes
//! one sampler out of one round, never the round.

mod conntrack;
mod cpu;
mod diskstats;
mod entropy;
mod filefd;
mod filesystem;
mod loadavg;
mod meminfo;
mod netclass;
mod netdev;
mod netstat;
mod os;
mod own;
mod pressure;
mod sockstat;
mod softnet;
mod stat;
mod time;
mod uname;
mod vmstat;

pub use own::OwnFigures;

use watchfire_shared::time::Timestamp;

use crate::host::{Host, HostError};
use crate::sink::{Round, Sink};

/// One subject of the host.
#[derive(Debug)]
pub struct Sampler {
    /// The name in self-metrics: node_exporter's name of the same collector where it has one.
    pub name: &'static str,
    /// Yields the values of one round.
    pub sample: fn(&mut dyn Host, &mut Sink) -> Result<(), HostError>,
}

/// Every sampler, in the order of a round. Two that read the same file stand next to each other, so that it is read once.
pub const SAMPLERS: &[Sampler] = &[
    cpu::SAMPLER,
    stat::SAMPLER,
    loadavg::SAMPLER,
    meminfo::SAMPLER,
    vmstat::SAMPLER,
    pressure::SAMPLER,
    filesystem::SAMPLER,
    diskstats::SAMPLER,
    netdev::SAMPLER,
    netclass::SAMPLER,
    netstat::SAMPLER,
    sockstat::SAMPLER,
    softnet::SAMPLER,
    conntrack::SAMPLER,
    filefd::SAMPLER,
    entropy::SAMPLER,
    time::SAMPLER,
    uname::SAMPLER,
    os::SAMPLER,
];

/// The samplers of one host with what they remember between rounds.
#[derive(Debug, Default)]
pub struct Rounds {
    sink: Sink,
    errors: [u64; SAMPLERS.len()],
}

impl Rounds {
    /// Samples the host once. `own` is what the agent tells of itself in this round.
    pub fn sample(&mut self, host: &mut dyn Host, tick: Timestamp, own: &OwnFigures) -> Round {
        self.sink.begin();
        let mut last = host.monotonic_micros();
        for (sampler, errors) in SAMPLERS.iter().zip(&mut self.errors) {
            let outcome = (sampler.sample)(host, &mut self.sink);
            *errors += u64::from(matches!(outcome, Err(HostError::Failed(_))));
            let now = host.monotonic_micros();
            own::outcome(sampler.name, now.saturating_sub(last), outcome.is_ok(), *errors, &mut self.sink);
            last = now;
        }
        own::figures(own, host, &mut self.sink);
        self.sink.finish(tick)
    }

    /// The series as they were sampled last.
    #[must_use]
    pub fn sink(&self) -> &Sink {
        &self.sink
    }
}

#[cfg(test)]
mod tests;
