//! Guards over the fleet: a world with zones, in which everything but the one thing is well.

use super::*;

const NOBODY: [u64; 0] = [];

const ZONES: &str = "
remediations:
  - name: nginx
    when: { alert: NginxDown, labels: { role: web } }
    mode: auto
    steps: [{ action: restart, params: { unit: nginx.service } }]
";

/// `count` agents in turn in the zones a, b and c, all connected, and the collector.
fn zones(text: &str, count: u64) -> World {
    let mut world = World::new(text);
    world.fleet.truncate(1);
    for at in 0..count {
        let mut member = Member::new(NodeId(100 + at), &format!("web-{at}"), Role::Agent);
        member.labels.insert("zone".to_owned(), ["a", "b", "c"][(at % 3) as usize].to_owned());
        member.labels.insert("role".to_owned(), "web".to_owned());
        world.fleet.push(member);
        world.offer_on(NodeId(100 + at), None);
    }
    world.run(seconds(60));
    world
}

impl World {
    fn member(&mut self, at: u64) -> &mut Member {
        self.fleet.iter_mut().find(|member| member.id == NodeId(100 + at)).expect("there is such a member")
    }

    /// The collector hears nothing of a node any more; whether gossip still believes in it is another matter.
    fn lose(&mut self, at: u64, state: MemberState) {
        let member = self.member(at);
        (member.up, member.state) = (Some(false), Some(state));
        self.remediator.gone(self.now, NodeId(100 + at));
        self.remediator.nodes_changed(self.now);
    }

    fn regain(&mut self, at: u64) {
        let member = self.member(at);
        (member.up, member.state) = (Some(true), Some(MemberState::Alive));
        self.offer_on(NodeId(100 + at), None);
        self.remediator.nodes_changed(self.now);
    }

    /// The reasons of the case about a node.
    fn reasons(&self, instance: &str) -> String {
        let case = self.remediator.cases.values().find(|case| case.alert.value("instance") == instance);
        case.map(|case| case.reasons.join("; ")).unwrap_or_default()
    }

    fn targets(&self) -> Vec<u64> {
        self.dispatched.iter().map(|order| order.target.0 - 100).collect()
    }
}

#[test]
fn above_the_share_nothing_begins_and_not_until_the_storm_is_over_for_a_while() {
    let mut world = zones(ZONES, 60);
    for at in 0..20 {
        world.fire(&format!("web-{at}"));
    }
    world.run(seconds(60));
    let told = "max_unhealthy 33% exceeded (20/60), storm until 2m after it is over";
    assert!(world.reasons("web-7").contains(told), "{}", world.reasons("web-7"));
    assert_eq!(world.targets(), NOBODY);
    // One alert less, and it is calm; but not at once.
    world.firing.truncate(19);
    world.remediator.look_soon(world.now);
    let calm = world.now;
    world.run(seconds(119));
    let until = format!("max_unhealthy 33% was exceeded (20/60), storm until {}", calm + seconds(120));
    assert!(world.reasons("web-7").contains(&until), "{}", world.reasons("web-7"));
    assert_eq!(world.targets(), NOBODY);
    // A restart in the middle does not forget it.
    world.restart();
    for at in 0..60 {
        world.offer_on(NodeId(100 + at), None);
    }
    assert!(world.remediator.storms.any());
    world.run(seconds(32));
    assert_eq!(world.targets().len(), 1, "{}", world.reasons("web-7"));
}

#[test]
fn a_remediation_counts_the_nodes_of_its_scope_and_leaves_one() {
    // Three databases among sixty: the share of them counts.
    let mut world = zones(&ZONES.replace("role: web", "role: db"), 60);
    for at in 0..3 {
        world.member(at).labels.insert("role".to_owned(), "db".to_owned());
    }
    world.firing.push(Alert {
        labels: Labels::new([("alertname", "NginxDown"), ("role", "db"), ("instance", "web-0")]),
        since: world.now,
        of_rules: true,
    });
    world.remediator.look_soon(world.now);
    world.run(seconds(10));
    assert_eq!(world.targets(), [0], "one of three is left to it");
    let id = world.dispatched[0].id;
    world.report(id, OrderState::Failed);
    world.lose(1, MemberState::Down);
    world.run(seconds(700));
    let reasons = world.reasons("web-0");
    assert!(reasons.contains("max_unhealthy 33% exceeded (2/3)"), "{reasons}");
    assert_eq!(world.targets(), [0]);
}

#[test]
fn one_zone_at_a_time() {
    let mut world = zones(&format!("{ZONES}    guards: {{ max_concurrent: 2 }}\n"), 60);
    for at in 0..9 {
        world.fire(&format!("web-{at}"));
    }
    world.run(seconds(30));
    let mut targets = world.targets();
    targets.sort_unstable();
    assert_eq!(targets.len(), 2);
    assert!(targets.iter().all(|at| at % 3 == targets[0] % 3), "{targets:?}");
    let other = (0..9).find(|at| at % 3 != targets[0] % 3).unwrap();
    let reasons = world.reasons(&format!("web-{other}"));
    assert!(reasons.contains("attempts are under way in 1 of 1 domains at a time (zone "), "{reasons}");
    let same = (0..9).find(|at| at % 3 == targets[0] % 3 && !targets.contains(at)).unwrap();
    let reasons = world.reasons(&format!("web-{same}"));
    assert!(reasons.contains("2 of 2 attempts at a time are under way in zone "), "{reasons}");
    for order in world.dispatched.clone() {
        world.report(order.id, OrderState::Succeeded);
    }
    world.run(seconds(6));
    assert_eq!(world.targets().len(), 4);
}

#[test]
fn without_a_majority_nothing_is_done() {
    let mut world = zones(&format!("{ZONES}    guards: {{ max_unhealthy: \"100%\" }}\n"), 9);
    for at in 0..5 {
        world.lose(at, MemberState::Down);
    }
    world.fire("web-8");
    world.run(seconds(60));
    let told = "quorum: 5 of 10 registered members are believed to live, and a majority is 6";
    assert_eq!(world.reasons("web-8"), told);
    assert_eq!(world.targets(), NOBODY);
    world.regain(0);
    world.run(seconds(10));
    assert_eq!(world.targets(), [8]);
}

const DRAIN: &str = "
remediations:
  - name: drain
    when: { alert: NginxDown, labels: { role: web } }
    mode: auto
    target: { role: lb }
    steps: [{ action: restart, params: { unit: \"{instance}\" } }]
";

/// Nine web servers, and a load balancer in zone a on which a node that is gone is drained.
fn with_balancer() -> World {
    let mut world = zones(DRAIN, 10);
    world.member(9).labels.insert("role".to_owned(), "lb".to_owned());
    world.run(seconds(1));
    world
}

#[test]
fn of_a_node_that_does_not_report_others_have_to_say_that_it_is_gone() {
    let mut world = with_balancer();
    world.lose(3, MemberState::Alive);
    world.fire("web-3");
    world.run(seconds(1));
    assert!(world.reasons("web-3").contains("corroborate: 0 of 3 observers see web-3 down, and 2 have to"));
    let asked = world.asked.clone();
    assert!(asked.len() == 3 && asked.iter().all(|(observer, about)| *about == NodeId(103) && observer != about));
    let answer = |world: &mut World, at: usize, state| {
        world.remediator.testify(world.now, asked[at].0, NodeId(103), Some(state));
        world.run(seconds(1));
    };
    // The collector is cut off from the node, and nobody else is.
    answer(&mut world, 0, MemberState::Alive);
    answer(&mut world, 1, MemberState::Down);
    answer(&mut world, 2, MemberState::Suspect);
    let reasons = world.reasons("web-3");
    assert!(reasons.contains("1 of 3 observers") && reasons.contains(": alive") && reasons.contains(": suspect"));
    assert_eq!(world.targets(), NOBODY);
    answer(&mut world, 2, MemberState::Down);
    assert_eq!((world.targets(), &*world.dispatched[0].params["unit"]), (vec![9], "web-3"));
}

#[test]
fn a_node_that_reports_speaks_for_itself() {
    let mut world = with_balancer();
    world.fire("web-3");
    world.run(seconds(1));
    assert_eq!((world.targets(), world.asked.len()), (vec![9], 0));
}

#[test]
fn a_selector_is_neither_nobody_nor_everybody() {
    let check = |change: &dyn Fn(&mut World), reason: &str| {
        let mut world = with_balancer();
        change(&mut world);
        world.fire("web-3");
        world.run(seconds(60));
        assert!(world.reasons("web-3").contains(reason), "{}", world.reasons("web-3"));
        assert_eq!(world.targets(), NOBODY);
    };
    let role = |world: &mut World, role: &str| {
        for at in 0..10 {
            world.member(at).labels.insert("role".to_owned(), role.to_owned());
        }
    };
    check(&|world| role(world, "web"), "no registered agent has the labels role=lb");
    check(&|world| role(world, "lb"), "the selector role=lb matches all 10 registered agents");
}

#[test]
fn an_agent_that_came_back_has_to_settle() {
    let mut world = zones(ZONES, 9);
    world.lose(3, MemberState::Down);
    world.fire("web-3");
    world.run(seconds(60));
    assert_eq!(world.targets(), NOBODY);
    world.regain(3);
    let back = world.now;
    world.run(seconds(29));
    assert_eq!(
        world.reasons("web-3"),
        format!("the agent of web-3 connected at {back}; settle until {}", back + seconds(30))
    );
    world.firing.clear();
    world.run(seconds(60));
    assert_eq!(world.targets(), NOBODY, "what was found out without it was over");
}

#[test]
fn a_node_that_is_back_has_to_settle_before_others_act_because_of_it() {
    let mut world = with_balancer();
    world.lose(3, MemberState::Alive);
    world.fire("web-3");
    world.run(seconds(60));
    // It reports again, and its alert is not resolved yet.
    world.regain(3);
    world.run(seconds(5));
    assert!(world.reasons("web-3").contains("the agent of web-3 connected at"), "{}", world.reasons("web-3"));
    world.firing.clear();
    world.run(seconds(60));
    assert_eq!(world.targets(), NOBODY);
}

#[test]
fn windows_blockers_and_pauses_are_asked() {
    // 2027-01-15, when the tests begin, is a Friday, 08:00 UTC.
    let mut world = zones(&format!("{ZONES}    guards: {{ windows: [\"Fri 10:00-11:00 Europe/Berlin\"] }}\n"), 9);
    world.fire("web-3");
    world.run(seconds(10));
    assert_eq!(world.reasons("web-3"), "it is outside of the windows Fri 10:00-11:00 Europe/Berlin");
    world.run(seconds(3600));
    assert_eq!(world.targets(), [3]);

    let mut world = zones(&format!("{ZONES}    guards: {{ blocked_by: [] }}\n"), 9);
    (world.silenced, world.maintained) = (true, Some(START + seconds(86_400)));
    world.fire("web-3");
    world.run(seconds(10));
    assert_eq!(world.targets(), [3], "the file may say that neither matters");

    let mut world = zones(ZONES, 9);
    let pause = |remediation: Option<&str>, until| Command::Pause {
        remediation: remediation.map(str::to_owned),
        by: "ann".to_owned(),
        reason: "release".to_owned(),
        until,
    };
    let resume = |remediation: Option<&str>| Command::Resume {
        remediation: remediation.map(str::to_owned),
        by: "ann".to_owned(),
    };
    let say = |world: &mut World, command| {
        let mut out = Vec::new();
        let answer = world.remediator.command(world.now, command, &mut out);
        world.perform(out);
        answer
    };
    let since = world.now;
    assert!(matches!(say(&mut world, pause(Some("nginx"), None)), Answer::Done { .. }));
    world.fire("web-3");
    world.restart();
    for at in 0..9 {
        world.offer_on(NodeId(100 + at), None);
    }
    world.run(seconds(60));
    assert_eq!(world.reasons("web-3"), format!("it is paused by ann since {since}: release"));
    let refused = |answer| if let Answer::Refused(refusal) = answer { refusal.to_string() } else { String::new() };
    assert_eq!(
        refused(say(&mut world, resume(Some("ngnx")))),
        "there is no remediation called ngnx, did you mean nginx?"
    );
    assert_eq!(refused(say(&mut world, resume(None))), "remediation as a whole is not paused");
    let until = world.now + seconds(60);
    say(&mut world, resume(Some("nginx")));
    say(&mut world, pause(None, Some(until)));
    world.run(seconds(59));
    assert!(world.reasons("web-3").starts_with("everything is paused by ann"));
    world.run(seconds(2));
    assert_eq!(world.targets(), [3]);
}

#[test]
fn long_health_lets_attempts_begin_anew() {
    let guards = "    guards: { attempts: { max: 1, per: 4h, reset_after_healthy: 1h }, cooldown: 1s }\n";
    let mut world = zones(&format!("{ZONES}{guards}"), 9);
    let attempt = |world: &mut World, count: usize| {
        world.fire("web-3");
        world.run(seconds(10));
        assert_eq!(world.targets().len(), count, "{}", world.reasons("web-3"));
        if let Some(order) = world.dispatched.last().map(|order| order.id) {
            world.report(order, OrderState::Succeeded);
        }
        world.run(seconds(10));
        world.firing.clear();
        world.remediator.look_soon(world.now);
        world.run(seconds(1));
    };
    attempt(&mut world, 1);
    world.run(seconds(1800));
    attempt(&mut world, 1);
    // The half hour before counts no more, for the alert was there in between; nor does what nobody saw.
    world.run(seconds(2700));
    world.restart();
    for at in 0..9 {
        world.offer_on(NodeId(100 + at), None);
    }
    world.run(seconds(1800));
    attempt(&mut world, 1);
    world.run(seconds(3600));
    attempt(&mut world, 2);
}

#[test]
fn a_simulation_decides_as_it_would_be_decided_and_does_nothing() {
    let mut world = zones(ZONES, 9);
    let simulate = |world: &World, remediation: &str, node: &str| {
        let firing = world.firing.iter().map(Alert::firing).collect();
        let nodes = Nodes::new(world.fleet.iter().map(|member| member.seen(world.maintained)));
        let silenced = world.silenced;
        let situation = Situation { fresh: world.fresh, firing, nodes, silenced: &|_| silenced };
        world.remediator.simulate(world.now, remediation, node, &situation)
    };
    let Answer::Simulated(simulation) = simulate(&world, "nginx", "web-3:9100") else { panic!("no simulation") };
    assert!(simulation.would_act && simulation.reasons.is_empty());
    assert_eq!((&*simulation.orders[0].node, &*simulation.orders[0].action), ("web-3", "restart"));
    world.silenced = true;
    world.lose(4, MemberState::Down);
    world.lose(5, MemberState::Down);
    world.lose(6, MemberState::Down);
    let Answer::Simulated(simulation) = simulate(&world, "nginx", "web-3") else { panic!("no simulation") };
    assert_eq!(simulation.blocked_by, ["silence", "max_unhealthy"]);
    assert!(simulation.reasons[1].contains("(4/9)"), "{:?}", simulation.reasons);
    assert!(matches!(simulate(&world, "nginx", "web-77"), Answer::Refused(Refusal::Unknown { .. })));
    assert!(matches!(simulate(&world, "ngin", "web-3"), Answer::Refused(Refusal::Unknown { .. })));
    assert!(world.targets().is_empty() && world.remediator.cases.is_empty() && world.remediator.runs.is_empty());
}

#[test]
fn alerts_of_others_act_unless_the_file_wants_the_rules_own() {
    for (from, count) in [("any", 1), ("api", 1), ("rules", 0)] {
        let mut world = zones(&ZONES.replace("role: web }", &format!("role: web }}, from: {from}")), 9);
        world.fire("web-3:9100");
        world.firing[0].of_rules = false;
        world.run(seconds(60));
        assert_eq!(world.targets().len(), count, "{from}");
    }
}
