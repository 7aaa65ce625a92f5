//! Lists: the index of a layer. Entries name blocks and lists; the outermost list is the root and carries the header.

use super::{
    LayerError,
    block::{
        BlockTotals,
        columns::{shared_prefix, take_key},
    },
};
use crate::{
    record::{
        Fingerprinter, MAX_KEY_BYTES,
        bytes::{DecodeError, Reader, known_version, put_slice, put_u64},
    },
    repo::{ChunkData, ChunkId, ChunkKind, ChunkPlain, ChunkReader, chunk::MAX_CHUNK_BYTES},
};
use std::sync::Arc;

const VERSION: u8 = 1;
const FLAG_LIST: u8 = 1;
const FLAG_VALUES: u8 = 2;
const FLAG_PIECES: u8 = 4;
const FLAG_JOURNAL: u8 = 8;

/// What a list says of one block or list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    pub(super) rows: u64,
    pub(super) live_rows: u64,
    pub(super) bytes: u64,
    /// The keys chunk or the list.
    pub(super) id: ChunkId,
    pub(super) values: Option<ChunkId>,
    pub(super) is_list: bool,
    pub(super) has_pieces: bool,
    /// Whether the rows under it are versions with times.
    pub(super) is_journal: bool,
}

/// What only the root list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootHeader {
    pub(super) function: String,
    pub(super) starts: Vec<Vec<u8>>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// A decoded list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) root: Option<RootHeader>,
    pub(super) entries: Vec<Entry>,
}

impl Entry {
    /// The entry of a block.
    pub(super) fn block(
        key: &[u8],
        totals: &BlockTotals,
        id: ChunkId,
        values: Option<ChunkId>,
        is_journal: bool,
    ) -> Self {
        Self {
            key: key.to_vec(),
            rows: totals.rows,
            live_rows: totals.live_rows,
            bytes: totals.bytes,
            id,
            values,
            is_list: false,
            has_pieces: totals.pieces,
            is_journal,
        }
    }

    /// The entry of a list over these entries, of which there is at least one.
    pub(super) fn list(id: ChunkId, entries: &[Self]) -> Self {
        Self {
            key: entries.first().map_or_else(Vec::new, |entry| entry.key.clone()),
            rows: entries.iter().map(|entry| entry.rows).sum(),
            live_rows: entries.iter().map(|entry| entry.live_rows).sum(),
            bytes: entries.iter().fold(0, |sum, entry| entry.bytes.saturating_add(sum)),
            id,
            values: None,
            is_list: true,
            has_pieces: entries.iter().any(|entry| entry.has_pieces),
            is_journal: entries.iter().any(|entry| entry.is_journal),
        }
    }

    /// What the keys of a block are stored as.
    pub(super) const fn keys_kind(&self) -> ChunkKind {
        if self.is_journal { ChunkKind::Versions } else { ChunkKind::Keys }
    }

    /// What the cut rule counts.
    pub(super) fn cut_len(&self) -> u64 {
        self.key.len() as u64 + 8 + if self.values.is_some() { 64 } else { 32 }
    }
}

impl RootHeader {
    pub(super) fn new(starts: Vec<Vec<u8>>, entries: &[Entry]) -> Self {
        Self {
            function: Fingerprinter::NAME.to_owned(),
            starts,
            rows: entries.iter().map(|entry| entry.rows).sum(),
            bytes: entries.iter().fold(0, |sum, entry| entry.bytes.saturating_add(sum)),
        }
    }
}

/// Writes a list chunk.
pub(super) fn write_list(entries: &[Entry], root: Option<&RootHeader>, out: &mut ChunkPlain) -> Result<(), LayerError> {
    out.clear();
    out.bytes.push(VERSION);
    put_u64(&mut out.bytes, entries.len() as u64);
    out.bytes.push(u8::from(root.is_some()));
    if let Some(root) = root {
        put_slice(&mut out.bytes, root.function.as_bytes());
        put_u64(&mut out.bytes, root.starts.len() as u64);
        for start in &root.starts {
            put_slice(&mut out.bytes, start);
        }
        put_u64(&mut out.bytes, root.rows);
        put_u64(&mut out.bytes, root.bytes);
    }
    out.end_run();
    let mut before: &[u8] = &[];
    for entry in entries {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(entry.is_list, FLAG_LIST)
            | flag(entry.values.is_some(), FLAG_VALUES)
            | flag(entry.has_pieces, FLAG_PIECES)
            | flag(entry.is_journal, FLAG_JOURNAL);
        out.bytes.push(flags);
        let shared = shared_prefix(before, &entry.key);
        put_u64(&mut out.bytes, shared as u64);
        put_slice(&mut out.bytes, &entry.key[shared..]);
        put_u64(&mut out.bytes, entry.rows);
        put_u64(&mut out.bytes, entry.live_rows);
        put_u64(&mut out.bytes, entry.bytes);
        before = &entry.key;
    }
    out.end_run();
    for entry in entries {
        out.bytes.extend_from_slice(&entry.id.0);
        if let Some(values) = entry.values {
            out.bytes.extend_from_slice(&values.0);
        }
    }
    out.end_run();
    if out.bytes.len() > MAX_CHUNK_BYTES {
        return Err(LayerError::inconsistent("a layer's list", "its range starts do not fit into one chunk"));
    }
    Ok(())
}

impl List {
    /// Reads, decodes and checks a list chunk.
    pub(super) fn read(chunks: &Arc<dyn ChunkReader>, id: &ChunkId) -> Result<Self, LayerError> {
        Self::of(&chunks.read(ChunkKind::List, id)?, id)
    }

    /// A list chunk that was read.
    pub(super) fn of(data: &ChunkData, id: &ChunkId) -> Result<Self, LayerError> {
        Self::decode(&data.plain()?).map_err(|reason| LayerError::damaged(*id, reason))
    }

    /// Decodes and checks a list chunk's plaintext.
    pub(super) fn decode(plain: &ChunkPlain) -> Result<Self, DecodeError> {
        let runs: Vec<&[u8]> = plain
            .runs()
            .map(|run| plain.bytes.get(run).ok_or(DecodeError::Truncated("a run")))
            .collect::<Result<_, _>>()?;
        known_version(runs.first().copied(), VERSION, "version of a list")?;
        let [header, meta, ids] = runs[..] else { return Err(DecodeError::Invalid("the number of runs of a list")) };
        let mut header = Reader::new(header);
        header.u8("a list's version")?;
        let count = header.u64("a number of entries")?;
        // An entry takes at least 6 bytes and one id.
        if count == 0 || count > (meta.len() / 6) as u64 || count > (ids.len() / 32) as u64 {
            return Err(DecodeError::Invalid("a number of entries"));
        }
        let root = match header.u8("whether a list is a root")? {
            0 => None,
            1 => Some(read_root(&mut header)?),
            _ => return Err(DecodeError::Invalid("whether a list is a root")),
        };
        header.finish("a list's header")?;
        let entries = read_entries(count as usize, meta, ids)?;
        let list = Self { root, entries };
        list.check_totals()?;
        Ok(list)
    }

    fn check_totals(&self) -> Result<(), DecodeError> {
        let sum = |of: fn(&Entry) -> u64| self.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(of(entry)));
        let (rows, bytes) = (sum(|entry| entry.rows), sum(|entry| entry.bytes));
        let matches = self.root.as_ref().is_none_or(|root| rows == Some(root.rows) && bytes == Some(root.bytes));
        if rows.is_none() || bytes.is_none() || !matches {
            return Err(DecodeError::Invalid("the totals of a list"));
        }
        if self.entries.iter().any(|entry| entry.is_journal != self.is_journal()) {
            return Err(DecodeError::Invalid("a list of versions and of other rows"));
        }
        Ok(())
    }

    /// Whether the rows under it are versions with times.
    pub(super) fn is_journal(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.is_journal)
    }

    /// Checks that this list is what an entry says of it.
    pub(super) fn check_against(&self, entry: &Entry) -> Result<(), LayerError> {
        let own = Entry::list(entry.id, &self.entries);
        if own != *entry || self.root.is_some() {
            let object = format!("list {}", entry.id);
            return Err(LayerError::inconsistent(object, "first key or counts are not those that its list gives"));
        }
        Ok(())
    }

    /// The entry that can hold `key`: the last whose first key is not above it; the first if there is none.
    pub(super) fn position(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|entry| entry.key.as_slice() <= key).saturating_sub(1)
    }
}

fn read_root(header: &mut Reader<'_>) -> Result<RootHeader, DecodeError> {
    let function = header.slice("a fingerprint function's name")?;
    let function = String::from_utf8_lossy(function).into_owned();
    let mut starts: Vec<Vec<u8>> = Vec::new();
    for _ in 0..header.len("a number of range starts")? {
        let start = header.slice("a range start")?;
        if start.is_empty() || starts.last().is_some_and(|last| last.as_slice() >= start) {
            return Err(DecodeError::Invalid("the order of range starts"));
        }
        starts.push(start.to_vec());
    }
    let rows = header.u64("a layer's rows")?;
    let bytes = header.u64("a layer's bytes")?;
    Ok(RootHeader { function, starts, rows, bytes })
}

fn read_entries(count: usize, meta: &[u8], ids: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let (mut meta, mut ids) = (Reader::new(meta), Reader::new(ids));
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut key = Vec::new();
    let mut total = 0;
    for i in 0..count {
        let flags = meta.u8("an entry's flags")?;
        if flags & !(FLAG_LIST | FLAG_VALUES | FLAG_PIECES | FLAG_JOURNAL) != 0
            || flags & FLAG_LIST != 0 && flags & FLAG_VALUES != 0
        {
            return Err(DecodeError::Invalid("an entry's flags"));
        }
        let shared = meta.u64("a key's shared prefix")?;
        let own = meta.slice("a key")?;
        let start = key.len();
        take_key(&mut key, (i > 0).then_some(0), shared, own, 2 * MAX_KEY_BYTES)?;
        key.drain(..start);
        total += key.len();
        if key.len() > MAX_KEY_BYTES || total > MAX_CHUNK_BYTES {
            return Err(DecodeError::Invalid("a key's length"));
        }
        let (rows, live_rows) = (meta.u64("an entry's rows")?, meta.u64("an entry's live rows")?);
        if rows == 0 || live_rows > rows {
            return Err(DecodeError::Invalid("an entry's rows"));
        }
        let bytes = meta.u64("an entry's bytes")?;
        let id = ChunkId(ids.array("an id")?);
        let values = if flags & FLAG_VALUES == 0 { None } else { Some(ChunkId(ids.array("an id")?)) };
        entries.push(Entry {
            key: key.clone(),
            rows,
            live_rows,
            bytes,
            id,
            values,
            is_list: flags & FLAG_LIST != 0,
            has_pieces: flags & FLAG_PIECES != 0,
            is_journal: flags & FLAG_JOURNAL != 0,
        });
    }
    meta.finish("a list's entries")?;
    ids.finish("a list's ids")?;
    Ok(entries)
}

/// A root list with random entries.
#[cfg(test)]
pub(super) fn sample(rng: &mut super::tests::model::Rng) -> ChunkPlain {
    let mut entries: Vec<Entry> = (0..20u8)
        .map(|i| {
            let is_list = rng.below(2) == 0;
            Entry {
                key: [&[i], rng.bytes(3).as_slice()].concat(),
                rows: 5,
                live_rows: rng.below(6),
                bytes: rng.below(1 << 40),
                id: ChunkId(std::array::from_fn(|_| rng.next() as u8)),
                values: (!is_list && rng.below(2) == 0).then_some(ChunkId([i; 32])),
                is_list,
                has_pieces: rng.below(2) == 0,
                is_journal: false,
            }
        })
        .collect();
    entries[0].key.clear();
    let root = RootHeader::new(vec![vec![1], vec![3, 4]], &entries);
    let mut plain = ChunkPlain::default();
    write_list(&entries, Some(&root), &mut plain).expect("a small list");
    assert_eq!(List::decode(&plain), Ok(List { root: Some(root), entries }));
    plain
}
