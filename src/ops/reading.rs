//! How a verb that reads begins: a lease first, then the snapshots as they count under it.

use super::OpsError;
use crate::repo::{ReadLease, Repository, Snapshot};
use std::borrow::Cow;

/// A reader's lease, and the snapshots to read under it.
pub(super) struct Reading<'a> {
    lease: ReadLease,
    snapshots: Cow<'a, [Snapshot]>,
}

impl<'a> Reading<'a> {
    /// Takes the lease. A snapshot that was squashed since it was chosen is read by its newest revision: the lease holds the
    /// layers of that one, and those of the one before may be gone already. One that was forgotten meanwhile is read as
    /// it was.
    pub fn begin(repo: &Repository, purpose: &str, chosen: &'a [Snapshot]) -> Result<Self, OpsError> {
        let lease = repo.begin_read(purpose)?;
        Ok(Self { snapshots: repo.newest_of(chosen)?, lease })
    }

    /// The repository as it is to be read.
    pub fn repo(&self) -> &Repository {
        self.lease.repo()
    }

    /// The snapshots, in the order in which they were chosen.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }
}
