//! Changes as a stream brings them: records as they were written, and deletions, each with its time.

use super::{BatchRow, Meta, RecordBatch, RowHead, Shape, Timestamp};
use std::sync::Arc;

/// When a version was made, and which it is among those of one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VersionTime {
    /// Milliseconds since 1970.
    pub millis: u64,
    /// The greater is the later.
    pub order: u64,
}

impl VersionTime {
    /// The last that is not after a time; `None` before 1970.
    #[must_use]
    pub fn last_at(time: Timestamp) -> Option<Self> {
        Some(Self { millis: u64::try_from(time.as_millis()).ok()?, order: u64::MAX })
    }

    /// As a point in time.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.millis).unwrap_or(i64::MAX))
    }
}

/// What a change was, beside the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeTime {
    /// When it was made.
    pub time: VersionTime,
    /// Whether the record was deleted.
    pub is_deletion: bool,
}

/// Changes in the order in which they came.
#[derive(Debug, Default)]
pub struct ChangeBatch {
    rows: RecordBatch,
    times: Vec<ChangeTime>,
    nothing: Option<Arc<Shape>>,
}

impl ChangeBatch {
    /// Adds a change to a record that `write` puts into the batch that it is given; what it puts there before it fails is
    /// taken back.
    ///
    /// # Errors
    /// What `write` says.
    pub fn put<E>(
        &mut self,
        time: VersionTime,
        write: impl FnOnce(&mut RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.rows.len();
        let written = write(&mut self.rows);
        if written.is_err() || self.rows.len() != before + 1 {
            self.rows.truncate(before);
            return written;
        }
        self.times.push(ChangeTime { time, is_deletion: false });
        Ok(())
    }

    /// Adds the deletion of a record.
    pub fn delete(&mut self, time: VersionTime, key: &[u8], generation: u32) {
        let nothing = self.nothing.get_or_insert_with(|| Arc::new(Shape::new(Vec::new())));
        let meta = Meta { generation, ..Meta::default() };
        self.rows.push_held(RowHead { key, meta }, nothing);
        self.times.push(ChangeTime { time, is_deletion: true });
    }

    /// The number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.times.len() * size_of::<ChangeTime>()
    }

    /// Forgets the changes, keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.times.clear();
    }

    /// The record of a change; of a deletion its key and generation.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    #[must_use]
    pub fn row(&self, index: usize) -> BatchRow<'_> {
        self.rows.row(index)
    }

    /// When a change was made.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    #[must_use]
    pub fn time(&self, index: usize) -> ChangeTime {
        self.times[index]
    }

    /// The changes by key, those of one key in the order in which they came.
    #[must_use]
    pub fn by_key(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|a, b| self.row(*a).key.cmp(self.row(*b).key));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_by_key_and_what_failed_leaves_nothing() {
        let mut batch = ChangeBatch::default();
        let shape = Arc::new(Shape::new(vec![b"a".to_vec()]));
        let at = |millis| VersionTime { millis, order: 0 };
        let mut put = |key: &'static [u8], millis, fails: bool| {
            batch.put(at(millis), |rows| {
                rows.push_encoded(RowHead { key, meta: Meta::default() }, &shape, &[4, 1]);
                if fails { Err("no") } else { Ok(()) }
            })
        };
        put(b"b", 1, false).unwrap();
        put(b"a", 2, true).unwrap_err();
        put(b"a", 3, false).unwrap();
        batch.delete(at(2), b"b", 7);
        let order = batch.by_key();
        let shown: Vec<_> = order.iter().map(|at| (batch.row(*at).key, batch.time(*at).time.millis)).collect();
        assert_eq!(shown, [(b"a".as_slice(), 3), (b"b", 1), (b"b", 2)]);
        assert!(batch.time(order[2]).is_deletion && batch.row(order[2]).meta.generation == 7);
    }
}
