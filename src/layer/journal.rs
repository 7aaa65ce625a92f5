//! Journals: layers with every version of a key. Writing them, merging them, and dropping versions that no policy keeps.
//! Specified in `format-spec/journals.md`.

use super::{
    LayerContext, LayerError, RowTotals, Stack,
    block::{MAX_HEAD_BYTES, MAX_INLINE_BYTES, MAX_SHAPE_BYTES, NewRow, RowKind, RowValue},
    error::hex_of,
    groups::Groups,
    level::Wants,
    merge::{MergeProgress, Ticks},
    piece::{PieceError, PieceWriter},
    version_key::{self, Seen, bad_key},
    writer::{BuiltRange, RangeWriter, finish_layer},
};
use crate::{
    record::{KeyRange, MAX_KEY_BYTES, Meta, Shape, Timestamp, VersionTime},
    repo::{
        ChunkWriter,
        manifest::{LayerRef, Moments},
    },
};
use std::sync::Arc;

/// One change of a record.
#[derive(Debug, Clone, Copy)]
pub enum JournalChange<'a> {
    /// The record as it was written.
    Put {
        /// The rest of its key row.
        meta: Meta<'a>,
        /// The names of its cells.
        shape: &'a Arc<Shape>,
        /// The canonical bytes of its value.
        value: &'a [u8],
    },
    /// It was deleted.
    Delete,
}

/// Writes a journal from changes in the order of (key, newest first).
pub struct JournalWriter<'a> {
    context: &'a LayerContext,
    range: RangeWriter,
    pieces: Option<PieceWriter>,
    version_key: Vec<u8>,
    before: Vec<u8>,
    rows: u64,
}

/// Why a change cannot be kept.
#[must_use]
pub fn is_beyond_limits(key: &[u8], change: &JournalChange<'_>) -> Option<&'static str> {
    let mut version_key = Vec::new();
    version_key::put(key, VersionTime::default(), &mut version_key);
    if version_key.len() > MAX_KEY_BYTES {
        return Some("its key is too long for a journal");
    }
    let JournalChange::Put { meta, shape, .. } = change else { return None };
    if meta.set.len() + meta.user_key.map_or(0, <[u8]>::len) > MAX_HEAD_BYTES {
        return Some("its set and user key are longer than 1 MiB");
    }
    let mut encoded = Vec::new();
    shape.encode(&mut encoded);
    (encoded.len() > MAX_SHAPE_BYTES).then_some("the names of its cells are longer than 1 MiB")
}

impl<'a> JournalWriter<'a> {
    /// An empty journal.
    #[must_use]
    pub fn new(context: &'a LayerContext) -> Self {
        let range = RangeWriter::of_journal(context);
        Self { context, range, pieces: None, version_key: Vec::new(), before: Vec::new(), rows: 0 }
    }

    /// Adds a change. One with the key and time of the one before is the same change and is passed over.
    pub fn push(
        &mut self,
        writer: &mut dyn ChunkWriter,
        key: &[u8],
        time: VersionTime,
        change: &JournalChange<'_>,
    ) -> Result<(), LayerError> {
        self.version_key.clear();
        version_key::put(key, time, &mut self.version_key);
        if self.rows > 0 && self.version_key <= self.before {
            if self.version_key == self.before {
                return Ok(());
            }
            return Err(LayerError::Order { first: hex_of(&self.before), second: hex_of(&self.version_key) });
        }
        self.before.clone_from(&self.version_key);
        self.rows += 1;
        match change {
            JournalChange::Delete => self.range.push(writer, &NewRow::tombstone(&self.version_key)),
            JournalChange::Put { meta, shape, value } => {
                let fingerprint = self.context.fingerprinter.of(shape, meta.user_key, value);
                let value_bytes = value.len() as u64;
                let list;
                let stored = if value.len() <= MAX_INLINE_BYTES {
                    RowValue::InPlace(shape, value)
                } else {
                    let pieces = self.pieces.get_or_insert_with(|| PieceWriter::new(self.context));
                    let written = pieces.write(value, &mut std::io::empty(), writer, &mut |_| ());
                    list = written.map_err(|error| match error {
                        PieceError::Layer(error) => error,
                        PieceError::Source(error) => LayerError::Source(error.into()),
                    })?;
                    RowValue::Pieces(shape, &list.0)
                };
                let row = NewRow { key: &self.version_key, meta: *meta, fingerprint, value_bytes, value: stored };
                self.range.push(writer, &row)
            }
        }
    }

    /// Stores what is left; `None` if there was no change.
    pub fn finish(self, writer: &mut dyn ChunkWriter) -> Result<Option<LayerRef>, LayerError> {
        let built = self.range.finish(writer)?.0;
        finish_layer(self.context, writer, &[(KeyRange::all(), built)])
    }
}

/// Which versions of a journal are kept: those that some moment shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersions {
    /// Only those that were made after it: a base below shows that moment.
    pub after: Option<Timestamp>,
    /// The moments that can be read at.
    pub moments: Moments,
    /// And these beside them, ascending: the ends of snapshots.
    pub ends: Vec<Timestamp>,
}

impl KeptVersions {
    /// Whether a moment that is kept shows a version made at `from` that one made at `to` follows.
    fn shows(&self, from: u64, to: u64) -> bool {
        let time = |millis| Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
        let (from, to) = (time(from), time(to));
        let end = self.ends.get(self.ends.partition_point(|end| *end < from));
        self.moments.next(from) < to || end.is_some_and(|end| *end < to)
    }
}

/// Writes the blocks of one range (of version keys) of the journal that takes the place of `stack`'s, and gives what its rows
/// add up to.
pub fn merge_journals(
    context: &LayerContext,
    stack: &Stack,
    keep: Option<&KeptVersions>,
    range: &KeyRange,
    writer: &mut dyn ChunkWriter,
    progress: &MergeProgress<'_>,
) -> Result<(BuiltRange, RowTotals), LayerError> {
    if let Some(other) = stack.layers().iter().find(|layer| !layer.is_journal()) {
        let object = format!("layer {}", other.reference().id);
        return Err(LayerError::inconsistent(object, "it is no journal and was to be merged with some"));
    }
    let mut out = RangeWriter::of_journal(context);
    let mut totals = RowTotals::default();
    let mut ticks = Ticks::new(progress);
    let mut groups = Groups::new(stack.layers(), range, Wants::Rows, Seen::Raw);
    // Of the record being merged: the part of the version key, and when the version before (a newer one) was made.
    let (mut record, mut newer): (Vec<u8>, Option<u64>) = (Vec::new(), None);
    let (mut key, mut scratch, mut totals_scratch) = (Vec::new(), Vec::new(), Vec::new());
    while groups.advance()? {
        key.clear();
        key.extend_from_slice(groups.key());
        let time = version_key::read(&key, &mut scratch).map_err(|_| bad_key(&key))?;
        if version_key::record_part(&key) != record {
            record.clear();
            record.extend_from_slice(version_key::record_part(&key));
            newer = None;
        }
        let is_in_base = keep.and_then(|keep| keep.after).is_some_and(|after| time.time() <= after);
        let is_kept = match (keep, newer) {
            _ if is_in_base => false,
            (Some(keep), Some(newer)) => keep.shows(time.millis, newer),
            _ => true,
        };
        newer = Some(time.millis);
        let (block, row) = groups.head();
        let head = block.row(row);
        if !is_kept {
            ticks.count(key.len() as u64)?;
            continue;
        }
        if head.kind == RowKind::Tombstone {
            totals.add_tombstone(&key, context, &mut totals_scratch);
            out.push(writer, &NewRow::tombstone(&key))?;
            ticks.count(key.len() as u64)?;
            continue;
        }
        let (fingerprint, value_bytes) = (head.fingerprint, head.value_bytes);
        let meta = block.meta(row);
        totals.add_row(&key, &meta, fingerprint, value_bytes, context, &mut totals_scratch);
        let (set, user_key) = (meta.set.to_vec(), meta.user_key.map(<[u8]>::to_vec));
        let mut owned = Meta { set: &set, user_key: user_key.as_deref(), ..Default::default() };
        (owned.generation, owned.expiry, owned.stamp) = (meta.generation, meta.expiry, meta.stamp);
        let (value, _) = groups.value()?;
        if matches!(value, RowValue::Inherited) {
            return Err(LayerError::inconsistent(format!("version {}", hex_of(&key)), "a journal inherits nothing"));
        }
        out.push(writer, &NewRow { key: &key, meta: owned, fingerprint, value_bytes, value })?;
        ticks.count(key.len() as u64 + value_bytes)?;
    }
    ticks.report()?;
    Ok((out.finish(writer)?.0, totals))
}

/// Which of these versions a stack of journals holds, ascending by key, the newest of a key first. Each block is read once.
pub fn held_versions(stack: &Stack, versions: &[(&[u8], VersionTime)]) -> Result<Vec<bool>, LayerError> {
    let mut groups = Groups::new(stack.layers(), &KeyRange::all(), Wants::Keys, Seen::Raw);
    let mut found = Vec::with_capacity(versions.len());
    let mut version_key = Vec::new();
    for (key, time) in versions {
        version_key.clear();
        version_key::put(key, *time, &mut version_key);
        found.push(groups.seek(&version_key)? && groups.key() == version_key);
    }
    Ok(found)
}

/// Beyond so many keys all blocks between them are walked over, and read ahead, instead of those alone that are looked into.
const MAX_LOOKUPS: usize = 2000;

/// When the newest version of each of these ascending keys was made, in a stack of journals. Each block is read once.
pub fn newest_versions(stack: &Stack, keys: &[&[u8]]) -> Result<Vec<Option<VersionTime>>, LayerError> {
    let range = KeyRange { start: keys.first().map_or_else(Vec::new, |key| key.to_vec()), end: None };
    let mut groups = Groups::new(stack.layers(), &range, Wants::Keys, Seen::Newest);
    let mut found = Vec::with_capacity(keys.len());
    if keys.len() <= MAX_LOOKUPS {
        for key in keys {
            let is_there = groups.seek(key)? && groups.key() == *key;
            found.push(if is_there { groups.time() } else { None });
        }
        return Ok(found);
    }
    let mut more = groups.advance()?;
    for key in keys {
        while more && groups.key() < *key {
            more = groups.advance()?;
        }
        found.push(if more && groups.key() == *key { groups.time() } else { None });
    }
    Ok(found)
}
