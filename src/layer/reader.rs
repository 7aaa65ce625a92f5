//! Reading one layer: its root, and a walk over its rows.

use super::{
    LayerError,
    block::{KeysBlock, RowKind, RowValue, ValuesBlock},
    lent::{Lent, Side},
    level::{Level, Wants, keys_of, list_of, values_of},
    list::{Entry, List, RootHeader},
    piece,
    version_key::{self, Seen, bad_key},
};
use crate::{
    record::{Fingerprinter, KeyRange, VersionTime},
    repo::{ChunkId, ChunkKind, ChunkReader, manifest::LayerRef},
};
use std::sync::Arc;

/// An opened layer: its root list. May be shared by threads.
pub struct Layer {
    chunks: Arc<dyn ChunkReader>,
    id: ChunkId,
    root: Arc<List>,
    header: RootHeader,
}

/// What a layer's lists say of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// The first row's key.
    pub first_key: Vec<u8>,
    /// Its rows, tombstones included.
    pub rows: u64,
    /// Its rows that are not tombstones.
    pub live_rows: u64,
    /// Plaintext bytes of its rows.
    pub bytes: u64,
    /// Its keys chunk.
    pub keys: ChunkId,
    /// Its values chunk, if it has values in place.
    pub values: Option<ChunkId>,
    /// Whether it has rows in pieces.
    pub has_pieces: bool,
}

impl Layer {
    /// Reads the root list of a layer and checks it against the reference.
    pub fn open(chunks: &Arc<dyn ChunkReader>, layer: &LayerRef) -> Result<Self, LayerError> {
        Self::of_root(chunks, layer, List::read(chunks, &layer.id)?)
    }

    /// Opens several; where storage is far all their root lists are on their way while the first is looked at.
    pub(super) fn open_each(chunks: &Arc<dyn ChunkReader>, layers: &[LayerRef]) -> Result<Vec<Self>, LayerError> {
        let mut ahead = if layers.len() > 1 { Arc::clone(chunks).ahead() } else { None };
        if let Some(ahead) = &mut ahead {
            for layer in layers {
                ahead.announce(ChunkKind::List, &layer.id);
            }
            ahead.send();
        }
        let mut root = |id: &ChunkId| match ahead.as_mut().and_then(|ahead| ahead.take(ChunkKind::List, id)) {
            Some(data) => List::of(&data, id),
            None => List::read(chunks, id),
        };
        layers.iter().map(|layer| Self::of_root(chunks, layer, root(&layer.id)?)).collect()
    }

    fn of_root(chunks: &Arc<dyn ChunkReader>, layer: &LayerRef, root: List) -> Result<Self, LayerError> {
        let object = || format!("layer {}", layer.id);
        let Some(header) = root.root.clone() else {
            return Err(LayerError::inconsistent(object(), "its root list has no header"));
        };
        if header.function != Fingerprinter::NAME {
            return Err(LayerError::Unknown { id: layer.id, function: format!("`{}`", header.function) });
        }
        if root.is_journal() != layer.journal {
            return Err(LayerError::inconsistent(object(), "its rows are not of the kind that its snapshot gives"));
        }
        if (header.rows, header.bytes) != (layer.rows, layer.bytes) {
            return Err(LayerError::inconsistent(object(), "its rows and bytes are not those that its snapshot gives"));
        }
        Ok(Self { chunks: Arc::clone(chunks), id: layer.id, root: Arc::new(root), header })
    }

    /// The layer's name, rows and bytes.
    #[must_use]
    pub fn reference(&self) -> LayerRef {
        LayerRef { journal: self.is_journal(), ..LayerRef::new(self.id, self.header.rows, self.header.bytes) }
    }

    /// Whether its rows are versions with times.
    #[must_use]
    pub fn is_journal(&self) -> bool {
        self.root.is_journal()
    }

    /// The key ranges at whose starts cuts restarted (of version keys in a journal): gap-free, ascending, covering every key.
    #[must_use]
    pub fn ranges(&self) -> Vec<KeyRange> {
        KeyRange::between(&self.header.starts)
    }

    pub(super) const fn chunks(&self) -> &Arc<dyn ChunkReader> {
        &self.chunks
    }

    /// Every chunk that the layer references, the root included; reads lists, and the keys of blocks that hold lists of
    /// pieces, but no values.
    pub fn for_each_chunk(&self, visit: &mut dyn FnMut(ChunkId) -> Result<(), LayerError>) -> Result<(), LayerError> {
        visit(self.id)?;
        for_each_entry_of(&self.chunks, Arc::clone(&self.root), Some(Wants::Structure), &mut |entry, level| {
            for_each_chunk_of(&self.chunks, entry, level, visit)
        })
    }

    /// Every block in key order, from the lists alone.
    pub fn for_each_block(
        &self,
        visit: &mut dyn FnMut(&BlockInfo) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        for_each_entry_of(&self.chunks, Arc::clone(&self.root), None, &mut |entry, _| {
            if entry.is_list {
                return Ok(());
            }
            visit(&BlockInfo {
                first_key: entry.key.clone(),
                rows: entry.rows,
                live_rows: entry.live_rows,
                bytes: entry.bytes,
                keys: entry.id,
                values: entry.values,
                has_pieces: entry.has_pieces,
            })
        })
    }

    /// The first key of the first block that begins behind `key`; reads no list but those on the way to it.
    pub(super) fn next_boundary(&self, key: &[u8]) -> Option<Vec<u8>> {
        if !self.is_journal() {
            return self.next_row_boundary(key);
        }
        // Behind all versions of the record.
        let mut last = Vec::new();
        version_key::put(key, VersionTime::default(), &mut last);
        let found = self.next_row_boundary(&last)?;
        let mut next = Vec::new();
        version_key::read(&found, &mut next).ok().map(|_| next)
    }

    fn next_row_boundary(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut path = vec![(Arc::clone(&self.root), self.root.position(key))];
        while let Some((list, next)) = path.last_mut() {
            let Some(entry) = list.entries.get(*next).cloned() else {
                path.pop();
                continue;
            };
            *next += 1;
            if entry.key.as_slice() > key {
                return Some(entry.key);
            }
            if entry.is_list {
                // A list that cannot be read is passed over as a whole.
                if let Ok(list) = read_list(&self.chunks, &entry) {
                    let first = list.position(key);
                    path.push((Arc::new(list), first));
                }
            }
        }
        None
    }
}

/// Every entry under a list, each before what it names is read; and its level, to read on from. What is wanted beside lists is
/// read ahead.
pub(super) fn for_each_entry_of(
    chunks: &Arc<dyn ChunkReader>,
    list: Arc<List>,
    wants: Option<Wants>,
    visit: &mut dyn FnMut(&Entry, &mut Level) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut path = vec![Level::new(list, 0)];
    while let Some(level) = path.last_mut() {
        let Some(entry) = level.list.entries.get(level.next).cloned() else {
            path.pop();
            continue;
        };
        if let Some(wants) = wants {
            level.announce(chunks, wants, None);
        }
        level.next += 1;
        visit(&entry, level)?;
        if entry.is_list {
            let list = level.read_list(chunks, &entry)?;
            path.push(Level::new(Arc::new(list), 0));
        }
    }
    Ok(())
}

/// Every chunk that an entry names by itself: of a list only the list.
pub(super) fn for_each_chunk_of(
    chunks: &Arc<dyn ChunkReader>,
    entry: &Entry,
    level: &mut Level,
    visit: &mut dyn FnMut(ChunkId) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    visit(entry.id)?;
    if let Some(values) = entry.values {
        visit(values)?;
    }
    if entry.has_pieces && !entry.is_list {
        for list in level.read_keys(chunks, entry)?.piece_lists() {
            piece::for_each_piece(chunks, list, visit)?;
        }
    }
    Ok(())
}

/// Reads the list that an entry names.
pub(super) fn read_list(chunks: &Arc<dyn ChunkReader>, entry: &Entry) -> Result<List, LayerError> {
    list_of(&chunks.read(ChunkKind::List, &entry.id)?, entry)
}

/// Reads the keys of the block that an entry names.
pub(super) fn read_keys(chunks: &Arc<dyn ChunkReader>, entry: &Entry) -> Result<KeysBlock, LayerError> {
    keys_of(&chunks.read(entry.keys_kind(), &entry.id)?, entry)
}

/// Reads the values of a block.
pub(super) fn read_values(
    chunks: &Arc<dyn ChunkReader>,
    id: ChunkId,
    keys: &KeysBlock,
) -> Result<ValuesBlock, LayerError> {
    values_of(&chunks.read(ChunkKind::Values, &id)?, id, keys)
}

/// Walks the rows of one layer in a key range. Use as: `while walk.advance()? { walk.key() … }`.
pub(super) struct LayerCursor<'a> {
    layer: &'a Layer,
    /// Where to begin, until the first block is found.
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    path: Vec<Level>,
    /// What is read ahead once it is more than one block.
    wants: Wants,
    is_on_its_way: bool,
    keys: Arc<KeysBlock>,
    /// What is lent to or by a cursor beside this one.
    shared: Option<(&'a Lent, Side)>,
    /// Whether the block at hand was lent.
    is_lent: bool,
    values_id: Option<ChunkId>,
    values: Option<ValuesBlock>,
    /// The row after the current one, and the first row of the block that is no longer in the range.
    next: usize,
    row_end: usize,
    /// A journal of which the newest version of each record is seen.
    view: Option<View>,
}

/// One version of each record of a journal.
struct View {
    /// None after it.
    at: VersionTime,
    /// The current record's key, its part of the version key, and when the version was made.
    key: Vec<u8>,
    record: Vec<u8>,
    time: VersionTime,
    is_begun: bool,
}

impl View {
    fn of(layer: &Layer, seen: Seen) -> Option<Self> {
        let at = match seen {
            _ if !layer.is_journal() => return None,
            Seen::Raw => return None,
            Seen::Newest => VersionTime { millis: u64::MAX, order: u64::MAX },
            Seen::At(time) => time,
        };
        let (key, record) = (Vec::new(), Vec::new());
        Some(Self { at, key, record, time: VersionTime::default(), is_begun: false })
    }

    /// Whether the row with this version key is the one to be seen of its record.
    fn takes(&mut self, version_key: &[u8]) -> Result<bool, LayerError> {
        if self.is_begun && version_key::record_part(version_key) == self.record {
            return Ok(false);
        }
        let mut key = std::mem::take(&mut self.key);
        let time = version_key::read(version_key, &mut key).map_err(|_| bad_key(version_key))?;
        self.key = key;
        if time > self.at {
            self.is_begun = false;
            return Ok(false);
        }
        self.is_begun = true;
        self.time = time;
        self.record.clear();
        self.record.extend_from_slice(version_key::record_part(version_key));
        Ok(true)
    }
}

impl<'a> LayerCursor<'a> {
    pub(super) fn new(layer: &'a Layer, range: &KeyRange, wants: Wants, seen: Seen) -> Self {
        let view = View::of(layer, seen);
        let bound = |key: &[u8]| {
            let mut out = Vec::new();
            match &view {
                Some(_) => version_key::put_escaped(key, &mut out),
                None => out.extend_from_slice(key),
            }
            out
        };
        let (start, end) = (bound(&range.start), range.end.as_deref().map(bound));
        let first = layer.root.position(&start);
        Self {
            layer,
            start: Some(start),
            end,
            view,
            path: vec![Level::new(Arc::clone(&layer.root), first)],
            wants,
            is_on_its_way: false,
            keys: Arc::default(),
            shared: None,
            is_lent: false,
            values_id: None,
            values: None,
            next: 0,
            row_end: 0,
        }
    }

    /// Lends blocks to a cursor behind this one, or takes those of the one before it.
    pub(super) const fn share(&mut self, lent: &'a Lent, side: Side) {
        self.shared = Some((lent, side));
    }

    /// Sends for the first block's keys, unless they are lent: whoever walks several layers wants those of each of them at once.
    pub(super) fn send_for_first(&mut self) {
        let Some(level) = self.path.last_mut() else { return };
        let is_lent = match (self.shared, level.list.entries.get(level.next)) {
            (Some((lent, Side::Behind)), Some(first)) => lent.has(&first.id),
            _ => false,
        };
        if !is_lent {
            level.send_for_next(&self.layer.chunks, self.end.as_deref());
        }
    }

    /// Sends for the values of the block at hand, unless the current row is the last of it that lies in the range: whoever looks
    /// for one record needs the values of one layer.
    pub(super) fn send_for_values(&mut self) {
        if self.wants == Wants::Rows
            && self.next < self.row_end
            && let (Some(level), Some(id)) = (self.path.last_mut(), self.values_id)
        {
            level.send_for_values(&self.layer.chunks, &id);
        }
    }

    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, LayerError> {
        while self.step()? {
            let Some(view) = &mut self.view else { return Ok(true) };
            if view.takes(self.keys.key(self.next - 1))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[inline]
    fn step(&mut self) -> Result<bool, LayerError> {
        while self.next >= self.row_end {
            if !self.next_block()? {
                return Ok(false);
            }
        }
        self.next += 1;
        Ok(true)
    }

    /// Makes the next row the first at `key` or behind it, which must not lie before the current one. Lists and blocks on the way
    /// there are not read.
    pub(super) fn seek(&mut self, key: &[u8]) {
        let mut start = Vec::new();
        match &self.view {
            Some(_) => version_key::put_escaped(key, &mut start),
            None => start.extend_from_slice(key),
        }
        if self.row_end > 0 && self.keys.key(self.row_end - 1) >= start.as_slice() {
            self.next = self.next.max(self.keys.lower_bound(&start));
            return;
        }
        self.next = self.row_end;
        let over = self.path.iter().position(|level| level.list.position(&start) >= level.next);
        if let Some(depth) = over {
            self.path.truncate(depth + 1);
            let level = &mut self.path[depth];
            let to = level.list.position(&start);
            // What lies behind a leap is not read ahead.
            self.is_on_its_way &= to == level.next;
            level.next = to;
        }
        self.start = Some(start);
    }

    fn next_block(&mut self) -> Result<bool, LayerError> {
        while let Some(level) = self.path.last_mut() {
            let Some(entry) = level.list.entries.get(level.next).cloned() else {
                self.path.pop();
                continue;
            };
            if self.end.as_ref().is_some_and(|end| entry.key >= *end) {
                break;
            }
            // Whoever looks for one record needs one block of each layer, and values of one of them.
            if self.is_on_its_way && !self.is_lent {
                level.announce(&self.layer.chunks, self.wants, self.end.as_deref());
            }
            level.next += 1;
            if entry.is_list {
                let list = level.read_list(&self.layer.chunks, &entry)?;
                let first = self.start.as_ref().map_or(0, |start| list.position(start));
                self.path.push(Level::new(Arc::new(list), first));
                continue;
            }
            let lent = match self.shared {
                Some((lent, Side::Behind)) => lent.take(&entry.id),
                _ => None,
            };
            self.is_lent = lent.is_some();
            let keys = match lent {
                Some(keys) => keys,
                None => Arc::new(level.read_keys(&self.layer.chunks, &entry)?),
            };
            if let Some((lent, Side::Before)) = self.shared {
                lent.put(entry.id, &keys);
            }
            self.load(&entry, keys)?;
            self.is_on_its_way = true;
            return Ok(true);
        }
        self.path.clear();
        self.row_end = 0;
        self.next = 0;
        Ok(false)
    }

    fn load(&mut self, entry: &Entry, keys: Arc<KeysBlock>) -> Result<(), LayerError> {
        if self.keys.len() > 0 && self.keys.key(self.keys.len() - 1) >= keys.key(0) {
            let object = format!("keys chunk {}", entry.id);
            return Err(LayerError::inconsistent(object, "it begins before the block before it ends"));
        }
        self.next = self.start.take().map_or(0, |start| keys.lower_bound(&start));
        self.row_end = self.end.as_ref().map_or(keys.len(), |end| keys.lower_bound(end));
        self.keys = keys;
        self.values_id = entry.values;
        self.values = None;
        Ok(())
    }

    #[inline]
    pub(super) const fn row(&self) -> usize {
        self.next - 1
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        match &self.view {
            Some(view) => &view.key,
            None => self.keys.key(self.row()),
        }
    }

    /// When the current version was made, if this is a journal of which one version a record is seen.
    #[inline]
    pub(super) fn time(&self) -> Option<VersionTime> {
        self.view.as_ref().map(|view| view.time)
    }

    #[inline]
    pub(super) fn keys(&self) -> &KeysBlock {
        &self.keys
    }

    #[inline]
    pub(super) fn kind(&self) -> RowKind {
        self.keys.row(self.row()).kind
    }

    /// The current row's value, and its length as its row says.
    pub(super) fn value(&mut self) -> Result<(RowValue<'_>, u64), LayerError> {
        let row = self.row();
        let head = self.keys.row(row);
        let bytes = head.value_bytes;
        let value = match head.kind {
            RowKind::Tombstone => RowValue::Tombstone,
            RowKind::Inherited => RowValue::Inherited,
            RowKind::Pieces => {
                let (shape, list) = self.keys.pieces(row);
                RowValue::Pieces(shape, list)
            }
            RowKind::InPlace => {
                let (shape, value) = match (&mut self.values, self.values_id) {
                    (Some(values), _) => values,
                    (none, Some(id)) => none.insert(match self.path.last_mut() {
                        Some(level) => level.read_values(&self.layer.chunks, id, &self.keys)?,
                        None => read_values(&self.layer.chunks, id, &self.keys)?,
                    }),
                    (None, None) => return Err(LayerError::inconsistent("a block", "it has no values chunk")),
                }
                .value(head.ordinal as usize);
                if value.len() as u64 != bytes {
                    let object = format!("the value of key {}", super::error::hex_of(self.keys.key(row)));
                    return Err(LayerError::inconsistent(object, "its length is not what its row says"));
                }
                RowValue::InPlace(shape, value)
            }
        };
        Ok((value, bytes))
    }

    /// What [`Self::value`] gave for the current row, without reading anything.
    pub(super) fn loaded(&self) -> Option<RowValue<'_>> {
        let row = self.row();
        Some(match self.kind() {
            RowKind::Tombstone => RowValue::Tombstone,
            RowKind::Inherited => RowValue::Inherited,
            RowKind::Pieces => {
                let (shape, list) = self.keys.pieces(row);
                RowValue::Pieces(shape, list)
            }
            RowKind::InPlace => {
                let (shape, value) = self.values.as_ref()?.current();
                RowValue::InPlace(shape, value)
            }
        })
    }
}
