//! What Apache's Java client makes of a connection that ends, a session that moves or expires, and
//! a server that is killed: one program in `drivers/` for each idea, run against all servers.

use crate::common::Settings;
use crate::compare::compare_lines;
use crate::drivers::{java, run};
use crate::servers::{Variant, has_reference, shared_servers};

/// Sessions of a second expire while a test waits; others outlive every restart of a slow machine.
pub(crate) static SESSIONS: Variant = Variant {
    name: "sessions",
    settings: Settings {
        cfg: &[
            "tickTime=500",
            "maxSessionTimeout=40000",
            "maxClientCnxns=0",
        ],
        properties: &[],
    },
};

/// Runs a program on servers that it shares with the others: each has nodes of its own, and leaves
/// no session behind.
fn compare_program(test: &str, program: &str) {
    if has_reference(test) {
        compare_lines(&shared_servers(&SESSIONS), test, &[], |server| {
            let address = format!("127.0.0.1:{}", server.address().port());
            run(java(program, &address), server)
        });
    }
}

#[test]
fn a_server_that_is_killed_under_its_clients() {
    compare_program("a_server_that_is_killed_under_its_clients", "Restarts");
}

#[test]
fn connections_that_are_cut() {
    compare_program("connections_that_are_cut", "Cuts");
}

#[test]
fn calls_that_wait_when_the_connection_ends() {
    compare_program("calls_that_wait_when_the_connection_ends", "PendingCalls");
}

#[test]
fn sessions_that_move() {
    compare_program("sessions_that_move", "Moves");
}

#[test]
fn sessions_that_expire() {
    compare_program("sessions_that_expire", "Expiries");
}

#[test]
fn a_root_of_its_own() {
    compare_program("a_root_of_its_own", "Chroots");
}

#[test]
fn watches_set_again_in_pieces() {
    compare_program("watches_set_again_in_pieces", "ManyWatches");
}

#[test]
fn identities_are_told_again() {
    compare_program("identities_are_told_again", "Identities");
}

#[test]
fn callbacks_and_events_in_one_order() {
    compare_program("callbacks_and_events_in_one_order", "CallbackOrder");
}

#[test]
fn what_both_sides_agree_on() {
    compare_program("what_both_sides_agree_on", "Handshakes");
}
