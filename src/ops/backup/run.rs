//! One reading of a source: what it stands on, what is taken over, what is read, and what comes of it.

use super::{
    Ask, BackupOptions, Resume, Sweep,
    assemble::ReadOutcome,
    ground::{Checkpoints, Ground},
    jobs::{Task, plan},
    joining::is_sweep_due,
    notes::Notes,
    outcomes::TaskOutcomes,
    resume,
    workers::Workers,
};
use crate::{
    connector::{Resumable, SourceAbilities, SourceSession},
    layer::LayerContext,
    ops::{OpsError, Phase, PhaseKind, Progress, limit::Throttle},
    record::Timestamp,
    repo::{
        Repository, Snapshot, WriteSession,
        checkpoint::CheckpointOptions,
        manifest::{Kind, SourceId},
    },
    report::{ErrorKind, Remedy},
};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize},
};

/// Whether an error says that what was read contradicts itself or what is stored.
pub(super) fn is_contradiction(error: &OpsError) -> bool {
    matches!(error, OpsError::Counts { .. }) || error.kind().is_damage()
}

/// What is read, and for whom.
pub(super) struct Run<'a> {
    pub(super) repo: &'a Repository,
    pub(super) session: &'a dyn SourceSession,
    pub(super) writing: Option<&'a WriteSession>,
    pub(super) abilities: SourceAbilities,
    pub(super) source: &'a SourceId,
    pub(super) scope: &'a str,
    pub(super) options: &'a BackupOptions,
    pub(super) progress: &'a dyn Progress,
    /// Whether something of a backup that broke off may be taken over; whether it was.
    pub(super) resume: Resume,
    pub(super) has_resumed: bool,
    /// Where the clock was put back since the newest snapshot, that one's end: who comes later is not the older.
    pub(super) not_before: Timestamp,
    /// What the source notes.
    pub(super) notes: Option<&'a mut Notes>,
}

impl Run<'_> {
    fn kind(&self, parent: Option<&Snapshot>) -> Kind {
        let is_partial =
            self.abilities.change_filter && self.options.ask != Ask::Full && !self.options.new_base && parent.is_some();
        match self.options.ask {
            _ if !is_partial => Kind::Full,
            Ask::Differential => Kind::Differential,
            _ => Kind::Incremental,
        }
    }

    fn ground(&self, parent: Option<&Snapshot>) -> Result<Ground, OpsError> {
        let kind = self.kind(parent);
        // Differential runs have one parent in common: none of them is the turn after the other.
        let sweep = match self.options.sweep {
            Sweep::Every(_) | Sweep::Rolling(_) if kind == Kind::Differential => Sweep::Always,
            sweep => sweep,
        };
        Ok(Ground {
            source: self.source.clone(),
            scope: self.scope.to_owned(),
            kind,
            parent: parent.map(|parent| parent.id),
            options: CheckpointOptions {
                new_base: self.options.new_base,
                swept: kind == Kind::Full || is_sweep_due(self.repo, parent, sweep)?,
                rolling: if let Sweep::Rolling(count) = sweep { Some(count) } else { None },
                accept_deletions: self.options.accept_deletions,
                max_deleted_percent: self.options.max_deleted_percent,
            },
        })
    }

    /// What looks for checkpoints; `None` where nothing can be taken over.
    fn finder<'s>(&'s self, resumable: Option<&'s dyn Resumable>) -> Result<Option<resume::Finder<'s>>, OpsError> {
        match (self.writing, resumable, self.resume) {
            (_, None, Resume::Always) => Err(OpsError::refused_unless(
                Remedy::DoNotResume,
                ErrorKind::Unsupported,
                "resuming needs a source whose ranges stand for themselves; of this one only the chunks are found again",
            )),
            (None, _, _) | (_, None, _) | (_, _, Resume::Never) => Ok(None),
            (Some(writing), Some(session), resume) => Ok(Some(resume::Finder {
                repo: self.repo,
                session,
                start: self.session.start(),
                writing,
                resume,
                chosen: self.options.source_name.is_some(),
                progress: self.progress,
            })),
        }
    }
}

/// Reads everything that the session shows.
pub(super) fn read_all(run: &mut Run<'_>, parent: Option<&Snapshot>) -> Result<ReadOutcome, OpsError> {
    let (repo, session, options, progress) = (run.repo, run.session, run.options, run.progress);
    let chunks = repo.chunks();
    let ground = run.ground(parent)?;
    let resumable = session.resumable().filter(|_| !run.abilities.exact);
    let finder = run.finder(resumable)?;
    let found = match &finder {
        Some(finder) => finder.find(&ground)?,
        None => None,
    };
    let jobs = plan(session, &chunks, parent, options, &ground, progress, found.as_ref())?;
    let mut tasks = Vec::new();
    for (job, planned) in jobs.iter().enumerate() {
        tasks.extend((0..planned.ranges.len()).map(|range| Task { job, range }));
    }
    let mut outcomes = TaskOutcomes::new(jobs.iter().map(|job| job.ranges.len()));
    let taken = match finder.zip(found.as_ref()) {
        Some((finder, found)) => finder.fill(found, &jobs, &tasks, &mut outcomes)?,
        None => resume::Taken::default(),
    };
    if found.is_some() && taken.ranges == 0 && run.resume == Resume::Always {
        let reason = "there is nothing to resume: what the backup that broke off had finished cannot be used any more";
        return Err(OpsError::refused(ErrorKind::NothingToResume, reason));
    }
    let found = found.filter(|_| taken.ranges > 0);
    run.has_resumed = found.is_some();
    progress.phase(&Phase {
        kind: PhaseKind::Reading,
        object: String::new(),
        records: jobs.iter().map(|job| job.found.estimated_records).sum::<u64>().saturating_sub(taken.records),
        bytes: jobs.iter().map(|job| job.found.estimated_bytes).sum::<u64>().saturating_sub(taken.bytes),
    });
    let notes = run.notes.as_mut().zip(session.remembers());
    let notes = notes.map(|(notes, source)| (source, notes.begin(source, parent, options)));
    // What an exact source holds is as of one moment: that is the end, too.
    let begun = if run.abilities.exact { session.start().max(run.not_before) } else { session.start() };
    let workers = Workers {
        notes,
        told: Mutex::default(),
        repo,
        session,
        writing: run.writing,
        context: LayerContext::new(repo.secrets()),
        chunks,
        parent_end: parent.map_or(Timestamp::default(), |parent| parent.content.end),
        start: session.start(),
        counted_by: found.as_ref().map_or(begun, |found| found.counted_by),
        is_exact: run.abilities.exact,
        kind: ground.kind,
        options,
        outcomes: Mutex::new(outcomes),
        checkpoints: Checkpoints::new(
            ground,
            resumable.is_some() && run.writing.is_some(),
            options.checkpoint_after,
            taken.tasks,
        ),
        jobs,
        tasks,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        dry: Mutex::default(),
        throttle: Mutex::new(Throttle::new(options.read_limit)),
        progress,
    };
    let ended = workers.read(options.parallel.clamp(1, session.readers().max(1)), run.abilities.exact);
    let ended = ended.inspect_err(|_| workers.leave_checkpoint())?;
    let start = resume::earliest(workers.start, &workers.outcomes());
    let end = match &ended {
        Some(ended) => workers.settle(ended.end.max(run.not_before))?,
        None => begun,
    };
    let mut outcome = workers.assemble(parent, ended, end)?;
    outcome.start = start;
    outcome.resumed = found.map(|found| found.lease);
    outcome.stats.unread = outcome.known.unread;
    outcome.stats.resumed_ranges = taken.ranges;
    outcome.stats.resumed_records = taken.records;
    Ok(outcome)
}
