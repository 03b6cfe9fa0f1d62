//! What a cluster of machines does, in virtual time.

mod chaos;
mod clocks;
mod clones;
mod conditions;
mod figures;
mod forgetting;
mod formats;
mod hostile;
mod joining;
mod leaving;
mod metadata;
mod partition;
mod rotation;
mod rtt;
mod sealed;
mod silence;
mod streams;
mod suspicion;
mod ties;
