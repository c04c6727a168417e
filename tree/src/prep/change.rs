//! delete, setData, setACL, check, and the reaping of containers and TTL nodes.

use ironkeeper_proto::{
    ErrorCode, OpCode, PathVersion, Perms, SetAcl, SetData, Writer, Zxid, path, txn::HEADER_BYTES,
};

use super::{Digests, Foreseen, Prep, RequestContext, check_acl, check_quota, expand, moved};
use crate::digest;
use crate::{NodeKind, Tree};

impl Prep {
    /// Order of checks: client-protocol 4.2. The right to delete is the parent's to give.
    pub(super) fn delete(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        request: &PathVersion<'_>,
        record: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        context.check_session()?;
        let path = request.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
        let parent_path = deletable(path)?;
        let parent_key = self.outstanding.key(parent_path);
        let parent = self
            .outstanding
            .state(tree, parent_path, parent_key)
            .ok_or(ErrorCode::NoNode)?;
        check_acl(&self.options.acl, tree, context, parent, Perms::DELETE)?;
        let key = self.outstanding.key(path);
        let node = self
            .outstanding
            .child_state(tree, path, key, parent)
            .ok_or(ErrorCode::NoNode)?;
        check_version(node.version(), request.version)?;
        if node.child_count() > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        Writer::new(record).str(path);
        let (digest, parent) = (node.digest(), parent.unchanged());
        self.remove(path, key, context.zxid, digest);
        self.remove_child(tree, (parent_path, parent_key), context.zxid, parent);
        Ok(())
    }

    /// Validates the reaping of an empty container or TTL node, which the server itself asks for; `written` is the
    /// node's mzxid as it was found. False, and nothing written: something has come in between, and no zxid is taken.
    pub fn reap(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        path: &str,
        written: Zxid,
        record: &mut Vec<u8>,
    ) -> bool {
        self.catch_up(tree);
        let start = record.len();
        record.resize(start + HEADER_BYTES, 0);
        if self
            .reap_body(tree, context, path, written, record)
            .is_err()
        {
            record.truncate(start);
            return false;
        }
        self.finish(context, OpCode::DeleteContainer, start, record);
        true
    }

    fn reap_body(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        path: &str,
        written: Zxid,
        record: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let parent_path = deletable(path)?;
        let key = self.outstanding.key(path);
        let node = self
            .outstanding
            .state(tree, path, key)
            .ok_or(ErrorCode::NoNode)?;
        if node.child_count() > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        // Another node may have taken the place of the one that was found, or a write put its end off.
        let is_reaped = matches!(node.kind(), NodeKind::Container | NodeKind::Ttl);
        if !is_reaped || node.stat().mzxid != written {
            return Err(ErrorCode::BadVersion);
        }
        let parent_key = self.outstanding.key(parent_path);
        let parent = self
            .outstanding
            .state(tree, parent_path, parent_key)
            .ok_or(ErrorCode::NoNode)?;
        Writer::new(record).str(path);
        let (digest, parent) = (node.digest(), parent.unchanged());
        self.remove(path, key, context.zxid, digest);
        self.remove_child(tree, (parent_path, parent_key), context.zxid, parent);
        Ok(())
    }

    /// Order of checks: client-protocol 4.6.
    pub(super) fn set_data(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        request: &SetData<'_>,
        record: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        context.check_session()?;
        let (path, key, node) = self.outstanding.named(tree, request.path.as_deref())?;
        check_acl(&self.options.acl, tree, context, node, Perms::WRITE)?;
        let data_len = request.data.map_or(0, <[u8]>::len) as u32;
        check_quota(
            tree,
            self.options.enforce_quota,
            &mut self.quotas,
            (path, 0),
            || i64::from(data_len) - i64::from(node.data_len(tree)),
        )?;
        let version = check_version(node.version(), request.version)?;
        let mut writer = Writer::new(record);
        writer.str(path);
        writer.buffer(request.data);
        writer.i32(version);
        let unchanged = node.unchanged();
        let node = self
            .outstanding
            .change(tree, path, key, context.zxid, unchanged);
        node.data_len = data_len;
        node.stat.version = version;
        node.stat.mzxid = context.zxid;
        node.stat.mtime = context.time_ms;
        let mut digests = None;
        if self.options.digest {
            let before = node.digest_anew(path, request.data);
            let after = node.digest;
            if digest::counts(path) {
                self.digest = moved(self.digest, before, after);
            }
            digests = Some(Digests { before, after });
        }
        self.foreseen = node.id.map(|node| Foreseen { node, digests });
        Ok(())
    }

    /// Order of checks: client-protocol 4.8.
    pub(super) fn set_acl(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        request: &SetAcl<'_>,
        record: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        context.check_session()?;
        let path = valid(request.path.as_deref())?;
        let acl = expand(
            &self.options.acl,
            request.acl,
            context.identities,
            self.acl_bytes_max,
            &mut self.acl_buffer,
        )?;
        let own = self.outstanding.own_acl(acl);
        let acl_bytes = acl.as_bytes();
        let key = self.outstanding.key(path);
        let node = self
            .outstanding
            .state(tree, path, key)
            .ok_or(ErrorCode::NoNode)?;
        check_acl(&self.options.acl, tree, context, node, Perms::ADMIN)?;
        let version = check_version(node.stat().aversion, request.version)?;
        let mut writer = Writer::new(record);
        writer.str(path);
        writer.raw(acl_bytes);
        writer.i32(version);
        let unchanged = node.unchanged();
        self.change(tree, (path, key), context.zxid, unchanged, |node| {
            node.stat.aversion = version;
            node.acl = own;
        });
        Ok(())
    }

    /// Order of checks: client-protocol 4.12. The txn carries the version after the one asserted, as Apache's does.
    pub(super) fn check(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        request: &PathVersion<'_>,
        record: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        context.check_session()?;
        let (path, _, node) = self.outstanding.named(tree, request.path.as_deref())?;
        check_acl(&self.options.acl, tree, context, node, Perms::READ)?;
        let version = check_version(node.version(), request.version)?;
        let mut writer = Writer::new(record);
        writer.str(path);
        writer.i32(version);
        Ok(())
    }
}

/// Rule V; a null path breaks it too.
fn valid(path: Option<&str>) -> Result<&str, ErrorCode> {
    path.filter(|path| path::is_valid(path))
        .ok_or(ErrorCode::BadArguments)
}

/// The parent of a path that may be deleted: the reduced rule, and not one of the built-in nodes.
fn deletable(path: &str) -> Result<&str, ErrorCode> {
    if !path::is_roughly_valid(path) || path::BUILT_IN.contains(&path) {
        return Err(ErrorCode::BadArguments);
    }
    path::parent(path).ok_or(ErrorCode::BadArguments)
}

/// The next version, if the current one is what was expected. It wraps, and -1 expects nothing, as in 3.9.
fn check_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}
