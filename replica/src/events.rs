//! From a change of the tree to the watch events it fires.

use ironkeeper_proto::{AclList, EventType, Perms, Zxid};
use ironkeeper_tree::Effects;
use ironkeeper_tree::acl::{self, AclRules};
use ironkeeper_tree::watch::{WatchSink, WatchTable, WatcherId};

use crate::replies;
use crate::seams::Outlet;

/// Turns changes of the tree into watch events on their way out.
pub(crate) struct Events<'a, O> {
    pub(crate) zxid: Zxid,
    pub(crate) rules: &'a AclRules,
    pub(crate) watches: &'a mut WatchTable,
    pub(crate) out: &'a mut O,
}

impl<O: Outlet> Effects for Events<'_, O> {
    fn created(&mut self, path: &str, acl: AclList<'_>, _parent: &str, parent_acl: AclList<'_>) {
        let mut sink = EventSink {
            zxid: self.zxid,
            rules: self.rules,
            out: self.out,
        };
        self.watches
            .created(path, closed(acl), closed(parent_acl), &mut sink);
    }

    fn deleted(&mut self, path: &str, acl: AclList<'_>, _parent: &str, parent_acl: AclList<'_>) {
        let mut sink = EventSink {
            zxid: self.zxid,
            rules: self.rules,
            out: self.out,
        };
        self.watches
            .deleted(path, closed(acl), closed(parent_acl), &mut sink);
    }

    fn data_changed(&mut self, path: &str, acl: AclList<'_>) {
        let mut sink = EventSink {
            zxid: self.zxid,
            rules: self.rules,
            out: self.out,
        };
        self.watches.data_changed(path, closed(acl), &mut sink);
    }
}

/// An ACL that has to be checked before an event goes out; most let everyone read.
fn closed(acl: AclList<'_>) -> Option<AclList<'_>> {
    (!acl::is_open(acl)).then_some(acl)
}

struct EventSink<'a, O> {
    zxid: Zxid,
    rules: &'a AclRules,
    out: &'a mut O,
}

impl<O: Outlet> WatchSink<AclList<'_>> for EventSink<'_, O> {
    fn may_read(&mut self, watcher: WatcherId, list: AclList<'_>) -> bool {
        let rules = self.rules;
        self.out.may_see(watcher, |identities| {
            acl::allows(rules, list, Perms::READ, identities)
        })
    }

    fn event(&mut self, watcher: WatcherId, kind: EventType, path: &str) {
        let zxid = self.zxid;
        self.out.event(watcher, |bytes| {
            replies::encode_event(bytes, zxid, kind, path)
        });
    }
}
