//! Taking over what a backup that broke off had finished (`format-spec/protocol.md`, section 5).

use super::{
    Resume,
    ground::Ground,
    jobs::{CollectionRun, Task},
    joined::{Joined, Reading},
    outcomes::TaskOutcomes,
};
use crate::{
    connector::{Doubt, Handover, PartEnd, Resumable},
    layer::{BuiltRange, LayerError, RangeOutcome},
    ops::{OpsError, Progress},
    record::Timestamp,
    repo::{
        By, Checkpoint, ChunkId, ChunkKind, ChunkReader, RepoError, Repository, SnapshotId, WriteSession,
        checkpoint::Span,
    },
    report::{ErrorKind, WarningKind},
};
use std::{collections::BTreeSet, sync::Arc};

/// How far back a run reaches by itself.
const A_DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// How far back it reaches if it is told to: expiries are known for 99 days.
const MAX_MILLIS: i64 = 90 * A_DAY_MILLIS;

/// What a run looks for, and where.
pub(super) struct Finder<'a> {
    pub(super) repo: &'a Repository,
    pub(super) session: &'a dyn Resumable,
    /// When this run began, by the source's clock.
    pub(super) start: Timestamp,
    pub(super) writing: &'a WriteSession,
    pub(super) resume: Resume,
    /// Whether a person named the source.
    pub(super) chosen: bool,
    pub(super) progress: &'a dyn Progress,
}

/// What was taken over.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Which tasks.
    pub(super) tasks: BTreeSet<usize>,
    pub(super) ranges: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Finder<'_> {
    /// The newest checkpoint that this run may carry on from.
    ///
    /// # Errors
    /// [`ErrorKind::NothingToResume`] if there is none and one was demanded.
    pub(super) fn find(&self, ground: &Ground) -> Result<Option<Checkpoint>, OpsError> {
        let (mut found, problems) = self.repo.checkpoints()?;
        for problem in problems {
            self.progress.warn(WarningKind::NotResumed, "", format!("a checkpoint is not used: {problem}"));
        }
        found.retain(|it| {
            let is_own = it.lease == self.writing.id();
            !is_own && it.source.connector == ground.source.connector && it.source.name == ground.source.name
        });
        found.sort_by_key(|it| std::cmp::Reverse((it.time, it.lease)));
        let heads = match found.iter().map(|it| it.time).min() {
            None => Vec::new(),
            Some(oldest) => self.repo.heads_since(By::Source(&ground.source), Some(&ground.scope), Some(oldest))?,
        };
        let snapshots = self.repo.open_heads(&heads)?;
        let mut why_not = None;
        for checkpoint in found {
            let reason = match self.mismatch(&checkpoint, ground) {
                Some(reason) => reason,
                None => match checkpoint.overtaken_by(&snapshots) {
                    Some(snapshot) => format!("snapshot {} was taken since", snapshot.id.short()),
                    None => match self.take_over(&checkpoint, ground) {
                        Ok(()) => return Ok(Some(checkpoint)),
                        Err(reason) => {
                            self.progress.warn(
                                WarningKind::NotResumed,
                                checkpoint.lease.short(),
                                format!(
                                    "what the backup {} had finished is read again: {reason}",
                                    checkpoint.lease.short()
                                ),
                            );
                            reason
                        }
                    },
                },
            };
            why_not.get_or_insert((checkpoint.lease, reason));
        }
        match (self.resume, why_not) {
            (Resume::Always, Some((lease, reason))) => Err(OpsError::refused(
                ErrorKind::NothingToResume,
                format!("there is nothing to resume: the backup {} broke off, but {reason}", lease.short()),
            )),
            (Resume::Always, None) => Err(OpsError::refused(
                ErrorKind::NothingToResume,
                "there is nothing to resume: no backup of this source left a checkpoint",
            )),
            _ => Ok(None),
        }
    }

    fn take_over(&self, checkpoint: &Checkpoint, ground: &Ground) -> Result<(), String> {
        self.session.take_over(&Handover {
            told: &checkpoint.handover,
            chosen: self.chosen,
            accept_deletions: ground.options.accept_deletions,
        })
    }

    /// Why a checkpoint is not of such a run.
    fn mismatch(&self, checkpoint: &Checkpoint, ground: &Ground) -> Option<String> {
        let show = |parent: Option<SnapshotId>| parent.map_or("none".to_owned(), |id| id.short());
        if checkpoint.scope != ground.scope {
            return Some("it covered another part of the source".to_owned());
        }
        if checkpoint.kind != ground.kind {
            return Some(format!("it was of another kind ({:?}, this one is {:?})", checkpoint.kind, ground.kind));
        }
        if checkpoint.parent != ground.parent {
            let (its, ours) = (show(checkpoint.parent), show(ground.parent));
            return Some(format!("its parent was {its} and that of this one is {ours}"));
        }
        if checkpoint.options != ground.options {
            return Some(
                "its options were not the same: a new base, how deletions are looked for, or which are believed"
                    .to_owned(),
            );
        }
        let age = self.start.as_millis().saturating_sub(checkpoint.counted_by.as_millis());
        if age < 0 {
            return Some(format!("it began at {}, which is yet to come", checkpoint.counted_by));
        }
        let most = if self.resume == Resume::Always { MAX_MILLIS } else { A_DAY_MILLIS };
        (age > most).then(|| format!("it began at {}, too long ago", checkpoint.counted_by))
    }

    /// Takes over what of a checkpoint is there and fits.
    pub(super) fn fill(
        &self,
        checkpoint: &Checkpoint,
        jobs: &[CollectionRun<'_>],
        tasks: &[Task],
        outcomes: &mut TaskOutcomes,
    ) -> Result<Taken, OpsError> {
        let chunks = self.repo.chunks();
        let mut taken = Taken::default();
        let mut absent = 0_u64;
        let mut found = Vec::new();
        for (number, job) in jobs.iter().enumerate() {
            let its = checkpoint.collections.iter().find(|it| it.name == job.found.name && it.codec == job.found.codec);
            let its = its.filter(|it| it.new_base == job.new_base && it.ranges().as_ref() == Some(&job.ranges));
            let Some((its, first_task)) = its.zip(tasks.iter().position(|task| task.job == number)) else { continue };
            for span in &its.spans {
                match self.read_span(&chunks, checkpoint, job, span) {
                    Ok(joined) => found.push((first_task + span.first, joined)),
                    Err(OpsError::Repo(RepoError::ChunkMissing { .. })) => absent += span.lists.len() as u64,
                    Err(error) if error.kind().is_damage() => {
                        // What else lies in the packs that were found damaged is not known: nothing is taken over.
                        let _ = self.writing.distrust_unreadable();
                        self.progress.warn(
                            WarningKind::NotResumed,
                            checkpoint.lease.short(),
                            format!("what the backup {} had finished is read again: {error}", checkpoint.lease.short()),
                        );
                        return Ok(Taken::default());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for (first, span) in found {
            taken.tasks.extend(first..first + span.len());
            taken.ranges += span.len() as u64;
            taken.records += span.iter().map(|joined| joined.outcome.counts.records).sum::<u64>();
            taken.bytes += span.iter().map(|joined| joined.outcome.counts.bytes).sum::<u64>();
            outcomes.take_over(first, span);
        }
        self.tell(checkpoint, &taken, tasks.len(), absent);
        Ok(taken)
    }

    fn tell(&self, checkpoint: &Checkpoint, taken: &Taken, all: usize, absent: u64) {
        let (lease, began) = (checkpoint.lease.short(), checkpoint.counted_by);
        if absent > 0 {
            self.progress.warn(
                WarningKind::NotResumed,
                &*lease,
                format!("{absent} ranges that the backup {lease} had finished are read again: chunks of them are gone"),
            );
        }
        if taken.ranges > 0 {
            self.progress.warn(WarningKind::Resuming, &*lease, format!(
                "resuming: {} of {all} ranges with {} records are taken over from the backup {lease}, which began at \
                 {began} and broke off",
                taken.ranges, taken.records
            ));
        }
    }

    /// Reads a span back, and relies on every chunk under it.
    fn read_span(
        &self,
        chunks: &Arc<dyn ChunkReader>,
        checkpoint: &Checkpoint,
        job: &CollectionRun<'_>,
        span: &Span,
    ) -> Result<Vec<Joined>, OpsError> {
        span.lists.iter().flatten().chain([&span.outcome]).try_for_each(|id| self.rely_on(*id))?;
        let plain = chunks.read(ChunkKind::Table, &span.outcome)?.plain()?;
        let mut outcome = RangeOutcome::from_numbers(&plain.bytes)
            .map_err(|reason| LayerError::Damaged { id: span.outcome, reason })?;
        let inconsistent = |reason: &str| {
            let object = format!("outcome {} of a checkpoint", span.outcome);
            OpsError::Layer(LayerError::Inconsistent { object, reason: reason.to_owned() })
        };
        let counts = outcome.counts;
        if outcome.counted_by() != checkpoint.counted_by || counts.unreadable > 0 || counts.torn > 0 {
            return Err(inconsistent("it is not that of a finished range"));
        }
        let mut built = Vec::with_capacity(span.lists.len());
        for (range, list) in job.ranges.iter().skip(span.first).zip(&span.lists) {
            let one = match list {
                Some(list) => BuiltRange::read(chunks, list, range)?,
                None => BuiltRange::default(),
            };
            one.for_each_chunk(chunks, &mut |id| match self.rely_on(id) {
                Err(OpsError::Repo(error)) => Err(LayerError::Repo(error)),
                _ => Ok(()),
            })
            .map_err(|error| match error {
                LayerError::Repo(error) => OpsError::Repo(error),
                error => OpsError::Layer(error),
            })?;
            built.push(one);
        }
        let (rows, live) = built.iter().fold((0_u64, 0_u64), |(rows, live), one| {
            (rows.saturating_add(one.rows()), live.saturating_add(one.live_rows()))
        });
        if (job.parent.is_none() || job.new_base) && (rows, live) != (counts.records, counts.records) {
            return Err(inconsistent("its records are not as many as its lists have"));
        }
        let doubts = span.doubts.iter().filter_map(|doubt| {
            let (reason, acceptable) = (doubt.reason.clone(), doubt.acceptable);
            Some(Doubt { range: doubt.range()?, reason, acceptable })
        });
        let part = PartEnd { complete: true, doubts: doubts.collect() };
        let read = Reading { start: span.start, end: span.end, earlier: true };
        let ranges = job.ranges.get(span.first..).unwrap_or_default();
        let unswept: Vec<_> = ranges.iter().take(built.len()).map(|range| job.unswept(range)).collect();
        if unswept.len() != built.len() || (built.len() > 1 && unswept.iter().any(|parts| !parts.is_empty())) {
            return Err(inconsistent("ranges of different coverage are kept together"));
        }
        let mut all = Vec::with_capacity(built.len());
        for (one, unswept) in built.into_iter().zip(unswept) {
            let mut its = outcome.take_numbers();
            its.built = one;
            all.push(Joined { outcome: its, part: part.clone(), unswept, absent: 0, read });
        }
        Ok(all)
    }

    fn rely_on(&self, id: ChunkId) -> Result<(), OpsError> {
        match self.writing.rely_on(&mut std::iter::once(id))?.first() {
            None => Ok(()),
            Some(id) => Err(RepoError::ChunkMissing { id: *id }.into()),
        }
    }
}

/// The times of what was taken over.
pub(super) fn earliest(start: Timestamp, outcomes: &TaskOutcomes) -> Timestamp {
    outcomes.all().map(|joined| joined.read.start).fold(start, Timestamp::min)
}
