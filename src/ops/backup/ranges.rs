//! The key ranges that a collection is read by.
//!
//! A range is what one worker reads at a time, and what a backup that broke off need not read again. Each costs a block
//! that ends early and at least a block in every delta that has something in it. In memory it takes the entries behind its
//! last list, 1 200 of 180 bytes on average if it is large: 55 MB for 256 ranges. The numbers for expiries take up to 3 MB
//! (`layer::join::expiring`) and are kept together for neighbours where there are more than 64 ranges: 192 MB at worst.

use crate::{
    connector::{SourceSession, Spread},
    ops::OpsError,
    record::KeyRange,
    repo::{Checkpoint, checkpoint::CheckpointCollection},
};

/// The plaintext of one key range, roughly; small enough that workers finish together, large enough that the odd block at
/// its end does not matter.
const RANGE_BYTES: u64 = 96 * 1024 * 1024;

/// The same of records that lie evenly, where ranges can begin anywhere: 62 blocks and a half.
const EVEN_RANGE_BYTES: u64 = 16 * 1024 * 1024;

/// The most ranges of one collection.
const MAX_RANGES: u64 = 64;

/// What a range of evenly lying records grows to before there are more than [`MAX_RANGES`] of them.
const LARGE_RANGE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The most ranges of evenly lying records.
const MAX_EVEN_RANGES: u64 = 256;

/// How many ranges a collection of so many bytes is read by.
fn parts(spread: Spread, bytes: u64) -> u64 {
    if spread == Spread::Uneven {
        return (bytes / RANGE_BYTES).clamp(1, MAX_RANGES);
    }
    // A power of two: then groups of cells, by which vanished records are judged, lie within one range.
    let few = (bytes / EVEN_RANGE_BYTES).clamp(1, MAX_RANGES);
    few.max((bytes / LARGE_RANGE_BYTES).min(MAX_EVEN_RANGES)).next_power_of_two()
}

/// The ranges of a collection that has no base: those of the backup that broke off, or new ones.
pub(super) fn of_base(
    session: &dyn SourceSession,
    collection: usize,
    resumed: Option<&Checkpoint>,
) -> Result<Vec<KeyRange>, OpsError> {
    let Some(found) = session.collections().get(collection) else { return Ok(vec![KeyRange::all()]) };
    let earlier = resumed.iter().flat_map(|checkpoint| &checkpoint.collections);
    let mut earlier = earlier.filter(|it| it.name == found.name && it.codec == found.codec && !it.spans.is_empty());
    if let Some(ranges) = earlier.find_map(CheckpointCollection::ranges) {
        return Ok(ranges);
    }
    let parts = parts(session.spread(collection), found.estimated_bytes);
    let splits = if parts > 1 { session.splits(collection, parts as usize)? } else { Vec::new() };
    Ok(KeyRange::between(&splits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn what_lies_evenly_is_split_sooner_and_by_powers_of_two() {
        assert_eq!((parts(Spread::Uneven, 95 * MIB), parts(Spread::Uneven, 960 * MIB)), (1, 10));
        assert_eq!(parts(Spread::Uneven, u64::MAX), 64);
        let gib = 1024 * MIB;
        let sizes = [0, 31 * MIB, 32 * MIB, 48 * MIB, gib, 128 * gib, 280 * gib, u64::MAX];
        assert_eq!(sizes.map(|bytes| parts(Spread::Even, bytes)), [1, 1, 2, 4, 64, 64, 256, 256]);
    }
}
