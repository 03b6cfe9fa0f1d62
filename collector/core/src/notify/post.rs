//! Alerts that somebody outside reports: checked, completed, and taken as those of the rules are.
//!
//! Each alert is judged by itself, so that one bad alert of a batch does not keep the others quiet. One without an end
//! counts as over once it was not reported again for `resolve_timeout`. As `postAlertsHandler` of Alertmanager's API has it:
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/api.go>.

use watchfire_shared::labels::Labels;
use watchfire_shared::limits::{MAX_LABELS_PER_SERIES, MAX_NAME_BYTES};
use watchfire_shared::time::Timestamp;

use super::{Answer, Effect, Pipeline};
use crate::alert::Alert;

/// All texts of one alert, bytes. Annotations hold sentences and links; [`super::MAX_ALERTS`] of real ones have 1 KiB each.
pub const MAX_ALERT_BYTES: usize = 16 << 10;

/// An alert as it was reported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PostedAlert {
    /// Those with an empty value do not count.
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    /// Now, if it is not named; the end, if only that is named and past.
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub generator_url: String,
}

impl Pipeline {
    pub(super) fn take_posted(&mut self, now: Timestamp, posted: Vec<PostedAlert>, effects: &mut Vec<Effect>) {
        let mut refused = Vec::new();
        for alert in posted {
            match self.completed(now, alert) {
                Ok(alert) => self.take_alert(now, alert, effects),
                Err(reason) => refused.push(reason),
            }
        }
        effects.push(Effect::Answer(Answer::Posted { refused }));
    }

    fn completed(&self, now: Timestamp, posted: PostedAlert) -> Result<Alert, String> {
        let starts_at = posted.starts_at.unwrap_or_else(|| posted.ends_at.map_or(now, |end| end.min(now)));
        let alert = Alert {
            starts_at,
            ends_at: Some(posted.ends_at.unwrap_or(now + self.config.global.resolve_timeout)),
            timeout: posted.ends_at.is_none(),
            updated_at: now,
            labels: named(posted.labels, "label")?,
            annotations: named(posted.annotations, "annotation")?,
            generator_url: posted.generator_url,
        };
        check(&alert)?;
        Ok(alert)
    }
}

fn named(pairs: Vec<(String, String)>, what: &str) -> Result<Labels, String> {
    match pairs.iter().find(|(name, _)| name.is_empty() || name.len() > MAX_NAME_BYTES) {
        Some((name, _)) => {
            Err(format!("invalid {what} set: invalid name {:?}", name.chars().take(60).collect::<String>()))
        }
        None => Ok(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()),
    }
}

fn check(alert: &Alert) -> Result<(), String> {
    let bytes = |labels: &Labels| labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let size = bytes(&alert.labels) + bytes(&alert.annotations) + alert.generator_url.len();
    match () {
        () if alert.ends_at.is_some_and(|end| end < alert.starts_at) => {
            Err("start time must be before end time".to_owned())
        }
        () if alert.labels.is_empty() => Err("at least one label pair required".to_owned()),
        () if alert.labels.len() > MAX_LABELS_PER_SERIES => {
            Err(format!("an alert has {} labels, more than {MAX_LABELS_PER_SERIES}", alert.labels.len()))
        }
        () if size > MAX_ALERT_BYTES => Err(format!("an alert has {size} bytes, more than {MAX_ALERT_BYTES}")),
        () => Ok(()),
    }
}
