//! The replicated state machine: a tree of znodes, their ACLs, and the sessions that own some of them.
//!
//! - [`Tree`] is the state at one zxid. One writer applies txns with [`Tree::apply`]; readers look nodes up with
//!   [`Tree::get`] and hold a [`NodeRef`] as long as they hold the tree.
//! - [`Tree::image`] copies the whole state in microseconds: pages are shared and copied when the writer first
//!   touches them again. An [`Image`] is exact at its zxid, needs no lock and may go to another thread.
//! - [`codec`] turns images into blocks of a snapshot and blocks into nodes; [`load`] makes a tree of them.
//! - [`digest`] is Apache's tree digest, kept up to date by every change.
//! - [`prep`] validates write requests against the tree as it will be and writes their records; [`acl`] says who may
//!   do what; [`reply`] turns what apply did into the client's answer; [`read`] serves everything that changes no node.
//! - [`watch`] tells who wants to know about a change.
//!
//! **Invariants.** Nothing here reads a clock, a file or a random source, or starts a thread. Equal txns from
//! equal states give equal states on every server. `apply` succeeds on any txn that a log may hold, and on one that
//! was applied before it changes nothing that later txns do not set right.
#![forbid(unsafe_code)]

pub mod acl;
mod acl_table;
mod apply;
mod change;
pub mod codec;
pub mod digest;
mod image;
mod import;
pub mod load;
mod node;
pub mod prep;
mod quota;
pub mod read;
pub mod reply;
mod session;
mod tree;
mod view;
pub mod watch;

pub use acl_table::AclId;
pub use apply::{Anomaly, Applied, DigestCheck, Effects, OpResult, SessionChange};
pub use image::Image;
pub use import::{ImportError, ImportOptions};
pub use node::{CONTAINER_OWNER, NodeId, NodeKind, TTL_MS_MAX, ttl_owner};
pub use quota::{NamespaceQuota, QuotaExceeded, QuotaKind};
pub use session::Session;
pub use tree::{Counters, Tree, utf16_len};
pub use view::{Children, NodeRef, OwnedNodes};
