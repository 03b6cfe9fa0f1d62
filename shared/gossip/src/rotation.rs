//! What a change of the cluster's keys does, and whether it may be made.
//!
//! A key is installed everywhere, then used, and the old one is removed: in that order no member ever gets a packet that
//! it cannot open. So a key is used only once every known member holds it, and removed only while every known member holds
//! the one in use. Members that are down or left are known as well: they come back with the file that they have.

use watchfire_shared::member::{HeldKeys, KeyId};

use crate::keyring::{GossipKey, MAX_GOSSIP_KEYS};

/// Names that a refusal spells out.
const MAX_NAMES: usize = 5;

/// A change of the keys of every member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyOp {
    /// Packets that are sealed with this key are opened from now on.
    Install(GossipKey),
    /// Seal with this key, which is installed.
    Use(KeyId),
    /// Forget this key, which is not in use.
    Remove(KeyId),
}

/// Why keys are not changed. Nothing was changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyRefusal {
    #[error("gossip is not encrypted here: name a file with a key as gossip.keyring_file and start again")]
    Plain,
    #[error("no key {0} is installed here")]
    Unknown(KeyId),
    #[error("{MAX_GOSSIP_KEYS} keys are installed; remove one first")]
    Full,
    #[error("gossip is encrypted with the key {key}{}; use another one first", on(.by))]
    InUse { key: KeyId, by: Vec<String> },
    #[error(
        "{} {} the key {key} yet: install it there, or forget members that will not come back",
        named(.names),
        if .names.len() == 1 { "does not hold" } else { "do not hold" }
    )]
    Lacking { key: KeyId, names: Vec<String> },
    #[error("an earlier change of keys is being written; try again in a moment")]
    Busy,
    #[error("the key file could not be written: {0}")]
    File(String),
}

fn named(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn on(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" on {}", named(names)) }
}

impl KeyOp {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> KeyId {
        match self {
            Self::Install(key) => key.id(),
            Self::Use(id) | Self::Remove(id) => *id,
        }
    }

    /// Whether a member that holds `keys` has made this change.
    #[must_use]
    pub fn is_made(&self, keys: &HeldKeys) -> bool {
        match self {
            Self::Install(key) => keys.holds(key.id()),
            Self::Use(id) => keys.primary() == Some(*id),
            Self::Remove(id) => !keys.holds(*id),
        }
    }

    /// Whether it undoes what `earlier` was to bring about.
    pub(crate) fn supersedes(&self, earlier: &Self) -> bool {
        let same_key = self.key() == earlier.key();
        match self {
            Self::Install(_) => same_key,
            Self::Use(_) => matches!(earlier, Self::Use(_)) || matches!((earlier, same_key), (Self::Remove(_), true)),
            Self::Remove(_) => same_key,
        }
    }

    /// Whether it may be made where `keys` are held and these are the other members, by name, whatever their state.
    ///
    /// # Errors
    /// The first reason against it.
    pub(crate) fn check<'a>(
        &self,
        keys: &[GossipKey],
        others: impl Iterator<Item = (String, &'a HeldKeys)>,
    ) -> Result<(), KeyRefusal> {
        let primary = keys.first().map(GossipKey::id).ok_or(KeyRefusal::Plain)?;
        let lacking = |key: KeyId| move |(name, held): (String, &HeldKeys)| (!held.holds(key)).then_some(name);
        match self {
            Self::Install(key) if !keys.contains(key) && keys.len() >= MAX_GOSSIP_KEYS => Err(KeyRefusal::Full),
            Self::Install(_) => Ok(()),
            Self::Use(id) => {
                if !keys.iter().any(|key| key.id() == *id) {
                    return Err(KeyRefusal::Unknown(*id));
                }
                let names: Vec<String> = others.filter_map(lacking(*id)).collect();
                if names.is_empty() { Ok(()) } else { Err(KeyRefusal::Lacking { key: *id, names }) }
            }
            Self::Remove(id) if *id == primary => Err(KeyRefusal::InUse { key: *id, by: Vec::new() }),
            Self::Remove(id) => {
                let mut held_by_any = keys.iter().any(|key| key.id() == *id);
                let (mut by, mut names) = (Vec::new(), Vec::new());
                for (name, held) in others {
                    held_by_any |= held.holds(*id);
                    if held.primary() == Some(*id) {
                        by.push(name);
                    } else if !held.holds(primary) {
                        names.push(name);
                    }
                }
                match (by.is_empty(), names.is_empty()) {
                    _ if !held_by_any => Err(KeyRefusal::Unknown(*id)),
                    (true, true) => Ok(()),
                    (false, _) => Err(KeyRefusal::InUse { key: *id, by }),
                    (true, false) => Err(KeyRefusal::Lacking { key: primary, names }),
                }
            }
        }
    }

    /// The keys after the change; `None` if it is made already.
    pub(crate) fn made(&self, keys: &[GossipKey]) -> Option<Vec<GossipKey>> {
        let mut after = keys.to_vec();
        match self {
            Self::Install(key) if !keys.contains(key) => after.push(key.clone()),
            Self::Install(_) => {}
            Self::Use(id) => after.sort_by_key(|key| key.id() != *id),
            Self::Remove(id) => after.retain(|key| key.id() != *id),
        }
        (after != keys).then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> GossipKey {
        GossipKey::new([byte; 32])
    }

    fn held(keys: &[u8]) -> HeldKeys {
        HeldKeys { ids: keys.iter().map(|byte| key(*byte).id()).collect(), ..HeldKeys::default() }
    }

    fn check(op: &KeyOp, own: &[u8], others: &[(&str, &[u8])]) -> Result<(), String> {
        let own: Vec<GossipKey> = own.iter().map(|byte| key(*byte)).collect();
        let others: Vec<(String, HeldKeys)> =
            others.iter().map(|(name, keys)| ((*name).to_owned(), held(keys))).collect();
        op.check(&own, others.iter().map(|(name, keys)| (name.clone(), keys))).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_key_is_used_and_another_removed_only_once_every_member_holds_the_new_one() {
        let (new, old) = (key(2).id(), key(1).id());
        let (install, take, remove) = (KeyOp::Install(key(2)), KeyOp::Use(new), KeyOp::Remove(old));
        assert_eq!(check(&install, &[1], &[("a", &[1])]), Ok(()));
        assert_eq!(
            check(&install, &[1, 3, 4, 5, 6, 7, 8, 9], &[]),
            Err("8 keys are installed; remove one first".into())
        );
        assert_eq!(check(&install, &[1, 2, 4, 5, 6, 7, 8, 9], &[]), Ok(()), "it is there already");
        assert_eq!(check(&take, &[1], &[]), Err(format!("no key {new} is installed here")));
        let lacks = "does not hold the key";
        let rest = "yet: install it there, or forget members that will not come back";
        assert_eq!(check(&take, &[1, 2], &[("a", &[1, 2]), ("b", &[1])]), Err(format!("b {lacks} {new} {rest}")));
        assert_eq!(check(&take, &[1, 2], &[("a", &[1, 2])]), Ok(()));
        assert_eq!(check(&remove, &[2, 1], &[("a", &[2, 1]), ("b", &[])]), Err(format!("b {lacks} {new} {rest}")));
        let in_use = format!("gossip is encrypted with the key {old}");
        assert_eq!(check(&remove, &[2, 1], &[("a", &[1, 2])]), Err(format!("{in_use} on a; use another one first")));
        assert_eq!(check(&remove, &[1, 2], &[]), Err(format!("{in_use}; use another one first")));
        assert_eq!(check(&remove, &[2, 1], &[("a", &[2]), ("b", &[2, 1])]), Ok(()));
        assert_eq!(check(&remove, &[2], &[("a", &[2, 1])]), Ok(()), "another member holds it still");
        assert_eq!(check(&remove, &[2], &[("a", &[2])]), Err(format!("no key {old} is installed here")));
        assert!(check(&install, &[], &[]).unwrap_err().starts_with("gossip is not encrypted here"));
    }

    #[test]
    fn a_change_that_is_made_changes_nothing_again() {
        let mut keys = vec![key(1)];
        for op in [KeyOp::Install(key(2)), KeyOp::Use(key(2).id()), KeyOp::Remove(key(1).id())] {
            let ids = |keys: &[GossipKey]| HeldKeys { ids: keys.iter().map(GossipKey::id).collect(), ..held(&[]) };
            assert!(!op.is_made(&ids(&keys)));
            keys = op.made(&keys).unwrap();
            assert!(op.is_made(&ids(&keys)));
            assert_eq!(op.made(&keys), None);
        }
        assert_eq!(keys, [key(2)]);
    }

    #[test]
    fn many_names_are_counted_rather_than_spelt_out() {
        let names: Vec<String> = (1..=8).map(|n| format!("n{n}")).collect();
        let text = KeyRefusal::Lacking { key: key(1).id(), names }.to_string();
        assert!(text.starts_with("n1, n2, n3, n4, n5 and 3 more do not hold the key"), "{text}");
    }
}
