//! multi: several writes with one zxid, all or none.

use ironkeeper_proto::{CreateFlags, ErrorCode, MultiRequest, OpCode, Request, Writer};

use super::{Prep, Prepared, RequestContext, refuse};
use crate::Tree;

impl Prep {
    /// Checks the parts in order, each against what those before it leave. The first that fails ends it: their
    /// changes are taken back, and the record holds its error and -2 for the rest. (The parts before it stay in
    /// the record as they were accepted; one error makes apply do nothing.) Parts that together make more than a
    /// record are refused as a whole, in the header of the reply: there is no room to tell of each.
    ///
    /// `record` ends with room for a header that begins at `start`.
    pub(super) fn multi(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        multi: &MultiRequest<'_>,
        start: usize,
        record: &mut Vec<u8>,
    ) -> Prepared {
        let digest = self.digest;
        let mut failed = None;
        self.outstanding.begin();
        Writer::new(record).count(multi.len());
        for part in multi.iter() {
            let part_start = record.len();
            record.extend_from_slice(&[0; PART_HEADER_BYTES]);
            let outcome = match failed {
                Some(_) => Err(ErrorCode::RuntimeInconsistency),
                None => self.part(tree, context, part, record),
            };
            let kind = match outcome {
                Ok(kind) => kind,
                Err(code) => {
                    if failed.is_none() {
                        failed = Some(code);
                        self.outstanding.roll_back();
                        self.digest = digest;
                    }
                    record.truncate(part_start + PART_HEADER_BYTES);
                    Writer::new(record).i32(code.to_i32());
                    OpCode::Error
                }
            };
            let body = record.len() - part_start - PART_HEADER_BYTES;
            let body = i32::try_from(body).expect("a record is shorter than 2 GiB");
            record[part_start..part_start + 4].copy_from_slice(&kind.to_i32().to_be_bytes());
            record[part_start + 4..part_start + 8].copy_from_slice(&body.to_be_bytes());
            if record.len() - start > self.record_room() {
                self.outstanding.roll_back();
                self.digest = digest;
                return refuse(context, ErrorCode::MarshallingError, start, record);
            }
        }
        self.outstanding.commit();
        self.foreseen = None;
        let prepared = self.finish(context, OpCode::Multi, start, record);
        Prepared {
            multi_err: failed.unwrap_or(ErrorCode::Ok),
            ..prepared
        }
    }

    /// One part. Returns the type of its txn, which within multi depends on the flags as well.
    fn part(
        &mut self,
        tree: &Tree,
        context: &RequestContext<'_>,
        part: Request<'_>,
        record: &mut Vec<u8>,
    ) -> Result<OpCode, ErrorCode> {
        match part {
            Request::Create(create) => {
                let op = create_op(OpCode::Create, create.flags);
                self.create(tree, context, op, &create, record).map(|()| op)
            }
            Request::Create2(create) => {
                let op = create_op(OpCode::Create2, create.flags);
                self.create(tree, context, op, &create, record).map(|()| op)
            }
            Request::CreateContainer(create) => {
                let op = OpCode::CreateContainer;
                self.create(tree, context, op, &create, record).map(|()| op)
            }
            Request::CreateTtl(create) => {
                let op = create_op(OpCode::Create, create.flags);
                self.create(tree, context, op, &create, record).map(|()| op)
            }
            Request::Delete(delete) => self
                .delete(tree, context, &delete, record)
                .map(|()| OpCode::Delete),
            Request::SetData(set) => self
                .set_data(tree, context, &set, record)
                .map(|()| OpCode::SetData),
            Request::Check(check) => self
                .check(tree, context, &check, record)
                .map(|()| OpCode::Check),
            // Decoding has refused the rest.
            _ => Err(ErrorCode::MarshallingError),
        }
    }
}

/// type (4), length of the body (4).
const PART_HEADER_BYTES: usize = 8;

/// What a create within multi is: here the flags decide over the type that was sent. (Bad flags stay with it, and
/// are refused as such.)
fn create_op(sent: OpCode, flags: i32) -> OpCode {
    match CreateFlags::from_i32(flags) {
        Some(CreateFlags::Container) => OpCode::CreateContainer,
        Some(flags) if flags.is_ttl() => OpCode::CreateTtl,
        _ => sent,
    }
}
