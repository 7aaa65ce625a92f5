//! The sums of a collection's coverage, carried over from the parent's: what stands is not hashed again. A range gives what comes
//! less what goes, and what all of the parent adds up to is known. Only where a run ends with several rows are the parent's
//! keys added up by rows, and not for the largest of them.

use super::{coverage::Row, jobs::CollectionRun, workers::Workers};
use crate::{
    layer::Stack,
    ops::OpsError,
    record::{CollectionSum, KeyRange},
    repo::manifest::Coverage,
};
use rayon::prelude::*;

/// After how many keys it is asked whether this is still wanted.
const STEP: u64 = 1 << 16;

impl Workers<'_> {
    /// Puts the sums of a coverage's rows together.
    pub(super) fn sum_up(&self, job: &CollectionRun<'_>, rows: Vec<Row>) -> Result<Vec<Coverage>, OpsError> {
        let of_parent = if rows.iter().all(|row| row.sums.carried.is_empty()) {
            vec![CollectionSum::default(); rows.len()]
        } else {
            let (Some(stack), Some(all)) = (self.parent_stack(job)?, job.sum) else {
                return Err(OpsError::Failed("a sum was carried from no parent".to_owned()));
            };
            self.of_parent(stack, all, &rows)?
        };
        let finish = |(row, of_parent): (Row, CollectionSum)| {
            let mut sum = row.sums.sum;
            sum.add(&of_parent);
            debug_assert!(
                row.sums.expected.is_none_or(|expected| expected == sum),
                "the sum of {} that was carried is not what its records add up to",
                job.found.name
            );
            Coverage { sum: sum.to_hex(), ..row.coverage }
        };
        Ok(rows.into_iter().zip(of_parent).map(finish).collect())
    }

    /// What the parent's records in the carried ranges of each row add up to.
    fn of_parent(&self, stack: &Stack, all: CollectionSum, rows: &[Row]) -> Result<Vec<CollectionSum>, OpsError> {
        let largest = rows.iter().enumerate().max_by_key(|(_, row)| row.coverage.records).map(|(at, _)| at);
        let rest = largest.filter(|_| rows.iter().all(|row| !row.sums.has_whole));
        let add_up = |(at, row): (usize, &Row)| -> Result<CollectionSum, OpsError> {
            let ranges = if rest == Some(at) { &[] } else { row.sums.carried.as_slice() };
            let mut sum = CollectionSum::default();
            for range in ranges {
                sum.add(&self.of_keys(stack, range)?);
            }
            Ok(sum)
        };
        let mut sums = rows.par_iter().enumerate().map(add_up).collect::<Result<Vec<_>, OpsError>>()?;
        if let Some(rest) = rest {
            let mut left = all;
            for sum in &sums {
                left.subtract(sum);
            }
            sums[rest] = left;
        }
        Ok(sums)
    }

    /// What the parent's records of a range add up to.
    fn of_keys(&self, stack: &Stack, range: &KeyRange) -> Result<CollectionSum, OpsError> {
        let mut cursor = stack.cursor(range, self.parent_end, true)?;
        let (mut sum, mut scratch, mut count) = (CollectionSum::default(), Vec::new(), 0_u64);
        while cursor.advance()? {
            let (key, meta, fingerprint) = (cursor.key(), cursor.meta(), cursor.fingerprint());
            sum.add(&CollectionSum::of_row(&self.context.collection_key, key, &meta, &fingerprint, &mut scratch));
            count += 1;
            if count.is_multiple_of(STEP) && self.is_stopped() {
                return Err(OpsError::Interrupted);
            }
        }
        Ok(sum)
    }
}
