//! Log lines in the layout that Apache's default configuration writes, since that is what log
//! collectors already parse: `2026-11-21 01:57:44,959 [myid:1] - INFO  [main:server@93] - text`.
//! Times are those of the machine's zone, as Apache's.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Stands for "no myid", which no `myid` file can say: ids are not negative.
const NO_ID: i64 = -1;

/// Starts logging to the standard output: what `RUST_LOG` says, or from info on. In colours on a
/// terminal, unless `NO_COLOR` asks otherwise.
pub fn start() -> MyId {
    let my_id = MyId(Arc::new(AtomicI64::new(NO_ID)));
    let (filter, problem) = filter(&std::env::var("RUST_LOG").unwrap_or_default());
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Where nobody takes the output any more there is nobody to complain to: the complaint
        // itself would end the process.
        .log_internal_errors(false)
        .with_ansi(std::io::stdout().is_terminal() && !no_color)
        .event_format(ApacheLayout {
            my_id: my_id.clone(),
            zone: local_zone(),
        })
        .init();
    if let Some(problem) = problem {
        tracing::warn!("{problem}");
    }
    my_id
}

/// What `text` asks to be logged; an empty one asks for nothing in particular, not for silence.
fn filter(text: &str) -> (EnvFilter, Option<String>) {
    let default = || EnvFilter::new("info");
    if text.trim().is_empty() {
        return (default(), None);
    }
    match EnvFilter::try_new(text) {
        Ok(filter) => (filter, None),
        Err(error) => {
            let text = text.escape_debug();
            let problem = format!("RUST_LOG={text} is no filter ({error}); info is used instead");
            (default(), Some(problem))
        }
    }
}

/// The server's id in the lines of a log; known only once the configuration was read.
#[derive(Clone, Debug)]
pub struct MyId(Arc<AtomicI64>);

impl MyId {
    /// Puts the id into every line from now on.
    pub fn set(&self, id: Option<i64>) {
        self.0.store(id.unwrap_or(NO_ID), Ordering::Relaxed);
    }
}

struct ApacheLayout {
    my_id: MyId,
    zone: TimeZone,
}

impl<S, N> FormatEvent<S, N> for ApacheLayout
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        write_time(&mut writer, &Timestamp::now().to_zoned(self.zone.clone()))?;
        match self.my_id.0.load(Ordering::Relaxed) {
            NO_ID => write!(writer, " [myid:] - ")?,
            id => write!(writer, " [myid:{id}] - ")?,
        }
        let (level, colour) = match *meta.level() {
            Level::ERROR => ("ERROR", 31),
            Level::WARN => ("WARN ", 33),
            Level::INFO => ("INFO ", 32),
            Level::DEBUG => ("DEBUG", 34),
            Level::TRACE => ("TRACE", 35),
        };
        if writer.has_ansi_escapes() {
            write!(writer, "\u{1b}[{colour}m{level}\u{1b}[0m")?;
        } else {
            writer.write_str(level)?;
        }
        let thread = std::thread::current();
        let module = meta.target().rsplit("::").next().unwrap_or_default();
        let thread = thread.name().unwrap_or("-");
        write!(
            writer,
            " [{thread}:{module}@{}] - ",
            meta.line().unwrap_or(0)
        )?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The zone that `TZ` or the system names; UTC where neither does.
pub(crate) fn local_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

/// `yyyy-MM-dd HH:mm:ss,SSS`.
fn write_time(out: &mut impl fmt::Write, time: &Zoned) -> fmt::Result {
    let ms = time.millisecond();
    write!(out, "{},{ms:03}", time.strftime("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |unix_ms: i64, zone: TimeZone, expected: &str| {
            let mut out = String::new();
            let time = Timestamp::from_millisecond(unix_ms).unwrap();
            write_time(&mut out, &time.to_zoned(zone)).unwrap();
            assert_eq!(out, expected);
        };
        check(0, TimeZone::UTC, "1970-01-01 00:00:00,000");
        check(951_782_399_999, TimeZone::UTC, "2000-02-28 23:59:59,999");
        let kathmandu = TimeZone::posix("NPT-5:45").unwrap();
        check(951_782_400_007, kathmandu, "2000-02-29 05:45:00,007");
    }
}
