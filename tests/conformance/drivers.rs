//! Real clients: programs that drive Apache's Java client, zkCli and kazoo, and print one JSON
//! line for each step; the lines of two servers are masked and compared.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Kind, Peers, Server, Settings, missing_peer};
use crate::compare::{Deviation, compare_lines};
use crate::mask_tests::every_byte_of_a_driver_matters;
use crate::normalise::{Masks, printed};
use crate::servers::{Servers, has_reference};

/// Sessions between one and ten seconds, so that one of them can expire while a test waits.
const SETTINGS: Settings = Settings {
    cfg: &[
        "tickTime=500",
        "maxClientCnxns=0",
        "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
    ],
    properties: &[],
};

/// A driver that has not ended by then is killed.
const DEADLINE: Duration = Duration::from_secs(150);

pub(crate) const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/drivers");

#[test]
fn java_client_and_command_line() {
    if has_reference("java_client_and_command_line") {
        compare_drivers("java", &[], |address| java("Driver", address));
    }
}

/// Apache's answer to an auth packet overtakes those of earlier writes; kazoo cannot bear it.
const D3: &[Deviation] = &[Deviation {
    number: "D3",
    apache: &[r#""auth in flight keeps its turn" false"#],
    ironkeeper: &[r#""auth in flight keeps its turn" true"#],
}];

#[test]
fn kazoo() {
    if !has_reference("kazoo") {
        return;
    }
    let Some(python) = Peers::find().python.as_ref() else {
        return missing_peer("kazoo", "a Python with kazoo");
    };
    compare_drivers("kazoo", D3, |address| {
        let mut command = Command::new(python);
        command
            .arg(Path::new(SOURCES).join("driver.py"))
            .arg(address);
        command
    });
}

/// A program in Java, all of them compiled once for a run of the tests.
pub(crate) fn java(program: &str, address: &str) -> Command {
    static COMPILED: OnceLock<(String, PathBuf)> = OnceLock::new();
    let (class_path, classes) = COMPILED.get_or_init(|| {
        let class_path = Peers::find()
            .class_path
            .clone()
            .expect("has_reference was asked");
        let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-classes");
        std::fs::create_dir_all(&classes).expect("the target directory can be written");
        let output = Command::new("javac")
            .args(["-cp", &class_path, "-d"])
            .arg(&classes)
            .args(java_sources())
            .output()
            .expect("javac is installed where Apache's server runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (class_path, classes)
    });
    let mut command = Command::new("java");
    // zkCli's dates name the zone.
    command.env("TZ", "UTC").args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
    ]);
    command
        .arg(format!("{}:{class_path}", classes.display()))
        .args([&format!("conformance.{program}"), address]);
    command
}

fn java_sources() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(SOURCES).expect("the sources are here");
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "java"))
}

fn compare_drivers(name: &str, deviations: &[Deviation], driver: impl Fn(&str) -> Command + Sync) {
    compare_lines(&Servers::start(SETTINGS), name, deviations, |server| {
        let address = format!("127.0.0.1:{}", server.address().port());
        let lines = run_unmasked(driver(&address), server);
        if server.kind() == Kind::Apache {
            every_byte_of_a_driver_matters(&lines);
        }
        masked_lines(&lines)
    });
}

/// Runs a driver to its end, does what it asks for, and returns its masked lines.
pub(crate) fn run(command: Command, server: &mut Server) -> Vec<String> {
    masked_lines(&run_unmasked(command, server))
}

fn masked_lines(lines: &[String]) -> Vec<String> {
    let mut masks = Masks::new();
    lines.iter().map(|line| masked(line, &mut masks)).collect()
}

/// Runs a driver to its end, and returns its lines as they came.
fn run_unmasked(mut command: Command, server: &mut Server) -> Vec<String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the driver can be started");
    let mut orders = child.stdin.take().expect("piped");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let errors = BufReader::new(child.stderr.take().expect("piped"));
    let (send, lines) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let complaints =
        std::thread::spawn(move || errors.lines().map_while(Result::ok).collect::<Vec<_>>());
    let deadline = Instant::now() + DEADLINE;
    let mut seen = Vec::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        let asked = serde_json::from_str::<Value>(&line).unwrap_or_default();
        if asked["ask"] == "restart" {
            if let Err(error) = server.kill_and_restart() {
                seen.push(error);
            }
            let _ = orders.write_all(b"done\n");
        } else {
            seen.push(line);
        }
    }
    if Instant::now() > deadline {
        seen.push("the driver did not end".to_owned());
        let _ = child.kill();
    }
    let status = child.wait().expect("the driver was started");
    let _ = reader.join();
    seen.push(format!("the driver ended: {status}"));
    if !status.success() {
        seen.extend(complaints.join().unwrap_or_default());
    }
    seen
}

/// A line of a driver as it is compared.
pub(crate) fn masked(line: &str, masks: &mut Masks) -> String {
    let Ok(Value::Object(mut step)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let (Some(name), Some(mut value)) = (step.remove("step"), step.remove("value")) else {
        return line.to_owned();
    };
    if !step.is_empty() {
        return line.to_owned();
    }
    if name == "section" {
        masks.rebase();
    }
    mask(&mut value, masks);
    format!("{name} {value}")
}

/// Masks the named fields wherever they are.
pub(crate) fn mask(value: &mut Value, masks: &mut Masks) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| mask(value, masks)),
        Value::String(text) => {
            if let Some(masked) = mask_line(text, masks) {
                *text = masked;
            } else if text.len() > 200 {
                *text = printed(text.as_bytes());
            }
        }
        Value::Object(map) => {
            let int = |key: &str| map.get(key).and_then(Value::as_i64);
            let times = (int("czxid"), int("ctime"), int("mzxid"), int("mtime"));
            if let (Some(czxid), Some(ctime), Some(mzxid), Some(mtime)) = times {
                map["ctime"] = masks.time(czxid, ctime).into();
                map["mtime"] = masks.time(mzxid, mtime).into();
            }
            for key in ["czxid", "mzxid", "pzxid", "zxid"] {
                if let Some(zxid) = map.get(key).and_then(Value::as_i64) {
                    map[key] = masks.zxid(zxid).into();
                }
            }
            if let Some(id) = map.get("ephemeralOwner").and_then(Value::as_i64) {
                map["ephemeralOwner"] = masks.session(id).into();
            }
            if let Some(id) = map.get("newSession").and_then(Value::as_i64) {
                map["newSession"] = masks.new_session(id).into();
            }
            map.values_mut().for_each(|value| mask(value, masks));
        }
        _ => {}
    }
}

/// Masks a line of zkCli's that shows one of the named fields.
fn mask_line(line: &str, masks: &mut Masks) -> Option<String> {
    if let Some((event, zxid)) = line.split_once(" zxid: ") {
        return zxid
            .parse()
            .ok()
            .map(|zxid| format!("{event} zxid: {}", masks.zxid(zxid)));
    }
    let (key, value) = line.split_once(" = ")?;
    let hex = || {
        let digits = value.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
    };
    match key {
        "cZxid" | "mZxid" | "pZxid" => hex().map(|zxid| format!("{key} = {}", masks.zxid(zxid))),
        "ephemeralOwner" => hex().map(|id| format!("{key} = {}", masks.session(id))),
        "ctime" | "mtime" if masks.is_near(date_ms(value)?) => Some(format!("{key} = near")),
        _ => None,
    }
}

/// The time that Java prints as `Sat Jan 03 01:02:03 UTC 1970`. Exactly so: anything else is not masked.
fn date_ms(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const DAYS: &str = "ThuFriSatSunMonTueWed";
    let (date, year) = text.split_once(" UTC ")?;
    let [weekday, month, day, time] = date.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>().try_into().ok()?;
    let number = |text: &str| text.parse::<i32>().ok().map(i64::from);
    let month = i64::try_from(MONTHS.find(month).filter(|at| at % 3 == 0)?).ok()? / 3 + 1;
    let (year, day) = (number(year)?, number(day)?);
    // Years that begin in March: the leap day is the last of one.
    let (from_march, year_of_march) = ((month + 9) % 12, year - i64::from(month < 3));
    let leap_days = year_of_march / 4 - year_of_march / 100 + year_of_march / 400;
    let days = 365 * year_of_march + leap_days + (153 * from_march + 2) / 5 + day - 719_469;
    let at = usize::try_from(days.rem_euclid(7)).ok()? * 3;
    let seconds = (number(hour)? * 60 + number(minute)?) * 60 + number(second)?;
    (DAYS.get(at..at + 3)? == weekday).then_some((days * 86_400 + seconds) * 1000)
}

#[test]
fn dates_of_javas() {
    let check = |text: &str, seconds: Option<i64>| {
        assert_eq!(date_ms(text), seconds.map(|s| s * 1000), "{text}");
    };
    check("Thu Jan 01 00:00:00 UTC 1970", Some(0));
    check("Tue Feb 29 12:34:56 UTC 2000", Some(951_827_696));
    check("Sun Nov 22 01:02:03 UTC 2026", Some(1_795_309_323));
    check("Mon Nov 22 01:02:03 UTC 2026", None);
    check("Sun Nov 22 01:02:03 CET 2026", None);
    check("Sun ovD 22 01:02:03 UTC 2026", None);
    check("1795309323000", None);
}

#[test]
fn only_dates_near_now_are_masked() {
    let now_ms = date_ms("Sun Nov 22 01:02:03 UTC 2026").expect("a date");
    let mut masks = Masks::at(now_ms);
    let near = mask_line("mtime = Sun Nov 22 00:30:00 UTC 2026", &mut masks);
    assert_eq!(near.as_deref(), Some("mtime = near"));
    for far in [
        "mtime = Sun Nov 22 03:30:00 UTC 2026",
        "mtime = Sat Nov 22 01:02:03 UTC 2025",
        "mtime = Thu Jan 01 00:00:00 UTC 1970",
        "mtime = now",
    ] {
        assert_eq!(mask_line(far, &mut masks), None, "{far}");
    }
}
