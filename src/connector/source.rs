//! What records are read from: a [`Source`] knows a system, a [`SourceSession`] is one run over it. What only some systems
//! can do is handed out by the session: [`ChangeSource`], [`Evidence`], [`Resumable`].

use super::{ChangeSource, ConnectorError, Evidence, Remembers, Resumable, Unordered};
use crate::{
    record::{KeyCodec, KeyRange, RecordStream, Timestamp},
    repo::manifest::Asked,
};
use serde_json::Value as Json;

/// Whose records a source reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `sqlite`, `files`, `jsonl`, `aerospike` …
    pub connector: &'static str,
    /// The name that stays the same when the address changes; for local sources the absolute path (the host is added by
    /// the caller).
    pub name: String,
    /// Whether `name` means something only on this host.
    pub local: bool,
}

impl Identity {
    /// The name that snapshots bear which this host makes of it.
    #[must_use]
    pub fn name_on(&self, host: &str) -> String {
        if self.local { format!("{host}:{}", self.name) } else { self.name.clone() }
    }
}

/// Which part of the source was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// A canonical text of tables, filters, paths: equal texts read the same part. Empty for everything.
    pub canonical: String,
    /// The same in words.
    pub note: String,
    /// The same as data, by which scopes are compared; nothing for everything, or where that cannot be said.
    pub asked: Asked,
}

/// What a source can do, as far as that must be known before a session is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceAbilities {
    /// It can deliver just the records changed since a time, and a metadata-only sweep that proves absences: its sessions
    /// have [`SourceSession::changes`].
    pub change_filter: bool,
    /// A session shows one transaction: start and end are equal.
    pub exact: bool,
    /// A range can be read only once in a session. Standard input is such a source.
    pub reads_once: bool,
}

/// What the caller wants of a session.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Readers that will run at once.
    pub parallel: usize,
    /// Bytes per second to read; `None` for no limit.
    pub read_limit: Option<u64>,
    /// Where temporary files go; `None` for the system's place.
    pub temp_dir: Option<std::path::PathBuf>,
    /// Records may come in any order, by [`SourceSession::unordered`] where the source has it.
    pub unordered: bool,
    /// Folders that are no part of any source: what is backed up does not go into its own backup.
    pub leave_out: Vec<std::path::PathBuf>,
    /// Where the repository is that is backed up to: nothing there is a source.
    pub repository: Option<String>,
}

/// One collection as a session found it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceCollection {
    /// Its name, unique in the session.
    pub name: String,
    /// How its keys become bytes.
    pub codec: KeyCodec,
    /// What is needed to make it again.
    pub attributes: Json,
    /// A guess at its records' bytes, for progress and for splitting; 0 if unknown.
    pub estimated_bytes: u64,
    /// A guess at its records; 0 if unknown.
    pub estimated_records: u64,
}

impl SourceCollection {
    /// One of which no more is known.
    #[must_use]
    pub fn new(name: &str, codec: KeyCodec) -> Self {
        Self { name: name.to_owned(), codec, attributes: Json::Null, estimated_bytes: 0, estimated_records: 0 }
    }
}

/// How a collection's records lie along its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// In no way that is known beforehand.
    #[default]
    Uneven,
    /// As if drawn by lot: ranges may begin anywhere, equal ones hold about as many records, and any stretch of records is
    /// a fair sample of all.
    Even,
}

/// A system to read records from.
pub trait Source: Send + Sync {
    /// Whose records these are.
    fn identity(&self) -> Identity;
    /// Which part was asked for; by default all.
    fn scope(&self) -> Scope {
        Scope::default()
    }
    /// What it can do.
    fn abilities(&self) -> SourceAbilities {
        SourceAbilities::default()
    }
    /// What it waits for, in words, where that takes a while: also while a session is begun, or ends.
    fn waits_for(&self) -> Option<String> {
        None
    }
    /// Fixes the state to be read, as far as the system can, and lists the collections.
    ///
    /// # Errors
    /// [`ConnectorError`] if the source cannot be opened, is locked, or is no such thing.
    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError>;
}

/// One run over a source: what every system has. What only some have is handed out, and is `None` for the others.
pub trait SourceSession: Send + Sync {
    /// When the state was fixed, by the source's clock.
    fn start(&self) -> Timestamp;
    /// What is needed beside the collections to make the whole again; by default nothing.
    fn attributes(&self) -> Json {
        Json::Null
    }
    /// The collections, in a stable order.
    fn collections(&self) -> &[SourceCollection];
    /// How many streams may be read at once, by different threads.
    fn readers(&self) -> usize {
        1
    }
    /// Sorted, distinct keys that split a collection's keys into about `parts` ranges of similar size; asked only where
    /// there is no parent's base to take them from. Fewer, or none, is fine.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn splits(&self, _collection: usize, _parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        Ok(Vec::new())
    }
    /// How a collection's records lie along its keys.
    fn spread(&self, _collection: usize) -> Spread {
        Spread::Uneven
    }
    /// Reads all records of a key range in ascending key order. Ranges of one collection may be read at once, and one
    /// range again where the source does not read once.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError>;
    /// Ends the run: when the state was last read, by the source's clock, and what a person should know (a file that
    /// changed while it was read, a key too long to keep). Called after every stream is dropped: once for exact sources, for
    /// others each time that all was read.
    ///
    /// # Errors
    /// [`ConnectorError`] if the source says that what was read is not to be trusted.
    fn finish(&self) -> Result<SessionEnd, ConnectorError>;
    /// Records that are there even where nothing is, such as the root of a tree; asked when all is read.
    fn bare_records(&self) -> u64 {
        0
    }
    /// Ends what the session waits for, in whichever thread; nothing is asked of it any more. Streams and calls that are
    /// under way fail soon.
    fn stop(&self) {}
    /// What reads only part of the state, where [`SourceAbilities::change_filter`] is set.
    fn changes(&self) -> Option<&dyn ChangeSource> {
        None
    }
    /// What tells whether absences prove anything. Without it every record that does not come is gone.
    fn evidence(&self) -> Option<&dyn Evidence> {
        None
    }
    /// What lets a later run carry on behind ranges that this one finished; `None` where they cannot be carried over:
    /// records of different ranges hang together, or what is missing is known only at the end.
    fn resumable(&self) -> Option<&dyn Resumable> {
        None
    }
    /// What notes for the next run what it need not read again.
    fn remembers(&self) -> Option<&dyn Remembers> {
        None
    }
    /// What gives records in no order, where that was asked for.
    fn unordered(&self) -> Option<&dyn Unordered> {
        None
    }
}

/// How a run over a source ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionEnd {
    /// When the last record was read; equal to the start for exact sources.
    pub end: Timestamp,
    /// Records that are *not* in what was delivered, each in words that name it: makes the snapshot incomplete (exit 3).
    pub missing: Vec<String>,
    /// What a person should know though nothing is missing.
    pub notes: Vec<String>,
    /// Records that were gone before they could be read.
    pub vanished: u64,
}
