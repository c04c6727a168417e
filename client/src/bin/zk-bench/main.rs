//! `zk-bench`: load on a running server, or a comparison of two programs on this machine.
#![forbid(unsafe_code)]

mod compare;
mod machine;

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use ironkeeper_client::load::{self, Limit, Plan};

const HELP: &str = "\
zk-bench: measure a ZooKeeper-compatible server

usage:
  zk-bench load HOST:PORT [options]
      --sessions N     sessions, each on its own connection (1)
      --depth N        requests that each session keeps outstanding (1)
      --writes PERCENT share of writes, the rest are reads (100)
      --value BYTES    data of a node and of a write (100)
      --nodes N        nodes that the requests are spread over (256)
      --threads N      threads of the generator (1)
      --warmup SECONDS before the measured part (0.5)
      --seconds S      length of the measured part (2)
      --count N        operations instead of seconds
      --pid PID        server process whose CPU is read
  zk-bench compare [options]
      --jars DIR       Apache's jars (.peers/zookeeper-3.9.5 of the workspace)
      --server PATH    the other server (target/release/zk-server)
      --directory DIR  where data directories are made (target/compare)
      --heap MB        heap of Apache's server (1024)
      --rounds N       rounds, every other one in reversed order (2)
      --stolen-max P   repeat a round in which the host of this virtual machine took more than
                       P percent of the processors (100)
      --seconds S      measured part of each row (2)
      --only NAME      apache or ironkeeper alone
      --rows TEXT      only the rows whose name contains it
      --config K=V     a line of the other server's zoo.cfg; may be given again

examples:
  zk-bench load 127.0.0.1:2181 --sessions 64 --depth 16 --seconds 5
  zk-bench compare --rounds 4

exit status: 0 measured, 1 a run failed, 2 wrong arguments
";

/// Options of one command: `--name value` pairs.
struct Arguments(Vec<(String, String)>);

impl Arguments {
    fn parse(arguments: &[String], known: &[&str]) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else {
                return Err(format!("{} needs a value", pair[0]));
            };
            let bare = name.strip_prefix("--").unwrap_or_default();
            if !known.contains(&bare) {
                return Err(format!(
                    "unknown option {name}; known are --{}",
                    known.join(", --")
                ));
            }
            pairs.push((bare.to_owned(), value.clone()));
        }
        Ok(Self(pairs))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        text.parse()
            .map_err(|_| format!("--{name} cannot be {text:?}"))
    }

    fn seconds(&self, name: &str, default: f64) -> Result<Duration, String> {
        let seconds = self.number(name, default)?;
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("--{name} cannot be {seconds}"))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let outcome = match command.as_str() {
        "load" => prepare_load(rest).map(run_load),
        "compare" => compare::prepare(rest).map(|comparison| comparison.run()),
        "--help" | "-h" | "help" => {
            // A reader that has seen enough (`| head`) is no error.
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        other => Err(format!(
            "unknown command {other:?}; known are load and compare"
        )),
    };
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(problem)) => {
            eprintln!("zk-bench: {problem}");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("zk-bench: {problem}\nzk-bench --help shows the options");
            ExitCode::from(2)
        }
    }
}

fn prepare_load(arguments: &[String]) -> Result<(Plan, Option<u32>), String> {
    let (server, rest) = arguments.split_first().ok_or("load needs HOST:PORT")?;
    let server: SocketAddr = server
        .to_socket_addrs()
        .map_err(|error| format!("{server}: {error}"))?
        .next()
        .ok_or_else(|| format!("{server} names no address"))?;
    let known = [
        "sessions", "depth", "writes", "value", "nodes", "threads", "warmup", "seconds", "count",
        "pid",
    ];
    let arguments = Arguments::parse(rest, &known)?;
    let plan = Plan::new(server);
    let limit = match arguments.text("count") {
        Some(_) => Limit::Operations(arguments.number("count", 0)?),
        None => Limit::Time(arguments.seconds("seconds", 2.0)?),
    };
    let plan = Plan {
        sessions: arguments.number("sessions", plan.sessions)?,
        depth: arguments.number("depth", plan.depth)?,
        write_percent: arguments.number("writes", plan.write_percent)?,
        value_bytes: arguments.number("value", plan.value_bytes)?,
        nodes: arguments.number("nodes", plan.nodes)?,
        threads: arguments.number("threads", plan.threads)?,
        warmup: arguments.seconds("warmup", 0.5)?,
        limit,
        ..plan
    };
    let pid = arguments
        .text("pid")
        .map(|_| arguments.number("pid", 0))
        .transpose()?;
    Ok((plan, pid))
}

fn run_load((plan, pid): (Plan, Option<u32>)) -> Result<(), String> {
    let report = load::run(&plan, pid).map_err(|error| chain(&error))?;
    println!(
        "operations   {} in {:.3} s",
        report.operations,
        report.elapsed.as_secs_f64()
    );
    println!("rate         {:.0} op/s", report.rate());
    for (name, latencies) in [("writes", &report.writes), ("reads", &report.reads)] {
        if latencies.is_empty() {
            continue;
        }
        let us = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{name:<12} {} p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
            latencies.len(),
            us(0.5),
            us(0.99),
            us(0.999),
            latencies.max() as f64 / 1e3
        );
    }
    if let Some(cpu) = report.server_cpu_us() {
        println!("server CPU   {cpu:.2} us an operation");
    }
    println!("client CPU   {:.2} s", report.client_cpu.as_secs_f64());
    Ok(())
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors have their cause in their own text already.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
