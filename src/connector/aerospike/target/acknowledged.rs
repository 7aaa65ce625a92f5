//! Which node acknowledged writes to which partitions: what it had acknowledged is written again if it turns out to have lost
//! it.

use crate::{
    connector::aerospike::{membership::Lost, select::partition_range},
    record::{KeyRange, digest::PARTITIONS},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

const WORDS: usize = PARTITIONS as usize / 64;

/// A bit for each partition.
#[derive(Debug, Clone)]
pub(super) struct Partitions([u64; WORDS]);

impl Default for Partitions {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl Partitions {
    pub(super) fn insert(&mut self, pid: u16) {
        self.0[usize::from(pid % PARTITIONS) / 64] |= 1 << (pid % 64);
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    fn contains(&self, pid: u16) -> bool {
        self.0[usize::from(pid) / 64] >> (pid % 64) & 1 == 1
    }
}

/// By node.
#[derive(Debug, Default)]
pub(super) struct Acknowledged(Mutex<BTreeMap<String, Partitions>>);

impl Acknowledged {
    /// A node acknowledged writes to these.
    pub(super) fn add(&self, node: &str, partitions: &Partitions) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(node) {
            Some(known) => known.add(partitions),
            None => drop(all.insert(node.to_owned(), partitions.clone())),
        }
    }

    /// The keys of the partitions that lost nodes acknowledged writes to; their words count no more.
    pub(super) fn forget(&self, lost: &Lost) -> Vec<KeyRange> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut partitions = Partitions::default();
        for node in lost.gone.iter().chain(&lost.restarted) {
            if let Some(of_it) = all.remove(node) {
                partitions.add(&of_it);
            }
        }
        (0..PARTITIONS).filter(|pid| partitions.contains(*pid)).map(|pid| partition_range(pid, pid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lost_node_acknowledged_is_told_once() {
        let acknowledged = Acknowledged::default();
        for (node, pids) in [("a", [0, 77]), ("b", [77, 4095]), ("a", [1, 1])] {
            let mut partitions = Partitions::default();
            for pid in pids {
                partitions.insert(pid);
            }
            acknowledged.add(node, &partitions);
        }
        let lost = Lost { restarted: vec!["a".to_owned()], ..Lost::default() };
        let ranges = acknowledged.forget(&lost);
        assert_eq!(ranges, [0, 1, 77].map(|pid| partition_range(pid, pid)));
        assert_eq!(acknowledged.forget(&lost), []);
    }
}
