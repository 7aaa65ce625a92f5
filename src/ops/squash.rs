//! Squashing: layers that no remaining snapshot tells apart become one, and a base rolls forward when much of it is
//! superseded. Decided on plain data ([`plan()`]), then written as revisions under one lease ([`execute`]). The rules, and why
//! every snapshot stays what it is, are in `format-spec/retention.md` §3.

mod execute;
pub mod plan;
mod runs;
#[cfg(test)]
mod tests;
mod work;

pub use execute::execute;
pub use plan::{MergeOf, PlannedMerge, PlannedSnapshot, SquashPlan, ThinVersions};

use super::OpsError;
use crate::report::Trouble;
use crate::{
    record::Timestamp,
    repo::{Listing, Repository, SnapshotId, manifest::LayerRef, session::SessionTiming},
};
use serde::Serialize;
use std::collections::BTreeSet;

/// The share of superseded rows that is left alone.
pub const MAX_SUPERSEDED: f64 = 0.3;

/// How to squash.
#[derive(Debug, Clone)]
pub struct SquashOptions {
    /// Worker threads.
    pub parallel: usize,
    /// zstd level, 0 for none.
    pub compression: i32,
    /// Decompress and compare every chunk before it is sealed.
    pub check: bool,
    /// Bytes per second to storage.
    pub write_limit: Option<u64>,
    /// The protocol's intervals; only tests have reason to give them.
    pub timing: Option<SessionTiming>,
}

impl Default for SquashOptions {
    fn default() -> Self {
        let parallel = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        Self { parallel, compression: 1, check: true, write_limit: None, timing: None }
    }
}

/// What a squash did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SquashOutcome {
    /// The squash's lease, if it committed.
    pub id: Option<SnapshotId>,
    /// Layers that were written in place of others.
    pub merged: u64,
    /// Layers that those take the place of.
    pub replaced: u64,
    /// Plaintext bytes of the layers that were merged.
    pub bytes_before: u64,
    /// Plaintext bytes of the layers they became.
    pub bytes_after: u64,
    /// What the repository grew by; prune gives back more.
    pub bytes_added: u64,
    /// Snapshots with a new revision.
    pub snapshots: u64,
    /// What was left as it is although it was planned, in words.
    pub left: Vec<String>,
    /// Of those, what was left because a merge did not come out as it should.
    #[serde(skip)]
    pub wrong: Vec<Trouble>,
}

/// Plans over every snapshot that the catalog knows ([`Repository::refresh`] brings it up to date); the layers of snapshots that
/// another squash is working on are left alone. Whatever changes until [`execute`] is left as it is.
pub fn plan(repo: &Repository, max_superseded: f64) -> Result<SquashPlan, OpsError> {
    plan_thinning(repo, max_superseded, &[], None)
}

/// The same, and thins out the versions of streams, and drops those older than so many milliseconds.
pub fn plan_thinning(
    repo: &Repository,
    max_superseded: f64,
    thin: &[ThinVersions],
    drop_age: Option<u64>,
) -> Result<SquashPlan, OpsError> {
    let Listing { snapshots, pending, .. } = repo.listing()?;
    let pending: BTreeSet<SnapshotId> = pending.into_iter().map(|(snapshot, _)| snapshot).collect();
    Ok(plan::plan_thinning(&snapshots, &pending, repo.clock().now(), max_superseded, thin, drop_age))
}

/// A share between 0 and 1; anything else becomes the nearer of them.
fn share(share: f64) -> f64 {
    if share.is_nan() { MAX_SUPERSEDED } else { share.clamp(0.0, 1.0) }
}

fn rows(layers: &[LayerRef]) -> u64 {
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.rows))
}

fn bytes(layers: &[LayerRef]) -> u64 {
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.bytes))
}

/// What a base that rolls forward must show: the state of a snapshot whose stack is exactly what is merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Its end.
    pub end: Timestamp,
    /// Its live records in the collection.
    pub records: u64,
    /// The collection's fingerprint.
    pub sum: String,
}
