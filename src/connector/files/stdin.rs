//! Standard input as the one file of a tree.

use super::{
    cells::{Attributes, FileTime, Shapes},
    one_collection,
    walk::{ROOT, is_valid_key},
};
use crate::{
    connector::{ConnectorError, SessionEnd, SourceCollection, SourceSession},
    record::{
        Clock, KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError, StreamedValue, SystemClock, Tag,
        Timestamp,
    },
};
use serde_json::{Value as Json, json};
use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

type Input = Box<dyn Read + Send>;

/// What is read, once, and the name it gets.
#[derive(Clone)]
pub(super) struct StdinValue {
    name: String,
    input: Arc<Mutex<Option<Input>>>,
}

impl StdinValue {
    pub(super) fn new(name: &str, input: Input) -> Result<Self, ConnectorError> {
        let key = name.as_bytes();
        if !is_valid_key(key) || key == ROOT || key.ends_with(b"/") {
            return Err(ConnectorError::Mismatch {
                object: format!("the name `{name}` for standard input"),
                reason: "it must be a relative path without `..`".to_owned(),
            });
        }
        Ok(Self { name: name.to_owned(), input: Arc::new(Mutex::new(Some(input))) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The run over it.
pub(super) struct StdinSession {
    value: StdinValue,
    start: Timestamp,
    collections: Vec<SourceCollection>,
}

impl StdinSession {
    pub(super) fn begin(value: StdinValue) -> Self {
        Self { value, start: SystemClock.now(), collections: one_collection() }
    }
}

impl SourceSession for StdinSession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        json!({ "stdin": self.value.name })
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        1
    }

    fn splits(&self, _collection: usize, _parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        Ok(Vec::new())
    }

    fn read(&self, _collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        let value = range.contains(self.value.name.as_bytes()).then(|| self.value.clone());
        Ok(Box::new(StdinStream { value, start: self.start }))
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        Ok(SessionEnd { end: SystemClock.now(), ..SessionEnd::default() })
    }
}

struct StdinStream {
    value: Option<StdinValue>,
    start: Timestamp,
}

impl RecordStream for StdinStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        let Some(value) = self.value.take() else { return Ok(false) };
        let millis = self.start.as_millis();
        let mtime = FileTime { seconds: millis.div_euclid(1000), nanos: millis.rem_euclid(1000) as u32 * 1_000_000 };
        let attributes = Attributes { mode: Some(0o600), mtime: Some(mtime), ..Attributes::default() };
        let cells = attributes.cells();
        let shape = Shapes::default().of(&cells, true);
        let head = RowHead { key: value.name.as_bytes(), meta: Meta::default() };
        let content = Box::new(StdinContent { input: Arc::clone(&value.input) });
        batch.push_streamed(head, &shape, Tag::BLOB, content, |writer| {
            for (_, tag, bytes) in &cells {
                writer.cell(*tag, bytes);
            }
        });
        Ok(true)
    }
}

struct StdinContent {
    input: Arc<Mutex<Option<Input>>>,
}

impl StreamedValue for StdinContent {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        input
            .ok_or_else(|| io::Error::other("standard input can be read only once"))
            .map(|input| input as Box<dyn Read + Send>)
    }
}
