//! Who opened connections and has not said yet who it is: no address holds more than a part of the places.
//!
//! Loopback is one address for however many nodes run there, and nobody's but this host's; it has no bound of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

/// Connections of one address that have not said who they are. A member's has said so after a round trip, so a hundred
/// nodes behind one address are no more than a few.
const MAX_STRANGERS: usize = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One such connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Strangers,
    from: IpAddr,
}

impl Strangers {
    /// Takes a place for a connection; `None` if its address holds its part already.
    pub(super) fn take(&self, from: IpAddr) -> Option<Stranger> {
        let from = from.to_canonical();
        let mut counts = self.lock();
        let count = counts.entry(from).or_default();
        if *count >= MAX_STRANGERS && !from.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Stranger { strangers: self.clone(), from })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().expect("no holder of this lock can panic")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.strangers.lock();
        if let Some(count) = counts.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_its_part_of_the_places_and_no_more() {
        let strangers = Strangers::default();
        let from = |text: &str| text.parse().unwrap();
        let mut held: Vec<Stranger> = (0..MAX_STRANGERS).filter_map(|_| strangers.take(from("192.0.2.1"))).collect();
        assert_eq!(held.len(), MAX_STRANGERS);
        assert!(strangers.take(from("::ffff:192.0.2.1")).is_none());
        assert!(strangers.take(from("192.0.2.2")).is_some());
        held.pop();
        held.extend(strangers.take(from("192.0.2.1")));
        assert_eq!(held.len(), MAX_STRANGERS);
        let local: Vec<Stranger> = (0..64).filter_map(|_| strangers.take(from("127.0.0.1"))).collect();
        assert_eq!(local.len(), 64);
        drop((held, local));
        assert!(strangers.lock().is_empty());
    }
}
