//! `--sweep rolling=N`: which part of a key space a run sweeps, so that N runs together sweep all of it.

use super::coverage::{is_unconfirmed, lower_bound};
use crate::{
    record::{KeyRange, digest::PARTITIONS},
    repo::manifest::Collection,
};

/// Partitions that stay together: the guard against mass disappearance counts by these.
const GROUP: u32 = 64;

/// The most parts there can be.
pub const MAX_PARTS: u32 = PARTITIONS as u32 / GROUP;

/// The parts of the key space of a collection of digests, gap-free and in order: whole groups of 64 partitions.
fn parts(count: u32) -> Vec<KeyRange> {
    let count = count.clamp(1, MAX_PARTS);
    let border = |part: u32| ((part * MAX_PARTS / count * GROUP) as u16).to_be_bytes().to_vec();
    KeyRange::between(&(1..count).map(border).collect::<Vec<_>>())
}

/// The part whose deletions were proved the longest ago. One in which the parent looked for them and could not believe what it
/// found comes after those that wait: it must not keep them from their turn.
pub(super) fn due(parent: &Collection, count: u32) -> KeyRange {
    let waits = |part: &KeyRange| (is_unconfirmed(parent, part), lower_bound(parent, part, true));
    parts(count).into_iter().min_by_key(waits).unwrap_or_else(KeyRange::all)
}

/// What of `range` lies outside of `part`.
pub(super) fn outside(range: &KeyRange, part: &KeyRange) -> Vec<KeyRange> {
    let before = KeyRange { start: range.start.clone(), end: Some(part.start.clone()) };
    let behind = part.end.clone().map(|start| KeyRange { start, end: range.end.clone() });
    [Some(before), behind].into_iter().flatten().filter_map(|rest| rest.intersection(range)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_key_space_without_a_gap_in_whole_groups() {
        for count in 1..=MAX_PARTS {
            let parts = parts(count);
            assert_eq!(parts.len(), count as usize);
            assert!(parts[0].start.is_empty() && parts[parts.len() - 1].end.is_none());
            for pair in parts.windows(2) {
                assert_eq!(pair[0].end.as_ref(), Some(&pair[1].start));
                let border = u16::from_be_bytes(pair[1].start.as_slice().try_into().unwrap());
                assert!(border % 64 == 0 && pair[0].start < pair[1].start, "{count}: {border}");
            }
        }
    }

    #[test]
    fn what_is_outside_of_a_part_is_the_rest() {
        let range = |from: u8, to: Option<u8>| KeyRange { start: vec![from], end: to.map(|to| vec![to]) };
        let whole = KeyRange::all();
        assert_eq!(outside(&range(1, Some(9)), &range(3, Some(5))), [range(1, Some(3)), range(5, Some(9))]);
        assert_eq!(outside(&range(1, Some(4)), &range(3, Some(5))), [range(1, Some(3))]);
        assert_eq!(outside(&range(6, None), &range(3, Some(5))), [range(6, None)]);
        assert_eq!(outside(&range(1, Some(3)), &range(3, None)), [range(1, Some(3))]);
        assert_eq!(outside(&range(3, Some(4)), &range(3, Some(5))), []);
        assert_eq!(outside(&whole, &whole), []);
    }
}
