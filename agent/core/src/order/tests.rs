use std::collections::BTreeMap;

use watchfire_shared::labels::Fingerprint;

use super::*;
use crate::action::parse;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const NODE: NodeId = NodeId(0xa);
const COLLECTOR: NodeId = NodeId(0xc);
const FILE: &str = "[action.touch]\nexec = [\"/usr/bin/touch\", \"{file}\"]\nkind = \"diagnose\"\nidempotent = true\n\
                    timeout = \"5s\"\nmax_per_hour = 2\ncooldown = \"1m\"\n[action.touch.params.file]\nenum = [\"/tmp/a\"]\n";

fn catalogue() -> Catalogue {
    let mut action = parse("touch.toml", FILE).unwrap().remove(0);
    action.digest = "d1".to_owned();
    Catalogue { actions: BTreeMap::from([("touch".to_owned(), action)]), ..Catalogue::default() }
}

fn order(seq: u64) -> Order {
    Order {
        id: OrderId::new(NOW, COLLECTOR, 5, seq),
        issuer: COLLECTOR,
        epoch: 5,
        seq,
        target: NODE,
        boot: "boot".to_owned(),
        action: "touch".to_owned(),
        params: BTreeMap::from([("file".to_owned(), "/tmp/a".to_owned())]),
        digest: "d1".to_owned(),
        not_before: NOW,
        expires_at: NOW + Span::from_seconds(60),
        remediation: "r".to_owned(),
        alert: Fingerprint(1),
        approver: None,
    }
}

/// An agent whose disk and whose processes do at once what they are asked, unless they are told to wait.
struct World {
    orders: Orders,
    now: Timestamp,
    journal: Vec<Entry>,
    runs: Vec<Vec<String>>,
    said: Vec<Message>,
    disk_waits: bool,
    waiting: Vec<Entry>,
}

impl World {
    fn new() -> Self {
        Self::restart(NOW, Vec::new())
    }

    fn restart(now: Timestamp, journal: Vec<Entry>) -> Self {
        let mut effects = Vec::new();
        let orders = Orders::new(now, NODE, "boot".to_owned(), journal.clone(), catalogue(), &mut effects);
        let mut world =
            Self { orders, now, journal, runs: Vec::new(), said: Vec::new(), disk_waits: false, waiting: Vec::new() };
        world.perform(effects);
        world
    }

    fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.orders.handle(self.now, input, &mut effects);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Journal(entry) if self.disk_waits => self.waiting.push(*entry),
                Effect::Journal(entry) => self.write(*entry),
                Effect::Rewrite(entries) => self.journal = entries,
                Effect::Run(job) => self.runs.push(job.argv),
                Effect::Say { message, .. } => self.said.push(*message),
                Effect::Fact(_) => {}
            }
        }
    }

    fn write(&mut self, entry: Entry) {
        let (id, state) = (entry.order.id, entry.report.state);
        self.journal.push(entry);
        self.input(Input::Journaled { id, state, result: Ok(()) });
    }

    fn order(&mut self, order: Order) {
        self.order_seeing(order, ClusterView { known: 3, living: 2 });
    }

    fn order_seeing(&mut self, order: Order, view: ClusterView) {
        self.input(Input::Order { from: COLLECTOR, order: Box::new(order), view });
    }

    fn end(&mut self, id: OrderId) {
        let ended = Ended { exit_code: Some(0), ..Ended::without_process(OrderState::Succeeded, String::new()) };
        self.input(Input::Ended { id, ended: Box::new(ended) });
    }

    /// The states that were reported since the last call, with the details of refusals.
    fn reported(&mut self) -> Vec<String> {
        let said = std::mem::take(&mut self.said).into_iter();
        said.filter_map(|message| match message {
            Message::OrderReport(report) if report.state == OrderState::Refused => {
                Some(format!("refused: {}", report.detail))
            }
            Message::OrderReport(report) => Some(report.state.as_str().to_owned()),
            _ => None,
        })
        .collect()
    }
}

#[test]
fn an_order_runs_once_after_its_acceptance_is_durable() {
    let mut world = World::new();
    world.disk_waits = true;
    world.order(order(1));
    assert_eq!((world.runs.len(), world.reported()), (0, Vec::new()));
    world.disk_waits = false;
    let entry = world.waiting.remove(0);
    world.write(entry);
    assert_eq!(world.reported(), ["accepted", "running"]);
    world.order(order(1));
    assert_eq!(world.reported(), ["accepted"]);
    world.end(order(1).id);
    world.order(order(1));
    assert_eq!(world.reported(), ["succeeded", "succeeded"]);
    world.input(Input::Greeted { collector: COLLECTOR });
    assert_eq!(world.reported(), ["succeeded"]);
    world.input(Input::Seen { id: order(1).id });
    world.input(Input::Greeted { collector: COLLECTOR });
    assert_eq!(world.reported(), Vec::<String>::new());
    assert_eq!(world.runs, [["/usr/bin/touch", "/tmp/a"]]);
}

#[test]
fn what_a_crash_interrupted_is_told_and_not_run_again() {
    let mut world = World::new();
    world.order(order(1));
    assert_eq!(world.runs.len(), 1);
    let mut world = World::restart(NOW + Span::from_seconds(5), world.journal);
    assert_eq!(world.reported(), ["interrupted"]);
    world.order(order(1));
    world.end(order(1).id);
    assert_eq!(world.reported(), ["interrupted"]);
    let mut world = World::restart(NOW + Span::from_seconds(6), world.journal);
    world.input(Input::Greeted { collector: COLLECTOR });
    assert_eq!((world.runs.len(), world.reported()), (0, vec!["interrupted".to_owned()]));
}

/// One order that is like the first but for one thing, after another one ran.
fn check(change: impl FnOnce(&mut World, &mut Order), expected: &str) {
    let mut world = World::new();
    world.order(order(1));
    world.end(order(1).id);
    world.input(Input::Seen { id: order(1).id });
    world.now = NOW + Span::from_seconds(61);
    let mut next = order(2);
    next.not_before = world.now;
    next.expires_at = world.now + Span::from_seconds(30);
    change(&mut world, &mut next);
    world.reported();
    world.runs.clear();
    world.order(next);
    let expected = match expected {
        "" => vec!["accepted".to_owned(), "running".to_owned()],
        reason => vec![format!("refused: {reason}")],
    };
    assert_eq!(world.reported(), expected);
    assert_eq!(world.runs.len(), usize::from(expected.len() == 2));
}

#[test]
fn whatever_is_not_exactly_what_was_allowed_is_refused() {
    let seconds = Span::from_seconds;
    check(|_, _| {}, "");
    check(|_, order| order.target = NodeId(1), "it is for node 0000000000000001, and this is 000000000000000a");
    check(|_, order| order.issuer = NodeId(2), "it is of collector 0000000000000002 and came from 000000000000000c");
    check(|_, order| order.epoch = 4, "its epoch 4 is over, the last one was 5");
    check(|_, order| order.seq = 1, "its sequence 1 is not above the last one, 1");
    check(|_, order| order.boot = "earlier".to_owned(), "it was meant for another boot of this machine");
    check(|world, _| world.now += seconds(61), "it expired 31s ago by this node's clock");
    check(|world, _| world.now += seconds(59), "");
    check(
        |_, order| {
            order.not_before += seconds(31);
            order.expires_at += seconds(31);
        },
        "it is of 31s from now by this node's clock",
    );
    check(|_, order| order.expires_at += seconds(31), "it would be valid for 1m1s, and an order may be for 1m");
    check(|_, order| order.action = "reboot".to_owned(), "no file of this node allows the action \"reboot\"");
    check(|_, order| order.digest = "d2".to_owned(), "the file of the action is not the one that was ordered");
    check(
        |_, order| drop(order.params.insert("file".to_owned(), "/etc/passwd".to_owned())),
        "the parameter \"file\" is none of those allowed",
    );
    check(
        |world, order| {
            world.now = NOW + seconds(59);
            order.not_before = world.now;
        },
        "it ran within the last 1m, the cooldown of its file",
    );
    check(
        |world, _| world.input(Input::Catalogue(Catalogue { refuses: "no key".to_owned(), ..Catalogue::default() })),
        "no key",
    );
    check(
        |world, order| {
            let mut second = order.clone();
            (second.id, second.seq, order.seq) = (OrderId(1), 2, 3);
            world.order(second);
        },
        "another action is running",
    );
    check(
        |world, order| {
            let mut second = order.clone();
            (second.id, second.seq, order.seq) = (OrderId(1), 2, 3);
            world.order(second);
            world.end(OrderId(1));
            world.now += seconds(61);
            order.not_before = world.now;
            order.expires_at = world.now + seconds(60);
        },
        "it ran 2 times within the hour, as often as its file allows",
    );
}

#[test]
fn a_forged_order_leaves_nothing_behind() {
    let mut world = World::new();
    let forged = |claims| Input::Forged { from: COLLECTOR, claims, reason: "bad signature".to_owned() };
    world.input(forged(None));
    assert_eq!((world.journal.len(), world.reported().len(), world.orders.last), (0, 0, None));
    world.input(forged(Some(OrderId(9))));
    assert_eq!((world.journal.len(), world.reported()), (0, vec!["refused: bad signature".to_owned()]));
    world.order(order(1));
    world.reported();
    world.input(forged(Some(order(1).id)));
    assert_eq!((world.reported().len(), world.runs.len()), (0, 1));
}

#[test]
fn without_a_journal_nothing_runs() {
    let mut world = World::new();
    world.disk_waits = true;
    world.order(order(1));
    let state = OrderState::Accepted;
    world.input(Input::Journaled { id: order(1).id, state, result: Err("no space".to_owned()) });
    assert_eq!(world.reported(), ["refused: its acceptance could not be written: no space"]);
    let mut next = order(2);
    next.id = OrderId(2);
    world.order(next);
    assert_eq!(world.reported(), ["refused: the journal of orders cannot be written: no space"]);
    assert_eq!((world.runs.len(), world.waiting.len()), (0, 1));
}

#[test]
fn the_journal_stays_bounded_and_keeps_the_last_place() {
    let mut world = World::new();
    for seq in 1..200 {
        world.now = NOW + Span::from_seconds(90 * seq as i64);
        let mut next = order(seq);
        next.not_before = world.now;
        next.expires_at = world.now + Span::from_seconds(60);
        world.order(next.clone());
        world.end(next.id);
        world.input(Input::Seen { id: next.id });
    }
    assert!(world.orders.entries.len() <= MAX_ENTRIES && world.journal.len() <= 4 * MAX_ENTRIES);
    assert!(world.runs.len() <= 2 * 6, "two in an hour, and these are not six");
    let mut world = World::restart(world.now, world.journal);
    world.order(order(199));
    world.reported();
    world.order(Order { id: OrderId(7), ..order(198) });
    assert_eq!(world.reported(), ["refused: its sequence 198 is not above the last one, 199"]);
}

#[test]
fn in_a_minority_only_what_gives_up_or_looks_is_done() {
    let halved = ClusterView { known: 4, living: 2 };
    let mut world = World::new();
    world.order_seeing(order(1), halved);
    assert_eq!((world.runs.len(), world.reported()), (1, vec!["accepted".to_owned(), "running".to_owned()]));
    let mut world = World::new();
    let mut restart = catalogue();
    restart.actions.values_mut().for_each(|action| action.kind = "restart".to_owned());
    world.input(Input::Catalogue(restart));
    world.order_seeing(order(1), halved);
    let refused = "refused: this node sees 2 of the 4 members that it knows, and a majority is 3";
    assert_eq!((world.runs.len(), world.reported()), (0, vec![refused.to_owned()]));
    world.order_seeing(order(2), ClusterView { known: 3, living: 2 });
    assert_eq!(world.runs.len(), 1);
}
