//! In place of the official client, where this program was built without it: nothing can be asked of it.

use super::{cluster::Cluster, options::AerospikeOptions};
use crate::{
    connector::change::ChangeSource,
    record::{KeyRange, RecordBatch, RecordStream, StreamError},
};
use serde_json::Value as Json;
use std::{
    convert::Infallible,
    sync::{Arc, atomic::AtomicU64},
};

/// There is none.
#[derive(Debug)]
pub(super) struct Official(Infallible);

/// An index to be made.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "nobody reads what nobody is asked to make")]
pub(super) struct IndexSpec<'a> {
    pub(super) namespace: &'a str,
    pub(super) set: &'a str,
    pub(super) name: &'a str,
    pub(super) bin: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) index_type: &'a str,
    pub(super) context: Option<&'a str>,
    pub(super) expression: Option<&'a str>,
}

impl Official {
    pub(super) fn connect(_: &Cluster, _: &AerospikeOptions) -> Result<Self, String> {
        Err("this program was built without it".to_owned())
    }

    pub(super) fn make_index(&self, _: &IndexSpec<'_>) -> Option<Result<(), String>> {
        match self.0 {}
    }

    pub(super) fn is_live(&self, _: &str, _: &str) -> Option<bool> {
        match self.0 {}
    }

    pub(super) fn drop_index(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        match self.0 {}
    }

    pub(super) fn put_module(&self, _: &str, _: &[u8], _: &str) -> Option<Result<(), String>> {
        match self.0 {}
    }

    pub(super) fn users(&self) -> Result<Vec<Json>, String> {
        match self.0 {}
    }

    pub(super) fn roles(&self) -> Result<Vec<Json>, String> {
        match self.0 {}
    }
}

/// What was read by it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) records: AtomicU64,
    pub(super) completed: AtomicU64,
}

/// Reads by it.
pub(super) struct SecondReader(Infallible);

impl SecondReader {
    pub(super) fn new(
        official: &Arc<Official>,
        _: &str,
        _: (&dyn ChangeSource, usize),
        _: &KeyRange,
        _: Arc<Seen>,
    ) -> Self {
        match official.0 {}
    }
}

impl RecordStream for SecondReader {
    fn next_batch(&mut self, _: &mut RecordBatch) -> Result<bool, StreamError> {
        match self.0 {}
    }
}
