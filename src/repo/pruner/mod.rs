//! The pruner's side of the protocol (`format-spec/protocol.md`, section 4): copy, mark, drain, delete, tidy.
//!
//! What is to go is decided above, in `ops::prune`; here is how it goes without anything being lost. Each step may be cut
//! short, or sleep for a day, and any other pruner may carry on.

mod checkpoints;
mod copy;
mod delete;
mod drain;
mod first_seen;
#[cfg(debug_assertions)]
pub mod flat;
mod gather;
mod leases;
mod live;
mod mark;
mod needed;
mod packs;
mod parity;
mod reindex;
mod survey;
mod tidy;
mod uses;
mod view;

#[cfg(test)]
mod tests;

pub use super::{lease::PRUNE, walk::LayerWalk};
pub use copy::CopyProgress;
pub use delete::Deleted;
pub use drain::{MarkState, Waits};
pub use leases::{LeaseInfo, LeaseState};
pub use survey::{Orphan, PackUse, Survey};
pub use tidy::Tidied;

use super::{RepoError, Repository, SnapshotId, WriteOptions, WriteSession, inner::Inner, session::SessionTiming};
use crate::report::Warning;
use std::{sync::Arc, time::Duration};

/// A lease is dead when its newest object has not changed for this long by the observer's own clock.
pub const DEAD_AFTER: Duration = Duration::from_mins(30);

/// A lease is dead, too, when its newest object has lain there for this long by the storage's own clock: as long as above, and
/// as much again for clocks of a service's machines that differ, or are set.
pub const DEAD_BY_STORAGE: Duration = Duration::from_hours(1);

/// How long a mark waits where the storage lists late or lacks conditional create.
pub const GRACE: Duration = Duration::from_hours(24);

/// How a pruner works.
#[derive(Clone)]
pub struct PrunerOptions {
    /// Finds the chunks of layers.
    pub walk: Arc<dyn LayerWalk>,
    /// How long a mark waits after it was first seen, although nothing else stands in its way.
    pub grace: Duration,
    /// Bytes per second to storage; `None` for no limit.
    pub write_limit: Option<u64>,
}

/// A running pruner: a lease of its own, under which it may copy, mark and delete.
pub struct Pruner {
    inner: Arc<Inner>,
    session: WriteSession,
    options: PrunerOptions,
}

impl Repository {
    /// Begins to prune: takes a lease with the purpose `prune`.
    pub fn begin_prune(&self, options: &PrunerOptions, timing: &SessionTiming) -> Result<Pruner, RepoError> {
        let writing =
            WriteOptions { purpose: PRUNE.to_owned(), compression: 0, check: false, write_limit: options.write_limit };
        let session = WriteSession::begin(&self.inner, &writing, timing)?;
        Ok(Pruner { inner: Arc::clone(&self.inner), session, options: options.clone() })
    }
}

impl Pruner {
    /// The name of its lease.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.session.id()
    }

    /// What its first listings met.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        self.session.warnings()
    }

    /// The heartbeats that could not be sent so far, as a warning.
    #[must_use]
    pub fn missed_beats(&self) -> Option<Warning> {
        self.session.missed_beats()
    }

    /// Sends a heartbeat now.
    pub fn beat_now(&self) -> Result<(), RepoError> {
        self.session.beat_now()
    }

    /// Ends: the lease is over.
    pub fn end(self) -> Result<(), RepoError> {
        self.session.close()
    }
}
