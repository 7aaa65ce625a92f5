//! Reading a cluster in part: what was updated since a time, sweeps, and single records.

use super::{
    batch,
    query::Mode,
    source::AerospikeSession,
    stream::{NamespaceStream, SweepStream},
};
use crate::{
    connector::{
        ChangeSource, ConnectorError,
        change::{MetaBatch, MetaStream, Presence},
    },
    record::{Digest, KeyRange, RecordBatch, RecordStream, StreamError, Timestamp},
};

/// What a lower bound always goes back behind the parent's start.
const MARGIN_MILLIS: i64 = 10_000;

/// Rows of a sweep handed over at once.
const SWEEP_ROWS: usize = 4096;

impl ChangeSource for AerospikeSession {
    fn read_changed(
        &self,
        collection: usize,
        range: &KeyRange,
        since: Timestamp,
    ) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        let context = self.context(collection)?;
        self.begin_reading(collection, range);
        Ok(Box::new(NamespaceStream::open(context, range, Mode::Since(since))))
    }

    fn sweep(
        &self,
        collection: usize,
        range: &KeyRange,
        before: Option<Timestamp>,
    ) -> Result<Box<dyn MetaStream + '_>, ConnectorError> {
        Ok(Box::new(SweepStream::open(self.context(collection)?, range, before)))
    }

    fn read_keys(
        &self,
        collection: usize,
        keys: &[&[u8]],
        batch: &mut RecordBatch,
    ) -> Result<Vec<Presence>, ConnectorError> {
        let context = self.context(collection)?;
        let digests: Option<Vec<Digest>> = keys.iter().map(|key| Digest::from_sort_key(key)).collect();
        let digests = digests.ok_or_else(|| ConnectorError::Mismatch {
            object: self.object.clone(),
            reason: "the parent snapshot holds keys that are no digests".to_owned(),
        })?;
        batch::read(context, &digests, batch).map_err(|error| error.into_connector(&self.object))
    }

    fn margin_millis(&self) -> i64 {
        let spread = match self.options.skew {
            Some(skew) => i64::try_from(skew.as_millis()).unwrap_or(i64::MAX),
            None => self.spread_millis,
        };
        spread.saturating_add(MARGIN_MILLIS)
    }

    fn emptied(&self, collection: usize, set: &[u8]) -> Option<Timestamp> {
        let namespace = &self.collections.get(collection)?.name;
        super::facts::emptied(&self.cluster, namespace, set)
    }
}

impl MetaStream for SweepStream {
    fn next_batch(&mut self, batch: &mut MetaBatch) -> Result<bool, StreamError> {
        batch.clear();
        self.next(SWEEP_ROWS, &mut |key, meta| batch.push(key, *meta))
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.take_unread()
    }
}
