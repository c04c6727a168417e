//! The results a valid request may have. They are answers, never Rust errors.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The `err` field of replies and of error txns.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $name = $code,)* }

        impl ErrorCode {
            /// Every code, for tests and tables.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code of a number on the wire.
            pub fn from_i32(code: i32) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)* _ => None }
            }

            /// The number on the wire.
            pub fn to_i32(self) -> i32 {
                match self { $(ErrorCode::$name => $code,)* }
            }
        }
    };
}

error_codes! {
    /// Success.
    Ok = 0,
    /// Never sent: a range marker.
    SystemError = -1,
    /// In a failed multi, for the operations after the failing one.
    RuntimeInconsistency = -2,
    /// Never sent.
    DataInconsistency = -3,
    /// Made by clients only.
    ConnectionLoss = -4,
    /// The body cannot be parsed, or names an unknown kind of watch.
    MarshallingError = -5,
    /// Unknown operation (then the connection closes), TTL nodes while disabled, reconfig on a standalone server.
    Unimplemented = -6,
    /// Made by clients only.
    OperationTimeout = -7,
    /// Bad path, flags, ttl or reconfig arguments.
    BadArguments = -8,
    /// Avoid: the Java client cannot represent it. `SessionExpired` is sent instead.
    UnknownSession = -12,
    /// reconfig: no synced quorum of the new configuration.
    NewConfigNoQuorum = -13,
    /// reconfig: another one is pending.
    ReconfigInProgress = -14,
    /// Never sent: a range marker.
    ApiError = -100,
    /// The node, or the parent of a new one, does not exist.
    NoNode = -101,
    /// The ACL does not permit it.
    NoAuth = -102,
    /// version, aversion or configuration id differ.
    BadVersion = -103,
    /// The parent is ephemeral.
    NoChildrenForEphemerals = -108,
    /// The node exists.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session is closing or unknown.
    SessionExpired = -112,
    /// Never sent.
    InvalidCallback = -113,
    /// The ACL is malformed or names an unknown scheme.
    InvalidAcl = -114,
    /// Authentication failed (then the connection closes).
    AuthFailed = -115,
    /// In error txns only: on the wire the connection is closed instead.
    SessionMoved = -118,
    /// A write on a read-only server.
    NotReadOnly = -119,
    /// An ephemeral node on a local session that may not be upgraded.
    EphemeralOnLocalSession = -120,
    /// No such watch on this connection.
    NoWatcher = -121,
    /// Made by the Java client only.
    RequestTimeout = -122,
    /// reconfig is disabled.
    ReconfigDisabled = -123,
    /// The connection lacks an enforced scheme (then it closes).
    SessionClosedRequireSaslAuth = -124,
    /// A hard quota.
    QuotaExceeded = -125,
    /// The request waited too long in the throttle.
    ThrottledOp = -127,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_match_both_ways() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_i32(code.to_i32()), Some(code));
            assert_eq!(code as i32, code.to_i32());
        }
        for code in [1, -9, -15, -116, -117, -126, -128, i32::MIN] {
            assert_eq!(ErrorCode::from_i32(code), None, "{code}");
        }
    }
}
