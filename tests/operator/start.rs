//! Starts that fail: one plain sentence with the remedy, and Apache's exit code.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ironkeeper_client::poll;
use ironkeeper_proto::{SessionId, Txn, TxnDigest, TxnHeader, Xid, Zxid, encode_record, txn};
use ironkeeper_storage::io::OsDisk;
use ironkeeper_storage::{Appended, Marks, Store, StoreOptions};

use crate::{
    WITHIN, as_ordinary_user, binary, connect, log, not_run_here, refusal, server, server_behind,
};

/// The two lines on the standard error that every refusal ends with: Apache's words, then ours.
fn assert_refused(log: &str, code: u8, apache: &str, sentence: &str) {
    assert!(
        log.contains(&format!("Exiting JVM with code {code}")),
        "{log}"
    );
    assert!(log.contains(apache), "{log}");
    let ours = log.lines().any(|line| line.contains(sentence));
    assert!(ours, "{sentence:?} is not said in one line: {log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_port_in_use_says_which_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(dir.path());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    server.address = other.local_addr().unwrap();
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(1), "{log}");
    let port = server.address.port();
    let sentence = format!("port {port} is in use: another server listens on");
    assert_refused(
        &log,
        1,
        "Unexpected exception, exiting abnormally",
        &sentence,
    );
    assert!(log.contains("set another clientPort"), "{log}");
    let data = std::fs::read_dir(dir.path().join("data")).unwrap();
    assert_eq!(data.count(), 0, "the data directory was not touched");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let dir = tempfile::tempdir().unwrap();
    // A network for documentation, which no machine has.
    let server = server(dir.path()).with_config("clientPortAddress", "192.0.2.1");
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(1), "{log}");
    let sentence = "192.0.2.1 is not an address of this machine; correct clientPortAddress";
    assert_refused(
        &log,
        1,
        "Unexpected exception, exiting abnormally",
        sentence,
    );
}

#[test]
fn a_port_that_only_root_may_have_is_named() {
    let floor = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if floor.is_ok_and(|floor| floor.trim().parse().is_ok_and(|port: u16| port < 1024)) {
        not_run_here("everybody may have low ports on this machine");
        return;
    }
    let Some(prelude) = as_ordinary_user() else {
        return;
    };
    let dir = open_to_all();
    let mut server = server_behind(dir.path(), prelude);
    server.address.set_port(1);
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(1), "{log}");
    let sentence = "not allowed to listen on 127.0.0.1:1; use a clientPort above 1023";
    assert_refused(
        &log,
        1,
        "Unexpected exception, exiting abnormally",
        sentence,
    );
}

/// A directory in which another user can run our binary, of which it gets a copy.
fn open_to_all() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    dir
}

/// A server of an ordinary user on a directory that this user may read and not write.
fn on_a_read_only_directory(dir: &Path) -> Option<ironkeeper_client::process::Server> {
    let prelude = as_ordinary_user()?;
    let copy = dir.join("zk-server");
    std::fs::copy(binary(), &copy).unwrap();
    let script = dir.join("start.sh");
    let text = format!("#!/bin/sh\n{prelude} {} \"$@\"\n", copy.display());
    std::fs::write(&script, text).unwrap();
    for program in [&copy, &script] {
        std::fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
    }
    let program = ironkeeper_client::process::Program::Binary(script);
    let server = ironkeeper_client::process::Server::new(program, dir).unwrap();
    let data = dir.join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::set_permissions(&data, Permissions::from_mode(0o555)).unwrap();
    Some(server)
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_the_remedy() {
    let dir = open_to_all();
    let Some(server) = on_a_read_only_directory(dir.path()) else {
        return;
    };
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(3), "{log}");
    let data = dir.path().join("data");
    let sentence = format!(
        "{} is not writable; give this user write access to it, or name another dataDir: \
         Permission denied",
        data.display()
    );
    assert_refused(
        &log,
        3,
        "Unable to access datadir, exiting abnormally",
        &sentence,
    );
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    let server = server(dir.path()).with_config("dataDir", file.join("data").display());
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(3), "{log}");
    let sentence = file.join("data").display().to_string();
    assert_refused(
        &log,
        3,
        "Unable to access datadir, exiting abnormally",
        &sentence,
    );
    assert!(log.contains("Not a directory"), "the cause is told: {log}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = server(dir.path()).start_and_wait(WITHIN).unwrap();
    let mut client = connect(&first);
    client.create("/mine", b"").unwrap();
    let other = tempfile::tempdir().unwrap();
    let second = server(other.path()).with_config("dataDir", dir.path().join("data").display());
    let (code, log) = refusal(&second);
    assert_eq!(code, Some(3), "{log}");
    let sentence = format!("is locked by process {}", first.pid());
    assert_refused(
        &log,
        3,
        "Unable to access datadir, exiting abnormally",
        &sentence,
    );
    assert!(
        log.contains("stop the other one, or give this one its own dataDir"),
        "{log}"
    );
    // The first one has noticed nothing.
    client.create("/still", b"").unwrap();
}

/// Apache's data is not read yet: starting empty beside it would look like data loss.
#[test]
fn apaches_data_is_refused_and_not_a_byte_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let server = server(dir.path()).with_config("dataLogDir", logs.display());
    let version_2 = logs.join("version-2");
    std::fs::create_dir_all(&version_2).unwrap();
    std::fs::create_dir_all(dir.path().join("data")).unwrap();
    std::fs::write(version_2.join("log.1"), b"ZKLG").unwrap();
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(3), "{log}");
    let sentence = "reading it comes later. Nothing was written. Name another dataDir";
    assert_refused(
        &log,
        3,
        "Unable to access datadir, exiting abnormally",
        sentence,
    );
    assert!(log.contains(&version_2.display().to_string()), "{log}");
    assert_eq!(
        std::fs::read_dir(dir.path().join("data")).unwrap().count(),
        0
    );
    let left = std::fs::read_dir(&logs).unwrap();
    assert_eq!(left.count(), 1, "nothing beside version-2");
    assert_eq!(std::fs::read(version_2.join("log.1")).unwrap(), b"ZKLG");
}

/// A log that is whole and holds what no server of ours would have written there: named with file,
/// byte, zxid and remedy, whatever does not fit.
#[test]
fn a_record_that_does_not_fit_is_named_with_its_place() {
    let record = |zxid, txn: &Txn<'_>, digest: Option<i64>| {
        let header = TxnHeader {
            session: SessionId(0),
            cxid: Xid(0),
            zxid: Zxid(zxid),
            time_ms: 1,
            kind: txn.kind(),
        };
        let digest = digest.map(|tree_digest| TxnDigest {
            version: txn::DIGEST_VERSION,
            tree_digest,
        });
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &header, txn, digest.as_ref());
        bytes
    };
    let session = Txn::CreateSession { timeout_ms: 4000 };
    let whole = record(1, &session, None);
    let mut undecodable = record(2, &session, None);
    undecodable.truncate(33);
    let unfit = record(2, &Txn::Delete { path: "/gone" }, None);
    for (forged, why) in [
        (undecodable, "is whole but makes no transaction"),
        (unfit, "does not fit the data before it"),
        (record(2, &session, Some(7)), "instead of 0x7"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path());
        let data = dir.path().join("data");
        let options = StoreOptions::new(&data);
        let store = Store::open(options, Arc::new(OsDisk::new())).unwrap();
        let none = |_, _: &[u8]| unreachable!("an empty log");
        store.replay(Zxid(0), &mut |_| (), &mut { none }).unwrap();
        let mut log = store.start_log(Arc::new(|| ())).unwrap();
        for (zxid, bytes) in [(1, &whole), (2, &forged)] {
            assert_eq!(log.append(Zxid(zxid), bytes).unwrap(), Appended::Staged);
        }
        log.close(Marks::default()).unwrap();
        drop(store);
        let segment = data.join("native-1/wal/0000000000000001.wal");
        let bytes = std::fs::read(&segment).unwrap();
        let mut places = bytes.windows(forged.len());
        let place = places.position(|bytes| bytes == forged).unwrap();
        let (code, log) = refusal(&server);
        assert_eq!(code, Some(1), "{log}");
        let sentence = format!("transaction 0x2, at byte {place} of {}", segment.display());
        let apache = "Unexpected exception, exiting abnormally";
        assert_refused(&log, 1, apache, &sentence);
        let line = log.lines().find(|line| line.contains(&sentence)).unwrap();
        let remedy = "Restore the directory from a backup or another server";
        assert!(line.contains(remedy) && line.contains(why), "{why}: {log}");
        assert!(std::fs::read(&segment).unwrap() == bytes, "{why}: changed");
    }
}

/// Too few descriptors: wherever they run out, in the event loop, the listener, the data directory,
/// it is one sentence with the remedy; and with enough of them the server serves.
#[test]
fn too_few_descriptors_are_named_with_the_remedy() {
    let mut refused = 0;
    for limit in 4.. {
        let dir = tempfile::tempdir().unwrap();
        let prelude = format!("ulimit -n {limit}; exec");
        let server = server_behind(dir.path(), &prelude).with_config("ironkeeper.runtimes", 1);
        let mut running = server.start().unwrap();
        let outcome = poll::until("an end or a server", WITHIN, || {
            let ended = running.try_wait().unwrap().map(|status| status.code());
            let serves = || log(&server).contains("listening on ").then_some(None);
            ended.map(Some).or_else(serves)
        });
        let log = log(&server);
        let Some(code) = outcome.unwrap_or_else(|_| panic!("{limit}: {log}")) else {
            break;
        };
        refused += 1;
        // Nothing of ours runs before its libraries are loaded.
        if log.contains("error while loading shared libraries") {
            continue;
        }
        assert!(matches!(code, Some(1 | 3)), "{limit}: {code:?}: {log}");
        assert!(!log.contains("panicked"), "{limit}: {log}");
        let whole = |line: &str| {
            line.contains("Too many open files")
                && line.contains("raise the limit of open files (ulimit -n)")
        };
        assert!(log.lines().any(whole), "{limit}: {log}");
    }
    assert!(refused > 2, "{refused} refusals: nothing was shown");
}

#[test]
fn what_silence_would_make_dangerous_ends_with_code_2() {
    for (line, why) in [
        (
            "enforce.auth.enabled=true",
            "zookeeper.enforce.auth.schemes must be  configured.",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=sasl",
            "Authentication scheme sasl is not available.",
        ),
        ("sessionRequireClientSASLAuth=true", "is refused"),
        (
            "initLimit=5\nsyncLimit=2\nserver.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888",
            "ensemble",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = server(dir.path());
        let settings = line.lines().filter_map(|line| line.split_once('='));
        server.config = settings.map(|(k, v)| (k.into(), v.into())).collect();
        std::fs::create_dir_all(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/myid"), "1").unwrap();
        let (code, log) = refusal(&server);
        assert_eq!(code, Some(2), "{line}: {log}");
        assert_refused(&log, 2, "Invalid config, exiting abnormally", why);
        let left = std::fs::read_dir(dir.path().join("data")).unwrap();
        assert_eq!(left.count(), 1, "{line}: only myid is there");
    }
}

#[test]
fn a_secure_port_stays_closed_with_one_error_line() {
    let dir = tempfile::tempdir().unwrap();
    let secure = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = secure.local_addr().unwrap().port();
    drop(secure);
    let server = server(dir.path())
        .with_config("secureClientPort", port)
        .with_config(
            "serverCnxnFactory",
            "org.apache.zookeeper.server.NettyServerCnxnFactory",
        );
    let running = server.start_and_wait(WITHIN).unwrap();
    connect(&running).create("/plain", b"").unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    let log = log(&server);
    let errors: Vec<_> = log
        .lines()
        .filter(|line| line.contains("- ERROR"))
        .collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(
        errors[0].contains(&format!("secureClientPort {port} stays closed")),
        "{log}"
    );
}

/// `-D` as an argument and in both variables, as Apache's scripts pass them; the file wins.
#[test]
fn flags_of_java_change_what_a_server_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server_behind(dir.path(), "exec");
    server.config.push(("tickTime".into(), "500".into()));
    let script = dir.path().join("start.sh");
    let text = format!(
        "#!/bin/sh\nexec {} -Xmx512m -Dzookeeper.maxCnxns=7 -Dzookeeper.tickTime=9 \
         -cp /opt/zk/lib/* org.apache.zookeeper.server.quorum.QuorumPeerMain \"$@\"\n",
        binary().display()
    );
    std::fs::write(&script, text).unwrap();
    let server = server
        .with_environment("SERVER_JVMFLAGS", "-Djute.maxbuffer=2048 -Xms1g")
        .with_environment("JVMFLAGS", "-Dzookeeper.4lw.commands.whitelist=none");
    let running = server.start_and_wait(WITHIN).unwrap();
    let conf = crate::word(&running, "conf");
    assert!(
        conf.contains("tickTime=500\n"),
        "the file wins, and words too: {conf}"
    );
    let error = connect(&running)
        .create("/big", &vec![0; 4096])
        .unwrap_err();
    assert!(error.is_disconnect(), "jute.maxbuffer counts: {error}");
    let log = log(&server);
    let flags: Vec<_> = log
        .lines()
        .filter(|line| line.contains("no Java machine"))
        .collect();
    assert_eq!(flags.len(), 1, "{log}");
    for flag in ["-Xmx512m", "-Xms1g"] {
        assert!(flags[0].contains(flag), "{log}");
    }
    assert!(log.contains("-Dzookeeper.tickTime has no effect"), "{log}");
}

#[test]
fn a_typing_error_is_named_with_the_nearest_key_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("snapCout", 10);
    let _running = server.start_and_wait(WITHIN).unwrap();
    let log = log(&server);
    assert!(
        log.contains("\"snapCout\": unknown key, ignored; did you mean \"snapCount\"?"),
        "{log}"
    );
    let warnings = log.lines().filter(|line| line.contains("- WARN "));
    assert_eq!(
        warnings.filter(|line| line.contains("snapCout")).count(),
        1,
        "{log}"
    );
}

/// The first thing that anybody sees: where it listens, where the data is, what to try next.
#[test]
fn without_arguments_it_serves_and_says_what_to_do_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(dir.path());
    let script = dir.path().join("start.sh");
    // Port 0: the default port may be taken on the machine of the test.
    let text = format!("#!/bin/sh\nexec {} 0 ./data\n", binary().display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    server.program = ironkeeper_client::process::Program::Binary(script);
    let _running = server.start().unwrap();
    let line = crate::line_with(&server, "listening on ");
    let (_, rest) = line.split_once("listening on ").unwrap();
    let (address, data) = rest.split_once(", data in ").unwrap();
    let address: std::net::SocketAddr = address.parse().unwrap();
    assert_eq!(
        data,
        dir.path().join("data").display().to_string(),
        "the whole path"
    );
    let hint = crate::line_with(&server, "try: ");
    assert!(
        hint.contains(&format!("zkCli.sh -server localhost:{}", address.port())),
        "{hint}"
    );
}

#[test]
fn help_into_a_closed_pipe_is_no_defect() {
    for argument in ["--help", "--version"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(binary());
        let output = command.arg(argument).stdout(writer).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(errors, "", "{argument}");
    }
}
