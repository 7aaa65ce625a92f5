//! Reading all collections of a source by several workers and joining them with the parent.

use super::{
    Ask, BackupOptions, Resume, Sweep,
    checkpoint::{Checkpoints, Ground},
    counts::{add_stats, check_counts},
    coverage::cover,
    dry::{DryCounts, DryWriter},
    joining::{Joined, is_sweep_due},
    outcomes::TaskOutcomes,
    ranges, resume,
    rolling::{self, outside},
    stack,
};
use crate::{
    connector::{Evidence, KeyGroups, Resumable, SessionEnd, SourceAbilities, SourceCollection, SourceSession},
    layer::{BuiltRange, JoinCounts, Layer, LayerContext, Stack, finish_layer, join::Sets},
    ops::{OpsError, Phase, PhaseKind, Progress, limit::Throttle},
    record::{KeyRange, Timestamp, pause},
    repo::{
        Capability, Checkpoint, ChunkReader, ChunkWriter, Repository, Snapshot, SnapshotId, WriteSession,
        carried::Carried,
        checkpoint::CheckpointOptions,
        manifest::{Collection, Kind, LayerRef, SourceId, Stats},
        session::SessionWriter,
    },
    report::{ErrorKind, Remedy, WarningKind},
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The most problems that a manifest names.
const MAX_PROBLEMS: usize = 100;

/// How often it is said what is waited for.
const TELL_AGAIN: Duration = Duration::from_secs(30);

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
}

/// One collection with what it is joined with.
pub(super) struct CollectionRun<'a> {
    pub(super) found: &'a SourceCollection,
    pub(super) parent: Option<&'a Collection>,
    pub(super) new_base: bool,
    pub(super) ranges: Vec<KeyRange>,
    /// Where deletions are looked for.
    swept: Option<KeyRange>,
    pub(super) stack: OnceLock<Option<Stack>>,
}

/// Why a worker pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paused {
    /// Nothing is left to do.
    ForNothing,
    /// Its packs are to be closed.
    ToClose,
}

/// One range of one collection.
pub(super) struct Task {
    pub(super) job: usize,
    pub(super) range: usize,
}

pub(super) struct Workers<'a> {
    pub(super) repo: &'a Repository,
    pub(super) session: &'a dyn SourceSession,
    pub(super) writing: Option<&'a WriteSession>,
    pub(super) context: LayerContext,
    pub(super) chunks: Arc<dyn ChunkReader>,
    pub(super) parent_end: Timestamp,
    /// When reading began.
    pub(super) start: Timestamp,
    /// Records are counted by it until the end is known: the start, of the first run if this one carries on.
    pub(super) counted_by: Timestamp,
    pub(super) is_exact: bool,
    pub(super) kind: Kind,
    pub(super) options: &'a BackupOptions,
    pub(super) jobs: Vec<CollectionRun<'a>>,
    pub(super) tasks: Vec<Task>,
    pub(super) next: AtomicUsize,
    pub(super) stop: AtomicBool,
    pub(super) outcomes: Mutex<TaskOutcomes>,
    pub(super) checkpoints: Checkpoints,
    pub(super) dry: Mutex<DryCounts>,
    pub(super) throttle: Mutex<Throttle>,
    pub(super) progress: &'a dyn Progress,
}

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
    let workers = Workers {
        repo,
        session,
        writing: run.writing,
        context: LayerContext::new(repo.secrets()),
        chunks,
        parent_end: parent.map_or(Timestamp::default(), |parent| parent.content.end),
        start: session.start(),
        counted_by: found.as_ref().map_or(session.start(), |found| found.counted_by),
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
        Some(ended) => workers.settle(ended)?,
        None => session.start(),
    };
    let mut outcome = workers.assemble(parent, ended, end)?;
    outcome.start = start;
    outcome.resumed = found.map(|found| found.lease);
    outcome.stats.resumed_ranges = taken.ranges;
    outcome.stats.resumed_records = taken.records;
    Ok(outcome)
}

fn plan<'a>(
    session: &'a dyn SourceSession,
    chunks: &Arc<dyn ChunkReader>,
    parent: Option<&'a Snapshot>,
    options: &BackupOptions,
    ground: &Ground,
    progress: &dyn Progress,
    resumed: Option<&Checkpoint>,
) -> Result<Vec<CollectionRun<'a>>, OpsError> {
    let mut jobs = Vec::new();
    for (index, found) in session.collections().iter().enumerate() {
        let parent = parent.and_then(|p| p.collections.iter().find(|c| c.name == found.name && c.codec == found.codec));
        let base = parent.and_then(|parent| parent.stack.first());
        let ranges = if let Some(base) = base {
            Layer::open(chunks, base)?.ranges()
        } else {
            ranges::of_base(session, index, resumed)?
        };
        let wants_new_base = parent.is_some_and(|parent| stack::wants_new_base(&parent.stack));
        if wants_new_base && ground.kind != Kind::Full {
            let words = format!("what changed in {} since its last full backup is more than half of it", found.name);
            progress.warn(WarningKind::BaseAdvised, &*found.name, words);
        }
        let new_base = options.new_base || (wants_new_base && ground.kind == Kind::Full);
        let groups = session.evidence().and_then(|evidence| evidence.groups(index));
        let swept = swept_part(parent, groups, ground);
        jobs.push(CollectionRun { found, parent, new_base, ranges, swept, stack: OnceLock::new() });
    }
    Ok(jobs)
}

/// Where a run looks for what is gone from a collection.
fn swept_part(parent: Option<&Collection>, groups: Option<&dyn KeyGroups>, ground: &Ground) -> Option<KeyRange> {
    match (parent, ground.options.rolling, groups) {
        (Some(_), _, _) if !ground.options.swept => None,
        (Some(parent), Some(count), Some(groups)) if ground.kind != Kind::Full => {
            Some(rolling::due(parent, groups, count))
        }
        _ => Some(KeyRange::all()),
    }
}

impl CollectionRun<'_> {
    /// The part of a range in which deletions are looked for.
    pub(super) fn swept(&self, range: &KeyRange) -> Option<KeyRange> {
        self.swept.as_ref().and_then(|part| range.intersection(part))
    }

    /// The parts of a range in which deletions are not looked for.
    pub(super) fn unswept(&self, range: &KeyRange) -> Vec<KeyRange> {
        self.swept.as_ref().map_or_else(|| vec![range.clone()], |part| outside(range, part))
    }
}

impl Workers<'_> {
    fn run(&self, threads: usize) -> Result<(), OpsError> {
        let threads = threads.min(self.tasks.len()).max(1);
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work())).collect();
            let mut result = Ok(());
            for handle in handles {
                let outcome = handle.join().unwrap_or_else(|_| Err(OpsError::Failed("a worker panicked".to_owned())));
                // The first failure stops the others; theirs then only say that they were stopped.
                if let Err(error) = outcome
                    && (result.is_ok() || result.as_ref().is_err_and(OpsError::is_interruption))
                {
                    result = Err(error);
                }
            }
            result
        })
    }

    /// Does some work while somebody listens for it.
    fn heard<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| self.hear(&done));
            let result = work();
            done.store(true, Ordering::SeqCst);
            watcher.thread().unpark();
            result
        })
    }

    /// Tells the session once somebody asks to stop, and a person what the session waits for: a worker that waits for an
    /// answer does neither.
    fn hear(&self, done: &AtomicBool) {
        let mut told: Option<Instant> = None;
        while !done.load(Ordering::SeqCst) {
            if self.progress.cancelled() {
                return self.session.stop();
            }
            if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN)
                && let Some(text) = self.session.evidence().and_then(Evidence::waits_for)
            {
                self.progress.warn(WarningKind::Waiting, "", text);
                told = Some(Instant::now());
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Reads all ranges, and ends the session if its end has to be known.
    fn read(&self, threads: usize, is_exact: bool) -> Result<Option<SessionEnd>, OpsError> {
        self.heard(|| self.run(threads))?;
        if is_exact {
            return Ok(None);
        }
        while self.outcomes().has_incomplete()
            && self.heard(|| self.session.evidence().is_some_and(Evidence::reads_better_now))
        {
            let ranges = self.outcomes().reopen();
            let words = format!("{ranges} ranges that were not read whole are read again");
            self.progress.warn(WarningKind::DoneAgain, "", words);
            self.next.store(0, Ordering::SeqCst);
            self.heard(|| self.run(threads))?;
        }
        self.checkpoint_if_due()?;
        Ok(Some(self.session.finish()?))
    }

    pub(super) fn outcomes(&self) -> MutexGuard<'_, TaskOutcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Result<(), OpsError> {
        let outcome = match self.writing {
            Some(writing) => self.work_in(writing),
            None => self.take_tasks(&mut DryWriter { workers: self }, &mut Vec::new(), None).map(|_| ()),
        };
        if outcome.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Works until nothing is left to do, and closes packs from time to time, so that a checkpoint may name what is in them.
    fn work_in(&self, writing: &WriteSession) -> Result<(), OpsError> {
        let mut mine = Vec::new();
        loop {
            let opened = Instant::now();
            let mut writer = writing.writer();
            let worked = self.take_tasks(&mut writer, &mut mine, Some(opened));
            let shares = writer.take_shares();
            // Also after a failure: what is in open packs is found again by the next run.
            let finished = writer.finish();
            if finished.is_ok() {
                self.outcomes().close(&mine, shares);
                mine.clear();
            }
            let paused = worked?;
            finished?;
            if paused == Paused::ForNothing {
                return Ok(());
            }
            self.checkpoint_if_due()?;
        }
    }

    fn take_tasks(
        &self,
        writer: &mut dyn ChunkWriter,
        mine: &mut Vec<usize>,
        opened: Option<Instant>,
    ) -> Result<Paused, OpsError> {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = self.tasks.get(number) else { break };
            if self.outcomes().is_done(number) {
                continue;
            }
            if self.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            let outcome = self.join(task, writer)?;
            self.outcomes().finish(number, outcome);
            mine.push(number);
            if opened.is_none() {
                // Nothing is written, so that no pack has to be closed.
                self.outcomes().close(&[number], Vec::new());
            }
            if opened.is_some_and(|opened| self.checkpoints.wants_closed(opened)) {
                return Ok(Paused::ToClose);
            }
        }
        Ok(Paused::ForNothing)
    }

    /// Takes what expired by the end of the run off what was counted by its start; gives that end.
    fn settle(&self, ended: &SessionEnd) -> Result<Timestamp, OpsError> {
        let mut outcomes = self.outcomes();
        let earlier = outcomes.all().filter(|joined| joined.read.earlier).map(|joined| joined.read.end);
        let mut end = earlier.fold(ended.end.max(self.start).max(self.counted_by), Timestamp::max);
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

    pub(super) fn is_stopped(&self) -> bool {
        self.progress.cancelled() || self.stop.load(Ordering::Relaxed)
    }

    /// Holds the read limit over all workers, and still hears that it is to stop.
    pub(super) fn keep_to_limit(&self, bytes: u64) {
        let wait = self.throttle.lock().map_or(Duration::ZERO, |mut throttle| throttle.wait_after(bytes));
        pause(wait, || self.is_stopped());
    }

    pub(super) fn parent_stack<'s>(&self, job: &'s CollectionRun<'_>) -> Result<Option<&'s Stack>, OpsError> {
        if let Some(stack) = job.stack.get() {
            return Ok(stack.as_ref());
        }
        let opened = match job.parent {
            Some(parent) => Some(Stack::open(&self.chunks, &parent.stack)?),
            None => None,
        };
        Ok(job.stack.get_or_init(|| opened).as_ref())
    }

    fn assemble(
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
        };
        let mut writer = match self.writing {
            Some(writing) => Writer::Real(Box::new(writing.writer())),
            None => Writer::Dry(DryWriter { workers: self }),
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
        let stack = self.next_stack(job, new_layer, outcome.end, writer)?;
        add_stats(&mut outcome.stats, &counts);
        Ok(Collection {
            name: name.clone(),
            codec: job.found.codec,
            records: counts.records,
            bytes: counts.bytes,
            coverage: cover(&job.ranges, ranges, job.parent, self.start, outcome.end),
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
        end: Timestamp,
        writer: &mut dyn ChunkWriter,
    ) -> Result<Vec<LayerRef>, OpsError> {
        let Some(parent) = job.parent.filter(|_| !job.new_base) else { return Ok(new_layer.into_iter().collect()) };
        let Some(new_layer) = new_layer else { return Ok(parent.stack.clone()) };
        let mut stack = parent.stack.clone();
        // Who may not read values cannot merge them: the stack grows until somebody who may comes by, or a new base.
        if self.writing.is_some() && self.repo.role().has(Capability::ReadValues) {
            stack = stack::make_room(&self.context, &self.chunks, writer, &job.ranges, stack, end)?;
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
