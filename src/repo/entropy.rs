//! The one seam through which randomness comes into the repository room.

use super::{RepoError, SnapshotId};

/// Fills `bytes` from the operating system's generator.
pub fn fill(bytes: &mut [u8]) -> Result<(), RepoError> {
    #[cfg(debug_assertions)]
    if seeded::fill(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes).map_err(|error| RepoError::Internal(format!("the system gives no random numbers: {error}")))
}

/// Draws the name of a lease and its snapshot.
pub fn snapshot_id() -> Result<SnapshotId, RepoError> {
    let mut id = [0; 16];
    fill(&mut id)?;
    Ok(SnapshotId(id))
}

/// For simulations: numbers that depend on a seed alone, for the calling thread. Builds for use do not have this.
#[cfg(debug_assertions)]
pub mod seeded {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
    }

    /// From now on this thread draws from `seed`; `None` gives it the system's generator again.
    pub fn set(seed: Option<u64>) {
        STATE.set(seed.map(|seed| (seed, 0)));
    }

    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        let Some((seed, draws)) = STATE.get() else { return false };
        STATE.set(Some((seed, draws + 1)));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&draws.to_le_bytes());
        hasher.finalize_xof().fill(bytes);
        true
    }
}
