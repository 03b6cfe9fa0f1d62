//! Faults whose cause is on no node: what remediation does to a healthy fleet while the collector, or something that all
//! nodes share, is at fault; and that it still repairs a node that is broken.
//!
//! Every node that is ordered to do something although nothing on it is broken is a needless action. The guards are
//! compared as they accumulate; what the numbers rank is the guards, they predict nothing.

use std::sync::Arc;

use watchfire_collector_core::remediation;
use watchfire_collector_core::{alertmanager, rules};
use watchfire_gossip::Profile;
use watchfire_shared::member::Role;
use watchfire_shared::time::Span;

use super::network::HostId;
use super::scenario::{self, COLLECTOR};
use super::world::World;

const RULES: &str = "groups:
  - name: fleet
    interval: 5s
    rules:
      - alert: Unwell
        expr: sim_constant == 0
      - alert: Silent
        expr: up{job=\"node\"} == 0
";
const ROUTES: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
const ACTIONS: &str = "[action.repair]
exec = [\"/bin/true\"]
kind = \"restart\"
idempotent = true
timeout = \"10s\"
max_per_hour = 20
cooldown = \"0s\"

[action.drain]
exec = [\"/bin/true\", \"{node}\"]
kind = \"switch\"
idempotent = true
timeout = \"10s\"
max_per_hour = 20
cooldown = \"0s\"
[action.drain.params.node]
pattern = \"[a-z0-9-]+\"
";

/// Which guards are on, each with those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guarding {
    /// Nothing but an attempt at a time for each node.
    None,
    /// A cooldown and three tries.
    Tries,
    /// Nothing begins while more than a third is unhealthy, nor soon after.
    Storm,
    /// Others have to agree that a silent node is gone, and one that comes back settles first.
    Corroboration,
    /// What holds if the file names no guard.
    Default,
}

impl Guarding {
    pub const ALL: [Self; 5] = [Self::None, Self::Tries, Self::Storm, Self::Corroboration, Self::Default];

    fn text(self) -> &'static str {
        match self {
            Self::None => {
                "{ cooldown: 1s, attempts: { max: 100, per: 1h }, max_concurrent: 100, max_unhealthy: \"100%\", \
                 storm_cooldown: 0s, domains: off, corroborate: off, quorum: off, settle: 0s }"
            }
            Self::Tries => {
                "{ max_concurrent: 100, max_unhealthy: \"100%\", storm_cooldown: 0s, domains: off, corroborate: off, \
                 quorum: off, settle: 0s }"
            }
            Self::Storm => {
                "{ max_concurrent: 100, max_unhealthy: \"33.4%\", domains: off, corroborate: off, quorum: off, settle: 0s }"
            }
            Self::Corroboration => "{ max_concurrent: 100, max_unhealthy: \"33.4%\", domains: off, quorum: off }",
            Self::Default => "{}",
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One node is broken, and repaired by being restarted.
    OneBroken,
    /// Something that all nodes need is broken, and no restart mends it.
    SharedDependency,
    /// The collector does not hear one zone of three; everybody else does.
    CutFromOneZone,
    /// The collector does not hear two zones of three.
    CutFromTwoZones,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::OneBroken, Self::SharedDependency, Self::CutFromOneZone, Self::CutFromTwoZones];
}

/// What became of one fault under some guards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Orders in the collector's ledger.
    pub orders: usize,
    /// Those on nodes, or because of nodes, on which nothing was broken.
    pub needless: usize,
    /// Whether everything was well in the end.
    pub healed: bool,
}

/// How long a fault lasts, and how long is waited after it: longer than two minutes of storm.
const FAULT: Span = Span::from_seconds(90);
const AFTER: Span = Span::from_seconds(150);

/// Lets a fault happen to `agents` agents in three zones, and looks at the time after it too.
///
/// # Panics
/// If the fleet does not become whole before the fault.
#[must_use]
pub fn run(seed: u64, agents: usize, fault: Fault, guarding: Guarding) -> Outcome {
    let mut world = fleet(seed, agents, guarding);
    let broken: Option<HostId> = (fault == Fault::OneBroken).then_some(1);
    strike(&mut world, fault, broken);
    let end = world.now + FAULT;
    while world.now < end {
        world.run_for(Span::from_seconds(1));
        mend(&mut world, broken);
    }
    for id in 0..world.hosts.len() {
        world.hosts[id].constant = 42.0;
    }
    world.network.severed.clear();
    world.run_for(AFTER);
    let view = world.engine(COLLECTOR).map(|engine| engine.view());
    let orders = view.as_ref().map(|view| view.remediation.orders.clone()).unwrap_or_default();
    let name = broken.map(|id| world.hosts[id].name.clone());
    let needless = orders.iter().filter(|order| name.as_ref() != Some(&order.node)).count();
    let firing = view.map_or(1, |view| view.rules.active().count());
    Outcome { orders: orders.len(), needless, healed: firing == 0 }
}

fn fleet(seed: u64, agents: usize, guarding: Guarding) -> World {
    let rules = rules::parse("fleet.yml", RULES).expect("the rules load");
    let routes = alertmanager::parse("alertmanager.yml", ROUTES).expect("the route tree loads");
    let mut world = World::new(seed, Profile::Lan, rules, Arc::new(routes));
    let text = format!(
        "remediations:\n  - {{ name: repair, when: {{ alert: Unwell }}, mode: auto, steps: [{{ action: repair }}], guards: {0} }}\n  \
         - {{ name: restart, when: {{ alert: Silent }}, mode: auto, steps: [{{ action: repair }}], guards: {0} }}\n  \
         - {{ name: drain, when: {{ alert: Silent }}, mode: auto, target: {{ role: lb }}, \
         steps: [{{ action: drain, params: {{ node: \"{{instance}}\" }} }}], guards: {0} }}\n",
        guarding.text()
    );
    world.remediations = remediation::parse(&[("fleet.yml".to_owned(), text)]).expect("they load");
    world.actions = watchfire_agent_core::action::parse("fleet.toml", ACTIONS).expect("they load");
    world.add("watch", Role::Collector, &[]);
    for at in 0..agents {
        // The load balancers are in the zone that the collector always hears.
        let zone = ["a", "b", "c"][at % 3];
        let role = if at % 3 == 0 && at < 9 { "lb" } else { "web" };
        world.add_labelled(&format!("agent-{at}"), Role::Agent, &[COLLECTOR], &[("zone", zone), ("role", role)]);
    }
    scenario::make_whole(&mut world);
    world.run_for(Span::from_seconds(35));
    world
}

fn strike(world: &mut World, fault: Fault, broken: Option<HostId>) {
    let agents = 1..world.hosts.len();
    match fault {
        Fault::OneBroken => world.hosts[broken.unwrap_or(1)].constant = 0.0,
        Fault::SharedDependency => agents.for_each(|id| world.hosts[id].constant = 0.0),
        Fault::CutFromOneZone | Fault::CutFromTwoZones => {
            let zones: &[&str] = if fault == Fault::CutFromOneZone { &["c"] } else { &["b", "c"] };
            let cut = agents.filter(|id| zones.contains(&world.hosts[*id].labels["zone"].as_str()));
            let cut: Vec<HostId> = cut.collect();
            world.network.severed.extend(cut.into_iter().map(|id| (COLLECTOR, id)));
        }
    }
}

/// An action mends what is broken on its node.
fn mend(world: &mut World, broken: Option<HostId>) {
    let Some(id) = broken else { return };
    if world.record.executed.iter().any(|(host, _)| *host == id) {
        world.hosts[id].constant = 42.0;
    }
}
