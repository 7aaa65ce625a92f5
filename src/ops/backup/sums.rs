//! What ranges give to the sum of a row of the coverage, and what a parent's records add up to.

use crate::{
    layer::RangeOutcome,
    record::{CollectionSum, KeyRange},
    repo::manifest::Collection,
};

/// What the ranges of one row give to its sum.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) sum: CollectionSum,
    /// Ranges to which the parent's sum has to be added: as few as there can be.
    pub(super) carried: Vec<KeyRange>,
    /// Whether there are others.
    pub(super) has_whole: bool,
    /// What the sum has to be, where that is known.
    pub(super) expected: Option<CollectionSum>,
}

impl Default for Sums {
    fn default() -> Self {
        // No record adds up to nothing.
        let expected = Some(CollectionSum::default());
        Self { sum: CollectionSum::default(), carried: Vec::new(), has_whole: false, expected }
    }
}

impl Sums {
    pub(super) fn add(&mut self, range: &KeyRange, outcome: &RangeOutcome) {
        self.sum.add(&outcome.sum);
        let added_up = if outcome.carried { outcome.added_up } else { Some(outcome.sum) };
        self.expected = self.expected.zip(added_up).map(|(mut all, more)| {
            all.add(&more);
            all
        });
        match self.carried.last_mut() {
            _ if !outcome.carried => self.has_whole = true,
            Some(last) if last.end.as_ref() == Some(&range.start) => last.end.clone_from(&range.end),
            _ => self.carried.push(range.clone()),
        }
    }
}

/// What all records of a snapshot's collection add up to; `None` if its coverage does not say that.
pub(super) fn known_sum(collection: &Collection) -> Option<CollectionSum> {
    let covered = collection.coverage.iter().try_fold(0_u64, |sum, row| sum.checked_add(row.records));
    if !collection.counted || covered != Some(collection.records) {
        return None;
    }
    collection.coverage.iter().try_fold(CollectionSum::default(), |mut sum, row| {
        sum.add(&CollectionSum::from_hex(&row.sum)?);
        Some(sum)
    })
}
