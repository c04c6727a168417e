//! The accept loop: connection caps, and surviving the lack of descriptors.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::connection;
use crate::state::Server;

/// Backlog when the configuration names none: what Java uses on Linux.
const BACKLOG_DEFAULT: i32 = 50;

/// Pause after an accept that failed for want of descriptors or memory: accepting again at once
/// would fail again and burn the core that closes connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds the client port; dual-stack where the address is the IPv6 wildcard.
pub(crate) fn bind(address: SocketAddr, backlog: Option<i32>) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog.filter(|n| *n > 0).unwrap_or(BACKLOG_DEFAULT))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until the server stops. `runtimes` are where connections live, taken in turn; with none
/// they live on the calling runtime.
pub(crate) async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    runtimes: Vec<tokio::runtime::Handle>,
) {
    let mut starved = false;
    let mut turn = 0_usize;
    loop {
        let (stream, peer) = tokio::select! {
            () = server.stopping() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    starved = false;
                    accepted
                }
                Err(error) if is_about_one_connection(&error) => continue,
                Err(error) => {
                    if !std::mem::replace(&mut starved, true) {
                        warn!(
                            "cannot accept connections now: {error}; raise the limit of open files \
                             (ulimit -n) if this lasts"
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let slot = turn % runtimes.len().max(1);
        let Some(shared) = server.admit(peer, slot) else {
            server
                .stats
                .connections_rejected
                .fetch_add(1, Ordering::Relaxed);
            warn!("too many connections from {}, refusing one more", peer.ip());
            // As Apache does: the client sees a reset, before any frame.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            continue;
        };
        turn = turn.wrapping_add(1);
        // The stream moves to the reactor of the runtime that will serve it.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                debug!(%peer, "connection lost at once: {error}");
                server.dismiss(&shared);
                continue;
            }
        };
        let task = serve(Arc::clone(&server), stream, shared);
        match runtimes.get(slot) {
            Some(runtime) => drop(runtime.spawn(task)),
            None => drop(tokio::spawn(task)),
        }
    }
}

async fn serve(server: Arc<Server>, stream: std::net::TcpStream, shared: Arc<connection::Shared>) {
    match prepare(&server, stream) {
        Ok(stream) => connection::serve(&server, stream, &shared).await,
        Err(error) => debug!(peer = %shared.peer, "connection lost at once: {error}"),
    }
    server.dismiss(&shared);
}

fn prepare(server: &Server, stream: std::net::TcpStream) -> io::Result<TcpStream> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    if server.options.client_tcp_keep_alive {
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new())?;
    }
    Ok(stream)
}

/// Errors of `accept` that belong to the connection that was being accepted, not to the listener.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
