//! Requests with the values a test mostly means: open ACLs, plain strings.

use std::borrow::Cow;
use std::sync::LazyLock;

use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, CreateFlags, CreateRequest, DecodeError, MultiRequestBuf, OpCode,
    PathVersion, PathWatch, Perms, Request, SetData,
};

/// world:anyone with all permissions: the ACL of every node made here.
static OPEN_ACL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut acl = AclListBuf::new();
    acl.push(AclRef::new(Perms(31), "world", "anyone"));
    acl.into_bytes()
});

/// create, with an open ACL.
#[must_use]
pub fn create<'a>(path: &'a str, data: &'a [u8], flags: CreateFlags) -> Request<'a> {
    Request::Create(CreateRequest {
        path: Some(Cow::Borrowed(path)),
        data: Some(data),
        acl: AclList::from_bytes(&OPEN_ACL).expect("encoded by the same crate"),
        flags: flags.to_i32(),
        ttl_ms: -1,
    })
}

/// delete of a node of `version` (-1: any).
#[must_use]
pub fn delete(path: &str, version: i32) -> Request<'_> {
    Request::Delete(PathVersion {
        path: Some(Cow::Borrowed(path)),
        version,
    })
}

/// check of a node's version (-1: any); inside a multi only.
#[must_use]
pub fn check(path: &str, version: i32) -> Request<'_> {
    Request::Check(PathVersion {
        path: Some(Cow::Borrowed(path)),
        version,
    })
}

/// setData of a node of `version` (-1: any).
#[must_use]
pub fn set<'a>(path: &'a str, data: &'a [u8], version: i32) -> Request<'a> {
    Request::SetData(SetData {
        path: Some(Cow::Borrowed(path)),
        data: Some(data),
        version,
    })
}

/// exists.
#[must_use]
pub fn exists(path: &str, watch: bool) -> Request<'_> {
    Request::Exists(PathWatch {
        path: Some(Cow::Borrowed(path)),
        watch,
    })
}

/// getData.
#[must_use]
pub fn get(path: &str, watch: bool) -> Request<'_> {
    Request::GetData(PathWatch {
        path: Some(Cow::Borrowed(path)),
        watch,
    })
}

/// getChildren2.
#[must_use]
pub fn children(path: &str, watch: bool) -> Request<'_> {
    Request::GetChildren2(PathWatch {
        path: Some(Cow::Borrowed(path)),
        watch,
    })
}

/// sync.
#[must_use]
pub fn sync(path: &str) -> Request<'_> {
    Request::Sync {
        path: Some(Cow::Borrowed(path)),
    }
}

/// Several operations as one request, which borrows from this.
#[derive(Debug)]
pub struct Multi(Vec<u8>);

impl Multi {
    /// A multi of `operations`: create, delete, setData, check.
    ///
    /// # Panics
    /// If one of them cannot be part of a multi.
    #[must_use]
    pub fn new(operations: &[Request<'_>]) -> Self {
        let mut multi = MultiRequestBuf::new();
        for operation in operations {
            multi.push(operation);
        }
        let multi = Self(multi.finish());
        assert!(
            multi.decode().is_ok(),
            "operations that may be part of a multi: {operations:?}"
        );
        multi
    }

    fn decode(&self) -> Result<Request<'_>, DecodeError> {
        Request::decode(OpCode::Multi, &self.0)
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        self.decode().expect("checked when it was made")
    }
}

#[cfg(test)]
mod tests {
    use ironkeeper_proto::{Xid, frame};

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_ascii_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    /// Frames of the protocol reference, which a real server was given.
    #[test]
    fn frames_match_the_protocol_reference() {
        let multi = Multi::new(&[delete("/a", -1), check("/b", 0)]);
        let cases = [
            (
                1,
                create("/a", b"hi", CreateFlags::Persistent),
                "00 00 00 33 00 00 00 01 00 00 00 01 00 00 00 02 2f 61 00 00 00 02 68 69 \
                 00 00 00 01 00 00 00 1f 00 00 00 05 77 6f 72 6c 64 \
                 00 00 00 06 61 6e 79 6f 6e 65 00 00 00 00",
            ),
            (
                2,
                get("/a", true),
                "00 00 00 0f 00 00 00 02 00 00 00 04 00 00 00 02 2f 61 01",
            ),
            (
                3,
                multi.request(),
                "00 00 00 37 00 00 00 03 00 00 00 0e \
                 00 00 00 02 00 ff ff ff ff 00 00 00 02 2f 61 ff ff ff ff \
                 00 00 00 0d 00 ff ff ff ff 00 00 00 02 2f 62 00 00 00 00 \
                 ff ff ff ff 01 ff ff ff ff",
            ),
        ];
        for (xid, request, expected) in cases {
            let mut out = Vec::new();
            frame::write_request(&mut out, Xid(xid), &request);
            assert_eq!(out, hex(expected), "{request:?}");
        }
    }
}
