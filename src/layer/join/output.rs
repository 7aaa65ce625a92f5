//! What a join writes and counts.

use super::{
    JoinCounts, Known,
    expiring::{Expiring, Note},
    sets::Sets,
};
use crate::{
    layer::{
        LayerContext, LayerError,
        block::{NewRow, RowValue},
        writer::RangeWriter,
    },
    record::{CollectionSum, Expiry, Fingerprint, Meta, Timestamp},
    repo::ChunkWriter,
};

/// Keys named in an outcome.
const MAX_PROBLEMS: usize = 100;

/// A record of the new state, as it was read or as the parent has it.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    pub(super) meta: Meta<'a>,
    pub(super) fingerprint: Fingerprint,
    pub(super) value_bytes: u64,
}

pub(super) struct Output<'a> {
    collection_key: &'a [u8; 32],
    range: RangeWriter,
    scratch: Vec<u8>,
    pub(super) counts: JoinCounts,
    sum: CollectionSum,
    /// Whether `sum` is what is added to and taken off the sum of the parent.
    carries: bool,
    /// The sum of all records of the new state, where `sum` is held against it.
    added_up: Option<CollectionSum>,
    pub(super) stood: u64,
    /// Absent where the run's end is known.
    expiring: Option<Expiring>,
    sets: Sets,
    pub(super) problems: Vec<(Vec<u8>, String)>,
    pub(super) changed: u64,
    pub(super) known: Known,
}

impl<'a> Output<'a> {
    /// `start` is given where the run's end is not known yet.
    pub(super) fn new(context: &'a LayerContext, start: Option<Timestamp>, carries: bool) -> Self {
        Self {
            collection_key: &context.collection_key,
            range: RangeWriter::new(context),
            scratch: Vec::new(),
            counts: JoinCounts::default(),
            sum: CollectionSum::default(),
            carries,
            added_up: (carries && cfg!(debug_assertions)).then(CollectionSum::default),
            stood: 0,
            expiring: start.map(Expiring::new),
            sets: Sets::default(),
            problems: Vec::new(),
            changed: 0,
            known: Known::default(),
        }
    }

    /// Counts a record of the new state, which is in the parent as it is (`stands`) or not; gives the length of its key row.
    pub(super) fn count_live(&mut self, record: &Record<'_>, stands: bool) -> u64 {
        let Record { key, meta, fingerprint, value_bytes } = record;
        let row_bytes = meta.key_row_len(key) as u64;
        self.counts.records += 1;
        self.sets.count(meta, *value_bytes);
        self.counts.bytes += row_bytes + value_bytes;
        let is_carried = self.carries && stands;
        let note = self.expiring.as_mut().and_then(|expiring| expiring.note(meta.expiry));
        // Of most records a second backup has nothing to hash.
        if !is_carried || note.is_some() || self.added_up.is_some() {
            let hash = CollectionSum::of_row(self.collection_key, key, meta, fingerprint, &mut self.scratch);
            if !is_carried {
                self.sum.add(&hash);
            }
            if let Some(added_up) = &mut self.added_up {
                added_up.add(&hash);
            }
            if let Some(note) = note {
                note.records += 1;
                note.bytes += row_bytes + value_bytes;
                note.sum.add(&hash);
            }
        }
        row_bytes
    }

    /// A record that was live in the parent is not in the new state as it was.
    pub(super) fn leaves(&mut self, key: &[u8], meta: &Meta<'_>, fingerprint: &Fingerprint) {
        if self.carries {
            let hash = CollectionSum::of_row(self.collection_key, key, meta, fingerprint, &mut self.scratch);
            self.sum.subtract(&hash);
        }
    }

    /// Where to note what is counted and may expire before the run's end.
    #[inline]
    pub(super) fn note(&mut self, expiry: Expiry) -> Option<&mut Note> {
        self.expiring.as_mut()?.note(expiry)
    }

    pub(super) fn write(
        &mut self,
        record: &Record<'_>,
        value: RowValue<'_>,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        let Record { key, meta, fingerprint, value_bytes } = *record;
        self.range.push(writer, &NewRow { key, meta, fingerprint, value_bytes, value })
    }

    pub(super) fn write_tombstone(&mut self, key: &[u8], writer: &mut dyn ChunkWriter) -> Result<(), LayerError> {
        self.range.push(writer, &NewRow::tombstone(key))
    }

    pub(super) fn problem(&mut self, key: &[u8], reason: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push((key.to_vec(), reason.into()));
        }
    }

    pub(super) fn finish(mut self, writer: &mut dyn ChunkWriter) -> Result<super::RangeOutcome, LayerError> {
        self.sets.settle();
        let (built, blocks) = self.range.finish(writer)?;
        let counts = JoinCounts { blocks, ..self.counts };
        Ok(super::RangeOutcome {
            built,
            counts,
            sum: self.sum,
            carried: self.carries,
            added_up: self.added_up,
            problems: self.problems,
            changed: self.changed,
            stood: self.stood,
            expiring: self.expiring.unwrap_or_default(),
            sets: self.sets,
            known: self.known,
        })
    }
}
