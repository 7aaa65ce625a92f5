//! Rows of tables without a key: equal ones are counted, so each gets the number that a backup would give it.

use crate::{
    connector::postgres::logical::numbered_key,
    layer::Stack,
    ops::OpsError,
    record::{ChangeBatch, KeyRange, RowHead, Timestamp},
};

/// What is live at the end of all that is held.
pub(super) const NOW: Timestamp = Timestamp::from_millis(i64::MAX);

/// How many rows with this hash a stack holds.
fn count(stack: &Stack, hash: &[u8]) -> Result<u64, OpsError> {
    // What follows a hash is the class of a number, which is no 0xff.
    let end = [hash, &[0xff]].concat();
    let mut cursor = stack.cursor(&KeyRange { start: hash.to_vec(), end: Some(end) }, NOW, true)?;
    let mut rows = 0;
    while cursor.advance()? {
        rows += 1;
    }
    Ok(rows)
}

/// Changes whose keys are hashes, with numbers behind them; and the hashes of rows that were deleted and are not there.
pub(super) fn number(changes: &ChangeBatch, stack: &Stack) -> Result<(ChangeBatch, Vec<String>), OpsError> {
    let (mut numbered, mut lost) = (ChangeBatch::default(), Vec::new());
    let order = changes.by_key();
    for rows in order.chunk_by(|a, b| changes.row(*a).key == changes.row(*b).key) {
        let hash = changes.row(rows[0]).key;
        let mut live = count(stack, hash)?;
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
