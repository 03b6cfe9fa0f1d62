//! The agent's decisions: when to sample, what kernel files mean, which frames go to which collector and what waits in
//! the spool.
//!
//! This crate is pure: it opens nothing, knows no clock and draws no randomness of its own. Samplers read the host
//! through [`host::Host`]; everything else is [`agent::AgentCore`], a state machine.

pub mod host;

pub mod sink;

pub mod sampler;

pub mod exposition;

pub mod agent;

pub mod spool;

mod life;

pub mod action;

pub mod order;

mod uplink;

mod lane;

mod dictionary;

mod schedule;

mod random;

mod rtnetlink;

mod text;
