//! The simulator: the same cores as in production, in one thread and virtual time, from one seed.
//!
//! A [`world::World`] holds hosts (each a gossip machine and an agent's or a collector's core), a network that loses and
//! delays datagrams and cuts connections, disks that forget what was not synced, and a webhook. It is the second driver of
//! every machine; the first is tokio's in `watchfire-shell`. A [`scenario`] runs in two phases: faults, under which
//! nothing unsafe may happen, then healing, after which everything has to come right. Equal seeds give equal traces.

pub mod trace;

pub mod network;

pub mod world;

pub mod host;

pub mod scenario;

pub mod orders;

pub mod storms;
