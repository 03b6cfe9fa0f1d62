//! What the engine is told, and what it asks for.

use std::fmt;
use std::net::SocketAddr;

use watchfire_promql::Storage;
use watchfire_shared::frame::FrameError;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::member::{MemberChange, NodeId};
use watchfire_shared::order::Order;
use watchfire_shared::time::Timestamp;
use watchfire_store::DeleteError;

use super::Settings;
use super::storage::SnapshotStorage;
use crate::catalogue::maintenance::Maintenance;
use crate::fact::Fact;
use crate::ingest::ConnId;
use crate::notify::{self, Delivery, DeliveryId, DeliveryOutcome, PostedAlert, Silence};
use crate::remote_write::{Outcome, WriteId, WriteRequest};
use crate::{export, remediation, rules};

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// The deadline was reached.
    Wake,
    /// An agent opened a connection; `conn` was never used before.
    Connected { conn: ConnId, peer: SocketAddr },
    /// One whole frame of a connection, header included.
    Frame { conn: ConnId, bytes: Vec<u8> },
    /// The bytes of a connection cannot be cut into frames.
    Unreadable { conn: ConnId, error: FrameError },
    /// A connection ended, for whatever reason; also after [`Effect::Close`].
    Disconnected { conn: ConnId },
    /// Gossip speaks of a member. The collector's own membership is one of them.
    Member(Box<MemberChange>),
    /// Gossip lists a member no more: another id lives under its name, or it was gone for so long that it was forgotten.
    Unlisted(NodeId),
    /// A node's maintenance was announced or changed; it was checked already.
    SetMaintenance(Box<Maintenance>),
    /// The maintenance of the node called so is over.
    EndMaintenance { node: String },
    /// A node is gone for good and is expected no more. One that lives stays.
    Decommission(NodeId),
    /// The result of a [`Job`].
    Evaluated(Box<rules::Evaluation>),
    /// What became of a [`Delivery`].
    Delivered { id: DeliveryId, outcome: DeliveryOutcome },
    /// How far a remote engine has come, to be durable soon.
    Exported(Box<export::Progress>),
    /// Somebody pushes samples.
    Write { id: WriteId, request: Box<WriteRequest> },
    /// Somebody outside reports alerts. Answered.
    PostAlerts(Vec<PostedAlert>),
    /// A silence is made; `replaces` names the one that it changes. Answered.
    SetSilence { silence: Box<Silence>, replaces: Option<String> },
    /// A silence ends now. Answered.
    ExpireSilence { id: String },
    /// A person says something to remediation. Answered.
    Remediation(remediation::Command),
    /// Somebody asks what a remediation would do if its alert fired on a node. Answered.
    Simulate { remediation: String, node: String },
    /// What one of the selectors selects within the times, both ends included, is deleted. Answered once it is durable.
    Delete { selectors: Vec<Vec<Matcher>>, from: Timestamp, to: Timestamp },
    /// What was deleted is to be removed from disk soon.
    CleanDeleted,
    /// The configuration was read again and is valid.
    Reload(Box<Settings>),
}

/// What is to be done outside, in the order in which it was asked for.
#[derive(Debug)]
pub enum Effect {
    /// Send the frame on a connection that is still open.
    Reply { conn: ConnId, bytes: Vec<u8> },
    /// Close a connection once what was sent on it is on its way.
    Close { conn: ConnId, reason: String },
    /// Tell whoever pushed samples what became of them.
    Written { id: WriteId, outcome: Outcome },
    /// Run the job on any thread and hand back what it gives as [`Input::Evaluated`].
    Evaluate(Box<Job>),
    /// Send a notification and hand back what became of it as [`Input::Delivered`], once and within its timeout. The
    /// intent is durable already.
    Deliver(Box<Delivery>),
    /// Sign the order and send it on a connection that is still open. It is durable already.
    Order { conn: ConnId, order: Box<Order> },
    /// Tell whoever asked what became of the input of this very call. Unless `durable`, it holds in memory only, for the
    /// disk refused it.
    Answer { answer: Answer, durable: bool },
    /// Write a line to the log.
    Fact(Fact),
    /// The log on disk failed for good: nothing more is stored or acknowledged. The process has to end with an error, so
    /// that its supervisor starts it anew.
    Fatal { reason: String },
}

/// What whoever asked is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    Notification(notify::Answer),
    Remediation(remediation::Answer),
    Deleted(Result<(), DeleteError>),
}

/// An evaluation of one rule group over a picture of the store: computation only, for any thread.
pub struct Job {
    pub(super) job: rules::Job,
    pub(super) storage: SnapshotStorage,
}

impl Job {
    /// Evaluates. What each rule took is not measured.
    #[must_use]
    pub fn run(self) -> rules::Evaluation {
        self.job.run(&self.storage as &dyn Storage)
    }

    /// Evaluates; `clock` is read around each rule, and serves only to show what it took.
    #[must_use]
    pub fn run_timed(self, clock: rules::Clock<'_>) -> rules::Evaluation {
        self.job.run_timed(&self.storage as &dyn Storage, clock)
    }

    /// As [`run_timed`](Self::run_timed), with rules that do not depend on each other evaluated by `together`.
    #[must_use]
    pub fn run_together(self, clock: rules::Clock<'_>, together: rules::Together<'_>) -> rules::Evaluation {
        self.job.run_together(&self.storage as &dyn Storage, clock, together)
    }

    /// The time that the evaluation is made for.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.job.at
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("group", &self.job.group.name).field("at", &self.job.at).finish_non_exhaustive()
    }
}
