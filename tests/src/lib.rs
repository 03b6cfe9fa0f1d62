//! The whole house under test: real processes ([`house`]), the simulator's virtual world ([`sim`]) and the measuring of
//! both ([`bench`]); and, since this crate alone sees every program, the writing of their manuals ([`documents`]).
//!
//! The gates over the source tree (arrows, registries, shipped files) are integration tests of this crate.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests and benchmarks are shells")]

pub mod multicall;

pub mod house;

pub mod sink;

pub mod sim;

pub mod bench;

pub mod documents;

pub mod fuzz;
