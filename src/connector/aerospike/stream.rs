//! The records of a key range as they are wanted: whole, or their keys for a sweep.

use super::{
    decode::{Decoder, meta_of},
    feed::Feed,
    query::Mode,
    scan::ScanContext,
};
use crate::record::{KeyRange, Meta, RecordBatch, RecordStream, StreamError, Timestamp};

/// A batch is handed over at this size.
const BATCH_BYTES: usize = 1024 * 1024;

/// The records of a range as batches.
pub(super) struct NamespaceStream {
    feed: Feed,
    decoder: Decoder,
}

impl NamespaceStream {
    pub(super) fn open(context: &ScanContext, range: &KeyRange, mode: Mode) -> Self {
        Self { feed: Feed::open(context, range, mode), decoder: Decoder::default() }
    }
}

impl RecordStream for NamespaceStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        let more = self.feed.give(|message, digest| {
            self.decoder.push(message, digest, batch)?;
            Ok(batch.bytes() >= BATCH_BYTES)
        })?;
        Ok(more || !batch.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.feed.unread()
    }
}

/// Keys and key rows of a range, for a sweep.
pub(super) struct SweepStream {
    feed: Feed,
}

impl SweepStream {
    pub(super) fn open(context: &ScanContext, range: &KeyRange, before: Option<Timestamp>) -> Self {
        Self { feed: Feed::open(context, range, before.map_or(Mode::Meta, Mode::MetaBefore)) }
    }

    /// Calls `take` with about this many more records; `false` at the end.
    pub(super) fn next(&mut self, count: usize, take: &mut dyn FnMut(&[u8], &Meta<'_>)) -> Result<bool, StreamError> {
        let mut taken = 0;
        let more = self.feed.give(|message, digest| {
            take(&digest.sort_key(), &meta_of(message));
            taken += 1;
            Ok(taken >= count)
        })?;
        Ok(more || taken > 0)
    }

    pub(super) fn take_unread(&mut self) -> Option<KeyRange> {
        self.feed.unread()
    }
}
