//! Remediation beside the rest of the collector: alerts from outside, questions to agents, and the way to a person.

use std::sync::Arc;

use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::{ViewAnswer, ViewQuery};
use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::order::{Actions, OfferedAction, Order, OrderReport, OrderState};
use watchfire_store::SimDisk;

use super::world::{FakeAgent, START, World, live, seconds, settings};
use crate::alertmanager;
use crate::engine::Input;
use crate::notify::PostedAlert;
use crate::remediation::{self, Answer, Command};

const ROUTES: &str = "
route: { receiver: hook, group_wait: 1h }
receivers:
  - name: hook
    webhook_configs: [{ url: 'http://127.0.0.1:9/' }]
  - name: pager
    webhook_configs: [{ url: 'http://127.0.0.1:9/' }]
";

fn world(remediations: &str) -> World {
    let mut settings = settings("groups: []");
    settings.remediations = remediation::parse(&[("r.yml".to_owned(), remediations.to_owned())]).unwrap();
    let mut routes = alertmanager::parse("alertmanager.yml", ROUTES).unwrap();
    routes.route_escalations(remediation::receivers(&settings.remediations));
    settings.alertmanager = Arc::new(routes);
    World::open(SimDisk::new(), settings, START)
}

fn offer(world: &mut World, agent: &FakeAgent) {
    let (name, digest, kind) = ("a".to_owned(), "d".to_owned(), "restart".to_owned());
    let offered =
        OfferedAction { name, digest, kind, idempotent: true, longest_ms: 1000, params: vec!["node".to_owned()] };
    let (boot, refuses) = ("b".to_owned(), String::new());
    let actions = Actions { boot, refuses, last: None, offered: vec![offered], problems: Vec::new() };
    world.send(agent.conn, &Message::Actions(actions));
}

fn post(world: &mut World, instance: &str, over: bool) {
    let labels = [("alertname", "Broken"), ("instance", instance)];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let ends_at = Some(if over { world.now } else { world.now + seconds(3600.0) });
    world.input(Input::PostAlerts(vec![PostedAlert { labels, ends_at, ..PostedAlert::default() }]));
}

fn only_order(world: &World) -> Order {
    let view = world.view();
    let [(_, order)] = world.orders.as_slice() else { panic!("{:?}", view.remediation.remediations[0].cases) };
    order.clone()
}

#[test]
fn an_alert_from_outside_is_acted_upon_and_a_receiver_hears_when_that_fails() {
    let repair = "remediations: [{name: r, when: {alert: Broken}, mode: auto, \
                  steps: [{action: a, params: {node: '{instance}'}}, {escalate: pager}]}]";
    let mut world = world(repair);
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    offer(&mut world, &agent);
    agent.live(&mut world, 4);
    post(&mut world, "web-1:9100", false);
    let order = only_order(&world);
    assert_eq!((order.target, order.params["node"].as_str()), (NodeId(1), "web-1:9100"));
    let report = OrderReport::new(order.id, OrderState::Failed, world.now, "no");
    world.send(agent.conn, &Message::OrderReport(report));
    agent.live(&mut world, 1);
    let arrived = |world: &World| world.arrived.iter().flat_map(|own| own.alerts.clone()).collect::<Vec<_>>();
    assert_eq!(arrived(&world), ["RemediationEscalated firing"], "at once, whatever the routes say");
    post(&mut world, "web-1:9100", true);
    for _ in 0..40 {
        agent.live(&mut world, 1);
    }
    assert_eq!(arrived(&world), ["RemediationEscalated firing", "RemediationEscalated resolved"]);
    only_order(&world);
}

#[test]
fn of_a_node_that_is_silent_here_others_are_asked() {
    let drain = "remediations: [{name: r, when: {alert: Broken}, mode: auto, target: {role: lb}, \
                 steps: [{action: a, params: {node: '{instance}'}}]}]";
    let mut world = world(drain);
    let mut agents: Vec<FakeAgent> = Vec::new();
    for (id, name) in [(1, "web-1"), (2, "web-2"), (3, "web-3"), (4, "lb-1")] {
        let mut agent = FakeAgent::new(world.now, id, name);
        if name == "lb-1" {
            agent.hello.labels.insert("role".to_owned(), "lb".to_owned());
        }
        agent.connect(&mut world);
        offer(&mut world, &agent);
        world.labelled(id, name, MemberState::Alive, None, &agent.hello.labels);
        agents.push(agent);
    }
    live(&mut world, &mut agents, 4);
    let silent = agents.remove(0);
    world.input(Input::Disconnected { conn: silent.conn });
    live(&mut world, &mut agents, 4);
    post(&mut world, "web-1", false);
    let asked: Vec<_> = agents
        .iter()
        .filter(|agent| world.replies(agent.conn).contains(&Message::ViewQuery(ViewQuery { about: NodeId(1) })))
        .map(|agent| agent.conn)
        .collect();
    assert_eq!((asked.len(), world.orders.len()), (3, 0));
    for conn in &asked[..2] {
        let answer = ViewAnswer { about: NodeId(1), state: Some(MemberState::Down) };
        world.send(*conn, &Message::ViewAnswer(answer));
    }
    assert_eq!((only_order(&world).target, &*only_order(&world).params["node"]), (NodeId(4), "web-1"));
}

#[test]
fn a_pause_and_its_end_are_answered_and_survive_a_power_failure() {
    let mut world = world("remediations: [{name: r, when: {alert: Broken}, mode: auto, steps: [{action: a}]}]");
    let pause = Command::Pause { remediation: None, by: "ann".to_owned(), reason: "release".to_owned(), until: None };
    world.input(Input::Remediation(pause));
    assert!(matches!(world.told.as_slice(), [Answer::Done { .. }]), "{:?}", world.told);
    let now = world.now + seconds(1.0);
    let mut world = world.crash(watchfire_store::disk::CrashKeeps::NOTHING, now);
    world.run(seconds(1.0));
    let paused = |world: &World| world.view().remediation.remediations[0].paused.clone().map(|own| own.by);
    assert_eq!(paused(&world).as_deref(), Some("ann"));
    world.input(Input::Remediation(Command::Resume { remediation: None, by: "ann".to_owned() }));
    world.run(seconds(1.0));
    assert_eq!((paused(&world), world.told.len()), (None, 1));
}
