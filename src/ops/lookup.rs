//! Single records of a snapshot by their keys.

use super::{OpsError, current::push_current};
use crate::{
    connector::RecordLookup,
    layer::Stack,
    record::{KeyRange, RecordBatch, StreamError, Timestamp},
    repo::{
        ChunkReader, Repository,
        manifest::{Collection, LayerRef},
    },
};
use std::sync::{Arc, Mutex, PoisonError};

/// The records of one collection of a snapshot. Nothing is opened before the first is asked for.
pub(in crate::ops) struct Records {
    chunks: Arc<dyn ChunkReader>,
    layers: Vec<LayerRef>,
    at: Timestamp,
    stack: Mutex<Option<Stack>>,
}

impl Records {
    /// The records that are live at `at`.
    pub(in crate::ops) fn of(repo: &Repository, collection: &Collection, at: Timestamp) -> Self {
        Self { chunks: repo.chunks(), layers: collection.stack.clone(), at, stack: Mutex::default() }
    }

    fn find_one(&self, key: &[u8], batch: &mut RecordBatch) -> Result<bool, OpsError> {
        batch.clear();
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = match &*stack {
            Some(stack) => stack,
            None => stack.insert(Stack::open(&self.chunks, &self.layers)?),
        };
        let mut cursor = stack.cursor(&KeyRange::only(key), self.at, false)?;
        if !cursor.advance()? {
            return Ok(false);
        }
        push_current(&mut cursor, batch)?;
        Ok(true)
    }
}

impl RecordLookup for Records {
    fn find(&self, key: &[u8], batch: &mut RecordBatch) -> Result<bool, StreamError> {
        Ok(self.find_one(key, batch)?)
    }
}
