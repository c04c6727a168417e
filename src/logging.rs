//! Log lines in the layout that Apache's default configuration writes, since that is what log
//! collectors already parse: `2026-11-21 01:57:44,959 [myid:1] - INFO  [main:server@93] - text`.
//! Times are UTC.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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
        write_time(&mut writer, SystemTime::now())?;
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

/// `yyyy-MM-dd HH:mm:ss,SSS`.
fn write_time(out: &mut impl fmt::Write, time: SystemTime) -> fmt::Result {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let ms = since.subsec_millis();
    write!(
        out,
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{ms:03}"
    )
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Years are
/// counted from March, so that the leap day comes last: 146097 days are 400 of them.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times() {
        let check = |seconds: u64, ms: u32, expected: &str| {
            let mut out = String::new();
            let time = UNIX_EPOCH + Duration::new(seconds, ms * 1_000_000);
            write_time(&mut out, time).unwrap();
            assert_eq!(out, expected);
        };
        check(0, 0, "1970-01-01 00:00:00,000");
        check(951_782_399, 999, "2000-02-28 23:59:59,999");
        check(951_782_400, 7, "2000-02-29 00:00:00,007");
        check(951_868_800, 0, "2000-03-01 00:00:00,000");
        check(1_709_164_800, 0, "2024-02-29 00:00:00,000");
        check(1_735_689_599, 0, "2024-12-31 23:59:59,000");
        check(4_107_542_400, 0, "2100-03-01 00:00:00,000");
    }
}
