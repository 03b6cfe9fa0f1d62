//! A host of the world: what its disk keeps from life to life, and the machines while it runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use watchfire_agent_core::agent::{AgentCore, Settings as AgentSettings, Start};
use watchfire_agent_core::order::{Entry, Orders};
use watchfire_agent_core::spool::{Found, FoundSegment, SegmentScan};
use watchfire_collector_core::alertmanager;
use watchfire_collector_core::catalogue::Policy;
use watchfire_collector_core::engine::{Engine, Settings};
use watchfire_collector_core::ingest::naming::{NameTemplate, Naming};
use watchfire_collector_core::remediation::Remediation;
use watchfire_collector_core::rules;
use watchfire_gossip::{Forgotten, Gossip, GossipConfig, Peer, Profile};
use watchfire_shared::member::{Metadata, NodeId, Role, SERVICE_INGEST};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::SimDisk;

use super::network::{HostId, gossip_addr, ingest_addr};

/// The name of the cluster that all hosts belong to.
pub const CLUSTER: &str = "simulated";
/// Distance of two ticks of an agent.
pub const INTERVAL: Span = Span::from_seconds(2);

/// One host.
pub struct Host {
    pub id: HostId,
    pub name: String,
    pub role: Role,
    /// Hosts whose addresses it is told to join.
    pub join: Vec<HostId>,
    pub labels: BTreeMap<String, String>,
    /// How often it was started.
    pub life: u32,
    pub running: Option<Running>,
    /// Whether the machine is on: one that is answers for a dead program that nobody listens.
    pub powered: bool,
    /// Until when it sleeps.
    pub asleep_until: Option<Timestamp>,
    /// What its series `sim_constant` says.
    pub constant: f64,
    /// Its power fails during one of the next operations of its disk.
    pub dying: bool,
    pub kept: Kept,
}

/// What is on the host's disk.
#[derive(Default)]
pub struct Kept {
    /// An id that was copied together with the disk, in place of the host's own.
    pub node: Option<NodeId>,
    pub generation: u32,
    pub peers: Vec<Peer>,
    pub forgotten: Vec<Forgotten>,
    /// A collector's disk.
    pub disk: SimDisk,
    /// An agent's spool.
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub spool_state: Option<Vec<u8>>,
    /// An agent's journal of its life.
    pub life: Option<Vec<u8>>,
    /// An agent's journal of orders, and what is being written to it.
    pub journal: Vec<Entry>,
    pub writing: VecDeque<Entry>,
    pub journal_until: Timestamp,
    /// The power fails at this write to the journal from now (1 is the next), and whether only after it has reached the disk.
    pub cut_at_write: Option<(usize, bool)>,
    /// How often the machine was booted.
    pub boots: u32,
}

/// The machines of a running host.
pub struct Running {
    pub gossip: Gossip,
    pub program: Program,
    /// The earliest wake-up that is on its way, so that not every input adds one.
    pub wake_at: Option<Timestamp>,
}

/// What runs beside gossip.
pub enum Program {
    Agent { core: Box<AgentCore>, orders: Box<Orders>, greeted: bool },
    Collector(Box<Engine<SimDisk>>),
}

/// The host that has a node id.
#[must_use]
pub fn host_with(id: NodeId) -> Option<HostId> {
    usize::try_from(id.0).ok()?.checked_sub(1)
}

impl Host {
    #[must_use]
    pub fn new(id: HostId, name: &str, role: Role, join: &[HostId]) -> Self {
        let kept = Kept::default();
        let (name, join, labels) = (name.to_owned(), join.to_vec(), BTreeMap::new());
        let (running, asleep_until) = (None, None);
        let (life, powered, dying, constant) = (0, true, false, 42.0);
        Self { id, name, role, join, labels, life, running, powered, asleep_until, constant, dying, kept }
    }

    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.kept.node.unwrap_or(NodeId(self.id as u64 + 1))
    }

    /// What is on the disk of a copy of this machine: all that an agent keeps, the id too.
    #[must_use]
    pub fn copied(&self) -> Kept {
        Kept {
            node: Some(self.node_id()),
            generation: self.kept.generation,
            peers: self.kept.peers.clone(),
            forgotten: self.kept.forgotten.clone(),
            segments: self.kept.segments.clone(),
            spool_state: self.kept.spool_state.clone(),
            life: self.kept.life.clone(),
            journal: self.kept.journal.clone(),
            ..Kept::default()
        }
    }

    /// Names the boot that its machine is in.
    #[must_use]
    pub fn boot(&self) -> String {
        format!("boot-{}-{}", self.id, self.kept.boots)
    }

    /// How its gossip is started.
    #[must_use]
    pub fn gossip_config(&self, profile: Profile) -> GossipConfig {
        let ingest = (SERVICE_INGEST.to_owned(), ingest_addr(self.id));
        let metadata = Metadata {
            name: self.name.clone(),
            role: self.role,
            version: "sim".to_owned(),
            labels: self.labels.clone(),
            services: if self.role == Role::Collector { BTreeMap::from([ingest]) } else { BTreeMap::new() },
        };
        GossipConfig {
            cluster: CLUSTER.to_owned(),
            id: self.node_id(),
            generation: self.kept.generation + 1,
            advertise: gossip_addr(self.id),
            profile,
            seeds: self.join.iter().map(|host| gossip_addr(*host)).collect(),
            known: self.kept.peers.clone(),
            forgotten: self.kept.forgotten.clone(),
            metadata,
            key_order: 0,
            keys: Vec::new(),
        }
    }

    /// How its agent is started, and what is found of its spool.
    #[must_use]
    pub fn agent_start(&self, now: Timestamp, seed: u64) -> (Start, Found) {
        let settings = AgentSettings {
            cluster: CLUSTER.to_owned(),
            name: self.name.clone(),
            labels: self.labels.clone(),
            interval: INTERVAL,
            collectors: Vec::new(),
            spool_bytes: 8 << 20,
            gossips: true,
        };
        let epoch = now.as_millis().unsigned_abs();
        let (boot, life) = (self.boot(), self.kept.life.clone());
        let start = Start { node: self.node_id(), epoch, seed, version: "sim", boot, life, settings };
        let segments = self.kept.segments.iter();
        let segments =
            segments.map(|(segment, bytes)| FoundSegment { segment: *segment, scan: SegmentScan::of(bytes) });
        (start, Found { segments: segments.collect(), state: self.kept.spool_state.clone() })
    }

    /// How its engine is started.
    #[must_use]
    pub fn engine_settings(
        &self,
        rules: Vec<rules::Group>,
        alertmanager: Arc<alertmanager::Config>,
        nodes: Policy,
        remediations: Vec<Remediation>,
    ) -> Settings {
        let template = |text| NameTemplate::parse(text).expect("these are templates");
        Settings {
            exports: Vec::new(),
            node_id: self.node_id(),
            node_name: self.name.clone(),
            naming: Naming {
                cluster: CLUSTER.to_owned(),
                job: template("node"),
                instance: template("{name}"),
                series_labels: Vec::new(),
            },
            nodes,
            storage: watchfire_store::Options { segment_bytes: 1 << 20, min_free_bytes: 0, ..Default::default() },
            out_of_order_window: Span::from_seconds(1800),
            self_interval: Span::from_seconds(10),
            rules,
            rule_settings: rules::Settings::default(),
            remediations,
            alertmanager,
        }
    }
}
