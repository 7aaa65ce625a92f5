//! Merging adjacent layers into one, and reading a merged layer back to compare it with what was merged.

use super::{
    Layer, LayerContext, LayerError, Stack,
    block::{NewRow, RowKind, RowValue},
    error::hex_of,
    groups::Groups,
    level::Wants,
    version_key::Seen,
    writer::{BuiltRange, RangeWriter, check_gap_free, finish_layer},
};
use crate::{
    record::{CollectionSum, Fingerprint, KeyRange, Meta, Timestamp},
    repo::{ChunkWriter, RepoError, manifest::LayerRef},
};

/// Rows between two reports of progress.
const REPORT_ROWS: u64 = 4096;

/// Called with so many more rows and plaintext bytes; `false` stops.
pub type MergeProgress<'a> = dyn Fn(u64, u64) -> bool + Sync + 'a;

/// What is merged.
#[derive(Clone, Copy)]
pub enum MergeKind<'a> {
    /// Deltas: each key keeps its newest row.
    Deltas,
    /// A base and the deltas on it: tombstones are dropped, and rows that are over at `at` unless a layer of `above`
    /// inherits from them. `at` must not be after the end of the oldest snapshot that uses the merged layer.
    Base {
        /// When rows must be over to be dropped; `None` drops none of them.
        at: Option<Timestamp>,
        /// Every layer that lies above in the stack of some snapshot.
        above: &'a Stack,
    },
}

/// What rows add up to. Two layers with equal totals have, for the same keys, the same key rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowTotals {
    /// Rows, tombstones included.
    pub rows: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Plaintext bytes of the values that the rows stand for.
    pub value_bytes: u64,
    /// The sum of the hashes of the live rows' key rows.
    pub live: CollectionSum,
    /// The sum of the hashes of the tombstones.
    pub dead: CollectionSum,
}

impl RowTotals {
    /// Adds what another range adds up to.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.tombstones += other.tombstones;
        self.value_bytes = self.value_bytes.saturating_add(other.value_bytes);
        self.live.add(&other.live);
        self.dead.add(&other.dead);
    }

    fn add_live(&mut self, sum: &CollectionSum, value_bytes: u64) {
        self.rows += 1;
        self.value_bytes = self.value_bytes.saturating_add(value_bytes);
        self.live.add(sum);
    }

    pub(super) fn add_row(
        &mut self,
        key: &[u8],
        meta: &Meta<'_>,
        fingerprint: Fingerprint,
        value_bytes: u64,
        context: &LayerContext,
        scratch: &mut Vec<u8>,
    ) {
        let sum = CollectionSum::of_row(&context.collection_key, key, meta, &fingerprint, scratch);
        self.add_live(&sum, value_bytes);
    }

    pub(super) fn add_tombstone(&mut self, key: &[u8], context: &LayerContext, scratch: &mut Vec<u8>) {
        self.rows += 1;
        self.tombstones += 1;
        let sum =
            CollectionSum::of_row(&context.collection_key, key, &Meta::default(), &Fingerprint::default(), scratch);
        self.dead.add(&sum);
    }
}

/// The state that a layer shows on its own at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateTotals {
    /// Live records.
    pub records: u64,
    /// The sum of the hashes of their key rows.
    pub sum: CollectionSum,
}

impl StateTotals {
    /// Adds the state of another range.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.sum.add(&other.sum);
    }
}

/// Writes one layer in place of `stack`'s layers. With `includes_base`, tombstones and rows that are over at `at` are
/// dropped; otherwise they stay. Cuts restart at the starts of `ranges`. `None` if nothing is left.
///
/// Rows that are over may be needed by layers above these, whose inherited rows made them live again: `at` must not be
/// after the end of the oldest snapshot that uses the merged layer.
pub fn merge_layers(
    context: &LayerContext,
    stack: &Stack,
    includes_base: bool,
    at: Timestamp,
    ranges: &[KeyRange],
    writer: &mut dyn ChunkWriter,
) -> Result<Option<LayerRef>, LayerError> {
    check_gap_free(ranges.iter())?;
    let above = Stack::default();
    let kind = if includes_base { MergeKind::Base { at: Some(at), above: &above } } else { MergeKind::Deltas };
    let mut built = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut merge = Merge::new(context, kind, range, None);
        merge.run(stack, range, writer, &|_, _| true)?;
        built.push((range.clone(), merge.out.finish(writer)?.0));
    }
    finish_layer(context, writer, &built)
}

/// Writes the blocks of one range of the delta that takes the place of `stack`'s deltas.
pub fn merge_deltas_in(
    context: &LayerContext,
    stack: &Stack,
    range: &KeyRange,
    writer: &mut dyn ChunkWriter,
    progress: &MergeProgress<'_>,
) -> Result<BuiltRange, LayerError> {
    let mut merge = Merge::new(context, MergeKind::Deltas, range, None);
    merge.run(stack, range, writer, progress)?;
    Ok(merge.out.finish(writer)?.0)
}

/// Writes the blocks of one range of the layer that takes the place of `stack`'s, and gives what its rows add up to.
pub fn merge_range(
    context: &LayerContext,
    stack: &Stack,
    kind: MergeKind<'_>,
    range: &KeyRange,
    writer: &mut dyn ChunkWriter,
    progress: &MergeProgress<'_>,
) -> Result<(BuiltRange, RowTotals), LayerError> {
    let mut merge = Merge::new(context, kind, range, Some(RowTotals::default()));
    merge.run(stack, range, writer, progress)?;
    let totals = merge.totals.unwrap_or_default();
    Ok((merge.out.finish(writer)?.0, totals))
}

/// Writes the blocks of one range of the base that shows what `stack`, journals included, shows at a moment, and gives what its
/// rows add up to.
pub fn merge_state(
    context: &LayerContext,
    stack: &Stack,
    at: Timestamp,
    range: &KeyRange,
    writer: &mut dyn ChunkWriter,
    progress: &MergeProgress<'_>,
) -> Result<(BuiltRange, RowTotals), LayerError> {
    let mut out = RangeWriter::new(context);
    let (mut totals, mut scratch) = (RowTotals::default(), Vec::new());
    let mut ticks = Ticks::new(progress);
    let mut cursor = stack.cursor(range, at, false)?;
    while cursor.advance()? {
        let (key, meta, fingerprint, value_bytes) =
            (cursor.key().to_vec(), cursor.meta(), cursor.fingerprint(), cursor.value_bytes());
        totals.add_row(&key, &meta, fingerprint, value_bytes, context, &mut scratch);
        let (set, user_key) = (meta.set.to_vec(), meta.user_key.map(<[u8]>::to_vec));
        let mut owned = Meta { set: &set, user_key: user_key.as_deref(), ..Default::default() };
        (owned.generation, owned.expiry, owned.stamp) = (meta.generation, meta.expiry, meta.stamp);
        let (value, _) = cursor.held()?;
        out.push(writer, &NewRow { key: &key, meta: owned, fingerprint, value_bytes, value })?;
        ticks.count(key.len() as u64 + value_bytes)?;
    }
    ticks.report()?;
    Ok((out.finish(writer)?.0, totals))
}

/// Reads one range of a layer: what its rows add up to, and, of a base, its state at `at`. Values in place are compared
/// with their fingerprints.
pub fn read_totals(
    context: &LayerContext,
    layer: &Layer,
    range: &KeyRange,
    at: Option<Timestamp>,
    progress: &MergeProgress<'_>,
) -> Result<(RowTotals, StateTotals), LayerError> {
    let (mut totals, mut state) = (RowTotals::default(), StateTotals::default());
    let mut scratch = Vec::new();
    let mut ticks = Ticks::new(progress);
    let mut groups = Groups::new(std::slice::from_ref(layer), range, Wants::Rows, Seen::Raw);
    while groups.advance()? {
        let (block, row) = groups.head();
        let (head, meta) = (block.row(row), block.meta(row));
        if at.is_some() && matches!(head.kind, RowKind::Tombstone | RowKind::Inherited) {
            let object = format!("the row of key {} in a merged base", hex_of(groups.key()));
            return Err(LayerError::inconsistent(object, "a base has neither tombstones nor inherited rows"));
        }
        if head.kind == RowKind::Tombstone {
            totals.add_tombstone(groups.key(), context, &mut scratch);
            ticks.count(groups.key().len() as u64)?;
            continue;
        }
        let (fingerprint, bytes) = (head.fingerprint, head.value_bytes);
        let is_live = at.is_some_and(|at| !head.expiry.is_over_at(at));
        let sum = CollectionSum::of_row(&context.collection_key, groups.key(), &meta, &fingerprint, &mut scratch);
        totals.add_live(&sum, bytes);
        if is_live {
            state.records += 1;
            state.sum.add(&sum);
        }
        let user_key = meta.user_key.map(<[u8]>::to_vec);
        if let (RowValue::InPlace(shape, value), _) = groups.value()?
            && context.fingerprinter.of(shape, user_key.as_deref(), value) != fingerprint
        {
            let object = format!("the value of key {}", hex_of(groups.key()));
            return Err(LayerError::inconsistent(object, "it is not the one that its row's fingerprint is of"));
        }
        ticks.count(groups.key().len() as u64 + bytes)?;
    }
    ticks.report()?;
    Ok((totals, state))
}

/// Reports progress now and then.
pub(super) struct Ticks<'a> {
    progress: &'a MergeProgress<'a>,
    rows: u64,
    bytes: u64,
}

impl<'a> Ticks<'a> {
    pub(super) const fn new(progress: &'a MergeProgress<'a>) -> Self {
        Self { progress, rows: 0, bytes: 0 }
    }

    pub(super) fn count(&mut self, bytes: u64) -> Result<(), LayerError> {
        self.rows += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.rows >= REPORT_ROWS { self.report() } else { Ok(()) }
    }

    pub(super) fn report(&mut self) -> Result<(), LayerError> {
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        if (self.progress)(rows, bytes) { Ok(()) } else { Err(RepoError::Interrupted.into()) }
    }
}

/// The merge of one range.
struct Merge<'a> {
    context: &'a LayerContext,
    kind: MergeKind<'a>,
    above: Above<'a>,
    out: RangeWriter,
    totals: Option<RowTotals>,
    scratch: Vec<u8>,
}

impl<'a> Merge<'a> {
    fn new(context: &'a LayerContext, kind: MergeKind<'a>, range: &KeyRange, totals: Option<RowTotals>) -> Self {
        let above = match kind {
            MergeKind::Base { above, .. } => {
                Above { stack: Some(above), range: range.clone(), groups: None, more: false }
            }
            MergeKind::Deltas => Above { stack: None, range: range.clone(), groups: None, more: false },
        };
        Self { context, kind, above, out: RangeWriter::new(context), totals, scratch: Vec::new() }
    }

    fn run(
        &mut self,
        stack: &Stack,
        range: &KeyRange,
        writer: &mut dyn ChunkWriter,
        progress: &MergeProgress<'_>,
    ) -> Result<(), LayerError> {
        if let Some(journal) = stack.layers().iter().find(|layer| layer.is_journal()) {
            let object = format!("layer {}", journal.reference().id);
            return Err(LayerError::inconsistent(object, "it is a journal and was to be merged with other layers"));
        }
        let mut groups = Groups::new(stack.layers(), range, Wants::Rows, Seen::Raw);
        let mut ticks = Ticks::new(progress);
        while groups.advance()? {
            let bytes = self.merge_key(&mut groups, writer)?;
            ticks.count(groups.key().len() as u64 + bytes)?;
        }
        ticks.report()
    }

    /// Gives the length of the value that the key's newest row stands for.
    fn merge_key(&mut self, groups: &mut Groups<'_>, writer: &mut dyn ChunkWriter) -> Result<u64, LayerError> {
        let (block, row) = groups.head();
        let head = block.row(row);
        if head.kind == RowKind::Tombstone {
            if matches!(self.kind, MergeKind::Deltas) {
                if let Some(totals) = &mut self.totals {
                    totals.add_tombstone(groups.key(), self.context, &mut self.scratch);
                }
                self.out.push(writer, &NewRow::tombstone(groups.key()))?;
            }
            return Ok(0);
        }
        if let MergeKind::Base { at: Some(at), .. } = self.kind
            && head.expiry.is_over_at(at)
            && !self.above.inherits(groups.key())?
        {
            return Ok(0);
        }
        let (fingerprint, value_bytes) = (head.fingerprint, head.value_bytes);
        // The key row is copied because the value borrows the layers; both are short beside the value.
        let (key, meta) = (groups.key().to_vec(), block.meta(row));
        if let Some(totals) = &mut self.totals {
            let scratch = &mut self.scratch;
            let sum = CollectionSum::of_row(&self.context.collection_key, &key, &meta, &fingerprint, scratch);
            totals.add_live(&sum, value_bytes);
        }
        let (set, user_key) = (meta.set.to_vec(), meta.user_key.map(<[u8]>::to_vec));
        let mut owned = Meta { set: &set, user_key: user_key.as_deref(), ..Default::default() };
        (owned.generation, owned.expiry, owned.stamp) = (meta.generation, meta.expiry, meta.stamp);
        let (value, _) = groups.value()?;
        if matches!((self.kind, value), (MergeKind::Base { .. }, RowValue::Inherited)) {
            let object = format!("the inherited value of key {}", hex_of(&key));
            return Err(LayerError::inconsistent(object, "no layer of the stack holds it"));
        }
        self.out.push(writer, &NewRow { key: &key, meta: owned, fingerprint, value_bytes, value })?;
        Ok(value_bytes)
    }
}

/// Whether a layer above inherits from a key. Read only from the first key on that it is asked about, and only keys.
struct Above<'a> {
    stack: Option<&'a Stack>,
    range: KeyRange,
    groups: Option<Groups<'a>>,
    /// Whether `groups` stands on a key.
    more: bool,
}

impl Above<'_> {
    /// Keys must ascend.
    fn inherits(&mut self, key: &[u8]) -> Result<bool, LayerError> {
        let Some(stack) = self.stack.filter(|stack| !stack.layers().is_empty()) else { return Ok(false) };
        let groups = match &mut self.groups {
            Some(groups) => groups,
            none => {
                // The range begins where the first question is, so that what lies before is not read.
                let range = KeyRange { start: key.to_vec(), end: self.range.end.clone() };
                let groups = none.insert(Groups::new(stack.layers(), &range, Wants::Keys, Seen::Newest));
                self.more = groups.advance()?;
                groups
            }
        };
        while self.more && groups.key() < key {
            self.more = groups.advance()?;
        }
        Ok(self.more && groups.key() == key && groups.any_inherits())
    }
}
