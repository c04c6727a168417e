//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ironkeeper_proto::Zxid;

/// Checks and dumps the data directory of an Ironkeeper server. Never writes to it.
#[derive(Debug, Parser)]
#[command(name = "zk-fsck", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Options {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  zk-fsck check /var/lib/zookeeper               is this store whole? (exit 0: yes)
  zk-fsck check --json DATA LOGS | jq .findings  dataDir and dataLogDir apart, for a script
  zk-fsck check --full DATA                      rebuild the state from the oldest snapshot too
  zk-fsck dump DATA | jq -r 'select(.type==\"node\").path'
  zk-fsck dump --log --after 0x500 DATA          the transactions above 0x500

Exit status (bits are added up):
  0  no faults                4  faults were found
  8  could not be checked    16  wrong command line    128  defect of this program";

const EXAMPLES_CHECK: &str = "\
Examples:
  zk-fsck check data
  zk-fsck check --json data logs
  zk-fsck check --strict data && echo nothing at all to say

A server may be running on the directory; the end of its log is then not judged.
Warnings (a leftover of an interrupted snapshot, a torn tail that nobody was told about) do not
count as faults unless --strict says so.";

const EXAMPLES_DUMP: &str = "\
Examples:
  zk-fsck dump data                              newest whole snapshot, then the whole log
  zk-fsck dump --snapshot data | jq .path
  zk-fsck dump --log --after 0x100000005 data

One JSON object a line; its `type` is store, snapshot, session, node, record or damage. `data` is
base64 (null is null), zxids, session ids and digests are hexadecimal text. Damage is printed where
it lies, and makes the exit status 4.";

/// The tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with a store; change nothing.
    #[command(after_help = EXAMPLES_CHECK)]
    Check(CheckOptions),
    /// Print what a store holds, as JSON lines.
    #[command(after_help = EXAMPLES_DUMP)]
    Dump(DumpOptions),
}

/// Where the store is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Directories {
    /// The server's dataDir.
    #[arg(value_name = "DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// The server's dataLogDir, if it has one of its own.
    #[arg(value_name = "LOG_DIR")]
    pub(crate) log_dir: Option<PathBuf>,
}

/// `zk-fsck check`.
#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    /// Where.
    #[command(flatten)]
    pub(crate) directories: Directories,
    /// Print one JSON document instead of lines for people.
    #[arg(long)]
    pub(crate) json: bool,
    /// Warnings count as faults.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Rebuild the state from the oldest whole snapshot, and compare it with each later one.
    #[arg(long, short = 'f')]
    pub(crate) full: bool,
}

/// `zk-fsck dump`.
#[derive(Args, Debug)]
pub(crate) struct DumpOptions {
    /// Where.
    #[command(flatten)]
    pub(crate) directories: Directories,
    /// Only the snapshot: sessions and nodes.
    #[arg(long, conflicts_with = "log")]
    pub(crate) snapshot: bool,
    /// Only the log.
    #[arg(long)]
    pub(crate) log: bool,
    /// The snapshot of this zxid instead of the newest whole one.
    #[arg(long, value_name = "ZXID", value_parser = zxid, conflicts_with = "log")]
    pub(crate) at: Option<Zxid>,
    /// Only records above this zxid.
    #[arg(long, value_name = "ZXID", value_parser = zxid, conflicts_with = "snapshot")]
    pub(crate) after: Option<Zxid>,
    /// Print the hashes of passwords in ACLs of the digest scheme (hidden otherwise).
    #[arg(long)]
    pub(crate) show_hashes: bool,
}

/// A zxid as logs print it: hexadecimal with 0x, or decimal.
fn zxid(text: &str) -> Result<Zxid, String> {
    let value = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match value {
        Ok(value) if value >= 0 => Ok(Zxid(value)),
        _ => Err("not a zxid: give it as 0x500000001 or as a decimal number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn zxids_are_read_in_both_forms() {
        assert_eq!(zxid("0x500000001"), Ok(Zxid(0x5_0000_0001)));
        assert_eq!(zxid("17"), Ok(Zxid(17)));
        for wrong in ["", "0x", "-1", "0x-1", "500000001a", "0xffffffffffffffff"] {
            assert!(zxid(wrong).is_err(), "{wrong}");
        }
    }
}
