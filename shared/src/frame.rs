//! Frames: what an agent and a collector say to each other, and what the write-ahead log keeps.
//!
//! A frame is `u32 length (little-endian) | u8 type | u8 flags | payload`, the length counting everything after itself.
//! Payloads are MessagePack maps with named fields ([`message`]), so a reader skips fields it does not know and a
//! missing one takes its default; the values of a tick are one binary field inside ([`body`]). A frame of an unknown
//! type is skipped by its length unless its flag says that it must be understood.
//!
//! Nothing here allocates by a length that a peer merely claims: sizes are checked against [`crate::limits`] first.

pub mod varint;

pub mod body;

pub mod message;

mod tick;

use crate::limits::MAX_FRAME_BYTES;
pub use message::Message;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 6;

/// Set in the flags of a frame whose reader must understand it or hang up.
pub const FLAG_CRITICAL: u8 = 0b10;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {0} bytes is larger than {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    #[error("frame is shorter than its own header")]
    TooShort,
    #[error("frame of unknown type {0} must be understood")]
    UnknownCritical(u8),
    #[error("malformed {kind} frame: {reason}")]
    Malformed { kind: &'static str, reason: String },
    #[error("{0} bytes follow the frame")]
    TrailingBytes(usize),
}

/// Cuts frames out of a byte stream.
///
/// Holds at most one frame and what the last read brought with it; a length above the limit is refused before anything
/// of it is kept.
#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Takes bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, header included; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] and [`FrameError::TooShort`]; the stream cannot be read further after either.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length + 4 > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(length + 4));
        }
        if length < HEADER_BYTES - 4 {
            return Err(FrameError::TooShort);
        }
        if rest.len() < length + 4 {
            return Ok(None);
        }
        let from = self.start;
        self.start += length + 4;
        Ok(Some(&self.buffer[from..self.start]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_at_frame_borders_whatever_the_reads_were() {
        let frames = [Message::Ping(message::Ping { clock_ms: 1 }), Message::Pong(message::Ping { clock_ms: 2 })];
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        for size in 1..stream.len() {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(size) {
                reader.push(chunk);
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push(Message::decode(frame).unwrap().unwrap());
                }
            }
            assert_eq!(seen, frames, "reads of {size} bytes");
        }
    }

    #[test]
    fn a_lying_length_is_refused_before_it_is_believed() {
        let mut reader = FrameReader::default();
        reader.push(&u32::MAX.to_le_bytes());
        assert_eq!(reader.next_frame(), Err(FrameError::TooLarge(u32::MAX as usize + 4)));
        let mut reader = FrameReader::default();
        reader.push(&[1, 0, 0, 0, 0]);
        assert_eq!(reader.next_frame(), Err(FrameError::TooShort));
    }
}
