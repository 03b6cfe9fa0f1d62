//! One tick of an agent, as it travels now and as protocol 1.0 has it.

use serde::{Deserialize, Serialize};

use super::body::Coding;
use super::message::Lane;

/// How ticks are written to somebody who speaks this version.
#[must_use]
pub fn coding_for(proto: (u16, u16)) -> Coding {
    if proto < (1, 1) { Coding::Flagged } else { Coding::Short }
}

/// One tick of one lane. It is sent every second for years, and on an idle host names in full would be a third of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Data {
    #[serde(rename = "l", default = "live", skip_serializing_if = "is_live")]
    pub lane: Lane,
    #[serde(rename = "s")]
    pub seq: u64,
    #[serde(rename = "d")]
    pub dict_id: u32,
    /// The nominal tick by the agent's wall clock, milliseconds since 1970.
    #[serde(rename = "t")]
    pub ts_ms: i64,
    /// The number of slots.
    pub n: u32,
    #[serde(rename = "k", default, skip_serializing_if = "std::ops::Not::not")]
    pub keyframe: bool,
    /// See [`super::body`].
    #[serde(rename = "b", with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The type of the frame says it.
    #[serde(skip)]
    pub coding: Coding,
}

/// A tick as protocol 1.0 has it.
#[derive(Serialize, Deserialize)]
pub(super) struct EarlierData {
    pub(super) lane: Lane,
    pub(super) seq: u64,
    pub(super) dict_id: u32,
    pub(super) ts_ms: i64,
    pub(super) n: u32,
    #[serde(default)]
    pub(super) keyframe: bool,
    #[serde(with = "serde_bytes")]
    pub(super) body: Vec<u8>,
}

impl From<&Data> for EarlierData {
    fn from(data: &Data) -> Self {
        let Data { lane, seq, dict_id, ts_ms, n, keyframe, ref body, coding: _ } = *data;
        Self { lane, seq, dict_id, ts_ms, n, keyframe, body: body.clone() }
    }
}

impl From<EarlierData> for Data {
    fn from(EarlierData { lane, seq, dict_id, ts_ms, n, keyframe, body }: EarlierData) -> Self {
        Self { lane, seq, dict_id, ts_ms, n, keyframe, body, coding: Coding::Flagged }
    }
}

const fn live() -> Lane {
    Lane::Live
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_live(lane: &Lane) -> bool {
    *lane == Lane::Live
}
