//! A note: one member's own suspicion of another, as it rides on packets.
//!
//! foca's updates say that somebody is suspect, not who says so. Lifeguard needs to know how many say so, each on its
//! own; a note carries that.

use std::collections::BTreeSet;

use watchfire_shared::member::{NodeId, ProbePath};

use crate::identity::{Malformed, Reader};

/// Bytes of a note on the wire.
pub(crate) const NOTE_BYTES: usize = 8 + 4 + 2 + 8 + 1;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Note {
    /// The suspect, in which life and incarnation.
    pub(crate) target: NodeId,
    pub(crate) generation: u32,
    pub(crate) incarnation: u16,
    /// Whose probe failed.
    pub(crate) from: NodeId,
    /// The paths on which it was tried.
    pub(crate) paths: Paths,
}

/// A set of paths in one byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Paths(u8);

impl Paths {
    pub(crate) fn iter(self) -> impl Iterator<Item = ProbePath> {
        ProbePath::ALL.into_iter().filter(move |path| self.0 & bit(*path) != 0)
    }
}

impl From<&BTreeSet<ProbePath>> for Paths {
    fn from(paths: &BTreeSet<ProbePath>) -> Self {
        Self(paths.iter().fold(0, |bits, path| bits | bit(*path)))
    }
}

fn bit(path: ProbePath) -> u8 {
    1 << path as u8
}

pub(crate) fn put_note(out: &mut Vec<u8>, note: &Note) {
    out.extend_from_slice(&note.target.0.to_le_bytes());
    out.extend_from_slice(&note.generation.to_le_bytes());
    out.extend_from_slice(&note.incarnation.to_le_bytes());
    out.extend_from_slice(&note.from.0.to_le_bytes());
    out.push(note.paths.0);
}

/// Reads a note; paths of a later version are left out.
pub(crate) fn read_note(reader: &mut Reader) -> Result<Note, Malformed> {
    Ok(Note {
        target: reader.node_id()?,
        generation: reader.u32()?,
        incarnation: reader.u16()?,
        from: reader.node_id()?,
        paths: Paths(reader.u8()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_round_trip_in_their_size_and_unknown_paths_are_left_out() {
        let paths = BTreeSet::from([ProbePath::Udp, ProbePath::Tcp]);
        let note =
            Note { target: NodeId(1), generation: 2, incarnation: 3, from: NodeId(4), paths: Paths::from(&paths) };
        let mut bytes = Vec::new();
        put_note(&mut bytes, &note);
        assert_eq!(bytes.len(), NOTE_BYTES);
        assert_eq!(read_note(&mut Reader::new(&bytes)), Ok(note));
        assert_eq!(note.paths.iter().collect::<BTreeSet<_>>(), paths);
        assert_eq!(Paths(0xf8).iter().count(), 0);
        for cut in 0..bytes.len() {
            assert_eq!(read_note(&mut Reader::new(&bytes[..cut])), Err(Malformed));
        }
    }
}
