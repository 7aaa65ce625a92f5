//! Manifests: what a snapshot is. A snapshot's *content* is the same in all its revisions; tags, holds and the stacks
//! of layers may change from one to the next.

mod asked;

pub use asked::Asked;

use super::{ChunkId, RepoError, SnapshotId};
use crate::record::{KeyCodec, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

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
    /// Base first, then deltas, oldest first.
    pub stack: Vec<LayerRef>,
}

impl Collection {
    /// Whether what is not in it was not there: every range of it was read to its end, and its deletions proved.
    #[must_use]
    pub fn confirms_deletions(&self) -> bool {
        self.coverage.iter().all(|range| range.complete && range.deletions_as_of.is_none())
    }
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
    /// Records that the parent has and the source no longer.
    pub deleted: u64,
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
    /// From start to commit.
    pub duration_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}

/// What of a snapshot never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// When reading began, by the source's clock.
    pub start: Timestamp,
    /// When reading ended, by the source's clock; equal to `start` where the source gives an exact transaction.
    pub end: Timestamp,
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
}

/// The newest revision of a snapshot that counts.
pub type Snapshot = Manifest;

/// Features of manifests that this program can read: none beyond the format's first version yet.
const KNOWN_FEATURES: [&str; 0] = [];

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
        if collections.len() > MAX_INLINE_BYTES {
            object.remove("collections");
            object.insert(COLLECTIONS_TABLE.to_owned(), self.put_pieces(&collections, put_table)?);
        }
        if attributes.len() > MAX_INLINE_BYTES {
            if let Some(content) = object.get_mut("content").and_then(Json::as_object_mut) {
                content.remove("attributes");
            }
            object.insert(ATTRIBUTES_TABLE.to_owned(), self.put_pieces(&attributes, put_table)?);
        }
        serde_json::to_vec(&json).map_err(|error| self.unwritable(error))
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
        let damaged = |reason: String| RepoError::damaged(object, reason);
        let mut json: Json = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let map = json.as_object_mut().ok_or_else(|| damaged("its body is no JSON object".to_owned()))?;
        if let Some(features) = map.get("features").and_then(Json::as_array) {
            for feature in features.iter().filter_map(Json::as_str) {
                if !KNOWN_FEATURES.contains(&feature) {
                    return Err(RepoError::UnknownFeature { object: object.to_owned(), feature: feature.to_owned() });
                }
            }
        }
        if let Some(table) = map.remove(COLLECTIONS_TABLE) {
            let collections = read_pieces(object, &table, read_table)?;
            map.insert("collections".to_owned(), collections);
        }
        if let Some(table) = map.remove(ATTRIBUTES_TABLE) {
            let attributes = read_pieces(object, &table, read_table)?;
            let content = map.get_mut("content").and_then(Json::as_object_mut);
            content.ok_or_else(|| damaged("it has no content".to_owned()))?.insert("attributes".to_owned(), attributes);
        }
        serde_json::from_value(json).map_err(|error| damaged(error.to_string()))
    }

    /// Whether this is the commit of a squash: it makes the squash's revisions count and is no snapshot itself.
    #[must_use]
    pub fn is_squash_commit(&self) -> bool {
        self.revision == 0 && self.squash == Some(self.id)
    }

    /// The commit of the squash that ran under this lease.
    #[must_use]
    pub(super) fn squash_commit(id: SnapshotId, host: &str, time: Timestamp, stats: Stats) -> Self {
        let (connector, name) = ("rekeep".to_owned(), "squash".to_owned());
        Self {
            id,
            revision: 0,
            features: Vec::new(),
            content: Content {
                start: time,
                end: time,
                source: SourceId { connector, name, host: host.to_owned(), url: String::new() },
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
                program: concat!("rekeep ", env!("CARGO_PKG_VERSION")).to_owned(),
            },
            collections: Vec::new(),
            tags: Vec::new(),
            hold: false,
            lock_until: None,
            renamed: None,
            squash: Some(id),
        }
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
