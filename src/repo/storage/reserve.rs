//! A little room that is set aside where the disk is ours to fill: what makes room on a full disk has to write first.

use super::{RepoError, Storage};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Somebody is at work who may spend the reserve; ends when it is dropped.
pub struct Spending(Arc<AtomicUsize>);

impl Drop for Spending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Storage {
    /// From here on, and until this is dropped, the reserve is given back when there is no room: for what frees more than it
    /// takes.
    #[must_use]
    pub fn spending(&self) -> Spending {
        self.spending.fetch_add(1, Ordering::SeqCst);
        Spending(Arc::clone(&self.spending))
    }

    pub(super) fn may_spend(&self) -> bool {
        self.spending.load(Ordering::SeqCst) > 0
    }

    /// Sets room aside again, if there is plenty; gives the bytes that are set aside.
    ///
    /// # Errors
    /// [`RepoError::Storage`], of which nobody need care: the reserve is a help and no promise.
    pub fn keep_reserve(&self) -> Result<u64, RepoError> {
        self.backend.keep_reserve().map_err(|error| super::failed("creating", super::local::RESERVE, error))
    }
}
