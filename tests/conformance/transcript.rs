//! What one script saw, in the order in which it looked.

/// One entry.
#[derive(Clone)]
pub(crate) struct Event {
    /// The script's name for the connection.
    pub(crate) connection: String,
    pub(crate) what: What,
}

/// What happened on a connection.
#[derive(Clone)]
pub(crate) enum What {
    /// The connection was accepted by the kernel, which says nothing about the server.
    Opened,
    /// The script sent a ConnectRequest, so the next frame is its response.
    Hello,
    /// The script sent a request; the hint is for the reader of a report.
    Sent {
        xid: i32,
        op: i32,
        hint: String,
    },
    /// A whole frame came, here with its length.
    Frame(Vec<u8>),
    /// Bytes without frames came, up to the end of the connection.
    Text(Vec<u8>),
    /// The server ended the connection. FIN and RST are one: which of them a close becomes
    /// depends on whether unread bytes were waiting in the kernel.
    Closed,
    /// Nothing came until the deadline.
    Silence,
    /// Something the script wants compared.
    Note(String),
    /// The entries up to `InOrder` may come in any order: the protocol leaves it open in which
    /// order one transaction deletes the ephemerals of a session.
    AnyOrder,
    InOrder,
    /// How many transactions came before this zxid is not compared: the server made some by itself,
    /// in its own time.
    Part(i64),
}
