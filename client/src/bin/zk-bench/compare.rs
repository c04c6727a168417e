//! Two servers measured in one run on one machine, alternately, so that what the machine does
//! meanwhile hits both. Every other round runs in reversed order.

use std::path::PathBuf;
use std::time::Duration;

use ironkeeper_client::load::{self, Limit, Plan, Report};
use ironkeeper_client::process::{Program, Running, Server, apache_jars, workspace_root};

use crate::{Arguments, chain, machine};

const ROWS: [Row; 7] = [
    ("write 1x1", 1, 1, 100),
    ("write 8x1", 8, 1, 100),
    ("write 128x1", 128, 1, 100),
    ("write 64x16", 64, 16, 100),
    ("read 1x1", 1, 1, 0),
    ("read 64x4", 64, 4, 0),
    ("50/50 64x4", 64, 4, 50),
];
const START_MAX: Duration = Duration::from_secs(60);
/// Rounds begun for each that is asked for, where some are left out.
const TRIES: usize = 3;
const STOP_MAX: Duration = Duration::from_secs(30);

/// A server under comparison, with the reports of all rounds by row.
struct Contender {
    name: &'static str,
    program: Program,
    reports: Vec<Vec<Report>>,
}

/// A comparison ready to run.
pub(crate) struct Comparison {
    contenders: Vec<Contender>,
    directory: PathBuf,
    rounds: usize,
    seconds: Duration,
    rows: Vec<Row>,
    /// Rounds with a row in which the host took more of the processors than this part do not count.
    stolen_max: f64,
    cores: usize,
    /// Further lines of the other server's `zoo.cfg`.
    config: Vec<(String, String)>,
}

/// What is measured: name, sessions, depth, percentage of writes.
type Row = (&'static str, usize, usize, u8);

/// Reads the arguments and finds the programs.
pub(crate) fn prepare(arguments: &[String]) -> Result<Comparison, String> {
    let known = [
        "jars",
        "server",
        "directory",
        "heap",
        "rounds",
        "seconds",
        "only",
        "rows",
        "stolen-max",
        "config",
    ];
    let arguments = Arguments::parse(arguments, &known)?;
    let root = workspace_root();
    let path = |name: &str, default: PathBuf| arguments.text(name).map_or(default, PathBuf::from);
    let only = arguments.text("only");
    if !matches!(only, None | Some("apache" | "ironkeeper")) {
        return Err("--only takes apache or ironkeeper".to_owned());
    }
    let mut contenders = Vec::new();
    let mut add = |name, program| {
        contenders.push(Contender {
            name,
            program,
            reports: Vec::new(),
        })
    };
    if only != Some("ironkeeper") {
        let jars = match arguments.text("jars") {
            Some(jars) => PathBuf::from(jars),
            None => apache_jars(&root).ok_or("no jars of Apache: run `cargo xtask peers`")?,
        };
        let heap_mb = arguments.number("heap", 1024)?;
        add("Apache 3.9.5", Program::Apache { jars, heap_mb });
    }
    if only != Some("apache") {
        let binary = path("server", root.join("target/release/zk-server"));
        if !binary.is_file() {
            let text = "is missing: run `cargo build --release --bin zk-server`";
            return Err(format!("{} {text}", binary.display()));
        }
        add("Ironkeeper", Program::Binary(binary));
    }
    let wanted = arguments.text("rows").unwrap_or_default();
    let rows: Vec<Row> = ROWS
        .into_iter()
        .filter(|(name, ..)| name.contains(wanted))
        .collect();
    if rows.is_empty() {
        return Err(format!("no row's name contains {wanted:?}"));
    }
    let config = arguments.all("config").map(|line| {
        let (key, value) = line.split_once('=').ok_or("--config takes KEY=VALUE")?;
        Ok((key.to_owned(), value.to_owned()))
    });
    Ok(Comparison {
        rows,
        config: config.collect::<Result<_, String>>()?,
        contenders,
        directory: path("directory", root.join("target/compare")),
        rounds: arguments.number("rounds", 2)?,
        stolen_max: arguments.number("stolen-max", 100.0)? / 100.0,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        seconds: arguments.seconds("seconds", 2.0)?,
    })
}

impl Comparison {
    /// Runs all rounds and prints the table.
    pub(crate) fn run(mut self) -> Result<(), String> {
        std::fs::create_dir_all(&self.directory)
            .map_err(|error| format!("{}: {error}", self.directory.display()))?;
        let facts = machine::facts(&self.directory);
        let (mut counted, mut begun) = (0, 0);
        while counted < self.rounds {
            if begun == self.rounds * TRIES {
                return Err(format!(
                    "of {begun} rounds only {counted} were left alone by the host of this machine"
                ));
            }
            eprintln!("round {} of {}", counted + 1, self.rounds);
            let mut order: Vec<usize> = (0..self.contenders.len()).collect();
            if begun % 2 == 1 {
                order.reverse();
            }
            begun += 1;
            for index in order {
                self.measure(index, begun)?;
            }
            if self.is_disturbed() {
                eprintln!("  the host took too much: this round does not count");
                for contender in &mut self.contenders {
                    contender.reports.pop();
                }
            } else {
                counted += 1;
            }
        }
        self.print(&facts, begun - counted);
        Ok(())
    }

    /// Whether the host took too much of the processors in a row of the last round.
    fn is_disturbed(&self) -> bool {
        let last = self
            .contenders
            .iter()
            .filter_map(|each| each.reports.last());
        last.flatten()
            .any(|report| report.stolen_cpu_part(self.cores) > self.stolen_max)
    }

    fn measure(&mut self, index: usize, round: usize) -> Result<(), String> {
        let contender = &mut self.contenders[index];
        let directory = self
            .directory
            .join(format!("{}-{index}-{round}", std::process::id()));
        let mut server = Server::new(contender.program.clone(), &directory)
            .map_err(|error| error.to_string())?;
        if matches!(contender.program, Program::Binary(_)) {
            server.config.clone_from(&self.config);
        }
        let running = server
            .start_and_wait(START_MAX)
            .map_err(|error| error.to_string())?;
        eprintln!("  {}", contender.name);
        warm(&running)?;
        let mut reports = Vec::new();
        for &(name, sessions, depth, write_percent) in &self.rows {
            let plan = Plan {
                sessions,
                depth,
                write_percent,
                warmup: Duration::from_millis(400),
                limit: Limit::Time(self.seconds),
                ..Plan::new(running.address())
            };
            let report = load::run(&plan, Some(running.pid()))
                .map_err(|error| format!("{} {name}: {}", contender.name, chain(&error)))?;
            eprintln!(
                "    {name:<12} {:>9.0} op/s, {:.2} us of CPU each; others' CPU {:.0} %, of that stolen {:.0} %",
                report.rate(),
                report.server_cpu_us().unwrap_or(f64::NAN),
                report.foreign_cpu_part(self.cores) * 100.0,
                report.stolen_cpu_part(self.cores) * 100.0
            );
            reports.push(report);
        }
        running
            .terminate(STOP_MAX)
            .map_err(|error| error.to_string())?;
        // Only a directory whose run succeeded goes: a failed one is evidence.
        std::fs::remove_dir_all(&directory).map_err(|error| error.to_string())?;
        contender.reports.push(reports);
        Ok(())
    }

    fn print(&self, facts: &[String], left_out: usize) {
        for fact in facts {
            println!("- {fact}");
        }
        for contender in &self.contenders {
            println!("- {}: {}", contender.name, contender.program.name());
        }
        println!(
            "- mean of {} rounds (spread: half of the difference between the extremes), \
             order reversed every other round, {:.1} s a row, values of 100 B; \
             sessions x requests outstanding in each\n\
             - others' CPU: part of all cores used by neither server nor generator\n\
             - rounds left out because the host took more than {:.0} % of the cores: {left_out}\n",
            self.rounds,
            self.seconds.as_secs_f64(),
            self.stolen_max * 100.0
        );
        println!(
            "| row | server | op/s | p50 us | p99 us | server CPU us/op | op/s, CPU to the first | others' CPU |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (row, (name, ..)) in self.rows.iter().enumerate() {
            let first = self
                .contenders
                .first()
                .map(|contender| Cell::of(contender, row, self.cores));
            for contender in &self.contenders {
                let cell = Cell::of(contender, row, self.cores);
                let ratio = first.as_ref().map_or(String::new(), |first| {
                    format!(
                        "{:.2}x, {:.2}x",
                        cell.rate / first.rate,
                        cell.cpu / first.cpu
                    )
                });
                println!(
                    "| {name} | {} | {:.0} (+-{:.0} %) | {:.0} | {:.0} | {:.2} | {ratio} | {:.0} % |",
                    contender.name,
                    cell.rate,
                    cell.spread_percent,
                    cell.p50,
                    cell.p99,
                    cell.cpu,
                    cell.foreign_percent
                );
            }
        }
    }
}

/// Means over the rounds.
struct Cell {
    rate: f64,
    spread_percent: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    foreign_percent: f64,
}

impl Cell {
    fn of(contender: &Contender, row: usize, cores: usize) -> Self {
        let mean = |figure: &dyn Fn(&Report) -> f64| {
            let sum: f64 = contender
                .reports
                .iter()
                .map(|reports| figure(&reports[row]))
                .sum();
            sum / contender.reports.len() as f64
        };
        let rates = contender.reports.iter().map(|reports| reports[row].rate());
        let (low, high) = rates.fold((f64::MAX, 0.0_f64), |(low, high), rate| {
            (low.min(rate), high.max(rate))
        });
        let rate = mean(&Report::rate);
        Self {
            rate,
            spread_percent: (high - low) / 2.0 / rate * 100.0,
            p50: mean(&|report| report.quantile_us(0.5)),
            p99: mean(&|report| report.quantile_us(0.99)),
            cpu: mean(&|report| report.server_cpu_us().unwrap_or(f64::NAN)),
            foreign_percent: mean(&|report| report.foreign_cpu_part(cores) * 100.0),
        }
    }
}

/// Load before the rows, so that a JIT compiler has seen every path often. The same for every
/// program, so that the directories have the same history.
fn warm(running: &Running) -> Result<(), String> {
    for (sessions, depth, write_percent, seconds) in
        [(64, 16, 100, 5), (64, 4, 50, 3), (1, 1, 100, 1)]
    {
        let plan = Plan {
            sessions,
            depth,
            write_percent,
            warmup: Duration::ZERO,
            limit: Limit::Time(Duration::from_secs(seconds)),
            ..Plan::new(running.address())
        };
        load::run(&plan, None).map_err(|error| chain(&error))?;
    }
    Ok(())
}
