//! From settings to [`Options`]: defaults, bounds and refusals.

use std::time::Duration;

use super::error::{ConfigError, Notices};
use super::options::{self as o, Autopurge, FourLetterWords, Options};
use super::reader::{Reader, parse_interval};
use super::settings::Settings;
use super::{Base, address, authentication, check, ensemble, throttles};

/// Makes the options, or says what is wrong first.
pub(super) fn resolve(
    base: &Base,
    settings: &Settings,
    ipv4_only: bool,
    notices: &mut Notices,
) -> Result<Options, ConfigError> {
    let file = match base {
        Base::File(file) => Some(file.as_path()),
        Base::Defaults | Base::Arguments { .. } => None,
    };
    check::name_what_does_nothing(settings, notices);
    let mut reader = Reader {
        file,
        settings,
        notices,
    };
    check::named_values(&reader)?;
    check::refusals(&reader)?;
    let mut options = Options::default();
    network(&mut reader, base, ipv4_only, &mut options)?;
    connections(&mut reader, &mut options);
    retention(&mut reader, &mut options);
    log(&mut reader, &mut options)?;
    requests(&mut reader, &mut options)?;
    throttles::resolve(&mut reader, &mut options);
    access(&mut reader, &mut options)?;
    lifetimes(&mut reader, &mut options)?;
    own(&reader, &mut options)?;
    Ok(options)
}

/// Where the server listens, where its data is, and its ticks.
fn network(
    reader: &mut Reader<'_>,
    base: &Base,
    ipv4_only: bool,
    options: &mut Options,
) -> Result<(), ConfigError> {
    let mut tick_time = reader.named_int("tickTime");
    let mut max_client_cnxns = reader.named_int("maxClientCnxns");
    let client_address = match base {
        Base::Defaults => Some(address::wildcard(o::CLIENT_PORT_DEFAULT, ipv4_only)),
        Base::Arguments {
            port,
            data_dir,
            tick_time_ms,
            max_client_cnxns: most,
        } => {
            options.data_dir.clone_from(data_dir);
            options.data_log_dir.clone_from(data_dir);
            tick_time = *tick_time_ms;
            max_client_cnxns = *most;
            Some(address::wildcard(*port, ipv4_only))
        }
        Base::File(_) => {
            let Some(data_dir) = reader.path("dataDir") else {
                return Err(reader.fault("dataDir is not set"));
            };
            options.data_log_dir = reader
                .path("dataLogDir")
                .unwrap_or_else(|| data_dir.clone());
            options.data_dir = data_dir;
            client_port(reader, ipv4_only)?
        }
    };
    match tick_time.map(u32::try_from) {
        None => {}
        Some(Ok(0)) => return Err(reader.fault("tickTime is not set")),
        Some(Ok(ms)) => options.tick_time_ms = ms,
        Some(Err(_)) => return Err(reader.fault("tickTime must be above 0")),
    }
    if let Some(most) = max_client_cnxns {
        // Apache takes anything below one for no limit.
        options.max_client_cnxns = usize::try_from(most).unwrap_or(0);
    }
    options.client_port_listen_backlog = reader
        .named_int("clientPortListenBacklog")
        .filter(|backlog| *backlog > 0);
    session_timeouts(reader, options)?;
    let standing = ensemble::resolve(
        reader.file,
        reader.settings,
        &options.data_dir,
        client_address,
        ipv4_only,
        reader.notices,
    )?;
    options.my_id = standing.my_id;
    options.client_address = standing.client_address;
    if options.client_address.is_none() {
        reader.notices.info("clientPort is not set");
    }
    Ok(())
}

fn client_port(
    reader: &mut Reader<'_>,
    ipv4_only: bool,
) -> Result<Option<std::net::SocketAddr>, ConfigError> {
    let host = reader.settings.get("clientPortAddress");
    let client = port(reader, "clientPort")?;
    if client.is_none() && host.is_some() {
        return Err(reader.fault("clientPortAddress is set but clientPort is not set"));
    }
    let secure = port(reader, "secureClientPort")?;
    match secure {
        None if reader.settings.get("secureClientPortAddress").is_some() => {
            return Err(
                reader.fault("secureClientPortAddress is set but secureClientPort is not set")
            );
        }
        None => {}
        Some(port) => reader.notices.error(format!(
            "secureClientPort {port} stays closed: TLS is not built yet, and clients that expect \
             it will not connect"
        )),
    }
    let Some(port) = client else { return Ok(None) };
    let resolved = match host {
        Some(host) => address::resolve(host, port, ipv4_only).map_err(|why| reader.fault(why))?,
        None => address::wildcard(port, ipv4_only),
    };
    Ok(Some(resolved))
}

fn port(reader: &Reader<'_>, name: &str) -> Result<Option<u16>, ConfigError> {
    let Some(number) = reader.named_int(name) else {
        return Ok(None);
    };
    match u16::try_from(number) {
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(reader.fault(format!("{name}: port out of range:{number}"))),
    }
}

fn session_timeouts(reader: &Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    let timeout = |name: &str, ticks: u32| {
        match reader
            .named_int(name)
            .filter(|ms| *ms != -1)
            .map(u32::try_from)
        {
            // Java's arithmetic would wrap; a timeout is a positive 32-bit number on the wire.
            None => Ok(options
                .tick_time_ms
                .saturating_mul(ticks)
                .min(i32::MAX.cast_unsigned())),
            Some(Ok(ms)) => Ok(ms),
            Some(Err(_)) => Err(reader.fault(format!(
                "{name} must be -1, for the default, or not negative"
            ))),
        }
    };
    let least = timeout("minSessionTimeout", o::MIN_SESSION_TIMEOUT_TICKS)?;
    let most = timeout("maxSessionTimeout", o::MAX_SESSION_TIMEOUT_TICKS)?;
    if least > most {
        return Err(reader.fault("minSessionTimeout must not be larger than maxSessionTimeout"));
    }
    options.min_session_timeout_ms = least;
    options.max_session_timeout_ms = most;
    Ok(())
}

fn connections(reader: &mut Reader<'_>, options: &mut Options) {
    // Zero and less are no limit.
    options.max_cnxns = reader
        .property("maxCnxns")
        .and_then(|most| usize::try_from(most).ok())
        .unwrap_or(0);
    options.client_tcp_keep_alive = reader.switch("clientTcpKeepAlive", false);
    if let Some(timeout) = reader.millis("nio.sessionlessCnxnTimeout", 1) {
        options.sessionless_timeout = timeout;
    }
}

fn retention(reader: &mut Reader<'_>, options: &mut Options) {
    let mut retained = o::SNAP_RETAIN_COUNT_DEFAULT;
    if let Some(count) = reader.named_int("autopurge.snapRetainCount") {
        match u32::try_from(count) {
            Ok(count) if count >= o::SNAP_RETAIN_COUNT_DEFAULT => retained = count,
            _ => reader.notices.warn(format!(
                "Invalid autopurge.snapRetainCount: {count}. Defaulting to {retained}"
            )),
        }
    }
    let written = reader
        .settings
        .get("autopurge.purgeInterval")
        .and_then(parse_interval);
    let is_on = written.is_none_or(|interval| interval.is_some());
    options.autopurge = is_on.then_some(Autopurge {
        snapshots_retained: retained,
    });
    if is_on {
        reader.notices.info(format!(
            "autopurge.snapRetainCount set to {retained}: older files are removed behind every \
             snapshot; autopurge.purgeInterval=0 keeps everything"
        ));
    } else {
        reader.notices.info("autopurge.purgeInterval set to 0");
        reader.notices.info("Purge task is not scheduled.");
    }
}

/// The log and when a snapshot is due.
fn log(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    options.datadir_autocreate = reader.switch("datadir.autocreate", true);
    options.db_autocreate = reader.switch("db.autocreate", true);
    if let Some(count) = reader.bounded(
        "snapCount",
        u64::from(o::SNAP_COUNT_MIN),
        i32::MAX.cast_unsigned().into(),
    ) {
        options.snap_count = u32::try_from(count).unwrap_or(o::SNAP_COUNT_DEFAULT);
    }
    if let Some(kib) = reader.property("snapSizeLimitInKb") {
        options.snap_size_limit_bytes = kib_to_bytes(kib);
    }
    options.force_sync = reader.settings.get("forceSync") != Some("no");
    if !options.force_sync {
        reader.notices.warn(
            "forceSync=no: writes are acknowledged before they are on disk; a power cut loses them",
        );
    }
    if let Some(threshold) = reader.millis("fsync.warningthresholdms", 0) {
        options.fsync_warning_threshold = threshold;
    }
    if let Some(delay) = reader.millis("flushDelay", 0) {
        options.flush_delay = delay;
    }
    options.max_write_queue_poll_time = reader
        .millis("maxWriteQueuePollTime", 0)
        .unwrap_or(options.flush_delay / 3);
    if let Some(most) = reader.bounded("maxBatchSize", 1, i32::MAX.cast_unsigned().into()) {
        options.max_batch_size = u32::try_from(most).unwrap_or(o::MAX_BATCH_SIZE_DEFAULT);
    }
    options.segment_bytes = segment_bytes(reader)?;
    Ok(())
}

/// Kibibytes as bytes; zero and less switch a limit off.
fn kib_to_bytes(kib: i64) -> Option<u64> {
    u64::try_from(kib)
        .ok()
        .filter(|kib| *kib > 0)
        .map(|kib| kib.saturating_mul(1024))
}

fn segment_bytes(reader: &mut Reader<'_>) -> Result<u64, ConfigError> {
    let (least, most) = (o::SEGMENT_BYTES_MIN, o::SEGMENT_BYTES_MAX);
    let own = reader.own_number("ironkeeper.segmentBytes", least, most)?;
    if own.is_some_and(|bytes| !bytes.is_multiple_of(o::SEGMENT_BYTES_STEP)) {
        let step = o::SEGMENT_BYTES_STEP;
        return Err(reader.fault(format!(
            "ironkeeper.segmentBytes is not a multiple of {step}"
        )));
    }
    let preallocated = reader
        .bounded("preAllocSize", least >> 10, most >> 10)
        .map_or(o::SEGMENT_BYTES_DEFAULT, |kib| kib << 10);
    let limit = reader
        .property("txnLogSizeLimitInKb")
        .and_then(kib_to_bytes)
        .unwrap_or(most);
    let bytes = own.unwrap_or(preallocated).min(limit.max(least));
    Ok(bytes - bytes % o::SEGMENT_BYTES_STEP)
}

fn requests(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    let to_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let longest = to_u64(o::JUTE_MAX_BUFFER_MAX);
    if let Some(bytes) = reader.property("jute.maxbuffer") {
        // Nobody is to find out from a client whose connection is closed.
        options.jute_max_buffer = match usize::try_from(bytes) {
            Ok(bytes) if bytes > o::JUTE_MAX_BUFFER_MAX => {
                return Err(ConfigError::top(format!(
                    "jute.maxbuffer={bytes} is refused: the log takes records of up to 16 MiB, so \
                     no request can be longer than {longest} bytes; set it to that or less"
                )));
            }
            Ok(bytes) if bytes >= o::JUTE_MAX_BUFFER_MIN => bytes,
            _ => {
                let least = o::JUTE_MAX_BUFFER_MIN;
                return Err(ConfigError::top(format!(
                    "jute.maxbuffer={bytes} is refused: no client could connect, since its first \
                     frame takes {least} bytes"
                )));
            }
        };
    }
    options.jute_max_buffer_extra = match reader.bounded("jute.maxbuffer.extrasize", 0, longest) {
        Some(extra) => to_usize(extra),
        None => options.jute_max_buffer,
    };
    if let Some(limit) =
        reader.bounded("globalOutstandingLimit", 1, i32::MAX.cast_unsigned().into())
    {
        options.global_outstanding_limit = to_usize(limit);
    }
    Ok(())
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Digests, ACLs, authentication, and the words that are answered.
fn access(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    options.digest_enabled = reader.switch("digest.enabled", true);
    options.close_session_txn = reader.switch("closeSessionTxn.enabled", true);
    options.read_only_mode = reader.switch("readonlymode.enabled", false);
    options.reconfig_enabled = reader.switch("reconfigEnabled", false);
    options.enforce_quota = reader.switch("enforceQuota", false);
    options.skip_acl = reader.settings.get("skipACL") == Some("yes");
    if options.skip_acl {
        reader
            .notices
            .warn("skipACL=yes: every client may read and change everything");
    }
    authentication::resolve(reader, options)?;
    let whitelist = reader
        .settings
        .get("4lw.commands.whitelist")
        .unwrap_or_default();
    options.four_letter_words = FourLetterWords::parse(whitelist);
    for word in options.four_letter_words.listed() {
        if !WORDS.contains(&word) {
            reader.notices.warn(format!(
                "4lw.commands.whitelist: no four-letter word is called \"{}\"",
                word.escape_debug()
            ));
        }
    }
    Ok(())
}

/// TTL nodes, containers, and how they end.
fn lifetimes(reader: &mut Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    options.extended_types = reader.switch("extendedTypesEnabled", false);
    if options.extended_types
        && options
            .my_id
            .is_some_and(|id| id > o::EXTENDED_SERVER_ID_MAX)
    {
        let most = o::EXTENDED_SERVER_ID_MAX;
        return Err(ConfigError::top(format!(
            "extendedTypesEnabled is true but Server ID is too large. Cannot be larger than {most}"
        )));
    }
    let reaping = &mut options.reaping;
    if let Some(ms) = reader.property("znode.container.checkIntervalMs") {
        let ms = u64::try_from(ms).unwrap_or(0);
        if ms == 0 {
            return Err(reader.fault("znode.container.checkIntervalMs must be above 0"));
        }
        reaping.check_interval = Duration::from_millis(ms.min(u64::from(u32::MAX)));
    }
    if let Some(most) = reader.property("znode.container.maxPerMinute") {
        reaping.per_minute_max = i32::try_from(most).unwrap_or(i32::MAX);
        if most == 0 {
            reader.notices.warn(
                "znode.container.maxPerMinute=0: no container and no TTL node is ever removed",
            );
        }
    }
    if let Some(ms) = reader.property("znode.container.maxNeverUsedIntervalMs") {
        reaping.never_used_max_ms = ms;
    }
    Ok(())
}

/// Every four-letter word that Apache knows.
const WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
    "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

fn own(reader: &Reader<'_>, options: &mut Options) -> Result<(), ConfigError> {
    use o::{EngineHome, LogBackend, RecoveryMode};
    let backends = [
        ("auto", LogBackend::Auto),
        ("io_uring", LogBackend::IoUring),
        ("pwrite", LogBackend::Pwrite),
        ("buffered", LogBackend::Buffered),
    ];
    let homes = [
        ("auto", EngineHome::Auto),
        ("task", EngineHome::Task),
        ("thread", EngineHome::Thread),
    ];
    let modes = [
        ("protocol", RecoveryMode::Protocol),
        ("strict", RecoveryMode::Strict),
    ];
    options.log_backend = reader
        .choice("ironkeeper.logBackend", &backends)?
        .unwrap_or_default();
    options.engine_home = reader
        .choice("ironkeeper.engineHome", &homes)?
        .unwrap_or_default();
    options.recovery_mode = reader
        .choice("ironkeeper.recoveryMode", &modes)?
        .unwrap_or_default();
    let count = |name: &str, most: usize| {
        let number = reader.own_number(name, 0, to_u64(most))?;
        Ok::<_, ConfigError>(number.and_then(|n| usize::try_from(n).ok()).unwrap_or(0))
    };
    options.runtimes = count("ironkeeper.runtimes", o::RUNTIMES_MAX)?;
    options.snapshot_threads = count("ironkeeper.snapshotThreads", o::SNAPSHOT_THREADS_MAX)?;
    let (least, most) = (o::UNREAD_BYTES_LEAST, o::UNREAD_BYTES_MOST);
    if let Some(most) = reader.own_number("ironkeeper.unreadBytesMax", least, most)? {
        options.unread_bytes_max = usize::try_from(most).unwrap_or(usize::MAX);
    }
    Ok(())
}
