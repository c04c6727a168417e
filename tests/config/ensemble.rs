//! `server.N` lines and `myid`: one server stands alone, more are refused.

use ironkeeper::config::{Level, Reading};

use crate::{notices, read_file};

/// A data directory with a `myid`, and a file over it.
fn member(my_id: &str, text: &str) -> Reading {
    let dir = tempfile::tempdir().unwrap();
    if !my_id.is_empty() {
        std::fs::write(dir.path().join("myid"), my_id).unwrap();
    }
    let file = dir.path().join("zoo.cfg");
    std::fs::write(&file, format!("dataDir={}\n{text}", dir.path().display())).unwrap();
    read_file(&file, &[])
}

#[test]
fn one_server_line_is_a_standalone_server() {
    // What the official container image writes.
    let reading = member("1\n", "server.1=localhost:2888:3888;2181\n");
    assert_eq!(
        notices(&reading, Level::Error),
        ["Invalid configuration, only one server specified (ignoring)"]
    );
    let o = reading.options.unwrap();
    let address = o.client_address.unwrap();
    assert!(address.ip().is_unspecified() && address.port() == 2181);
    assert_eq!(o.my_id, Some(1));
    let other = member("2", "server.1=localhost:2888:3888;2181\n")
        .options
        .unwrap();
    assert_eq!(other.client_address, None, "that line is another server's");
    let v6 = member("1", "server.1=[::1]:2888:3888;[::1]:2183\n")
        .options
        .unwrap();
    assert_eq!(v6.client_address, Some("[::1]:2183".parse().unwrap()));
    let clash = member("1", "clientPort=2182\nserver.1=localhost:2888:3888;2181\n");
    let clash = clash.options.unwrap_err().to_string();
    assert!(
        clash.contains("is different from client address found in dynamic file"),
        "{clash}"
    );
    let two = "server.1=a:1:2|b:1:2\n";
    assert!(
        member("1", two)
            .options
            .unwrap_err()
            .to_string()
            .contains("Multiple address feature")
    );
    assert!(
        member("1", &format!("multiAddress.enabled=true\n{two}"))
            .options
            .is_ok()
    );
}

#[test]
fn an_ensemble_is_refused() {
    let servers = "initLimit=5\nsyncLimit=2\nserver.1=a:2888:3888\nserver.2=b:2888:3888\n";
    let error = member("1", servers).options.unwrap_err().to_string();
    assert!(
        error.contains("2 voting servers make an ensemble"),
        "{error}"
    );
    let alone = "initLimit=5\nsyncLimit=2\nstandaloneEnabled=false\nserver.1=a:2888:3888\n";
    let error = member("1", alone).options.unwrap_err().to_string();
    assert!(
        error.contains("standaloneEnabled=false makes this an ensemble"),
        "{error}"
    );
    let fault = |my_id, text| member(my_id, text).options.unwrap_err().to_string();
    assert!(
        fault("1", "syncLimit=2\nserver.1=a:1:2\nserver.2=b:1:2").ends_with("initLimit is not set")
    );
    assert!(fault("", servers).ends_with("myid file is missing"));
    assert!(fault("one", servers).ends_with("serverid one is not a number"));
    assert!(
        fault("1", "standaloneEnabled=false")
            .ends_with("standaloneEnabled = false then number of participants should be >0")
    );
    assert!(
        fault("1", "server.1=a:1:2:observer")
            .ends_with("Observers w/o participants is an invalid configuration")
    );
    assert!(
        fault("1", "server.1=a:1:2\nserver.2=a:1:2:observer")
            .ends_with("Observers w/o quorum is an invalid configuration")
    );
}

#[test]
fn membership_in_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let dynamic = dir.path().join("zoo.cfg.dynamic.100000000");
    let check = |text: &str, more: &str| {
        std::fs::write(&dynamic, text).unwrap();
        member(
            "1",
            &format!("dynamicConfigFile={}\n{more}", dynamic.display()),
        )
        .options
    };
    let alone = check("server.1=a:2888:3888:participant;0.0.0.0:2184", "").unwrap();
    assert_eq!(
        alone.client_address.map(|address| address.port()),
        Some(2184)
    );
    let fault = |text, more| check(text, more).unwrap_err().to_string();
    assert_eq!(
        fault("version=1", ""),
        "dynamic file shouldn't have version inside"
    );
    assert_eq!(fault("tickTime=1", ""), "Unrecognised parameter: tickTime");
    assert_eq!(
        fault("", "server.1=a:1:2"),
        "parameter: server.1 must be in a separate dynamic config file"
    );
    let two = fault("server.1=a:1:2\nserver.2=b:1:2", "initLimit=1\nsyncLimit=1");
    assert!(two.contains("2 voting servers"), "{two}");
}
