//! Kill the process between any two effects: every firing alert is told, every resolved one too, and each crash costs a
//! group at most one repetition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use watchfire_shared::labels::Labels;
use watchfire_shared::machine::Machine;
use watchfire_shared::time::{Span, Timestamp};

use super::world::{World, config};
use crate::alert::Alert;
use crate::notify::{Body, DeliveryId, DeliveryOutcome, Input};

const CONFIG: &str = "
route: {receiver: team, group_by: [alertname], group_wait: 10s, group_interval: 1m, repeat_interval: 30d}
receivers: [{name: team, webhook_configs: [{url: 'http://127.0.0.1/'}]}]
";

/// One step of a story.
#[derive(Debug, Clone, Copy)]
enum Step {
    Fire(u8),
    Resolve(u8),
    Pass(u16),
    /// The next attempts fail, with a retry or without.
    Break {
        retry: bool,
    },
    Mend,
    /// The process dies during the next call: before its changes are durable, or after that many of its deliveries have
    /// reached the receiver.
    Crash(Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6).prop_map(Step::Fire),
        4 => (0u8..6).prop_map(Step::Resolve),
        6 => (1u16..100).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(|retry| Step::Break { retry }),
        1 => Just(Step::Mend),
        3 => proptest::option::of(0u8..3).prop_map(Step::Crash),
    ]
}

/// The rules, which send again what they hold for true, and the receiver with what it was told.
struct Story {
    world: World,
    rules: BTreeMap<u8, Alert>,
    /// Group and alert, as the receiver last heard of it.
    believed: BTreeMap<String, bool>,
    repetitions: BTreeMap<String, usize>,
    broken: Option<bool>,
    armed: Option<Option<u8>>,
    crashes: usize,
    last_sent: Timestamp,
}

impl Story {
    fn new() -> Self {
        Self {
            world: World::new(vec![("main".to_owned(), config(CONFIG))]),
            rules: BTreeMap::new(),
            believed: BTreeMap::new(),
            repetitions: BTreeMap::new(),
            broken: None,
            armed: None,
            crashes: 0,
            last_sent: Timestamp::EPOCH,
        }
    }

    fn take(&mut self, step: Step) {
        let now = self.world.now;
        match step {
            Step::Fire(which) => {
                let labels = Labels::new([("alertname", format!("A{}", which % 2)), ("instance", which.to_string())]);
                let fresh = Alert {
                    labels,
                    annotations: Labels::default(),
                    starts_at: now,
                    ends_at: None,
                    timeout: false,
                    updated_at: now,
                    generator_url: String::new(),
                };
                let old = self.rules.get(&which).filter(|alert| alert.ends_at.is_none());
                self.rules.insert(which, old.cloned().unwrap_or(fresh));
                self.send_rules();
            }
            Step::Resolve(which) => {
                if let Some(alert) = self.rules.get_mut(&which).filter(|alert| alert.ends_at.is_none()) {
                    alert.ends_at = Some(now);
                    self.send_rules();
                }
            }
            Step::Pass(seconds) => self.pass(now + Span::from_seconds(seconds.into())),
            Step::Break { retry } => self.broken = Some(retry),
            Step::Mend => self.broken = None,
            Step::Crash(when) => self.armed = Some(when),
        }
    }

    /// Rules send what fires, and what has resolved for a while, at every minute and after a restart.
    fn send_rules(&mut self) {
        self.last_sent = self.world.now;
        for alert in self.rules.values_mut() {
            alert.updated_at = self.world.now;
        }
        self.input(Input::Alerts(self.rules.values().cloned().collect()));
    }

    fn pass(&mut self, until: Timestamp) {
        loop {
            let resend = self.last_sent + Span::from_seconds(60);
            let deadline = self.world.pipeline.deadline().unwrap_or(Timestamp::MAX).max(self.world.now).min(resend);
            if deadline >= until {
                break;
            }
            self.world.now = deadline;
            if deadline == resend { self.send_rules() } else { self.input(Input::Wake) }
        }
        self.world.now = until;
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.world.pipeline.handle(self.world.now, input, &mut effects);
            let armed = if effects.is_empty() { None } else { self.armed.take() };
            if armed == Some(None) {
                return self.crash();
            }
            for (index, delivery) in self.world.commit(effects).into_iter().enumerate() {
                if armed.flatten().is_some_and(|reached| usize::from(reached) <= index) {
                    break;
                }
                let Body::Json(body) = &delivery.body;
                if self.broken.is_none() {
                    self.receive(body);
                }
                inputs.push(Input::Delivered { id: delivery.id, outcome: self.outcome(delivery.id) });
            }
            if armed.is_some() {
                return self.crash();
            }
        }
    }

    fn outcome(&self, _: DeliveryId) -> DeliveryOutcome {
        match self.broken {
            None => DeliveryOutcome::Ok,
            Some(retry) => DeliveryOutcome::Failed { retry, reason: "broken".to_owned(), retry_after: None },
        }
    }

    fn receive(&mut self, body: &str) {
        let message: serde_json::Value = serde_json::from_str(body).unwrap();
        let mut news = false;
        for alert in message["alerts"].as_array().unwrap() {
            let firing = alert["status"] == "firing";
            news |= self.believed.insert(alert["fingerprint"].as_str().unwrap().to_owned(), firing) != Some(firing);
        }
        if !news {
            *self.repetitions.entry(message["groupKey"].to_string()).or_default() += 1;
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.world.restart_quietly();
        self.send_rules();
    }

    /// Faults end; what is true is known in the end.
    fn heal_and_check(mut self) {
        (self.broken, self.armed) = (None, None);
        self.pass(self.world.now + Span::from_seconds(600));
        let firing: BTreeSet<String> = self
            .rules
            .values()
            .filter(|alert| alert.ends_at.is_none())
            .map(|alert| alert.fingerprint().to_string())
            .collect();
        let believed: BTreeSet<String> =
            self.believed.iter().filter(|(_, firing)| **firing).map(|(fingerprint, _)| fingerprint.clone()).collect();
        assert_eq!(believed, firing, "what the receiver believes to fire");
        for (group, repetitions) in &self.repetitions {
            assert!(
                *repetitions <= self.crashes,
                "{repetitions} repetitions in {group} after {} crashes",
                self.crashes
            );
        }
        let waiting = self.world.disk.keys().filter(|(table, _)| table == "notify_outbox").count();
        assert_eq!(waiting, 0, "nothing waits any more");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_kill_between_any_two_effects_loses_and_repeats_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        let mut story = Story::new();
        for step in steps {
            story.take(step);
        }
        story.heal_and_check();
    }
}
