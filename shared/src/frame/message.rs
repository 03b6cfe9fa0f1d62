//! The messages inside frames.
//!
//! A stream has two *lanes*, each with its own dictionary, value state, sequence and acknowledgement: live values first,
//! and behind them what the agent's spool held while the collector was away. A dictionary gives each series of a lane a
//! slot; a Data frame carries one value per slot.
//!
//! ```text
//! agent                          collector
//! Hello                     ->
//!                           <-   HelloAck (what is durable per lane, limits)
//! Dict (one or more parts)  ->
//! Data seq 1 (a keyframe)   ->
//! Data seq 2                ->
//!                           <-   Ack seq 2 (cumulative; only after the disk has it)
//! Actions (what it would do)->
//!                           <-   Order
//! OrderReport (each change) ->
//!                           <-   OrderSeen (the final one is durable)
//!                           <-   LifeWanted (which notes of its own life are durable)
//! Life (those after, and each new one) ->
//!                           <-   ViewQuery (what do you believe of this member?)
//! ViewAnswer                ->
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::body::Coding;
use super::tick::EarlierData;
use super::{FLAG_CRITICAL, FrameError, HEADER_BYTES};
use crate::labels::Labels;
use crate::life::{Life, LifeWanted};
use crate::limits::{MAX_DICT_ENTRIES_PER_FRAME, MAX_FRAME_BYTES};
use crate::member::{MemberState, NodeId};
use crate::order::{Actions, OrderReport, OrderSeen, SignedOrder};
use crate::sample::MetricKind;

pub use super::tick::{Data, coding_for};

/// The version of the protocol; a reader refuses another major and ignores what a newer minor added. 1.1 has shorter ticks.
pub const PROTOCOL: (u16, u16) = (1, 1);

/// The feature of an agent whose gossip is off: nobody but the agent itself speaks of it.
pub const FEATURE_NO_GOSSIP: &str = "no-gossip";

/// Which stream of a connection a frame belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Values as they are sampled. Rules, `up` and alerts read these.
    Live,
    /// Values that waited in the spool. They fill history and never fire, resolve or advance a `for`.
    Backfill,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Live, Self::Backfill];
}

/// A place in a lane. Within an epoch, sequences are gapless and rise by one; a later epoch is a higher number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// Live: made anew at each start of the agent. Backfill: made with the spool.
    pub epoch: u64,
    pub seq: u64,
}

/// The first frame of an agent on a connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub proto: (u16, u16),
    #[serde(default)]
    pub features: Vec<String>,
    /// The cluster's name; another one's agents are refused.
    pub cluster: String,
    pub agent_id: NodeId,
    pub name: String,
    /// Labels of the node, which the collector adds to its series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub version: String,
    /// Epoch of the live lane.
    pub epoch: u64,
    /// Epoch of the backfill lane.
    #[serde(default)]
    pub spool_epoch: u64,
    /// The agent's wall clock when it wrote this, milliseconds since 1970.
    pub clock_ms: i64,
    /// Distance of two live ticks, milliseconds.
    pub interval_ms: u64,
    /// First and last sequence that waits in the spool.
    #[serde(default)]
    pub spooled: Option<(u64, u64)>,
}

/// The collector's answer to [`Hello`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HelloAck {
    pub proto: (u16, u16),
    #[serde(default)]
    pub features: Vec<String>,
    pub collector_id: NodeId,
    pub name: String,
    /// The last frame of the live lane that is durable here, of any epoch.
    #[serde(default)]
    pub live: Option<Position>,
    /// The same for the backfill lane.
    #[serde(default)]
    pub backfill: Option<Position>,
    pub clock_ms: i64,
    pub max_series: u32,
    /// How many bytes the agent may have sent and not yet seen acknowledged.
    pub credit_bytes: u32,
}

/// One series of a dictionary.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SeriesEntry {
    /// The slot in Data frames.
    pub slot: u32,
    /// Metric name and the metric's own labels; instance, job and node labels are the collector's to add.
    pub labels: Labels,
    #[serde(default)]
    pub kind: MetricKind,
}

/// Adds series to a lane's dictionary and frees slots.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Dict {
    pub lane: Lane,
    /// Rises by one with each part; Data names the part it was encoded after.
    pub dict_id: u32,
    /// Forget all earlier parts first.
    #[serde(default)]
    pub base: bool,
    #[serde(default)]
    pub add: Vec<SeriesEntry>,
    #[serde(default)]
    pub remove: Vec<u32>,
}

/// Everything up to and including `seq` of the lane is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ack {
    pub lane: Lane,
    pub seq: u64,
    pub credit_bytes: u32,
}

/// Why a frame was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NackCode {
    /// Another cluster, an unsupported protocol, a frame before Hello.
    Protocol,
    /// A limit was reached; the detail names it.
    Quota,
    /// The frame contradicts the dictionary or itself.
    Schema,
    /// A time that cannot be kept.
    Clock,
    /// A predecessor is missing: send the lane again from a dictionary and a keyframe.
    Resync,
}

/// A frame was refused for good; the agent drops it and counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Nack {
    pub lane: Lane,
    pub seq: u64,
    pub code: NackCode,
    #[serde(default)]
    pub detail: String,
    /// Slots that were refused, for [`NackCode::Quota`] on a dictionary.
    #[serde(default)]
    pub slots: Vec<u32>,
}

/// The collector asks for less; the backfill lane yields first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Slow {
    pub credit_bytes: u32,
}

/// A sign of life; the answer repeats the clock it was asked with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ping {
    pub clock_ms: i64,
}

/// The last frame of a side that hangs up on purpose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bye {
    pub reason: String,
    /// When to come back, milliseconds; 0 is at once.
    #[serde(default)]
    pub retry_after_ms: u64,
}

/// The collector asks what the agent believes of a member, before it acts on a node that it cannot hear itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ViewQuery {
    pub about: NodeId,
}

/// The agent's own view of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ViewAnswer {
    pub about: NodeId,
    /// `None` of a member that it does not know.
    #[serde(default)]
    pub state: Option<MemberState>,
}

/// The type of [`EarlierData`].
const EARLIER_DATA: u8 = 5;

macro_rules! messages {
    ($($number:literal $flags:literal $name:ident($payload:ty),)*) => {
        /// One frame's content.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Message { $($name($payload),)* }

        impl Message {
            /// The whole frame, header included.
            ///
            /// The caller keeps within the limits of [`crate::limits`]; a frame above [`MAX_FRAME_BYTES`] would be
            /// refused by its reader.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    Self::Data(data) if data.coding == Coding::Flagged => {
                        frame(EARLIER_DATA, FLAG_CRITICAL, &EarlierData::from(data))
                    }
                    $(Self::$name(payload) => frame($number, $flags, payload),)*
                }
            }

            /// Reads one whole frame, header included; `None` for one of an unknown type that may be skipped.
            ///
            /// # Errors
            /// If the bytes are not one well-formed frame.
            pub fn decode(frame: &[u8]) -> Result<Option<Self>, FrameError> {
                let (kind, flags, payload) = split(frame)?;
                match kind {
                    EARLIER_DATA => {
                        read::<EarlierData>("Data", payload).map(|payload| Some(Self::Data(payload.into())))
                    }
                    $($number => read(stringify!($name), payload).map(|payload| Some(Self::$name(payload))),)*
                    unknown if flags & FLAG_CRITICAL != 0 => Err(FrameError::UnknownCritical(unknown)),
                    _ => Ok(None),
                }
            }
        }
    };
}

messages! {
    1 0b10 Hello(Hello),
    2 0b10 HelloAck(HelloAck),
    3 0b10 Dict(Dict),
    6 0b10 Data(Data),
    7 0b00 Ack(Ack),
    8 0b00 Nack(Nack),
    9 0b00 Slow(Slow),
    10 0b00 Ping(Ping),
    11 0b00 Pong(Ping),
    12 0b00 Bye(Bye),
    13 0b00 Actions(Actions),
    14 0b00 Order(SignedOrder),
    15 0b00 OrderReport(OrderReport),
    16 0b00 OrderSeen(OrderSeen),
    17 0b00 Life(Life),
    18 0b00 LifeWanted(LifeWanted),
    19 0b00 ViewQuery(ViewQuery),
    20 0b00 ViewAnswer(ViewAnswer),
}

fn frame(kind: u8, flags: u8, payload: &impl Serialize) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, kind, flags];
    payload
        .serialize(&mut rmp_serde::Serializer::new(&mut out).with_struct_map())
        .expect("plain structs always encode into memory");
    let length = u32::try_from(out.len() - 4).expect("frames are far below 4 GiB");
    out[..4].copy_from_slice(&length.to_le_bytes());
    out
}

fn split(frame: &[u8]) -> Result<(u8, u8, &[u8]), FrameError> {
    let (header, payload) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::TooShort)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize + 4;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    match frame.len().checked_sub(length) {
        None => Err(FrameError::TooShort),
        Some(0) => Ok((header[4], header[5], payload)),
        Some(spare) => Err(FrameError::TrailingBytes(spare)),
    }
}

fn read<T: serde::de::DeserializeOwned>(kind: &'static str, payload: &[u8]) -> Result<T, FrameError> {
    // `from_slice` would accept bytes after the value; a frame has none.
    let mut rest = payload;
    let value = T::deserialize(&mut rmp_serde::Deserializer::new(&mut rest))
        .map_err(|error| FrameError::Malformed { kind, reason: error.to_string() })?;
    if rest.is_empty() { Ok(value) } else { Err(FrameError::TrailingBytes(rest.len())) }
}

impl Dict {
    /// Cuts a full dictionary into parts that each fit a frame; the first one starts afresh.
    #[must_use]
    pub fn parts(lane: Lane, first_dict_id: u32, entries: &[SeriesEntry]) -> Vec<Self> {
        let mut parts: Vec<Self> = entries
            .chunks(MAX_DICT_ENTRIES_PER_FRAME)
            .zip(first_dict_id..)
            .map(|(chunk, dict_id)| Self { lane, dict_id, base: false, add: chunk.to_vec(), remove: Vec::new() })
            .collect();
        if parts.is_empty() {
            parts.push(Self { lane, dict_id: first_dict_id, base: false, add: Vec::new(), remove: Vec::new() });
        }
        parts[0].base = true;
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::life::LifeState;

    #[test]
    fn messages_round_trip() {
        let dict = Message::Dict(Dict {
            lane: Lane::Live,
            dict_id: 1,
            base: true,
            add: vec![SeriesEntry { slot: 0, labels: Labels::new([("__name__", "up")]), kind: MetricKind::Gauge }],
            remove: vec![3],
        });
        let data = Message::Data(Data {
            lane: Lane::Backfill,
            seq: 7,
            dict_id: 1,
            ts_ms: -5,
            n: 1,
            keyframe: true,
            body: vec![1, 0],
            coding: Coding::Short,
        });
        for message in [dict, data, Message::Bye(Bye { reason: "stop".into(), retry_after_ms: 0 })] {
            assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
        }
    }

    #[test]
    fn a_tick_has_a_small_header() {
        let (body, coding) = (vec![7; 64], Coding::Short);
        let [seq, ts_ms] = [1 << 31, 1_800_000_000_000];
        let data = Data { lane: Lane::Live, seq: seq as u64, dict_id: 1, ts_ms, n: 512, keyframe: false, body, coding };
        assert_eq!(Message::Data(data).encode().len() - 64, 37);
    }

    #[test]
    fn a_tick_is_read_as_it_was_written_before() {
        let earlier = |keyframe| EarlierData {
            lane: Lane::Backfill,
            seq: 7,
            dict_id: 1,
            ts_ms: -5,
            n: 1,
            keyframe,
            body: vec![1, 0],
        };
        for keyframe in [false, true] {
            let data = Data::from(earlier(keyframe));
            assert_eq!((data.seq, data.ts_ms, data.keyframe, data.coding), (7, -5, keyframe, Coding::Flagged));
            let bytes = frame(EARLIER_DATA, FLAG_CRITICAL, &earlier(keyframe));
            assert_eq!(Message::decode(&bytes), Ok(Some(Message::Data(data.clone()))));
            assert_eq!(Message::Data(data).encode(), bytes, "and passed on as it was");
        }
    }

    #[test]
    fn unknown_fields_and_unknown_harmless_types_are_skipped() {
        #[derive(Serialize)]
        struct Newer {
            clock_ms: i64,
            flavour: &'static str,
        }
        let newer = frame(10, 0, &Newer { clock_ms: 5, flavour: "sour" });
        assert_eq!(Message::decode(&newer), Ok(Some(Message::Ping(Ping { clock_ms: 5 }))));
        assert_eq!(Message::decode(&frame(99, 0, &0)), Ok(None));
        assert_eq!(Message::decode(&frame(99, FLAG_CRITICAL, &0)), Err(FrameError::UnknownCritical(99)));
    }

    #[test]
    fn bytes_after_the_payload_are_refused() {
        let mut bytes = Message::Ping(Ping { clock_ms: 5 }).encode();
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), Err(FrameError::TrailingBytes(1)));
        bytes[0] += 1;
        assert_eq!(Message::decode(&bytes), Err(FrameError::TrailingBytes(1)));
    }

    #[test]
    fn a_note_of_a_state_that_only_newer_agents_know_spoils_no_other() {
        #[derive(Serialize)]
        struct Note {
            seq: u64,
            at: i64,
            state: &'static str,
        }
        #[derive(Serialize)]
        struct Newer {
            notes: Vec<Note>,
        }
        let notes = [("running", 1), ("hibernating", 2)].map(|(state, seq)| Note { seq, at: 5, state });
        let Ok(Some(Message::Life(life))) = Message::decode(&frame(17, 0, &Newer { notes: notes.into() })) else {
            panic!("a life is a life")
        };
        let states: Vec<LifeState> = life.notes.iter().map(|note| note.state).collect();
        assert_eq!(states, [LifeState::Running, LifeState::Unknown]);
        assert_eq!(Message::decode(&Message::Life(life.clone()).encode()), Ok(Some(Message::Life(life))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(kind in 0u8..20, payload: Vec<u8>) {
            let mut bytes = vec![0, 0, 0, 0, kind, 0];
            bytes.extend(payload);
            let length = u32::try_from(bytes.len() - 4).unwrap();
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            let _ = Message::decode(&bytes);
        }
    }
}
