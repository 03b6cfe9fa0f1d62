//! Gossip in the world: datagrams, what is kept of peers, and what a silent member's host answers.

use watchfire_agent_core::agent as agent_core;
use watchfire_collector_core::engine;
use watchfire_gossip::{Effect, HostAnswer, Input};
use watchfire_shared::machine::Machine;
use watchfire_shared::member::{MemberChange, MemberState, Role};
use watchfire_shared::time::Span;

use super::{Event, Work, World};
use crate::sim::host::host_with;
use crate::sim::network::{HostId, Tie, gossip_addr, host_of};

/// When an attempt to connect to a host that does not answer is given up, as the shell does.
const SILENT_AFTER: Span = Span::from_seconds(1);

impl World {
    pub(super) fn gossip_input(&mut self, id: HostId, input: Input) {
        let Some(running) = &mut self.hosts[id].running else { return };
        let mut effects = Vec::new();
        running.gossip.handle(self.now, input, &mut effects);
        self.perform_gossip(id, effects);
    }

    pub(super) fn perform_gossip(&mut self, id: HostId, effects: Vec<Effect>) {
        // As in production, an agent's core hears of collectors only: other members do not matter to it.
        let mut collectors_changed = false;
        for effect in effects {
            match effect {
                Effect::Send { to, bytes } => self.send_datagram(id, to, bytes),
                Effect::Changed(change) => {
                    collectors_changed |= change.member.role == Role::Collector;
                    self.member_changed(id, change);
                }
                Effect::Removed(removal) => {
                    collectors_changed |= removal.member.role == Role::Collector;
                    self.trace.note(self.now, format_args!("{} forgets {}", self.hosts[id].name, removal.member.name));
                    if self.hosts[id].role == Role::Collector {
                        self.work.push_back(Work::Engine(id, engine::Input::Unlisted(removal.member.id)));
                    }
                }
                Effect::SaveGeneration(generation) => self.hosts[id].kept.generation = generation,
                Effect::SavePeers(peers) => self.hosts[id].kept.peers = peers,
                Effect::SaveForgotten(forgotten) => self.hosts[id].kept.forgotten = forgotten,
                Effect::AskHost { id: member, addr } => self.ask_host(id, member, addr),
                Effect::Tie { tie, to, .. } => self.tie(id, tie, to),
                Effect::Untie { tie } => self.network.ties.retain(|held| (held.from, held.tie) != (id, tie)),
                Effect::Exchange { exchange, to, frames } => self.open_stream(id, exchange, to, frames),
                Effect::NameConflict(_) | Effect::Stranger { .. } => {}
                // Replies are taken where the stream is answered, or not at all.
                Effect::Reply { .. } | Effect::Judged { .. } => {}
                // Its gossip is plain.
                Effect::SaveKeys { .. } | Effect::KeysAnswered { .. } => {}
                Effect::Cloned { other, yields } => {
                    self.cloned(id, other, yields);
                    if yields {
                        return;
                    }
                }
                // Nothing here needs times finer than those of the world.
                Effect::TimeProbe => {}
                Effect::LeaveDone => {
                    self.trace.note(self.now, format_args!("{} has left", self.hosts[id].name));
                    self.end(id, watchfire_store::CrashKeeps::ALL);
                    return;
                }
            }
        }
        if collectors_changed && self.hosts[id].role == Role::Agent {
            let members = self.hosts[id].running.as_ref().map(|running| running.gossip.members()).unwrap_or_default();
            let members = members.into_iter().filter(|member| member.role == Role::Collector).collect();
            self.work.push_back(Work::Agent(id, agent_core::Input::Members(members)));
        }
    }

    fn send_datagram(&mut self, from: HostId, to: std::net::SocketAddr, bytes: Vec<u8>) {
        self.trace.mix(&bytes);
        let Some(to) = host_of(to).filter(|to| *to < self.hosts.len()) else { return };
        if self.network.arrives(from, to) {
            let at = self.now + self.network.draw_delay();
            let input = Input::Datagram { from: gossip_addr(from), bytes };
            self.schedule(at, Event::Gossip { host: to, life: None, input });
        }
    }

    fn open_stream(&mut self, from: HostId, exchange: u64, to: std::net::SocketAddr, frames: Vec<Vec<u8>>) {
        frames.iter().for_each(|frame| self.trace.mix(frame));
        let from_life = self.hosts[from].life;
        let reachable = |host: &HostId| self.hosts.get(*host).is_some_and(|host| host.powered);
        let to = host_of(to).filter(|to| reachable(to) && self.network.connected(from, *to));
        if let Some(to) = to {
            let at = self.now + self.network.draw_delay();
            self.schedule(at, Event::GossipStream { from, from_life, to, exchange, frames });
        } else {
            self.end_stream((from, from_life), SILENT_AFTER, exchange, Err(HostAnswer::Silent));
        }
    }

    /// A stream reached a host: what its gossip replies, at once, is the outcome.
    pub(super) fn gossip_asked(&mut self, from: (HostId, u32), to: HostId, exchange: u64, frames: Vec<Vec<u8>>) {
        let delay = self.network.draw_delay();
        let Some(running) = &mut self.hosts[to].running else {
            return self.end_stream(from, delay, exchange, Err(HostAnswer::Refused));
        };
        let mut effects = Vec::new();
        running.gossip.handle(self.now, Input::Asked { stream: exchange, frames }, &mut effects);
        let reply = effects.iter_mut().find_map(|effect| match effect {
            Effect::Reply { frames, .. } => Some(std::mem::take(frames)),
            _ => None,
        });
        self.perform_gossip(to, effects);
        self.end_stream(from, delay, exchange, reply.ok_or(HostAnswer::Accepted));
    }

    fn end_stream(
        &mut self,
        (host, life): (HostId, u32),
        delay: Span,
        exchange: u64,
        outcome: Result<Vec<Vec<u8>>, HostAnswer>,
    ) {
        let input = Input::Exchanged { exchange, outcome };
        self.schedule(self.now + delay, Event::Gossip { host, life: Some(life), input });
    }

    fn tie(&mut self, from: HostId, tie: u64, to: std::net::SocketAddr) {
        let reachable = |host: &HostId| self.hosts.get(*host).is_some_and(|host| host.powered);
        let to = host_of(to).filter(|to| reachable(to) && self.network.connected(from, *to));
        let from_life = self.hosts[from].life;
        match to {
            Some(to) if self.hosts[to].running.is_some() => self.network.ties.push(Tie { from, from_life, tie, to }),
            Some(_) => {
                let delay = self.network.draw_delay();
                self.tie_ended((from, from_life), tie, false, delay);
            }
            None => self.tie_ended((from, from_life), tie, false, SILENT_AFTER),
        }
    }

    fn tie_ended(&mut self, (host, life): (HostId, u32), tie: u64, came_about: bool, after: Span) {
        let input = Input::TieEnded { tie, came_about };
        self.schedule(self.now + after, Event::Gossip { host, life: Some(life), input });
    }

    /// A host's program has ended. If the host goes on, it ends the ties that others hold to it.
    pub(super) fn end_ties(&mut self, ended: HostId) {
        let ties = std::mem::take(&mut self.network.ties);
        let (over, stay): (Vec<Tie>, Vec<Tie>) = ties.into_iter().partition(|tie| tie.from == ended || tie.to == ended);
        self.network.ties = stay;
        for Tie { from, from_life, tie, .. } in over.into_iter().filter(|tie| tie.to == ended) {
            if self.hosts[ended].powered && self.network.connected(from, ended) {
                let delay = self.network.draw_delay();
                self.tie_ended((from, from_life), tie, true, delay);
            }
        }
    }

    fn member_changed(&mut self, observer: HostId, change: MemberChange) {
        let member = &change.member;
        let from = change.previous.map_or("new", MemberState::as_str);
        let name = &self.hosts[observer].name;
        self.trace.note(self.now, format_args!("{name}: {} {from} -> {}", member.name, member.state.as_str()));
        let subject = host_with(member.id).filter(|host| *host < self.hosts.len());
        let fell = member.state == MemberState::Down && change.previous != Some(MemberState::Down);
        if let Some(subject) = subject.filter(|_| fell)
            && self.hosts[subject].running.is_some()
            && self.hosts[subject].kept.generation == member.generation
            && self.network.connected(observer, subject)
            && self.is_awake(subject)
        {
            self.record.false_downs.push((self.now, observer, subject));
        }
        if self.hosts[observer].role == Role::Collector {
            self.work.push_back(Work::Engine(observer, engine::Input::Member(Box::new(change))));
        }
    }

    fn is_awake(&self, host: HostId) -> bool {
        self.hosts[host].asleep_until.is_none_or(|until| until <= self.now)
    }

    fn ask_host(&mut self, asking: HostId, id: watchfire_shared::member::NodeId, addr: std::net::SocketAddr) {
        let asked = host_of(addr).and_then(|host| self.hosts.get(host));
        let answer = match asked {
            Some(host) if host.powered && self.is_awake(host.id) && self.network.connected(asking, host.id) => {
                match host.running {
                    Some(_) => HostAnswer::Accepted,
                    None => HostAnswer::Refused,
                }
            }
            _ => HostAnswer::Silent,
        };
        let delay = if answer == HostAnswer::Silent { SILENT_AFTER } else { self.network.draw_delay() };
        let life = Some(self.hosts[asking].life);
        self.schedule(self.now + delay, Event::Gossip { host: asking, life, input: Input::HostAnswer { id, answer } });
    }
}
