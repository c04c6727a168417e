//! The checker against Apache ZooKeeper: SIGKILL keeps the page cache, so it must come back with
//! everything, and the checker must agree.

use ironkeeper_client::process::{Program, Server, apache_jars, workspace_root};
use ironkeeper_crashtest::crash::{self, Plan};

#[test]
fn apache_passes() {
    let Some(jars) = apache_jars(&workspace_root()) else {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "Apache's jars are missing"
        );
        eprintln!("NOT RUN: Apache's jars are missing; `cargo xtask peers` fetches them");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan {
        kills_per_store: 2,
        has_digest: false,
        ..Plan::new(1, 4)
    };
    let outcome = crash::run(&plan, directory.path(), |directory, _| {
        let program = Program::Apache {
            jars: jars.clone(),
            heap_mb: 256,
        };
        Ok(Server::new(program, directory)?.with_config("snapCount", 2_000))
    })
    .unwrap();
    assert_eq!(outcome.violation, None, "{outcome:#?}");
    assert_eq!(outcome.kills, 4);
    assert!(outcome.unanswered_min >= 64, "{outcome:#?}");
}
