//! `verify --against`: a live source compared with a snapshot, record by record.

use crate::{
    connector::{
        Resumable, SessionOptions, Source, SourceSession,
        change::{MetaBatch, MetaStream},
    },
    layer::{LayerContext, Stack},
    ops::{
        OpsError, Phase, PhaseKind, Progress,
        hearing::hearing,
        reading::Reading,
        restore::{Likeness, Pair, walk},
        select::{Narrow, scope::scope_hash},
    },
    record::{Expiry, Gaps, KeyRange, RecordBatch, RecordStream, RowHead, Shape, StreamError},
    repo::{
        Repository, Snapshot,
        manifest::{Collection, SourceId},
    },
    report::WarningKind,
};
use serde::Serialize;
use std::{cell::RefCell, sync::Arc};

/// Differences that are told by name.
const MAX_EXAMPLES: usize = 100;

/// Records that did not come and expire, counted together.
const MAX_EXPIRING: usize = 10_000;

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgainstOptions {
    /// Read no values: sets, expiries and generations are compared, and which records there are.
    pub metadata_only: bool,
}

/// How a live source differs from a snapshot.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AgainstOutcome {
    /// Records compared.
    pub records: u64,
    /// In the snapshot only.
    pub missing: u64,
    /// In the source only.
    pub extra: u64,
    /// In both, with another value.
    pub different: u64,
    /// In both, equal but for the generation or stamp.
    pub metadata_only: u64,
    /// In the snapshot, where the source could not be read: its range, or just its value.
    pub unread: u64,
    /// Whether all of the source was read.
    pub complete: bool,
    /// What was not, in words.
    pub problems: Vec<String>,
    /// The first 100 differing keys with their collection and how they differ.
    pub examples: Vec<String>,
}

/// Narrows snapshots, where nobody did, to those of this very source, and of them to those of the part that it is asked for: others
/// would differ by what only they hold. A source that is in no snapshot (a copy of one that is) narrows nothing.
///
/// # Errors
/// If snapshots cannot be listed.
pub fn meant_by(repo: &Repository, source: &dyn Source, narrow: &Narrow) -> Result<Narrow, OpsError> {
    let mut narrow = narrow.clone();
    let snapshots = repo.snapshots()?;
    let identity = source.identity();
    let own = identity.name_on(repo.host());
    let is_own = |id: &SourceId| id.connector == identity.connector && id.name == own;
    if narrow.source.is_none() && snapshots.iter().any(|it| narrow.admits(it) && is_own(it.source())) {
        narrow.source = Some(own.clone());
    }
    let hash = scope_hash(&source.scope().canonical);
    if narrow.scope.is_none() && snapshots.iter().any(|it| narrow.admits(it) && it.content.scope == hash) {
        narrow.scope = Some(hash);
    }
    Ok(narrow)
}

/// Compares a live source with a snapshot. What has expired since is not missed.
pub fn verify_against(
    repo: &Repository,
    snapshot: &Snapshot,
    source: &dyn Source,
    options: AgainstOptions,
    progress: &dyn Progress,
) -> Result<AgainstOutcome, OpsError> {
    hearing(source, progress, || compare_with(repo, snapshot, source, options, progress))
}

fn compare_with(
    repo: &Repository,
    snapshot: &Snapshot,
    source: &dyn Source,
    options: AgainstOptions,
    progress: &dyn Progress,
) -> Result<AgainstOutcome, OpsError> {
    let reading = Reading::begin(repo, "verify", std::slice::from_ref(snapshot))?;
    let repo = reading.repo();
    let snapshot = &reading.snapshots()[0];
    let scope = source.scope();
    if scope_hash(&scope.canonical) != snapshot.content.scope {
        let named = |note: &str| if note.is_empty() { "everything".to_owned() } else { note.to_owned() };
        progress.warn(WarningKind::CoverageDiffers, snapshot.id.short(), format!(
            "snapshot {} covers {}, the source is asked for {}: what only one of them covers counts as a difference",
            snapshot.id.short(),
            named(&snapshot.content.scope_note),
            named(&scope.note)
        ));
    }
    let context = LayerContext::new(repo.secrets());
    let session = source.begin(&SessionOptions {
        parallel: 1,
        leave_out: crate::ops::own_place(repo),
        ..SessionOptions::default()
    })?;
    progress.phase(&Phase {
        kind: PhaseKind::Comparing,
        object: String::new(),
        records: snapshot.collections.iter().map(|c| c.records).sum(),
        bytes: if options.metadata_only { 0 } else { snapshot.collections.iter().map(|c| c.bytes).sum() },
    });
    let comparison = Comparison { context, options, session: session.as_ref(), progress };
    let mut outcome = AgainstOutcome::default();
    for collection in &snapshot.collections {
        comparison.compare(repo, snapshot, collection, &mut outcome)?;
    }
    for extra in session.collections() {
        if !snapshot.collections.iter().any(|c| c.name == extra.name && c.codec == extra.codec) {
            comparison.count_extra(&extra.name, &mut outcome)?;
        }
    }
    let ended = session.finish()?;
    ended.notes.iter().for_each(|note| progress.warn(WarningKind::Note, "", note));
    outcome.complete = ended.missing.is_empty() && outcome.unread == 0;
    outcome.problems.extend(ended.missing);
    Ok(outcome)
}

struct Comparison<'a> {
    context: LayerContext,
    options: AgainstOptions,
    session: &'a dyn SourceSession,
    progress: &'a dyn Progress,
}

impl Comparison<'_> {
    fn compare(
        &self,
        repo: &Repository,
        snapshot: &Snapshot,
        collection: &Collection,
        outcome: &mut AgainstOutcome,
    ) -> Result<(), OpsError> {
        let live = self.session.collections();
        let found = live.iter().position(|c| c.name == collection.name && c.codec == collection.codec);
        let Some(index) = found else {
            outcome.missing += collection.records;
            outcome.example(format!("{}: the source has no such collection", collection.name));
            return Ok(());
        };
        let stack = Stack::open(&repo.chunks(), &collection.stack)?;
        // What has expired meanwhile is in neither; what a journal holds of a later time than the one that is meant does not count.
        let end = snapshot.content.end;
        let at = if snapshot.holds_until().is_some() { end } else { end.max(self.session.start()) };
        for range in stack.ranges() {
            let gaps = RefCell::new(Gaps::default());
            let mut expiring: Vec<(Vec<u8>, Expiry)> = Vec::new();
            let mut live = self.open(index, &range, &gaps)?;
            let mut cursor = stack.cursor(&range, at, true)?;
            let fingerprinter = (!self.options.metadata_only).then_some(&self.context.fingerprinter);
            let likeness = Likeness { fingerprinter, ..Likeness::default() };
            walk(likeness, &mut live, &mut cursor, &mut |key, pair| {
                if self.progress.cancelled() {
                    return Err(OpsError::Interrupted);
                }
                self.progress.count(1, 0);
                match pair {
                    Pair::SnapshotOnly { .. } if gaps.borrow_mut().contains(key) => outcome.unread += 1,
                    Pair::SnapshotOnly { expiry } if expiry != Expiry::NEVER => {
                        expiring.push((key.to_vec(), expiry));
                        if expiring.len() >= MAX_EXPIRING {
                            self.count_expiring(collection, &mut expiring, outcome);
                        }
                    }
                    _ => outcome.count(
                        &collection.name,
                        &|| collection.codec.show(key),
                        &pair,
                        self.options.metadata_only,
                    ),
                }
                Ok(())
            })
            .map_err(|error| self.heard(error))?;
            self.count_expiring(collection, &mut expiring, outcome);
            // What became of the range is told when the session ends.
            if let Some(evidence) = self.session.evidence() {
                evidence.part_end(index, &range)?;
            }
        }
        Ok(())
    }

    /// Counts what did not come and expires: what is over by now may have been so when it was to come.
    fn count_expiring(
        &self,
        collection: &Collection,
        expiring: &mut Vec<(Vec<u8>, Expiry)>,
        outcome: &mut AgainstOutcome,
    ) {
        if expiring.is_empty() {
            return;
        }
        let now = self.session.resumable().map_or_else(|| self.session.start(), Resumable::now);
        for (key, expiry) in expiring.drain(..).filter(|(_, expiry)| !expiry.is_over_at(now)) {
            let pair = Pair::SnapshotOnly { expiry };
            outcome.count(&collection.name, &|| collection.codec.show(&key), &pair, self.options.metadata_only);
        }
    }

    fn count_extra(&self, name: &str, outcome: &mut AgainstOutcome) -> Result<(), OpsError> {
        let index = self.session.collections().iter().position(|c| c.name == name).unwrap_or_default();
        let gaps = RefCell::new(Gaps::default());
        let mut live = self.open(index, &KeyRange::all(), &gaps)?;
        let mut batch = RecordBatch::new();
        loop {
            let more = live.next_batch(&mut batch);
            let more = more.map_err(|error| OpsError::Failed(format!("reading {name}: {error}")));
            if !more.map_err(|error| self.heard(error))? {
                break;
            }
            outcome.extra += batch.len() as u64;
        }
        outcome.example(format!("{name}: the snapshot has no such collection"));
        Ok(())
    }

    fn open<'s>(&'s self, index: usize, range: &KeyRange, gaps: &'s RefCell<Gaps>) -> Result<Live<'s>, OpsError> {
        let rows = match self.session.changes().filter(|_| self.options.metadata_only) {
            Some(changes) => {
                let nothing = Arc::new(Shape::new(Vec::new()));
                Rows::Keys(changes.sweep(index, range, None)?, MetaBatch::default(), nothing)
            }
            None => Rows::Whole(self.session.read(index, range)?),
        };
        Ok(Live { rows, gaps, progress: self.progress })
    }

    /// An error of a stream that was told to stop is no failure.
    fn heard(&self, error: OpsError) -> OpsError {
        if self.progress.cancelled() { OpsError::Interrupted } else { error }
    }
}

/// What is read of the live records.
enum Rows<'a> {
    Whole(Box<dyn RecordStream + 'a>),
    Keys(Box<dyn MetaStream + 'a>, MetaBatch, Arc<Shape>),
}

/// Live records of a range, until somebody asks to stop; what could not be read goes to the gaps.
struct Live<'a> {
    rows: Rows<'a>,
    gaps: &'a RefCell<Gaps>,
    progress: &'a dyn Progress,
}

impl RecordStream for Live<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        if self.progress.cancelled() {
            return Err(Box::new(OpsError::Interrupted));
        }
        self.progress.count(0, 0);
        let more = match &mut self.rows {
            Rows::Whole(stream) => stream.next_batch(batch)?,
            Rows::Keys(stream, keys, nothing) => {
                let more = stream.next_batch(keys)?;
                batch.clear();
                for row in 0..keys.len() {
                    let (key, meta) = keys.row(row);
                    batch.push_held(RowHead { key, meta }, nothing);
                }
                more
            }
        };
        let mut gaps = self.gaps.borrow_mut();
        while let Some(range) = match &mut self.rows {
            Rows::Whole(stream) => stream.unread(),
            Rows::Keys(stream, ..) => stream.unread(),
        } {
            gaps.push(range);
        }
        Ok(more)
    }
}

impl AgainstOutcome {
    fn example(&mut self, text: String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(text);
        }
    }

    fn count(&mut self, collection: &str, key: &dyn Fn() -> String, pair: &Pair, by_metadata: bool) {
        let how = match pair {
            Pair::Both { same, same_meta, moved, unreadable, .. } => {
                self.records += 1;
                if let Some(error) = unreadable {
                    self.unread += 1;
                    if self.problems.len() < MAX_EXAMPLES {
                        self.problems.push(format!("{collection}: {}: {error}", key()));
                    }
                    return;
                }
                if if by_metadata { *same_meta } else { *same } {
                    self.metadata_only += u64::from(*moved);
                    return;
                }
                self.different += 1;
                "differs"
            }
            Pair::SnapshotOnly { .. } => {
                self.missing += 1;
                "is missing from the source"
            }
            Pair::LiveOnly { .. } => {
                self.extra += 1;
                "is not in the snapshot"
            }
        };
        if self.examples.len() < MAX_EXAMPLES {
            self.example(format!("{collection}: {} {how}", key()));
        }
    }
}
