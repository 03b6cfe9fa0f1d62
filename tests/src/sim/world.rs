//! The world: virtual time, the order of events, and everything that machines ask for.
//!
//! Each event is handed to the machine it is for; what that machine asks for is done at once or becomes an event with a
//! later time. Equal times are served in the order in which the events were made.

mod faults;

mod gossip;

mod agent;

mod collector;

mod order;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_agent_core::action::Action;
use watchfire_agent_core::agent::{self as agent_core, AgentCore};
use watchfire_agent_core::order::{self as order_core, Orders};
use watchfire_collector_core::alertmanager;
use watchfire_collector_core::catalogue::Policy;
use watchfire_collector_core::engine::{self, Engine};
use watchfire_collector_core::remediation::Remediation;
use watchfire_collector_core::rules;
use watchfire_gossip::{Gossip, Input as GossipInput, Profile};
use watchfire_shared::machine::Machine;
use watchfire_shared::member::{MemberState, Role};
use watchfire_shared::order::{OrderId, SignedOrder};
use watchfire_shared::time::{Span, Timestamp};

use super::host::{Host, Program, Running, host_with};
use super::network::{HostId, Network, Stream};
use super::trace::Trace;

/// When every world begins.
const GENESIS: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Something that reaches a host at a later time.
pub(super) enum Event {
    Wake {
        host: HostId,
        life: u32,
        /// When it was planned for: one that an earlier wake-up has replaced wakes nobody.
        planned: Timestamp,
    },
    Gossip {
        host: HostId,
        life: Option<u32>,
        input: GossipInput,
    },
    /// A stream of gossip arrives; the answer goes back as the outcome of the exchange.
    GossipStream {
        from: HostId,
        from_life: u32,
        to: HostId,
        exchange: u64,
        frames: Vec<Vec<u8>>,
    },
    /// A connection attempt arrives at the collector's door.
    Knock {
        agent: HostId,
        agent_life: u32,
        connection: u64,
        address: String,
    },
    ToAgent {
        host: HostId,
        life: u32,
        input: agent_core::Input,
    },
    ToCollector {
        host: HostId,
        life: u32,
        input: engine::Input,
    },
    /// The oldest write to an agent's journal is done.
    JournalWritten {
        host: HostId,
        life: u32,
    },
    ToOrders {
        host: HostId,
        life: u32,
        input: order_core::Input,
    },
    Webhook {
        collector: HostId,
        life: u32,
        delivery: Box<watchfire_collector_core::notify::Delivery>,
    },
}

struct Scheduled {
    at: Timestamp,
    order: u64,
    /// On the heap, because the queue moves its entries about.
    event: Box<Event>,
}

impl Event {
    /// The host that it reaches; a notification reaches nobody of this world.
    fn host(&self) -> Option<HostId> {
        match self {
            Self::Wake { host, .. }
            | Self::Gossip { host, .. }
            | Self::ToAgent { host, .. }
            | Self::ToCollector { host, .. }
            | Self::JournalWritten { host, .. }
            | Self::ToOrders { host, .. } => Some(*host),
            Self::GossipStream { to, .. } => Some(*to),
            Self::Knock { agent, .. } => Some(*agent),
            Self::Webhook { .. } => None,
        }
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// An input that is worked through before time moves on.
pub(super) enum Work {
    Gossip(HostId, GossipInput),
    Agent(HostId, agent_core::Input),
    Orders(HostId, order_core::Input),
    Engine(HostId, engine::Input),
}

/// One notification that the webhook accepted.
#[derive(Clone, Debug)]
pub struct Notified {
    pub at: Timestamp,
    /// Status, alert name and instance of each alert.
    pub alerts: Vec<(String, String, String)>,
}

/// What the checks of a scenario look at.
#[derive(Default)]
pub struct Record {
    pub notified: Vec<Notified>,
    /// Times when a host that was running and reachable was declared down, with observer and subject.
    pub false_downs: Vec<(Timestamp, HostId, HostId)>,
    /// Ticks that a collector acknowledged, by agent, in milliseconds.
    pub acknowledged: BTreeMap<HostId, BTreeSet<i64>>,
    /// Each run of an action, in the order of their beginnings.
    pub executed: Vec<(HostId, OrderId)>,
    /// Hosts that found their id at another address, with that address and whether they gave the id up.
    pub clones: Vec<(HostId, SocketAddr, bool)>,
    /// Every order that a collector sent.
    pub(super) ordered: Vec<SignedOrder>,
    /// Sequence to tick of what each agent has sent, by agent, connection, lane and sequence.
    pub(super) sent: BTreeMap<(HostId, u64, watchfire_shared::frame::message::Lane, u64), i64>,
}

/// A whole fleet in virtual time.
pub struct World {
    pub now: Timestamp,
    pub hosts: Vec<Host>,
    pub network: Network,
    pub trace: Trace,
    pub record: Record,
    /// Whether the webhook answers 503.
    pub webhook_refuses: bool,
    pub rng: StdRng,
    /// What collectors expect of nodes, for those that are started later.
    pub policy: Policy,
    /// What collectors order, for those that are started later.
    pub remediations: Vec<Remediation>,
    /// What agents may be ordered to do, for those that are started later.
    pub actions: Vec<Action>,
    profile: Profile,
    rules: Vec<rules::Group>,
    alertmanager: Arc<alertmanager::Config>,
    /// Whose view was wrong when it was last looked at.
    doubted: Cell<HostId>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    work: VecDeque<Work>,
}

impl World {
    /// An empty world whose every random choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, profile: Profile, rules: Vec<rules::Group>, alertmanager: Arc<alertmanager::Config>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let network = Network::new(StdRng::seed_from_u64(rng.random()));
        Self {
            now: GENESIS,
            hosts: Vec::new(),
            network,
            trace: Trace::default(),
            record: Record::default(),
            webhook_refuses: false,
            rng,
            policy: Policy::default(),
            remediations: Vec::new(),
            actions: Vec::new(),
            profile,
            rules,
            alertmanager,
            doubted: Cell::new(0),
            queue: BinaryHeap::new(),
            order: 0,
            work: VecDeque::new(),
        }
    }

    /// Adds a host and starts it.
    pub fn add(&mut self, name: &str, role: Role, join: &[HostId]) -> HostId {
        self.add_labelled(name, role, join, &[])
    }

    /// Adds a host with labels and starts it.
    pub fn add_labelled(&mut self, name: &str, role: Role, join: &[HostId], labels: &[(&str, &str)]) -> HostId {
        let id = self.hosts.len();
        let mut host = Host::new(id, name, role, join);
        host.labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.place(host)
    }

    /// Connects a host and starts it.
    pub(super) fn place(&mut self, host: Host) -> HostId {
        let id = host.id;
        self.hosts.push(host);
        self.network.sides.push(0);
        self.start(id);
        id
    }

    /// Starts a host that does not run.
    pub fn start(&mut self, id: HostId) {
        self.trace.note(self.now, format_args!("start {}", self.hosts[id].name));
        let (now, profile) = (self.now, self.profile);
        let (gossip_seed, agent_seed) = (self.rng.random(), self.rng.random());
        let (rules, alertmanager) = (self.rules.clone(), self.alertmanager.clone());
        let host = &mut self.hosts[id];
        assert!(host.running.is_none(), "{} runs already", host.name);
        host.life += 1;
        host.powered = true;
        let mut gossip_effects = Vec::new();
        let config = host.gossip_config(profile);
        host.kept.generation = config.generation;
        let gossip = Gossip::new(config, gossip_seed, now, &mut gossip_effects).expect("the configuration is sound");
        let mut agent_effects = Vec::new();
        let mut order_effects = Vec::new();
        let program = match host.role {
            Role::Agent => {
                let (start, found) = host.agent_start(now, agent_seed);
                let core = AgentCore::new(now, start, found, &mut agent_effects);
                let actions = self.actions.iter().map(|action| (action.name.clone(), action.clone())).collect();
                let catalogue = order_core::Catalogue { actions, ..order_core::Catalogue::default() };
                let (boot, journal) = (host.boot(), host.kept.journal.clone());
                let orders = Orders::new(now, host.node_id(), boot, journal, catalogue, &mut order_effects);
                Program::Agent { core: Box::new(core), orders: Box::new(orders), greeted: false }
            }
            Role::Collector => {
                let settings =
                    host.engine_settings(rules, alertmanager, self.policy.clone(), self.remediations.clone());
                let opened = Engine::open(host.kept.disk.clone(), settings, now);
                let (engine, _) = opened.unwrap_or_else(|error| panic!("{} does not open: {error}", host.name));
                Program::Collector(Box::new(engine))
            }
        };
        host.running = Some(Running { gossip, program, wake_at: None });
        self.perform_gossip(id, gossip_effects);
        self.perform_agent(id, agent_effects);
        self.perform_orders(id, order_effects);
        if self.hosts[id].role == Role::Collector {
            self.work.push_back(Work::Engine(id, engine::Input::Wake));
        }
        self.work_through();
        self.plan_wake(id);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(Reverse(next)) = self.queue.peek() {
            if next.at > until {
                break;
            }
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.now = self.now.max(next.at);
            self.serve(*next.event);
        }
        self.now = until;
    }

    /// Lets time pass until a condition holds; the time it took, or `None` if it never did.
    pub fn run_until(&mut self, within: Span, mut condition: impl FnMut(&mut Self) -> bool) -> Option<Span> {
        let start = self.now;
        loop {
            if condition(self) {
                return Some(self.now.since(start));
            }
            if self.now.since(start) >= within {
                return None;
            }
            self.run_for(Span::from_millis(100));
        }
    }

    pub(super) fn schedule(&mut self, at: Timestamp, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), order: self.order, event: Box::new(event) }));
    }

    fn serve(&mut self, event: Event) {
        let Some(event) = self.unless_asleep(event) else { return };
        let lives = |world: &Self, host: HostId, life: u32| {
            world.hosts[host].running.is_some() && world.hosts[host].life == life
        };
        let touched = match event {
            Event::Wake { host, life, planned } => {
                let awaited = self.hosts[host].running.as_ref().and_then(|running| running.wake_at);
                if !lives(self, host, life) || awaited != Some(planned) {
                    return;
                }
                self.wake(host);
                host
            }
            Event::Gossip { host, life, input } => {
                if self.hosts[host].running.is_none() || life.is_some_and(|life| !lives(self, host, life)) {
                    return;
                }
                self.work.push_back(Work::Gossip(host, input));
                host
            }
            Event::GossipStream { from, from_life, to, exchange, frames } => {
                self.gossip_asked((from, from_life), to, exchange, frames);
                to
            }
            Event::Knock { agent, agent_life, connection, address } => {
                if !lives(self, agent, agent_life) {
                    return;
                }
                self.knock(agent, connection, &address);
                agent
            }
            Event::ToAgent { host, life, input } => {
                if !lives(self, host, life) {
                    return;
                }
                self.work.push_back(Work::Agent(host, input));
                host
            }
            Event::JournalWritten { host, life } => {
                if !lives(self, host, life) {
                    return;
                }
                self.journal_written(host);
                host
            }
            Event::ToOrders { host, life, input } => {
                if !lives(self, host, life) {
                    return;
                }
                self.work.push_back(Work::Orders(host, input));
                host
            }
            Event::ToCollector { host, life, input } => {
                if !lives(self, host, life) {
                    return;
                }
                self.work.push_back(Work::Engine(host, input));
                host
            }
            Event::Webhook { collector, life, delivery } => {
                self.webhook(collector, life, &delivery);
                collector
            }
        };
        self.work_through();
        self.plan_wake(touched);
    }

    fn wake(&mut self, host: HostId) {
        let now = self.now;
        let Some(running) = &mut self.hosts[host].running else { return };
        running.wake_at = None;
        let due = |deadline: Option<Timestamp>| deadline.is_some_and(|at| at <= now);
        if due(running.gossip.deadline()) {
            self.work.push_back(Work::Gossip(host, Gossip::wake()));
        }
        match &running.program {
            Program::Agent { core, .. } if due(core.deadline()) => {
                self.work.push_back(Work::Agent(host, AgentCore::wake()))
            }
            Program::Collector(engine) if due(engine.deadline()) => {
                self.work.push_back(Work::Engine(host, engine::Input::Wake));
            }
            _ => {}
        }
    }

    fn work_through(&mut self) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Gossip(host, input) => self.gossip_input(host, input),
                Work::Agent(host, input) => self.agent_input(host, input),
                Work::Orders(host, input) => self.order_input(host, input),
                Work::Engine(host, input) => self.engine_input(host, input),
            }
        }
    }

    fn plan_wake(&mut self, host: HostId) {
        let life = self.hosts[host].life;
        let Some(running) = &mut self.hosts[host].running else { return };
        let program = match &running.program {
            Program::Agent { core, .. } => core.deadline(),
            Program::Collector(engine) => engine.deadline(),
        };
        let Some(at) = running.gossip.deadline().into_iter().chain(program).min() else { return };
        if running.wake_at.is_none_or(|planned| at < planned) {
            // A machine that is due now is woken a millisecond later: time must move between two wake-ups.
            let at = at.max(self.now + Span::from_millis(1));
            running.wake_at = Some(at);
            self.schedule(at, Event::Wake { host, life, planned: at });
        }
    }

    /// Whether every running host sees every running host alive and no other.
    #[must_use]
    pub fn views_are_right(&self) -> bool {
        let running = || self.hosts.iter().filter(|host| host.running.is_some());
        // Who was wrong last is likely to be wrong still.
        let doubted = self.doubted.get();
        let wrong =
            running().skip_while(|host| host.id != doubted).chain(running()).find(|host| !self.sees_rightly(host));
        self.doubted.set(wrong.map_or(0, |host| host.id));
        wrong.is_none()
    }

    fn sees_rightly(&self, viewer: &Host) -> bool {
        let Some(running) = &viewer.running else { return true };
        let runs = |id: HostId| self.hosts[id].running.is_some();
        let mut states = vec![None; self.hosts.len()];
        for member in running.gossip.members() {
            if let Some(state) = host_with(member.id).and_then(|host| states.get_mut(host)) {
                *state = Some(member.state);
            }
        }
        states.into_iter().enumerate().all(|(subject, state)| match state {
            Some(MemberState::Alive) => runs(subject),
            Some(MemberState::Down | MemberState::Left) => !runs(subject),
            Some(MemberState::Suspect) | None => false,
        })
    }

    /// The engine of a running collector.
    #[must_use]
    pub fn engine(&self, id: HostId) -> Option<&Engine<watchfire_store::SimDisk>> {
        match &self.hosts[id].running.as_ref()?.program {
            Program::Collector(engine) => Some(engine),
            Program::Agent { .. } => None,
        }
    }

    pub(super) fn tell_collector(&mut self, conn: u64, stream: &Stream, input: engine::Input) {
        let at = (self.now + self.network.draw_delay()).max(stream.to_collector_until);
        if let Some(stream) = self.network.streams.get_mut(&conn) {
            stream.to_collector_until = at;
        }
        self.schedule(at, Event::ToCollector { host: stream.collector, life: stream.collector_life, input });
    }

    pub(super) fn tell_agent_of_end(&mut self, stream: &Stream, reason: &str) {
        let at = (self.now + self.network.draw_delay()).max(stream.to_agent_until);
        let input = agent_core::Input::Disconnected { connection: stream.connection, reason: reason.to_owned() };
        self.schedule(at, Event::ToAgent { host: stream.agent, life: stream.agent_life, input });
    }
}
