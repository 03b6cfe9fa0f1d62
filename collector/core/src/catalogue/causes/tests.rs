use watchfire_shared::member::{Member, MemberChange};

use super::*;
use crate::ingest::naming::Naming;

const LABELS: [&str; 2] = ["zone", "rack"];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

/// A fleet of which gossip speaks, and its causes.
struct World {
    fleet: Fleet,
    causes: Causes,
}

impl World {
    /// Nodes `0..count`, of which each ten share a zone and each five a rack.
    fn new(count: u64) -> Self {
        let fleet = Fleet::restore(at(0), Naming::standard("prod"), Span::from_seconds(900), []);
        let mut world = Self { fleet, causes: Causes::new(&LABELS.map(str::to_owned)) };
        for id in 0..count {
            world.member(0, id, MemberState::Alive);
        }
        world
    }

    fn member(&mut self, second: i64, id: u64, state: MemberState) -> bool {
        let labels = [("zone", format!("z{}", id / 10)), ("rack", format!("r{}", id / 5))];
        self.labelled(second, id, state, &labels.map(|(name, value)| (name.to_owned(), value)))
    }

    fn labelled(&mut self, second: i64, id: u64, state: MemberState, labels: &[(String, String)]) -> bool {
        let member = Member {
            id: NodeId(id + 1),
            name: format!("node-{id}"),
            addr: "10.0.0.1:7950".parse().unwrap(),
            state,
            since: at(second),
            incarnation: 0,
            generation: 1,
            role: Role::Agent,
            labels: labels.iter().cloned().collect(),
            version: String::new(),
            services: BTreeMap::new(),
            rtt_ms: None,
            suspected_by: Vec::new(),
            conditions: Vec::new(),
            suspicions: Vec::new(),
            keys: Default::default(),
            pools: Vec::new(),
            gossip_off: false,
            namesakes: Vec::new(),
            cause: None,
        };
        self.fleet.member(at(second), MemberChange { at: at(second), previous: None, member });
        let changed = self.fleet.take_changed();
        self.causes.update(at(second), &self.fleet, changed)
    }

    fn wake(&mut self, second: i64) {
        self.causes.update(at(second), &self.fleet, []);
    }

    /// What is told, as `label value down/nodes`.
    fn told(&self) -> Vec<String> {
        let fallen = self.causes.fallen(&self.fleet);
        fallen.iter().map(|own| format!("{} {} {}/{}", own.label, own.value, own.down, own.nodes)).collect()
    }

    fn explained(&self) -> Vec<u64> {
        self.causes.explained().keys().map(|id| id.0 - 1).collect()
    }
}

#[test]
fn a_zone_that_falls_is_one_cause_and_explains_its_racks() {
    let mut world = World::new(30);
    for (second, id) in (10..20).enumerate() {
        world.member(100 + second as i64, id, MemberState::Down);
    }
    assert_eq!(world.told(), ["zone z1 10/10"]);
    assert_eq!(world.explained(), (10..20).collect::<Vec<_>>());
    // One that dies elsewhere is a matter of its own.
    world.member(112, 3, MemberState::Down);
    assert_eq!((world.told(), world.explained().contains(&3)), (vec!["zone z1 10/10".to_owned()], false));
}

#[test]
fn a_rack_that_falls_is_no_zone() {
    let mut world = World::new(30);
    for id in 5..8 {
        assert_eq!(world.told(), [""; 0]);
        world.member(100, id, MemberState::Down);
    }
    assert_eq!(world.told(), ["rack r1 3/5"]);
    assert_eq!(world.explained(), [5, 6, 7]);
}

#[test]
fn deaths_that_lie_far_apart_or_of_a_few_are_no_group() {
    let mut world = World::new(30);
    for (id, second) in [(5, 0), (6, 61), (7, 122), (8, 183), (9, 244)] {
        world.member(second, id, MemberState::Down);
    }
    // Two in a rack, and four of the ten of a zone.
    for id in [20, 21, 25, 26] {
        world.member(300, id, MemberState::Down);
    }
    assert_eq!((world.told(), world.explained()), (Vec::new(), Vec::new()));
}

#[test]
fn the_long_dead_are_not_counted_among_those_that_lived() {
    let mut world = World::new(10);
    for (second, id) in [(0, 0), (100, 1), (200, 5), (300, 6)] {
        world.member(second, id, MemberState::Down);
    }
    for id in [2, 3, 7, 8] {
        assert_eq!(world.told(), [""; 0]);
        world.member(1000, id, MemberState::Down);
    }
    assert_eq!(world.told(), ["zone z0 8/10"]);
    assert_eq!(world.explained(), [2, 3, 7, 8]);
}

#[test]
fn suspicion_counts_once_a_death_is_confirmed_and_not_when_it_is_refuted() {
    let mut world = World::new(30);
    for id in 10..16 {
        world.member(100, id, MemberState::Suspect);
    }
    assert_eq!(world.told(), [""; 0]);
    world.member(102, 10, MemberState::Down);
    assert_eq!(world.told(), ["zone z1 1/10"]);
    assert_eq!(world.explained(), (10..16).collect::<Vec<_>>());
    for id in 11..16 {
        world.member(103, id, MemberState::Alive);
    }
    assert_eq!((world.told(), world.explained()), (Vec::new(), Vec::new()));
    assert_eq!(world.causes.deadline(), None);
}

#[test]
fn suspicion_that_comes_after_a_death_is_not_of_its_cause() {
    let mut world = World::new(30);
    world.member(100, 10, MemberState::Down);
    for id in 11..20 {
        world.member(106, id, MemberState::Suspect);
    }
    assert_eq!((world.told(), world.explained()), (Vec::new(), Vec::new()));
    // Once they are confirmed they are many at once, of whatever cause.
    for id in 11..16 {
        world.member(110, id, MemberState::Down);
    }
    assert_eq!(world.told(), ["zone z1 6/10"]);
}

#[test]
fn what_was_doubted_for_long_falls_with_the_first_that_is_confirmed() {
    let mut world = World::new(6);
    for id in 0..6 {
        world.member(100, id, MemberState::Suspect);
    }
    // The guard of a collector that heard nobody ends after two minutes, and the first death is confirmed.
    world.member(230, 0, MemberState::Down);
    assert_eq!(world.told(), ["zone z0 1/6"]);
    assert_eq!(world.explained(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_rest_speaks_for_itself_once_most_are_back_for_a_while() {
    let mut world = World::new(30);
    for id in 10..20 {
        world.member(100, id, MemberState::Down);
    }
    for id in 10..18 {
        world.member(200, id, MemberState::Alive);
    }
    assert_eq!(world.told(), ["zone z1 2/10"]);
    // The rack whose nodes are all back is over first, and was never told.
    assert_eq!(world.causes.deadline(), Some(at(200) + SETTLE));
    world.wake(215);
    assert_eq!(world.causes.deadline(), Some(at(200) + CALM));
    world.wake(499);
    assert_eq!(world.told(), ["zone z1 2/10"]);
    world.wake(500);
    assert_eq!((world.told(), world.causes.deadline()), (Vec::new(), None));
    // What they died of is not found again.
    world.member(501, 18, MemberState::Alive);
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn a_group_is_over_when_all_are_back() {
    let mut world = World::new(30);
    for id in 10..20 {
        world.member(100, id, MemberState::Down);
    }
    for id in 10..20 {
        assert_eq!(world.told().len(), 1);
        world.member(130, id, MemberState::Alive);
    }
    // Their alerts resolve a moment later, and must not be told in between.
    assert_eq!((world.told(), world.explained().len()), (vec!["zone z1 0/10".to_owned()], 10));
    assert_eq!(world.causes.deadline(), Some(at(130) + SETTLE));
    world.wake(144);
    assert_eq!(world.told().len(), 1);
    world.wake(145);
    assert_eq!((world.told(), world.explained(), world.causes.deadline()), (Vec::new(), Vec::new(), None));
}

#[test]
fn the_cluster_is_told_where_no_label_explains_it() {
    let mut world = World::new(0);
    for id in 0..8 {
        world.labelled(0, id, MemberState::Alive, &[]);
    }
    for id in 0..5 {
        world.labelled(100, id, MemberState::Down, &[]);
    }
    assert_eq!(world.told(), ["cluster prod 5/8"]);
}

#[test]
fn ephemeral_nodes_and_those_that_left_belong_to_nobody() {
    let mut world = World::new(0);
    let ephemeral = [("zone".to_owned(), "z0".to_owned()), ("ephemeral".to_owned(), "true".to_owned())];
    let stable = [("zone".to_owned(), "z0".to_owned())];
    for id in 0..4 {
        world.labelled(0, id, MemberState::Alive, &ephemeral);
        world.labelled(0, id + 10, MemberState::Alive, &stable);
    }
    for id in 0..4 {
        world.labelled(100, id, MemberState::Down, &ephemeral);
        world.labelled(100, id + 10, MemberState::Left, &stable);
    }
    assert_eq!((world.told(), world.explained()), (Vec::new(), Vec::new()));
}

#[test]
fn a_restarted_collector_finds_the_group_again() {
    let mut world = World::new(30);
    for id in 10..20 {
        world.member(100, id, MemberState::Down);
    }
    let mut again = Causes::new(&LABELS.map(str::to_owned));
    let all: Vec<NodeId> = world.fleet.nodes().map(|node| node.id).collect();
    assert!(again.update(at(50_000), &world.fleet, all));
    world.causes = again;
    assert_eq!(world.told(), ["zone z1 10/10"]);
}
