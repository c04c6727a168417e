//! `mntr`: what the storage engine tells about itself is there, and moves.

use ironkeeper_client::{poll, requests};
use ironkeeper_proto::{CreateFlags, ErrorCode};

use crate::{WITHIN, connect, metric, server, word};

/// What must be there: sync latency, group size, queue depth, snapshot duration, and the log's own.
const STORAGE: [&str; 16] = [
    "zk_avg_fsynctime",
    "zk_max_fsynctime",
    "zk_cnt_fsynctime",
    "zk_p50_log_sync_latency_us",
    "zk_p99_log_sync_latency_us",
    "zk_p999_log_sync_latency_us",
    "zk_cnt_log_sync_latency_us",
    "zk_avg_sync_processor_batch_size",
    "zk_max_sync_processor_batch_size",
    "zk_avg_sync_processor_queue_size",
    "zk_max_sync_processor_queue_size",
    "zk_log_queued_records",
    "zk_log_queued_bytes",
    "zk_log_spare_segments",
    "zk_cnt_snapshottime",
    "zk_snapshot_error_count",
];

#[test]
fn storage_events_are_counted_in_mntr() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("snapCount", 100)
            .with_config("ironkeeper.segmentBytes", 256 << 10)
            .with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        for name in STORAGE {
            metric(&running, name);
        }
        let mut client = connect(&running);
        let syncs = metric(&running, "zk_cnt_log_sync_latency_us");
        client.create("/alone", b"").unwrap();
        assert!(
            metric(&running, "zk_cnt_log_sync_latency_us") > syncs,
            "a lone write is synced"
        );
        // Many at once: groups form, the queue has had a depth.
        for n in 0..400 {
            let path = format!("/n{n}");
            client.submit(&requests::create(&path, &[7; 300], CreateFlags::Persistent));
        }
        client.flush().unwrap();
        for _ in 0..400 {
            assert_eq!(client.reply().unwrap().code, ErrorCode::Ok);
        }
        let synced = metric(&running, "zk_cnt_log_sync_latency_us") - syncs;
        assert!(
            synced < 401.0,
            "{home}: no group was committed: {synced} syncs"
        );
        assert!(
            metric(&running, "zk_max_sync_processor_batch_size") > 1.0,
            "{home}"
        );
        assert!(
            metric(&running, "zk_max_sync_processor_queue_size") > 1.0,
            "{home}"
        );
        assert!(
            metric(&running, "zk_p50_log_sync_latency_us") > 0.0,
            "{home}"
        );
        let most = metric(&running, "zk_max_log_sync_latency_us");
        assert!(
            most >= metric(&running, "zk_p50_log_sync_latency_us"),
            "{home}"
        );
        poll::until("a snapshot", WITHIN, || {
            (metric(&running, "zk_cnt_snapshottime") > 0.0).then_some(())
        })
        .unwrap();
        assert_eq!(metric(&running, "zk_snapshot_error_count"), 0.0);
        poll::until("a spare segment", WITHIN, || {
            (metric(&running, "zk_log_spare_segments") == 1.0).then_some(())
        })
        .unwrap();
        poll::until("the queue to be empty", WITHIN, || {
            (metric(&running, "zk_log_queued_records") == 0.0).then_some(())
        })
        .unwrap();
        assert_eq!(metric(&running, "zk_outstanding_requests"), 0.0);
    }
}

/// Every line is `name TAB value`, every name once: what collectors parse.
#[test]
fn every_line_of_mntr_parses() {
    let dir = tempfile::tempdir().unwrap();
    let running = server(dir.path()).start_and_wait(WITHIN).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for line in word(&running, "mntr").lines() {
        let (name, value) = line.split_once('\t').unwrap();
        assert!(name.starts_with("zk_") && !value.is_empty(), "{line}");
        assert!(names.insert(name.to_owned()), "{name} twice");
    }
    assert!(names.len() > 60, "{}", names.len());
}
