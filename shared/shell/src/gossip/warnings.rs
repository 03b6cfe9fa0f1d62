//! What gossip sees that a person has to look into.

use std::net::SocketAddr;

use watchfire_gossip::{NameConflict, Stranger};

/// Members of one name that a line shows.
const MOST_SHOWN: usize = 8;

pub(super) fn name_conflict(conflict: &NameConflict) {
    let members = conflict.members.iter().take(MOST_SHOWN).map(|(id, addr)| format!("{id} at {addr}"));
    let members = members.collect::<Vec<_>>().join(", ");
    let count = conflict.members.len();
    tracing::warn!(
        name = conflict.name,
        count,
        members,
        "several living nodes have one name; rename all but one of them"
    );
}

pub(super) fn stranger(from: SocketAddr, stranger: Stranger) {
    let told = match stranger {
        Stranger::OtherCluster => "packets of another cluster: gossip.cluster differs there",
        Stranger::UnknownKey => "packets of an unknown key: gossip.keyring_file differs there",
        Stranger::Plain => "packets without encryption: gossip.keyring_file is missing there",
    };
    tracing::warn!(%from, "{told}; they are dropped, and what follows is counted in watchfire_gossip_events_total");
}
