//! How a namespace's keys fall into cells: partitions, which a node that is lost takes along.

use crate::{
    connector::KeyGroups,
    record::{KeyRange, digest::PARTITIONS},
};
use std::ops::Range;

/// Partitions that are judged together.
const GROUP: usize = 64;

/// Records of a partition that do not all go without a reason.
const FEW: u64 = 16;

/// Deletions in a group that are believed whatever their share.
const FREE_DELETIONS: u64 = 1000;

/// The partitions of a namespace.
#[derive(Debug)]
pub(super) struct Partitions;

impl KeyGroups for Partitions {
    fn cells(&self) -> usize {
        usize::from(PARTITIONS)
    }

    fn cells_in_group(&self) -> usize {
        GROUP
    }

    fn cell_of(&self, key: &[u8]) -> usize {
        usize::from(key.first_chunk().map_or(0, |first| u16::from_be_bytes(*first) % PARTITIONS))
    }

    fn range(&self, cells: Range<usize>) -> KeyRange {
        let border = |pid: usize| (pid as u16).to_be_bytes().to_vec();
        KeyRange { start: border(cells.start), end: (cells.end < self.cells()).then(|| border(cells.end)) }
    }

    fn show(&self, cells: Range<usize>) -> String {
        let last = cells.end.saturating_sub(1);
        if last <= cells.start { format!("partition {last}") } else { format!("partitions {}-{last}", cells.start) }
    }

    fn few(&self) -> u64 {
        FEW
    }

    fn free_deletions(&self) -> u64 {
        FREE_DELETIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cover_all_keys_and_are_named() {
        let all = Partitions.range(0..Partitions.cells());
        assert!(all.contains(&[0, 0]) && all.contains(&[0xff; 22]) && all.end.is_none());
        assert_eq!(Partitions.range(64..128), KeyRange { start: vec![0, 64], end: Some(vec![0, 128]) });
        assert_eq!(Partitions.cell_of(&[0x0f, 0xff, 7]), 4095);
        assert_eq!(Partitions.show(5..6), "partition 5");
        assert_eq!(Partitions.show(64..128), "partitions 64-127");
    }
}
