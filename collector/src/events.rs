//! What happens at the collector beside changes of members, as events: alerts, orders, maintenance.
//!
//! Two pictures are compared, and what differs is noted. Pictures are made at most every 50 ms, and in a storm of alerts
//! some times a second, so what came and went between two of them is no event; what rules and notifications see is not decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use watchfire_collector_core::alert::Alert;
use watchfire_collector_core::notify::query::AlertView as Notified;
use watchfire_collector_core::remediation::view::OrderView;
use watchfire_collector_core::rules::Turn;
use watchfire_collector_core::view::{NodeView, View};
use watchfire_shared::labels::{INSTANCE, Labels};
use watchfire_shared::order::OrderId;
use watchfire_shared::time::Timestamp;
use watchfire_shell::clock::Clock;
use watchfire_shell::journal::{Journal, Topic};

use crate::engine::Published;

/// Notes what changes from one picture to the next, until `stop`.
pub(crate) async fn follow(published: Published, journal: Journal, clock: Clock, stop: CancellationToken) {
    let mut index = published.index();
    let mut before = published.view();
    loop {
        tokio::select! {
            () = published.later_than(index) => {}
            () = stop.cancelled() => return,
        }
        let (index_now, after) = (published.index(), published.view());
        if index_now == index {
            // The engine has ended, and so will the program.
            return stop.cancelled().await;
        }
        note(&journal, clock.wall(), &before, &after);
        (index, before) = (index_now, after);
    }
}

fn note(journal: &Journal, now: Timestamp, before: &View, after: &View) {
    alerts(journal, now, &after.rules.turns_since(&before.rules));
    if !Arc::ptr_eq(&before.notifications, &after.notifications) {
        posted(journal, now, &before.notifications.alerts, &after.notifications.alerts);
    }
    if !Arc::ptr_eq(&before.remediation, &after.remediation) {
        orders(journal, now, &before.remediation.orders, &after.remediation.orders);
    }
    if !Arc::ptr_eq(&before.nodes, &after.nodes) {
        maintenance(journal, now, &before.nodes, &after.nodes);
    }
}

fn alerts(journal: &Journal, now: Timestamp, turns: &[Turn]) {
    for Turn { alert, previous, state } in turns {
        let data = json!({"at": now, "previous": previous, "state": state, "labels": alert.labels,
            "annotations": alert.annotations, "active_at": alert.active_at, "value": alert.value});
        tell_alert(journal, now, &alert.labels, &data);
    }
}

/// Alerts that came from outside, by `POST /api/v2/alerts`. Both lists stand in the order of fingerprints.
fn posted(journal: &Journal, now: Timestamp, before: &[Arc<Notified>], after: &[Arc<Notified>]) {
    // Alerts of the rules have no end while they fire.
    let missing = |in_list: &'_ [Arc<Notified>], alert: &Notified| {
        alert.alert.ends_at.is_some()
            && in_list.binary_search_by_key(&alert.fingerprint, |held| held.fingerprint).is_err()
    };
    let tell = |alert: &Alert, previous: Option<&str>, state: &str| {
        let data = json!({"at": now, "previous": previous, "state": state, "labels": alert.labels,
            "annotations": alert.annotations, "active_at": alert.starts_at, "value": null});
        tell_alert(journal, now, &alert.labels, &data);
    };
    before
        .iter()
        .filter(|alert| missing(after, alert))
        .for_each(|alert| tell(&alert.alert, Some("firing"), "resolved"));
    after.iter().filter(|alert| missing(before, alert)).for_each(|alert| tell(&alert.alert, None, "firing"));
}

fn tell_alert(journal: &Journal, now: Timestamp, labels: &Labels, data: &Value) {
    let node = Some(labels.value(INSTANCE)).filter(|name| !name.is_empty());
    journal.note(Topic::Alert, now, node, data);
}

fn orders(journal: &Journal, now: Timestamp, before: &[OrderView], after: &[OrderView]) {
    let old: BTreeMap<OrderId, &OrderView> = before.iter().map(|order| (order.id, order)).collect();
    // The newest stand first.
    for order in after.iter().rev() {
        let previous = old.get(&order.id).map(|was| was.state);
        if previous != Some(order.state) {
            let data = json!({"at": now, "previous": previous, "state": order.state, "id": order.id,
                "remediation": order.remediation, "node": order.node, "action": order.action, "detail": order.detail,
                "issued_at": order.issued_at, "ended_at": order.ended_at, "exit_code": order.exit_code});
            journal.note(Topic::Order, now, Some(&order.node), &data);
        }
    }
}

fn maintenance(journal: &Journal, now: Timestamp, before: &[NodeView], after: &[NodeView]) {
    let until = |nodes: &[NodeView]| -> BTreeMap<String, Timestamp> {
        nodes.iter().filter_map(|node| Some((node.name.clone(), node.maintenance_until?))).collect()
    };
    let (old, new) = (until(before), until(after));
    let tell = |node: &str, until: Option<Timestamp>, previous: Option<Timestamp>| {
        let data = json!({"at": now, "node": node, "until": until, "previous_until": previous});
        journal.note(Topic::Maintenance, now, Some(node), &data);
    };
    old.iter().filter(|(node, _)| !new.contains_key(*node)).for_each(|(node, was)| tell(node, None, Some(*was)));
    for (node, until) in &new {
        let previous = old.get(node).copied();
        if previous != Some(*until) {
            tell(node, Some(*until), previous);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use watchfire_collector_core::notify::query::AlertState;
    use watchfire_collector_core::rules::view::AlertView;
    use watchfire_shell::journal::{Batch, Event};
    use watchfire_shell::membership::Index;

    use super::*;

    fn turn(instance: &str, previous: Option<&'static str>, state: &'static str) -> Turn {
        let alert = AlertView {
            labels: Labels::new([("alertname", "NodeDown"), (INSTANCE, instance)]),
            annotations: Labels::default(),
            state,
            active_at: Timestamp::EPOCH,
            keep_firing_since: None,
            value: "1".to_owned(),
        };
        Turn { alert, previous, state }
    }

    fn notified(instance: &str, ends_at: Option<Timestamp>) -> Arc<Notified> {
        let alert = Alert {
            labels: Labels::new([("alertname", "NodeDown"), (INSTANCE, instance)]),
            annotations: Labels::default(),
            starts_at: Timestamp::EPOCH,
            ends_at,
            timeout: true,
            updated_at: Timestamp::EPOCH,
            generator_url: String::new(),
        };
        Arc::new(Notified {
            fingerprint: alert.fingerprint(),
            alert,
            state: AlertState::Active,
            silenced_by: Vec::new(),
            inhibited_by: Vec::new(),
            muted_by: Vec::new(),
            receivers: Vec::new(),
        })
    }

    /// What a journal tells after `note`, a line for each event.
    async fn told(note: impl FnOnce(&Journal)) -> Vec<String> {
        let journal = Journal::new(Index::default());
        let mut reader = journal.follow(Index::default().into());
        note(&journal);
        let Some(Batch::Events(events)) = reader.next(&BTreeSet::new()).await else { panic!() };
        let line = |event: &Event| {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            format!("{} {} -> {}", event.node.as_deref().unwrap(), data["previous"], data["state"])
        };
        events.iter().map(|event| line(event)).collect()
    }

    #[tokio::test]
    async fn an_alert_is_told_at_each_turn() {
        let turns = [turn("a", None, "pending"), turn("a", Some("pending"), "firing")];
        let told = told(|journal| alerts(journal, Timestamp::EPOCH, &turns)).await;
        assert_eq!(told, [r#"a null -> "pending""#, r#"a "pending" -> "firing""#]);
    }

    #[tokio::test]
    async fn an_alert_from_outside_is_told_when_it_comes_and_when_it_goes() {
        let end = Some(Timestamp::from_millis(300_000));
        let sorted = |mut list: Vec<Arc<Notified>>| {
            list.sort_by_key(|alert| alert.fingerprint);
            list
        };
        // `rules` is told of by the rules themselves.
        let before = sorted(vec![notified("gone", end), notified("stays", end), notified("rules", None)]);
        let after = sorted(vec![notified("stays", end), notified("new", end)]);
        let told = told(|journal| posted(journal, Timestamp::EPOCH, &before, &after)).await;
        assert_eq!(told, [r#"gone "firing" -> "resolved""#, r#"new null -> "firing""#]);
    }
}
