//! A reader's lease, and the repository as he is to read it.

use super::{Inner, Look, Repository};
use crate::{
    repo::{
        RepoError, SnapshotId,
        keys::Party,
        lease::{Lease, Ticker},
    },
    report::Warning,
};
use std::{sync::Arc, time::Duration};

/// A reader's lease; ends when dropped. Without the right to write it is empty and the reader works without.
pub struct ReadLease {
    lease: Option<Arc<Lease>>,
    ticker: Option<Ticker>,
    repo: Repository,
    warnings: Vec<Warning>,
}

impl ReadLease {
    /// Takes the lease, then lists index and snapshots, so that what is read was unmarked when it began or is held.
    pub(super) fn begin(inner: &Arc<Inner>, purpose: &str, interval: Duration) -> Result<Self, RepoError> {
        let purpose = if purpose.is_empty() { "read".to_owned() } else { format!("read: {purpose}") };
        let lease = match Lease::begin(inner, &purpose, Party::Reader) {
            Ok(lease) => Some(Arc::new(lease)),
            Err(RepoError::Storage { .. } | RepoError::Region { .. }) => None,
            Err(error) => return Err(error),
        };
        let ticker = match &lease {
            None => None,
            Some(lease) => {
                let beating = Arc::clone(lease);
                // A reader that cannot beat may be fenced; it then finds out by what it misses.
                Some(Ticker::start(interval, move || drop(beating.beat(&mut Vec::new)))?)
            }
        };
        let repo = match &lease {
            Some(lease) => Repository::under_lease(Arc::clone(inner), lease.id()),
            None => Repository::without_lease(Arc::clone(inner), None),
        };
        // Held by a guard from here on, which ends the lease whatever follows.
        let mut lease = Self { repo, lease, ticker, warnings: Vec::new() };
        lease.warnings = inner.refresh(Look::AtNews)?;
        if lease.lease.is_none() {
            lease.repo = Repository::without_lease(Arc::clone(inner), Some(inner.revisions_known()?));
        }
        Ok(lease)
    }

    /// The repository as this reader is to read it: without a lease what it misses may have been forgotten since.
    #[must_use]
    pub const fn repo(&self) -> &Repository {
        &self.repo
    }

    /// What its listings met.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Shows now, and not when the next heartbeat would, that it goes on; nothing if the storage cannot be written.
    pub fn beat_now(&self) -> Result<(), RepoError> {
        self.lease.as_ref().map_or(Ok(()), |lease| lease.beat(&mut Vec::new).map(drop))
    }

    /// The lease's name; `None` if the storage cannot be written.
    #[must_use]
    pub fn id(&self) -> Option<SnapshotId> {
        self.lease.as_ref().map(|lease| lease.id())
    }
}

impl Drop for ReadLease {
    fn drop(&mut self) {
        self.ticker = None;
        if let Some(lease) = self.lease.take() {
            // What cannot be remembered is found again by whoever reads it.
            let _ = self.repo.inner.remember_damage();
            // Without an end the lease is fenced in time: nothing is lost but that time.
            let _ = lease.end("done");
        }
    }
}
