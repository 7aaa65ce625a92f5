//! The guard against mass disappearance: a cluster that lost records serves what is left without a word. What vanishes in
//! bulk, and has neither expired nor been truncated, is not believed deleted.
//!
//! Counted by cell, by group of cells (`connector::KeyGroups`) and over all of a range, in key order, where the source has any:
//! of a collection with few records in each group all may be gone, and no group shows it.

use crate::{
    connector::{ChangeSource, Doubt, KeyGroups},
    record::{KeyRange, Timestamp},
};
use std::{collections::BTreeMap, ops::Range};

/// When to doubt.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    /// How keys fall into cells.
    pub(super) groups: &'a dyn KeyGroups,
    pub(super) max_deleted_percent: u8,
    /// Of all that there was, as of sources that have no cells; 100 for any loss.
    pub(super) max_lost_percent: u8,
    /// Deletions in a group that are believed whatever their share; where a group lies in several ranges, in each of its
    /// parts.
    pub(super) free_deletions: u64,
    /// A set that was emptied after this time explains what is gone from it.
    pub(super) since: Timestamp,
}

/// What the parent holds of some cells, and what of it is gone.
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
    limits: Option<Limits<'a>>,
    source: &'a dyn ChangeSource,
    collection: usize,
    range: KeyRange,
    /// Why no cell and no share of a group is too small to be doubted, if so.
    shaken: Option<String>,
    /// By cell.
    tallies: Vec<Tally>,
}

impl<'a> Guard<'a> {
    /// Without limits it believes everything.
    pub(super) fn new(
        source: &'a dyn ChangeSource,
        collection: usize,
        limits: Option<Limits<'a>>,
        range: KeyRange,
        shaken: Option<String>,
    ) -> Self {
        let mut tallies = Vec::new();
        tallies.resize_with(limits.map_or(0, |limits| limits.groups.cells()), Tally::default);
        Self { limits, source, collection, range, shaken, tallies }
    }

    #[inline]
    fn tally(&mut self, key: &[u8]) -> Option<&mut Tally> {
        let cell = self.limits?.groups.cell_of(key);
        self.tallies.get_mut(cell)
    }

    /// A record that is there.
    #[inline]
    pub(super) fn present(&mut self, key: &[u8]) {
        if let Some(tally) = self.tally(key) {
            tally.present += 1;
        }
    }

    /// A record that the parent holds and that has not expired, there or not.
    #[inline]
    pub(super) fn held(&mut self, key: &[u8]) {
        if let Some(tally) = self.tally(key) {
            tally.live += 1;
        }
    }

    /// A record that the parent holds and that is proved to be gone.
    pub(super) fn gone(&mut self, key: &[u8], set: &[u8]) {
        let Some(tally) = self.tally(key) else { return };
        tally.gone += 1;
        match tally.gone_by_set.get_mut(set) {
            Some(count) => *count += 1,
            None => drop(tally.gone_by_set.insert(set.to_vec(), 1)),
        }
    }

    /// The ranges in which nothing is believed to be deleted.
    pub(super) fn finish(&mut self) -> Vec<Doubt> {
        let Some(limits) = self.limits else { return Vec::new() };
        let groups = limits.groups;
        let tallies = std::mem::take(&mut self.tallies);
        let mut emptied: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        let mut unexplained = |tally: &Tally| -> u64 {
            let mut is_emptied = |set: &Vec<u8>| {
                let ask = || self.source.emptied(self.collection, set).is_some_and(|time| time >= limits.since);
                *emptied.entry(set.clone()).or_insert_with(ask)
            };
            tally.gone_by_set.iter().filter(|(set, _)| !is_emptied(set)).map(|(_, gone)| gone).sum()
        };
        let mut all = Tally::default();
        for tally in &tallies {
            all.add(tally);
        }
        if all.gone == 0 {
            return Vec::new();
        }
        let why = self.shaken.as_deref().unwrap_or("nothing says why");
        let (few, free) = if self.shaken.is_some() { (1, 0) } else { (groups.few(), limits.free_deletions) };
        let doubt =
            |cells: Range<usize>, reason: String| Doubt { range: groups.range(cells), reason, acceptable: true };
        if let Some(lost) = self.lost_of_all(limits, &all, unexplained(&all)) {
            let reason = format!("{lost} of {} are gone, and {why}", groups.show(self.cells(groups)));
            return vec![Doubt { range: self.range.clone(), reason, acceptable: true }];
        }
        let mut doubts = Vec::new();
        let size = groups.cells_in_group().max(1);
        for (number, group) in tallies.chunks(size).enumerate() {
            let first = number * size;
            let mut total = Tally::default();
            for (cell, tally) in (first..).zip(group) {
                if tally.live >= few && tally.present == 0 && unexplained(tally) > 0 {
                    let cell = cell..cell + 1;
                    let shown = groups.show(cell.clone());
                    let reason = format!("all {} records of {shown} are gone, and {why}", tally.live);
                    doubts.push(doubt(cell, reason));
                }
                total.add(tally);
            }
            let is_too_much =
                |gone: u64| gone > free && gone * 100 > u64::from(limits.max_deleted_percent) * total.live;
            if is_too_much(total.gone) {
                let gone = unexplained(&total);
                if is_too_much(gone) {
                    let cells = first..first + group.len();
                    let reason = format!(
                        "{gone} of {} records of {} are gone, and {why}",
                        total.live,
                        groups.show(cells.clone())
                    );
                    doubts.push(doubt(cells, reason));
                }
            }
        }
        doubts
    }

    /// The cells in which the range lies.
    fn cells(&self, groups: &dyn KeyGroups) -> Range<usize> {
        let end = self.range.end.as_ref().map_or(groups.cells(), |end| groups.cell_of(end));
        groups.cell_of(&self.range.start)..end
    }

    /// What of all that the range held is gone without a reason, in words, if that is more than is believed: the share of the
    /// free deletions that falls on it is that of its cells.
    fn lost_of_all(&self, limits: Limits<'_>, all: &Tally, gone: u64) -> Option<String> {
        let groups = limits.groups;
        let cells = self.cells(groups).len() as u64;
        let is_whole = cells == groups.cells() as u64;
        if gone == 0 || limits.max_lost_percent >= 100 {
            return None;
        }
        if all.present == 0 && (is_whole || all.live >= groups.few()) {
            let records = if all.live == 1 { "record" } else { "records" };
            return Some(format!("all {} {records}", all.live));
        }
        let is_much = gone > super::loss::FREE * cells / (groups.cells() as u64).max(1)
            && gone * 100 >= u64::from(limits.max_lost_percent) * all.live;
        is_much.then(|| format!("{gone} of {} records", all.live))
    }
}
