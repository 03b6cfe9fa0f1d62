//! What the collector decides: ingest, health, rules, alerts, routing and notification, without doing any of it.
//!
//! Data flows one way: frames and member changes become samples ([`ingest`], [`series`]), samples become rule results
//! ([`rules`]), results become alerts, alerts become notifications ([`notify`]). [`engine`] is the machine that holds the
//! parts together with the store. Firing alerts may also order actions on nodes ([`remediation`]); nothing on the right of
//! that line is imported by anything on its left. What people say about nodes stands in [`catalogue`], what was seen of them
//! over time in [`history`].

pub mod fact;

pub mod alert;

pub mod template;

pub mod alertmanager;

pub mod metadata;

pub mod ingest;

pub mod remote_write;

pub mod md5;

pub mod relabel;

mod tables;

pub mod export;

pub mod forward;

pub mod catalogue;

pub mod series;

pub mod history;

pub mod availability;

pub mod rules;

pub mod unit_test;

pub mod notify;

pub mod remediation;

pub mod view;

pub mod engine;
