//! Command lines as Apache's scripts, images and people write them.

use super::*;

fn parsed(line: &str, environment: &Environment) -> Result<Parsed, String> {
    parse(line.split_whitespace().map(Into::into), environment).map_err(|error| error.to_string())
}

fn sources(line: &str, environment: &Environment) -> Sources {
    match parsed(line, environment).unwrap().command {
        Command::Run(sources) | Command::Check(sources) => sources,
        other => panic!("{line}: {other:?}"),
    }
}

fn check(line: &str, base: &Base) {
    assert_eq!(&sources(line, &Environment::default()).base, base, "{line}");
}

fn refused(line: &str, part: &str) {
    let error = parsed(line, &Environment::default()).unwrap_err();
    assert!(error.contains(part), "{line}: {error}");
}

fn file(path: &str) -> Base {
    Base::File(path.into())
}

fn arguments(port: u16, dir: &str, tick: Option<i32>, most: Option<i32>) -> Base {
    Base::Arguments {
        port,
        data_dir: dir.into(),
        tick_time_ms: tick,
        max_client_cnxns: most,
    }
}

#[test]
fn the_main_shapes() {
    check("", &Base::Defaults);
    check("zoo.cfg", &file("zoo.cfg"));
    check("start-foreground ./zoo.cfg", &file("./zoo.cfg"));
    check("start-foreground", &file("conf/zoo.cfg"));
    check("2182 /tmp/zk", &arguments(2182, "/tmp/zk", None, None));
    check(
        "2182 /tmp/zk 500",
        &arguments(2182, "/tmp/zk", Some(500), None),
    );
    check("0 d 500 10", &arguments(0, "d", Some(500), Some(10)));
    check("--check-config a/zoo.cfg", &file("a/zoo.cfg"));
    check("a/zoo.cfg --check-config", &file("a/zoo.cfg"));
}

#[test]
fn a_whole_line_of_the_start_script() {
    let line = "-Dzookeeper.log.dir=/logs -Dzookeeper.log.file=zk.log \
                -XX:+HeapDumpOnOutOfMemoryError -cp /x/*:/y -Xmx1000m \
                -Dzookeeper.4lw.commands.whitelist=* \
                org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg";
    let parsed = parsed(line, &Environment::default()).unwrap();
    assert_eq!(
        parsed.command,
        Command::Run(Sources {
            base: file("/conf/zoo.cfg"),
            properties: vec![
                ("zookeeper.log.dir".into(), "/logs".into()),
                ("zookeeper.log.file".into(), "zk.log".into()),
                ("zookeeper.4lw.commands.whitelist".into(), "*".into()),
            ],
        })
    );
    assert_eq!(parsed.notices.len(), 1, "one warning for all of them");
    assert!(
        parsed.notices[0]
            .text
            .ends_with("-XX:+HeapDumpOnOutOfMemoryError -cp -Xmx1000m")
    );
}

#[test]
fn flags_of_the_environment_come_before_those_of_the_line() {
    let environment = Environment {
        server_jvmflags: Some("-Dzookeeper.a=1 -Xmx1g".into()),
        jvmflags: Some("  -Dzookeeper.a=2\t-Djute.maxbuffer=9 ".into()),
        datadir_autocreate_disable: true,
        ..Environment::default()
    };
    let names: Vec<String> = sources("zoo.cfg -Dzookeeper.a=3 -Dflag", &environment)
        .properties
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        names,
        [
            "zookeeper.datadir.autocreate=false",
            "zookeeper.a=1",
            "zookeeper.a=2",
            "jute.maxbuffer=9",
            "zookeeper.a=3",
            "flag=",
        ]
    );
    assert_eq!(parsed("", &environment).unwrap().notices.len(), 1);
}

#[test]
fn the_environment_says_where_the_file_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("here.cfg"), "").unwrap();
    let environment = Environment {
        zoocfgdir: Some(dir.path().into()),
        zoocfg: Some("other.cfg".into()),
        ..Environment::default()
    };
    let base = |line: &str| sources(line, &environment).base;
    assert_eq!(
        base("start-foreground"),
        Base::File(dir.path().join("other.cfg"))
    );
    assert_eq!(
        base("start-foreground here.cfg"),
        Base::File(dir.path().join("here.cfg"))
    );
    assert_eq!(base("start-foreground gone.cfg"), file("gone.cfg"));
    assert_eq!(base("start-foreground ./here.cfg"), file("./here.cfg"));
    assert_eq!(base("here.cfg"), file("here.cfg"));
    assert_eq!(
        base(""),
        Base::Defaults,
        "without start-foreground no file is looked for"
    );
    assert_eq!(
        base("--config /elsewhere start-foreground"),
        file("/elsewhere/other.cfg")
    );
}

#[test]
fn what_is_refused() {
    for verb in ["start", "stop", "restart", "status"] {
        refused(verb, &format!("no command {verb}"));
    }
    refused("abc /tmp/zk", "For input string: \"abc\"");
    refused("2181 /tmp/zk 1 2 3", "Invalid number of arguments: 5");
    refused("70000 /tmp/zk", "port out of range:70000");
    refused("--chek-config zoo.cfg", "did you mean --check-config?");
    refused("--frobnicate", "unknown option --frobnicate");
    refused("--config", "needs a directory");
}

#[test]
fn help_and_version_win_over_the_rest() {
    let command = |line| parsed(line, &Environment::default()).unwrap().command;
    assert_eq!(command("zoo.cfg --help"), Command::Help);
    assert_eq!(command("version"), Command::Version);
    assert_eq!(command("--version"), Command::Version);
}
