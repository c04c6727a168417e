//! The create family.

use ironkeeper_proto::{
    CreateFlags, CreateRequest, ErrorCode, OpCode, Perms, StatPersisted, Writer, path,
};

use super::state::State;
use super::{Prep, RequestContext, check_acl, check_quota, expand, moved};
use crate::digest;
use crate::{CONTAINER_OWNER, NodeKind, TTL_MS_MAX, Tree, ttl_owner};

impl Prep {
    /// Checks a create of any kind and appends the body of its txn. The operation decides what the node is, the flags
    /// whether it is sequential or ephemeral. Order of checks: client-protocol 4.1.
    pub(super) fn create(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        op: OpCode,
        request: &CreateRequest<'_>,
        record: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let flags = self.check_flags(op, request)?;
        if flags.is_ephemeral() && context.local_session {
            return Err(ErrorCode::EphemeralOnLocalSession);
        }
        context.check_session()?;
        let sent = request.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
        if !path::is_roughly_valid(sent) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = expand(
            &self.options.acl,
            request.acl,
            context.identities,
            self.acl_bytes_max,
            &mut self.acl_buffer,
        )?;
        let acl_bytes = acl.as_bytes();

        let parent_path = path::parent(sent).ok_or(ErrorCode::BadArguments)?;
        let parent_key = self.outstanding.key(parent_path);
        let parent = self
            .outstanding
            .state(tree, parent_path, parent_key)
            .ok_or(ErrorCode::NoNode)?;
        check_acl(&self.options.acl, tree, context, parent, Perms::CREATE)?;
        let path = if flags.is_sequential() {
            self.path_buffer.clear();
            self.path_buffer.push_str(sent);
            path::push_sequence(&mut self.path_buffer, parent.stat().cversion);
            self.path_buffer.as_str()
        } else {
            sent
        };
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        let key = self.outstanding.key(path);
        if path == "/" || self.outstanding.child_exists(tree, path, key, parent) {
            return Err(ErrorCode::NodeExists);
        }
        if parent.kind() == NodeKind::Ephemeral {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let data_len = request.data.map_or(0, <[u8]>::len);
        check_quota(
            tree,
            self.options.enforce_quota,
            &mut self.quotas,
            (path, 1),
            || data_len as i64,
        )?;

        let parent_cversion = parent.stat().cversion.wrapping_add(1);
        let unchanged = parent.unchanged();
        let mut writer = Writer::new(record);
        writer.str(path);
        writer.buffer(request.data);
        writer.raw(acl_bytes);
        let (kind, owner) = match op {
            OpCode::CreateContainer => (NodeKind::Container, CONTAINER_OWNER),
            OpCode::CreateTtl => (NodeKind::Ttl, ttl_owner(request.ttl_ms)),
            _ => {
                writer.bool(flags.is_ephemeral());
                if flags.is_ephemeral() {
                    (NodeKind::Ephemeral, context.session.0)
                } else {
                    (NodeKind::Persistent, 0)
                }
            }
        };
        writer.i32(parent_cversion);
        if op == OpCode::CreateTtl {
            writer.i64(request.ttl_ms);
        }

        let stat = StatPersisted {
            czxid: context.zxid,
            mzxid: context.zxid,
            ctime: context.time_ms,
            mtime: context.time_ms,
            ephemeral_owner: owner,
            pzxid: context.zxid,
            ..StatPersisted::default()
        };
        let acl = self.outstanding.own_acl(acl);
        let mut state = State::new(stat, kind, acl, data_len as u32);
        if self.options.digest {
            state.digest_anew(path, request.data);
            if digest::counts(path) {
                self.digest = moved(self.digest, 0, state.digest);
            }
        }
        self.outstanding.put(path, key, context.zxid, Some(state));
        self.change(
            tree,
            (parent_path, parent_key),
            context.zxid,
            unchanged,
            |parent| {
                parent.child_count += 1;
                // The rule of apply: at 2^31 - 1 the count and the parent's pzxid stay.
                if parent_cversion > parent.stat.cversion {
                    parent.stat.cversion = parent_cversion;
                    parent.stat.pzxid = context.zxid;
                }
            },
        );
        Ok(())
    }

    /// Flags, and the ttl that goes with them.
    fn check_flags(
        &self,
        op: OpCode,
        request: &CreateRequest<'_>,
    ) -> Result<CreateFlags, ErrorCode> {
        let flags = CreateFlags::from_i32(request.flags).ok_or(ErrorCode::BadArguments)?;
        if flags.is_ttl() {
            if !self.options.extended_types {
                return Err(ErrorCode::Unimplemented);
            }
            if !(1..=TTL_MS_MAX).contains(&request.ttl_ms) {
                return Err(ErrorCode::BadArguments);
            }
        } else if op == OpCode::CreateTtl {
            // Apache lets a negative ttl pass here and its server dies applying it.
            return Err(ErrorCode::BadArguments);
        }
        Ok(flags)
    }
}
