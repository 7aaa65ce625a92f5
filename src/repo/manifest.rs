//! Manifests: what a snapshot is. A snapshot's *content* is the same in all its revisions; tags, holds and the stacks
//! of layers may change from one to the next.

mod asked;
mod moments;

pub use asked::Asked;
pub use moments::{KeptMoments, Moments};

use super::{
    ChunkId, RepoError, RepoId, SnapshotId,
    carried::Carried,
    registry::{FeatureNeeds, Registry},
};
use crate::record::{KeyCodec, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::ops::Deref;

#[cfg(test)]
mod tests;

/// What was *read* for a snapshot; never how it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Every record was read.
    Full,
    /// What changed since the parent was read, and a sweep found what vanished.
    Incremental,
    /// The same, with the newest full as parent.
    Differential,
    /// Every change that a stream brought since the parent.
    Journal,
}

/// Who the records belong to. Identity is `connector` and `name`, never a network address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceId {
    /// `sqlite`, `files`, `jsonl`, `aerospike` …
    pub connector: String,
    /// The database's or cluster's name; host and absolute path for local sources; or what `--source-name` said.
    pub name: String,
    /// The host the backup ran on.
    pub host: String,
    /// The source as a person would name it again.
    pub url: String,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

impl SourceId {
    /// Whether both are the same connector's under the same name, whatever host and URL.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.connector == other.connector && self.name == other.name
    }

    /// The name without the host that local sources have in front of it.
    #[must_use]
    pub fn local_name(&self) -> &str {
        let behind = self.name.strip_prefix(self.host.as_str()).and_then(|rest| rest.strip_prefix(':'));
        behind.filter(|_| !self.host.is_empty()).unwrap_or(&self.name)
    }
}

/// Which part of a key space was read, when, and whether all of it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// First key, hexadecimal; empty for the lowest.
    pub from: String,
    /// First key no longer covered, hexadecimal; absent for none.
    pub to: Option<String>,
    /// When reading began, by the source's clock.
    pub start: Timestamp,
    /// When reading ended, by the source's clock.
    pub end: Timestamp,
    /// Whether every record in the range was read. An incomplete range keeps its parent's records.
    pub complete: bool,
    /// The collection fingerprint of the range: 64 hexadecimal digits.
    pub sum: String,
    /// Records live in the range at its end.
    pub records: u64,
    /// The start of the run that last proved what is gone from the range, the oldest where parts differ; absent if this
    /// one did for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletions_as_of: Option<Timestamp>,
    /// The same part by part, in order and without a gap, where the row does not say it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletions: Vec<Proved>,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// Up to when the deletions of a part of a range are proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// First key, hexadecimal; empty for the lowest.
    pub from: String,
    /// First key behind it, hexadecimal; absent for none.
    pub to: Option<String>,
    /// The start of the run that last proved what is gone from it.
    pub as_of: Timestamp,
    /// Whether this run looked for deletions here and did not believe what it found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// One layer of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRef {
    /// The layer's name: the id of its root list chunk.
    pub id: ChunkId,
    /// Rows in it, tombstones included.
    pub rows: u64,
    /// Plaintext bytes of its rows.
    pub bytes: u64,
    /// Whether its rows are versions with times.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub journal: bool,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// What the records of one set are like. Records that expired between the start and the end of the run are still counted:
/// no number is too low.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetNumbers {
    /// The set, hexadecimal; absent for all those that are not told apart.
    pub set: Option<String>,
    /// How many there are.
    pub records: u64,
    /// The canonical bytes of their values.
    pub value_bytes: u64,
    /// Those that expire.
    pub expiring: u64,
    /// The latest expiry in milliseconds; 0 if none expires.
    pub latest_expiry: u64,
    /// The canonical bytes of the largest value.
    pub largest_value: u64,
    /// Those without a user key.
    pub without_user_key: u64,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// One collection of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// How its keys became bytes.
    pub codec: KeyCodec,
    /// Records live at the end.
    pub records: u64,
    /// Plaintext bytes of those records: keys and values.
    pub bytes: u64,
    /// What was read of it.
    pub coverage: Vec<Coverage>,
    /// What the connector needs to make it again: columns, schema, options.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub attributes: Json,
    /// What a restore wants to know beforehand of the records of each set, by the sets' bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<SetNumbers>,
    /// Base first, then deltas and journals, oldest first.
    pub stack: Vec<LayerRef>,
    /// The moments that the stack can be read at, if it ends with journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Moments>,
    /// Whether records and bytes are exact; upper bounds without coverage otherwise.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub counted: bool,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

const fn yes() -> bool {
    true
}

impl LayerRef {
    /// A layer of so many rows and bytes.
    #[must_use]
    pub fn new(id: ChunkId, rows: u64, bytes: u64) -> Self {
        Self { id, rows, bytes, journal: false, other: Carried::default() }
    }
}

impl Collection {
    /// Whether what is not in it was not there: every range of it was read to its end, and its deletions proved.
    #[must_use]
    pub fn confirms_deletions(&self) -> bool {
        self.counted && self.coverage.iter().all(|range| range.complete && range.deletions_as_of.is_none())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Counts and costs of the run that took the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Records that the source delivered.
    pub seen: u64,
    /// Records that the parent does not have.
    pub new: u64,
    /// Records whose value or metadata differ from the parent's.
    pub changed: u64,
    /// Of those, records whose value stands: only generation, expiry, stamp or user key moved.
    pub inherited: u64,
    /// Records that the parent has and the source no longer, those that expired apart.
    pub deleted: u64,
    /// Records that the parent has and that expired since.
    pub expired: u64,
    /// Records that could not be read.
    pub unreadable: u64,
    /// Records that changed while they were read; they are kept as they were read.
    pub torn: u64,
    /// Records that were gone before they could be read; they are not kept.
    pub vanished: u64,
    /// Plaintext bytes that the source delivered.
    pub bytes_read: u64,
    /// Plaintext bytes of new and changed records.
    pub bytes_changed: u64,
    /// Bytes that the repository grew by, packs and index.
    pub bytes_added: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Chunks that were not in the repository.
    pub chunks_new: u64,
    /// Chunks that were.
    pub chunks_reused: u64,
    /// Key ranges that were taken over from a backup that broke off; their records are in the counts above.
    pub resumed_ranges: u64,
    /// Their records.
    pub resumed_records: u64,
    /// Of the records that the source delivered, those that it did not read because they stand as they were.
    #[serde(skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// From start to commit.
    pub duration_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// Where a snapshot stands in time: by its end; of those with one end, by the order in which they were taken; of those that nobody
/// ordered, by name, so that everybody has the same answer. Nothing else decides which of two is the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Its end.
    pub end: Timestamp,
    /// The order among equal ends.
    pub order: u64,
    /// Its name.
    pub id: SnapshotId,
}

/// A snapshot of another repository; of a copy of a copy the first one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CopyOf {
    /// Which repository.
    pub repository: RepoId,
    /// Which snapshot of it.
    pub snapshot: SnapshotId,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// What of a snapshot never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// When reading began, by the source's clock.
    pub start: Timestamp,
    /// When reading ended, by the source's clock; equal to `start` where the source gives an exact transaction.
    pub end: Timestamp,
    /// Of snapshots of one source with the same end, the greater is the newer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub order: u64,
    /// Whose records these are.
    pub source: SourceId,
    /// A canonical hash of what of the source was asked for (tables, filters, paths).
    pub scope: String,
    /// The scope in words, for people; empty for everything.
    #[serde(default)]
    pub scope_note: String,
    /// The same as data, by which scopes are compared; nothing for everything.
    #[serde(default, skip_serializing_if = "Asked::is_everything")]
    pub asked: Asked,
    /// Whether a loss of most of the source's records was accepted, and it has not grown since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loss_accepted: bool,
    /// What was read.
    pub kind: Kind,
    /// The snapshot it was joined with.
    pub parent: Option<SnapshotId>,
    /// Whether every asked-for record is in it.
    pub complete: bool,
    /// What is missing or unsure, in words.
    #[serde(default)]
    pub problems: Vec<String>,
    /// What the connector needs beside collections: schema, pragmas, directory root.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub attributes: Json,
    /// Counts and costs.
    pub stats: Stats,
    /// The program that wrote it.
    pub program: String,
    /// The snapshot that it is a copy of, if it was copied from another repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<CopyOf>,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
}

/// One revision of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The snapshot's name for ever.
    pub id: SnapshotId,
    /// Which revision this is; 0 is the commit.
    pub revision: u64,
    /// Mandatory features for reading: a reader that does not know one refuses.
    #[serde(default)]
    pub features: Vec<String>,
    /// What never changes.
    pub content: Content,
    /// The collections and their stacks.
    pub collections: Vec<Collection>,
    /// Free words of people.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Legal hold: nothing may drop it.
    #[serde(default)]
    pub hold: bool,
    /// Nothing may drop it before this time.
    #[serde(default)]
    pub lock_until: Option<Timestamp>,
    /// Whose records these are by now, if the source was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<SourceId>,
    /// The squash that wrote this revision: it counts only once that lease has committed.
    #[serde(default)]
    pub squash: Option<SnapshotId>,
    /// What this program does not know of it: carried over by whoever revises it.
    #[serde(flatten)]
    pub other: Carried,
    /// The tables that it was read from.
    #[serde(skip)]
    pub tables: Tables,
}

/// Where a manifest's tables lie, and what they hold: whoever revises it and changes none of them names the same chunks again,
/// however another program wrote them. No part of what a manifest says.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    collections: Option<Table>,
    attributes: Option<Table>,
}

impl Tables {
    /// What lies outside of the manifest.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let attributes = self.attributes.as_ref().map(|_| ATTRIBUTES_TABLE);
        attributes.into_iter().chain(self.collections.as_ref().map(|_| COLLECTIONS_TABLE))
    }
}

/// The chunks of one table, and a hash of it as this program would write it.
#[derive(Debug, Clone)]
struct Table {
    chunks: Json,
    hash: blake3::Hash,
}

impl PartialEq for Tables {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A snapshot as it stands: the newest revision that counts. Only who looked at all revisions makes one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Snapshot {
    manifest: Manifest,
    /// Where it is shown as it stood at a moment before its end: its end.
    #[serde(skip)]
    holds_until: Option<Timestamp>,
}

impl Snapshot {
    /// Of the revision that was found to count.
    pub(in crate::repo) const fn standing(manifest: Manifest) -> Self {
        Self { manifest, holds_until: None }
    }

    /// As if it had been found.
    #[cfg(test)]
    pub(crate) const fn made_up(manifest: Manifest) -> Self {
        Self::standing(manifest)
    }

    /// The end of what there is in storage, if this shows it as of a moment before that. To read it is to read that moment;
    /// whatever is done to it is done to what came later, too.
    #[must_use]
    pub const fn holds_until(&self) -> Option<Timestamp> {
        self.holds_until
    }

    /// As it stood at a moment before its end, if its journals tell: the last moment kept that is not after `time`.
    #[must_use]
    pub fn seen_at(&self, time: Timestamp) -> Option<Self> {
        if time >= self.content.end || self.collections.is_empty() {
            return None;
        }
        let moments = self.collections.iter().map(|found| found.journal.as_ref()?.at_or_before(time));
        let mut seen = self.clone();
        // Collections share the moments of their stream; where one kept fewer, the earliest is the only one of all.
        seen.manifest.content.end = moments.min()??;
        seen.holds_until = Some(self.holds_until.unwrap_or(self.content.end));
        for (found, shown) in self.collections.iter().zip(&mut seen.manifest.collections) {
            shown.counted = false;
            if found.journal.as_ref()?.at_or_before(seen.manifest.content.end)? != seen.manifest.content.end {
                return None;
            }
        }
        Some(seen)
    }

    /// The revision, to make the next one of it.
    #[must_use]
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }
}

impl Deref for Snapshot {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.manifest
    }
}

/// Tests alter what was found.
#[cfg(test)]
impl std::ops::DerefMut for Snapshot {
    fn deref_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }
}

/// The feature of snapshots whose stacks have journals.
pub const JOURNAL_FEATURE: &str = "journal";

/// What this build calls itself in the manifests that it writes.
pub const PROGRAM: &str = concat!("rekeep ", env!("CARGO_PKG_VERSION"));

/// Features of manifests that this program knows.
const KNOWN_FEATURES: [&str; 1] = [JOURNAL_FEATURE];

/// Kinds of snapshots.
const KINDS: [&str; 4] = ["full", "incremental", "differential", "journal"];

/// JSON longer than this moves from the manifest to Table chunks.
const MAX_INLINE_BYTES: usize = 64 * 1024;

/// The longest piece of a table.
const TABLE_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// The most pieces a table may have.
const MAX_TABLE_PIECES: usize = 64;

const COLLECTIONS_TABLE: &str = "collections_table";
const ATTRIBUTES_TABLE: &str = "attributes_table";

impl Manifest {
    /// The JSON to be sealed. What is too large for it goes through `put_table`, one Table chunk a call.
    pub(super) fn to_json(
        &self,
        put_table: &mut dyn FnMut(Vec<u8>) -> Result<ChunkId, RepoError>,
    ) -> Result<Vec<u8>, RepoError> {
        let mut json = serde_json::to_value(self).map_err(|error| self.unwritable(error))?;
        let collections = serde_json::to_vec(&self.collections).map_err(|error| self.unwritable(error))?;
        let attributes = serde_json::to_vec(&self.content.attributes).map_err(|error| self.unwritable(error))?;
        let object = json.as_object_mut().ok_or_else(|| self.unwritable("it is no JSON object"))?;
        if let Some(table) = self.table(&collections, self.tables.collections.as_ref(), put_table)? {
            object.remove("collections");
            object.insert(COLLECTIONS_TABLE.to_owned(), table);
        }
        if let Some(table) = self.table(&attributes, self.tables.attributes.as_ref(), put_table)? {
            if let Some(content) = object.get_mut("content").and_then(Json::as_object_mut) {
                content.remove("attributes");
            }
            object.insert(ATTRIBUTES_TABLE.to_owned(), table);
        }
        serde_json::to_vec(&json).map_err(|error| self.unwritable(error))
    }

    /// The chunks of a table; `None` if it stays in the manifest.
    fn table(
        &self,
        bytes: &[u8],
        known: Option<&Table>,
        put_table: &mut dyn FnMut(Vec<u8>) -> Result<ChunkId, RepoError>,
    ) -> Result<Option<Json>, RepoError> {
        match known {
            Some(known) if known.hash == blake3::hash(bytes) => Ok(Some(known.chunks.clone())),
            _ if bytes.len() > MAX_INLINE_BYTES => self.put_pieces(bytes, put_table).map(Some),
            _ => Ok(None),
        }
    }

    fn put_pieces(
        &self,
        bytes: &[u8],
        put_table: &mut dyn FnMut(Vec<u8>) -> Result<ChunkId, RepoError>,
    ) -> Result<Json, RepoError> {
        if bytes.len() > MAX_TABLE_PIECES * TABLE_PIECE_BYTES {
            return Err(self.unwritable("its table of collections or its attributes are too large"));
        }
        let pieces =
            bytes.chunks(TABLE_PIECE_BYTES).map(|piece| Ok(Json::from(put_table(piece.to_vec())?.to_string())));
        Ok(Json::Array(pieces.collect::<Result<_, RepoError>>()?))
    }

    /// Reads what [`Self::to_json`] wrote; `read_table` gives the plaintext of a Table chunk. `object` names it in errors.
    pub(super) fn from_json(
        object: &str,
        bytes: &[u8],
        read_table: &mut dyn FnMut(&ChunkId) -> Result<Vec<u8>, RepoError>,
    ) -> Result<Self, RepoError> {
        if let Some(manifest) = Self::plain(bytes) {
            return Ok(manifest);
        }
        let damaged = |reason: String| RepoError::damaged(object, reason);
        let mut json: Json = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let map = json.as_object_mut().ok_or_else(|| damaged("its body is no JSON object".to_owned()))?;
        let features = map.get("features").and_then(Json::as_array).into_iter().flatten();
        if let Some(feature) = features.filter_map(Json::as_str).find(|it| is_unknown(it, FeatureNeeds::Reading)) {
            return Err(Registry::SnapshotFeature.unknown_name(object, feature));
        }
        let collections_table = map.remove(COLLECTIONS_TABLE);
        if let Some(table) = &collections_table {
            let collections = read_pieces(object, table, read_table)?;
            map.insert("collections".to_owned(), collections);
        }
        let attributes_table = map.remove(ATTRIBUTES_TABLE);
        if let Some(table) = &attributes_table {
            let attributes = read_pieces(object, table, read_table)?;
            let content = map.get_mut("content").and_then(Json::as_object_mut);
            content.ok_or_else(|| damaged("it has no content".to_owned()))?.insert("attributes".to_owned(), attributes);
        }
        check_names(object, map)?;
        let mut manifest: Self = serde_json::from_value(json).map_err(|error| damaged(error.to_string()))?;
        let hash = |written: serde_json::Result<Vec<u8>>| Some(blake3::hash(&written.ok()?));
        manifest.tables = Tables {
            collections: collections_table
                .and_then(|chunks| Some(Table { chunks, hash: hash(serde_json::to_vec(&manifest.collections))? })),
            attributes: attributes_table.and_then(|chunks| {
                Some(Table { chunks, hash: hash(serde_json::to_vec(&manifest.content.attributes))? })
            }),
        };
        Ok(manifest)
    }

    /// One that holds everything itself and nothing that is not known, as nearly all are: read at once.
    fn plain(bytes: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        let has_table = || manifest.other.names().any(|name| [COLLECTIONS_TABLE, ATTRIBUTES_TABLE].contains(&name));
        let is_strange = || manifest.features.iter().any(|feature| is_unknown(feature, FeatureNeeds::Reading));
        (!is_strange() && !has_table()).then_some(manifest)
    }

    /// Fails if it has a feature that whoever revises it, joins with it, squashes or forgets it must know.
    ///
    /// # Errors
    /// [`RepoError::UnknownFeature`].
    pub fn may_be_changed(&self) -> Result<(), RepoError> {
        match self.features.iter().find(|it| is_unknown(it, FeatureNeeds::Writing)) {
            None => Ok(()),
            Some(feature) => Err(Registry::SnapshotWriting.unknown_name(format!("snapshot {}", self.id), feature)),
        }
    }

    /// Features that this program cannot check.
    pub fn unchecked_features(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(String::as_str).filter(|it| is_unknown(it, FeatureNeeds::Checking))
    }

    /// Whether this is the commit of a squash: it makes the squash's revisions count and is no snapshot itself.
    #[must_use]
    pub fn is_squash_commit(&self) -> bool {
        self.revision == 0 && self.squash == Some(self.id)
    }

    /// A snapshot as it is committed: nobody has tagged, held, locked or renamed it yet.
    #[must_use]
    pub fn first(id: SnapshotId, content: Content, collections: Vec<Collection>) -> Self {
        Self {
            id,
            revision: 0,
            features: Vec::new(),
            content,
            collections,
            tags: Vec::new(),
            hold: false,
            lock_until: None,
            renamed: None,
            squash: None,
            other: Carried::default(),
            tables: Tables::default(),
        }
    }

    /// The commit of the squash that ran under this lease.
    #[must_use]
    pub(super) fn squash_commit(id: SnapshotId, host: &str, time: Timestamp, stats: Stats) -> Self {
        let (connector, name) = ("rekeep".to_owned(), "squash".to_owned());
        Self {
            squash: Some(id),
            ..Self::first(
                id,
                Content {
                    start: time,
                    end: time,
                    order: 0,
                    source: SourceId {
                        connector,
                        name,
                        host: host.to_owned(),
                        url: String::new(),
                        other: Carried::default(),
                    },
                    scope: String::new(),
                    scope_note: String::new(),
                    asked: Asked::default(),
                    loss_accepted: false,
                    kind: Kind::Full,
                    parent: None,
                    complete: true,
                    problems: Vec::new(),
                    attributes: Json::Null,
                    stats,
                    program: PROGRAM.to_owned(),
                    copy_of: None,
                    other: Carried::default(),
                },
                Vec::new(),
            )
        }
    }

    /// Where it stands among others: the greater is the newer.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { end: self.content.end, order: self.content.order, id: self.id }
    }

    /// Whose records these are, by the name that counts now.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        self.renamed.as_ref().unwrap_or(&self.content.source)
    }

    /// Whether what is not in it was not there, in any of its collections.
    #[must_use]
    pub fn confirms_deletions(&self) -> bool {
        self.collections.iter().all(Collection::confirms_deletions)
    }

    /// Whether a hold or a lock keeps it from being dropped at this time.
    #[must_use]
    pub fn is_protected_at(&self, now: Timestamp) -> bool {
        self.hold || self.lock_until.is_some_and(|until| until > now)
    }

    fn unwritable(&self, reason: impl std::fmt::Display) -> RepoError {
        RepoError::Internal(format!("the manifest of snapshot {} cannot be written: {reason}", self.id))
    }
}

fn is_unknown(feature: &str, needs: FeatureNeeds) -> bool {
    FeatureNeeds::of(feature) == needs && !KNOWN_FEATURES.contains(&feature)
}

/// Names that a newer program may have given out are told apart from damage.
fn check_names(object: &str, map: &serde_json::Map<String, Json>) -> Result<(), RepoError> {
    let kind = map.get("content").and_then(|content| content.get("kind")).and_then(Json::as_str);
    if let Some(kind) = kind.filter(|kind| !KINDS.contains(kind)) {
        return Err(Registry::SnapshotKind.unknown_name(object, kind));
    }
    let collections = map.get("collections").and_then(Json::as_array);
    for codec in collections.into_iter().flatten().filter_map(|it| it.get("codec")) {
        if let Some(name) = codec.as_str().filter(|_| KeyCodec::deserialize(codec).is_err()) {
            return Err(Registry::KeyCodec.unknown_name(object, name));
        }
    }
    Ok(())
}

/// The Table chunks that a manifest's JSON names.
pub(super) fn tables_of(object: &str, bytes: &[u8]) -> Result<Vec<ChunkId>, RepoError> {
    let json: Json = serde_json::from_slice(bytes).map_err(|error| RepoError::damaged(object, error))?;
    let mut tables = Vec::new();
    for table in [COLLECTIONS_TABLE, ATTRIBUTES_TABLE].into_iter().filter_map(|name| json.get(name)) {
        let ids: Vec<ChunkId> = Deserialize::deserialize(table)
            .map_err(|error| RepoError::damaged(object, format!("its table: {error}")))?;
        tables.extend(ids);
    }
    Ok(tables)
}

fn read_pieces(
    object: &str,
    table: &Json,
    read_table: &mut dyn FnMut(&ChunkId) -> Result<Vec<u8>, RepoError>,
) -> Result<Json, RepoError> {
    let ids = table.as_array().filter(|ids| ids.len() <= MAX_TABLE_PIECES);
    let ids = ids.ok_or_else(|| RepoError::damaged(object, "a table is no list, or has too many pieces"))?;
    let mut bytes = Vec::new();
    for id in ids {
        let id = id.as_str().ok_or_else(|| RepoError::damaged(object, "a table names no chunk"))?;
        let id =
            id.parse().map_err(|reason| RepoError::damaged(object, format!("a table names no chunk: {reason}")))?;
        bytes.extend_from_slice(&read_table(&id)?);
    }
    serde_json::from_slice(&bytes).map_err(|error| RepoError::damaged(object, format!("its table: {error}")))
}
