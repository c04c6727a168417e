//! The scheme `ensemble`: a client says which ensemble it means (client-protocol 8.7).

use std::sync::atomic::Ordering;

use ironkeeper_proto::jute;

use super::Connection;
use crate::config::options::EnsembleAuth;

/// Characters of a wrong name that are logged.
const NAME_SHOWN_MAX: usize = 100;

impl Connection<'_> {
    /// Whether a client that gives this name means us. Who does not is to be closed without a reply: an error would
    /// be final for it, and it is to try another server.
    pub(super) fn is_meant(&self, ensemble: &EnsembleAuth, name: &[u8]) -> bool {
        let stats = &self.server.stats;
        let (is_meant, counter) = match &ensemble.names {
            Some(names) if !name.is_empty() => {
                let name = jute::lossy(name);
                if names.iter().any(|one| *one == name) {
                    (true, &stats.ensemble_names_right)
                } else {
                    let shown: String = name.chars().take(NAME_SHOWN_MAX).collect();
                    tracing::warn!(
                        "Unexpected ensemble name: ensemble name: {} client ip: {}",
                        shown.escape_debug(),
                        self.shared.peer.ip()
                    );
                    (false, &stats.ensemble_names_wrong)
                }
            }
            _ => (true, &stats.ensemble_names_skipped),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        is_meant
    }
}
