//! What comes of a run: its ranges as layers, layers as stacks, and what the manifest says of each collection.

use super::{
    counts::{add_stats, check_counts},
    coverage::cover,
    dry::DryWriter,
    jobs::CollectionRun,
    joined::Joined,
    stack::Merging,
    workers::Workers,
};
use crate::{
    connector::SessionEnd,
    layer::{
        BuiltRange, JoinCounts, finish_layer,
        join::{Known, Sets},
    },
    ops::{OpsError, crew::Crew},
    record::{KeyRange, Timestamp},
    repo::{
        Capability, ChunkWriter, Snapshot, SnapshotId,
        carried::Carried,
        manifest::{Collection, Kind, LayerRef, Stats},
        session::SessionWriter,
    },
};

/// The most problems that a manifest names.
const MAX_PROBLEMS: usize = 100;

/// What reading gave.
pub(super) struct ReadOutcome {
    pub(super) collections: Vec<Collection>,
    pub(super) stats: Stats,
    pub(super) problems: Vec<String>,
    /// Whether any of them is more than that a record changed while it was read.
    pub(super) lacks: bool,
    pub(super) unconfirmed: u64,
    pub(super) dry_bytes: u64,
    pub(super) dry_chunks_new: u64,
    pub(super) dry_chunks_reused: u64,
    /// How the session ended, if that had to be known: of exact sources the end is the start, and they may be read again.
    pub(super) session: Option<SessionEnd>,
    /// When the first of the ranges was begun.
    pub(super) start: Timestamp,
    /// The backup that broke off whose ranges are part of this.
    pub(super) resumed: Option<SnapshotId>,
    /// The run's end: what is over by then is not counted.
    pub(super) end: Timestamp,
    /// What was read.
    pub(super) kind: Kind,
    /// What the source said of records that it need not read.
    pub(super) known: Known,
}

impl Workers<'_> {
    /// Takes what expired by the end of the run off what was counted by its start; gives that end.
    pub(super) fn settle(&self, end: Timestamp) -> Result<Timestamp, OpsError> {
        let mut outcomes = self.outcomes();
        let earlier = outcomes.all().filter(|joined| joined.read.earlier).map(|joined| joined.read.end);
        let mut end = earlier.fold(end.max(self.start).max(self.counted_by), Timestamp::max);
        // Moving the end for one range may move it into what another one rounded.
        loop {
            let moved = outcomes.all().try_fold(end, |end, joined| joined.outcome.expiring.end_from(end));
            let moved = moved.ok_or_else(|| OpsError::Failed("the run took longer than 99 days".to_owned()))?;
            if moved == end {
                break;
            }
            end = moved;
        }
        for joined in outcomes.all_mut() {
            joined.outcome.settle(end);
        }
        Ok(end)
    }

    pub(super) fn assemble(
        &self,
        parent: Option<&Snapshot>,
        session: Option<SessionEnd>,
        end: Timestamp,
    ) -> Result<ReadOutcome, OpsError> {
        let mut outcome = ReadOutcome {
            collections: Vec::new(),
            stats: Stats::default(),
            problems: Vec::new(),
            lacks: false,
            unconfirmed: 0,
            dry_bytes: 0,
            dry_chunks_new: 0,
            dry_chunks_reused: 0,
            session,
            start: self.start,
            resumed: None,
            end,
            kind: self.kind,
            known: Known::default(),
        };
        let mut writer = match self.writing {
            Some(writing) => Writer::Real(Box::new(writing.writer())),
            None => Writer::Dry(DryWriter { repo: self.repo, counts: &self.dry }),
        };
        let assembled = self.assemble_all(writer.as_dyn(), &mut outcome);
        // Also after a failure: another try may follow in this session, and needs all that was put.
        if let Writer::Real(writer) = writer {
            assembled.and(writer.finish().map_err(OpsError::from))?;
        } else {
            assembled?;
        }
        for gone in parent.iter().flat_map(|parent| &parent.collections) {
            if !outcome.collections.iter().any(|c| c.name == gone.name && c.codec == gone.codec) {
                outcome.stats.deleted += gone.records;
            }
        }
        if let Ok(dry) = self.dry.lock() {
            outcome.dry_bytes = dry.bytes;
            outcome.dry_chunks_new = dry.new;
            outcome.dry_chunks_reused = dry.reused;
        }
        Ok(outcome)
    }

    fn assemble_all(&self, writer: &mut dyn ChunkWriter, outcome: &mut ReadOutcome) -> Result<(), OpsError> {
        let mut done = self.outcomes().take().into_iter();
        for job in &self.jobs {
            let ranges: Option<Vec<Joined>> = done.by_ref().take(job.ranges.len()).collect();
            let ranges = ranges.ok_or_else(|| OpsError::Failed("a range was not read".to_owned()))?;
            let collection = self.assemble_one(job, &ranges, writer, outcome)?;
            outcome.collections.push(collection);
        }
        Ok(())
    }

    fn assemble_one(
        &self,
        job: &CollectionRun<'_>,
        ranges: &[Joined],
        writer: &mut dyn ChunkWriter,
        outcome: &mut ReadOutcome,
    ) -> Result<Collection, OpsError> {
        let mut counts = JoinCounts::default();
        let mut sets = Sets::default();
        let mut built: Vec<(KeyRange, BuiltRange)> = Vec::new();
        let mut stood = 0;
        let name = &job.found.name;
        for (range, joined) in job.ranges.iter().zip(ranges) {
            let part = &joined.outcome;
            counts.add(&part.counts);
            outcome.lacks |= joined.absent > 0 || part.counts.unreadable + part.counts.torn > part.changed;
            sets.add(&part.sets);
            outcome.known.unread += part.known.unread;
            outcome.known.belied += part.known.belied;
            for (key, reason) in &part.problems {
                if outcome.problems.len() < MAX_PROBLEMS {
                    outcome.problems.push(format!("{name}: {}: {reason}", job.found.codec.show(key)));
                }
            }
            if let Some(doubt) = joined.part.doubts.first().filter(|_| joined.absent > 0)
                && outcome.problems.len() < MAX_PROBLEMS
            {
                outcome.problems.push(format!(
                    "{name}: deletions unconfirmed: {} records that did not come are kept as they were: {}",
                    joined.absent, doubt.reason
                ));
            }
            if joined.part.doubts.iter().any(|doubt| doubt.acceptable) {
                outcome.unconfirmed += joined.absent;
            }
            stood += part.stood;
            built.push((range.clone(), part.built.clone()));
        }
        check_counts(name, job.parent.map_or(0, |parent| parent.records), &counts, stood)?;
        let new_layer = finish_layer(&self.context, writer, &built)?;
        let stack = self.next_stack(job, new_layer, writer)?;
        add_stats(&mut outcome.stats, &counts);
        Ok(Collection {
            name: name.clone(),
            codec: job.found.codec,
            records: counts.records,
            bytes: counts.bytes,
            coverage: self.sum_up(job, cover(&job.ranges, ranges, job.parent, self.start, outcome.end))?,
            attributes: job.found.attributes.clone(),
            sets: super::sets::numbers_of(&sets),
            stack,
            journal: None,
            counted: true,
            other: Carried::default(),
        })
    }

    fn next_stack(
        &self,
        job: &CollectionRun<'_>,
        new_layer: Option<LayerRef>,
        writer: &mut dyn ChunkWriter,
    ) -> Result<Vec<LayerRef>, OpsError> {
        let Some(parent) = job.parent.filter(|_| !job.new_base) else { return Ok(new_layer.into_iter().collect()) };
        let Some(new_layer) = new_layer else { return Ok(parent.stack.clone()) };
        let mut stack = parent.stack.clone();
        // Who may not read values cannot merge them: the stack grows until somebody who may comes by, or a new base.
        if let Some(session) = self.writing.filter(|_| self.repo.role().has(Capability::ReadValues)) {
            let merging = Merging {
                context: &self.context,
                chunks: &self.chunks,
                session,
                crew: Crew::new(self.options.parallel, self.progress),
            };
            stack = merging.make_room(writer, &job.ranges, stack)?;
        }
        stack.push(new_layer);
        Ok(stack)
    }
}

enum Writer<'a> {
    Real(Box<SessionWriter>),
    Dry(DryWriter<'a>),
}

impl Writer<'_> {
    fn as_dyn(&mut self) -> &mut dyn ChunkWriter {
        match self {
            Self::Real(writer) => writer.as_mut(),
            Self::Dry(writer) => writer,
        }
    }
}
