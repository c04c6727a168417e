//! An orderly end: half-close, then read until the client has closed too.
//!
//! Closing a socket with unread input makes the kernel send a reset, which can destroy the last
//! reply on its way; the refused handshake of an expired session must not get lost.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a client may take to close its side.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// How much a client may still send.
const DRAIN_BYTES_MAX: u64 = 4 << 20;

pub(super) async fn drain(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let rest = async {
        let mut rest = stream.take(DRAIN_BYTES_MAX);
        let mut scratch = [0; 4096];
        while rest.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
    };
    // A client that keeps its side open longer than this is cut off.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, rest).await;
}
