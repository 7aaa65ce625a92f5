//! Comparing what a target holds with the snapshot: which records are equal, which are not the snapshot's.

use super::{Feed, ReadBack, Run, Selected};
use crate::{
    connector::{
        CollectionTarget, Outcomes, Overwrite, RecordLookup, Removal, SessionOptions, Source, SourceSession, Target,
        TargetAbilities, TargetPlan,
        file_record::{self, Uncompared, Unkept},
    },
    layer::{LayerContext, StackCursor},
    ops::{OpsError, Progress, lookup::Records},
    record::{
        BatchRow, Expiry, Fingerprint, FingerprintStream, Fingerprinter, KeyCodec, KeyRange, Meta, RecordBatch,
        RecordStream, StreamError, StreamedValue, bytes::same, pause,
    },
};
use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    time::Duration,
};

/// Keys removed by one call.
const REMOVE_AT_ONCE: usize = 10_000;

/// Which admitted records of each range stand in the target as the snapshot has them: one bit each.
#[derive(Debug, Default)]
pub(super) struct Equal {
    ranges: Vec<Vec<u64>>,
    count: u64,
}

impl Equal {
    pub(super) fn contains(&self, range: usize, position: u64) -> bool {
        let word = self.ranges.get(range).and_then(|words| words.get((position / 64) as usize));
        word.is_some_and(|word| word >> (position % 64) & 1 == 1)
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    fn set(&mut self, position: u64) {
        let Some(words) = self.ranges.last_mut() else { return };
        let word = (position / 64) as usize;
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= 1 << (position % 64);
        self.count += 1;
    }
}

/// Keys that the target holds and the snapshot does not, or soon no more, in key order, kept in a temporary file.
pub(super) struct Extra {
    file: BufWriter<File>,
}

impl Extra {
    fn new() -> Result<Self, OpsError> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile().map_err(|error| spool(&error))?) })
    }

    /// Adds a key, with the generation that the target has and the expiry that the snapshot has.
    fn push(&mut self, key: &[u8], generation: u32, expiry: Expiry) -> io::Result<()> {
        self.file.write_all(&generation.to_le_bytes())?;
        self.file.write_all(&expiry.as_millis().to_le_bytes())?;
        self.file.write_all(&(key.len() as u32).to_le_bytes())?;
        self.file.write_all(key)
    }

    /// Removes the keys from the target. Of those that the snapshot has with an expiry, only what is over by now: nothing was
    /// written for it, so another state stands there. Clocks being known to some seconds only, what is over just now is
    /// waited for.
    pub(super) fn remove_from(
        self,
        writer: &mut dyn CollectionTarget,
        outcomes: &mut Outcomes,
        slack_millis: u64,
        progress: &dyn Progress,
    ) -> Result<(), OpsError> {
        let mut file = self.file.into_inner().map_err(|error| spool(error.error()))?;
        let later = |expiry: Expiry| Expiry::from_millis(expiry.as_millis().saturating_add(slack_millis));
        let sooner = |expiry: Expiry| Expiry::from_millis(expiry.as_millis().saturating_sub(slack_millis).max(1));
        let mut just_now = false;
        for_each(&mut file, &mut |key, _, expiry| {
            just_now |=
                expiry != Expiry::NEVER && !is_over(writer, key, later(expiry)) && is_over(writer, key, sooner(expiry));
            Ok(())
        })?;
        if just_now && !pause(Duration::from_millis(2 * slack_millis), || progress.cancelled()) {
            return Err(OpsError::Interrupted);
        }
        let mut keys = Vec::new();
        for_each(&mut file, &mut |key, generation, expiry| {
            if expiry == Expiry::NEVER || is_over(writer, key, later(expiry)) {
                keys.push(Removal { key: key.to_vec(), generation });
            }
            if keys.len() == REMOVE_AT_ONCE {
                writer.remove(&keys, outcomes)?;
                keys.clear();
            }
            Ok(())
        })?;
        if !keys.is_empty() {
            writer.remove(&keys, outcomes)?;
        }
        Ok(())
    }
}

fn is_over(writer: &dyn CollectionTarget, key: &[u8], expiry: Expiry) -> bool {
    writer.standing().is_some_and(|standing| standing.is_over(key, expiry))
}

/// Called with a key, its generation in the target, and its expiry in the snapshot.
type EachExtra<'a> = &'a mut dyn FnMut(&[u8], u32, Expiry) -> Result<(), OpsError>;

fn for_each(file: &mut File, each: EachExtra<'_>) -> Result<(), OpsError> {
    file.seek(SeekFrom::Start(0)).map_err(|error| spool(&error))?;
    let mut file = BufReader::new(file);
    let mut key = Vec::new();
    loop {
        let (mut generation, mut expiry, mut len) = ([0; 4], [0; 8], [0; 4]);
        match file.read_exact(&mut generation) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(spool(&error)),
        }
        let rest = file.read_exact(&mut expiry).and_then(|()| file.read_exact(&mut len));
        rest.map_err(|error| spool(&error))?;
        key.resize(u32::from_le_bytes(len) as usize, 0);
        file.read_exact(&mut key).map_err(|error| spool(&error))?;
        each(&key, u32::from_le_bytes(generation), Expiry::from_millis(u64::from_le_bytes(expiry)))?;
    }
}

fn spool(error: &io::Error) -> OpsError {
    OpsError::Failed(format!("the list of keys to remove could not be kept in a temporary file: {error}"))
}

/// What comparing with the target gave.
pub(super) struct Found {
    pub(super) equal: Equal,
    pub(super) extra: Extra,
    /// Whether damage kept a part from being compared: its records are all written, and what is extra there is not known.
    pub(super) damaged: bool,
}

/// Compares every record that the target holds with the snapshot, before anything is written.
pub(super) fn with_existing(
    feed: &Feed<'_>,
    context: &LayerContext,
    writer: &mut dyn CollectionTarget,
    plan: &TargetPlan,
    abilities: &TargetAbilities,
) -> Result<Found, OpsError> {
    let fingerprinter = Some(&context.fingerprinter);
    let likeness = Likeness {
        fingerprinter,
        expiry_slack_millis: abilities.expiry_slack_millis,
        keeps_user_keys: abilities.keeps_user_keys,
        ..Likeness::default()
    };
    let stack = feed.open()?;
    let mut found = Found { equal: Equal::default(), extra: Extra::new()?, damaged: false };
    for range in feed.ranges(&stack) {
        found.equal.ranges.push(Vec::new());
        let Some(mut existing) = writer.existing(&range)? else { continue };
        let mut existing = Heeding { stream: existing.as_mut(), progress: feed.progress };
        let mut cursor = stack.cursor(&range, feed.at, true)?;
        let mut position = 0;
        let (equal, extra) = (&mut found.equal, &mut found.extra);
        let walked = walk(likeness, &mut existing, &mut cursor, &mut |key, pair| {
            if feed.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            if !feed.filter.admits(key) {
                return Ok(());
            }
            match pair {
                Pair::Both { same, generation, expiry, .. } => {
                    if same && plan.overwrite == Overwrite::IfChanged {
                        equal.set(position);
                    } else if plan.make_equal && expiry != Expiry::NEVER {
                        extra.push(key, generation, expiry).map_err(|error| spool(&error))?;
                    }
                    position += 1;
                }
                Pair::SnapshotOnly { .. } => position += 1,
                Pair::LiveOnly { generation } if plan.make_equal => {
                    extra.push(key, generation, Expiry::NEVER).map_err(|error| spool(&error))?;
                }
                Pair::LiveOnly { .. } => {}
            }
            Ok(())
        });
        match walked {
            // What lies behind is written whatever the target holds; the feed names what is lost.
            Err(error) if feed.keep_going && error.kind().keeps_data_back() => found.damaged = true,
            walked => walked?,
        }
    }
    Ok(found)
}

/// A stream that ends with an error when the verb is cancelled, also while nothing comes.
struct Heeding<'a> {
    stream: &'a mut dyn RecordStream,
    progress: &'a dyn Progress,
}

impl RecordStream for Heeding<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        if self.progress.cancelled() {
            return Err("interrupted".into());
        }
        self.stream.next_batch(batch)
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.stream.unread()
    }
}

/// How a key stands in snapshot and live data.
pub(in crate::ops) enum Pair {
    /// In both.
    Both {
        /// Value, user key, set and expiry are equal.
        same: bool,
        /// User key, set and expiry are equal.
        same_meta: bool,
        /// They are the same but for the live one's user key, which the snapshot's has not.
        keyed: bool,
        /// Expiry, generation or stamp differ.
        moved: bool,
        /// Why the live one's value could not be read, if so.
        unreadable: Option<io::Error>,
        /// Whether the live one's generation is not lower.
        fresher: bool,
        /// The live one's generation.
        generation: u32,
        /// The snapshot's expiry.
        expiry: Expiry,
    },
    /// Only the snapshot has it.
    SnapshotOnly {
        /// The snapshot's expiry.
        expiry: Expiry,
    },
    /// Only the live data has it.
    LiveOnly {
        /// Its generation there.
        generation: u32,
    },
}

/// Called with every key of either side, in order.
pub(in crate::ops) type Each<'a> = &'a mut dyn FnMut(&[u8], Pair) -> Result<(), OpsError>;

/// Says of a record by its key and key row whether it is meant.
pub(in crate::ops) type Chooses<'a> = &'a dyn Fn(&[u8], &Meta<'_>) -> bool;

/// How two records are compared.
#[derive(Clone, Copy, Default)]
pub(in crate::ops) struct Likeness<'a> {
    /// What tells whether values are equal. Without one values are not read, and no two records are the same.
    pub(in crate::ops) fingerprinter: Option<&'a Fingerprinter>,
    /// Milliseconds by which expiries may differ.
    pub(in crate::ops) expiry_slack_millis: u64,
    /// Records are the same whose user key the live data has and the snapshot has not.
    pub(in crate::ops) keeps_user_keys: bool,
    /// Which records are meant, of the snapshot and of what is there; all without one.
    pub(in crate::ops) chooses: Option<Chooses<'a>>,
    /// What a file that differs may differ in; no file may without one.
    pub(in crate::ops) forgiving: Option<Forgiving<'a>>,
}

/// What files that were written to a place may differ in.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Forgiving<'a> {
    /// What the place could not keep.
    unkept: Unkept,
    /// The snapshot's records.
    saved: &'a Records,
    /// What was left out of comparisons, and of how many records.
    left: &'a RefCell<(Uncompared, u64)>,
}

impl Forgiving<'_> {
    /// Whether a record of a file that stands there is the snapshot's but for what the place could not keep or added.
    fn forgives(
        self,
        fingerprinter: &Fingerprinter,
        row: &BatchRow<'_>,
        stream: Option<&mut dyn StreamedValue>,
        print: Fingerprint,
    ) -> bool {
        let mut saved = RecordBatch::new();
        if !self.saved.find(row.key, &mut saved).unwrap_or(false) || saved.is_empty() {
            return false;
        }
        let mut left = Uncompared::new();
        let Some((shape, value)) = self.unkept.as_saved(&saved.row(0), row, &mut left) else { return false };
        let mut whole = fingerprinter.start(&shape, row.meta.user_key);
        whole.append(&value);
        let read = stream.map_or(Ok(()), |stream| append_stream(&mut whole, stream));
        let same = read.is_ok() && whole.finish() == print;
        if same {
            self.leave(left);
        }
        same
    }

    fn leave(self, left: Uncompared) {
        if !left.is_empty() {
            let mut all = self.left.borrow_mut();
            all.0.extend(left);
            all.1 += 1;
        }
    }
}

impl Likeness<'_> {
    /// Whether the cursor's record is meant.
    fn means(self, cursor: &StackCursor<'_>) -> bool {
        self.chooses.is_none_or(|chooses| chooses(cursor.key(), &cursor.meta()))
    }

    fn expire_alike(self, one: Expiry, other: Expiry) -> bool {
        let both_expire = one != Expiry::NEVER && other != Expiry::NEVER;
        one == other || both_expire && one.as_millis().abs_diff(other.as_millis()) <= self.expiry_slack_millis
    }
}

/// Walks live records and a snapshot's records of one range side by side.
pub(in crate::ops) fn walk(
    likeness: Likeness<'_>,
    live: &mut dyn RecordStream,
    cursor: &mut StackCursor<'_>,
    each: Each<'_>,
) -> Result<(), OpsError> {
    let mut batch = RecordBatch::new();
    let mut stored = cursor.advance()?;
    while live.next_batch(&mut batch).map_err(|error| OpsError::Failed(format!("reading the live data: {error}")))? {
        for index in 0..batch.len() {
            let stream = batch.row(index).stream.filter(|_| likeness.fingerprinter.is_some());
            let mut stream = stream.and_then(|number| batch.take_stream(number));
            let row = batch.row(index);
            let print = likeness.fingerprinter.map(|fingerprinter| fingerprint_of(fingerprinter, &row, &mut stream));
            // A stream is read once; where user keys are kept there are none.
            let without_key = likeness.fingerprinter.filter(|_| likeness.keeps_user_keys && row.stream.is_none());
            while stored && cursor.key() < row.key {
                if likeness.means(cursor) {
                    each(cursor.key(), Pair::SnapshotOnly { expiry: cursor.meta().expiry })?;
                }
                stored = cursor.advance()?;
            }
            if !stored || cursor.key() != row.key {
                if likeness.chooses.is_none_or(|chooses| chooses(row.key, &row.meta)) {
                    each(row.key, Pair::LiveOnly { generation: row.meta.generation })?;
                }
                continue;
            }
            let meta = cursor.meta();
            let (print, unreadable) = match print.transpose() {
                // It went since it was found: the live data has it no more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    each(cursor.key(), Pair::SnapshotOnly { expiry: cursor.meta().expiry })?;
                    stored = cursor.advance()?;
                    continue;
                }
                Err(error) => (None, Some(error)),
                Ok(print) => (print, None),
            };
            let same_place = same(meta.set, row.meta.set) && likeness.expire_alike(meta.expiry, row.meta.expiry);
            let is_same = print.is_some_and(|print| print == cursor.fingerprint()) && same_place;
            let keyed = !is_same
                && same_place
                && meta.user_key.is_none()
                && row.meta.user_key.is_some()
                && without_key.is_some_and(|printer| value_print(printer, &row, None) == cursor.fingerprint());
            let mut forgiven = || {
                let (fingerprinter, forgiving) = likeness.fingerprinter.zip(likeness.forgiving)?;
                // What could not be read once is not read again.
                print?;
                let stream = stream.as_mut().map(|stream| stream.as_mut() as &mut dyn StreamedValue);
                Some(forgiving.forgives(fingerprinter, &row, stream, cursor.fingerprint()))
            };
            let same = is_same || keyed || same_place && forgiven().unwrap_or(false);
            let same_meta = same_place && meta.user_key == row.meta.user_key;
            let moved = meta.expiry != row.meta.expiry
                || meta.generation != row.meta.generation
                || meta.stamp != row.meta.stamp;
            let fresher = row.meta.generation >= meta.generation;
            let (generation, expiry) = (row.meta.generation, meta.expiry);
            each(row.key, Pair::Both { same, same_meta, keyed, moved, unreadable, fresher, generation, expiry })?;
            stored = cursor.advance()?;
        }
    }
    while stored {
        if likeness.means(cursor) {
            each(cursor.key(), Pair::SnapshotOnly { expiry: cursor.meta().expiry })?;
        }
        stored = cursor.advance()?;
    }
    Ok(())
}

/// The fingerprint of a record with its stream, if it has one.
fn fingerprint_of(
    fingerprinter: &Fingerprinter,
    row: &BatchRow<'_>,
    stream: &mut Option<Box<dyn StreamedValue>>,
) -> io::Result<Fingerprint> {
    let mut print = fingerprinter.start(row.shape, row.meta.user_key);
    print.append(row.value);
    if let Some(stream) = stream {
        append_stream(&mut print, stream.as_mut())?;
    }
    Ok(print.finish())
}

fn append_stream(print: &mut FingerprintStream, stream: &mut dyn StreamedValue) -> io::Result<()> {
    let mut reader = stream.open()?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => print.append(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The fingerprint of a row with this user key.
fn value_print(fingerprinter: &Fingerprinter, row: &BatchRow<'_>, user_key: Option<&[u8]>) -> Fingerprint {
    let mut print = fingerprinter.start(row.shape, user_key);
    print.append(row.value);
    print.finish()
}

/// Whether the target was told to take a record.
pub(super) fn chooses(target: &dyn Target, key: &[u8], meta: &Meta<'_>) -> bool {
    target.surveyed().is_none_or(|surveyed| surveyed.chooses(key, meta))
}

/// The collection of a live source that a selected one is shown as by `target`.
pub(super) fn shown_in(session: &dyn SourceSession, target: &dyn Target, one: &Selected<'_>) -> Option<usize> {
    let shown = target.shown_as(one.name());
    session.collections().iter().position(|found| found.name == shown)
}

/// Walks what is selected of one collection beside what a live source has of it, in all ranges. What is lost to damage is
/// passed over where the restore passes over it, and named by it.
pub(super) fn with_live(
    run: &Run<'_>,
    one: &Selected<'_>,
    session: &dyn SourceSession,
    index: usize,
    likeness: Likeness<'_>,
    each: &mut dyn FnMut(&[u8], Pair),
) -> Result<(), OpsError> {
    let feed = run.feed(one, None);
    let stack = feed.open()?;
    for range in feed.ranges(&stack) {
        feed.past_damage(&stack, &range, &mut |_| {}, &mut |rest, last| {
            let mut live = session.read(index, rest)?;
            let mut live = Heeding { stream: live.as_mut(), progress: run.progress };
            let mut cursor = stack.cursor(rest, feed.at, true)?;
            walk(likeness, &mut live, &mut cursor, &mut |key, pair| {
                if run.progress.cancelled() {
                    return Err(OpsError::Interrupted);
                }
                if !matches!(pair, Pair::LiveOnly { .. }) {
                    last.clear();
                    last.extend_from_slice(key);
                }
                if feed.filter.admits(key) {
                    each(key, pair);
                }
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// Single records of a live source.
struct LiveRecords<'a> {
    session: &'a dyn SourceSession,
    index: usize,
}

impl RecordLookup for LiveRecords<'_> {
    fn find(&self, key: &[u8], batch: &mut RecordBatch) -> Result<bool, StreamError> {
        let mut stream = self.session.read(self.index, &KeyRange::only(key))?;
        while stream.next_batch(batch)? {
            if !batch.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Reads the target back through its source and compares every selected record: records compared, and how many differ.
pub(super) fn read_back(
    run: &Run<'_>,
    target: &dyn Target,
    source: &dyn Source,
    selected: &[Selected<'_>],
) -> Result<ReadBack, OpsError> {
    let context = LayerContext::new(run.repo.secrets());
    let session = source.begin(&SessionOptions {
        parallel: 1,
        leave_out: crate::ops::own_place(run.repo),
        ..SessionOptions::default()
    })?;
    let TargetAbilities { expiry_slack_millis, keeps_user_keys, .. } = target.abilities();
    let chooses = |key: &[u8], meta: &Meta<'_>| chooses(target, key, meta);
    let fingerprinter = Some(&context.fingerprinter);
    let likeness =
        Likeness { fingerprinter, expiry_slack_millis, keeps_user_keys, chooses: Some(&chooses), forgiving: None };
    let (mut compared, mut different, mut kept) = (0, 0, 0);
    let left = RefCell::default();
    for one in selected.iter().filter(|one| !target.is_made_anew(one.name())) {
        let Some(index) = shown_in(session.as_ref(), target, one) else {
            different += one.collection.records;
            continue;
        };
        let records = Records::of(run.repo, one.collection, run.snapshot.content.end);
        let live = LiveRecords { session: session.as_ref(), index };
        let unkept = target.unkept().filter(|_| one.collection.codec == KeyCodec::Path);
        let forgiving = unkept.map(|unkept| Forgiving { unkept, saved: &records, left: &left });
        let likeness = Likeness { forgiving, ..likeness };
        // Whoever was not asked for the path that carries a file's content has the file itself under another one.
        let stands_alone = |first: &[u8]| unkept.is_some_and(|unkept| unkept.links) || !one.filter.means(first);
        let is_same_file = |key: &[u8]| {
            let mut found = Uncompared::new();
            let same = file_record::is_same_file(key, &records, &live, &stands_alone, (unkept, &mut found));
            let same = same.is_ok_and(|same| same);
            if let Some(forgiving) = forgiving.filter(|_| same) {
                forgiving.leave(found);
            }
            same
        };
        let extra_counts = run.options.make_equal || run.options.nothing_else;
        // Directories that only the target has: made for what comes in them, if something does.
        let mut made: Vec<Vec<u8>> = Vec::new();
        let before = different;
        with_live(run, one, session.as_ref(), index, likeness, &mut |key, pair| {
            different += settle(&mut made, Some(key), matches!(pair, Pair::LiveOnly { .. }));
            match pair {
                Pair::Both { same, keyed, .. } => {
                    compared += 1;
                    kept += u64::from(keyed);
                    let same = same || one.collection.codec == KeyCodec::Path && is_same_file(key);
                    different += u64::from(!same);
                }
                Pair::SnapshotOnly { .. } if unkept.is_some_and(|unkept| unkept.root) && key == file_record::ROOT => {}
                Pair::SnapshotOnly { .. } => {
                    compared += 1;
                    different += 1;
                }
                Pair::LiveOnly { .. } if unkept.is_some() && key == file_record::ROOT => {}
                Pair::LiveOnly { .. } if extra_counts && unkept.is_some() && key.ends_with(b"/") => {
                    made.push(key.to_vec());
                }
                Pair::LiveOnly { .. } => different += u64::from(extra_counts),
            }
        })?;
        different += settle(&mut made, None, false);
        // Exactly as many as the target says: one more or less is a difference.
        if different - before == target.changed_itself(one.name()) {
            different = before;
        }
    }
    session.finish()?;
    let (left, left_of) = left.into_inner();
    let uncompared = (!left.is_empty()).then(|| {
        let what = left.into_iter().collect::<Vec<_>>().join(", ");
        format!("{what} were not compared of {left_of} records: the target could not keep them")
    });
    Ok(ReadBack { verified: Some(compared), different, keyed: kept, uncompared })
}

/// Settles which of the directories that only the target has were made for what comes in them: gives how many were not, once
/// `key` shows that nothing of the snapshot comes in them any more.
fn settle(made: &mut Vec<Vec<u8>>, key: Option<&[u8]>, is_extra: bool) -> u64 {
    let mut extra = 0;
    while let Some(last) = made.last() {
        match key {
            Some(key) if key.starts_with(last) && is_extra => break,
            // All above are settled by what lies in the innermost.
            Some(key) if key.starts_with(last) => made.clear(),
            _ => {
                extra += 1;
                made.pop();
            }
        }
    }
    extra
}
