//! The servers of a comparison, one set for each configuration, started when first used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;

use crate::common::{Home, Kind, Peers, Server, Settings, missing_peer};

/// A configuration that several scripts share, so that few servers have to start.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) settings: Settings,
}

/// `super:secret`, in the form of `superDigest`.
pub(crate) const SUPER_PASSWORD: &str = "super:secret";

/// What nearly every script runs on. Nothing is reaped as long as tests run: a container that one
/// script left would take a zxid in the middle of another.
pub(crate) static BASE: Variant = Variant {
    name: "base",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "maxClientCnxns=0",
            "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
        ],
        properties: &["-Dznode.container.checkIntervalMs=86400000"],
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

/// What is off by default, on; nothing is reaped as long as tests run.
pub(crate) static EXTENDED: Variant = Variant {
    name: "extended",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "maxClientCnxns=0",
            "extendedTypesEnabled=true",
            "enforceQuota=true",
            "reconfigEnabled=true",
            "DigestAuthenticationProvider.digestAlg=SHA-256",
            "DigestAuthenticationProvider.superDigest=super:WTA5ucCHTdJq645xIMibj8HviTPeB5mMuJ4/+v1dIEw=",
        ],
        properties: &["-Dznode.container.checkIntervalMs=86400000"],
    },
};

/// A snapshot every few transactions, so that a restart reads one and a little of the log.
pub(crate) static SNAPPING: Variant = Variant {
    name: "snapping",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "extendedTypesEnabled=true",
            "enforceQuota=true",
            "snapCount=4",
        ],
        properties: &["-Dznode.container.checkIntervalMs=86400000"],
    },
};

/// Containers and TTL nodes end as soon as they may.
pub(crate) static REAPING: Variant = Variant {
    name: "reaping",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "maxClientCnxns=0",
            "extendedTypesEnabled=true",
        ],
        properties: &["-Dznode.container.checkIntervalMs=30"],
    },
};

/// The same for containers that nobody has used; and without the digest scheme.
pub(crate) static REAPING_UNUSED: Variant = Variant {
    name: "reaping_unused",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "DigestAuthenticationProvider.enabled=false",
        ],
        properties: &[
            "-Dznode.container.checkIntervalMs=30",
            "-Dznode.container.maxPerMinute=-1",
            "-Dznode.container.maxNeverUsedIntervalMs=10",
        ],
    },
};

/// Clients that have not authenticated are turned away.
pub(crate) static ENFORCED: Variant = Variant {
    name: "enforced",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "enforce.auth.enabled=true",
            "enforce.auth.schemes=digest",
            "DigestAuthenticationProvider.digestAlg=sha3-512",
        ],
        properties: &[],
    },
};

/// Clients may say which ensemble they mean; this one has two names, and one that nobody can give.
pub(crate) static NAMED: Variant = Variant {
    name: "named",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
            "ensembleAuthName= blue,green sea ,,Black",
        ],
        properties: &[],
    },
};

/// The same where no name is configured, and beside a provider that is not there; with the other table of watches.
pub(crate) static NAMELESS: Variant = Variant {
    name: "nameless",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "authProvider.nothing=org.example.Nothing",
            "watchManagerName=org.apache.zookeeper.server.watch.WatchManagerOptimized",
        ],
        properties: &[
            "-Dzookeeper.authProvider.x=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
        ],
    },
};

/// Three tokens, and no more as long as tests run.
pub(crate) static TOKENS: Variant = Variant {
    name: "tokens",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "connection_throttle_tokens=3",
            "connection_throttle_fill_time=86400000",
        ],
        properties: &[],
    },
};

/// The same for sessions that cost what they weigh.
pub(crate) static WEIGHTS: Variant = Variant {
    name: "weights",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "connection_throttle_tokens=3",
            "connection_throttle_fill_time=86400000",
            "connection_throttle_weight_enabled=true",
        ],
        properties: &[],
    },
};

/// Large requests are counted, and sessions would be local if this were an ensemble.
pub(crate) static LARGE: Variant = Variant {
    name: "large",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "maxClientCnxns=0",
            "largeRequestThreshold=1000",
            "largeRequestMaxBytes=10000",
            "localSessionsEnabled=true",
        ],
        properties: &[],
    },
};

/// One request at a time is let in, and none waits long.
pub(crate) static GATE: Variant = Variant {
    name: "gate",
    settings: Settings {
        cfg: &[
            "tickTime=2000",
            "maxClientCnxns=0",
            "request_throttle_max_requests=1",
            "throttled_op_wait_time=20",
        ],
        properties: &[],
    },
};

/// The servers of a comparison, each behind its own lock.
pub(crate) struct Servers {
    pub(crate) reference: Mutex<Server>,
    pub(crate) subjects: Vec<Mutex<Server>>,
}

impl Servers {
    /// Starts all of them at once.
    pub(crate) fn start(settings: Settings) -> Servers {
        let kinds = [&[Kind::Apache], subjects()].concat();
        let mut started = std::thread::scope(|scope| {
            let start = |kind| scope.spawn(move || Server::start(kind, settings));
            let handles: Vec<_> = kinds.into_iter().map(start).collect();
            let join = |handle: ScopedJoinHandle<'_, Result<Server, String>>| {
                let result = handle.join().expect("starting a server does not panic");
                Mutex::new(result.unwrap_or_else(|e| panic!("{e}")))
            };
            handles.into_iter().map(join).collect::<Vec<_>>()
        });
        let reference = started.remove(0);
        Servers {
            reference,
            subjects: started,
        }
    }

    /// Runs the same on all servers at the same time; the reference's result comes first.
    pub(crate) fn run<T: Send>(&self, run: impl Fn(&mut Server) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let handles: Vec<_> = self
                .all()
                .map(|server| scope.spawn(|| run(&mut lock(server))))
                .collect();
            let join = |handle: ScopedJoinHandle<'_, T>| match handle.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            handles.into_iter().map(join).collect()
        })
    }

    /// Keeps the servers' directories, and says where they are.
    pub(crate) fn keep_files(&self) -> String {
        let keep = |server: &Mutex<Server>| {
            let mut server = lock(server);
            let dir = server.keep_files();
            format!("{} left in {}\n", server.kind().name(), dir.display())
        };
        self.all().map(keep).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Mutex<Server>> {
        std::iter::once(&self.reference).chain(&self.subjects)
    }
}

/// What is compared with the reference: `zk-server` in both shapes that it may take.
/// `CONFORMANCE_SUBJECT=apache` compares Apache with itself instead: the proof that what the
/// scripts compare does not vary by itself.
pub(crate) fn subjects() -> &'static [Kind] {
    match std::env::var("CONFORMANCE_SUBJECT").as_deref() {
        Ok("apache") => &[Kind::Apache],
        _ => &[Kind::Ironkeeper(Home::Task), Kind::Ironkeeper(Home::Thread)],
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

/// The servers of this variant that all tests of the process share.
pub(crate) fn shared_servers(variant: &'static Variant) -> Arc<Servers> {
    type Slot = Arc<Mutex<Option<Arc<Servers>>>>;
    static STARTED: Mutex<Option<HashMap<&'static str, Slot>>> = Mutex::new(None);
    let slot = {
        let mut started = lock(&STARTED);
        Arc::clone(
            started
                .get_or_insert_default()
                .entry(variant.name)
                .or_default(),
        )
    };
    let mut slot = lock(&slot);
    Arc::clone(slot.get_or_insert_with(|| Arc::new(Servers::start(variant.settings))))
}

/// A lock whose poisoning does not matter: a failed script has left nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
