//! The guard against mass disappearance: a cluster that lost records serves what is left without a word. What vanishes in
//! bulk, and has neither expired nor been truncated, is not believed deleted.
//!
//! Counted by partition and by group of 64 partitions, in key order, for collections of digests only.

use crate::{
    connector::{ChangeSource, Doubt},
    record::{KeyRange, Timestamp, digest::PARTITIONS},
};
use std::collections::BTreeMap;

/// Partitions of a group.
const GROUP: u16 = 64;

/// Deletions in a group that are believed whatever their share.
pub(super) const FREE_DELETIONS: u64 = 1000;

/// Records of a partition that do not all go without a reason.
const FEW: u64 = 16;

/// When to doubt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_deleted_percent: u8,
    /// Deletions in a group that are believed whatever their share; where a group lies in several ranges, in each of its
    /// parts.
    pub(super) free_deletions: u64,
    /// A set that was emptied after this time explains what is gone from it.
    pub(super) since: Timestamp,
}

/// What the parent holds of some partitions, and what of it is gone.
#[derive(Debug, Clone, Default)]
struct Tally {
    live: u64,
    present: u64,
    gone: u64,
    gone_by_set: BTreeMap<Vec<u8>, u64>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.live += other.live;
        self.present += other.present;
        self.gone += other.gone;
        for (set, gone) in &other.gone_by_set {
            *self.gone_by_set.entry(set.clone()).or_default() += gone;
        }
    }
}

/// Watches one range of one collection.
pub(super) struct Guard<'a> {
    limits: Option<Limits>,
    source: &'a dyn ChangeSource,
    collection: usize,
    /// By partition.
    tallies: Vec<Tally>,
}

fn partition_of(key: &[u8]) -> usize {
    usize::from(key.first_chunk().map_or(0, |first| u16::from_be_bytes(*first) % PARTITIONS))
}

impl<'a> Guard<'a> {
    /// Without limits it believes everything.
    pub(super) fn new(source: &'a dyn ChangeSource, collection: usize, limits: Option<Limits>) -> Self {
        let mut tallies = Vec::new();
        tallies.resize_with(usize::from(PARTITIONS), Tally::default);
        Self { limits, source, collection, tallies }
    }

    /// A record that is there.
    #[inline]
    pub(super) fn present(&mut self, key: &[u8]) {
        self.tallies[partition_of(key)].present += 1;
    }

    /// A record that the parent holds and that has not expired, there or not.
    #[inline]
    pub(super) fn held(&mut self, key: &[u8]) {
        self.tallies[partition_of(key)].live += 1;
    }

    /// A record that the parent holds and that is proved to be gone.
    pub(super) fn gone(&mut self, key: &[u8], set: &[u8]) {
        let tally = &mut self.tallies[partition_of(key)];
        tally.gone += 1;
        match tally.gone_by_set.get_mut(set) {
            Some(count) => *count += 1,
            None => drop(tally.gone_by_set.insert(set.to_vec(), 1)),
        }
    }

    /// The ranges in which nothing is believed to be deleted.
    pub(super) fn finish(&mut self) -> Vec<Doubt> {
        let Some(limits) = self.limits else { return Vec::new() };
        let tallies = std::mem::take(&mut self.tallies);
        let mut emptied: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        let mut unexplained = |tally: &Tally| -> u64 {
            let mut is_emptied = |set: &Vec<u8>| {
                let ask = || self.source.emptied(self.collection, set).is_some_and(|time| time >= limits.since);
                *emptied.entry(set.clone()).or_insert_with(ask)
            };
            tally.gone_by_set.iter().filter(|(set, _)| !is_emptied(set)).map(|(_, gone)| gone).sum()
        };
        let mut doubts = Vec::new();
        for (first, group) in (0..PARTITIONS).step_by(usize::from(GROUP)).zip(tallies.chunks(usize::from(GROUP))) {
            let mut total = Tally::default();
            for (pid, tally) in (first..).zip(group) {
                if tally.live >= FEW && tally.present == 0 && unexplained(tally) > 0 {
                    let reason =
                        format!("all {} records of partition {pid} are gone, and nothing says why", tally.live);
                    doubts.push(doubt(pid, pid, reason));
                }
                total.add(tally);
            }
            let is_too_much = |gone: u64| {
                gone > limits.free_deletions && gone * 100 > u64::from(limits.max_deleted_percent) * total.live
            };
            if is_too_much(total.gone) {
                let gone = unexplained(&total);
                if is_too_much(gone) {
                    let last = first + GROUP - 1;
                    let reason = format!(
                        "{gone} of {} records of partitions {first}-{last} are gone, and nothing says why",
                        total.live
                    );
                    doubts.push(doubt(first, last, reason));
                }
            }
        }
        doubts
    }
}

fn doubt(first: u16, last: u16, reason: String) -> Doubt {
    let end = (last + 1 < PARTITIONS).then(|| (last + 1).to_be_bytes().to_vec());
    Doubt { range: KeyRange { start: first.to_be_bytes().to_vec(), end }, reason, acceptable: true }
}
