//! Groups are read a few columns at a time: one request for each member and row.

use super::{BLOCK_BYTES, outline::Member};
use crate::repo::{RepoError, Storage, pack};
use std::ops::Range;

/// So many columns are looked at together.
const COLUMNS: usize = 16;

/// So many columns, in stretches.
pub(super) fn stretches(columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns).step_by(COLUMNS).map(move |first| first..(first + COLUMNS).min(columns))
}

/// The whole of an object's range, or nothing where it is not to be had for good.
///
/// # Errors
/// Trouble of the storage; [`RepoError::Archived`] if it has to be thawed first.
pub(super) fn read(storage: &Storage, path: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, RepoError> {
    match storage.read_range(path, range) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error @ RepoError::Archived { .. }) => Err(error),
        Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// [`read`] of the blocks that a member has in these columns.
pub(super) fn of_member(
    storage: &Storage,
    member: &Member,
    columns: &Range<usize>,
) -> Result<Option<Vec<u8>>, RepoError> {
    let end = columns.end.min(member.blocks());
    read(storage, &pack::path(&member.name), (columns.start * BLOCK_BYTES) as u64..(end * BLOCK_BYTES) as u64)
}

/// A block of what was read.
pub(super) fn block(bytes: Option<&Vec<u8>>, number: usize) -> Option<&[u8]> {
    bytes?.get(number * BLOCK_BYTES..(number + 1) * BLOCK_BYTES)
}
