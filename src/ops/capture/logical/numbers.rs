//! Rows of tables without a key: equal ones are counted, so each gets the number that a backup would give it.

use crate::{
    connector::postgres::logical::numbered_key,
    layer::Stack,
    ops::OpsError,
    record::{ChangeBatch, KeyRange, RowHead, Timestamp},
};

/// What is live at the end of all that is held.
pub(super) const NOW: Timestamp = Timestamp::from_millis(i64::MAX);

/// One lookup costs about as much as passing so many rows.
const LOOKUP_ROWS: u64 = 100;

/// The keys with this hash: what follows a hash is the class of a number, which is no 0xff.
fn end_of(hash: &[u8]) -> Vec<u8> {
    [hash, &[0xff]].concat()
}

/// How many rows with each of these ascending hashes a stack holds.
fn counts(stack: &Stack, hashes: &[&[u8]]) -> Result<Vec<u64>, OpsError> {
    let rows: u64 = stack.layers().iter().map(|layer| layer.reference().rows).sum();
    let by_lookup = (hashes.len() as u64).saturating_mul(LOOKUP_ROWS) < rows;
    let runs: Vec<&[&[u8]]> = hashes.chunks(if by_lookup { 1 } else { hashes.len().max(1) }).collect();
    let mut counts = Vec::with_capacity(hashes.len());
    for run in runs {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let mut cursor = stack.cursor(&KeyRange { start: first.to_vec(), end: Some(end_of(last)) }, NOW, true)?;
        let mut more = cursor.advance()?;
        for hash in run {
            while more && cursor.key() < *hash {
                more = cursor.advance()?;
            }
            let mut count = 0;
            while more && cursor.key().starts_with(hash) {
                count += 1;
                more = cursor.advance()?;
            }
            counts.push(count);
        }
    }
    Ok(counts)
}

/// Changes whose keys are hashes, with numbers behind them; and the hashes of rows that were deleted and are not there.
pub(super) fn number(changes: &ChangeBatch, stack: &Stack) -> Result<(ChangeBatch, Vec<String>), OpsError> {
    let (mut numbered, mut lost) = (ChangeBatch::default(), Vec::new());
    let order = changes.by_key();
    let groups: Vec<&[usize]> = order.chunk_by(|a, b| changes.row(*a).key == changes.row(*b).key).collect();
    let hashes: Vec<&[u8]> = groups.iter().map(|rows| changes.row(rows[0]).key).collect();
    let counts = counts(stack, &hashes)?;
    for ((rows, hash), mut live) in groups.into_iter().zip(hashes).zip(counts) {
        for &at in rows {
            let (row, change) = (changes.row(at), changes.time(at));
            if change.is_deletion {
                let Some(left) = live.checked_sub(1) else {
                    lost.push(data_encoding::HEXLOWER.encode(hash));
                    continue;
                };
                live = left;
                numbered.delete(change.time, &numbered_key(hash, live), 0);
                continue;
            }
            let key = numbered_key(hash, live);
            live += 1;
            let put = numbered.put(change.time, |rows| {
                rows.push_encoded(RowHead { key: &key, meta: row.meta }, row.shape, row.value);
                Ok::<_, std::convert::Infallible>(())
            });
            match put {
                Ok(()) => {}
                Err(never) => match never {},
            }
        }
    }
    Ok((numbered, lost))
}
