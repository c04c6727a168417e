//! Writes from end to end: sessions over loopback, the real server as a process of its own, every
//! write durable before its answer.
//!
//! An iteration is one answered write of 100 bytes. Beside each figure stands what criterion does
//! not know: p50, p99, and the CPU that the server spent on an operation.
//!
//! `cargo bench --bench commit` measures the release build; under `cargo test` every body runs once,
//! with a few writes.

use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use ironkeeper_client::load::{self, Limit, Plan};
use ironkeeper_client::process::{Program, Server};

/// Sessions, and requests that each keeps outstanding.
const SHAPES: [(usize, usize); 4] = [(1, 1), (8, 1), (128, 1), (64, 16)];
const START_MAX: Duration = Duration::from_secs(60);

fn measure(criterion: &mut Criterion, tiny: bool) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-commit");
    std::fs::create_dir_all(&root).expect("a directory beside the build");
    let directory = tempfile::tempdir_in(&root).expect("a directory");
    let program = Program::Binary(env!("CARGO_BIN_EXE_zk-server").into());
    let server = Server::new(program, directory.path()).expect("a free port");
    let running = server.start_and_wait(START_MAX).expect("the server starts");
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    for (sessions, depth) in SHAPES {
        let mut told = String::new();
        group.bench_function(
            BenchmarkId::from_parameter(format!("{sessions}x{depth}")),
            |bencher| {
                bencher.iter_custom(|iterations| {
                    // Fewer would measure how the sessions start, not how they go on.
                    let operations_min = if tiny {
                        1
                    } else {
                        (100 * sessions * depth).max(1000)
                    };
                    let plan = Plan {
                        sessions,
                        depth,
                        nodes: if tiny { 4 } else { 256 },
                        warmup: Duration::from_millis(if tiny { 0 } else { 50 }),
                        limit: Limit::Operations(iterations.max(operations_min as u64)),
                        ..Plan::new(running.address())
                    };
                    let report =
                        load::run(&plan, Some(running.pid())).expect("a server under load");
                    told = format!(
                        "{sessions}x{depth}: {:.0} op/s, p50 {:.0} us, p99 {:.0} us, \
                     server CPU {:.2} us an operation ({} operations)",
                        report.rate(),
                        report.quantile_us(0.5),
                        report.quantile_us(0.99),
                        report.server_cpu_us().unwrap_or(f64::NAN),
                        report.operations
                    );
                    report
                        .elapsed
                        .mul_f64(iterations as f64 / report.operations as f64)
                });
            },
        );
        // The last sample; the process CPU is counted in steps of 10 ms.
        if !tiny {
            println!("{told}");
        }
    }
    group.finish();
    running
        .terminate(Duration::from_secs(20))
        .expect("the server stops");
}

fn main() {
    // Criterion measures only if cargo bench says so; otherwise every body runs once.
    let tiny = !std::env::args().any(|argument| argument == "--bench");
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    measure(&mut criterion, tiny);
    criterion.final_summary();
}
