//! Operation codes: of requests, and of the txns they become.

macro_rules! op_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal,)*) => {
        /// What a request asks for, or what a txn does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum OpCode { $($(#[$doc])* $name = $code,)* }

        impl OpCode {
            /// Every code, for tests and tables.
            pub const ALL: &'static [OpCode] = &[$(OpCode::$name,)*];

            /// The operation of a number on the wire.
            pub fn from_i32(code: i32) -> Option<OpCode> {
                match code { $($code => Some(OpCode::$name),)* _ => None }
            }

            /// The number on the wire.
            pub fn to_i32(self) -> i32 {
                match self { $(OpCode::$name => $code,)* }
            }

            /// The name in ZooKeeper's own documents and tools.
            pub fn name(self) -> &'static str {
                match self { $(OpCode::$name => $text,)* }
            }
        }
    };
}

op_codes! {
    /// Not a request: reserved for what a server sends by itself.
    Notification = 0 "notification",
    /// Create a node; the reply is its path.
    Create = 1 "create",
    /// Delete a node.
    Delete = 2 "delete",
    /// Stat of a node.
    Exists = 3 "exists",
    /// Data and Stat.
    GetData = 4 "getData",
    /// Replace the data.
    SetData = 5 "setData",
    /// ACL and Stat.
    GetAcl = 6 "getACL",
    /// Replace the ACL.
    SetAcl = 7 "setACL",
    /// Names of the children.
    GetChildren = 8 "getChildren",
    /// Wait until this server has what the leader had.
    Sync = 9 "sync",
    /// Keep the session alive.
    Ping = 11 "ping",
    /// Names of the children, and Stat.
    GetChildren2 = 12 "getChildren2",
    /// Inside multi only: assert a version.
    Check = 13 "check",
    /// Several writes as one.
    Multi = 14 "multi",
    /// Create; the reply is path and Stat.
    Create2 = 15 "create2",
    /// Change the membership of the ensemble.
    Reconfig = 16 "reconfig",
    /// Ask whether a watch is set.
    CheckWatches = 17 "checkWatches",
    /// Remove watches of a kind.
    RemoveWatches = 18 "removeWatches",
    /// Create a container node.
    CreateContainer = 19 "createContainer",
    /// Inside the server only: reap a container or a TTL node.
    DeleteContainer = 20 "deleteContainer",
    /// Create a node with a time to live.
    CreateTtl = 21 "createTTL",
    /// Several reads in one frame.
    MultiRead = 22 "multiRead",
    /// Add an identity to the connection.
    Auth = 100 "auth",
    /// Re-arm watches after a reconnect.
    SetWatches = 101 "setWatches",
    /// One token of a SASL exchange.
    Sasl = 102 "sasl",
    /// The session's own ephemeral nodes.
    GetEphemerals = 103 "getEphemerals",
    /// Number of all descendants.
    GetAllChildrenNumber = 104 "getAllChildrenNumber",
    /// Re-arm watches, persistent ones too.
    SetWatches2 = 105 "setWatches2",
    /// Set a persistent watch.
    AddWatch = 106 "addWatch",
    /// The connection's identities.
    WhoAmI = 107 "whoAmI",
    /// Inside the server only: a new session.
    CreateSession = -10 "createSession",
    /// End the session.
    CloseSession = -11 "closeSession",
    /// As a txn only: a request that was refused but took a zxid.
    Error = -1 "error",
}

impl OpCode {
    /// Whether a client may send it as a frame of its own. `deleteContainer` and `createSession` may not: Apache
    /// takes them from anybody, unchecked, and no client sends them; they count as unknown here. Nor may `check`.
    pub fn is_client_request(self) -> bool {
        !matches!(
            self,
            OpCode::Notification
                | OpCode::Check
                | OpCode::DeleteContainer
                | OpCode::CreateSession
                | OpCode::Error
        )
    }

    /// Whether a request of this kind goes through the log (a local session's close does not).
    pub fn is_write(self) -> bool {
        match self {
            OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Reconfig
            | OpCode::Multi
            | OpCode::Check
            | OpCode::CreateSession
            | OpCode::CloseSession
            | OpCode::Error => true,
            OpCode::Notification
            | OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::GetChildren2
            | OpCode::Sync
            | OpCode::Ping
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::MultiRead
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::AddWatch
            | OpCode::WhoAmI => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_operations_match_both_ways() {
        for &op in OpCode::ALL {
            assert_eq!(OpCode::from_i32(op.to_i32()), Some(op));
            assert_eq!(op as i32, op.to_i32());
        }
        for code in [10, 23, 99, 108, 888, -2, -12, i32::MIN, i32::MAX] {
            assert_eq!(OpCode::from_i32(code), None, "{code}");
        }
    }

    #[test]
    fn internal_operations_are_not_for_clients() {
        let refused: Vec<i32> = OpCode::ALL
            .iter()
            .filter(|op| !op.is_client_request())
            .map(|op| op.to_i32())
            .collect();
        assert_eq!(refused, [0, 13, 20, -10, -1]);
    }
}
