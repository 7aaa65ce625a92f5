//! What a run learned about the completeness of what it read: missing and doubtful partitions, and nodes that do not tell.

use crate::record::KeyRange;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What one collection's partitions lack.
#[derive(Debug, Default, Clone)]
pub(super) struct Lacks {
    /// Partitions that were not read to their end, with the reason.
    pub(super) missing: BTreeMap<u16, String>,
    /// Partitions whose records may not be all, with the reason.
    pub(super) doubtful: BTreeMap<u16, String>,
    /// Partitions that were read while nodes came or went, or after some were lost, with the reason.
    pub(super) moved: BTreeMap<u16, String>,
    /// Why absences are not proved, if they are not.
    pub(super) unproven: Option<String>,
}

/// The account of a run, by collection.
#[derive(Debug, Default)]
pub(super) struct Account {
    lacks: Mutex<BTreeMap<usize, Lacks>>,
}

impl Account {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Lacks>> {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn missing(&self, collection: usize, pid: u16, reason: &str) {
        self.lock().entry(collection).or_default().missing.insert(pid, reason.to_owned());
    }

    pub(super) fn doubtful(&self, collection: usize, pid: u16, reason: &str) {
        self.lock().entry(collection).or_default().doubtful.insert(pid, reason.to_owned());
    }

    /// What membership was like while these partitions were read: the reason why they may lack records, or `None`.
    pub(super) fn moved(&self, collection: usize, pids: &[u16], reason: Option<&str>) {
        let mut all = self.lock();
        let moved = &mut all.entry(collection).or_default().moved;
        for pid in pids {
            match reason {
                Some(reason) => drop(moved.insert(*pid, reason.to_owned())),
                None => drop(moved.remove(pid)),
            }
        }
    }

    pub(super) fn unproven(&self, collection: usize, reason: &str) {
        self.lock().entry(collection).or_default().unproven.get_or_insert_with(|| reason.to_owned());
    }

    /// A range is read once more: what was said of its partitions no longer counts.
    pub(super) fn forget(&self, collection: usize, holds: impl Fn(u16) -> bool) {
        if let Some(lacks) = self.lock().get_mut(&collection) {
            lacks.missing.retain(|pid, _| !holds(*pid));
            lacks.doubtful.retain(|pid, _| !holds(*pid));
            lacks.moved.retain(|pid, _| !holds(*pid));
        }
    }

    pub(super) fn of(&self, collection: usize) -> Lacks {
        self.lock().get(&collection).cloned().unwrap_or_default()
    }
}

/// Partitions in words: one line for each reason.
pub(super) fn in_words(namespace: &str, what: &str, partitions: &BTreeMap<u16, String>) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for (pid, reason) in partitions {
        by_reason.entry(reason).or_default().push(*pid);
    }
    by_reason
        .into_iter()
        .map(|(reason, pids)| {
            let noun = if pids.len() == 1 { "partition" } else { "partitions" };
            format!("namespace {namespace}: {noun} {} {what}: {reason}", runs(&pids))
        })
        .collect()
}

/// `1, 3-5, 9`, cut short after 20 runs.
fn runs(pids: &[u16]) -> String {
    let mut all: Vec<(u16, u16)> = Vec::new();
    for &pid in pids {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == pid => *last = pid,
            _ => all.push((pid, pid)),
        }
    }
    let show = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let mut shown: Vec<String> = all.iter().take(20).map(show).collect();
    if all.len() > 20 {
        shown.push(format!("… ({} in all)", pids.len()));
    }
    shown.join(", ")
}

/// The keys of one partition.
pub(super) fn partition(pid: u16) -> KeyRange {
    super::select::partition_range(pid, pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_by_runs_and_reason() {
        let mut all = BTreeMap::new();
        for pid in [1, 3, 4, 5] {
            all.insert(pid, "no node masters it".to_owned());
        }
        all.insert(4095, "timeout".to_owned());
        assert_eq!(
            in_words("test", "could not be read", &all),
            [
                "namespace test: partitions 1, 3-5 could not be read: no node masters it",
                "namespace test: partition 4095 could not be read: timeout"
            ]
        );
    }
}
