//! `zk-fsck check`.

use ironkeeper_storage::StorageError;
use ironkeeper_storage::inspect::{Inspection, inspect};

use crate::findings::{Findings, Severity};
use crate::options::CheckOptions;
use crate::progress::Progress;
use crate::snapshots::Snapshots;
use crate::state::{self, State};
use crate::store::Store;
use crate::{exit, fail, log, report};

/// Everything that was found out.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) store: Store,
    pub(crate) inspection: Inspection,
    pub(crate) snapshots: Snapshots,
    pub(crate) state: Option<State>,
    pub(crate) findings: Findings,
    /// Exit status.
    pub(crate) status: u8,
}

/// Runs the command; answers the exit status.
pub(crate) fn run(options: &CheckOptions) -> u8 {
    let store = match Store::find(&options.directories) {
        Ok(store) => store,
        Err(error) => return fail(&error),
    };
    match check(store, options) {
        Ok(checked) => {
            let printed = if options.json {
                report::json(&checked)
            } else {
                report::text(&checked)
            };
            match printed {
                Ok(()) => checked.status,
                // Whoever read it has seen enough; the status stands.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => checked.status,
                Err(error) => checked.status | fail(&error),
            }
        }
        Err(error) => fail(&error),
    }
}

fn check(store: Store, options: &CheckOptions) -> Result<Checked, StorageError> {
    let mut findings = Findings::default();
    let mut progress = Progress::new();
    let inspection = inspect(
        store.disk.as_ref(),
        &store.log_dir,
        store.in_use,
        &mut |done, all| {
            progress.bytes("reading the log", done, all);
        },
    )?;
    let id = inspection.meta.as_ref().map(|meta| meta.store);
    let dir = store.snapshot_dir();
    let snapshots = Snapshots::read(&store.disk, &dir, id, &mut findings, &mut progress);
    let range = inspection.range;
    snapshots.report(&mut findings, |zxid| {
        state::is_covered(&snapshots, range, zxid)
    });
    let newest = snapshots.whole.first().map(|whole| whole.verified.zxid());
    log::report(&inspection, &store, newest, &mut findings);
    let state = state::rebuild(
        &store,
        &inspection,
        &snapshots,
        options.full,
        &mut findings,
        &mut progress,
    )?;
    progress.clear();
    let status = status(&findings, options.strict);
    Ok(Checked {
        store,
        inspection,
        snapshots,
        state,
        findings,
        status,
    })
}

/// Information never counts, warnings do if the operator says so.
fn status(findings: &Findings, strict: bool) -> u8 {
    let counts = if strict {
        Severity::Warning
    } else {
        Severity::Error
    };
    match findings.worst() {
        Some(worst) if worst >= counts => exit::FAULTS,
        _ => exit::CLEAN,
    }
}
