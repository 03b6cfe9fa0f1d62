//! What befalls hosts: programs that end, power that fails, machines that sleep, and what operators do.

use std::net::SocketAddr;

use watchfire_agent_core::agent as agent_core;
use watchfire_collector_core::catalogue::maintenance::Maintenance;
use watchfire_collector_core::engine;
use watchfire_gossip::Input as GossipInput;
use watchfire_shared::time::Span;
use watchfire_store::CrashKeeps;

use super::{Event, Work, World};
use crate::sim::host::Host;
use crate::sim::network::HostId;

impl World {
    /// Ends a host's program as `kill -9` does; its machine stays on.
    pub fn kill(&mut self, id: HostId) {
        self.trace.note(self.now, format_args!("kill {}", self.hosts[id].name));
        self.end(id, CrashKeeps::ALL);
    }

    /// Cuts a host's power: what was not synced is lost but for what `keeps` says, and nothing answers.
    pub fn cut_power(&mut self, id: HostId, keeps: CrashKeeps) {
        self.trace.note(self.now, format_args!("cut the power of {}", self.hosts[id].name));
        self.hosts[id].powered = false;
        self.end(id, keeps);
        self.hosts[id].kept.boots += 1;
    }

    /// Lets a host's power fail in the middle of its `operations`-th change of the disk from now.
    pub fn cut_power_in(&mut self, id: HostId, operations: u64) {
        self.trace.note(self.now, format_args!("{} loses its power in {operations} operations", self.hosts[id].name));
        self.hosts[id].dying = true;
        self.hosts[id].kept.disk.power_off_in(operations);
    }

    pub(super) fn end(&mut self, id: HostId, keeps: CrashKeeps) {
        let host = &mut self.hosts[id];
        host.dying = false;
        assert!(host.running.take().is_some(), "{} does not run", host.name);
        host.kept.disk.crash(keeps);
        self.crash_journal(id);
        for (conn, stream) in self.network.cut(id) {
            if stream.agent == id {
                self.tell_collector(conn, &stream, engine::Input::Disconnected { conn: engine::ConnId(conn) });
            } else {
                self.tell_agent_of_end(&stream, "connection reset");
            }
        }
        self.end_ties(id);
    }

    /// Adds a copy of an agent's machine, made together with its disk, and starts it; the original goes on.
    pub fn copy(&mut self, original: HostId, name: &str) -> HostId {
        let original = &self.hosts[original];
        let mut host = Host::new(self.hosts.len(), name, original.role, &original.join);
        host.labels.clone_from(&original.labels);
        host.kept = original.copied();
        self.place(host)
    }

    /// A host finds its id at another address. One that gives it up stops, and has one of its own when it is started again.
    pub(super) fn cloned(&mut self, id: HostId, other: SocketAddr, yields: bool) {
        let name = &self.hosts[id].name;
        self.trace.note(
            self.now,
            format_args!("{name} finds its id at {other} and {}", if yields { "yields" } else { "stays" }),
        );
        self.record.clones.push((id, other, yields));
        if yields {
            self.agent_input(id, agent_core::Input::Stop);
            self.end(id, CrashKeeps::ALL);
            self.hosts[id].kept.node = None;
        }
    }

    /// Asks a host's program to stop in good order.
    pub fn stop(&mut self, id: HostId) {
        self.trace.note(self.now, format_args!("stop {}", self.hosts[id].name));
        self.work.push_back(Work::Agent(id, agent_core::Input::Stop));
        self.work.push_back(Work::Gossip(id, GossipInput::Leave));
        self.work_through();
        self.plan_wake(id);
    }

    /// Freezes a host for a time, as a suspended machine: it neither hears nor does anything, and then goes on.
    pub fn suspend(&mut self, id: HostId, span: Span) {
        self.trace.note(self.now, format_args!("{} sleeps for {span}", self.hosts[id].name));
        self.hosts[id].asleep_until = Some(self.now + span);
    }

    /// Gives an event back unless its host sleeps: datagrams are lost then, everything else waits.
    pub(super) fn unless_asleep(&mut self, event: Event) -> Option<Event> {
        let asleep = event.host().and_then(|host| self.hosts[host].asleep_until).filter(|until| self.now < *until);
        let Some(until) = asleep else { return Some(event) };
        if !matches!(event, Event::Gossip { input: GossipInput::Datagram { .. }, .. }) {
            self.schedule(until, event);
        }
        None
    }

    /// An operator announces maintenance at a collector.
    pub fn announce_maintenance(&mut self, collector: HostId, node: HostId, span: Span) {
        let maintenance = Maintenance {
            node: self.hosts[node].name.clone(),
            since: self.now,
            until: self.now + span,
            reason: "disks".to_owned(),
        };
        self.work.push_back(Work::Engine(collector, engine::Input::SetMaintenance(Box::new(maintenance))));
        self.work_through();
        self.plan_wake(collector);
    }
}
