//! The one seam through which randomness comes into the repository room.

use super::{RepoError, SnapshotId};

/// Fills `bytes` from the operating system's generator.
pub fn fill(bytes: &mut [u8]) -> Result<(), RepoError> {
    getrandom::fill(bytes).map_err(|error| RepoError::Invalid(format!("the system gives no random numbers: {error}")))
}

/// Draws the name of a lease and its snapshot.
pub fn snapshot_id() -> Result<SnapshotId, RepoError> {
    let mut id = [0; 16];
    fill(&mut id)?;
    Ok(SnapshotId(id))
}
