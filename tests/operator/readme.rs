//! What README.md promises to whoever tries it.

use std::path::Path;
use std::process::Command;

use crate::{WITHIN, connect, not_run, server};

/// The example in Rust, compiled by `cargo xtask peers` as it stands there.
#[test]
fn the_rust_example_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let peer = root.join(".peers/readme-client");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```rust\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let recipe = std::fs::read_to_string(peer.join(".recipe")).unwrap_or_default();
    if !recipe.ends_with(example) {
        return not_run("README's example is not compiled; `cargo xtask peers` does it");
    }
    let dir = tempfile::tempdir().unwrap();
    let running = server(dir.path()).start_and_wait(WITHIN).unwrap();
    let mut client = Command::new(peer.join("client"));
    let output = client.arg(running.address().to_string()).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (data, _) = connect(&running).get("/rust", false).unwrap();
    assert_eq!(data, b"hello");
}
