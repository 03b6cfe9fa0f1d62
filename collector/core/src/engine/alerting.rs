//! From rules to notification, with the durable state between them: changes are committed before deliveries go out.

use watchfire_shared::machine::Machine;
use watchfire_shared::time::Timestamp;
use watchfire_store::{AppendError, Disk};

use super::{Answer, Effect, Engine, Job, SnapshotStorage};
use crate::alert::Alert;
use crate::fact::{Fact, Level};
use crate::notify;
use crate::rules::{self, RuleSet};

impl<D: Disk> Engine<D> {
    /// Lets the rules take a step and hands on what it gave.
    pub(super) fn with_rules(
        &mut self,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut RuleSet, &mut rules::Output),
    ) {
        let mut out = rules::Output::default();
        step(&mut self.rules, &mut out);
        self.absorb_rules(now, out, effects);
    }

    pub(super) fn absorb_rules(&mut self, now: Timestamp, out: rules::Output, effects: &mut Vec<Effect>) {
        let rules::Output { jobs, alerts, appends, changes, facts } = out;
        if !changes.is_empty() || !facts.is_empty() {
            self.picture.change(now);
        } else {
            self.picture.touch(now);
        }
        effects.extend(facts.into_iter().map(|fact| Effect::Fact(tell_rule(fact))));
        if !changes.is_empty() || !alerts.is_empty() {
            self.remediator.look_soon(now);
        }
        for change in changes {
            self.ledger.change(now, change.table, change.key, change.value);
        }
        for append in &appends {
            self.append_results(now, append);
        }
        if !alerts.is_empty() {
            let alerts = alerts.into_iter().map(|alert| self.with_external_labels(alert)).collect();
            self.picture.touch_notifications(now);
            self.tell_notifier(now, notify::Input::Alerts(alerts), effects);
        }
        effects.extend(jobs.into_iter().map(|job| {
            // Rules read the live lane: what comes late neither fires nor resolves.
            let storage = SnapshotStorage(self.store.snapshot().live());
            Effect::Evaluate(Box::new(Job { job, storage }))
        }));
    }

    fn append_results(&mut self, now: Timestamp, append: &rules::Append) {
        match self.store.append_local(&append.source, append.at, &append.samples) {
            Ok(()) | Err(AppendError::Refused(_)) => self.durability.own_appended(now),
            // Alerts go on from memory; their series are missing from the log until there is room again.
            Err(error) => {
                self.lost_results += 1;
                if error == AppendError::Full {
                    self.durability.found_full(now);
                }
            }
        }
    }

    /// An alert as it leaves the collector: with the external labels that it has not itself.
    pub(super) fn with_external_labels(&self, mut alert: Alert) -> Alert {
        let external = &self.settings.rule_settings.external_labels;
        if !external.is_empty() {
            let mut labels = alert.labels.to_builder();
            for (name, value) in external.iter() {
                if labels.get(name).is_none() {
                    labels.set(name, value);
                }
            }
            alert.labels = labels.build();
        }
        alert
    }

    /// Lets notification take an input and hands on what it gave.
    pub(super) fn tell_notifier(&mut self, now: Timestamp, input: notify::Input, effects: &mut Vec<Effect>) {
        let mut own = Vec::new();
        self.notifier.handle(now, input, &mut own);
        for effect in own {
            match effect {
                notify::Effect::Save(change) => {
                    self.picture.change_notifications(now);
                    self.ledger.change(now, change.table, change.key, change.value);
                }
                notify::Effect::Deliver(delivery) => self.ledger.deliver(delivery),
                notify::Effect::Answer(answer) => self.answer = Some(Answer::Notification(answer)),
                notify::Effect::Fact(fact) => effects.push(Effect::Fact(tell_notification(fact))),
            }
        }
    }

    /// Lets notification take an input that somebody waits for; what it shows changes at once.
    pub(super) fn ask_notifier(&mut self, now: Timestamp, input: notify::Input, effects: &mut Vec<Effect>) {
        self.picture.change_notifications(now);
        self.picture.hurry(now);
        self.tell_notifier(now, input, effects);
    }

    /// Commits what changed, lets out the deliveries that waited for it, and answers whoever waits.
    pub(super) fn commit(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let released = self.ledger.settle(now, &mut self.state);
        effects.extend(released.facts.into_iter().map(Effect::Fact));
        released.orders.into_iter().for_each(|output| self.dispatch(output, effects));
        effects.extend(released.deliveries.into_iter().map(|delivery| Effect::Deliver(Box::new(delivery))));
        let durable = self.ledger.is_durable();
        effects.extend(self.answer.take().map(|answer| Effect::Answer { answer, durable }));
    }

    /// Every alert of the rules that is firing or was resolved of late, as it leaves the collector.
    pub(super) fn known_alerts(&self, now: Timestamp) -> Vec<Alert> {
        self.rules.known(now).into_iter().map(|alert| self.with_external_labels(alert)).collect()
    }
}

fn tell_rule(fact: rules::Fact) -> Fact {
    use rules::Fact as Of;
    let about =
        |level, message, file: String, group: String| Fact::new(level, message).with("file", file).with("group", group);
    match fact {
        Of::Missed { file, group, evaluations } => {
            about(Level::Warn, "evaluations of a rule group were left out", file, group).with("count", evaluations)
        }
        Of::Failed { file, group, rule, message } => {
            about(Level::Warn, "a rule fails", file, group).with("rule", rule).with("error", message)
        }
        Of::Recovered { file, group, rule } => about(Level::Info, "a rule works again", file, group).with("rule", rule),
        Of::Slow { file, group, took } => {
            about(Level::Warn, "evaluating a rule group takes longer than its interval", file, group).with("took", took)
        }
        Of::BadRecord { key } => {
            Fact::new(Level::Warn, "a record of an alert's state could not be read and was removed").with("key", key)
        }
    }
}

fn tell_notification(fact: notify::Fact) -> Fact {
    use notify::Fact as Of;
    let about = |level, message, integration: String, group_key: String| {
        Fact::new(level, message).with("integration", integration).with("group", group_key)
    };
    match fact {
        Of::Notified { integration, group_key, reason, firing, resolved, attempt } => {
            about(Level::Info, "a notification was delivered", integration, group_key)
                .with("reason", format!("{reason:?}"))
                .with("firing", firing)
                .with("resolved", resolved)
                .with("attempt", attempt)
        }
        Of::DeliveryFailed { integration, group_key, attempt, reason, retry_at } => {
            let fact = about(Level::Warn, "a notification could not be delivered", integration, group_key);
            let again = retry_at.map_or_else(|| "at the group's next interval".to_owned(), |at| at.to_string());
            fact.with("attempt", attempt).with("error", reason).with("again", again)
        }
        Of::Abandoned { integration, group_key, reason } => {
            about(Level::Error, "a notification was given up", integration, group_key).with("reason", reason)
        }
        Of::Refused { fingerprint, reason } => {
            Fact::new(Level::Error, "an alert was refused").with("fingerprint", fingerprint).with("reason", reason)
        }
        Of::NotRendered { integration, group_key, reason } => {
            about(Level::Error, "a notification could not be rendered", integration, group_key).with("error", reason)
        }
        Of::UnreadableState { table, key } => {
            let fact = Fact::new(Level::Warn, "a record of notification could not be read and is skipped");
            fact.with("table", table).with("key", key)
        }
        Of::HeldBack { group_key, what } => Fact::new(Level::Debug, "alerts of a group were held back")
            .with("group", group_key)
            .with("by_time", what.by_time)
            .with("inhibited", what.inhibited)
            .with("silenced", what.silenced),
    }
}
