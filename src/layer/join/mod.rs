//! The join: what a source delivers, in key order, against what the parent holds.

mod expiring;
mod meter;
mod output;
mod prints;
mod saved;
mod sets;
mod streamed;

use super::{
    BuiltRange, LayerContext, LayerError, Stack, StackCursor,
    block::{MAX_HEAD_BYTES, MAX_INLINE_BYTES, MAX_SHAPE_BYTES, RowValue, encoded_len},
    error::hex_of,
    piece::{PieceError, PieceWriter},
};
use crate::{
    record::{
        BatchRow, CollectionSum, Fingerprint, Gaps, HeldRanges, KeyRange, MAX_KEY_BYTES, Meta, RecordBatch,
        RecordStream, Shape, Timestamp, bytes::same,
    },
    repo::{ChunkWriter, RepoError},
};
pub use expiring::Expiring;
use meter::Meter;
use output::{Output, Record};
use prints::Prints;
pub use sets::{MAX_SETS, SetSummary, Sets};
use std::{cmp::Ordering, sync::Arc};

/// What a join counted. Always: `parent_records + new - deleted - expired = records`, and
/// `seen - seen_expired - unreadable + stood = records` ([`RangeOutcome::stood`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JoinCounts {
    /// Records that the source delivered.
    pub seen: u64,
    /// Of those, not in the parent.
    pub new: u64,
    /// Of those, different from the parent's.
    pub changed: u64,
    /// Of the changed, those whose value stands.
    pub inherited: u64,
    /// In the parent, live at its end, not expired at this end, and not delivered.
    pub deleted: u64,
    /// In the parent, live at its end, and expired since: not delivered, or delivered with an expiry that is over.
    pub expired: u64,
    /// Delivered, but already expired at this end.
    pub seen_expired: u64,
    /// Live in the parent at its end, counted row by row while joining.
    pub parent_records: u64,
    /// Live in the new state.
    pub records: u64,
    /// Values that could not be read, and records beyond the format's limits; the parent's row stands where there is one.
    pub unreadable: u64,
    /// Values that changed while they were read.
    pub torn: u64,
    /// Plaintext bytes of all live records of the new state: key rows and values.
    pub bytes: u64,
    /// Plaintext bytes that the source delivered and that were really read.
    pub bytes_read: u64,
    /// Plaintext bytes of new and changed records; of those whose value stands only the key rows.
    pub bytes_changed: u64,
    /// Blocks written.
    pub blocks: u64,
}

impl JoinCounts {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, part: &Self) {
        let (all, others) = (self.fields_mut(), part.fields());
        for (field, other) in all.into_iter().zip(others) {
            *field += other;
        }
    }
}

/// What joining one range gave.
#[derive(Debug, Clone)]
pub struct RangeOutcome {
    /// The delta's (or base's) blocks in this range.
    pub built: BuiltRange,
    /// Counts.
    pub counts: JoinCounts,
    /// The collection fingerprint of the new state's records in this range; where it is carried, less that of the parent's.
    pub sum: CollectionSum,
    /// Whether the parent's sum has to be added ([`JoinOptions::carries`]).
    pub carried: bool,
    /// In a build that checks itself, all of the sum where it is carried: known as long as nothing of it came from a checkpoint.
    pub added_up: Option<CollectionSum>,
    /// The first 100 keys that could not be read, were torn or too long, with the reason.
    pub problems: Vec<(Vec<u8>, String)>,
    /// Records that changed while they were read: those that were torn, and those that became shorter and are not kept.
    pub changed: u64,
    /// Records not read, alone or with the range they lie in, whose parent's row stands and is live.
    pub stood: u64,
    /// What expires after the time that was counted by, where the run's end is not known yet: to be settled then.
    pub expiring: Expiring,
    /// What the records of each set are like: of all that were counted, those that expire before the run's end included.
    pub sets: Sets,
    /// What the source said of records that it need not read.
    pub known: Known,
}

/// Records that the source knew to be as the parent holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that were not read.
    pub unread: u64,
    /// Of those that were read all the same, the ones that were not as the parent holds them.
    pub belied: u64,
}

/// How a join treats its input.
pub struct JoinOptions<'a> {
    /// The parent's stack; `None` writes a base.
    pub parent: Option<&'a Stack>,
    /// Whether the result is a base all the same (`--new-base`): every record is written, and the parent only says what
    /// is new, changed or deleted, and lends the values of records whose stamp has not moved.
    pub new_base: bool,
    /// The parent's end.
    pub parent_end: Timestamp,
    /// This run's end, as far as expiry goes; its start where the end is not known yet.
    pub end: Timestamp,
    /// Whether `end` is the run's end.
    pub is_end_known: bool,
    /// Whether streamed values are read also where their stamp stands.
    pub read_all: bool,
    /// Whether the sum is that of what comes less that of what goes, to be added to the parent's: records that stand are not
    /// hashed then. Only with a parent that the result stands on.
    pub carries: bool,
    /// Ranges in which an absence proves nothing: the parent's rows stand there.
    pub doubtful: &'a [KeyRange],
    /// Called about every MiB with the records and bytes since the last call; `false` stops the join.
    pub progress: &'a (dyn Fn(u64, u64) -> bool + Sync),
}

/// Reads `stream` (all records of `range`) against the parent and writes what differs.
///
/// # Errors
/// [`LayerError`] from source, repository or layers; nothing may be concluded from the range then.
pub fn join_range(
    context: &LayerContext,
    stream: &mut dyn RecordStream,
    range: &KeyRange,
    options: &JoinOptions<'_>,
    writer: &mut dyn ChunkWriter,
) -> Result<RangeOutcome, LayerError> {
    let mut join = Join::new(context, range, options)?;
    let mut batch = RecordBatch::new();
    let mut last_key: Option<Vec<u8>> = None;
    loop {
        let more = stream.next_batch(&mut batch).map_err(LayerError::Source)?;
        while let Some(range) = stream.unread() {
            join.unread.push(range);
        }
        while let Some(held) = stream.held() {
            join.held.push(held);
        }
        if !more {
            break;
        }
        if batch.is_empty() {
            join.meter.ask();
        }
        if join.meter.stopped {
            return Err(RepoError::Interrupted.into());
        }
        for index in 0..batch.len() {
            let before = if index > 0 { Some(batch.row(index - 1).key) } else { last_key.as_deref() };
            check_order(before, batch.row(index).key, range)?;
            join.delivered(&mut batch, index, writer)?;
            if join.meter.stopped {
                return Err(RepoError::Interrupted.into());
            }
        }
        if let Some(last) = batch.len().checked_sub(1) {
            let last_key = last_key.get_or_insert_default();
            last_key.clear();
            last_key.extend_from_slice(batch.row(last).key);
        }
    }
    while join.has_parent {
        join.vanished(writer)?;
        if join.meter.stopped {
            return Err(RepoError::Interrupted.into());
        }
    }
    join.meter.report();
    if join.meter.stopped {
        return Err(RepoError::Interrupted.into());
    }
    join.out.finish(writer)
}

#[inline]
fn check_order(before: Option<&[u8]>, key: &[u8], range: &KeyRange) -> Result<(), LayerError> {
    if before.is_some_and(|before| before >= key) {
        return Err(LayerError::Order { first: hex_of(before.unwrap_or_default()), second: hex_of(key) });
    }
    if !range.contains(key) {
        let reason = format!("it gave key {}, which is outside of the range it was asked for", hex_of(key));
        return Err(LayerError::inconsistent("the source", reason));
    }
    Ok(())
}

/// What became of a record since the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    New,
    Same,
    /// Only the key row moved.
    Inherited,
    Changed,
}

/// What the parent has under the key of the record at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InParent {
    /// No live record.
    Absent,
    /// A record that was live at the parent's end.
    Live,
    /// A row that was over at the parent's end, but not yet at this end, which is earlier: it is not in the parent, and
    /// would be in the new state if nothing is written over it.
    Reviving,
}

struct Join<'a> {
    context: &'a LayerContext,
    end: Timestamp,
    parent_end: Timestamp,
    /// Whether no stamp is believed.
    read_all: bool,
    /// Whether every record is written.
    base: bool,
    parent: Option<StackCursor<'a>>,
    has_parent: bool,
    out: Output<'a>,
    prints: Prints<'a>,
    meter: Meter<'a>,
    pieces: Option<PieceWriter>,
    /// The bytes of a streamed value that may be in place.
    head: Vec<u8>,
    known_shape: Option<Arc<Shape>>,
    /// Ranges that the source could not look at.
    unread: Gaps,
    /// Ranges that the source knows to be as the parent holds them.
    held: HeldRanges,
    /// Whether the record at hand lies in one of them.
    is_held: bool,
}

impl<'a> Join<'a> {
    fn new(context: &'a LayerContext, range: &KeyRange, options: &JoinOptions<'a>) -> Result<Self, LayerError> {
        let at = options.end.min(options.parent_end);
        let mut parent = options.parent.map(|stack| stack.cursor_behind(range, at, !options.new_base));
        let has_parent = match &mut parent {
            Some(cursor) => cursor.advance()?,
            None => false,
        };
        let carries = options.carries && options.parent.is_some() && !options.new_base;
        let mut unread = Gaps::default();
        options.doubtful.iter().for_each(|range| unread.push(range.clone()));
        Ok(Self {
            context,
            end: options.end,
            parent_end: options.parent_end,
            read_all: options.read_all,
            base: options.new_base || options.parent.is_none(),
            parent,
            has_parent,
            out: Output::new(context, (!options.is_end_known).then_some(options.end), carries),
            prints: Prints::new(&context.fingerprinter),
            meter: Meter::new(options.progress),
            pieces: None,
            head: Vec::new(),
            known_shape: None,
            unread,
            held: HeldRanges::default(),
            is_held: false,
        })
    }

    fn advance_parent(&mut self) -> Result<(), LayerError> {
        if let Some(parent) = &mut self.parent {
            self.has_parent = parent.advance()?;
        }
        Ok(())
    }

    /// Where the parent's next key lies in relation to `key`; behind it at the parent's end.
    #[inline]
    fn parent_order(&self, key: &[u8]) -> Ordering {
        match &self.parent {
            Some(parent) if self.has_parent => parent.key().cmp(key),
            _ => Ordering::Greater,
        }
    }

    /// What the parent's current row is, and whether it is over at this end.
    fn parent_row(&self) -> (InParent, bool) {
        let Some(parent) = &self.parent else { return (InParent::Absent, true) };
        let expiry = parent.meta().expiry;
        let state = if expiry.is_over_at(self.parent_end) { InParent::Reviving } else { InParent::Live };
        (state, expiry.is_over_at(self.end))
    }

    /// The parent's current record was not delivered.
    fn vanished(&mut self, writer: &mut dyn ChunkWriter) -> Result<(), LayerError> {
        let (state, over) = self.parent_row();
        match self.parent.as_ref().and_then(|parent| self.held.of(parent.key())) {
            Some(false) => return self.known(state, over),
            Some(true) => self.out.known.belied += 1,
            None => {}
        }
        if let Some(parent) = &self.parent
            && self.unread.contains(parent.key())
        {
            let key = parent.key().to_vec();
            self.out.counts.parent_records += u64::from(state == InParent::Live);
            self.stands(&key, state, over, writer)?;
            return self.advance_parent();
        }
        if state == InParent::Live {
            self.out.counts.parent_records += 1;
            self.count_absent(over);
        }
        if let Some(parent) = &self.parent
            && !over
            && !self.base
        {
            self.out.write_tombstone(parent.key(), writer)?;
        }
        self.advance_parent()
    }

    /// The parent's current record was not delivered because it is as it was.
    fn known(&mut self, state: InParent, over: bool) -> Result<(), LayerError> {
        let Self { parent: Some(parent), out, .. } = self else { return Ok(()) };
        let (key, meta) = (parent.key(), parent.meta());
        if self.base || state == InParent::Reviving {
            let reason = format!("it did not read key {}, of which all has to be stored", hex_of(key));
            return Err(LayerError::inconsistent("the source", reason));
        }
        let value_bytes = parent.value_bytes();
        out.counts.seen += 1;
        out.counts.parent_records += 1;
        out.known.unread += 1;
        if over {
            out.counts.seen_expired += 1;
            out.counts.expired += 1;
            out.leaves(key, &meta, &parent.fingerprint());
        } else {
            out.count_live(&Record { key, meta, fingerprint: parent.fingerprint(), value_bytes }, true);
            if let Some(note) = out.note(meta.expiry) {
                note.seen += 1;
                note.lived += 1;
            }
        }
        self.meter.add(1, key.len() as u64 + value_bytes);
        self.advance_parent()
    }

    /// The parent's current row, live there, is not in the new state as it was.
    fn leaves(&mut self) {
        if let Some(parent) = &self.parent {
            self.out.leaves(parent.key(), &parent.meta(), &parent.fingerprint());
        }
    }

    /// Counts the parent's current row, live there, as expired or deleted.
    fn count_absent(&mut self, over: bool) {
        self.leaves();
        if over {
            self.out.counts.expired += 1;
            return;
        }
        self.out.counts.deleted += 1;
        if let Some(note) = self.parent.as_ref().and_then(|parent| self.out.note(parent.meta().expiry)) {
            note.lived += 1;
            note.deleted += 1;
        }
    }

    fn delivered(
        &mut self,
        batch: &mut RecordBatch,
        index: usize,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        let row = batch.row(index);
        let mut order = self.parent_order(row.key);
        while order.is_lt() {
            self.vanished(writer)?;
            order = self.parent_order(row.key);
        }
        let (state, over) = if order.is_eq() { self.parent_row() } else { (InParent::Absent, true) };
        self.is_held = match self.held.of(row.key) {
            Some(false) => {
                let reason = format!("it gave key {} though it said that it did not read it", hex_of(row.key));
                return Err(LayerError::inconsistent("the source", reason));
            }
            held => held.is_some(),
        };
        let counts = &mut self.out.counts;
        counts.seen += 1;
        counts.parent_records += u64::from(state == InParent::Live);
        self.meter.add(1, (row.key.len() + row.value.len()) as u64);
        if row.meta.expiry.is_over_at(self.end) {
            self.delivered_expired(row.key, state, over, writer)?;
        } else if row.held {
            self.held(&row, state, writer)?;
        } else if let Some(reason) = self.beyond_limits(&row) {
            self.unreadable(row.key, reason, state, over, writer)?;
        } else if let Some(number) = row.stream {
            if !self.stands_by_stamp(&row, state, writer)? {
                let stream = batch.take_stream(number);
                self.streamed(&batch.row(index), stream, state, over, writer)?;
            }
        } else {
            self.inline(&row, row.meta, row.value, state, writer)?;
        }
        if order.is_eq() { self.advance_parent() } else { Ok(()) }
    }

    /// A record of which only the key row was read, because nothing of it has moved since the parent.
    fn held(&mut self, row: &BatchRow<'_>, state: InParent, writer: &mut dyn ChunkWriter) -> Result<(), LayerError> {
        let parent = self.parent.as_ref().filter(|parent| state == InParent::Live && parent.meta() == row.meta);
        let Some(parent) = parent else {
            let reason = format!("it gave key {} without its value, and the parent has another", hex_of(row.key));
            return Err(LayerError::inconsistent("the source", reason));
        };
        let (fingerprint, value_bytes) = (parent.fingerprint(), parent.value_bytes());
        let record = Record { key: row.key, meta: row.meta, fingerprint, value_bytes };
        self.settle(&record, Verdict::Same, RowValue::Inherited, writer)
    }

    fn delivered_expired(
        &mut self,
        key: &[u8],
        state: InParent,
        over: bool,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        self.out.counts.seen_expired += 1;
        if state == InParent::Live {
            self.out.counts.expired += 1;
            self.leaves();
        }
        if state != InParent::Absent && !over && !self.base {
            self.out.write_tombstone(key, writer)?;
        }
        Ok(())
    }

    fn beyond_limits(&mut self, row: &BatchRow<'_>) -> Option<String> {
        if row.key.len() > MAX_KEY_BYTES {
            return Some(format!("its key has {} bytes; the most is {MAX_KEY_BYTES}", row.key.len()));
        }
        let head = row.meta.set.len() + row.meta.user_key.map_or(0, <[u8]>::len);
        if head > MAX_HEAD_BYTES {
            return Some(format!("its set and user key have {head} bytes; the most is {MAX_HEAD_BYTES}"));
        }
        if !self.known_shape.as_ref().is_some_and(|known| Arc::ptr_eq(known, row.shape)) {
            let names = encoded_len(row.shape);
            if names > MAX_SHAPE_BYTES {
                return Some(format!("the names of its cells have {names} bytes; the most is {MAX_SHAPE_BYTES}"));
            }
            self.known_shape = Some(Arc::clone(row.shape));
        }
        None
    }

    /// The record cannot be read: the parent's stands.
    fn unreadable(
        &mut self,
        key: &[u8],
        reason: String,
        state: InParent,
        over: bool,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        self.out.counts.unreadable += 1;
        self.out.problem(key, reason);
        self.stands(key, state, over, writer)
    }

    /// The record vanished between being found and being opened: it was not delivered.
    fn gone(
        &mut self,
        key: &[u8],
        state: InParent,
        over: bool,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        self.out.counts.seen -= 1;
        if state == InParent::Live {
            self.count_absent(over);
        }
        if state != InParent::Absent && !over && !self.base {
            self.out.write_tombstone(key, writer)?;
        }
        Ok(())
    }

    /// The parent's current row, of this key, stands.
    fn stands(
        &mut self,
        key: &[u8],
        state: InParent,
        over: bool,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        if state == InParent::Live && over {
            self.out.counts.expired += 1;
            self.leaves();
        }
        let Some(parent) = &mut self.parent else { return Ok(()) };
        if state == InParent::Absent || over {
            return Ok(());
        }
        self.out.counts.new += u64::from(state == InParent::Reviving);
        self.out.stood += 1;
        let (fingerprint, value_bytes) = (parent.fingerprint(), parent.value_bytes());
        let expiry = parent.meta().expiry;
        let is_as_it_was = state == InParent::Live;
        self.out.count_live(&Record { key, meta: parent.meta(), fingerprint, value_bytes }, is_as_it_was);
        if let Some(note) = self.out.note(expiry) {
            note.stood += 1;
            note.new += u64::from(state == InParent::Reviving);
            note.lived += u64::from(state == InParent::Live);
        }
        if self.base { write_held(&mut self.out, parent, key, None, writer) } else { Ok(()) }
    }

    /// What became of a record, by its key row and fingerprint. `with_old_key` gives the fingerprint of the new value under
    /// the parent's user key.
    #[inline]
    fn verdict(
        &self,
        record: &Record<'_>,
        state: InParent,
        with_old_key: impl FnOnce(Option<&[u8]>) -> Option<Fingerprint>,
    ) -> Verdict {
        let (Some(parent), InParent::Live) = (&self.parent, state) else { return Verdict::New };
        let old = parent.meta();
        let now =
            if old.user_key == record.meta.user_key { Some(record.fingerprint) } else { with_old_key(old.user_key) };
        let same_value = now == Some(parent.fingerprint()) && parent.value_bytes() == record.value_bytes;
        match same_value && same(old.set, record.meta.set) {
            false => Verdict::Changed,
            true if old == record.meta => Verdict::Same,
            true => Verdict::Inherited,
        }
    }

    /// A value in memory: always compared by its fingerprint.
    fn inline(
        &mut self,
        row: &BatchRow<'_>,
        meta: Meta<'_>,
        value: &[u8],
        state: InParent,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        self.out.counts.bytes_read += (row.key.len() + value.len()) as u64;
        let fingerprint = self.prints.of(row.shape, meta.user_key, value);
        let record = Record { key: row.key, meta, fingerprint, value_bytes: value.len() as u64 };
        let prints = &self.context.fingerprinter;
        let verdict = self.verdict(&record, state, |user_key| Some(prints.of(row.shape, user_key, value)));
        let is_stored = self.base || matches!(verdict, Verdict::New | Verdict::Changed);
        if value.len() <= MAX_INLINE_BYTES || !is_stored {
            return self.settle(&record, verdict, RowValue::InPlace(row.shape, value), writer);
        }
        let pieces = self.pieces.get_or_insert_with(|| PieceWriter::new(self.context));
        let (list, _) =
            pieces.write(value, &mut std::io::empty(), writer, &mut |_| ()).map_err(|error| match error {
                PieceError::Layer(error) => error,
                PieceError::Source(error) => LayerError::Source(error.into()),
            })?;
        self.settle(&record, verdict, RowValue::Pieces(row.shape, &list), writer)
    }

    /// Counts and writes a record. [`RowValue::Inherited`] says that its value is the parent's and was not read.
    fn settle(
        &mut self,
        record: &Record<'_>,
        verdict: Verdict,
        value: RowValue<'_>,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        let row_bytes = self.out.count_live(record, verdict == Verdict::Same);
        if matches!(verdict, Verdict::Changed | Verdict::Inherited) {
            self.leaves();
        }
        self.out.known.belied += u64::from(self.is_held && verdict != Verdict::Same);
        let counts = &mut self.out.counts;
        match verdict {
            Verdict::Same => {}
            Verdict::New => counts.new += 1,
            Verdict::Changed => counts.changed += 1,
            Verdict::Inherited => {
                counts.changed += 1;
                counts.inherited += 1;
                counts.bytes_changed += row_bytes;
            }
        }
        let is_changed = matches!(verdict, Verdict::Changed | Verdict::Inherited);
        if matches!(verdict, Verdict::New | Verdict::Changed) {
            counts.bytes_changed += row_bytes + record.value_bytes;
        }
        if let Some(note) = self.out.note(record.meta.expiry) {
            note.seen += 1;
            note.new += u64::from(verdict == Verdict::New);
            note.lived += u64::from(verdict != Verdict::New);
            note.changed += u64::from(is_changed);
            note.inherited += u64::from(verdict == Verdict::Inherited);
        }
        match (self.base, verdict, &mut self.parent) {
            (true, _, Some(parent)) if matches!(value, RowValue::Inherited) => {
                write_held(&mut self.out, parent, record.key, Some(record), writer)
            }
            (false, Verdict::Same, _) => Ok(()),
            (false, Verdict::Inherited, _) => self.out.write(record, RowValue::Inherited, writer),
            _ => self.out.write(record, value, writer),
        }
    }
}

/// Writes the value that the parent holds, under the given key row or the parent's own.
fn write_held(
    out: &mut Output<'_>,
    parent: &mut StackCursor<'_>,
    key: &[u8],
    record: Option<&Record<'_>>,
    writer: &mut dyn ChunkWriter,
) -> Result<(), LayerError> {
    if let Some(record) = record {
        return out.write(record, parent.held()?.0, writer);
    }
    // Copied because the value borrows the cursor; rare: only for records that a new base could not read.
    let meta = parent.meta();
    let (set, user_key) = (meta.set.to_vec(), meta.user_key.map(<[u8]>::to_vec));
    let (generation, expiry, stamp) = (meta.generation, meta.expiry, meta.stamp);
    let meta = Meta { set: &set, generation, expiry, stamp, user_key: user_key.as_deref() };
    let (fingerprint, value_bytes) = (parent.fingerprint(), parent.value_bytes());
    out.write(&Record { key, meta, fingerprint, value_bytes }, parent.held()?.0, writer)
}
