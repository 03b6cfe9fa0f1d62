//! The engine over a simulated disk, in virtual time: frames in, acknowledgements, alerts and notifications out.

mod world;

mod ingest;

mod hostile;

mod health;

mod catalogue;

mod storage;

mod crash;

mod notifications;

mod outside;

mod remediation;
