//! Sessions as txns.

use ironkeeper_proto::txn::HEADER_BYTES;
use ironkeeper_proto::{OpCode, Writer, path};

use super::{Prep, Prepared, RequestContext};
use crate::Tree;

impl Prep {
    /// Appends the record of a new global session, the context's.
    pub fn create_session(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        timeout_ms: i32,
        record: &mut Vec<u8>,
    ) -> Prepared {
        self.catch_up(tree);
        let start = record.len();
        record.resize(start + HEADER_BYTES, 0);
        Writer::new(record).i32(timeout_ms);
        self.finish(context, OpCode::CreateSession, start, record)
    }

    /// Appends the record that ends the context's session, whether its client asked for it or it expired: it cannot
    /// fail. It names the session's ephemeral nodes as they will be when it is applied: with those whose creation is
    /// in flight, without those whose delete is. More than a record has room for it does not name. From now on the caller refuses the session's requests.
    pub fn close_session(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        record: &mut Vec<u8>,
    ) -> Prepared {
        self.catch_up(tree);
        let mut paths: Vec<String> = tree
            .ephemerals(context.session)
            .map(|node| node.path())
            .filter(|path| self.outstanding.keeps_ephemeral(path, context.session.0))
            .collect();
        self.outstanding
            .push_ephemerals_of(tree, context.session.0, &mut paths);
        let start = record.len();
        record.resize(start + HEADER_BYTES, 0);
        let named_bytes: usize = paths.iter().map(|path| 4 + path.len()).sum();
        if self.options.close_session_paths && named_bytes <= self.record_room() {
            let mut writer = Writer::new(record);
            writer.count(paths.len());
            paths.iter().for_each(|path| writer.str(path));
        }
        for path in &paths {
            let key = self.outstanding.key(path);
            let parent_path = path::parent(path).unwrap_or("/");
            let parent_key = self.outstanding.key(parent_path);
            if let (Some(node), Some(parent)) = (
                self.outstanding.state(tree, path, key),
                self.outstanding.state(tree, parent_path, parent_key),
            ) {
                let (digest, parent) = (node.digest(), parent.unchanged());
                self.remove(path, key, context.zxid, digest);
                self.remove_child(tree, (parent_path, parent_key), context.zxid, parent);
            }
        }
        self.finish(context, OpCode::CloseSession, start, record)
    }
}
