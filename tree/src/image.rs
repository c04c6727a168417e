//! An exact copy of the whole state at one zxid, taken in microseconds.

use crate::codec::Totals;
use crate::node::NodeId;
use crate::session::Session;
use crate::tree::{Core, Counters, Tree};
use crate::view::{NodeRef, OwnedNodes};
use ironkeeper_proto::{SessionId, Zxid};

/// The state as it was when [`Tree::image`] was called, whatever the tree has become since. It shares memory with the
/// tree: what it costs grows with what changes while it lives. Any number may live at once, on any thread, without
/// a lock. Dropping one frees what only it still held.
#[derive(Clone, Debug)]
pub struct Image {
    pub(crate) core: Core,
}

impl Tree {
    /// Takes an image. The cost is one reference count for each 8192 nodes, and as much again for sessions and ACLs.
    pub fn image(&self) -> Image {
        Image {
            core: self.core.clone(),
        }
    }
}

impl Image {
    /// The zxid of the last change that the image holds.
    pub fn last_applied(&self) -> Zxid {
        self.core.last_applied
    }

    /// The tree's digest at that zxid.
    pub fn digest(&self) -> i64 {
        self.core.digest.cast_signed()
    }

    /// Figures as the tree's.
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }

    /// What a snapshot of it adds up to.
    pub fn totals(&self) -> Totals {
        let counters = self.core.counters();
        Totals {
            nodes: counters.nodes as u64,
            sessions: counters.sessions as u64,
            acls: counters.acls as u64,
            data_bytes: counters.data_bytes,
            ephemerals: counters.ephemerals as u64,
            digest: self.core.digest,
        }
    }

    /// The root. `image.root().subtree()` walks all nodes, parents before children.
    pub fn root(&self) -> NodeRef<'_> {
        NodeRef::new(&self.core, NodeId::ROOT)
    }

    /// The node behind an id that this image named.
    pub fn node(&self, id: NodeId) -> NodeRef<'_> {
        NodeRef::new(&self.core, id)
    }

    /// All sessions, in no particular order.
    pub fn sessions(&self) -> impl Iterator<Item = Session> {
        self.core.owners.sessions()
    }

    /// Every session that owns nodes, with its nodes, in no particular order. One whose nodes are gone is still named,
    /// until it ends or the server does: `dump` lists it, as Apache's does.
    pub fn owners(&self) -> impl Iterator<Item = (SessionId, OwnedNodes<'_>)> {
        self.core
            .owners
            .with_nodes()
            .map(|(id, list)| (id, OwnedNodes::new(&self.core, list)))
    }

    /// The highest session id ever created whose first byte is `server`.
    pub fn session_high_water(&self, server: u8) -> Option<SessionId> {
        self.core.owners.high_water(server)
    }
}
