//! Nodes that end by themselves, and quotas: across restarts, and what the operator is told.

use ironkeeper_client::process::{Running, Server};
use ironkeeper_client::{Client, mntr, poll};
use ironkeeper_proto::{AclList, CreateRequest, ErrorCode, Request};

use crate::{WITHIN, connect, line_with, log, metric, server};

fn record(path: &str, flags: i32, ttl_ms: i64) -> CreateRequest<'_> {
    CreateRequest {
        path: Some(path.into()),
        data: Some(b""),
        acl: AclList::OPEN,
        flags,
        ttl_ms,
    }
}

fn ttl_node(client: &mut Client, path: &str, ttl_ms: i64) -> ErrorCode {
    let request = Request::CreateTtl(record(path, 5, ttl_ms));
    client.submit(&request);
    client.flush().unwrap();
    client.reply().unwrap().code
}

/// A container that had a child and has none.
fn used_container(client: &mut Client, path: &str) {
    let request = Request::CreateContainer(record(path, 4, -1));
    assert_eq!(client.call(&request).unwrap().code, ErrorCode::Ok);
    let child = format!("{path}/x");
    client.create(&child, b"").unwrap();
    client.delete(&child, -1).unwrap();
}

fn until_gone(client: &mut Client, path: &str) {
    poll::until(&format!("the end of {path}"), WITHIN, || {
        client.exists(path, false).unwrap().is_none().then_some(())
    })
    .unwrap();
}

fn digest(running: &Running) -> (String, String) {
    let values = mntr(running.address(), WITHIN).unwrap();
    let value = |name: &str| values[name].clone();
    (value("zk_tree_digest"), value("zk_last_applied_zxid"))
}

/// Stops and starts the server with other settings; the tree must be the same.
fn again(running: Running, server: &Server) -> Running {
    let before = digest(&running);
    running.terminate(WITHIN).unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_eq!(digest(&running), before);
    running
}

fn quick(dir: &std::path::Path, ttls: bool) -> Server {
    server(dir)
        .with_config("snapCount", 4)
        .with_config("extendedTypesEnabled", ttls)
        .with_config("znode.container.checkIntervalMs", 20)
}

/// Apache's server would delete them at start.
#[test]
fn ttl_nodes_stay_where_they_are_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let slow = quick(dir.path(), true).with_config("znode.container.checkIntervalMs", 3_600_000);
    let running = slow.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    assert_eq!(ttl_node(&mut client, "/t", 1), ErrorCode::Ok);
    for n in 0..10 {
        client.create(&format!("/n{n}"), b"").unwrap();
    }
    poll::until("a snapshot", WITHIN, || {
        (metric(&running, "zk_cnt_snapshottime") > 0.0).then_some(())
    })
    .unwrap();
    let off = quick(dir.path(), false);
    let running = again(running, &off);
    line_with(
        &off,
        "there are 1 TTL nodes, and none of them ends while extendedTypesEnabled is off",
    );
    let mut client = connect(&running);
    assert_eq!(ttl_node(&mut client, "/u", 1), ErrorCode::Unimplemented);
    // Two looks at all such nodes at least.
    for path in ["/c1", "/c2"] {
        used_container(&mut client, path);
        until_gone(&mut client, path);
    }
    let stat = client.exists("/t", false).unwrap().unwrap();
    assert_eq!(stat.ephemeral_owner, 0);
    client.create("/t/child", b"").unwrap();
    client.delete("/t/child", -1).unwrap();
    drop(client);
    let running = again(running, &quick(dir.path(), true));
    until_gone(&mut connect(&running), "/t");
}

#[test]
fn a_rate_of_zero_ends_nothing_and_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let none = quick(dir.path(), true).with_config("znode.container.maxPerMinute", 0);
    let running = none.start_and_wait(WITHIN).unwrap();
    line_with(&none, "no container and no TTL node is ever removed");
    let mut client = connect(&running);
    used_container(&mut client, "/c");
    assert_eq!(ttl_node(&mut client, "/t", 1), ErrorCode::Ok);
    drop(client);
    // Both waited for a server that ends them.
    let running = again(running, &quick(dir.path(), true));
    let mut client = connect(&running);
    until_gone(&mut client, "/c");
    until_gone(&mut client, "/t");
}

/// Soft limits, and hard ones that are not enforced, refuse nothing.
#[test]
fn exceeded_quotas_are_told_of() {
    for (enforced, limits, said) in [
        (false, "count=1,bytes=-1", "count=2, softCountLimit=1]"),
        (false, "byteHardLimit=2", "bytes=3, hardByteLimit=2]"),
        (true, "byteHardLimit=2", "bytes=3, hardByteLimit=2]"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("enforceQuota", enforced);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        client.create("/q", b"").unwrap();
        client.create("/zookeeper/quota/q", b"").unwrap();
        let quota = |name: &str| format!("/zookeeper/quota/q/zookeeper_{name}");
        client.create(&quota("limits"), limits.as_bytes()).unwrap();
        client.create(&quota("stats"), b"count=0,bytes=0").unwrap();
        assert!(!log(&server).contains("Quota exceeded"));
        let full = client.create("/q/a", b"123");
        assert_eq!(full.is_err(), enforced, "{limits}");
        line_with(&server, &format!("Quota exceeded: /q [current {said}"));
    }
}
