//! What goes into the machine and what comes out of it.

use std::net::SocketAddr;

use watchfire_shared::member::{MemberChange, Metadata, NodeId};

use super::Gossip;
use crate::config::Peer;
use crate::keyring::GossipKey;
use crate::rotation::{KeyOp, KeyRefusal};
use crate::view::{Forgotten, NameConflict, Removal};

/// Room for effects that stays while there are none: what a busy moment leaves behind. A newcomer tells of thousands of
/// members at once, and never again.
const EFFECTS_KEPT: usize = 32;

impl Gossip {
    pub(super) fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        effects.append(&mut self.out);
        self.out.shrink_to(EFFECTS_KEPT);
    }
}

/// What the outside tells the machine.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// The deadline has been reached.
    Wake,
    /// A datagram arrived.
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    /// A datagram arrived this many microseconds after the last [`Effect::TimeProbe`].
    Timed { from: SocketAddr, bytes: Vec<u8>, micros: u32 },
    /// The join addresses, looked up again. An empty list changes nothing.
    Seeds(Vec<SocketAddr>),
    /// What this node says of itself from now on. Invalid metadata is refused and counted; see
    /// [`crate::check_metadata`] for the reason.
    SetMetadata(Metadata),
    /// The result of [`Effect::AskHost`].
    HostAnswer { id: NodeId, answer: HostAnswer },
    /// A tie ended, or did not come about, which says nothing: see [`Effect::Tie`].
    TieEnded { tie: u64, came_about: bool },
    /// Somebody opened a stream and said this first. [`Effect::Judged`] tells whether anything more is heard there.
    Opening { stream: u64, frame: Vec<u8> },
    /// Somebody opened a stream, said this and waits for [`Effect::Reply`].
    Asked { stream: u64, frames: Vec<Vec<u8>> },
    /// The result of [`Effect::Exchange`]: the other side's frames, or how far the attempt came.
    Exchanged { exchange: u64, outcome: Result<Vec<Vec<u8>>, HostAnswer> },
    /// What the key file holds, read again: the sealing key first, and the latest change of keys that it took part in.
    /// Nothing changes if there are none, or if this node was started without.
    SetKeys { keys: Vec<GossipKey>, order: u64 },
    /// Change the keys of every member. [`Effect::KeysAnswered`] with this ticket says whether that is begun.
    OrderKeys { ticket: u64, op: KeyOp },
    /// The result of [`Effect::SaveKeys`], with the reason why not.
    KeysSaved(Result<(), String>),
    /// What was to be kept could not be written: it is counted.
    KeepFailed,
    /// This member will not come back: everybody is to list it no more. Nothing happens while it is alive or suspect.
    Forget(NodeId),
    /// Say goodbye. [`Effect::LeaveDone`] follows within a second.
    Leave,
}

/// What a member's host did with a TCP connection and a datagram to the member's gossip address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostAnswer {
    /// It answered that nobody listens: to the datagram, and no connection came about.
    Refused,
    /// It refused the connection and not the datagram. Somebody may listen behind a firewall that lets no connection
    /// through, or the answer to the datagram was held back, so nothing is proven.
    RefusedStreams,
    /// Nothing came back in time, or no route leads there.
    Silent,
    /// Somebody listens.
    Accepted,
}

/// Who sent a packet that this node cannot or may not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stranger {
    /// A member of a cluster with another name.
    OtherCluster,
    /// Somebody with a key that is not held here, or with keys where none is held.
    UnknownKey,
    /// Somebody without keys where there are some.
    Plain,
}

/// What a stream's first frame makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is a member's: what else it says is read, and is an [`Input::Asked`] together with the first frame.
    Exchange,
    /// It is a tie, which says nothing more and is kept open until the other side ends it.
    Tie,
    /// It is a stranger's, and ended.
    Refused,
}

/// What the machine asks the outside to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Send a datagram.
    Send { to: SocketAddr, bytes: Vec<u8> },
    /// The next datagram is a probe: measure from now how long it takes until datagrams arrive, and hand those in as
    /// [`Input::Timed`].
    TimeProbe,
    /// Another process with this node's id answers at `other`. One that `yields` has stopped, and is to get a new id.
    Cloned { other: SocketAddr, yields: bool },
    /// A member was listed or is listed differently: its state, its life or what it says of itself.
    Changed(MemberChange),
    /// A member is not listed any more.
    Removed(Removal),
    /// One more living member claims a name that others have; the conflict as it is now, which [`Member::namesakes`] shows
    /// for as long as it lasts.
    ///
    /// [`Member::namesakes`]: watchfire_shared::member::Member::namesakes
    NameConflict(NameConflict),
    /// Packets come from somebody who is not of this cluster; told of one every five minutes.
    Stranger { from: SocketAddr, stranger: Stranger },
    /// Keep this generation; the next start begins one above it. The first effect of a start, and again at each return.
    SaveGeneration(u32),
    /// Keep these peers in place of those kept before; they are handed in at the next start.
    SavePeers(Vec<Peer>),
    /// Keep these members as forgotten in place of those kept before; they are handed in at the next start.
    SaveForgotten(Vec<Forgotten>),
    /// Replace what the key file holds, and tell by [`Input::KeysSaved`] once it is durable.
    SaveKeys { keys: Vec<GossipKey>, order: u64 },
    /// The change that was asked for is made here, and the other members are told; or nothing is changed.
    KeysAnswered { ticket: u64, answer: Result<(), KeyRefusal> },
    /// Try a TCP connection to `addr`, send it an empty datagram, and tell by [`Input::HostAnswer`] what came of it.
    AskHost { id: NodeId, addr: SocketAddr },
    /// Open a stream to `to`, say this frame, keep it open, and tell by [`Input::TieEnded`] when it ends for any reason but
    /// [`Effect::Untie`]. Whoever accepts such a stream keeps it open and says nothing.
    Tie { tie: u64, to: SocketAddr, frame: Vec<u8> },
    /// End a tie that this node holds.
    Untie { tie: u64 },
    /// Open a stream to `to`, say these frames, read what is said in return until the stream ends, and tell by
    /// [`Input::Exchanged`].
    Exchange { exchange: u64, to: SocketAddr, frames: Vec<Vec<u8>> },
    /// What becomes of a stream of which [`Input::Opening`] told.
    Judged { stream: u64, admission: Admission },
    /// Say these frames to who waits on a stream, and end it. A stream that gets no reply is ended too.
    Reply { stream: u64, frames: Vec<Vec<u8>> },
    /// The goodbye is spread; the machine does nothing any more.
    LeaveDone,
}
