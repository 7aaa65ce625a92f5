//! A stream as the one file of a tree: standard input, or what a command writes.

use super::{
    cells::{Attributes, FileTime, Shapes},
    one_collection,
    walk::{ROOT, is_valid_key},
};
use crate::{
    connector::{ConnectorError, SessionEnd, SourceCollection, SourceSession, url::path_from_text},
    record::{
        Clock, KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError, StreamedValue, SystemClock, Tag,
        Timestamp,
    },
};
use serde_json::{Value as Json, json};
use std::{
    io::{self, Read},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

type Input = Box<dyn Read + Send>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command whose output is read, and believed only if it ends well.
#[derive(Default)]
struct Writing {
    words: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Writing {
    fn shown(&self) -> String {
        format!("the command `{}`", self.words.join(" "))
    }

    fn start(&self) -> Result<Input, ConnectorError> {
        let io = |source| ConnectorError::Io { operation: "run", object: self.shown(), source };
        let (name, arguments) = self.words.split_first().ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?;
        let mut child = Command::new(name).args(arguments).stdout(Stdio::piped()).spawn().map_err(io)?;
        let output = child.stdout.take().ok_or_else(|| io(io::ErrorKind::BrokenPipe.into()))?;
        *lock(&self.child) = Some(child);
        Ok(Box::new(output))
    }

    fn end(&self) -> Result<(), ConnectorError> {
        let Some(mut child) = lock(&self.child).take() else { return Ok(()) };
        let io = |source| ConnectorError::Io { operation: "wait for", object: self.shown(), source };
        let status = child.wait().map_err(io)?;
        if status.success() {
            return Ok(());
        }
        let reason = format!("it ended with {status}, so that what it wrote is not believed");
        Err(ConnectorError::Unreadable { object: self.shown(), reason })
    }

    /// Ends it before its time. That it may be gone already is no matter.
    fn stop(&self) {
        if let Some(mut child) = lock(&self.child).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is read, once, and the name it gets.
#[derive(Clone)]
pub(super) struct StdinValue {
    name: String,
    /// The name's bytes: `hex:` says them where they are no text.
    key: Vec<u8>,
    input: Arc<Mutex<Option<Input>>>,
    command: Arc<Writing>,
    bytes: Arc<AtomicU64>,
}

impl StdinValue {
    /// Standard input, or the output of a command if there are words of one.
    pub(super) fn new(name: &str, command: &[String]) -> Result<Self, ConnectorError> {
        let input: Option<Input> = if command.is_empty() { Some(Box::new(io::stdin())) } else { None };
        Self::of(name, input, command)
    }

    /// Any input, or the output of a command.
    pub(super) fn of(name: &str, input: Option<Input>, command: &[String]) -> Result<Self, ConnectorError> {
        let key = path_from_text(name).into_os_string().into_encoded_bytes();
        if !is_valid_key(&key) || key == ROOT || key.ends_with(b"/") {
            return Err(ConnectorError::Mismatch {
                object: format!("the name `{name}` for standard input"),
                reason: "it must be a relative path without `..`".to_owned(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            key,
            input: Arc::new(Mutex::new(input)),
            command: Arc::new(Writing { words: command.to_vec(), child: Mutex::default() }),
            bytes: Arc::default(),
        })
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
    pub(super) fn begin(value: StdinValue) -> Result<Self, ConnectorError> {
        if !value.command.words.is_empty() {
            *lock(&value.input) = Some(value.command.start()?);
        }
        Ok(Self { value, start: SystemClock.now(), collections: one_collection() })
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
        let value = range.contains(&self.value.key).then(|| self.value.clone());
        Ok(Box::new(StdinStream { value, start: self.start }))
    }

    /// A stream without a byte is nothing.
    fn bare_records(&self) -> u64 {
        u64::from(self.value.bytes.load(Ordering::Relaxed) == 0)
    }

    fn stop(&self) {
        self.value.command.stop();
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        self.value.command.end()?;
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
        let head = RowHead { key: &value.key, meta: Meta::default() };
        let content = Box::new(StdinContent { input: Arc::clone(&value.input), bytes: Arc::clone(&value.bytes) });
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
    bytes: Arc<AtomicU64>,
}

/// Counts what is read.
struct Counted {
    input: Input,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl StreamedValue for StdinContent {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let input = lock(&self.input).take();
        let input = input.ok_or_else(|| io::Error::other("a stream can be read only once"))?;
        Ok(Box::new(Counted { input, bytes: Arc::clone(&self.bytes) }))
    }
}
