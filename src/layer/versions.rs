//! What single layers say of single keys: one path of lists and one block each.

use super::{
    LayerError,
    block::{KeysBlock, RowKind},
    error::unreadable,
    level::Wants,
    list::{Entry, List},
    piece::PieceReader,
    reader::{Layer, LayerCursor, read_keys, read_list, read_values},
    version_key::{self, Seen, bad_key},
};
use crate::{
    record::{Expiry, Fingerprint, Fingerprinter, KeyRange, Shape, VersionTime},
    repo::{ChunkId, ChunkReader, manifest::LayerRef},
};
use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

/// Lists kept at hand between calls, of at most about 1 MiB each.
const CACHED_LISTS: usize = 32;

/// What one layer says of one key.
#[derive(Debug, Clone)]
pub enum Version {
    /// The layer has no row for the key.
    Absent,
    /// The record was deleted.
    Tombstone,
    /// The record as of this layer.
    Live {
        /// Its set.
        set: Vec<u8>,
        /// Its generation.
        generation: u32,
        /// When it expires.
        expiry: Expiry,
        /// Its stamp.
        stamp: u64,
        /// Its user key.
        user_key: Option<Vec<u8>>,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// Length of its value's canonical bytes.
        value_bytes: u64,
        /// Whether the value of the next older version stands.
        inherited: bool,
    },
}

/// A value's shape and canonical bytes.
pub type WholeValue = (Arc<Shape>, Vec<u8>);

/// What single layers say of single keys, reading only the blocks that can hold them.
pub struct Versions {
    chunks: Arc<dyn ChunkReader>,
    /// Least recently used first.
    lists: Mutex<Vec<(ChunkId, Arc<List>)>>,
}

struct Found {
    entry: Entry,
    block: KeysBlock,
    row: usize,
}

impl Versions {
    /// A reader of versions that keeps a few list chunks at hand between calls.
    #[must_use]
    pub fn new(chunks: &Arc<dyn ChunkReader>) -> Self {
        Self { chunks: Arc::clone(chunks), lists: Mutex::new(Vec::new()) }
    }

    fn list(&self, id: ChunkId, read: impl FnOnce() -> Result<List, LayerError>) -> Result<Arc<List>, LayerError> {
        let cache = || self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut lists = cache();
            if let Some(at) = lists.iter().position(|(known, _)| *known == id) {
                let known = lists.remove(at);
                let list = Arc::clone(&known.1);
                lists.push(known);
                return Ok(list);
            }
        }
        let list = Arc::new(read()?);
        let mut lists = cache();
        if lists.len() >= CACHED_LISTS {
            lists.remove(0);
        }
        lists.push((id, Arc::clone(&list)));
        Ok(list)
    }

    fn find(&self, layer: &LayerRef, key: &[u8]) -> Result<Option<Found>, LayerError> {
        let mut list = self.list(layer.id, || List::read(&self.chunks, &layer.id))?;
        let header = list.root.as_ref();
        let header = header
            .ok_or_else(|| LayerError::inconsistent(format!("layer {}", layer.id), "its root list has no header"))?;
        if header.function != Fingerprinter::NAME {
            return Err(LayerError::Unknown { id: layer.id, function: format!("`{}`", header.function) });
        }
        loop {
            let entry = list.entries[list.position(key)].clone();
            if key < entry.key.as_slice() {
                return Ok(None);
            }
            if entry.is_list {
                list = self.list(entry.id, || read_list(&self.chunks, &entry))?;
                continue;
            }
            let block = read_keys(&self.chunks, &entry)?;
            let row = block.lower_bound(key);
            let found = row < block.len() && block.key(row) == key;
            return Ok(found.then_some(Found { entry, block, row }));
        }
    }

    /// The versions of `key` in a journal that were made in a range of times, oldest first.
    pub fn timed(
        &self,
        layer: &LayerRef,
        key: &[u8],
        from: VersionTime,
        to: VersionTime,
    ) -> Result<Vec<(VersionTime, Version)>, LayerError> {
        let opened = Layer::open(&self.chunks, layer)?;
        let bound = |time| {
            let mut out = Vec::new();
            version_key::put(key, time, &mut out);
            out
        };
        let mut end = bound(from);
        end.push(0);
        let range = KeyRange { start: bound(to), end: Some(end) };
        let mut cursor = LayerCursor::new(&opened, &range, Wants::Keys, Seen::Raw);
        let (mut found, mut record) = (Vec::new(), Vec::new());
        while cursor.advance()? {
            let time = version_key::read(cursor.key(), &mut record).map_err(|_| bad_key(cursor.key()))?;
            found.push((time, version_of(cursor.keys(), cursor.row())));
        }
        found.reverse();
        Ok(found)
    }

    /// The newest version of `key` in a journal that was not made after a time.
    pub fn newest(
        &self,
        layer: &LayerRef,
        key: &[u8],
        at: VersionTime,
    ) -> Result<Option<(VersionTime, Version)>, LayerError> {
        let opened = Layer::open(&self.chunks, layer)?;
        let range = KeyRange::only(key);
        let mut cursor = LayerCursor::new(&opened, &range, Wants::Keys, Seen::At(at));
        if !cursor.advance()? {
            return Ok(None);
        }
        Ok(cursor.time().map(|time| (time, version_of(cursor.keys(), cursor.row()))))
    }

    /// The value of one version in a journal; `None` for one that is longer than `limit`, and for a deletion.
    pub fn value_at(
        &self,
        layer: &LayerRef,
        key: &[u8],
        time: VersionTime,
        limit: u64,
    ) -> Result<Option<WholeValue>, LayerError> {
        let mut version_key = Vec::new();
        version_key::put(key, time, &mut version_key);
        match self.find(layer, &version_key)? {
            Some(found) if found.block.row(found.row).kind != RowKind::Tombstone => self.whole(&found, limit),
            _ => Ok(None),
        }
    }

    /// What `layer` says of `key`.
    pub fn version(&self, layer: &LayerRef, key: &[u8]) -> Result<Version, LayerError> {
        let Some(found) = self.find(layer, key)? else { return Ok(Version::Absent) };
        Ok(version_of(&found.block, found.row))
    }

    /// The value of `key` as the newest layer of `stack` that holds it in place has it (base first); whole, so of at most
    /// `limit` bytes: `None` for a longer one or an absent record.
    pub fn value(&self, stack: &[LayerRef], key: &[u8], limit: u64) -> Result<Option<WholeValue>, LayerError> {
        let mut inherited = false;
        for layer in stack.iter().rev() {
            let Some(found) = self.find(layer, key)? else { continue };
            match found.block.row(found.row).kind {
                RowKind::Inherited => inherited = true,
                RowKind::Tombstone if !inherited => return Ok(None),
                RowKind::Tombstone => break,
                RowKind::InPlace | RowKind::Pieces => return self.whole(&found, limit),
            }
        }
        if inherited {
            let object = format!("the inherited value of key {}", super::error::hex_of(key));
            return Err(LayerError::inconsistent(object, "no layer of the stack holds it"));
        }
        Ok(None)
    }

    fn whole(&self, found: &Found, limit: u64) -> Result<Option<WholeValue>, LayerError> {
        let head = found.block.row(found.row);
        if head.value_bytes > limit {
            return Ok(None);
        }
        let key = super::error::hex_of(found.block.key(found.row));
        let (shape, value) = if head.kind == RowKind::Pieces {
            let (shape, list) = found.block.pieces(found.row);
            let mut value = Vec::new();
            let mut reader = PieceReader::open(&self.chunks, list, head.value_bytes)?;
            reader.read_to_end(&mut value).map_err(|error| unreadable(&key, error))?;
            (Arc::clone(shape), value)
        } else {
            let id = found.entry.values.ok_or_else(|| LayerError::inconsistent("a block", "it has no values chunk"))?;
            let mut values = read_values(&self.chunks, id, &found.block)?;
            let (shape, value) = values.value(head.ordinal as usize);
            (Arc::clone(shape), value.to_vec())
        };
        if value.len() as u64 != head.value_bytes {
            let object = format!("the value of key {key}");
            return Err(LayerError::inconsistent(object, "its length is not what its row says"));
        }
        Ok(Some((shape, value)))
    }
}

fn version_of(block: &KeysBlock, row: usize) -> Version {
    let (head, meta) = (block.row(row), block.meta(row));
    match head.kind {
        RowKind::Tombstone => Version::Tombstone,
        kind => Version::Live {
            set: meta.set.to_vec(),
            generation: head.generation,
            expiry: head.expiry,
            stamp: head.stamp,
            user_key: meta.user_key.map(<[u8]>::to_vec),
            fingerprint: head.fingerprint,
            value_bytes: head.value_bytes,
            inherited: kind == RowKind::Inherited,
        },
    }
}
