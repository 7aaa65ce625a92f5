//! `--sweep rolling=N`: which part of a key space a run sweeps, so that N runs together sweep all of it.

use super::coverage::{is_unconfirmed, lower_bound};
use crate::{connector::KeyGroups, record::KeyRange, repo::manifest::Collection};

/// The most parts there can be.
pub const MAX_PARTS: u32 = 64;

/// The parts of a key space, gap-free and in order: whole groups, by which what vanished is judged.
fn parts(groups: &dyn KeyGroups, count: u32) -> Vec<KeyRange> {
    let size = groups.cells_in_group().max(1);
    let all = groups.cells() / size;
    let count = (count.clamp(1, MAX_PARTS) as usize).min(all.max(1));
    let border = |part: usize| part * all / count * size;
    KeyRange::between(&(1..count).map(|part| groups.range(border(part)..groups.cells()).start).collect::<Vec<_>>())
}

/// The part whose deletions were proved the longest ago. One in which the parent looked for them and could not believe what it
/// found comes after those that wait: it must not keep them from their turn.
pub(super) fn due(parent: &Collection, groups: &dyn KeyGroups, count: u32) -> KeyRange {
    let waits = |part: &KeyRange| (is_unconfirmed(parent, part), lower_bound(parent, part, true));
    parts(groups, count).into_iter().min_by_key(waits).unwrap_or_else(KeyRange::all)
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

    /// So many cells in each group, named by one byte.
    struct Cells(usize, usize);

    impl KeyGroups for Cells {
        fn cells(&self) -> usize {
            self.0 * self.1
        }

        fn cells_in_group(&self) -> usize {
            self.1
        }

        fn cell_of(&self, key: &[u8]) -> usize {
            usize::from(key[0])
        }

        fn range(&self, cells: std::ops::Range<usize>) -> KeyRange {
            let end = (cells.end < self.cells()).then(|| vec![cells.end as u8]);
            KeyRange { start: vec![cells.start as u8], end }
        }

        fn show(&self, cells: std::ops::Range<usize>) -> String {
            format!("{cells:?}")
        }

        fn few(&self) -> u64 {
            1
        }

        fn free_deletions(&self) -> u64 {
            0
        }
    }

    #[test]
    fn parts_cover_the_key_space_without_a_gap_in_whole_groups() {
        for groups in [1, 3, 64] {
            for count in 1..=MAX_PARTS {
                let parts = parts(&Cells(groups, 4), count);
                assert_eq!(parts.len(), (count as usize).min(groups));
                assert!(parts[0].start.is_empty() && parts[parts.len() - 1].end.is_none());
                for pair in parts.windows(2) {
                    assert_eq!(pair[0].end.as_ref(), Some(&pair[1].start));
                    let border = pair[1].start[0];
                    assert!(border % 4 == 0 && pair[0].start < pair[1].start, "{count}: {border}");
                }
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
