//! Rebuilding the view: soon after a change of state, at most once a second for mere progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::labels::INSTANCE;
use watchfire_shared::member::{NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::Disk;

use super::Engine;
use super::figures::stats;
use crate::availability;
use crate::catalogue::inventory::Expected;
use crate::catalogue::maintenance::Maintenance;
use crate::remediation;
use crate::rules::alert::State;
use crate::series::node::Node;
use crate::view::{AlertCounts, Evidence, NodeView, Notifications, Target, View, judge};

/// The shortest time between two pictures after changes. A storm of changes costs twenty pictures a second.
const AFTER_CHANGE: Span = Span::from_millis(50);
/// Alerts that make two pictures a millisecond more distant. Drawing one takes about two microseconds, so that a storm of
/// them costs a tenth of the engine's time.
const ALERTS_PER_MILLI: usize = 50;
/// The same where only times and counters moved on.
const AFTER_PROGRESS: Span = Span::from_seconds(1);

/// The current view, and whether a newer one is due.
pub(crate) struct Picture {
    view: Arc<View>,
    changed: bool,
    notifications_changed: bool,
    remediation_changed: bool,
    due: Option<Timestamp>,
    /// When what notification shows changes by the mere passing of time.
    turn: Option<Timestamp>,
    /// What the alerts say of each instance, and after which change of theirs.
    instances: (u64, Arc<Instances>),
}

impl Picture {
    pub(crate) fn new(view: View, turn: Option<Timestamp>) -> Self {
        Self {
            view: Arc::new(view),
            changed: false,
            notifications_changed: false,
            remediation_changed: false,
            due: None,
            turn,
            instances: (0, Arc::default()),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        [self.due, self.turn].into_iter().flatten().min()
    }

    /// Some state changed.
    pub(crate) fn change(&mut self, now: Timestamp) {
        self.changed = true;
        self.schedule(now.max(self.view.generated_at + AFTER_CHANGE + self.drawing()));
    }

    /// Somebody waits to see a change, and may have more to say once it is seen.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        self.changed = true;
        self.schedule(now.max(self.view.generated_at + AFTER_CHANGE));
    }

    /// Something changed of what notification shows.
    pub(crate) fn change_notifications(&mut self, now: Timestamp) {
        self.notifications_changed = true;
        self.change(now);
    }

    /// Alerts go on, with other texts.
    pub(crate) fn touch_notifications(&mut self, now: Timestamp) {
        self.notifications_changed = true;
        self.touch(now);
    }

    /// Something changed of what is shown of remediation.
    pub(crate) fn change_remediation(&mut self, now: Timestamp) {
        self.remediation_changed = true;
        self.change(now);
    }

    /// Times or counters moved on.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.schedule(now.max(self.view.generated_at + AFTER_PROGRESS));
    }

    fn schedule(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// What is added to the distance of two pictures for what the last one took to draw.
    fn drawing(&self) -> Span {
        let alerts = self.view.notifications.alerts.len().div_ceil(ALERTS_PER_MILLI);
        Span::from_millis(i64::try_from(alerts).unwrap_or(i64::MAX))
    }

    fn next_version(&self) -> u64 {
        self.view.version + u64::from(self.changed)
    }

    /// Notes that silences or alerts have begun or ended since the last picture, if they have.
    fn pass_turn(&mut self, now: Timestamp) {
        if self.turn.is_some_and(|at| at <= now) {
            self.turn = None;
            self.change_notifications(now);
        }
    }
}

type Instances = BTreeMap<String, InstanceAlerts>;

/// What the alerts say of one instance.
#[derive(Default)]
struct InstanceAlerts {
    counts: AlertCounts,
    firing: Vec<String>,
}

impl<D: Disk> Engine<D> {
    pub(super) fn refresh_view(&mut self, now: Timestamp) {
        self.picture.pass_turn(now);
        if self.picture.due.is_some_and(|at| at <= now) {
            let turn =
                if self.picture.notifications_changed { self.notifier.next_turn(now) } else { self.picture.turn };
            self.redraw(now, self.picture.next_version(), turn);
        }
    }

    /// Makes a new picture; what notification shows changes next at `turn`.
    pub(super) fn redraw(&mut self, now: Timestamp, version: u64, turn: Option<Timestamp>) {
        let changes = self.rules.changes();
        if self.picture.instances.0 != changes {
            self.picture.instances = (changes, Arc::new(self.alerts_by_instance()));
        }
        let instances = (changes, Arc::clone(&self.picture.instances.1));
        self.picture = Picture { instances, ..Picture::new(self.draw(now, version), turn) };
    }

    fn draw(&self, now: Timestamp, version: u64) -> View {
        let figures = self.figures();
        View {
            version,
            generated_at: now,
            node: self.settings.node_name.clone(),
            availability: availability::Policy::new(self.settings.nodes.expected_back),
            fresh: self.freshness.is_fresh(),
            nodes: Arc::new(self.draw_nodes()),
            history: Arc::clone(&self.history),
            rules: Arc::new(self.rules.standing()),
            notifications: self.draw_notifications(now),
            remediation: self.draw_remediation(),
            metadata: self.ingest.metadata.clone(),
            stats: stats(&figures, self.store.damaged()),
            own: Arc::new(figures),
        }
    }

    fn draw_nodes(&self) -> Vec<NodeView> {
        let alerts = &self.picture.instances.1;
        let explained = self.causes.explained();
        let explained: BTreeMap<NodeId, _> =
            explained.into_iter().map(|(id, group)| (id, self.causes.name(&group, &self.fleet))).collect();
        let seen = self.fleet.nodes().filter(|node| !node.is_dismissed());
        let seen = seen.map(|node| {
            let context = Context {
                alerts: alerts.get(&*node.target.instance),
                group: explained.get(&node.id),
                maintenance: self.maintenances.get(&node.record.name),
            };
            show(node, &context)
        });
        let unseen = self.never_seen().map(|expected| {
            let alerts = alerts.get(self.expected_instance(expected).as_str());
            show_expected(expected, alerts, self.maintenances.get(&expected.name))
        });
        let mut nodes: Vec<NodeView> = seen.chain(unseen).collect();
        nodes.sort_by(|left, right| (&left.name, left.id).cmp(&(&right.name, right.id)));
        nodes
    }

    fn draw_notifications(&self, now: Timestamp) -> Arc<Notifications> {
        if !self.picture.notifications_changed {
            return Arc::clone(&self.picture.view.notifications);
        }
        let (alerts, groups) = self.notifier.shown(now);
        Arc::new(Notifications {
            alerts,
            groups,
            receivers: self.notifier.receivers(),
            silences: self.notifier.silences().cloned().collect(),
            config: Some(Arc::clone(&self.settings.alertmanager)),
        })
    }

    fn draw_remediation(&self) -> Arc<remediation::view::View> {
        match self.picture.remediation_changed {
            true => Arc::new(self.remediator.view()),
            false => Arc::clone(&self.picture.view.remediation),
        }
    }

    fn alerts_by_instance(&self) -> Instances {
        let mut instances = Instances::new();
        for alert in self.rules.active() {
            let Some(instance) = alert.labels.get(INSTANCE) else { continue };
            if !instances.contains_key(instance) {
                instances.insert(instance.to_owned(), InstanceAlerts::default());
            }
            let Some(alerts) = instances.get_mut(instance) else { continue };
            match alert.state {
                State::Firing => {
                    alerts.counts.firing += 1;
                    alerts.firing.push(alert.name().to_owned());
                }
                State::Pending => alerts.counts.pending += 1,
                State::Resolved => {}
            }
        }
        for alerts in instances.values_mut() {
            alerts.firing.sort_unstable();
            alerts.firing.dedup();
        }
        instances
    }
}

/// What else is known where a node is shown.
struct Context<'a> {
    alerts: Option<&'a InstanceAlerts>,
    group: Option<&'a (String, String)>,
    maintenance: Option<&'a Maintenance>,
}

fn show(node: &Node, context: &Context<'_>) -> NodeView {
    let record = &node.record;
    let (health, reasons) = judge(&Evidence {
        role: record.role,
        state: record.membership.map(|membership| membership.state),
        cause: record.membership.and_then(|membership| membership.cause),
        up: node.current_up,
        last_report_at: record.last_report_at,
        overdue: node.overdue,
        group: context.group,
        maintenance: context.maintenance,
        gossip_off: record.gossip_off,
        firing: context.alerts.map_or(&[], |alerts| &alerts.firing),
    });
    NodeView {
        id: Some(node.id),
        name: record.name.clone(),
        role: record.role,
        state: record.membership.map(|membership| membership.state),
        gossip: !record.gossip_off,
        health,
        reasons,
        last_report_at: record.last_report_at,
        clock_offset_seconds: node.clock_offset.map(Span::as_seconds),
        alerts: context.alerts.map_or_else(AlertCounts::default, |alerts| alerts.counts),
        labels: record.labels.clone(),
        version: record.version.clone(),
        maintenance_until: context.maintenance.map(|own| own.until),
        target: (record.role == Role::Agent).then(|| Target {
            instance: node.target.instance.to_string(),
            job: node.target.job.to_string(),
            up: node.current_up,
            interval: record.interval,
        }),
    }
}

/// A node that the inventory names and nobody has seen.
fn show_expected(expected: &Expected, alerts: Option<&InstanceAlerts>, maintenance: Option<&Maintenance>) -> NodeView {
    let (health, mut reasons) = judge(&Evidence {
        role: Role::Agent,
        state: None,
        cause: None,
        up: None,
        last_report_at: None,
        overdue: false,
        group: None,
        maintenance,
        gossip_off: false,
        firing: alerts.map_or(&[], |alerts| &alerts.firing),
    });
    reasons.insert(0, "the inventory names it, and nobody has seen it".to_owned());
    NodeView {
        id: None,
        name: expected.name.clone(),
        role: Role::Agent,
        state: None,
        gossip: true,
        health,
        reasons,
        last_report_at: None,
        clock_offset_seconds: None,
        alerts: alerts.map_or_else(AlertCounts::default, |alerts| alerts.counts),
        labels: expected.labels.clone(),
        version: String::new(),
        maintenance_until: maintenance.map(|own| own.until),
        target: None,
    }
}
