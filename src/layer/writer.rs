//! Building layers: rows into blocks, blocks into lists.

use super::{
    LayerError,
    block::{BlockBuilder, NewRow},
    cut::Cutter,
    list::{Entry, RootHeader, write_list},
};
use crate::{
    record::{Fingerprinter, KeyRange},
    repo::{ChunkKind, ChunkPlain, ChunkWriter, Secrets, manifest::LayerRef},
};

/// The keyed functions that layers are built with.
#[derive(Debug, Clone)]
pub struct LayerContext {
    /// Fingerprints records.
    pub fingerprinter: Fingerprinter,
    /// Sums collections.
    pub collection_key: [u8; 32],
    /// Decides where blocks end.
    pub cut_key: [u8; 32],
    /// Seeds the gear table of `FastCDC`.
    pub gear_seed: u64,
}

impl LayerContext {
    /// The functions under a repository's secrets.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        Self {
            fingerprinter: Fingerprinter::new(&secrets.fingerprint),
            collection_key: secrets.collection,
            cut_key: secrets.cut,
            gear_seed: secrets.gear_seed,
        }
    }
}

/// What was built in one key range of a layer in the making: entries for its lists, and for the blocks after the last of
/// them.
#[derive(Debug, Clone, Default)]
pub struct BuiltRange {
    pub(super) entries: Vec<Entry>,
}

impl BuiltRange {
    /// Rows in the range, tombstones included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| entry.rows.saturating_add(sum))
    }
}

/// Writes the blocks of one range.
pub(super) struct RangeWriter {
    cutter: Cutter,
    block: BlockBuilder,
    plain: ChunkPlain,
    list_cutter: Cutter,
    /// Block entries after the last list.
    tail: Vec<Entry>,
    lists: Vec<Entry>,
    blocks: u64,
    is_journal: bool,
}

impl RangeWriter {
    pub(super) fn new(context: &LayerContext) -> Self {
        Self {
            cutter: Cutter::for_blocks(context.cut_key),
            block: BlockBuilder::default(),
            plain: ChunkPlain::default(),
            list_cutter: Cutter::for_lists(context.cut_key),
            tail: Vec::new(),
            lists: Vec::new(),
            blocks: 0,
            is_journal: false,
        }
    }

    /// Of a journal: keys are version keys.
    pub(super) fn of_journal(context: &LayerContext) -> Self {
        Self { is_journal: true, ..Self::new(context) }
    }

    /// Adds a row; keys must ascend.
    #[inline]
    pub(super) fn push(&mut self, writer: &mut dyn ChunkWriter, row: &NewRow<'_>) -> Result<(), LayerError> {
        let len = self.block.push(row)?;
        if self.cutter.ends_after(row.key, len) || self.block.shapes_are_full() {
            self.end_block(writer)?;
        }
        Ok(())
    }

    fn end_block(&mut self, writer: &mut dyn ChunkWriter) -> Result<(), LayerError> {
        self.cutter.restart();
        let totals = self.block.totals();
        self.block.keys.write(&mut self.plain);
        let kind = if self.is_journal { ChunkKind::Versions } else { ChunkKind::Keys };
        let keys = writer.put(kind, &self.plain)?.id;
        let values = if totals.values == 0 {
            None
        } else {
            self.block.values.write(&mut self.plain);
            Some(writer.put(ChunkKind::Values, &self.plain)?.id)
        };
        let entry = Entry::block(self.block.keys.first_key(), &totals, keys, values, self.is_journal);
        self.block.clear();
        self.blocks += 1;
        let ends = self.list_cutter.ends_after(&entry.key, entry.cut_len());
        self.tail.push(entry);
        if ends {
            self.lists.push(put_list(&self.tail, &mut self.plain, writer)?);
            self.tail.clear();
        }
        Ok(())
    }

    /// Ends the range: what was built, and how many blocks that took.
    pub(super) fn finish(mut self, writer: &mut dyn ChunkWriter) -> Result<(BuiltRange, u64), LayerError> {
        if self.block.totals().rows > 0 {
            self.end_block(writer)?;
        }
        let mut entries = self.lists;
        entries.append(&mut self.tail);
        Ok((BuiltRange { entries }, self.blocks))
    }
}

pub(super) fn put_list(
    entries: &[Entry],
    plain: &mut ChunkPlain,
    writer: &mut dyn ChunkWriter,
) -> Result<Entry, LayerError> {
    write_list(entries, None, plain)?;
    let id = writer.put(ChunkKind::List, plain)?.id;
    Ok(Entry::list(id, entries))
}

/// Stores the list chunks of a layer over gap-free, ascending ranges and gives its name; `None` if it has no rows.
/// `ranges` are the key ranges at whose starts cuts restarted, with what was built in each.
pub fn finish_layer(
    context: &LayerContext,
    writer: &mut dyn ChunkWriter,
    ranges: &[(KeyRange, BuiltRange)],
) -> Result<Option<LayerRef>, LayerError> {
    check_gap_free(ranges.iter().map(|(range, _)| range))?;
    let starts = ranges.iter().skip(1).map(|(range, _)| range.start.clone()).collect();
    let mut entries: Vec<Entry> = ranges.iter().flat_map(|(_, built)| built.entries.iter().cloned()).collect();
    if entries.is_empty() {
        return Ok(None);
    }
    let header = RootHeader::new(starts, &entries);
    let mut plain = ChunkPlain::default();
    loop {
        let mut cutter = Cutter::for_lists(context.cut_key);
        let mut groups = vec![0];
        for (i, entry) in entries.iter().enumerate() {
            if cutter.ends_after(&entry.key, entry.cut_len()) && i + 1 < entries.len() {
                groups.push(i + 1);
            }
        }
        if groups.len() == 1 {
            break;
        }
        groups.push(entries.len());
        entries = groups
            .windows(2)
            .map(|group| put_list(&entries[group[0]..group[1]], &mut plain, writer))
            .collect::<Result<_, _>>()?;
    }
    write_list(&entries, Some(&header), &mut plain)?;
    let id = writer.put(ChunkKind::List, &plain)?.id;
    let journal = entries.iter().any(|entry| entry.is_journal);
    Ok(Some(LayerRef { journal, ..LayerRef::new(id, header.rows, header.bytes) }))
}

/// Ranges must cover every key once, in order.
pub(super) fn check_gap_free<'a>(ranges: impl Iterator<Item = &'a KeyRange>) -> Result<(), LayerError> {
    let mut next: Option<&[u8]> = Some(&[]);
    for range in ranges {
        if next != Some(range.start.as_slice()) || range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Err(LayerError::inconsistent("the key ranges of a layer", "they overlap or leave a gap"));
        }
        next = range.end.as_deref();
    }
    if next.is_some() {
        return Err(LayerError::inconsistent("the key ranges of a layer", "they do not reach the last key"));
    }
    Ok(())
}
