//! The words everyone uses: time, labels, samples, members, frames, limits and the reading of configuration.
//!
//! This crate is pure. It knows no clock, no file and no socket, and holds no decision of its own: agent, collector and
//! gossip are built from these words, and two programs that speak to each other speak through [`frame`].

pub mod time;

pub mod labels;

pub mod matcher;

pub mod essential;

pub mod sample;

pub mod member;

pub mod order;

pub mod life;

pub mod round;

pub mod frame;

pub mod machine;

pub mod limits;

pub mod document;

pub mod config;
