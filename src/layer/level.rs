//! One list on the way down a layer, and what is read ahead of its entries where storage is far.

use super::{
    LayerError,
    block::{KeysBlock, ValuesBlock},
    list::{Entry, List},
};
use crate::repo::{ChunkData, ChunkId, ChunkKind, ChunkReader, ReadAhead};
use std::sync::Arc;

/// How many entries beyond the next one are announced at most. Announced anew when half of them are used up, so that requests
/// stay long.
const ENTRIES: usize = 512;

/// Lists are long and rarely needed soon, unless nothing but lists is read.
const LISTS: usize = 2;

/// What somebody will read of a list's entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// Lists, and the keys of blocks that hold lists of pieces.
    Structure,
    /// The keys of every block.
    Keys,
    /// Keys and values of every block.
    Rows,
}

/// A list, and how far it is walked.
pub(super) struct Level {
    pub list: Arc<List>,
    pub next: usize,
    /// The first entry that is not announced.
    announced: usize,
    ahead: Ahead,
}

enum Ahead {
    Untried,
    /// Storage is near.
    No,
    Yes(Box<dyn ReadAhead>),
}

impl Level {
    pub fn new(list: Arc<List>, next: usize) -> Self {
        Self { list, next, announced: next, ahead: Ahead::Untried }
    }

    fn ahead(&mut self, chunks: &Arc<dyn ChunkReader>) -> Option<&mut dyn ReadAhead> {
        if matches!(self.ahead, Ahead::Untried) {
            self.ahead = Arc::clone(chunks).ahead().map_or(Ahead::No, Ahead::Yes);
        }
        match &mut self.ahead {
            Ahead::Yes(ahead) => Some(ahead.as_mut()),
            _ => None,
        }
    }

    /// Sends for the next entry alone, of a block for its keys, unless it begins at `end` or behind it.
    pub fn send_for_next(&mut self, chunks: &Arc<dyn ChunkReader>, end: Option<&[u8]>) {
        let next = self.list.entries.get(self.next).filter(|entry| end.is_none_or(|end| entry.key.as_slice() < end));
        let Some((kind, id)) =
            next.map(|entry| (if entry.is_list { ChunkKind::List } else { entry.keys_kind() }, entry.id))
        else {
            return;
        };
        if let Some(ahead) = self.ahead(chunks) {
            ahead.announce(kind, &id);
            ahead.send();
        }
    }

    /// Sends for values.
    pub fn send_for_values(&mut self, chunks: &Arc<dyn ChunkReader>, id: &ChunkId) {
        if let Some(ahead) = self.ahead(chunks) {
            ahead.announce(ChunkKind::Values, id);
            ahead.send();
        }
    }

    /// Announces what will be read from the next entry on, up to the one that begins at `end` or behind it.
    pub fn announce(&mut self, chunks: &Arc<dyn ChunkReader>, wants: Wants, end: Option<&[u8]>) {
        self.ahead(chunks);
        let Ahead::Yes(ahead) = &mut self.ahead else { return };
        let from = self.announced.max(self.next);
        let is_early = from - self.next > ENTRIES / 2;
        if is_early || from >= self.list.entries.len() || !ahead.has_room() {
            return;
        }
        let mut lists = 0;
        for entry in self.list.entries[from..].iter().take(self.next + ENTRIES - from) {
            lists += usize::from(entry.is_list);
            let is_over = end.is_some_and(|end| entry.key.as_slice() >= end);
            if is_over || wants != Wants::Structure && lists > LISTS {
                break;
            }
            self.announced += 1;
            if !announce_entry(ahead.as_mut(), entry, wants) {
                break;
            }
        }
        self.announced = self.announced.max(from);
        ahead.send();
    }

    fn read(&mut self, chunks: &Arc<dyn ChunkReader>, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, LayerError> {
        if let Ahead::Yes(ahead) = &mut self.ahead
            && let Some(data) = ahead.take(kind, id)
        {
            return Ok(data);
        }
        Ok(chunks.read(kind, id)?)
    }

    /// Reads the list that an entry names.
    pub fn read_list(&mut self, chunks: &Arc<dyn ChunkReader>, entry: &Entry) -> Result<List, LayerError> {
        let data = self.read(chunks, ChunkKind::List, &entry.id)?;
        list_of(&data, entry)
    }

    /// Reads the keys of the block that an entry names.
    pub fn read_keys(&mut self, chunks: &Arc<dyn ChunkReader>, entry: &Entry) -> Result<KeysBlock, LayerError> {
        let data = self.read(chunks, entry.keys_kind(), &entry.id)?;
        keys_of(&data, entry)
    }

    /// Reads the values of a block.
    pub fn read_values(
        &mut self,
        chunks: &Arc<dyn ChunkReader>,
        id: ChunkId,
        keys: &KeysBlock,
    ) -> Result<ValuesBlock, LayerError> {
        let data = self.read(chunks, ChunkKind::Values, &id)?;
        values_of(&data, id, keys)
    }
}

fn announce_entry(ahead: &mut dyn ReadAhead, entry: &Entry, wants: Wants) -> bool {
    if entry.is_list {
        return ahead.announce(ChunkKind::List, &entry.id);
    }
    if wants == Wants::Structure && !entry.has_pieces {
        return true;
    }
    let has_room = ahead.announce(entry.keys_kind(), &entry.id);
    match entry.values.filter(|_| wants == Wants::Rows) {
        Some(values) => ahead.announce(ChunkKind::Values, &values),
        None => has_room,
    }
}

/// The list that an entry names.
pub(super) fn list_of(data: &ChunkData, entry: &Entry) -> Result<List, LayerError> {
    let list = List::of(data, &entry.id)?;
    list.check_against(entry)?;
    Ok(list)
}

/// The keys of the block that an entry names.
pub(super) fn keys_of(data: &ChunkData, entry: &Entry) -> Result<KeysBlock, LayerError> {
    let block = KeysBlock::decode(&data.plain()?).map_err(|reason| LayerError::damaged(entry.id, reason))?;
    let counts = (block.len() as u64, block.live_rows(), block.values() > 0, block.piece_lists().next().is_some());
    if counts != (entry.rows, entry.live_rows, entry.values.is_some(), entry.has_pieces) || block.key(0) != entry.key {
        let object = format!("keys chunk {}", entry.id);
        return Err(LayerError::inconsistent(object, "first key or counts are not those that its list gives"));
    }
    Ok(block)
}

/// The values of a block.
pub(super) fn values_of(data: &ChunkData, id: ChunkId, keys: &KeysBlock) -> Result<ValuesBlock, LayerError> {
    let values = ValuesBlock::decode(data.plain()?).map_err(|reason| LayerError::damaged(id, reason))?;
    if values.len() as u64 != keys.values() {
        let object = format!("values chunk {id}");
        return Err(LayerError::inconsistent(object, "it has not as many values as its keys chunk has rows in place"));
    }
    Ok(values)
}
