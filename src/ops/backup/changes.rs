//! What an absence is worth: streams that stand between a source and the join, and ask again by key before a record
//! that the parent holds counts as gone. [`Confirmed`] does so for a full read; [`Swept`] puts an incremental read together
//! from what changed, a sweep, and the parent.

use super::guard::Guard;
use crate::{
    connector::{
        ChangeSource, Doubt,
        change::{MetaBatch, MetaStream, Presence},
    },
    layer::{LayerError, StackCursor},
    record::{Gaps, KeyRange, RecordBatch, RecordStream, RowHead, Shape, StreamError, Timestamp},
};
use std::{
    cmp::Ordering,
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Keys asked for at once.
const MAX_KEYS: usize = 8192;

/// Copied records at which a window is handed over.
const MAX_STAGED_BYTES: usize = 1024 * 1024;

/// The parent's side of a range, and what is asked about it.
pub(super) struct ParentSide<'a> {
    source: &'a dyn ChangeSource,
    collection: usize,
    cursor: StackCursor<'a>,
    more: bool,
    /// What has expired by this time needs no proof.
    start: Timestamp,
    guard: Guard<'a>,
    unread: VecDeque<KeyRange>,
    /// Ranges not read, for as long as the range is: nobody is asked about them.
    skipped: Gaps,
    doubts: &'a Mutex<Doubts>,
}

/// What came up while a range was read.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Deletions that are not believed: the range is joined again.
    pub(super) guarded: Vec<Doubt>,
    /// Single records of which nobody could say: their rows stand already.
    pub(super) unknown: Vec<Doubt>,
    /// Candidates for deletion that did not turn out to be there.
    pub(super) absent: u64,
}

impl<'a> ParentSide<'a> {
    pub(super) fn new(
        source: &'a dyn ChangeSource,
        collection: usize,
        mut cursor: StackCursor<'a>,
        start: Timestamp,
        guard: Guard<'a>,
        doubts: &'a Mutex<Doubts>,
    ) -> Result<Self, LayerError> {
        let more = cursor.advance()?;
        let (unread, skipped) = (VecDeque::new(), Gaps::default());
        Ok(Self { source, collection, cursor, more, start, guard, unread, skipped, doubts })
    }

    /// The parent's next key, if it is not behind `bound`.
    fn key(&self, bound: Option<&[u8]>) -> Option<&[u8]> {
        let key = self.more.then(|| self.cursor.key())?;
        bound.is_none_or(|bound| key <= bound).then_some(key)
    }

    fn advance(&mut self) -> Result<(), LayerError> {
        self.more = self.cursor.advance()?;
        Ok(())
    }

    /// Whether the current row's absence would be a deletion.
    fn is_candidate(&mut self) -> bool {
        !self.cursor.meta().expiry.is_over_at(self.start) && !self.skipped.contains(self.cursor.key())
    }

    /// Tells the guard of the current row.
    fn held(&mut self) {
        self.guard.held(self.cursor.key());
    }

    fn skip(&mut self, range: KeyRange) {
        self.skipped.push(range.clone());
        self.unread.push_back(range);
    }

    fn unknown(&mut self, key: &[u8], reason: String) {
        let range = KeyRange::only(key);
        let doubt = Doubt { range: range.clone(), reason, acceptable: false };
        self.unread.push_back(range);
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).unknown.push(doubt);
    }

    fn finish(&mut self) {
        let doubts = self.guard.finish();
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).guarded.extend(doubts);
    }
}

/// Keys to be asked for, each with the set that the parent knows it in if it is a candidate for deletion.
#[derive(Default)]
struct Keys {
    keys: Vec<Vec<u8>>,
    sets: Vec<Option<Vec<u8>>>,
}

impl Keys {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn push(&mut self, key: &[u8], set: Option<&[u8]>) {
        self.keys.push(key.to_vec());
        self.sets.push(set.map(<[u8]>::to_vec));
    }

    /// Asks for them, and tells the guard what became of the candidates; begins anew.
    fn settle(&mut self, side: &mut ParentSide<'_>, found: &mut RecordBatch) -> Result<Vec<Presence>, StreamError> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        let presences = side.source.read_keys(side.collection, &keys, found)?;
        let absent = self.sets.iter().zip(&presences).filter(|(set, p)| set.is_some() && **p != Presence::Read).count();
        side.doubts.lock().unwrap_or_else(PoisonError::into_inner).absent += absent as u64;
        for ((key, set), presence) in self.keys.iter().zip(&self.sets).zip(&presences) {
            match (presence, set) {
                (Presence::Absent, Some(set)) => side.guard.gone(key, set),
                (Presence::Absent, None) => {}
                (Presence::Read, _) => side.guard.present(key),
                (Presence::Unknown(reason), _) => side.unknown(key, reason.clone()),
            }
        }
        *self = Self::default();
        Ok(presences)
    }
}

/// A full read whose absences are confirmed.
pub(super) struct Confirmed<'a> {
    inner: Box<dyn RecordStream + 'a>,
    side: ParentSide<'a>,
    merged: RecordBatch,
    ended: bool,
}

impl<'a> Confirmed<'a> {
    pub(super) fn new(inner: Box<dyn RecordStream + 'a>, side: ParentSide<'a>) -> Self {
        Self { inner, side, merged: RecordBatch::new(), ended: false }
    }

    /// Adds to `found` what is there of what the parent holds up to the batch's last key, and the batch does not.
    fn confirm(&mut self, batch: &RecordBatch, found: &mut RecordBatch) -> Result<(), StreamError> {
        let last = batch.len().checked_sub(1).map(|last| batch.row(last).key);
        let bound = if self.ended { None } else { last };
        let mut next = 0;
        let mut keys = Keys::default();
        loop {
            let order = self
                .side
                .key(bound)
                .map(|key| if next < batch.len() { batch.row(next).key.cmp(key) } else { Ordering::Greater });
            let Some(order) = order else { break };
            if order.is_le() {
                self.side.guard.present(batch.row(next).key);
                next += 1;
            }
            if order.is_lt() {
                continue;
            }
            if self.side.is_candidate() {
                self.side.held();
                if order.is_gt() {
                    keys.push(self.side.cursor.key(), Some(self.side.cursor.meta().set));
                }
            }
            self.side.advance()?;
            if keys.len() >= MAX_KEYS {
                keys.settle(&mut self.side, found)?;
            }
        }
        for row in next..batch.len() {
            self.side.guard.present(batch.row(row).key);
        }
        keys.settle(&mut self.side, found).map(drop)
    }
}

impl RecordStream for Confirmed<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        if self.ended {
            batch.clear();
            return Ok(false);
        }
        self.ended = !self.inner.next_batch(batch)?;
        while let Some(range) = self.inner.unread() {
            self.side.skip(range);
        }
        if batch.is_empty() && !self.ended {
            return Ok(true);
        }
        let mut found = RecordBatch::new();
        self.confirm(batch, &mut found)?;
        if self.ended {
            self.side.finish();
        }
        if !found.is_empty() {
            self.merged.clear();
            merge(batch, &found, &mut self.merged);
            std::mem::swap(batch, &mut self.merged);
        }
        Ok(!batch.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.side.unread.pop_front()
    }
}

/// Both batches' rows in key order.
fn merge(one: &RecordBatch, other: &RecordBatch, out: &mut RecordBatch) {
    let mut others = other.rows().peekable();
    for row in one.rows() {
        while let Some(before) = others.next_if(|next| next.key < row.key) {
            out.push_row(&before);
        }
        out.push_row(&row);
    }
    others.for_each(|row| out.push_row(&row));
}

/// What happens to one key of a window.
enum Action {
    /// The parent's record stands: this row of the sweep.
    Held(usize),
    /// This record of what changed.
    Take(usize),
    /// This key is asked for; where nobody can say, this record of what changed is taken.
    Ask(usize, Option<usize>),
}

/// Where a key was found.
struct Found {
    swept: bool,
    changed: bool,
    parent: bool,
    /// In sweep and parent, with the same key row.
    same: bool,
    /// In the parent, and its absence would be a deletion.
    candidate: bool,
}

/// An incremental read: what changed since a time, and a sweep over what did not. What the sweep shows as the parent knows it
/// has not been touched, whatever happens meanwhile: a record made anew, even with the same generation, is no longer among
/// those that it shows.
pub(super) struct Swept<'a> {
    changed: Rows<'a>,
    sweep: Box<dyn MetaStream + 'a>,
    rows: MetaBatch,
    at: usize,
    ended: bool,
    side: ParentSide<'a>,
    staged: RecordBatch,
    nothing: Arc<Shape>,
    key: Vec<u8>,
    done: bool,
}

/// Rows of a stream, one after the other.
struct Rows<'a> {
    stream: Box<dyn RecordStream + 'a>,
    batch: RecordBatch,
    at: usize,
    ended: bool,
}

impl Rows<'_> {
    /// Makes the next row available, if it comes soon; tells of what was not read.
    fn fill(&mut self, side: &mut ParentSide<'_>) -> Result<bool, StreamError> {
        if self.at >= self.batch.len() && !self.ended {
            self.ended = !self.stream.next_batch(&mut self.batch)?;
            self.at = 0;
            while let Some(range) = self.stream.unread() {
                side.skip(range);
            }
        }
        Ok(self.ended || self.at < self.batch.len())
    }

    fn key(&self, bound: Option<&[u8]>) -> Option<&[u8]> {
        let key = (self.at < self.batch.len()).then(|| self.batch.row(self.at).key)?;
        bound.is_none_or(|bound| key <= bound).then_some(key)
    }
}

impl<'a> Swept<'a> {
    pub(super) fn new(
        changed: Box<dyn RecordStream + 'a>,
        sweep: Box<dyn MetaStream + 'a>,
        side: ParentSide<'a>,
    ) -> Self {
        Self {
            changed: Rows { stream: changed, batch: RecordBatch::new(), at: 0, ended: false },
            sweep,
            rows: MetaBatch::default(),
            at: 0,
            ended: false,
            side,
            staged: RecordBatch::new(),
            nothing: Arc::new(Shape::new(Vec::new())),
            key: Vec::new(),
            done: false,
        }
    }

    /// Decides on keys until the sweep's batch is used up, or enough came together; `false` if something has not come yet.
    fn collect(&mut self, actions: &mut Vec<Action>, keys: &mut Keys) -> Result<bool, StreamError> {
        if self.at >= self.rows.len() && !self.ended {
            self.ended = !self.sweep.next_batch(&mut self.rows)?;
            self.at = 0;
            while let Some(range) = self.sweep.unread() {
                self.side.skip(range);
            }
            if self.rows.is_empty() && !self.ended {
                return Ok(false);
            }
        }
        let last = self.rows.len().checked_sub(1).map(|last| self.rows.row(last).0.to_vec());
        let bound = if self.ended { None } else { last.as_deref() };
        while keys.len() < MAX_KEYS && actions.len() < MAX_KEYS && self.staged.bytes() < MAX_STAGED_BYTES {
            if !self.changed.fill(&mut self.side)? {
                return Ok(false);
            }
            if self.pass_held()? {
                actions.push(Action::Held(self.at - 1));
                continue;
            }
            let Some(found) = self.next(bound) else {
                self.done = self.ended;
                break;
            };
            match found {
                Found { changed: true, swept: false, .. } => actions.push(Action::Take(self.staged.len())),
                Found { changed: false, swept: true, same: true, .. } => actions.push(Action::Held(self.at)),
                Found { changed: false, swept: false, candidate: false, .. } => {}
                Found { changed, candidate, .. } => {
                    actions.push(Action::Ask(keys.len(), changed.then_some(self.staged.len())));
                    keys.push(&self.key, candidate.then(|| self.side.cursor.meta().set));
                }
            }
            self.pass(&found)?;
        }
        Ok(true)
    }

    /// Goes on behind the sweep's row if it stands in the parent and has not changed, as nearly all have.
    fn pass_held(&mut self) -> Result<bool, LayerError> {
        if self.at >= self.rows.len() || !self.side.more {
            return Ok(false);
        }
        let (key, meta) = self.rows.row(self.at);
        let has_changed = self.changed.key(Some(key)).is_some();
        if has_changed || self.side.cursor.key() != key || self.side.cursor.meta() != meta {
            return Ok(false);
        }
        if self.side.is_candidate() {
            self.side.held();
        }
        self.side.guard.present(key);
        self.at += 1;
        self.side.advance()?;
        Ok(true)
    }

    /// The smallest key that is not behind `bound`, into [`Self::key`], and where it is.
    fn next(&mut self, bound: Option<&[u8]>) -> Option<Found> {
        let swept = (self.at < self.rows.len()).then(|| self.rows.row(self.at));
        let (changed, parent) = (self.changed.key(bound), self.side.key(bound));
        let key = [swept.map(|row| row.0), changed, parent].into_iter().flatten().min()?;
        let is_parent = parent == Some(key);
        let mut found = Found {
            swept: swept.is_some_and(|row| row.0 == key),
            changed: changed == Some(key),
            parent: is_parent,
            same: is_parent && swept.is_some_and(|row| row.0 == key && row.1 == self.side.cursor.meta()),
            candidate: false,
        };
        self.key.clear();
        self.key.extend_from_slice(key);
        found.candidate = is_parent && self.side.is_candidate();
        Some(found)
    }

    /// Goes on behind the key at hand.
    fn pass(&mut self, found: &Found) -> Result<(), StreamError> {
        if found.candidate {
            self.side.held();
        }
        if found.swept || found.changed {
            self.side.guard.present(&self.key);
        }
        if found.swept {
            self.at += 1;
        }
        if found.changed {
            self.staged.push_row(&self.changed.batch.row(self.changed.at));
            self.changed.at += 1;
        }
        if found.parent {
            self.side.advance()?;
        }
        Ok(())
    }

    fn emit(&self, actions: &[Action], presences: &[Presence], found: &RecordBatch, out: &mut RecordBatch) {
        let mut found = found.rows();
        for action in actions {
            match action {
                Action::Held(row) => {
                    let (key, meta) = self.rows.row(*row);
                    out.push_held(RowHead { key, meta }, &self.nothing);
                }
                Action::Take(row) => out.push_row(&self.staged.row(*row)),
                Action::Ask(key, staged) => match (&presences[*key], staged) {
                    (Presence::Read, _) => found.by_ref().take(1).for_each(|row| out.push_row(&row)),
                    (Presence::Unknown(_), Some(row)) => out.push_row(&self.staged.row(*row)),
                    (Presence::Absent | Presence::Unknown(_), _) => {}
                },
            }
        }
    }
}

impl RecordStream for Swept<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        let mut is_here = true;
        while batch.is_empty() && is_here && !self.done {
            let (mut actions, mut keys) = (Vec::new(), Keys::default());
            self.staged.clear();
            is_here = self.collect(&mut actions, &mut keys)?;
            let mut found = RecordBatch::new();
            let presences = keys.settle(&mut self.side, &mut found)?;
            self.emit(&actions, &presences, &found, batch);
            if self.done {
                self.side.finish();
            }
        }
        Ok(!batch.is_empty() || !self.done)
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.side.unread.pop_front()
    }
}
