//! The runtime that every Watchfire program stands on: clock, configuration files, logs, signals, the driver of machines,
//! gossip's sockets and the HTTP server.
//!
//! This crate *does* and never decides: what a member is, when a sample is due, which alert fires is said by the cores.
//! It is the only shared crate with clocks, files, sockets and threads. A program is put together from its parts in this
//! order: [`telemetry`], [`lifecycle::Signals`], [`config`], [`files::DataDir`], [`gossip`] with [`membership`], [`http`].

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is a shell: it owns the clock, the files, the sockets and the threads of its program"
)]

pub mod clock;

pub mod files;

pub mod config;

pub mod arguments;

pub mod telemetry;

pub mod lifecycle;

pub mod driver;

pub mod bind;

pub mod tls;

pub mod journal;

pub mod membership;

pub mod gossip;

pub mod http;
