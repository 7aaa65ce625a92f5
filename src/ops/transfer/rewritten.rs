//! Layers between repositories of other lasting secrets: a snapshot's records are read and joined with the copy of the one before,
//! so that the target keeps what differs, as a backup would.

use super::{
    Transfer, compare,
    source::{Held, Source},
};
use crate::{
    layer::{JoinOptions, LayerContext, LayerError, RangeOutcome, Stack, StackCursor, finish_layer, join_range},
    ops::{
        OpsError,
        backup::{
            counts::check_counts,
            stack::{MAX_DELTAS, wants_new_base},
        },
        crew::Crew,
        current::push_current,
        prune::Layers,
    },
    record::{KeyRange, RecordBatch, RecordStream, RowHead, Shape, StreamError},
    repo::{LayerWalk as _, RepoError, Snapshot, WriteSession, manifest::Collection},
};
use std::sync::Arc;

/// Where a batch ends.
const BATCH_BYTES: usize = 1024 * 1024;

/// A snapshot of the same source and scope, and its copy at the target.
struct Before<'a> {
    snapshot: &'a Snapshot,
    copy: &'a Snapshot,
}

/// Writes a snapshot's collections anew, compares them with what they were made of, and gives them.
pub(super) fn layers(
    job: &Transfer<'_>,
    snapshot: &Snapshot,
    session: &WriteSession,
) -> Result<Vec<Collection>, OpsError> {
    let before = before(job, snapshot);
    snapshot.collections.iter().map(|collection| one(job, snapshot, collection, before.as_ref(), session)).collect()
}

/// The newest snapshot of the same source and scope that is not newer, and whose copy is there.
fn before<'a>(job: &'a Transfer<'_>, snapshot: &Snapshot) -> Option<Before<'a>> {
    let content = &snapshot.content;
    let is_before = |other: &Snapshot| {
        other.id != snapshot.id
            && other.position() < snapshot.position()
            && other.source().is_same(snapshot.source())
            && other.content.scope == content.scope
    };
    job.all.iter().rev().filter(|other| is_before(other)).find_map(|snapshot| {
        let copy = job.copies.get(&super::copies::origin(job.from, snapshot))?;
        Some(Before { snapshot, copy })
    })
}

fn one(
    job: &Transfer<'_>,
    snapshot: &Snapshot,
    collection: &Collection,
    before: Option<&Before<'_>>,
    session: &WriteSession,
) -> Result<Collection, OpsError> {
    let end = snapshot.content.end;
    let like = |it: &&Collection| it.name == collection.name && it.codec == collection.codec;
    let pair = before.and_then(|before| {
        let here = before.snapshot.collections.iter().find(like)?;
        let there = before.copy.collections.iter().find(like)?;
        let is_fit = there.stack.len() <= MAX_DELTAS && !wants_new_base(&there.stack) && here.records == there.records;
        is_fit.then_some((here, there, before.snapshot.content.end))
    });
    let pair = match pair {
        Some(pair) if relies_on(job, session, pair.1)? => Some(pair),
        _ => None,
    };
    let opened = pair.map(|(here, _, end)| Ok::<_, LayerError>((Stack::open(&job.from.chunks(), &here.stack)?, end)));
    let source = Source {
        collection,
        stack: Stack::open(&job.from.chunks(), &collection.stack)?,
        end,
        before: opened.transpose()?,
    };
    let parent = pair.map(|(_, there, _)| Stack::open(&job.to.chunks(), &there.stack)).transpose()?;
    let ranges = parent.as_ref().unwrap_or(&source.stack).ranges();
    let context = LayerContext::new(job.to.secrets());
    let joined = Joining { job, session, source: &source, parent: parent.as_ref(), context: &context }.run(&ranges)?;
    let mut counts = crate::layer::JoinCounts::default();
    let mut built = Vec::with_capacity(joined.len());
    for (range, part) in ranges.iter().zip(joined) {
        if let Some((key, reason)) = part.problems.first() {
            let object = format!("{} of snapshot {}", collection.codec.show(key), snapshot.id.short());
            return Err(RepoError::damaged(object, reason).into());
        }
        counts.add(&part.counts);
        built.push((range.clone(), part.built));
    }
    check_counts(&collection.name, pair.map_or(0, |(_, there, _)| there.records), &counts, 0)?;
    let mut writer = session.writer();
    let finished = finish_layer(&context, &mut writer, &built);
    writer.finish()?;
    let mut stack = pair.map_or_else(Vec::new, |(_, there, _)| there.stack.clone());
    stack.extend(finished?);
    session.flush()?;
    let copy = Stack::open(&job.to.chunks(), &stack)?;
    let coverage = compare::compare(job, &source, &copy, &ranges, snapshot)?;
    Ok(Collection { coverage, stack, ..collection.clone() })
}

/// Whether all of a copy's stack is present, which the session relies on then.
fn relies_on(job: &Transfer<'_>, session: &WriteSession, collection: &Collection) -> Result<bool, OpsError> {
    let target = job.to.chunks();
    for layer in &collection.stack {
        match session.rely_on_layer(&layer.id, |visit| Layers.chunks(&target, layer, visit)) {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(false),
            Err(error) if error.kind().is_damage() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

struct Joining<'a> {
    job: &'a Transfer<'a>,
    session: &'a WriteSession,
    source: &'a Source<'a>,
    parent: Option<&'a Stack>,
    context: &'a LayerContext,
}

impl Joining<'_> {
    /// Joins every range, several at once; gives what became of each.
    fn run(&self, ranges: &[KeyRange]) -> Result<Vec<RangeOutcome>, OpsError> {
        Crew::new(self.job.options.parallel, self.job.progress).map(
            ranges,
            || self.session.writer(),
            |writer, range| self.join(range, writer),
            |writer| Ok(writer.finish()?),
        )
    }

    fn join(&self, range: &KeyRange, writer: &mut crate::repo::SessionWriter) -> Result<RangeOutcome, OpsError> {
        let source = self.source;
        let mut stream = Live {
            now: source.stack.cursor(range, source.end, false)?,
            before: Held::of(source, range)?,
            nothing: Arc::new(Shape::new(Vec::new())),
            failed: None,
        };
        let progress = |records, bytes| {
            self.job.progress.count(records, bytes);
            !self.job.progress.cancelled()
        };
        let options = JoinOptions {
            parent: self.parent,
            new_base: false,
            parent_end: source.before.as_ref().map_or(source.end, |(_, end)| *end),
            end: source.end,
            is_end_known: true,
            carries: false,
            read_all: true,
            doubtful: &[],
            progress: &progress,
        };
        let joined = join_range(self.context, &mut stream, range, &options, writer);
        match stream.failed {
            Some(error) => Err(error),
            None => Ok(joined?),
        }
    }
}

/// The live records of a snapshot; of those that the snapshot before has alike only the key rows.
struct Live<'a> {
    now: StackCursor<'a>,
    before: Held<'a>,
    nothing: Arc<Shape>,
    /// Why it ended early.
    failed: Option<OpsError>,
}

impl Live<'_> {
    fn fill(&mut self, batch: &mut RecordBatch) -> Result<(), OpsError> {
        while batch.bytes() < BATCH_BYTES && self.now.advance()? {
            if self.before.has(&self.now)? {
                batch.push_held(RowHead { key: self.now.key(), meta: self.now.meta() }, &self.nothing);
            } else {
                push_current(&mut self.now, batch)?;
            }
        }
        Ok(())
    }
}

impl RecordStream for Live<'_> {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        match self.fill(batch) {
            Ok(()) => Ok(!batch.is_empty()),
            Err(error) => {
                let words = error.to_string();
                self.failed = Some(error);
                Err(words.into())
            }
        }
    }
}
