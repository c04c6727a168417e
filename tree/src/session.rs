//! The replicated session table: who may own ephemeral nodes, and which nodes they own.
//!
//! A session is an id and a timeout; when it expires is for the leader to decide, and arrives here as a txn.
//! Ephemeral nodes of one owner form a list through their side records; so do containers, and TTL nodes.
//! An owner without a session can exist in data read from Apache (its snapshots are a mix of states): such an
//! entry lasts as long as its nodes, and [`Owners::sessions`] does not name it.
//!
//! The highest session id ever seen for each server id is kept for good, so that none is given out twice.

use crate::node::NodeId;
use crate::node::arena::{Arena, OwnedList};
use crate::node::cow::CowVec;
use ironkeeper_proto::SessionId;
use std::collections::BTreeMap;

/// A session as the replicated table holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What was agreed on when it was created.
    pub timeout_ms: i32,
    /// Ephemeral nodes it has.
    pub ephemeral_count: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Owner {
    id: i64,
    /// `None`: no session, only nodes that name it.
    timeout_ms: Option<i32>,
    used: bool,
    /// It has or had nodes.
    owned: bool,
    nodes: OwnedList,
}

/// What an image shares with the tree.
#[derive(Clone, Debug)]
pub(crate) struct Owners {
    slots: CowVec<Owner>,
    pub(crate) containers: OwnedList,
    pub(crate) ttls: OwnedList,
    session_count: usize,
    pub(crate) ephemeral_count: usize,
    high_water: BTreeMap<u8, i64>,
}

/// From id to slot: the live tree's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerIndex {
    slots: BTreeMap<i64, u32>,
    free: Vec<u32>,
}

/// The server id in a session id, and what orders the ids of one server.
fn split_id(id: i64) -> (u8, i64) {
    let [server, ..] = id.to_be_bytes();
    (server, id & ((1 << 56) - 1))
}

impl Owners {
    pub(crate) fn new() -> Owners {
        Owners {
            slots: CowVec::new(),
            containers: OwnedList::default(),
            ttls: OwnedList::default(),
            session_count: 0,
            ephemeral_count: 0,
            high_water: BTreeMap::new(),
        }
    }

    pub(crate) fn session_count(&self) -> usize {
        self.session_count
    }

    fn used(&self) -> impl Iterator<Item = &Owner> {
        (0..self.slots.len())
            .map(|slot| self.slots.at(slot))
            .filter(|owner| owner.used)
    }

    /// All sessions, in no particular order.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = Session> {
        self.sessions_from(0).map(|(_, session)| session)
    }

    /// Owners that have nodes, or once had since the tree was made or loaded, and their nodes.
    pub(crate) fn with_nodes(&self) -> impl Iterator<Item = (SessionId, OwnedList)> {
        self.used()
            .filter(|owner| owner.owned)
            .map(|owner| (SessionId(owner.id), owner.nodes))
    }

    /// Slots from one on, and the sessions in them.
    pub(crate) fn sessions_from(&self, slot: usize) -> impl Iterator<Item = (usize, Session)> {
        (slot..self.slots.len()).filter_map(|slot| {
            let owner = self.slots.at(slot);
            Some((slot, owner.used.then(|| owner.session())??))
        })
    }

    /// Remembers that an id has been given out.
    pub(crate) fn note_id(&mut self, id: SessionId) {
        let (server, rest) = split_id(id.0);
        let highest = self.high_water.entry(server).or_insert(rest);
        *highest = rest.max(*highest);
    }

    /// The highest id ever seen of a server.
    pub(crate) fn high_water(&self, server: u8) -> Option<SessionId> {
        let rest = self.high_water.get(&server)?;
        Some(SessionId((i64::from(server) << 56) | rest))
    }

    /// The highest ids seen, one for each server that has any.
    pub(crate) fn high_waters(&self) -> impl Iterator<Item = SessionId> {
        self.high_water
            .iter()
            .map(|(&server, rest)| SessionId((i64::from(server) << 56) | rest))
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.slots.heap_bytes()
    }
}

impl Owner {
    fn session(&self) -> Option<Session> {
        Some(Session {
            id: SessionId(self.id),
            timeout_ms: self.timeout_ms?,
            ephemeral_count: self.nodes.len as usize,
        })
    }
}

impl OwnerIndex {
    fn owner<'o>(&self, owners: &'o Owners, id: SessionId) -> Option<&'o Owner> {
        Some(owners.slots.at(*self.slots.get(&id.0)? as usize))
    }

    pub(crate) fn session(&self, owners: &Owners, id: SessionId) -> Option<Session> {
        self.owner(owners, id)?.session()
    }

    /// The nodes an owner has, session or not.
    pub(crate) fn nodes(&self, owners: &Owners, id: SessionId) -> OwnedList {
        self.owner(owners, id)
            .map_or_else(OwnedList::default, |owner| owner.nodes)
    }

    /// Owners of ephemeral nodes that no session stands behind.
    pub(crate) fn ghosts(&self, owners: &Owners) -> Vec<SessionId> {
        let ids = owners.used().filter(|owner| owner.timeout_ms.is_none());
        ids.map(|owner| SessionId(owner.id)).collect()
    }

    fn slot(&mut self, owners: &mut Owners, id: i64) -> usize {
        if let Some(&slot) = self.slots.get(&id) {
            return slot as usize;
        }
        let owner = Owner {
            id,
            used: true,
            ..Owner::default()
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                *owners.slots.at_mut(slot as usize) = owner;
                slot as usize
            }
            None => owners.slots.push(owner),
        };
        self.slots.insert(id, slot as u32);
        slot
    }

    fn release_if_idle(&mut self, owners: &mut Owners, slot: usize) {
        let owner = owners.slots.at(slot);
        if owner.timeout_ms.is_none() && owner.nodes.len == 0 {
            self.slots.remove(&owner.id);
            owners.slots.at_mut(slot).used = false;
            self.free.push(slot as u32);
        }
    }

    /// Adds a session, or replaces its timeout.
    pub(crate) fn add_session(&mut self, owners: &mut Owners, id: SessionId, timeout_ms: i32) {
        let slot = self.slot(owners, id.0);
        let before = owners.slots.at_mut(slot).timeout_ms.replace(timeout_ms);
        owners.session_count += usize::from(before.is_none());
        owners.note_id(id);
    }

    /// Removes a session; nodes it still has keep their owner. False if there is no such session.
    pub(crate) fn remove_session(&mut self, owners: &mut Owners, id: SessionId) -> bool {
        let Some(&slot) = self.slots.get(&id.0) else {
            return false;
        };
        let slot = slot as usize;
        let was_there = owners.slots.at_mut(slot).timeout_ms.take().is_some();
        owners.session_count -= usize::from(was_there);
        self.release_if_idle(owners, slot);
        was_there
    }

    /// Adds an ephemeral node to its owner's list. False if the owner has no session.
    pub(crate) fn own(
        &mut self,
        owners: &mut Owners,
        arena: &mut Arena,
        owner: i64,
        id: NodeId,
    ) -> bool {
        let slot = self.slot(owners, owner);
        let owner = owners.slots.at_mut(slot);
        owner.owned = true;
        arena.own(&mut owner.nodes, id);
        owners.ephemeral_count += 1;
        owners.slots.at(slot).timeout_ms.is_some()
    }

    /// Takes an ephemeral node from its owner's list.
    pub(crate) fn disown(
        &mut self,
        owners: &mut Owners,
        arena: &mut Arena,
        owner: i64,
        id: NodeId,
    ) {
        let Some(&slot) = self.slots.get(&owner) else {
            return;
        };
        let slot = slot as usize;
        arena.disown(&mut owners.slots.at_mut(slot).nodes, id);
        owners.ephemeral_count -= 1;
        self.release_if_idle(owners, slot);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        // A B-tree of small keys holds about 16 bytes an entry at its usual fill.
        self.slots.len() * 20 + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_and_go_and_their_ids_are_remembered() {
        let (mut owners, mut index) = (Owners::new(), OwnerIndex::default());
        let low = SessionId(0x0100_0000_0000_0005);
        let high = SessionId(0x0100_0000_0000_0009);
        let last = SessionId(-1);
        for id in [high, low, last] {
            index.add_session(&mut owners, id, 30_000);
        }
        index.add_session(&mut owners, low, 4_000);
        assert_eq!(owners.session_count(), 3);
        assert_eq!(index.session(&owners, low).unwrap().timeout_ms, 4_000);
        assert!(index.remove_session(&mut owners, high));
        assert!(!index.remove_session(&mut owners, high));
        assert_eq!(index.session(&owners, high), None);
        assert_eq!(owners.high_water(1), Some(high));
        assert_eq!(owners.high_water(255), Some(last));
        assert_eq!(owners.high_water(2), None);
        let mut ids: Vec<i64> = owners.sessions().map(|session| session.id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, [-1, low.0]);
    }
}
