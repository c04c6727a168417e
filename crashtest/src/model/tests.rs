use ironkeeper_proto::SessionId;

use super::*;

const OWNER: i64 = 0x77;

fn history() -> History {
    let session = Session {
        id: SessionId(OWNER),
        password: vec![0; 16],
        timeout_ms: 30_000,
    };
    History::new(3, session, Zxid(0))
}

fn create(path: &str) -> Change {
    Change::Create {
        path: path.into(),
        data: b"x".to_vec(),
        ephemeral: false,
    }
}

fn ephemeral(path: &str) -> Change {
    Change::Create {
        path: path.into(),
        data: b"x".to_vec(),
        ephemeral: true,
    }
}

fn delete(path: &str) -> Change {
    Change::Delete {
        key: path.into(),
        path: path.into(),
    }
}

fn set(path: &str, data: &[u8]) -> Change {
    Change::Set {
        path: path.into(),
        data: data.to_vec(),
    }
}

/// Sends `operations` and answers the first of them.
fn ran(operations: &[Vec<Change>], answered: usize) -> History {
    let mut history = history();
    for changes in operations {
        history.sent(Operation::of(changes.clone()));
    }
    for index in 0..answered {
        history.answered(Zxid(index as i64 + 1), &[]);
    }
    history
}

/// What a server shows that has carried out the first `count` operations as zxids 1, 2, ...
fn server(operations: &[Vec<Change>], count: usize) -> Observed {
    let mut state = State {
        alive: true,
        nodes: BTreeMap::new(),
    };
    for (index, changes) in operations.iter().take(count).enumerate() {
        state.apply(
            &Operation::of(changes.clone()),
            Some(Zxid(index as i64 + 1)),
            &[],
        );
    }
    let nodes = state.nodes.iter().map(|(key, node)| {
        let seen = Seen {
            data: node.data.clone(),
            version: node.version,
            owner: if node.ephemeral { OWNER } else { 0 },
            czxid: node.czxid.unwrap(),
            mzxid: node.mzxid.unwrap(),
            path: key.clone(),
        };
        (key.clone(), seen)
    });
    Observed {
        alive: state.alive,
        nodes: nodes.collect(),
    }
}

fn operations() -> Vec<Vec<Change>> {
    vec![
        vec![create("/s3")],
        vec![create("/s3/a"), create("/s3/b")],
        vec![set("/s3", b"1")],
        vec![ephemeral("/s3/e")],
        vec![delete("/s3/a"), delete("/s3/b"), set("/s3", b"2")],
        vec![Change::CloseSession],
    ]
}

#[test]
fn any_prefix_from_the_answered_ones_on_is_right() {
    let operations = operations();
    for answered in 0..=operations.len() {
        for kept in 0..=operations.len() {
            let mut history = ran(&operations, answered);
            let verdict = history.judge(&server(&operations, kept));
            if kept < answered {
                assert!(verdict.is_err(), "answered {answered}, kept {kept}: a loss");
            } else {
                assert_eq!(
                    verdict,
                    Ok(kept - answered),
                    "answered {answered}, kept {kept}"
                );
                assert!(history.pending.is_empty());
                assert_eq!(history.state, history.projected);
            }
        }
    }
}

/// Damages the right outcome of four answered operations in one way.
fn check(damage: impl FnOnce(&mut Observed), expected: &str) {
    let operations = operations();
    let mut observed = server(&operations, 4);
    damage(&mut observed);
    let error = ran(&operations, 4).judge(&observed).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn each_kind_of_damage_is_seen() {
    check(|seen| drop(seen.nodes.remove("/s3/a")), "/s3/a is missing");
    check(
        |seen| seen.nodes.get_mut("/s3").unwrap().data[0] ^= 1,
        "/s3: data is",
    );
    check(
        |seen| seen.nodes.get_mut("/s3").unwrap().version = 2,
        "/s3: version is 2, expected 1",
    );
    check(
        |seen| seen.nodes.get_mut("/s3/e").unwrap().owner = 0,
        "/s3/e: owner is 0x0",
    );
    check(
        |seen| seen.nodes.get_mut("/s3/a").unwrap().czxid = Zxid(9),
        "/s3/a: czxid is 0x9",
    );
    check(
        |seen| seen.nodes.get_mut("/s3").unwrap().mzxid = Zxid(9),
        "/s3: mzxid is 0x9",
    );
    check(
        |seen| seen.alive = false,
        "the session is gone, expected alive",
    );
    check(
        |seen| {
            let node = seen.nodes["/s3/a"].clone();
            seen.nodes.insert("/s3/zombie".into(), node);
        },
        "/s3/zombie is there and should not be",
    );
}

#[test]
fn half_a_multi_is_seen_even_if_nobody_was_answered() {
    let operations = operations();
    let mut observed = server(&operations, 2);
    observed.nodes.remove("/s3/b");
    assert!(ran(&operations, 0).judge(&observed).is_err());
}

#[test]
fn a_gap_is_seen_even_if_nobody_was_answered() {
    let operations = operations();
    // The fourth operation is there, the third is not.
    let mut observed = server(&operations, 4);
    let directory = server(&operations, 2).nodes["/s3"].clone();
    observed.nodes.insert("/s3".into(), directory);
    assert!(ran(&operations, 0).judge(&observed).is_err());
}

#[test]
fn an_ephemeral_outliving_its_closed_session_is_seen() {
    let operations = operations();
    let mut observed = server(&operations, 6);
    observed.nodes.insert(
        "/s3/e".into(),
        server(&operations, 5).nodes["/s3/e"].clone(),
    );
    assert!(ran(&operations, 6).judge(&observed).is_err());
    // And a session that came back without it.
    let mut observed = server(&operations, 5);
    observed.nodes.remove("/s3/e");
    assert!(ran(&operations, 5).judge(&observed).is_err());
}

#[test]
fn a_failed_multi_changes_nothing() {
    let mut history = ran(&operations()[..1], 1);
    let fails = Operation {
        changes: vec![create("/s3/x")],
        fails: true,
    };
    history.sent(fails.clone());
    assert!(!history.projected.nodes.contains_key("/s3/x"));
    fails.with_request(|request| assert!(matches!(request, Request::Multi(_))));
    let mut observed = server(&operations(), 1);
    assert!(history.clone().judge(&observed).is_ok());
    let node = observed.nodes["/s3"].clone();
    observed.nodes.insert("/s3/x".into(), node);
    assert!(history.judge(&observed).is_err());
}

#[test]
fn a_sequential_node_keeps_its_name() {
    let mut history = ran(&operations()[..1], 1);
    let sequence = Change::Sequence {
        key: "3.1".into(),
        ephemeral: false,
    };
    history.sent(Operation::of(vec![sequence]));
    history.answered(Zxid(2), &["/q/n-0000000004".to_owned()]);
    assert_eq!(
        history.projected.nodes["3.1"].name.as_deref(),
        Some("/q/n-0000000004")
    );
    let mut observed = server(&operations(), 1);
    let mut seen = observed.nodes["/s3"].clone();
    seen.data = b"3.1".to_vec();
    (seen.czxid, seen.mzxid) = (Zxid(2), Zxid(2));
    seen.path = "/q/n-0000000005".into();
    observed.nodes.insert("3.1".into(), seen.clone());
    assert!(
        history
            .judge(&observed)
            .unwrap_err()
            .contains("name is /q/n-0000000005")
    );
    seen.path = "/q/n-0000000004".into();
    observed.nodes.insert("3.1".into(), seen);
    assert_eq!(history.judge(&observed), Ok(0));
}
