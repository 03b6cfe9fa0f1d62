//! Storms: when too many members in scope are unhealthy at once, the cause is not on any of them, and nothing begins; nor
//! does it for a while after, for they return one by one.
//!
//! A storm and its end are durable, so that a restart in the middle of one does not forget it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::time::Timestamp;

use super::file::Remediation;
use super::situation::Scope;
use super::{Output, encode};

/// The table of storms, by remediation.
pub(crate) const TABLE: &str = "remediation_storms";

/// One storm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Storm {
    /// How many were unhealthy at the worst, of how many.
    pub(super) unhealthy: usize,
    pub(super) total: usize,
    /// Since when it is over; `None` while it is not.
    pub(super) calm_since: Option<Timestamp>,
}

/// The storms of all remediations.
#[derive(Debug, Default)]
pub(super) struct Storms(BTreeMap<String, Storm>);

impl Storms {
    pub(super) fn restore(records: &[(String, Vec<u8>)]) -> Self {
        let read = |(name, value): &(String, Vec<u8>)| Some((name.clone(), rmp_serde::from_slice(value).ok()?));
        Self(records.iter().filter_map(read).collect())
    }

    pub(super) fn get(&self, remediation: &str) -> Option<&Storm> {
        self.0.get(remediation)
    }

    /// When the next one is over for good.
    pub(super) fn deadline(&self, remediations: &[Remediation]) -> Option<Timestamp> {
        let end = |(name, storm): (&String, &Storm)| {
            let remediation = remediations.iter().find(|own| own.name == *name)?;
            Some(storm.calm_since? + remediation.guards.storm_cooldown)
        };
        self.0.iter().filter_map(end).min()
    }

    /// Whether any is under way or not over for long.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes how a remediation's scope is now.
    pub(super) fn update(&mut self, now: Timestamp, remediation: &Remediation, scope: &Scope, out: &mut Vec<Output>) {
        let (unhealthy, total) = (scope.unhealthy.len(), scope.total);
        let exceeded = unhealthy > remediation.guards.max_unhealthy.of(total);
        let before = self.0.get(&remediation.name).copied();
        let after = match before {
            _ if exceeded => {
                let worst = before.filter(|own| own.calm_since.is_none() && own.unhealthy >= unhealthy);
                Some(worst.unwrap_or(Storm { unhealthy, total, calm_since: None }))
            }
            Some(storm) => {
                let since = storm.calm_since.unwrap_or(now);
                let over = since + remediation.guards.storm_cooldown <= now;
                (!over).then_some(Storm { calm_since: Some(since), ..storm })
            }
            None => None,
        };
        if before != after {
            out.push(Output::Save {
                table: TABLE,
                key: remediation.name.clone(),
                value: after.map(|own| encode(&own)),
            });
            match after {
                Some(storm) => self.0.insert(remediation.name.clone(), storm),
                None => self.0.remove(&remediation.name),
            };
        }
    }

    /// Forgets those of remediations that are no more.
    pub(super) fn retain(&mut self, remediations: &[Remediation], out: &mut Vec<Output>) {
        let gone = self.0.keys().filter(|name| !remediations.iter().any(|own| own.name == **name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.0.remove(&name);
            out.push(Output::Save { table: TABLE, key: name, value: None });
        }
    }
}
