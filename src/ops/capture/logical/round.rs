//! One reading of the log on its way into one snapshot.

use super::{
    Logical,
    doubles::{Doubles, Record},
    lineage::Lineage,
    numbers::{NOW, number},
};
use crate::{
    connector::postgres::{
        log::{Lsn, StreamState, Visible, sequences_into, state_into},
        logical::{Changes, Follower, RowChange, is_of_unread},
    },
    layer::{Stack, StackCursor, VersionValue},
    ops::{
        OpsError,
        capture::{BATCH_BYTES, MAX_PROBLEMS},
        stream::{StreamCollection, StreamCommit, StreamEnd, StreamWriter},
    },
    record::{ChangeBatch, KeyRange, Meta, RowHead, Shape, Timestamp, VersionTime, value::Cell},
    report::WarningKind,
};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    sync::Arc,
};

/// Changes that wait to be written.
#[derive(Default)]
struct Pending {
    batch: ChangeBatch,
    is_numbered: bool,
    /// Where in the batch the newest change of each key is, of those looked at so far.
    newest: HashMap<Vec<u8>, usize>,
    looked: usize,
}

impl Pending {
    /// The newest change of a key.
    fn find(&mut self, key: &[u8]) -> Option<usize> {
        while self.looked < self.batch.len() {
            self.newest.insert(self.batch.row(self.looked).key.to_vec(), self.looked);
            self.looked += 1;
        }
        self.newest.get(key).copied()
    }
}

/// Collections that were read anew, later than what the others go on from.
pub(super) struct Anew {
    /// The transactions that they show.
    pub(super) seen: Visible,
    /// Which they are.
    pub(super) chosen: Vec<bool>,
    /// Whether a collection is gone: no moment before is one of all collections then.
    pub(super) is_less: bool,
    /// From when on they show every moment: not before the newest transaction that they show.
    pub(super) from: Timestamp,
    /// What was missing when they were read, in words.
    pub(super) problems: Vec<String>,
}

/// What a commit came to.
pub(super) struct Summary {
    pub(super) commit: StreamCommit,
    pub(super) state: StreamState,
    pub(super) attributes: Json,
    pub(super) lifted: u64,
    pub(super) lost: u64,
    pub(super) bytes: u64,
}

/// What a change comes to.
enum Settled<'c> {
    /// Itself.
    As(RowChange<'c>),
    /// Nothing that is seen.
    Nothing,
    /// That a row of this key is seen again.
    Uncovered(&'c [u8], Record),
}

/// Takes changes.
pub(super) struct Round<'a> {
    logical: &'a Logical<'a>,
    lineage: &'a Lineage,
    /// End before the first transaction that this does not see.
    within: Option<&'a Visible>,
    is_ended: bool,
    anew: Option<Anew>,
    /// Whether what was read anew shows the transaction.
    is_seen: bool,
    /// Behind the last transaction that was taken.
    pub(super) ended: Lsn,
    writer: Option<StreamWriter<'a>>,
    pending: BTreeMap<usize, Pending>,
    bytes: usize,
    all_bytes: u64,
    standing: HashMap<usize, Stack>,
    doubles: Doubles,
    /// When the transaction was committed, and none before it later.
    millis: u64,
    /// Where its commit lies in the log: of a record that it changed several times only the last is ever seen, and is one version.
    committed: Lsn,
    is_lifted: bool,
    lifted: u64,
    lost: u64,
    problems: Vec<String>,
}

impl<'a> Round<'a> {
    pub(super) fn new(logical: &'a Logical<'a>, lineage: &'a Lineage, within: Option<&'a Visible>) -> Self {
        Self {
            logical,
            lineage,
            within,
            is_ended: false,
            anew: None,
            is_seen: false,
            ended: lineage.state.position,
            writer: None,
            pending: BTreeMap::new(),
            bytes: 0,
            all_bytes: 0,
            standing: HashMap::new(),
            doubles: Doubles::default(),
            millis: lineage.end.as_millis().max(0).unsigned_abs(),
            committed: Lsn::default(),
            is_lifted: false,
            lifted: 0,
            lost: 0,
            problems: Vec::new(),
        }
    }

    /// Goes on in a snapshot that was begun with collections that were read anew.
    pub(super) fn with(mut self, writer: StreamWriter<'a>, anew: Anew) -> Self {
        (self.writer, self.anew) = (Some(writer), Some(anew));
        self
    }

    /// When, among all versions, what the transaction writes was made.
    const fn time(&self) -> VersionTime {
        VersionTime { millis: self.millis, order: self.committed.0 }
    }

    /// Whether anything came that is to be kept.
    pub(super) fn has_changes(&self) -> bool {
        self.writer.is_some() || self.bytes > 0 || self.lost > 0
    }

    fn begin_writing(&mut self) -> Result<&mut StreamWriter<'a>, OpsError> {
        if self.writer.is_none() {
            let collection = |(name, codec, _): &(String, _, _)| StreamCollection {
                name: name.clone(),
                codec: *codec,
                attributes: Json::Null,
            };
            let collections: Vec<StreamCollection> = self.lineage.collections.iter().map(collection).collect();
            let stream = &self.lineage.options;
            let writer = StreamWriter::begin(
                self.logical.repo,
                self.logical.source,
                &collections,
                stream,
                self.logical.progress,
            )?;
            self.writer = Some(writer);
        }
        self.writer.as_mut().ok_or(OpsError::Interrupted)
    }

    /// A collection as it stands with what was written, without what is pending.
    fn standing(&mut self, collection: usize) -> Result<&Stack, OpsError> {
        if !self.standing.contains_key(&collection) {
            let stack = self.begin_writing()?.standing(collection)?;
            self.standing.insert(collection, stack);
        }
        self.standing.get(&collection).ok_or(OpsError::Interrupted)
    }

    /// Writes what is pending of a collection.
    fn write(&mut self, collection: usize) -> Result<(), OpsError> {
        let Some(Pending { batch, is_numbered, .. }) = self.pending.remove(&collection) else { return Ok(()) };
        self.bytes -= batch.bytes();
        self.all_bytes += batch.bytes() as u64;
        if is_numbered {
            let (batch, lost) = number(&batch, self.standing(collection)?)?;
            let name = &self.lineage.collections[collection].0;
            for hash in &lost {
                self.lose(format!("{name}: a row was deleted that is not held: {hash}"));
            }
            self.begin_writing()?.write(collection, &batch)?;
        } else {
            self.begin_writing()?.write(collection, &batch)?;
        }
        self.standing.remove(&collection);
        Ok(())
    }

    fn write_all(&mut self) -> Result<(), OpsError> {
        while let Some(&collection) = self.pending.keys().next() {
            self.write(collection)?;
        }
        Ok(())
    }

    fn lose(&mut self, words: String) {
        self.lost += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(words);
        }
    }

    /// The names and canonical bytes of a record as it stands with all that came; `None` if it is not there.
    fn record(&mut self, collection: usize, key: &[u8]) -> Result<Option<Record>, OpsError> {
        if let Some(pending) = self.pending.get_mut(&collection)
            && let Some(at) = pending.find(key)
        {
            let row = pending.batch.row(at);
            let is_there = !pending.batch.time(at).is_deletion;
            return Ok(is_there.then(|| (Arc::clone(row.shape), row.value.to_vec())));
        }
        let stack = self.standing(collection)?;
        let mut cursor = stack.cursor(&KeyRange::only(key), NOW, false)?;
        if !cursor.advance()? {
            return Ok(None);
        }
        whole_value(&mut cursor).map(Some)
    }

    /// What a change comes to where rows may have one key for a time.
    fn settle<'c>(&mut self, collection: usize, change: RowChange<'c>) -> Result<Settled<'c>, OpsError> {
        match &change {
            RowChange::Put { key, doubles: Some(None), .. } => {
                if let Some(standing) = self.record(collection, key)? {
                    self.doubles.add(collection, key, standing);
                }
            }
            RowChange::Put { key, shape, value, doubles: Some(Some(was)), .. }
                if self.doubles.has(collection, key)
                    && self.record(collection, key)?.is_none_or(|(_, newest)| newest != *was) =>
            {
                self.doubles.replace(collection, key, was, (Arc::clone(shape), value.clone()));
                return Ok(Settled::Nothing);
            }
            RowChange::Delete { key, doubles: Some(was), .. } if self.doubles.has(collection, key) => {
                if self.record(collection, key)?.is_none_or(|(_, newest)| newest != *was) {
                    self.doubles.remove(collection, key, was);
                    return Ok(Settled::Nothing);
                }
                if let Some(below) = self.doubles.uncover(collection, key) {
                    return Ok(Settled::Uncovered(key, below));
                }
            }
            _ => {}
        }
        Ok(Settled::As(change))
    }

    /// Puts the cells that were not told where they stand, from the row before.
    fn complete(
        &mut self,
        collection: usize,
        before: &[u8],
        shape: &Shape,
        value: &[u8],
        unchanged: &[usize],
    ) -> Result<Option<Vec<u8>>, OpsError> {
        let Some((old_shape, old_value)) = self.record(collection, before)? else { return Ok(None) };
        let old: Vec<Cell<'_>> = old_shape.cells(&old_value).collect::<Result<_, _>>().map_err(unreadable)?;
        let mut cells: Vec<Cell<'_>> = shape.cells(value).collect::<Result<_, _>>().map_err(unreadable)?;
        for &at in unchanged {
            let name = shape.names().get(at);
            let place = old_shape.names().iter().position(|other| Some(other) == name);
            match place.and_then(|place| old.get(place)) {
                Some(cell) => cells[at] = *cell,
                None => return Ok(None),
            }
        }
        let mut whole = Vec::with_capacity(value.len() + old_value.len());
        let mut writer = crate::record::CellWriter::new(&mut whole, cells.len());
        for cell in &cells {
            writer.cell(cell.tag, cell.bytes);
        }
        Ok(Some(whole))
    }

    /// Gives up what was written, and gives the error back.
    pub(super) fn abandon(self, error: OpsError) -> OpsError {
        self.give_up();
        error
    }

    /// Gives up what was written.
    pub(super) fn give_up(self) {
        let progress = self.logical.progress;
        if let Some(Err(second)) = self.writer.map(StreamWriter::abandon) {
            let words = format!("what was uploaded and is not needed could not be indexed: {second}");
            progress.warn(WarningKind::CleanupFailed, "", words);
        }
    }

    /// Makes the snapshot, which goes up to a place of the log; all that was made by `until` has come.
    pub(super) fn commit(
        mut self,
        follower: &mut Follower,
        reached: Lsn,
        until: Option<Timestamp>,
    ) -> Result<Summary, OpsError> {
        let prepared = self.prepare(follower, reached);
        let (state, attributes) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.abandon(error)),
        };
        let Some(writer) = self.writer.take() else { return Err(OpsError::Interrupted) };
        let mut problems = self.lineage.problems.clone();
        problems.extend(self.problems.iter().cloned());
        // What came late within a stretch is there before its end is: the end is no later than what has come.
        let mut until = until.unwrap_or_else(|| Timestamp::from_millis(self.millis.cast_signed()));
        if let Some(anew) = &self.anew {
            problems.extend(anew.problems.iter().cloned());
            until = until.max(anew.from);
        }
        let does_parent_stand = self.lineage.state.is_whole;
        let end = StreamEnd { is_whole: true, does_parent_stand, problems, until: Some(until) };
        let commit = writer.commit(&end, self.logical.progress)?;
        let (lifted, lost, bytes) = (self.lifted, self.lost, self.all_bytes);
        Ok(Summary { commit, state, attributes, lifted, lost, bytes })
    }

    fn prepare(&mut self, follower: &mut Follower, reached: Lsn) -> Result<(StreamState, Json), OpsError> {
        self.write_all()?;
        let (untold, before) = (self.lineage.untold(), self.lineage.state.clone());
        let is_anew_whole = self.anew.as_ref();
        let is_anew_whole = is_anew_whole.is_none_or(|anew| anew.problems.iter().all(|problem| is_of_unread(problem)));
        let is_all_kept = self.lost == 0 && self.begin_writing()?.refused() == 0;
        let is_whole = before.is_whole && is_anew_whole && is_all_kept;
        let state = StreamState { position: reached, untold, is_whole, ..before };
        let mut attributes = self.lineage.attributes.clone();
        state_into(&mut attributes, &state);
        sequences_into(&mut attributes, follower.sequences()?);
        self.begin_writing()?.set_attributes(attributes.clone());
        let writer = self.writer.as_mut().ok_or(OpsError::Interrupted)?;
        if let Some(Anew { chosen, is_less, from, .. }) = &self.anew {
            for (at, _) in chosen.iter().enumerate().filter(|(_, is_chosen)| **is_chosen || *is_less) {
                writer.begin_moments(at, *from)?;
            }
        }
        Ok((state, attributes))
    }
}

fn unreadable(error: crate::record::bytes::DecodeError) -> OpsError {
    OpsError::Failed(format!("a record that is held cannot be read: {error}"))
}

/// The names and canonical bytes of the record that a cursor stands on.
fn whole_value(cursor: &mut StackCursor<'_>) -> Result<Record, OpsError> {
    let (shape, value) = cursor.value()?;
    Ok((
        shape,
        match value {
            VersionValue::Inline(bytes) => bytes.to_vec(),
            VersionValue::Pieces { bytes, mut reader } => {
                let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
                reader.read_to_end(&mut whole).map_err(|error| OpsError::Failed(error.to_string()))?;
                whole
            }
        },
    ))
}

impl Changes for Round<'_> {
    type Error = OpsError;

    fn begin(&mut self, xid: u32, commit: Lsn, millis: i64) -> bool {
        self.committed = commit;
        self.is_ended |= self.within.is_some_and(|within| !within.sees(xid));
        self.is_seen = self.anew.as_ref().is_some_and(|anew| anew.seen.sees(xid));
        if self.is_ended || self.lineage.state.base.sees(xid) {
            return false;
        }
        let own = millis.max(0).unsigned_abs();
        self.is_lifted = own < self.millis;
        self.millis = self.millis.max(own);
        if let Some(anew) = self.anew.as_mut().filter(|_| self.is_seen) {
            anew.from = anew.from.max(Timestamp::from_millis(self.millis.cast_signed()));
        }
        true
    }

    fn holds(&self, collection: Option<usize>) -> bool {
        let is_anew = |at: usize| self.anew.as_ref().is_some_and(|anew| anew.chosen.get(at) == Some(&true));
        self.is_seen && collection.is_none_or(is_anew)
    }

    fn change(&mut self, collection: usize, change: RowChange<'_>) -> Result<(), OpsError> {
        if self.logical.progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let time = self.time();
        self.lifted += u64::from(self.is_lifted);
        let change = match change {
            RowChange::Put { key, shape, value, unchanged, before, is_numbered, doubles } if !unchanged.is_empty() => {
                let Some(value) = self.complete(collection, before, shape, &value, unchanged)? else {
                    let (name, codec, _) = &self.lineage.collections[collection];
                    let words = format!(
                        "{name}: {}: a large value was not told, as it did not change, and no row before it is held",
                        codec.show(key)
                    );
                    self.lose(words);
                    return Ok(());
                };
                RowChange::Put { key, shape, value, unchanged: &[], before, is_numbered, doubles }
            }
            change => change,
        };
        let below;
        let change = match self.settle(collection, change)? {
            Settled::Nothing => return Ok(()),
            Settled::As(change) => change,
            Settled::Uncovered(key, record) => {
                below = record;
                RowChange::Put {
                    key,
                    shape: &below.0,
                    value: below.1.clone(),
                    unchanged: &[],
                    before: key,
                    is_numbered: false,
                    doubles: None,
                }
            }
        };
        let pending = self.pending.entry(collection).or_default();
        let before = pending.batch.bytes();
        match change {
            RowChange::Put { key, shape, value, is_numbered, .. } => {
                pending.is_numbered = is_numbered;
                let head = RowHead { key, meta: Meta::default() };
                let put = pending.batch.put(time, |rows| {
                    rows.push_encoded(head, shape, &value);
                    Ok::<_, std::convert::Infallible>(())
                });
                match put {
                    Ok(()) => {}
                    Err(never) => match never {},
                }
            }
            RowChange::Delete { key, is_numbered, .. } => {
                pending.is_numbered = is_numbered;
                pending.batch.delete(time, key, 0);
            }
        }
        self.bytes += pending.batch.bytes() - before;
        if self.bytes >= BATCH_BYTES { self.write_all() } else { Ok(()) }
    }

    fn emptied(&mut self, collection: usize) -> Result<(), OpsError> {
        self.doubles.forget(collection);
        self.write(collection)?;
        let time = self.time();
        // Held beside the writer: what is written now does not change what is walked.
        self.standing(collection)?;
        let Some(stack) = self.standing.remove(&collection) else { return Ok(()) };
        let mut cursor = stack.cursor(&KeyRange::all(), NOW, true)?;
        let mut batch = ChangeBatch::default();
        let mut more = true;
        while more {
            more = cursor.advance()?;
            if more {
                batch.delete(time, cursor.key(), 0);
            }
            if batch.bytes() >= BATCH_BYTES || !more && !batch.is_empty() {
                self.all_bytes += batch.bytes() as u64;
                self.begin_writing()?.write(collection, &batch)?;
                batch.clear();
            }
        }
        Ok(())
    }

    fn lost(&mut self, words: String) {
        self.lose(words);
    }

    fn end(&mut self, end: Lsn) -> Result<(), OpsError> {
        self.doubles.clear();
        self.ended = self.ended.max(end);
        Ok(())
    }
}
