//! Connectors: each implements [`Source`], [`Target`] or both for one system. A connector knows records; it knows no
//! repository. How Aerospike fits these traits is walked through in `format-spec/connectors.md`.

pub mod aerospike;
pub mod change;
pub mod error;
pub mod files;
pub mod jsonl;
pub mod sqlite;
pub mod url;

pub use change::{ChangeSource, MetaStream};
pub use error::ConnectorError;
pub use url::SourceUrl;

use crate::record::{Expiry, KeyCodec, KeyRange, Meta, RecordBatch, RecordStream, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

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

/// Which part of the source was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// A canonical text of tables, filters, paths: equal texts read the same part. Empty for everything.
    pub canonical: String,
    /// The same in words.
    pub note: String,
}

/// What a source can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceAbilities {
    /// It can deliver just the records changed since a time, and a metadata-only sweep that proves absences.
    pub change_filter: bool,
    /// A session shows one transaction: start and end are equal.
    pub exact: bool,
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

/// A system to read records from.
pub trait Source: Send + Sync {
    /// Whose records these are.
    fn identity(&self) -> Identity;
    /// Which part was asked for.
    fn scope(&self) -> Scope;
    /// What it can do.
    fn abilities(&self) -> SourceAbilities;
    /// Fixes the state to be read, as far as the system can, and lists the collections.
    ///
    /// # Errors
    /// [`ConnectorError`] if the source cannot be opened, is locked, or is no such thing.
    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError>;
}

/// One run over a source.
pub trait SourceSession: Send + Sync {
    /// When the state was fixed, by the source's clock.
    fn start(&self) -> Timestamp;
    /// What is needed beside the collections to make the whole again.
    fn attributes(&self) -> Json;
    /// The collections, in a stable order.
    fn collections(&self) -> &[SourceCollection];
    /// How many streams may be read at once, by different threads.
    fn readers(&self) -> usize;
    /// Sorted, distinct keys that split a collection's keys into about `parts` ranges of similar size; asked only where
    /// there is no parent's base to take them from. Fewer, or none, is fine.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn splits(&self, collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError>;
    /// Reads all records of a key range in ascending key order. Ranges of one collection may be read at once.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError>;
    /// Whether a range may be read a second time in this session. Standard input cannot.
    fn reads_again(&self) -> bool {
        true
    }
    /// Tells the session which snapshot the run is joined with, before the first read.
    ///
    /// # Errors
    /// [`ConnectorError`] if that snapshot cannot be of the same source.
    fn meet_parent(&self, _parent: &ParentView<'_>) -> Result<(), ConnectorError> {
        Ok(())
    }
    /// What a later session must know of this one to carry on behind ranges that this one finished; `None` where they cannot
    /// be carried over: records of different ranges hang together, or what is missing is known only at the end.
    fn handover(&self) -> Option<Json> {
        None
    }
    /// What time it is by the source's clock; asked when a range has been read, where there is a [`Self::handover`].
    fn now(&self) -> Timestamp {
        self.start()
    }
    /// Tells the session that ranges which an earlier one finished are part of this run: asked before the first read, and
    /// after [`Self::meet_parent`].
    ///
    /// # Errors
    /// In words, why they cannot be.
    fn take_over(&self, _earlier: &Handover<'_>) -> Result<(), String> {
        Ok(())
    }
    /// What reads only part of the state, where [`SourceAbilities::change_filter`] is set.
    fn changes(&self) -> Option<&dyn ChangeSource> {
        None
    }
    /// What is known of a range: before it is read, and after its stream was read to its end.
    ///
    /// # Errors
    /// [`ConnectorError`] from the source.
    fn part_end(&self, _collection: usize, _range: &KeyRange) -> Result<PartEnd, ConnectorError> {
        Ok(PartEnd::default())
    }
    /// Asked when all was read, where [`PartEnd::complete`] is not set for all of it: whether reading that part again, now, may
    /// bring the rest. Waits a while for what may still come back.
    fn reads_better_now(&self) -> bool {
        false
    }
    /// What a read waits for, in words, where that takes a while.
    fn waits_for(&self) -> Option<String> {
        None
    }
    /// Ends what the session waits for, in whichever thread; nothing is asked of it any more. Streams and calls that are
    /// under way fail soon.
    fn stop(&self) {}
    /// Ends the run: when the state was last read, by the source's clock, and what a person should know (a file that
    /// changed while it was read, a key too long to keep). Called after every stream is dropped: once for exact sources, for
    /// others each time that all was read.
    ///
    /// # Errors
    /// [`ConnectorError`] if the source says that what was read is not to be trusted.
    fn finish(&self) -> Result<SessionEnd, ConnectorError>;
}

/// The snapshot that a run is joined with, as a session may look at it.
#[derive(Debug, Clone, Copy)]
pub struct ParentView<'a> {
    /// Its id, short.
    pub snapshot: &'a str,
    /// Its attributes.
    pub attributes: &'a Json,
    /// Whether a person said that it is of the same source (by its id, or by the source's name).
    pub chosen: bool,
    /// Whether a person said that what is gone was deleted.
    pub accept_deletions: bool,
}

/// What an earlier session handed over.
#[derive(Debug, Clone, Copy)]
pub struct Handover<'a> {
    /// What its [`SourceSession::handover`] gave.
    pub told: &'a Json,
    /// Whether a person named the source, and so said that it is the same.
    pub chosen: bool,
    /// Whether a person said that what is gone was deleted.
    pub accept_deletions: bool,
}

/// What is known of a range whose stream is at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEnd {
    /// Whether every record was read.
    pub complete: bool,
    /// Ranges in which a record that did not come may be there all the same: the parent's rows stand there.
    pub doubts: Vec<Doubt>,
}

impl Default for PartEnd {
    fn default() -> Self {
        Self { complete: true, doubts: Vec::new() }
    }
}

/// Keys of which an absence proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Which.
    pub range: KeyRange,
    /// Why, in words.
    pub reason: String,
    /// Whether a person may say that the loss is real all the same (`--accept-deletions`).
    pub acceptable: bool,
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
}

/// What happens to a record that the target holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It is replaced as a whole.
    Always,
    /// It stays.
    Never,
    /// It is replaced if key, value or expiry differ.
    IfChanged,
    /// It is replaced if its generation is lower than that of the record that comes.
    IfNewer,
    /// Cells that come replace those of the same name; others stay.
    Merge,
    /// The same, if its generation is lower than that of the record that comes.
    MergeIfNewer,
}

/// What became of each record written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// Written where there was none.
    pub inserted: u64,
    /// Written over another one.
    pub replaced: u64,
    /// Found equal and left alone.
    pub unchanged: u64,
    /// Found and left alone because of [`Overwrite::Never`].
    pub existed: u64,
    /// Found newer and left alone because of [`Overwrite::IfNewer`].
    pub fresher: u64,
    /// Not written: their time is over.
    pub expired: u64,
    /// Not written: what the target was told to take does not include them.
    pub skipped: u64,
    /// Not written: their key in the target cannot be known.
    pub unmappable: u64,
    /// Removed by make-equal.
    pub removed: u64,
    /// Not removed by make-equal: somebody wrote them since the restore began.
    pub changed: u64,
    /// Could not be written, which the target was told to go on past.
    pub ignored: u64,
    /// Could not be written.
    pub failed: u64,
    /// The first 100 failures: key as shown, reason.
    pub failures: Vec<(String, String)>,
    /// What a person should know though every record was written (an owner that could not be set).
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// A system to write records to.
pub trait Target: Send + Sync {
    /// `sqlite`, `files`, `jsonl` …
    fn connector(&self) -> &'static str;
    /// The collection that the target's URL names, if it names one.
    fn collection(&self) -> Option<String>;
    /// The names and record counts of the collections of these names that already hold records (a count may be a lower
    /// bound: 1 means "some"). A target that does not exist holds none. Changes nothing.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be looked at.
    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError>;
    /// Says whether a plan fits, and what each of its collections meets, in the plan's order. Changes nothing, and is asked
    /// before anything is written.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot take what the plan brings, or cannot be looked at.
    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        Ok(vec![Meets::Unknown; plan.collections.len()])
    }
    /// Whether it can do this to records that exist.
    fn takes(&self, overwrite: Overwrite) -> bool {
        matches!(overwrite, Overwrite::Always | Overwrite::Never | Overwrite::IfChanged)
    }
    /// Milliseconds by which an expiry may come out off; records that differ by no more count as equal.
    fn expiry_slack_millis(&self) -> u64 {
        0
    }
    /// Whether [`Self::preflight`] is to be asked: the keys of all that comes are then read once more.
    fn wants_survey(&self) -> bool {
        false
    }
    /// Whether a record is one that the target was told to take.
    fn chooses(&self, _key: &[u8], _meta: &Meta<'_>) -> bool {
        true
    }
    /// Says whether the target takes such records as come; gives what a person should know. Changes nothing, and is asked
    /// after [`Self::rehearse`].
    ///
    /// # Errors
    /// [`ConnectorError`] if it does not, or cannot be looked at.
    fn preflight(&self, _plan: &TargetPlan, _survey: &Survey) -> Result<Vec<String>, ConnectorError> {
        Ok(Vec::new())
    }
    /// Begins a restore; creates the target if it does not exist.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be written.
    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError>;
    /// The target as a source, for reading back what was written; `None` where that cannot be done (a pipe).
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be read.
    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        Ok(None)
    }
    /// A text by which a restore that was broken off is known again, so that a later one goes on behind it: what is
    /// written where, and all that decides how. `None` where a restore cannot go on, or need not.
    fn resume_key(&self, _plan: &TargetPlan) -> Option<String> {
        None
    }
    /// What writing waits for, in words, where that takes a while.
    fn waits_for(&self) -> Option<String> {
        None
    }
    /// A flag that whoever cancels sets, so that what waits inside of the target hears of it.
    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        None
    }
    /// The name under which [`Self::read_back`] shows what was restored as `name`.
    fn shown_as<'a>(&self, name: &'a str) -> &'a str {
        name
    }
}

/// What the records of a restore are like, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// By collection, in the plan's order; empty if no records come.
    pub collections: Vec<CollectionSurvey>,
    /// Which part of its source the snapshot holds, in words; empty for all.
    pub scope_note: String,
    /// Whether a person said that make-equal from a part is meant.
    pub forced: bool,
}

/// What the records that come to one collection are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionSurvey {
    /// How many there are.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Those that expire.
    pub expiring: u64,
    /// The latest expiry; never if none expires.
    pub latest_expiry: Expiry,
    /// The bytes of the largest value.
    pub largest_value_bytes: u64,
    /// By the set or table that a record names. At most [`MAX_SURVEYED_SETS`]; records of others are counted above only.
    pub sets: BTreeMap<Vec<u8>, SetSurvey>,
}

/// Sets that a survey tells apart.
pub const MAX_SURVEYED_SETS: usize = 1 << 16;

/// What the records of one set are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetSurvey {
    /// How many there are.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Those without a stored user key.
    pub records_without_user_key: u64,
}

impl CollectionSurvey {
    /// Adds a record.
    pub fn add(&mut self, meta: &Meta<'_>, value_bytes: u64) {
        self.records += 1;
        self.value_bytes += value_bytes;
        self.expiring += u64::from(meta.expiry != Expiry::NEVER);
        self.latest_expiry = Expiry::from_millis(self.latest_expiry.as_millis().max(meta.expiry.as_millis()));
        self.largest_value_bytes = self.largest_value_bytes.max(value_bytes);
        if !self.sets.contains_key(meta.set) {
            if self.sets.len() >= MAX_SURVEYED_SETS {
                return;
            }
            self.sets.insert(meta.set.to_vec(), SetSurvey::default());
        }
        if let Some(set) = self.sets.get_mut(meta.set) {
            set.records += 1;
            set.value_bytes += value_bytes;
            set.records_without_user_key += u64::from(meta.user_key.is_none());
        }
    }
}

/// What a collection of a restore meets in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// Nothing, or what is replaced as a whole.
    Nothing,
    /// A collection that it fits, which [`Target::read_back`] shows.
    Records,
    /// The target cannot tell beforehand.
    Unknown,
}

/// What a restore is going to write.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetPlan {
    /// The connector that the snapshot was taken with.
    pub connector: String,
    /// The snapshot's attributes.
    pub attributes: Json,
    /// The collections, in the snapshot's order.
    pub collections: Vec<TargetCollection>,
    /// What happens to records that exist.
    pub overwrite: Overwrite,
    /// Whether records that the snapshot does not hold will be removed, after everything is written.
    pub make_equal: bool,
    /// Whether only some records of the collections come (filters): then nothing is dropped or rebuilt wholesale.
    pub partial: bool,
    /// The end of the snapshot: what a connector may show as "as of".
    pub as_of: Timestamp,
}

/// One collection of a restore.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetCollection {
    /// Its name in the target.
    pub name: String,
    /// Its name in the snapshot.
    pub source_name: String,
    /// How its keys became bytes.
    pub codec: KeyCodec,
    /// Its attributes in the snapshot.
    pub attributes: Json,
    /// How many records will come.
    pub records: u64,
}

/// A running restore. Collections are opened one after the other, in the plan's order.
pub trait TargetSession: Send {
    /// Opens a collection of the plan for writing; creates it if it does not exist. Where [`Target::resume_key`] gives one,
    /// collections may also be opened before, to be looked at.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be made or does not fit.
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError>;
    /// Makes what comes after records (indexes, triggers, directory times), and makes everything durable. Without this
    /// call an unfinished target says so when it can.
    ///
    /// # Errors
    /// [`ConnectorError`] if the target cannot be completed at all.
    fn finish(&mut self) -> Result<TargetEnd, ConnectorError>;
}

/// How a restore ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetEnd {
    /// What the snapshot has beside records and the target has not (an index), each in words that name it: makes the
    /// restore incomplete (exit 3).
    pub missing: Vec<String>,
    /// What a person should know though nothing is missing.
    pub notes: Vec<String>,
}

/// One collection being written.
pub trait CollectionTarget {
    /// What the collection holds now of a key range, in key order; `None` if it was created by this restore or the
    /// target cannot be read. Used for if-changed and make-equal; called before any write.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be read.
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError>;
    /// Writes records that come in ascending key order. With [`Overwrite::IfChanged`] the caller has already left out
    /// what is equal. Streamed values must be read to their end; an error from a stream fails that record only.
    ///
    /// # Errors
    /// [`ConnectorError`] if writing cannot go on; a record that alone cannot be written goes to `outcomes`.
    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError>;
    /// Removes records by key (make-equal); keys come in ascending order, after all writes.
    ///
    /// # Errors
    /// [`ConnectorError`] if removing cannot go on.
    fn remove(&mut self, keys: &[Vec<u8>], outcomes: &mut Outcomes) -> Result<(), ConnectorError>;
    /// As [`Self::remove`], of records with the generation that [`Self::existing`] gave.
    ///
    /// # Errors
    /// As of [`Self::remove`].
    fn remove_at(&mut self, rows: &[(Vec<u8>, u32)], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let keys: Vec<Vec<u8>> = rows.iter().map(|(key, _)| key.clone()).collect();
        self.remove(&keys, outcomes)
    }
    /// Waits for what [`Self::write`] has under way: called after the last write.
    ///
    /// # Errors
    /// [`ConnectorError`] if writing cannot go on.
    fn drain(&mut self, _outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        Ok(())
    }
    /// Asked when all is written: keys whose records the target acknowledged and has lost since, so that they are to be written
    /// again. What it tells it tells once.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be looked at.
    fn lost(&mut self) -> Result<Vec<KeyRange>, ConnectorError> {
        Ok(Vec::new())
    }
    /// The keys of what the collection holds now of a range, of the records that the target was told to take; `None` if
    /// that cannot be told. Used before a restore goes on that was broken off.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be read.
    fn standing(&self, _range: &KeyRange) -> Result<Option<Box<dyn MetaStream + '_>>, ConnectorError> {
        Ok(None)
    }
    /// Whether the time of a record with this key and this expiry in the snapshot is over by now, by the target's clock as far
    /// as it is known.
    fn is_over(&self, _key: &[u8], _expiry: Expiry) -> bool {
        false
    }
    /// Ends the collection.
    ///
    /// # Errors
    /// [`ConnectorError`] naming what could not be made durable.
    fn finish(self: Box<Self>) -> Result<(), ConnectorError>;
}
