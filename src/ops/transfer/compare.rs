//! What was written anew, record by record against what it was made of; and the coverage of the copy, whose fingerprints are under
//! the target's keys.

use super::{
    Transfer,
    source::{Held, Source},
};
use crate::{
    layer::{LayerContext, Stack, StackCursor, stack::VersionValue},
    ops::{OpsError, crew::each},
    record::{CollectionSum, KeyRange, fingerprint::FingerprintStream},
    repo::{RepoError, Snapshot, manifest::Coverage},
};
use data_encoding::HEXLOWER;
use std::{
    io::Read,
    sync::{Mutex, PoisonError},
};

/// What is compared at a time of values in pieces.
const STEP_BYTES: u64 = 256 * 1024;

/// Records between two looks whether to stop.
const LOOK_AFTER: u64 = 4096;

/// What a row of coverage adds up to, here and there.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    records: u64,
    ours: CollectionSum,
    theirs: CollectionSum,
}

/// Compares a collection with its copy; gives the copy's coverage.
pub(super) fn compare(
    job: &Transfer<'_>,
    source: &Source<'_>,
    copy: &Stack,
    ranges: &[KeyRange],
    snapshot: &Snapshot,
) -> Result<Vec<Coverage>, OpsError> {
    let rows = &source.collection.coverage;
    let object =
        || format!("the coverage of collection {} of snapshot {}", source.collection.name, snapshot.id.short());
    let covered: Vec<KeyRange> = rows
        .iter()
        .map(range_of)
        .collect::<Option<_>>()
        .ok_or_else(|| OpsError::from(RepoError::damaged(object(), "a key in it is none")))?;
    let parts = |(row, covered): (usize, &KeyRange)| {
        let parts: Vec<_> = ranges.iter().filter_map(|range| Some((row, covered.intersection(range)?))).collect();
        parts
    };
    let parts: Vec<(usize, KeyRange)> = covered.iter().enumerate().flat_map(parts).collect();
    let comparing = Comparing {
        job,
        source,
        copy,
        snapshot,
        ours: LayerContext::new(job.from.secrets()),
        theirs: LayerContext::new(job.to.secrets()),
    };
    let sums = Mutex::new(vec![Sums::default(); rows.len()]);
    each(job.options.parallel, parts.iter(), job.progress, |(row, range)| {
        let part = comparing.range(range)?;
        let sum = &mut sums.lock().unwrap_or_else(PoisonError::into_inner)[*row];
        sum.records += part.records;
        sum.ours.add(&part.ours);
        sum.theirs.add(&part.theirs);
        Ok(())
    })?;
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let made = rows.iter().zip(sums).map(|(row, sum)| {
        if sum.ours.to_hex() != row.sum || sum.records != row.records {
            let reason = format!(
                "{} records can be read and {} were backed up, or they differ: the collection fingerprint differs",
                sum.records, row.records
            );
            return Err(RepoError::damaged(object(), reason).into());
        }
        Ok(Coverage { sum: sum.theirs.to_hex(), ..row.clone() })
    });
    made.collect()
}

fn range_of(row: &Coverage) -> Option<KeyRange> {
    let key = |hex: &str| HEXLOWER.decode(hex.as_bytes()).ok();
    let end = match &row.to {
        Some(to) => Some(key(to)?),
        None => None,
    };
    Some(KeyRange { start: key(&row.from)?, end })
}

struct Comparing<'a> {
    job: &'a Transfer<'a>,
    source: &'a Source<'a>,
    copy: &'a Stack,
    snapshot: &'a Snapshot,
    ours: LayerContext,
    theirs: LayerContext,
}

impl Comparing<'_> {
    fn range(&self, range: &KeyRange) -> Result<Sums, OpsError> {
        let end = self.source.end;
        let mut ours = self.source.stack.cursor(range, end, false)?;
        let mut theirs = self.copy.cursor(range, end, false)?;
        let mut before = Held::of(self.source, range)?;
        let (mut sums, mut scratch) = (Sums::default(), Vec::new());
        loop {
            let (has_ours, has_theirs) = (ours.advance()?, theirs.advance()?);
            if !has_ours && !has_theirs {
                return Ok(sums);
            }
            let is_alike = has_ours
                && has_theirs
                && ours.key() == theirs.key()
                && ours.meta() == theirs.meta()
                && ours.value_bytes() == theirs.value_bytes();
            let is_alike = is_alike && (before.has(&ours)? || self.are_equal(&mut ours, &mut theirs)?);
            if !is_alike {
                let key = if has_ours { ours.key() } else { theirs.key() };
                return Err(self.differs(key));
            }
            let of = |cursor: &StackCursor<'_>, context: &LayerContext, scratch: &mut Vec<u8>| {
                let (key, meta, print) = (cursor.key(), cursor.meta(), cursor.fingerprint());
                CollectionSum::of_row(&context.collection_key, key, &meta, &print, scratch)
            };
            sums.ours.add(&of(&ours, &self.ours, &mut scratch));
            sums.theirs.add(&of(&theirs, &self.theirs, &mut scratch));
            sums.records += 1;
            if sums.records.is_multiple_of(LOOK_AFTER) && self.job.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
        }
    }

    fn differs(&self, key: &[u8]) -> OpsError {
        let collection = self.source.collection;
        OpsError::Failed(format!(
            "the copy of snapshot {} differs from it at {} of collection {}: nothing was committed",
            self.snapshot.id.short(),
            collection.codec.show(key),
            collection.name
        ))
    }

    /// Whether both values are the same bytes, and what their fingerprints say.
    fn are_equal(&self, ours: &mut StackCursor<'_>, theirs: &mut StackCursor<'_>) -> Result<bool, OpsError> {
        let (ours, theirs) = (ours.row()?, theirs.row()?);
        if ours.shape != theirs.shape {
            return Ok(false);
        }
        let mut prints = [
            self.ours.fingerprinter.start(&ours.shape, ours.meta.user_key),
            self.theirs.fingerprinter.start(&theirs.shape, theirs.meta.user_key),
        ];
        let (mut one, mut other) = (reader(ours.value), reader(theirs.value));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        loop {
            a.clear();
            b.clear();
            fill(&mut one, &mut a)?;
            fill(&mut other, &mut b)?;
            if a != b {
                return Ok(false);
            }
            if a.is_empty() {
                break;
            }
            for print in &mut prints {
                print.append(&a);
            }
        }
        let [print_of_ours, print_of_theirs] = prints.map(FingerprintStream::finish);
        Ok(print_of_ours == ours.fingerprint && print_of_theirs == theirs.fingerprint)
    }
}

fn reader(value: VersionValue<'_>) -> Box<dyn Read + '_> {
    match value {
        VersionValue::Inline(bytes) => Box::new(bytes),
        VersionValue::Pieces { reader, .. } => reader,
    }
}

fn fill(reader: &mut dyn Read, into: &mut Vec<u8>) -> Result<(), OpsError> {
    match reader.take(STEP_BYTES).read_to_end(into) {
        Ok(_) => Ok(()),
        Err(error) => match error.downcast::<crate::layer::LayerError>() {
            Ok(error) => Err(error.into()),
            Err(error) => Err(OpsError::Failed(error.to_string())),
        },
    }
}
