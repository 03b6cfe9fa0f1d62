//! `/api/v2/alerts` and `/api/v2/alerts/groups`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use watchfire_collector_core::alertmanager::Global;
use watchfire_collector_core::alertmanager::secret::check_url;
use watchfire_collector_core::engine::{self, Input};
use watchfire_collector_core::notify::query::{AlertState, AlertView};
use watchfire_collector_core::notify::{Answer, PostedAlert};
use watchfire_collector_core::view::View;
use watchfire_shared::time::{Span, Timestamp};

use super::model::{AlertGroup, GettableAlert, PostableAlert, ReceiverName};
use super::request::{Body, Filters, Query};
use super::{Refusal, Result};
use crate::http::App;

/// Alerts of one report. Prometheus sends 256 at a time; ten thousand take the engine some milliseconds.
const MAX_POSTED: usize = 10_000;

pub(in crate::http) async fn list(State(app): State<Arc<App>>, query: Query) -> Result<Json<Vec<GettableAlert>>> {
    let wanted = Wanted::read(&query)?;
    let (view, now) = (app.published.view(), app.clock.wall());
    let timeout = resolve_timeout(&view);
    let alerts = view.notifications.alerts.iter();
    let alerts = alerts.filter(|alert| wanted.takes(alert, now) && wanted.takes_a_receiver(alert));
    Ok(Json(alerts.map(|alert| GettableAlert::new(alert, now, timeout)).collect()))
}

pub(in crate::http) async fn groups(State(app): State<Arc<App>>, query: Query) -> Result<Json<Vec<AlertGroup>>> {
    let wanted = Wanted::read(&query)?;
    let (view, now) = (app.published.view(), app.clock.wall());
    let timeout = resolve_timeout(&view);
    let groups = view.notifications.groups.iter().filter(|group| wanted.filters.takes_receiver(&group.receiver));
    let groups = groups.map(|group| {
        let alerts = group.alerts.iter().filter(|alert| wanted.takes(alert, now));
        AlertGroup {
            alerts: alerts.map(|alert| GettableAlert::new(alert, now, timeout)).collect(),
            labels: group.labels.clone(),
            receiver: ReceiverName::plain(&group.receiver),
        }
    });
    let mut groups: Vec<AlertGroup> = groups.filter(|group| !group.alerts.is_empty()).collect();
    groups.sort_by(|one, other| one.labels.cmp(&other.labels));
    Ok(Json(groups))
}

fn resolve_timeout(view: &View) -> Span {
    let config = view.notifications.config.as_ref();
    config.map_or(Global::default().resolve_timeout, |config| config.global.resolve_timeout)
}

/// Which alerts are wanted.
struct Wanted {
    filters: Filters,
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
}

impl Wanted {
    fn read(query: &Query) -> Result<Self> {
        Ok(Self {
            filters: Filters::read(query)?,
            active: query.is_on("active"),
            silenced: query.is_on("silenced"),
            inhibited: query.is_on("inhibited"),
            muted: query.is_on("muted"),
        })
    }

    fn takes(&self, view: &AlertView, now: Timestamp) -> bool {
        !view.alert.resolved_at(now)
            && (self.active || view.state == AlertState::Suppressed)
            && (self.silenced || view.silenced_by.is_empty())
            && (self.inhibited || view.inhibited_by.is_empty())
            && (self.muted || view.muted_by.is_empty())
            && self.filters.takes_labels(&view.alert.labels)
    }

    fn takes_a_receiver(&self, view: &AlertView) -> bool {
        view.receivers.iter().any(|name| self.filters.takes_receiver(name))
    }
}

/// Takes what is good of a report, and tells what is not.
pub(in crate::http) async fn add(State(app): State<Arc<App>>, Body(posted): Body<Vec<PostableAlert>>) -> Result<()> {
    if posted.len() > MAX_POSTED {
        return Err(Refusal::bad(format!("{} alerts in one request, more than {MAX_POSTED}", posted.len())));
    }
    let alerts = posted.into_iter().enumerate().map(|(at, alert)| read(at, alert));
    let alerts = alerts.collect::<Result<Vec<_>>>()?;
    if alerts.is_empty() {
        return Ok(());
    }
    match app.published.ask(Input::PostAlerts(alerts)).await {
        Some((engine::Answer::Notification(Answer::Posted { refused }), _)) if refused.is_empty() => Ok(()),
        Some((engine::Answer::Notification(Answer::Posted { refused }), _)) => Err(Refusal::bad(refused.join("\n"))),
        // The sender keeps its alerts and sends them again.
        _ => Err(Refusal::Bare(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

fn read(at: usize, alert: PostableAlert) -> Result<PostedAlert> {
    let missing = || Refusal::invalid(602, format!("{at}.labels in body is required"));
    let generator_url = alert.generator_url.unwrap_or_default();
    if !generator_url.is_empty() && check_url(&generator_url).is_err() {
        let message = format!("{at}.generatorURL in body must be of type uri: {generator_url:?}");
        return Err(Refusal::invalid(601, message));
    }
    Ok(PostedAlert {
        labels: alert.labels.ok_or_else(missing)?.into_iter().collect(),
        annotations: alert.annotations.unwrap_or_default().into_iter().collect(),
        starts_at: alert.starts_at,
        ends_at: alert.ends_at,
        generator_url,
    })
}
