//! The greeting: who may come in, and where an agent goes on.

use watchfire_shared::frame::message::{FEATURE_NO_GOSSIP, Hello, HelloAck, Lane, Message, PROTOCOL, Position};
use watchfire_shared::limits::MAX_SERIES_PER_AGENT;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Disk, Store};

use super::lane::LaneState;
use super::naming::NodeFacts;
use super::session::admit;
use super::{Agent, CREDIT_BYTES, ConnId, Ingest, Introduction, Output, Report, source};
use crate::fact::{Fact, Level};

impl Ingest {
    pub(super) fn hello<D: Disk>(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        hello: Hello,
        store: &Store<D>,
        out: &mut Vec<Output>,
    ) {
        let admitted = admit(&hello, &self.identity.naming.cluster, self.identity.node_id);
        if let Err(rejection) = admitted.map_err(|rejection| rejection.0).and_then(|()| self.claim_name(now, &hello)) {
            return self.hang_up(conn, &rejection, out);
        }
        self.replace(conn, &hello, out);
        out.push(Output::Reply(conn, Message::HelloAck(self.welcome(now, &hello, store))));
        let last = Lane::ALL.map(|lane| store.last(&source(hello.agent_id, lane)));
        self.enter(now, conn, hello, last, out);
    }

    /// A name belongs to one agent. One that lost its identity takes its name back once the old one has gone silent.
    fn claim_name(&mut self, now: Timestamp, hello: &Hello) -> Result<(), String> {
        let holder = self.names.get(&hello.name).filter(|holder| **holder != hello.agent_id).copied();
        let Some((id, agent)) = holder.and_then(|id| self.agents.get(&id).map(|agent| (id, agent))) else {
            return Ok(());
        };
        // One that has just come back has sent no frame yet, and is not silent.
        if now.since(agent.heard_at) <= agent.interval * 2 {
            return Err(format!("the name {} is in use by node {id}", hello.name));
        }
        Ok(())
    }

    /// Ends an older connection of the same agent, or a silent one of another agent with this name.
    fn replace(&mut self, conn: ConnId, hello: &Hello, out: &mut Vec<Output>) {
        let same_name = self.names.get(&hello.name).copied();
        for id in [Some(hello.agent_id), same_name].into_iter().flatten() {
            let Some(older) = self.agents.get(&id).map(|agent| agent.conn).filter(|older| *older != conn) else {
                continue;
            };
            out.push(Output::Fact(self.about(older, Level::Info, "a newer connection replaces this one")));
            self.close(older, "a newer connection replaces this one", 0, out);
        }
    }

    fn welcome<D: Disk>(&self, now: Timestamp, hello: &Hello, store: &Store<D>) -> HelloAck {
        HelloAck {
            proto: PROTOCOL,
            features: Vec::new(),
            collector_id: self.identity.node_id,
            name: self.identity.node_name.clone(),
            live: store.durable(&source(hello.agent_id, Lane::Live)),
            backfill: store.durable(&source(hello.agent_id, Lane::Backfill)),
            clock_ms: now.as_millis(),
            max_series: u32::try_from(MAX_SERIES_PER_AGENT).unwrap_or(u32::MAX),
            credit_bytes: CREDIT_BYTES,
        }
    }

    fn enter(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        hello: Hello,
        [live, backfill]: [Option<Position>; 2],
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.agent = Some(hello.agent_id);
        let interval = Span::from_millis(i64::try_from(hello.interval_ms).unwrap_or(i64::MAX));
        let facts = NodeFacts { id: hello.agent_id, name: &hello.name, labels: &hello.labels };
        let agent = Agent {
            conn,
            name: hello.name.clone(),
            interval,
            target: self.identity.naming.target(facts),
            heard_at: now,
            live: LaneState::new(hello.epoch, live),
            backfill: LaneState::new(hello.spool_epoch, backfill),
        };
        let fact = Fact::new(Level::Info, "an agent connected").with("node", &hello.name).with("peer", connection.peer);
        self.names.insert(hello.name.clone(), hello.agent_id);
        self.agents.insert(hello.agent_id, agent);
        out.push(Output::Fact(fact));
        out.push(Output::Report(Report::Connected(Introduction {
            id: hello.agent_id,
            name: hello.name,
            labels: hello.labels,
            version: hello.version,
            interval,
            clock_offset: Timestamp::from_millis(hello.clock_ms).since(now),
            gossip_off: hello.features.iter().any(|feature| feature == FEATURE_NO_GOSSIP),
        })));
    }
}
