//! What a client may meet beside an answer.

use std::io;

use ironkeeper_proto::{DecodeError, ErrorCode, Xid};

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket failed, or the patience of the client ran out.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server refused the session: unknown, expired, closed, or the wrong password.
    #[error("the server refused the session")]
    SessionRefused,
    /// The request was answered with an error.
    #[error("the answer is {0:?}")]
    Answer(ErrorCode),
    /// A multi failed; the codes of its operations in order.
    #[error("the multi failed with {0:?}")]
    Multi(Vec<ErrorCode>),
    /// The answer does not parse.
    #[error("the answer does not parse")]
    Decode(#[from] DecodeError),
    /// The answer breaks a rule of the protocol that no record's layout shows.
    #[error("the answer breaks the protocol: {0}")]
    Protocol(String),
    /// A reply came out of order.
    #[error("reply with xid {found} where {expected:?} was due")]
    Order {
        /// The oldest request without an answer.
        expected: Option<Xid>,
        /// The xid of the reply.
        found: Xid,
    },
    /// A call that waits for its own reply was made while others were outstanding.
    #[error("{0} requests are outstanding")]
    Outstanding(usize),
}

impl ClientError {
    /// The code, if this is an answer of the server.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Answer(code) => Some(*code),
            _ => None,
        }
    }

    /// Whether the connection is gone, so that the outcome of what was outstanding is unknown.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed)
    }
}
