//! From changes of the tree to watch events.

use ironkeeper_proto::AclList;

use super::{WatchSink, WatchTable};
use crate::{Effects, acl};

/// Lets [`crate::Tree::apply`] fire watches as it goes.
pub struct WatchEffects<'t, S> {
    table: &'t mut WatchTable,
    sink: &'t mut S,
    /// Events told so far: a caller that bounds its batches counts them.
    pub told: usize,
}

impl<'t, S> WatchEffects<'t, S> {
    /// Fires from `table` into `sink`.
    pub fn new(table: &'t mut WatchTable, sink: &'t mut S) -> Self {
        WatchEffects {
            table,
            sink,
            told: 0,
        }
    }
}

/// The open list needs no question to anybody.
fn guard(list: AclList<'_>) -> Option<AclList<'_>> {
    (!acl::is_open(list)).then_some(list)
}

impl<S: for<'a> WatchSink<AclList<'a>>> Effects for WatchEffects<'_, S> {
    fn created(&mut self, path: &str, acl: AclList<'_>, _: &str, parent_acl: AclList<'_>) {
        self.told += self
            .table
            .created(path, guard(acl), guard(parent_acl), self.sink);
    }

    fn deleted(&mut self, path: &str, acl: AclList<'_>, _: &str, parent_acl: AclList<'_>) {
        self.told += self
            .table
            .deleted(path, guard(acl), guard(parent_acl), self.sink);
    }

    fn data_changed(&mut self, path: &str, acl: AclList<'_>) {
        self.told += self.table.data_changed(path, guard(acl), self.sink);
    }
}
