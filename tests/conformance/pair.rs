//! The two servers of a comparison, one pair for each configuration, started when first used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::common::{Kind, Peers, Server, Settings, missing_peer};

/// A configuration that several scripts share, so that few servers have to start.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) settings: Settings,
}

/// `super:secret`, in the form of `superDigest`.
pub(crate) const SUPER_PASSWORD: &str = "super:secret";

/// What nearly every script runs on.
pub(crate) static BASE: Variant = Variant {
    name: "base",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "maxClientCnxns=0",
            "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
        ],
        properties: &[],
    },
};

/// Access control lists are not asked.
pub(crate) static SKIP_ACL: Variant = Variant {
    name: "skip_acl",
    settings: Settings {
        cfg: &["tickTime=2000", "skipACL=yes"],
        properties: &[],
    },
};

/// Sessions that live for less than a second, and connections that must be quick to say hello.
pub(crate) static SMALL_TICK: Variant = Variant {
    name: "small_tick",
    settings: Settings {
        cfg: &["tickTime=200", "nio.sessionlessCnxnTimeout=500"],
        properties: &[],
    },
};

/// Limits far from their defaults.
pub(crate) static LIMITS: Variant = Variant {
    name: "limits",
    settings: Settings {
        cfg: &[
            "tickTime=1000",
            "minSessionTimeout=3000",
            "maxSessionTimeout=4500",
            "maxClientCnxns=3",
            "globalOutstandingLimit=2",
        ],
        properties: &["-Djute.maxbuffer=4096"],
    },
};

/// Few connections in all, and few four-letter words.
pub(crate) static FEW: Variant = Variant {
    name: "few",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "maxCnxns=4",
            "4lw.commands.whitelist=ruok, mntr",
        ],
        properties: &[],
    },
};

/// Both servers, each behind its own lock.
pub(crate) struct Pair {
    pub(crate) reference: Mutex<Server>,
    pub(crate) subject: Mutex<Server>,
}

impl Pair {
    /// Starts both servers at once.
    pub(crate) fn start(settings: Settings) -> Pair {
        let start = |kind| move || Server::start(kind, settings).map(Mutex::new);
        let (reference, subject) = std::thread::scope(|scope| {
            let reference = scope.spawn(start(Kind::Apache));
            let subject = scope.spawn(start(subject_kind()));
            (reference.join(), subject.join())
        });
        let running = |result: std::thread::Result<Result<Mutex<Server>, String>>| {
            result
                .expect("starting a server does not panic")
                .unwrap_or_else(|e| panic!("{e}"))
        };
        Pair {
            reference: running(reference),
            subject: running(subject),
        }
    }
}

/// `CONFORMANCE_SUBJECT=apache` compares Apache with itself: the proof that what the scripts
/// compare does not vary by itself.
pub(crate) fn subject_kind() -> Kind {
    match std::env::var("CONFORMANCE_SUBJECT").as_deref() {
        Ok("apache") => Kind::Apache,
        _ => Kind::Ironkeeper,
    }
}

/// Whether the reference can run; says so when it cannot.
pub(crate) fn has_reference(test: &str) -> bool {
    let found = Peers::find().class_path.is_some();
    if !found {
        missing_peer(test, "Apache ZooKeeper 3.9.5");
    }
    found
}

/// The pair of this variant that all tests of the process share.
pub(crate) fn shared_pair(variant: &'static Variant) -> Arc<Pair> {
    type Slot = Arc<Mutex<Option<Arc<Pair>>>>;
    static PAIRS: Mutex<Option<HashMap<&'static str, Slot>>> = Mutex::new(None);
    let slot = {
        let mut pairs = lock(&PAIRS);
        Arc::clone(
            pairs
                .get_or_insert_default()
                .entry(variant.name)
                .or_default(),
        )
    };
    let mut slot = lock(&slot);
    Arc::clone(slot.get_or_insert_with(|| Arc::new(Pair::start(variant.settings))))
}

/// A lock whose poisoning does not matter: a failed script has left nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
