//! What the agent is started with, what a reload may change, and which collectors it sends to.

use std::collections::BTreeMap;

use watchfire_shared::member::{Member, MemberState, NodeId, Role, SERVICE_INGEST};
use watchfire_shared::time::{Span, Timestamp};

use super::{AgentCore, Effect, Fact};
use crate::uplink::{Phase, Target};

/// Collectors that get a full copy of everything (see the design: copies, not a ring).
pub(super) const MAX_COLLECTORS: usize = 3;

/// Over how long agents spread when a collector comes back.
const COME_BACK: Span = Span::from_seconds(2);

/// What comes from the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub cluster: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub interval: Span,
    /// `host:port` of collectors; empty: those that gossip finds.
    pub collectors: Vec<String>,
    /// The cap of the spool, bytes.
    pub spool_bytes: u64,
    /// Whether the program gossips; collectors are told if it does not.
    pub gossips: bool,
}

/// What an agent begins with.
#[derive(Clone, PartialEq, Debug)]
pub struct Start {
    pub node: NodeId,
    /// Higher than that of any earlier start: milliseconds since 1970 will do.
    pub epoch: u64,
    /// Randomness, to spread retries.
    pub seed: u64,
    pub version: &'static str,
    /// Names the boot of the machine: a life that ended in another one ended with its host.
    pub boot: String,
    /// What the life before kept by [`Effect::KeepLife`].
    pub life: Option<Vec<u8>>,
    pub settings: Settings,
}

impl AgentCore {
    pub(super) fn reconfigure(&mut self, now: Timestamp, settings: Settings, effects: &mut Vec<Effect>) {
        self.schedule.change(now, settings.interval);
        // Hello carries these; they are told by greeting again.
        let greet_again = (&settings.labels, settings.interval, &settings.name, &settings.cluster)
            != (&self.settings.labels, self.settings.interval, &self.settings.name, &self.settings.cluster);
        self.settings = settings;
        self.spool.set_cap(self.settings.spool_bytes);
        self.retarget(now, effects);
        if greet_again {
            for at in 0..self.targets.len() {
                self.hang_up(now, at, "the configuration changed", Some(now), effects);
            }
        }
    }

    /// Takes the members as they are now. A collector that has come back is dialled soon, whatever the wait was.
    pub(super) fn membership(&mut self, now: Timestamp, members: Vec<Member>, effects: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.members, members);
        self.retarget(now, effects);
        for target in &mut self.targets {
            let life = |members: &[Member]| {
                let own = |member: &&Member| Some(member.id) == target.member && member.state == MemberState::Alive;
                members.iter().find(own).map(|member| member.generation)
            };
            let now_alive = life(&self.members);
            if let Phase::Idle { retry_at } = &mut target.phase
                && now_alive.is_some()
                && now_alive != life(&before)
            {
                // All agents learn it at the same time; they must not all come at once.
                *retry_at = (*retry_at).min(now + self.random.between(Span::ZERO, COME_BACK));
                target.attempts = 0;
            }
        }
    }

    /// Chooses the collectors to send to, and keeps the connections to those that stay.
    pub(super) fn retarget(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let wanted = match self.settings.collectors.is_empty() {
            true => self.wanted_from_gossip(effects),
            false => {
                self.settings.collectors.iter().take(MAX_COLLECTORS).map(|address| (None, address.clone())).collect()
            }
        };
        let same = |target: &Target, (member, address): &(Option<NodeId>, String)| {
            target.address == *address && target.member == *member
        };
        for at in (0..self.targets.len()).rev() {
            if !wanted.iter().any(|wanted| same(&self.targets[at], wanted)) {
                self.hang_up(now, at, "the collector is no longer one to send to", None, effects);
                self.targets.remove(at);
            }
        }
        for wanted in wanted {
            if !self.targets.iter().any(|target| same(target, &wanted)) {
                self.targets.push(Target::new(wanted.1, wanted.0, now));
            }
        }
    }

    fn wanted_from_gossip(&self, effects: &mut Vec<Effect>) -> Vec<(Option<NodeId>, String)> {
        let mut collectors: Vec<(&Member, String)> = self
            .members
            .iter()
            .filter(|member| member.role == Role::Collector)
            .filter_map(|member| Some((member, member.services.get(SERVICE_INGEST)?.to_string())))
            .collect();
        let away = |member: &Member| !matches!(member.state, MemberState::Alive | MemberState::Suspect);
        collectors.sort_by_key(|(member, _)| (away(member), member.id));
        collectors.dedup_by_key(|(member, _)| member.id);
        if collectors.len() > MAX_COLLECTORS && self.targets.len() < MAX_COLLECTORS {
            effects.push(Effect::Fact(Fact::Surplus { collectors: collectors.len() }));
        }
        collectors.truncate(MAX_COLLECTORS);
        collectors.into_iter().map(|(member, address)| (Some(member.id), address)).collect()
    }
}
