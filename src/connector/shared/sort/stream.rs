//! Sorted records as a stream.

use super::{super::shapes::Shapes, duplicates::Duplicates, entry::Entry, merge::Merge};
use crate::record::{
    Expiry, KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError,
    bytes::{DecodeError, Reader},
};

const BATCH_BYTES: usize = 1 << 20;

/// The records of a range; `origin` names the file in errors.
pub(in crate::connector) struct SortedStream {
    merge: Merge,
    range: KeyRange,
    origin: String,
    duplicates: Duplicates,
    /// The record that comes next, unless another one has its key.
    waiting: Waiting,
    shapes: Shapes,
    done: bool,
}

/// A record that waits for what follows it, in memory that is used again.
#[derive(Default)]
struct Waiting {
    is_there: bool,
    key: Vec<u8>,
    line: u64,
    body: Vec<u8>,
}

impl SortedStream {
    pub(super) fn new(merge: Merge, range: &KeyRange, origin: &str, duplicates: Duplicates) -> Self {
        if let Duplicates::LastWins(twice) = &duplicates {
            twice.begin(range);
        }
        Self {
            merge,
            range: range.clone(),
            origin: origin.to_owned(),
            duplicates,
            waiting: Waiting::default(),
            shapes: Shapes::default(),
            done: false,
        }
    }
}

impl RecordStream for SortedStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while !self.done && batch.bytes() < BATCH_BYTES {
            if let Err(error) = self.merge.advance() {
                return Err(format!("read a temporary file of {}: {error}", self.origin).into());
            }
            let next =
                self.merge.entry().filter(|next| self.range.end.as_ref().is_none_or(|end| next.key < end.as_slice()));
            self.done = next.is_none();
            if next.is_some_and(|next| next.key < self.range.start.as_slice()) {
                continue;
            }
            let waiting = &mut self.waiting;
            if waiting.is_there {
                match (next, &self.duplicates) {
                    (Some(next), Duplicates::Refused) if next.key == waiting.key => {
                        let (one, other) = (waiting.line, next.line);
                        return Err(format!("lines {one} and {other} of {} have the same key", self.origin).into());
                    }
                    (Some(next), Duplicates::LastWins(twice)) if next.key == waiting.key => {
                        twice.note(&self.range, (waiting.key.clone(), waiting.line, next.line));
                    }
                    _ => push(
                        batch,
                        &mut self.shapes,
                        &Entry { key: &waiting.key, line: waiting.line, body: &waiting.body },
                    )?,
                }
            }
            waiting.is_there = next.is_some();
            if let Some(next) = next {
                waiting.line = next.line;
                waiting.key.clear();
                waiting.key.extend_from_slice(next.key);
                waiting.body.clear();
                waiting.body.extend_from_slice(next.body);
            }
        }
        Ok(!batch.is_empty())
    }
}

fn push(batch: &mut RecordBatch, shapes: &mut Shapes, entry: &Entry<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(entry.body);
    let set = reader.slice("a set")?;
    let generation = reader.u32("a generation")?;
    let expiry = Expiry::from_millis(reader.u64("an expiry")?);
    let stamp = reader.u64("a stamp")?;
    let user_key = match reader.u8("a user key")? {
        0 => None,
        _ => Some(reader.slice("a user key")?),
    };
    let names = reader.slice("the cell names")?;
    let shape = shapes.of(names)?;
    let meta = Meta { set, generation, expiry, stamp, user_key };
    batch.push_encoded(RowHead { key: entry.key, meta }, &shape, reader.rest());
    Ok(())
}
