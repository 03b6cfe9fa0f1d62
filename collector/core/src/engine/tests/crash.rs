//! The power fails at every point, and nothing that was promised is lost.

use watchfire_shared::frame::message::{Lane, Message};
use watchfire_shared::member::MemberState;
use watchfire_store::SimDisk;
use watchfire_store::disk::CrashKeeps;

use super::world::{FakeAgent, START, World, seconds, settings};

const RULES: &str = r#"
groups:
  - name: nodes
    interval: 10s
    rules:
      - alert: NodeDown
        expr: watchfire_member_state{role="agent", state="down"} == 1
        for: 30s
"#;

/// What the outside was told before the power failed.
#[derive(Default)]
struct Promised {
    acknowledged: u64,
    alerts: Vec<String>,
}

/// Two agents tick, one of them is declared down on the way; ends early once the disk is dead.
fn story(disk: &SimDisk, steps: usize) -> (World, Promised) {
    let mut world = World::open(disk.clone(), settings(RULES), START);
    let mut promised = Promised::default();
    world.member(1, "web-1", MemberState::Alive);
    world.member(2, "web-2", MemberState::Alive);
    let mut agents = [FakeAgent::join(&mut world, 1, "web-1", 2), FakeAgent::join(&mut world, 2, "web-2", 2)];
    for step in 0..steps {
        if step == 2 {
            world.member(2, "web-2", MemberState::Down);
        }
        agents[0].tick(&mut world, step as f64);
        world.run(seconds(5.0));
        for message in world.replies(agents[0].conn) {
            if let Message::Ack(ack) = message {
                promised.acknowledged = ack.seq;
            }
        }
    }
    promised.alerts = world.alerts();
    (world, promised)
}

#[test]
fn acknowledged_samples_are_there_after_a_power_failure_at_any_moment() {
    let (world, whole) = story(&SimDisk::new(), 12);
    assert_eq!((whole.acknowledged, whole.alerts), (12, vec!["NodeDown firing".to_owned()]));
    let mutations = world.disk.mutations();
    assert!(mutations > 40, "the story writes too little to be worth cutting: {mutations}");
    // The first changes make the files; a collector that cannot even begin is another test's business.
    let first = {
        let disk = SimDisk::new();
        drop(World::open(disk.clone(), settings(RULES), START));
        disk.mutations()
    };
    for cut in (first..mutations).step_by(3) {
        for keeps in [CrashKeeps::NOTHING, CrashKeeps { changes: 1, bytes: 7 }, CrashKeeps::ALL] {
            let disk = SimDisk::new();
            disk.power_off_in(cut);
            let (world, promised) = story(&disk, 12);
            let at = world.now + seconds(3.0);
            let world = world.crash(keeps, at);
            let points = world.points("m0");
            let series = points.get(r#"m0{instance="web-1", job="node"}"#);
            let found: Vec<f64> = series.into_iter().flatten().map(|(_, value)| *value).collect();
            let expected: Vec<f64> = (0..promised.acknowledged).map(|seq| seq as f64).collect();
            let kept = found.len().min(expected.len());
            assert_eq!(found[..kept], expected[..], "power off after {cut} changes, kept {keeps:?}");
        }
    }
}

#[test]
fn a_for_timer_neither_starts_again_nor_is_shortened_by_a_crash() {
    let uncut = story(&SimDisk::new(), 4).0;
    let since = uncut.view().rules.alerts().alerts[0].active_at;
    let stop = uncut.now;
    let fork = uncut.disk.fork();
    drop(uncut);
    fork.crash(CrashKeeps::NOTHING);
    let mut world = World::open(fork, settings(RULES), stop + seconds(1.0));
    assert_eq!(world.alerts(), ["NodeDown pending"]);
    assert_eq!(world.view().rules.alerts().alerts[0].active_at, since);
    let mut agent = FakeAgent::new(world.now, 1, "web-1");
    agent.connect(&mut world);
    agent.dict(&mut world, Lane::Live, 2);
    world.member(1, "web-1", MemberState::Alive);
    world.member(2, "web-2", MemberState::Down);
    while world.now < since + seconds(29.0) {
        agent.tick(&mut world, 1.0);
        world.run(seconds(1.0));
        assert_eq!(world.alerts(), ["NodeDown pending"]);
    }
    agent.tick(&mut world, 1.0);
    world.run(seconds(1.1));
    assert_eq!(world.alerts(), ["NodeDown firing"]);
    assert_eq!(world.view().rules.alerts().alerts[0].active_at, since);
}
