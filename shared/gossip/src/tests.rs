//! What a cluster of machines does, in virtual time.

mod figures;
mod hostile;
mod joining;
mod leaving;
mod metadata;
mod partition;
mod silence;
mod suspicion;
