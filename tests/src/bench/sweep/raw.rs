//! foca as it comes, with the configuration that it calls `new_lan`: what the sweep compares with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use foca::{Config, Foca, Member, NoCustomBroadcast, Notification, OwnedNotification, PostcardCodec, Runtime, Timer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use watchfire_gossip::{Effect, Input};
use watchfire_shared::member::MemberState;
use watchfire_shared::time::{Span, Timestamp};

use super::world::{Subject, Verdict, World, address, id};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Identity {
    addr: SocketAddr,
    host: u32,
    generation: u32,
}

impl foca::Identity for Identity {
    type Addr = u32;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation + 1, ..self.clone() })
    }

    fn addr(&self) -> u32 {
        self.host
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

#[derive(Default)]
struct Outbox {
    sends: Vec<(Identity, Vec<u8>)>,
    timers: Vec<(Timer<Identity>, Span)>,
    notifications: Vec<OwnedNotification<Identity>>,
}

impl Runtime<Identity> for Outbox {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        if !matches!(notification, Notification::DataReceived(_) | Notification::DataSent(_)) {
            self.notifications.push(notification.to_owned());
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: std::time::Duration) {
        self.timers.push((event, Span::from_std(after)));
    }
}

/// A member that is nothing but foca.
pub(super) struct Raw {
    foca: Foca<Identity, PostcardCodec, StdRng, NoCustomBroadcast>,
    timers: BTreeMap<(Timestamp, u64), Timer<Identity>>,
    submitted: u64,
}

impl Raw {
    fn finish(&mut self, now: Timestamp, outbox: Outbox, effects: &mut Vec<Effect>, verdicts: &mut Vec<Verdict>) {
        for (timer, after) in outbox.timers {
            self.submitted += 1;
            self.timers.insert((now + after, self.submitted), timer);
        }
        let sends = outbox.sends.into_iter().map(|(to, bytes)| Effect::Send { to: to.addr, bytes });
        effects.extend(sends);
        verdicts.extend(outbox.notifications.iter().filter_map(|notification| match notification {
            OwnedNotification::MemberUp(member) => Some((id(member.host as usize), MemberState::Alive)),
            OwnedNotification::MemberDown(member) => Some((id(member.host as usize), MemberState::Down)),
            _ => None,
        }));
    }
}

impl Subject for Raw {
    fn take(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>, verdicts: &mut Vec<Verdict>) {
        let mut outbox = Outbox::default();
        // What foca refuses (a packet of an earlier life) is what its users see refused.
        let _ = match input {
            Input::Datagram { bytes, .. } => self.foca.handle_data(&bytes, &mut outbox),
            _ => {
                let mut due: Vec<Timer<Identity>> = Vec::new();
                while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
                    due.push(entry.remove());
                }
                // foca wants those of one instant in its own order.
                due.sort_unstable();
                due.into_iter().try_for_each(|timer| self.foca.handle_timer(timer, &mut outbox))
            }
        };
        self.finish(now, outbox, effects, verdicts);
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }
}

/// A cluster of `members` that have known each other for long.
pub(super) fn at_rest(members: usize, seed: u64) -> World<Raw> {
    let size = NonZeroU32::new(members as u32).expect("a cluster has members");
    let mut world = World::new(seed, members);
    let identity = |host: usize| Identity { addr: address(host), host: host as u32, generation: 1 };
    for host in 0..members {
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) + host as u64);
        let foca = Foca::new(identity(host), Config::new_lan(size), rng, PostcardCodec);
        let mut raw = Raw { foca, timers: BTreeMap::new(), submitted: 0 };
        let mut outbox = Outbox::default();
        let others = (0..members).filter(|other| *other != host).map(|other| Member::alive(identity(other)));
        raw.foca.apply_many(others, false, &mut outbox).expect("foca takes over living members");
        // Nobody's probes keep step with anybody else's.
        let phase = Span::from_millis(world.rng.random_range(0..1000));
        outbox.timers.iter_mut().for_each(|(_, after)| *after = *after + phase);
        let (mut effects, mut verdicts) = (Vec::new(), Vec::new());
        raw.finish(world.now, outbox, &mut effects, &mut verdicts);
        world.run_on(host, raw, effects, &verdicts);
    }
    world.run_for(Span::from_seconds(15));
    world.log.clear();
    world.sent = (0, 0);
    world
}
