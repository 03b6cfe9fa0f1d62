//! What gossip keeps on disk: who this node is, which life this is, and whom it knew.
//!
//! ```text
//! DATA_DIR/node-id             16 hexadecimal digits, made once
//! DATA_DIR/gossip-generation   a decimal number, raised at each start
//! DATA_DIR/gossip-peers.json   the peers that were known last
//! DATA_DIR/gossip-forgotten.json   the members that somebody said will not come back, for a day
//! ```
//!
//! All but the first of a further pool have its name in theirs: `gossip-NAME-generation`.
//!
//! Peers and generations of a running program are written by a task of their own, so that gossip never waits for a disk. What
//! cannot be written is tried again until it can.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use watchfire_gossip::{Forgotten, Input, Peer};
use watchfire_shared::member::NodeId;

use super::StartError;
use crate::files::{DataDir, read_optional, write_atomic};

const NODE_ID: &str = "node-id";
/// When it is tried again to write what could not be written.
const AGAIN: Duration = Duration::from_secs(10);

/// The names of one pool's files.
#[derive(Clone, Debug)]
pub(super) struct Place {
    generation: String,
    peers: String,
    forgotten: String,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            generation: "gossip-generation".to_owned(),
            peers: "gossip-peers.json".to_owned(),
            forgotten: "gossip-forgotten.json".to_owned(),
        }
    }
}

impl Place {
    /// `name` is checked to be fit for a file's name.
    pub(super) fn of_pool(name: &str) -> Self {
        Self {
            generation: format!("gossip-{name}-generation"),
            peers: format!("gossip-{name}-peers.json"),
            forgotten: format!("gossip-{name}-forgotten.json"),
        }
    }
}

/// The id of the node that owns this data directory; made and kept at the first call.
///
/// # Errors
/// If the file cannot be read or written, or holds something else.
pub fn node_id(data: &DataDir) -> Result<NodeId, StartError> {
    if let Some(text) = read_text(data, NODE_ID)? {
        return match text.parse() {
            Ok(id) if id != NodeId(0) => Ok(id),
            _ => Err(damaged(data, NODE_ID, "16 hexadecimal digits", &text)),
        };
    }
    let id = random_id();
    write_atomic(&data.join(NODE_ID), format!("{id}\n").as_bytes())?;
    Ok(id)
}

pub(super) fn random_id() -> NodeId {
    NodeId(rand::random::<u64>().max(1))
}

/// The generation of this life of the program. It is on disk before anybody hears of it, if the disk takes it.
///
/// A disk that is full or cannot be read stops nobody: whoever held this node in a later life tells it to rise above that.
pub(super) fn next_generation(data: &DataDir, place: &Place) -> u32 {
    let last = read_text(data, &place.generation).and_then(|text| {
        let Some(text) = text else { return Ok(0) };
        text.parse::<u32>().map_err(|_| damaged(data, &place.generation, "a number", &text))
    });
    let last = last.unwrap_or_else(|error| {
        tracing::error!(%error, "the generation of this node's last life cannot be read; the other members have to tell it");
        0
    });
    let next = last.saturating_add(1);
    if let Err(error) = write_atomic(&data.join(&place.generation), format!("{next}\n").as_bytes()) {
        tracing::error!(%error, "the generation of this node's life cannot be kept; it is tried again");
    }
    next
}

/// The peers that were known last. They are a help and no more: if they cannot be read, they are forgotten.
pub(super) fn peers(data: &DataDir, place: &Place) -> Vec<Peer> {
    list(data, &place.peers, "the known peers cannot be read; joining by the configured addresses alone")
}

/// The members that somebody said will not come back; times are wall time. A list that cannot be read is passed over.
pub(super) fn forgotten(data: &DataDir, place: &Place) -> Vec<Forgotten> {
    list(data, &place.forgotten, "the forgotten members cannot be read; who still knows them may bring them back")
}

fn list<T: DeserializeOwned>(data: &DataDir, file: &str, consequence: &str) -> Vec<T> {
    let read = read_optional(&data.join(file)).map_err(|error| error.to_string());
    let parsed = read.and_then(|bytes| match bytes {
        None => Ok(Vec::new()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
    });
    parsed.unwrap_or_else(|error| {
        tracing::warn!(%error, file, "{consequence}");
        Vec::new()
    })
}

fn read_text(data: &DataDir, name: &str) -> Result<Option<String>, StartError> {
    let bytes = read_optional(&data.join(name))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}

fn damaged(data: &DataDir, name: &str, expected: &'static str, text: &str) -> StartError {
    let path = data.join(name).display().to_string();
    StartError::Damaged { path, expected, found: text.chars().take(40).collect() }
}

/// What is to be written next; a later value replaces one that was not written yet.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Pending {
    pub(super) generation: Option<u32>,
    pub(super) peers: Option<Vec<Peer>>,
    /// Times are wall time.
    pub(super) forgotten: Option<Vec<Forgotten>>,
    /// In place of an id that another machine has too.
    pub(super) id: Option<NodeId>,
}

/// Writes what is pending until `stop`, and the last of it before it ends.
pub(super) async fn keep(
    folder: PathBuf,
    place: Place,
    mut pending: watch::Receiver<Pending>,
    inputs: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    let mut written = Pending::default();
    let mut failing = false;
    loop {
        let last = tokio::select! {
            biased;
            changed = pending.changed() => changed.is_err(),
            () = stop.cancelled() => true,
            () = tokio::time::sleep(AGAIN), if failing => false,
        };
        let next = pending.borrow_and_update().clone();
        let news = Pending {
            generation: next.generation.filter(|_| next.generation != written.generation),
            peers: next.peers.clone().filter(|_| next.peers != written.peers),
            forgotten: next.forgotten.clone().filter(|_| next.forgotten != written.forgotten),
            id: next.id.filter(|_| next.id != written.id),
        };
        let (folder, place) = (folder.clone(), place.clone());
        let result = match tokio::task::spawn_blocking(move || write(&folder, &place, &news)).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(()) => {
                if failing {
                    tracing::info!("gossip's state is kept again");
                }
                (written, failing) = (next, false);
            }
            Err(error) => {
                tracing::error!(error, "gossip's state could not be kept; it is tried again");
                failing = true;
                // The count is a help and no more, and the machine may have ended.
                let _ = inputs.try_send(Input::KeepFailed);
            }
        }
        if last {
            return;
        }
    }
}

fn write(folder: &std::path::Path, place: &Place, pending: &Pending) -> Result<(), crate::files::FileError> {
    if let Some(generation) = pending.generation {
        write_atomic(&folder.join(&place.generation), format!("{generation}\n").as_bytes())?;
    }
    if let Some(id) = pending.id {
        write_atomic(&folder.join(NODE_ID), format!("{id}\n").as_bytes())?;
    }
    if let Some(peers) = &pending.peers {
        let bytes = serde_json::to_vec(peers).expect("addresses and names always encode");
        write_atomic(&folder.join(&place.peers), &bytes)?;
    }
    if let Some(forgotten) = &pending.forgotten {
        let bytes = serde_json::to_vec(forgotten).expect("addresses, names and times always encode");
        write_atomic(&folder.join(&place.forgotten), &bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use watchfire_shared::time::Timestamp;

    use super::*;

    #[test]
    fn the_id_stays_and_the_generation_rises() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let id = node_id(&data).unwrap();
        assert_eq!(node_id(&data).unwrap(), id);
        assert_ne!(id, NodeId(0));
        assert_eq!((next_generation(&data, &Place::default()), next_generation(&data, &Place::default())), (1, 2));
    }

    #[test]
    fn a_damaged_identity_is_not_replaced_silently_and_anything_else_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let place = Place::default();
        std::fs::write(data.join(NODE_ID), "web-1").unwrap();
        std::fs::write(data.join(&place.peers), "{").unwrap();
        let message = node_id(&data).unwrap_err().to_string();
        assert!(message.ends_with("node-id: expected 16 hexadecimal digits, found \"web-1\""), "{message}");
        for damage in ["x", ""] {
            std::fs::write(data.join(&place.generation), damage).unwrap();
            assert_eq!(next_generation(&data, &place), 1);
        }
        assert_eq!(peers(&data, &place), Vec::new());
    }

    fn peer() -> Peer {
        Peer { id: NodeId(1), generation: 2, addr: "127.0.0.1:1".parse().unwrap(), name: "a".into() }
    }

    #[tokio::test]
    async fn the_last_state_is_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let (writer, pending) = watch::channel(Pending::default());
        writer.send_modify(|pending| pending.peers = Some(vec![peer()]));
        writer.send_modify(|pending| pending.generation = Some(6));
        let gone = Forgotten {
            id: NodeId(2),
            generation: 3,
            addr: "127.0.0.1:2".parse().unwrap(),
            name: "b".into(),
            at: Timestamp::from_millis(1_800_000_000_123),
        };
        writer.send_modify(|pending| pending.forgotten = Some(vec![gone.clone()]));
        let stop = CancellationToken::new();
        stop.cancel();
        keep(folder.path().to_owned(), Place::default(), pending, mpsc::channel(1).0, stop).await;
        assert_eq!((peers(&data, &Place::default()), next_generation(&data, &Place::default())), (vec![peer()], 7));
        assert_eq!(forgotten(&data, &Place::default()), [gone]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_is_counted_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let (data, place) = (DataDir::open(folder.path()).unwrap(), Place::default());
        // Nothing can be written where a folder stands in the way of the temporary file.
        let obstacle = data.join(&place.generation).with_added_extension("tmp");
        std::fs::create_dir(&obstacle).unwrap();
        assert_eq!((next_generation(&data, &place), next_generation(&data, &place)), (1, 1));
        let (writer, pending) = watch::channel(Pending::default());
        let (inputs, mut told) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep(folder.path().to_owned(), place.clone(), pending, inputs, stop.clone()));
        writer.send_modify(|pending| pending.generation = Some(6));
        assert_eq!(told.recv().await, Some(Input::KeepFailed));
        std::fs::remove_dir(&obstacle).unwrap();
        let written = async {
            while read_text(&data, &place.generation).unwrap().is_none() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), written).await.expect("it is tried again by itself");
        stop.cancel();
        keeping.await.unwrap();
        assert_eq!(next_generation(&data, &place), 7);
    }
}
