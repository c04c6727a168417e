//! The log on every backend of this machine: what was written is read back, after a clean end and
//! after none.

mod common;

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::{Backend, Verdict};

fn on_every_backend(test: impl Fn(Backend, &std::path::Path)) {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        test(backend, dir.path());
    }
}

#[test]
fn records_come_back_in_order_over_many_segments() {
    on_every_backend(|backend, dir| {
        let mut options = options(dir);
        options.backend = backend;
        let (store, recovered, mut log) = open(options.clone(), os()).unwrap();
        assert!(recovered.records.is_empty());
        write(&mut log, 1..=5000, 7, 150).unwrap();
        assert_eq!(log.last_durable(), Zxid(5000));
        let segments = log.stats().view().segments;
        assert!(segments > 3, "{backend:?}: rolled {segments} times");
        drop((log, store));

        let (store, recovered, mut log) = open(options.clone(), os()).unwrap();
        assert_is_history(&recovered, 5000, 150);
        assert_eq!(recovered.replayed.verdict, Verdict::End);
        write(&mut log, 5001..=5100, 1, 150).unwrap();
        log.close(marks(Zxid(5100))).unwrap();
        drop(store);

        let (_store, recovered, _log) = open(options, os()).unwrap();
        assert_is_history(&recovered, 5100, 150);
    });
}
