//! The agent's decisions: when to sample, what kernel files mean, which frames go to which collector and what waits in
//! the spool.
//!
//! This crate is pure: it opens nothing, knows no clock and draws no randomness of its own. Samplers read the host
//! through [`host::Host`].

pub mod host;

pub mod sink;

pub mod sampler;

pub mod exposition;

mod rtnetlink;

mod text;
