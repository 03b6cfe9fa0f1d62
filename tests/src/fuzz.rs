//! Bytes from a network or a disk, given to whatever reads them: one entry for each format.
//!
//! An entry takes any bytes, must return, and checks what has to hold for whatever was accepted. Checksums are made right
//! before the reader sees them, for they stop chance and not malice. The fuzzers in `tests/fuzz` call these entries with
//! bytes that they make up; the ordinary tests call them with the corpora that the fuzzers have left, and with variations.

// The fuzzers include this file by its path, and then its modules would be looked for beside it.
#[path = "fuzz/network.rs"]
mod network;

#[path = "fuzz/store.rs"]
mod store;

#[path = "fuzz/text.rs"]
mod text;

/// One entry.
#[derive(Debug)]
pub struct Target {
    /// Of its fuzzer, and of the folder of its corpus.
    pub name: &'static str,
    /// Whether any of the bytes were accepted.
    pub run: fn(&[u8]) -> bool,
}

/// Every entry.
pub const TARGETS: &[Target] = &[
    Target { name: "gossip", run: network::gossip },
    Target { name: "frames", run: network::frames },
    Target { name: "remote_write", run: network::remote_write },
    Target { name: "wal", run: store::wal },
    Target { name: "block", run: store::block },
    Target { name: "promql", run: text::promql },
    Target { name: "rules", run: text::rules },
    Target { name: "alertmanager", run: text::alertmanager },
    Target { name: "template", run: text::template },
];

/// Runs one entry, and says whether any of the bytes were accepted; panics if there is none of that name.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the fuzzer is named after an entry");
    (target.run)(bytes)
}

/// Splits bytes into pieces, each behind its length in two bytes; the last one may be shorter than it says.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (piece, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
