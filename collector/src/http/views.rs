//! The registered nodes, for the views of `/v1/members` that go by reports.

use std::pin::Pin;

use serde_json::json;
use watchfire_shared::member::MemberState;
use watchfire_shell::http::{Registered, Registry};
use watchfire_shell::membership::Index;

use crate::engine::Published;

pub(super) struct OwnNodes(pub(super) Published);

impl Registry for OwnNodes {
    fn index(&self) -> Index {
        self.0.index()
    }

    fn later_than<'a>(&'a self, index: Index) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.0.later_than(index))
    }

    fn nodes(&self) -> Vec<Registered> {
        let view = self.0.view();
        let registered = view.nodes.iter().map(|node| Registered {
            id: node.id,
            name: node.name.clone(),
            role: node.role,
            labels: json!(node.labels),
            version: node.version.clone(),
            state: node.target.as_ref().and_then(|target| target.up).map(|up| match up {
                true => MemberState::Alive,
                false => MemberState::Down,
            }),
            last_report_at: node.last_report_at,
        });
        registered.collect()
    }
}
