//! Writing checkpoints while a backup runs (`format-spec/protocol.md`, section 5).

use super::{ground::Last, outcomes::Finished, workers::Workers};
use crate::{
    connector::Resumable,
    layer::LayerError,
    ops::OpsError,
    repo::{
        Checkpoint, ChunkKind, ChunkPlain, ChunkWriter, RepoError, WriteSession,
        checkpoint::{CheckpointCollection, Span, SpanDoubt},
    },
    report::WarningKind,
};
use data_encoding::HEXLOWER;
use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{PoisonError, TryLockError},
    time::Instant,
};

/// Writing checkpoints may take one part in so many of the time.
const SHARE: u32 = 20;

/// However long it takes, so many intervals are the most between two.
const LONGEST: u32 = 10;

impl Workers<'_> {
    /// Writes a checkpoint if it is time.
    pub(super) fn checkpoint_if_due(&self) -> Result<(), OpsError> {
        let mut last = match self.checkpoints.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody is writing one.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let every = self.checkpoints.every;
        if last.at.elapsed() < every.max(last.took.saturating_mul(SHARE).min(every.saturating_mul(LONGEST))) {
            return Ok(());
        }
        self.write_checkpoint(&mut last)
    }

    /// Leaves a last checkpoint behind: the run gives up.
    pub(super) fn leave_checkpoint(&self) {
        let mut last = self.checkpoints.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.write_checkpoint(&mut last) {
            Ok(()) | Err(OpsError::Repo(RepoError::RunFailed { .. })) => {}
            Err(error) => self.not_noted(&format!("what was finished could not be noted: {error}")),
        }
    }

    fn not_noted(&self, words: &str) {
        self.progress.warn(WarningKind::ProgressNotKept, "", words);
    }

    fn write_checkpoint(&self, last: &mut Last) -> Result<(), OpsError> {
        let Some(writing) = self.writing.filter(|_| self.checkpoints.are_written()) else { return Ok(()) };
        let spans = self.outcomes().freeze();
        let is_news = spans.iter().any(|span| span.clone().any(|task| !last.named.contains(&task)));
        let written = if is_news { self.write_spans(last, writing, &spans) } else { Ok(()) };
        self.outcomes().thaw();
        written
    }

    fn write_spans(&self, last: &mut Last, writing: &WriteSession, spans: &[Range<usize>]) -> Result<(), OpsError> {
        let began = Instant::now();
        let mut writer = writing.writer();
        let put = self.put_spans(spans, &mut writer);
        // Also after a failure, so that nothing is left in it.
        let closed = writer.finish().map_err(OpsError::from);
        let mut spans = put?;
        closed?;
        writing.flush()?;
        spans.retain(|(finished, _)| finished.shares.iter().all(|shares| writing.are_durable(shares)));
        let named: BTreeSet<usize> = spans.iter().flat_map(|(finished, _)| finished.tasks.clone()).collect();
        (last.at, last.took) = (Instant::now(), began.elapsed());
        if named.is_subset(&last.named) {
            return Ok(());
        }
        match self.create(writing, spans) {
            Ok(()) => last.named = named,
            // What is stored is stored; a backup does not fail because this could not be noted.
            Err(error) => self.not_noted(&format!("what is finished could not be noted: {error}")),
        }
        Ok(())
    }

    fn put_spans(
        &self,
        spans: &[Range<usize>],
        writer: &mut dyn ChunkWriter,
    ) -> Result<Vec<(Finished, Span)>, OpsError> {
        let mut put = Vec::with_capacity(spans.len());
        for span in spans {
            let finished = self.outcomes().finished(span.start);
            if let Some(mut finished) = finished
                && let Some(span) = put_span(&mut finished, self.tasks[span.start].range, writer)?
            {
                put.push((finished, span));
            }
        }
        Ok(put)
    }

    fn create(&self, writing: &WriteSession, spans: Vec<(Finished, Span)>) -> Result<(), RepoError> {
        let mut collections: Vec<CheckpointCollection> = Vec::new();
        for job in &self.jobs {
            let starts = job.ranges.iter().skip(1).map(|range| HEXLOWER.encode(&range.start)).collect();
            let (name, codec, new_base) = (job.found.name.clone(), job.found.codec, job.new_base);
            collections.push(CheckpointCollection { name, codec, new_base, starts, spans: Vec::new() });
        }
        let mut time = self.counted_by;
        for (finished, span) in spans {
            time = time.max(span.end);
            collections[self.tasks[finished.tasks.start].job].spans.push(span);
        }
        let ground = &self.checkpoints.ground;
        writing.create_checkpoint(Checkpoint {
            version: Checkpoint::VERSION,
            lease: writing.id(),
            number: 0,
            source: ground.source.clone(),
            scope: ground.scope.clone(),
            kind: ground.kind,
            parent: ground.parent,
            options: ground.options.clone(),
            counted_by: self.counted_by,
            time,
            // Asked now: it also tells of what was taken over.
            handover: self.session.resumable().map(Resumable::handover).unwrap_or_default(),
            collections,
        })
    }
}

/// Puts what a span refers to; `None` if it does not fit into a chunk. Gives up what is put.
fn put_span(finished: &mut Finished, first: usize, writer: &mut dyn ChunkWriter) -> Result<Option<Span>, OpsError> {
    let mut lists = Vec::with_capacity(finished.built.len());
    for built in std::mem::take(&mut finished.built) {
        match built.put(writer) {
            Ok(list) => lists.push(list),
            Err(LayerError::Inconsistent { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let numbers = ChunkPlain::single(std::mem::take(&mut finished.numbers));
    let outcome = writer.put(ChunkKind::Table, &numbers)?.id;
    let doubts = finished.part.doubts.iter().map(|doubt| SpanDoubt {
        from: HEXLOWER.encode(&doubt.range.start),
        to: doubt.range.end.as_deref().map(|end| HEXLOWER.encode(end)),
        reason: doubt.reason.clone(),
        acceptable: doubt.acceptable,
    });
    Ok(Some(Span { first, lists, outcome, start: finished.start, end: finished.end, doubts: doubts.collect() }))
}
