//! Throttles: on connections, on requests, on large requests. All of them are off by default.

use std::time::Duration;

use super::options::Options;
use super::reader::Reader;

/// `connection_throttle_*`: a bucket of tokens that ConnectRequests are paid from.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionThrottle {
    /// `connection_throttle_tokens`: what the bucket holds at most; default 0 is no throttle. With
    /// weights the bucket and its refill are multiplied by [`SessionWeights::global`].
    pub tokens: u32,
    /// `connection_throttle_fill_time`: default 1 ms, at least that.
    pub fill_time_ms: u64,
    /// `connection_throttle_fill_count`: tokens that come every `fill_time_ms`; default 1.
    pub fill_count: u32,
    /// `connection_throttle_freeze_time`: time between two looks at whether to drop at random;
    /// `None` is -1, the default: never at random.
    pub freeze_time_ms: Option<u64>,
    /// `connection_throttle_drop_increase`: what an empty bucket adds to the probability of a drop;
    /// default 0.02.
    pub drop_increase: f64,
    /// `connection_throttle_drop_decrease`: what a full enough one takes off; default 0.002.
    pub drop_decrease: f64,
    /// `connection_throttle_decrease_ratio`: the part of the bucket that may lack for that; default
    /// 0.
    pub decrease_ratio: f64,
    /// `connection_throttle_weight_enabled`: connections cost what their sessions weigh, not one
    /// token each; default off.
    pub weighted: bool,
    /// `connection_throttle_*_session_weight`.
    pub weights: SessionWeights,
}

/// What connections cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWeights {
    /// One that asks for a new session: default 3, never below `local`.
    pub global: u32,
    /// One that asks for a session of this server alone: default 1. There are none on one server, so
    /// this is but the least for the others.
    pub local: u32,
    /// One that takes its session up again: default 2, never below `local`.
    pub renew: u32,
}

impl Default for ConnectionThrottle {
    fn default() -> Self {
        Self {
            tokens: 0,
            fill_time_ms: 1,
            fill_count: 1,
            freeze_time_ms: None,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weighted: false,
            weights: SessionWeights {
                global: 3,
                local: 1,
                renew: 2,
            },
        }
    }
}

/// `request_throttle_*` and what goes with it: requests that wait to be let into the commit path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestThrottle {
    /// `request_throttle_max_requests`: those let in and not answered yet; default 0 is no throttle.
    pub requests_max: usize,
    /// `request_throttle_stall_time`: how long until one that waits is looked at again, if no answer
    /// made room earlier; default 100 ms, at least 1.
    pub stall_time: Duration,
    /// `request_throttle_drop_stale`: what has become stale is not carried out, and its connection
    /// closed; default on.
    pub drop_stale: bool,
    /// `request_stale_connection_check`: stale is what came from a connection that is gone; default
    /// on.
    pub check_connection: bool,
    /// `request_stale_latency_check`: stale is what has waited longer than its session's timeout;
    /// default off.
    pub check_latency: bool,
    /// `throttled_op_wait_time`: what waited longer is refused with -127; default 0, here `None`, is
    /// for ever.
    pub wait_max: Option<Duration>,
}

impl Default for RequestThrottle {
    fn default() -> Self {
        Self {
            requests_max: 0,
            stall_time: Duration::from_millis(100),
            drop_stale: true,
            check_connection: true,
            check_latency: false,
            wait_max: None,
        }
    }
}

/// `largeRequestThreshold`, `largeRequestMaxBytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeRequests {
    /// A request of more bytes than this is a large one; `None` is -1, the default: none is.
    pub threshold: Option<usize>,
    /// Bytes of all large requests that are not answered yet; default 100 MiB. What would exceed it
    /// has its connection closed.
    pub bytes_max: usize,
}

impl Default for LargeRequests {
    fn default() -> Self {
        Self {
            threshold: None,
            bytes_max: 100 << 20,
        }
    }
}

/// Reads all of them.
pub(super) fn resolve(reader: &mut Reader<'_>, options: &mut Options) {
    connection_throttle(reader, &mut options.connection_throttle);
    request_throttle(reader, &mut options.request_throttle);
    large_requests(reader, &mut options.large_requests);
}

const INT_MAX: u64 = i32::MAX.cast_unsigned() as u64;

fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn connection_throttle(reader: &mut Reader<'_>, throttle: &mut ConnectionThrottle) {
    if let Some(tokens) = reader.bounded("connection_throttle_tokens", 0, INT_MAX) {
        throttle.tokens = to_u32(tokens);
    }
    if let Some(ms) = reader.bounded("connection_throttle_fill_time", 1, INT_MAX) {
        throttle.fill_time_ms = ms;
    }
    if let Some(count) = reader.bounded("connection_throttle_fill_count", 0, INT_MAX) {
        throttle.fill_count = to_u32(count);
    }
    if reader.property("connection_throttle_freeze_time") != Some(-1) {
        throttle.freeze_time_ms = reader.bounded("connection_throttle_freeze_time", 0, INT_MAX);
    }
    for (name, ratio) in [
        (
            "connection_throttle_drop_increase",
            &mut throttle.drop_increase,
        ),
        (
            "connection_throttle_drop_decrease",
            &mut throttle.drop_decrease,
        ),
        (
            "connection_throttle_decrease_ratio",
            &mut throttle.decrease_ratio,
        ),
    ] {
        if let Some(written) = reader.ratio(name) {
            *ratio = written;
        }
    }
    throttle.weighted = reader.switch("connection_throttle_weight_enabled", false);
    weights(reader, &mut throttle.weights);
}

/// A weight of zero or less is no weight, and none is below that of a local session.
fn weights(reader: &mut Reader<'_>, weights: &mut SessionWeights) {
    let [global, local, renew] = [
        (
            "connection_throttle_global_session_weight",
            &mut weights.global,
        ),
        (
            "connection_throttle_local_session_weight",
            &mut weights.local,
        ),
        (
            "connection_throttle_renew_session_weight",
            &mut weights.renew,
        ),
    ]
    .map(|(name, weight)| {
        if let Some(written) = reader.property(name) {
            match u32::try_from(written) {
                Ok(written) if written > 0 => *weight = written,
                _ => reader.notices.warn(format!(
                    "{name}={written} is no weight; the default {weight} counts"
                )),
            }
        }
        (name, weight)
    });
    let least = *local.1;
    for (name, weight) in [global, renew] {
        if *weight < least {
            reader.notices.warn(format!(
                "{name}={weight} is less than that of a local session; {least} is used instead"
            ));
            *weight = least;
        }
    }
}

fn request_throttle(reader: &mut Reader<'_>, throttle: &mut RequestThrottle) {
    if let Some(most) = reader.bounded("request_throttle_max_requests", 0, INT_MAX) {
        throttle.requests_max = usize::try_from(most).unwrap_or(usize::MAX);
    }
    if let Some(time) = reader.millis("request_throttle_stall_time", 1) {
        throttle.stall_time = time;
    }
    throttle.drop_stale = reader.switch("request_throttle_drop_stale", true);
    throttle.check_connection = reader.switch("request_stale_connection_check", true);
    throttle.check_latency = reader.switch("request_stale_latency_check", false);
    throttle.wait_max = reader
        .millis("throttled_op_wait_time", 0)
        .filter(|time| !time.is_zero());
    if throttle.wait_max.is_some() && throttle.requests_max == 0 {
        reader.notices.warn(
            "throttled_op_wait_time refuses nothing without request_throttle_max_requests: no \
             request waits then",
        );
    }
}

fn large_requests(reader: &mut Reader<'_>, large: &mut LargeRequests) {
    if let Some(bytes) = reader.property("largeRequestThreshold") {
        large.threshold = usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
        if large.threshold.is_none() && bytes != -1 {
            reader.notices.warn(format!(
                "largeRequestThreshold={bytes} is neither -1 nor above 0; no request is a large one"
            ));
        }
    }
    if let Some(bytes) = reader.property("largeRequestMaxBytes") {
        match usize::try_from(bytes) {
            Ok(bytes) if bytes > 0 => large.bytes_max = bytes,
            _ => reader.notices.warn(format!(
                "largeRequestMaxBytes={bytes} is not above 0; the default {} counts",
                large.bytes_max
            )),
        }
    }
}
