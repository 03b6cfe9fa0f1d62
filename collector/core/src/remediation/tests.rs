//! Remediation alone: alerts and agents are what a test says they are.

use watchfire_shared::labels::Labels;
use watchfire_shared::member::Role;
use watchfire_shared::order::{OfferedAction, OrderState};

use super::*;

mod guards;

mod steps;

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const COLLECTOR: NodeId = NodeId(0xc);
const NODE: NodeId = NodeId(0xa);

const FILE: &str = "
remediations:
  - name: nginx
    when: { alert: NginxDown, for: 1m, labels: { role: web } }
    mode: auto
    steps: [{ action: restart, params: { unit: nginx.service } }]
    guards: { cooldown: 5m, attempts: { max: 2, per: 1h } }
";

/// An alert that fires.
struct Alert {
    labels: Labels,
    since: Timestamp,
    of_rules: bool,
}

impl Alert {
    fn firing(&self) -> Firing<'_> {
        Firing { labels: &self.labels, since: self.since, of_rules: self.of_rules }
    }
}

/// A registered member. Its instance is its name.
struct Member {
    id: NodeId,
    name: String,
    role: Role,
    labels: BTreeMap<String, String>,
    state: Option<MemberState>,
    up: Option<bool>,
}

impl Member {
    fn new(id: NodeId, name: &str, role: Role) -> Self {
        let labels = BTreeMap::new();
        Self { id, name: name.to_owned(), role, labels, state: Some(MemberState::Alive), up: Some(true) }
    }

    fn seen(&self, maintained: Option<Timestamp>) -> Seen<'_> {
        Seen {
            id: self.id,
            name: &self.name,
            instance: &self.name,
            role: self.role,
            labels: &self.labels,
            state: self.state,
            up: self.up,
            connected: self.up == Some(true),
            maintained,
        }
    }
}

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn parse_text(text: &str) -> Result<Vec<Remediation>, Vec<String>> {
    let parsed = parse(&[("r.yml".to_owned(), text.to_owned())]);
    parsed.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

struct World {
    remediator: Remediator,
    now: Timestamp,
    fresh: bool,
    silenced: bool,
    maintained: Option<Timestamp>,
    firing: Vec<Alert>,
    fleet: Vec<Member>,
    asked: Vec<(NodeId, NodeId)>,
    escalated: Vec<(String, bool)>,
    saved: BTreeMap<(&'static str, String), Vec<u8>>,
    dispatched: Vec<Order>,
    seen: Vec<OrderId>,
}

impl World {
    fn new(text: &str) -> Self {
        let remediations = parse_text(text).expect("the test's file is good");
        let remediator = Remediator::restore(START, COLLECTOR, remediations, &Default::default());
        let mut world = Self {
            remediator,
            now: START,
            fresh: true,
            silenced: false,
            maintained: None,
            firing: Vec::new(),
            fleet: vec![Member::new(COLLECTOR, "watch", Role::Collector), Member::new(NODE, "web-1", Role::Agent)],
            asked: Vec::new(),
            escalated: Vec::new(),
            saved: BTreeMap::new(),
            dispatched: Vec::new(),
            seen: Vec::new(),
        };
        world.offer(None);
        world
    }

    /// The collector dies and starts again with what was saved.
    fn restart(&mut self) {
        let table = |name: &str| -> Vec<(String, Vec<u8>)> {
            let own = self.saved.iter().filter(|((table, _), _)| *table == name);
            own.map(|((_, key), value)| (key.clone(), value.clone())).collect()
        };
        let remediations = self.remediator.remediations.clone();
        self.remediator = Remediator::restore(self.now, COLLECTOR, remediations, &TABLES.map(table));
    }

    fn perform(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Save { table, key, value: Some(value) } => drop(self.saved.insert((table, key), value)),
                Output::Save { table, key, value: None } => drop(self.saved.remove(&(table, key))),
                Output::Dispatch(order) => {
                    assert!(self.saved.contains_key(&(ORDER_TABLE, order.id.to_string())), "saved before it leaves");
                    assert!(self.saved.keys().any(|(table, _)| *table == EPOCH_TABLE), "and so is its epoch");
                    self.dispatched.push(*order);
                }
                Output::Seen { id, .. } => self.seen.push(id),
                Output::Note { table, key, value } => drop(self.saved.insert((table, key), value)),
                Output::Ask { observer, about } => self.asked.push((observer, about)),
                Output::Escalate(alert) => {
                    let receiver = alert.labels.value(ESCALATE_TO).to_owned();
                    self.escalated.push((receiver, !alert.resolved_at(self.now)));
                }
                Output::Fact(_) => {}
            }
        }
    }

    fn offer(&mut self, last: Option<(u64, u64)>) {
        self.offer_on(NODE, last);
    }

    fn offer_on(&mut self, node: NodeId, last: Option<(u64, u64)>) {
        let restart = OfferedAction {
            name: "restart".to_owned(),
            digest: "d".to_owned(),
            kind: "restart".to_owned(),
            idempotent: false,
            longest_ms: 60_000,
            params: vec!["unit".to_owned()],
        };
        let (boot, refuses) = ("b".to_owned(), String::new());
        self.offers_of(node, Actions { boot, refuses, last, offered: vec![restart], problems: Vec::new() });
    }

    fn offers(&mut self, offers: Actions) {
        self.offers_of(NODE, offers);
    }

    fn offers_of(&mut self, node: NodeId, offers: Actions) {
        let mut out = Vec::new();
        self.remediator.offers(self.now, node, offers, &mut out);
        self.perform(out);
    }

    fn fire(&mut self, instance: &str) {
        let labels = [("alertname", "NginxDown"), ("role", "web"), ("instance", instance)];
        self.firing.push(Alert { labels: Labels::new(labels), since: self.now, of_rules: true });
        self.remediator.look_soon(self.now);
    }

    fn report(&mut self, id: OrderId, state: OrderState) {
        let mut out = Vec::new();
        let target = self.remediator.orders.get(&id).map_or(NODE, |own| own.order.target);
        self.remediator.report(self.now, target, OrderReport::new(id, state, self.now, ""), &mut out);
        self.perform(out);
    }

    /// Lets time pass, looking whenever that was asked for.
    fn run(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(at) = self.remediator.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            let silenced = self.silenced;
            let situation = Situation {
                fresh: self.fresh,
                firing: self.firing.iter().map(Alert::firing).collect(),
                nodes: Nodes::new(self.fleet.iter().map(|member| member.seen(self.maintained))),
                silenced: &|_| silenced,
            };
            self.remediator.look(self.now, &situation, &mut out);
            let next = self.remediator.deadline();
            assert!(next.is_none_or(|next| next > self.now), "it wants to look without end");
            self.perform(out);
        }
        self.now = until;
    }

    fn case(&self) -> (&'static str, Vec<String>) {
        let cases: Vec<&Case> = self.remediator.cases.values().collect();
        let [case] = cases.as_slice() else { panic!("{cases:?}") };
        (case.state.as_str(), case.reasons.clone())
    }

    fn states(&self) -> Vec<&'static str> {
        self.remediator.orders.values().map(|issued| issued.state.as_str()).collect()
    }
}

#[test]
fn an_alert_that_fires_long_enough_orders_once_and_its_success_is_told() {
    let mut world = World::new(FILE);
    world.fire("web-1");
    world.run(seconds(59));
    assert_eq!(world.case(), ("waiting", vec!["the alert has to be firing for 1m".to_owned()]));
    assert_eq!(world.dispatched.len(), 0);
    world.run(seconds(30));
    assert_eq!((world.dispatched.len(), world.case().0), (1, "ordered"));
    let order = world.dispatched[0].clone();
    assert_eq!((order.target, &*order.action, &*order.digest, &*order.boot), (NODE, "restart", "d", "b"));
    assert_eq!(order.expires_at.since(order.not_before), seconds(60));
    for state in [OrderState::Accepted, OrderState::Running, OrderState::Running, OrderState::Succeeded] {
        world.report(order.id, state);
    }
    assert_eq!(world.seen, [order.id]);
    world.report(order.id, OrderState::Failed);
    let history: Vec<&str> =
        world.remediator.orders[&order.id].history.iter().map(|step| step.state.as_str()).collect();
    assert_eq!(history, ["dispatched", "accepted", "running", "succeeded"]);
    world.run(seconds(10));
    assert_eq!(world.case().0, "cooldown");
    world.firing.clear();
    world.run(seconds(10));
    assert!(world.remediator.cases.is_empty() && world.remediator.deadline().is_none());
    assert_eq!(world.dispatched.len(), 1);
}

#[test]
fn attempts_are_counted_over_restarts_and_end() {
    let mut world = World::new(FILE);
    world.fire("web-1");
    world.run(seconds(60));
    world.report(world.dispatched[0].id, OrderState::Failed);
    world.run(seconds(299));
    assert_eq!(world.dispatched.len(), 1);
    world.run(seconds(2));
    assert_eq!(world.dispatched.len(), 2);
    world.report(world.dispatched[1].id, OrderState::Succeeded);
    world.restart();
    world.offer(Some((world.dispatched[1].epoch, 2)));
    world.run(seconds(1800));
    let (state, reasons) = world.case();
    assert!(state == "exhausted" && reasons[0].starts_with("2 of 2 attempts within 1h were made"), "{reasons:?}");
    world.run(seconds(1800));
    assert_eq!(world.dispatched.len(), 3);
    let epochs: Vec<u64> = world.dispatched.iter().map(|order| order.epoch).collect();
    assert!(epochs[0] == epochs[1] && epochs[1] < epochs[2], "{epochs:?}");
}

/// An alert that has been firing for an hour, with one thing that speaks against acting.
fn check(change: impl FnOnce(&mut World), state: &str, reason: &str) {
    let mut world = World::new(FILE);
    world.fire("web-1");
    change(&mut world);
    world.run(seconds(3600));
    let (found, reasons) = world.case();
    assert!(found == state && reasons.iter().any(|own| own.contains(reason)), "{found}: {reasons:?}");
    assert_eq!(world.dispatched.len(), 0);
}

#[test]
fn whatever_speaks_against_it_is_told_and_nothing_is_ordered() {
    check(|world| world.fresh = false, "blocked", "has not yet heard from enough of the fleet");
    check(|world| world.silenced = true, "blocked", "a silence matches the alert");
    let until = Some(START + seconds(86_400));
    check(|world| world.maintained = until, "blocked", "web-1 is in maintenance until 2027-01-16");
    check(|world| world.remediator.gone(START, NODE), "blocked", "the agent of web-1 is not connected");
    let offers = |refuses: &str| Actions {
        boot: String::new(),
        refuses: refuses.to_owned(),
        last: None,
        offered: Vec::new(),
        problems: vec!["a.toml:1:1: writable by others".to_owned()],
    };
    check(|world| world.offers(offers("no key is pinned")), "blocked", "web-1: no key is pinned");
    check(|world| world.offers(offers("")), "blocked", "allows the action \"restart\"; a.toml:1:1: writable by others");
    let instance = |name: &str| {
        let name = name.to_owned();
        move |world: &mut World| {
            world.firing.clear();
            world.fire(&name);
        }
    };
    check(instance("db-9"), "blocked", "no agent is known whose series have the instance \"db-9\"");
    let params = |text: &str| parse_text(&FILE.replace("unit: nginx.service", text)).unwrap();
    check(|world| world.remediator.reload(START, params("")), "blocked", "needs the parameter \"unit\"");
    let more = params("unit: a, user: b");
    check(|world| world.remediator.reload(START, more), "blocked", "has no parameter \"user\"");
    let observe = parse_text(&FILE.replace("    mode: auto\n", "")).unwrap();
    check(
        |world| world.remediator.reload(START, observe),
        "observed",
        "mode is observe: restart would be ordered on web-1",
    );
}

#[test]
fn other_alerts_concern_it_not() {
    let mut world = World::new(FILE);
    world.fire("web-1");
    world.firing[0].labels = world.firing[0].labels.with("role", "db");
    world.run(seconds(3600));
    assert!(world.remediator.cases.is_empty() && world.dispatched.is_empty());
}

#[test]
fn one_order_at_a_time_for_a_remediation_and_for_a_node() {
    let other = "  - name: other\n    when: { alert: NginxDown }\n    mode: auto\n    \
                 steps: [{ action: restart, params: { unit: a.service } }]\n";
    let mut world = World::new(&format!("{FILE}{other}"));
    world.fire("web-1");
    world.run(seconds(90));
    assert_eq!(world.dispatched.len(), 1);
    let reasons: Vec<String> = world.remediator.cases.values().flat_map(|case| case.reasons.clone()).collect();
    assert!(reasons.iter().any(|reason| reason.contains(" of other is dispatched on the node")), "{reasons:?}");
    world.report(world.dispatched[0].id, OrderState::Succeeded);
    world.run(seconds(5));
    assert_eq!(world.dispatched.iter().map(|order| &*order.remediation).collect::<Vec<_>>(), ["other", "nginx"]);
}

#[test]
fn an_order_that_never_arrived_goes_again_in_time_and_expires_after_it() {
    let mut world = World::new(FILE);
    world.fire("web-1");
    world.run(seconds(61));
    let first = world.dispatched[0].clone();
    world.offer(None);
    assert_eq!(world.dispatched, [first.clone(), first]);
    world.run(seconds(70));
    world.offer(None);
    assert_eq!((world.states(), world.dispatched.len()), (vec!["expired"], 2));
    // After a restart, what was under way is not sent again.
    let mut world = World::new(FILE);
    world.fire("web-1");
    world.run(seconds(61));
    world.restart();
    world.offer(None);
    assert_eq!((world.states(), world.dispatched.len()), (vec!["expired"], 1));
}

#[test]
fn an_unknown_outcome_blocks_what_may_do_harm_twice_until_it_is_told() {
    let mut world = World::new(FILE);
    world.fire("web-1");
    world.run(seconds(61));
    let order = world.dispatched[0].clone();
    world.report(order.id, OrderState::Accepted);
    world.remediator.gone(world.now, NODE);
    world.run(seconds(3600));
    world.offer(Some((order.epoch, order.seq)));
    world.run(seconds(3600));
    assert_eq!((world.states(), world.dispatched.len()), (vec!["unknown"], 1));
    assert!(world.case().1[0].contains("doing it twice may do harm"), "{:?}", world.case());
    world.report(order.id, OrderState::Interrupted);
    assert_eq!((world.states(), world.seen.len()), (vec!["interrupted"], 1));
    world.run(seconds(301));
    assert_eq!(world.dispatched.len(), 2);
}

#[test]
fn an_agent_speaks_of_its_own_orders_only() {
    let mut world = World::new(FILE);
    world.fire("web-1");
    world.run(seconds(61));
    let id = world.dispatched[0].id;
    let mut out = Vec::new();
    let report = OrderReport::new(id, OrderState::Succeeded, world.now, "");
    world.remediator.report(world.now, NodeId(0xb), report, &mut out);
    world.perform(out);
    assert_eq!((world.states(), world.seen.len()), (vec!["dispatched"], 0));
    world.report(OrderId(1), OrderState::Failed);
    assert_eq!(world.seen, [OrderId(1)], "what nobody knows may be forgotten");
}

/// Holds the mistakes of a file against what is expected.
fn check_file(from: &str, to: &str, expected: &str) {
    let text = FILE.replace(from, to);
    assert_ne!(text, FILE);
    let mistakes = parse_text(&text).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].starts_with(&format!("r.yml:{expected}")), "{mistakes:#?}");
}

#[test]
fn bad_files_are_refused_by_place_and_name() {
    check_file("mode: auto", "mode: never", "5:11: unknown word \"never\", expected one of approve, auto, observe");
    check_file("mode: auto", "target: all", "5:13: unknown word \"all\"");
    check_file("mode: auto", "target: {}", "5:13: a selector names labels with their values; an empty one");
    check_file("mode: auto", "target: { role: \"\" }", "5:13: a selector names labels with their values");
    check_file("for: 1m", "from: api, fro: 1m", "4:42: unknown key `fro`, did you mean `for`?");
    check_file("{ cooldown: 5m", "{ max_unhealthy: 33", "7:30: expected a share such as \"33%\"");
    check_file("{ cooldown: 5m", "{ max_unhealthy: \"120%\"", "7:30: expected a share such as \"33%\"");
    check_file("{ cooldown: 5m", "{ quorum: some", "7:23: unknown word \"some\", expected one of majority, off");
    check_file("{ cooldown: 5m", "{ domains: none", "7:24: expected a table of keys and values, or off");
    check_file("{ cooldown: 5m", "{ corroborate: { observers: 2, min: 3 }", "7:28: of 2 observers never 3 agree");
    check_file("{ cooldown: 5m", "{ windows: [Mo 8-9]", "7:25: \"Mo\" is no day");
    check_file("{ cooldown: 5m", "{ blocked_by: [silnce]", "7:28: unknown word \"silnce\", did you mean `silence`?");
    check_file("action: restart, ", "", "6:13: the key `action` is missing");
    check_file("cooldown", "cooldwn", "7:15: unknown key `cooldwn`, did you mean `cooldown`?");
    check_file("max: 2", "max: 0", "7:46: 0 is not between 1 and 100");
    check_file("per: 1h", "per: 2d", "7:54: 2d is not between 1s and 1d");
    check_file("name: nginx", "name: ../nginx", "3:11: \"../nginx\" is no name");
    check_file("alert: NginxDown, ", "", "4:11: the key `alert` is missing");
    let two = format!("{FILE}{}", FILE.trim_start().trim_start_matches("remediations:\n"));
    assert!(parse_text(&two).unwrap_err()[0].contains("there is another remediation called \"nginx\""));
    let steps = |steps: &str| FILE.replace("[{ action: restart, params: { unit: nginx.service } }]", steps);
    let check = |text: &str, expected: &str| assert_eq!(parse_text(&steps(text)).unwrap_err(), [expected]);
    check("[]", "r.yml:6:12: a remediation has 1 to 10 steps, found 0");
    check("[{ escalate: a }]", "r.yml:6:13: the first step is an action; to notify only is what routes are for");
    check("[{ action: a }, { escalate: a }, { action: a }]", "r.yml:6:28: an escalation is the last step");
    check("[{ action: b }, { action: a, escalate: b }]", "r.yml:6:30: unknown key `action`, expected one of escalate");
    let good = parse_text(&steps("[{ action: a }, { escalate: pager }]")).unwrap();
    let unknown: Vec<String> = unknown_receivers(&good, &["page"].into()).iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["r.yml:6:28: there is no receiver \"pager\", did you mean \"page\"?"]);
    assert_eq!(unknown_receivers(&good, &["pager"].into()), []);
}
