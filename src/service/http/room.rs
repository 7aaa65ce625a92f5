//! How many connections there is room for. Each is an open file, and so is all that backups read and write: these come first.

use crate::ops::open_files::{allow, allowed};

/// Files that may be open, where the system would let it be more.
const MOST_FILES: u64 = 65_536;

/// Connections at once, at most so many and half of the files that may be open. As many files as the system allows are asked for.
pub(super) fn connections(most: usize) -> usize {
    if let Err(error) = allow(MOST_FILES) {
        tracing::warn!("no more files than {} may be open: {error}", allowed());
    }
    usize::try_from(allowed() / 2).unwrap_or(usize::MAX).clamp(1, most)
}
