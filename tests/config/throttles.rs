//! Limits: the longest frame, and throttles.

use crate::{fault_of, options, warnings};

#[test]
fn frames_longer_than_a_record_are_refused_at_the_start() {
    assert_eq!(options("jute.maxbuffer=15728640").jute_max_buffer, 15 << 20);
    assert_eq!(options("jute.maxbuffer=many").jute_max_buffer, 0xf_ffff);
    assert_eq!(options("jute.maxbuffer=45").jute_max_buffer, 45);
    for beyond in ["15728641", "0x7fffffff"] {
        let fault = fault_of(&format!("jute.maxbuffer={beyond}"));
        assert!(fault.contains("no request can be longer than 15728640"));
    }
    for too_short in ["44", "0", "-1"] {
        let fault = fault_of(&format!("jute.maxbuffer={too_short}"));
        assert!(fault.contains("no client could connect"), "{fault}");
    }
}

#[test]
fn throttles_are_read_as_apache_reads_them() {
    let weights = |text: &str| {
        let weights = options(text).connection_throttle.weights;
        (weights.global, weights.local, weights.renew)
    };
    const GLOBAL: &str = "connection_throttle_global_session_weight";
    const LOCAL: &str = "connection_throttle_local_session_weight";
    assert_eq!(weights(""), (3, 1, 2));
    assert_eq!(weights(&format!("{LOCAL}=5")), (5, 5, 5), "the least");
    assert_eq!(weights(&format!("{GLOBAL}=0\n{LOCAL}=-2")), (3, 1, 2));
    assert!(warnings(&format!("{GLOBAL}=0")).contains("is no weight"));
    let frozen = |text: &str| options(text).connection_throttle.freeze_time_ms;
    assert_eq!(frozen("connection_throttle_freeze_time=-1"), None);
    assert_eq!(frozen("connectionFreezeTime=20"), Some(20));
    let ratio = |text: &str| options(text).connection_throttle.drop_increase;
    assert_eq!(ratio("connection_throttle_drop_increase=1e-1"), 0.1);
    assert_eq!(ratio("connection_throttle_drop_increase=7"), 1.0);
    assert_eq!(ratio("connection_throttle_drop_increase=x"), 0.02);
    let threshold = |text: &str| options(text).large_requests.threshold;
    assert_eq!(threshold("largeRequestThreshold=-1"), None);
    assert_eq!(threshold("largeRequestThreshold=0"), None);
    assert_eq!(threshold("largeRequestThreshold=9"), Some(9));
    assert!(warnings("largeRequestMaxBytes=0").contains("is not above 0"));
    let warned = warnings("throttled_op_wait_time=5");
    assert!(warned.contains("without request_throttle_max_requests"));
    let both = warnings("throttled_op_wait_time=5\nrequestThrottleLimit=7");
    assert!(!both.contains("without request_throttle_max_requests"));
}
