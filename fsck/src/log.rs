//! What is wrong with META and the log, in the words of the report.

use ironkeeper_proto::Zxid;
use ironkeeper_storage::inspect::{Inspection, Issue};
use ironkeeper_storage::{MetaFlags, Verdict};

use crate::findings::Findings;
use crate::store::Store;

/// Says what [`ironkeeper_storage::inspect::inspect`] found. `snapshot` is the newest whole one:
/// what it holds is not lost with the log below it.
pub(crate) fn report(
    inspection: &Inspection,
    store: &Store,
    snapshot: Option<Zxid>,
    findings: &mut Findings,
) {
    let covered = |up_to: &Option<Zxid>| up_to.is_some_and(|z| snapshot.is_some_and(|s| z <= s));
    for issue in &inspection.issues {
        match issue {
            Issue::MetaCopy { path, offset, what } => {
                findings.meta_copy(path, *offset, what.clone());
            }
            Issue::MetaLost { path, what } => findings.meta_lost(path, what.clone()),
            Issue::HeaderCopy { path, offset } => {
                let what = "this copy of the segment's header is damaged".to_owned();
                findings.segment_header_copy(path, *offset, what);
            }
            Issue::Segment { path, what, up_to } => {
                findings.segment_wrong(path, what.clone(), covered(up_to));
            }
            Issue::Damage {
                path,
                offset,
                verdict: Verdict::Torn,
                what,
                after,
                ..
            } => {
                findings.log_torn(path, *offset, *after, what.clone());
            }
            Issue::Damage {
                path,
                offset,
                verdict,
                what,
                after,
                up_to,
            } => {
                let code = match verdict {
                    Verdict::Uncertain => "LOG_UNCERTAIN",
                    _ => "LOG_ROT",
                };
                let what = (code, format!("{verdict}: {what}"));
                findings.log_damaged(path, *offset, *after, what, covered(up_to));
            }
            Issue::Stray { path } => findings.stray_file(path),
            // A kind of issue that storage learned about after this was written.
            other => findings.unreadable(&store.wal_dir(), None, format!("{other:?}")),
        }
    }
    if let Some(meta) = &inspection.meta
        && meta.flags.contains(MetaFlags::MUST_SYNC)
    {
        findings.must_sync(&store.meta());
    }
}
