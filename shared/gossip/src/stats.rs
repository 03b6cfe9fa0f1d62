//! What the machine counted: every packet that it did not act on stands here under its reason.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since the start; none ever falls.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Every counter with its name, for metrics and status pages.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Datagrams taken in, the dropped ones included.
    received_datagrams,
    /// Bytes of the datagrams taken in.
    received_bytes,
    /// Datagrams handed out.
    sent_datagrams,
    /// Bytes of the datagrams handed out.
    sent_bytes,
    /// Dropped: larger than a datagram may be.
    dropped_oversized,
    /// Dropped: too short, or its content does not decode as a whole.
    dropped_malformed,
    /// Dropped: another version of the envelope.
    dropped_version,
    /// Dropped: of another cluster.
    dropped_other_cluster,
    /// Dropped: damaged on the way.
    dropped_checksum,
    /// Dropped: of a kind that is not known here.
    dropped_unknown_kind,
    /// Dropped: not encrypted, although this node holds keys.
    dropped_plain,
    /// Dropped: encrypted with a key that is not held here.
    dropped_unknown_key,
    /// Dropped: not made with the key that it names.
    dropped_forged,
    /// Dropped: came before.
    dropped_replayed,
    /// Dropped: addressed to another node or another life of this one.
    dropped_misaddressed,
    /// Dropped: claims to come from this node; the sign of a cloned node id.
    dropped_from_ourselves,
    /// Dropped: answers nothing that was asked, or speaks of or for a member that is not known.
    dropped_unexpected,
    /// Dropped: would grow the membership beyond its bound.
    dropped_members_full,
    /// Answers withheld because too many were asked for.
    dropped_rate_limited,
    /// Packets or timers that foca refused.
    foca_errors,
    /// Exchanges over streams that were begun here.
    exchanges,
    /// Exchanges that failed: no connection, or no valid answer.
    exchanges_failed,
    /// Bytes that were said over streams, by this node.
    sent_stream_bytes,
    /// Bytes that were said over streams, to this node.
    received_stream_bytes,
    /// Probes that were answered over a stream and not by datagram: datagrams do not get through.
    probes_by_stream,
    /// Join attempts sent.
    joins_sent,
    /// Times this node raised its generation to return.
    renewals,
    /// Probes that were not answered in time, so that helpers were asked.
    probes_unanswered,
    /// Declarations of death that the isolation guard held back.
    downs_held_back,
    /// Suspects declared down because their hosts refused connections.
    downs_by_refusal,
    /// Deaths of members that live here, told by one that had just come back from its own.
    hearsay_passed_over,
    /// Times that the generation or the peers could not be written to disk.
    keeps_failed,
    /// Metadata that was refused at the door.
    metadata_refused,
    /// Times that another process with this node's id answered.
    clones_seen,
    /// Times that two living members with one name were seen.
    name_conflicts,
}
