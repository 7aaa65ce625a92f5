//! One collection being written: batches go to the target in key order, and from time to time it is written down how far it
//! came.

use super::{
    Tally,
    feed::{Damage, Fed, Feed},
    resume::{Ledger, ResumePoint},
};
use crate::{
    connector::CollectionTarget,
    ops::{OpsError, limit::Throttle},
    record::RecordBatch,
};

/// One collection being written.
pub(super) struct Writing<'a, 'b> {
    pub(super) index: usize,
    /// The last key that was handed over.
    pub(super) behind: Option<Vec<u8>>,
    pub(super) writer: &'a mut dyn CollectionTarget,
    pub(super) ledger: &'a mut Ledger<'b>,
    pub(super) tally: Tally,
    /// Lost behind that key.
    pub(super) lost: Damage,
    pub(super) throttle: Throttle,
}

impl Writing<'_, '_> {
    /// Writes all that is fed, and waits until it is done.
    pub(super) fn all(&mut self, feed: &Feed<'_>) -> Result<(), OpsError> {
        let ended = feed.run(&mut |next| match next {
            Fed::Batch(batch, bytes) => self.batch(feed, batch, bytes),
            Fed::Lost(Damage { lost, mut lines }) => {
                self.lost.lost += lost;
                self.lost.lines.append(&mut lines);
                self.lost.lines.truncate(100);
                Ok(())
            }
        });
        let drained = self.writer.drain(&mut self.tally.outcomes);
        if drained.is_ok() && ended.is_err() {
            self.keep();
        }
        self.tally.totals.add(std::mem::take(&mut self.lost));
        ended?;
        Ok(drained?)
    }

    fn batch(&mut self, feed: &Feed<'_>, batch: &mut RecordBatch, bytes: u64) -> Result<(), OpsError> {
        // What was lost before this batch is so for good.
        self.tally.totals.add(std::mem::take(&mut self.lost));
        let records = batch.len();
        let last = records.checked_sub(1).map(|last| batch.row(last).key.to_vec());
        if !self.throttle.spend_unless(bytes, &|| feed.progress.cancelled()) {
            return Err(OpsError::Interrupted);
        }
        self.writer.write(batch, &mut self.tally.outcomes)?;
        self.tally.totals.records += records as u64;
        self.tally.totals.bytes += bytes;
        self.behind = last.or_else(|| self.behind.take());
        feed.progress.count(records as u64, bytes);
        if self.ledger.due() {
            self.writer.drain(&mut self.tally.outcomes)?;
            self.keep();
        }
        Ok(())
    }

    fn keep(&mut self) {
        if self.behind.is_some() {
            self.ledger.keep(ResumePoint { collections: self.index, behind: self.behind.clone() }, &self.tally);
        }
    }
}
