//! Ids of new sessions.

use ironkeeper_proto::SessionId;
use ironkeeper_tree::Tree;

use crate::seams::Now;

/// Gives out session ids of one server, none of them twice.
#[derive(Debug)]
pub(crate) struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// Server id, then 40 bits of the wall clock, then a counter from 0 (client-protocol 2.5); above
    /// every id that the tree remembers, in case the clock went back.
    pub(crate) fn new(server_id: u8, tree: &Tree, now: Now) -> Self {
        let clock = u64::from_be_bytes(now.wall_ms.to_be_bytes()) << 24 >> 8;
        let first = i64::from_be_bytes((u64::from(server_id) << 56 | clock).to_be_bytes());
        let known = tree
            .session_high_water(server_id)
            .map_or(i64::MIN, |known| known.0);
        Self {
            next: allowed(first.max(known.wrapping_add(1))),
        }
    }

    pub(crate) fn next(&mut self) -> SessionId {
        let id = self.next;
        self.next = allowed(id.wrapping_add(1));
        SessionId(id)
    }
}

/// Two ids are no session's: none, and the mark of container nodes.
fn allowed(id: i64) -> i64 {
    if id == 0 || id == i64::MIN {
        id + 1
    } else {
        id
    }
}
