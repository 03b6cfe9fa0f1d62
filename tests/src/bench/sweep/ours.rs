//! Watchfire's membership in the sweep: [`Gossip`] itself, nothing around it.

use std::collections::BTreeMap;

use rand::RngExt;
use watchfire_gossip::{Effect, Gossip, GossipConfig, GossipKey, Input, Pace, Peer, Profile};
use watchfire_shared::machine::Machine;
use watchfire_shared::member::Metadata;
use watchfire_shared::time::{Span, Timestamp};

use super::world::{Subject, Verdict, World, address, id};

impl Subject for Gossip {
    fn take(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>, verdicts: &mut Vec<Verdict>) {
        let before = effects.len();
        self.handle(now, input, effects);
        verdicts.extend(effects[before..].iter().filter_map(verdict));
    }

    fn deadline(&self) -> Option<Timestamp> {
        Machine::deadline(self)
    }
}

fn verdict(effect: &Effect) -> Option<Verdict> {
    match effect {
        Effect::Changed(change) => Some((change.member.id, change.member.state)),
        _ => None,
    }
}

/// How a fleet is set up.
#[derive(Clone, Copy)]
pub(super) struct Fleet {
    pub(super) pace: Pace,
    pub(super) members: usize,
    pub(super) sealed: bool,
    pub(super) seed: u64,
}

impl Fleet {
    pub(super) fn new(pace: Pace, members: usize) -> Self {
        Self { pace, members, sealed: false, seed: 1 }
    }

    pub(super) fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    fn metadata(self, host: usize) -> Metadata {
        let labels = BTreeMap::from([("zone".to_owned(), "eu-1a".to_owned())]);
        // What names cost is no question of the largest sizes, whose views have to fit into memory all at once.
        let labels = if self.members > 2000 { BTreeMap::new() } else { labels };
        Metadata { name: format!("n{host}"), labels, ..Metadata::default() }
    }

    /// Starts a member, for the first time or again; all but the first join by the first one's address.
    pub(super) fn start(self, world: &mut World<Gossip>, host: usize) {
        let life = world.hosts[host].life + 1;
        world.hosts[host].life = life;
        let config = GossipConfig {
            cluster: "sweep".to_owned(),
            id: id(host),
            generation: world.hosts[host].generation + 1,
            advertise: address(host),
            profile: Profile::Lan,
            seeds: if host == 0 { Vec::new() } else { vec![address(0)] },
            known: if host == 0 && life > 1 { vec![peer(1)] } else { Vec::new() },
            forgotten: Vec::new(),
            metadata: self.metadata(host),
            keys: if self.sealed { vec![GossipKey::new([7; 32])] } else { Vec::new() },
            key_order: 0,
        };
        let mut effects = Vec::new();
        let seed = self.seed.wrapping_mul(1_000_003) ^ (host as u64) << 20 ^ u64::from(life);
        let gossip = Gossip::with_pace(config, self.pace, seed, world.now, &mut effects)
            .expect("the sweep's configuration is valid");
        let verdicts: Vec<Verdict> = effects.iter().filter_map(verdict).collect();
        world.run_on(host, gossip, effects, &verdicts);
    }

    /// A cluster at rest: everybody has known everybody for long.
    pub(super) fn at_rest(self) -> World<Gossip> {
        self.at_rest_with(self.members)
    }

    /// As [`Fleet::at_rest`], in a world with room for more hosts.
    pub(super) fn at_rest_with(self, hosts: usize) -> World<Gossip> {
        let mut world = World::new(self.seed, hosts);
        let others: Vec<(Peer, Metadata)> = (0..self.members).map(|host| (peer(host), self.metadata(host))).collect();
        // Nobody's probes keep step with anybody else's, and nobody is asked before it runs.
        let mut starts: Vec<(i64, usize)> =
            (0..self.members).map(|host| (world.rng.random_range(0..self.pace.probe_ms as i64), host)).collect();
        starts.sort_unstable();
        let begin = world.now;
        for (after, host) in &starts {
            world.stop(*host, Span::from_millis(*after + 1));
        }
        for (after, host) in starts {
            world.run_for((begin + Span::from_millis(after)).since(world.now));
            self.start(&mut world, host);
            let (mut effects, now) = (Vec::new(), world.now);
            if let Some(gossip) = &mut world.hosts[host].subject {
                gossip.assume(now, &others, &mut effects);
            }
            let verdicts: Vec<Verdict> = effects.iter().filter_map(verdict).collect();
            world.take_over(host, effects, &verdicts);
        }
        world.run_for(Span::from_seconds(8));
        world.log.clear();
        world.sent = (0, 0);
        world
    }
}

fn peer(host: usize) -> Peer {
    Peer { id: id(host), generation: 1, addr: address(host), name: format!("n{host}") }
}
