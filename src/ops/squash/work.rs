//! Writing the merged layers of a plan by several workers, and reading them back.

use super::plan::{MergeOf, PlannedMerge};
use crate::report::{Trouble, TroubleKind};
use crate::{
    layer::{
        BuiltRange, Layer, LayerContext, LayerError, MergeKind, RowTotals, Stack, StateTotals, finish_layer,
        merge_journals, merge_range, merge_state, read_totals,
    },
    ops::{OpsError, Progress, crew::Crew},
    record::KeyRange,
    repo::{ChunkReader, RepoError, Repository, SessionWriter, WriteSession, manifest::LayerRef},
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The most layers above a base that are looked into for inherited rows: as many as a stack may have. With more, rows
/// that are over stay.
const MAX_ABOVE: usize = 24;

/// What became of one merge.
pub(super) enum Merged {
    /// The layer; `None` if nothing is left.
    Layer(Option<LayerRef>),
    /// What is wrong with it: it must not be used.
    Wrong(Trouble),
}

/// A merge at work.
struct MergeJob<'a> {
    plan: &'a PlannedMerge,
    ranges: Vec<KeyRange>,
    opened: OnceLock<Opened>,
    /// Why it cannot be done: a layer is damaged.
    wrong: OnceLock<Trouble>,
}

struct Opened {
    stack: Stack,
    above: Stack,
}

/// Workers over all ranges of all merges.
struct MergeWorkers<'a> {
    context: LayerContext,
    chunks: Arc<dyn ChunkReader>,
    jobs: Vec<MergeJob<'a>>,
    tasks: Vec<(usize, usize)>,
    threads: usize,
    progress: &'a dyn Progress,
}

impl<'a> MergeWorkers<'a> {
    fn new(
        repo: &Repository,
        merges: &'a [PlannedMerge],
        threads: usize,
        progress: &'a dyn Progress,
    ) -> Result<Self, OpsError> {
        let chunks = repo.chunks();
        let mut jobs = Vec::with_capacity(merges.len());
        for plan in merges {
            // The deltas of a stack are cut where its base is.
            let first = plan.layers.first().filter(|first| !is_state(plan) || !first.journal);
            let ranges = first.map(|first| Ok(Layer::open(&chunks, first)?.ranges()));
            let wrong = OnceLock::new();
            let ranges = match ranges.transpose() {
                Ok(ranges) => ranges.unwrap_or_else(|| vec![KeyRange::all()]),
                Err(error) => {
                    let _ = wrong.set(damage(error)?);
                    Vec::new()
                }
            };
            jobs.push(MergeJob { plan, ranges, opened: OnceLock::new(), wrong });
        }
        let tasks = jobs.iter().enumerate().flat_map(|(at, job)| (0..job.ranges.len()).map(move |range| (at, range)));
        let tasks = tasks.collect();
        let context = LayerContext::new(repo.secrets());
        Ok(Self { context, chunks, jobs, tasks, threads, progress })
    }

    fn crew(&self) -> Crew<'a> {
        Crew::new(self.threads, self.progress)
    }

    /// Counts what was done, and says whether to go on.
    fn report(&self, crew: &Crew<'_>, rows: u64, bytes: u64) -> bool {
        self.progress.count(rows, bytes);
        !crew.is_stopped()
    }

    fn opened<'j>(&self, job: &'j MergeJob<'_>) -> Result<&'j Opened, LayerError> {
        if let Some(opened) = job.opened.get() {
            return Ok(opened);
        }
        let above = match &job.plan.of {
            MergeOf::Base { above, .. } if above.len() <= MAX_ABOVE => Stack::open(&self.chunks, above)?,
            _ => Stack::default(),
        };
        let opened = Opened { stack: Stack::open(&self.chunks, &job.plan.layers)?, above };
        Ok(job.opened.get_or_init(|| opened))
    }

    fn merge(
        &self,
        crew: &Crew<'_>,
        job: &MergeJob<'_>,
        range: usize,
        writer: &mut SessionWriter,
    ) -> Result<(BuiltRange, RowTotals), LayerError> {
        let opened = self.opened(job)?;
        let report = |rows, bytes| self.report(crew, rows, bytes);
        let kind = match &job.plan.of {
            MergeOf::Stream { at } => {
                return merge_state(&self.context, &opened.stack, *at, &job.ranges[range], writer, &report);
            }
            MergeOf::Deltas => MergeKind::Deltas,
            MergeOf::Base { at, above, .. } => {
                MergeKind::Base { at: (above.len() <= MAX_ABOVE).then_some(*at), above: &opened.above }
            }
        };
        if opened.stack.layers().iter().all(Layer::is_journal) {
            let (keep, range) = (job.plan.keep.as_ref(), &job.ranges[range]);
            return merge_journals(&self.context, &opened.stack, keep, range, writer, &report);
        }
        merge_range(&self.context, &opened.stack, kind, &job.ranges[range], writer, &report)
    }
}

/// Whether a base is made of what journals show: those are cut by version keys, and a base by keys.
const fn is_state(plan: &PlannedMerge) -> bool {
    matches!(plan.of, MergeOf::Stream { .. })
}

fn trouble(error: LayerError) -> Trouble {
    OpsError::from(error).trouble()
}

/// What is wrong with layers; an error that does not lie in them is passed on.
fn damage(error: LayerError) -> Result<Trouble, OpsError> {
    match error {
        LayerError::Repo(RepoError::Damaged { .. } | RepoError::Missing { .. } | RepoError::ChunkMissing { .. })
        | LayerError::Damaged { .. }
        | LayerError::Inconsistent { .. }
        | LayerError::Unknown { .. } => Ok(trouble(error)),
        error => Err(error.into()),
    }
}

/// A range as it was written.
type Written = (BuiltRange, RowTotals);

/// Writes every merged layer. Stored and indexed when this returns.
pub(super) fn run(
    repo: &Repository,
    session: &WriteSession,
    merges: &[PlannedMerge],
    threads: usize,
    progress: &dyn Progress,
) -> Result<Vec<Merged>, OpsError> {
    let workers = MergeWorkers::new(repo, merges, threads, progress)?;
    let crew = workers.crew();
    let written = crew.map(
        &workers.tasks,
        || session.writer(),
        |writer, &(job, range)| {
            let job = &workers.jobs[job];
            if job.wrong.get().is_some() {
                return Ok(None);
            }
            match workers.merge(&crew, job, range, writer) {
                Ok(done) => Ok(Some(done)),
                Err(error) => {
                    drop(job.wrong.set(damage(error)?));
                    Ok(None)
                }
            }
        },
        |writer| Ok(writer.finish()?),
    )?;
    let mut parts = written.into_iter();
    let mut layers: Vec<(Option<LayerRef>, RowTotals)> = Vec::with_capacity(merges.len());
    let mut writer = session.writer();
    for job in &workers.jobs {
        let parts: Vec<Option<Written>> = parts.by_ref().take(job.ranges.len()).collect();
        if job.wrong.get().is_some() {
            layers.push((None, RowTotals::default()));
            continue;
        }
        let parts: Option<Vec<Written>> = parts.into_iter().collect();
        let parts = parts.ok_or_else(|| OpsError::Failed("a range was not merged".to_owned()))?;
        let mut totals = RowTotals::default();
        let mut built = Vec::with_capacity(parts.len());
        for (range, (part, rows)) in job.ranges.iter().zip(parts) {
            totals.add(&rows);
            built.push((range.clone(), part));
        }
        layers.push((finish_layer(&workers.context, &mut writer, &built)?, totals));
    }
    writer.finish()?;
    session.flush()?;
    check(&workers, &layers)
}

/// Reads back what was written and compares it with what was read before.
fn check(workers: &MergeWorkers<'_>, layers: &[(Option<LayerRef>, RowTotals)]) -> Result<Vec<Merged>, OpsError> {
    let opened: Vec<Result<Option<Layer>, LayerError>> = layers
        .iter()
        .map(|(layer, _)| layer.as_ref().map(|layer| Layer::open(&workers.chunks, layer)).transpose())
        .collect();
    let found: Mutex<Vec<Result<(RowTotals, StateTotals), Trouble>>> =
        Mutex::new(vec![Ok(Default::default()); layers.len()]);
    let crew = workers.crew();
    let read_back = |&(merge, range): &(usize, usize)| {
        let (job, Ok(Some(layer))) = (&workers.jobs[merge], &opened[merge]) else { return Ok(()) };
        let at = match &job.plan.of {
            MergeOf::Base { witness, .. } => Some(witness.end),
            MergeOf::Stream { at } => Some(*at),
            MergeOf::Deltas => None,
        };
        let report = |_, _| !crew.is_stopped();
        let read = match read_totals(&workers.context, layer, &job.ranges[range], at, &report) {
            Err(LayerError::Repo(RepoError::Interrupted)) => return Err(OpsError::Interrupted),
            read => read,
        };
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = &mut found[merge];
        match (read, sum) {
            (Ok((rows, state)), Ok(sum)) => {
                sum.0.add(&rows);
                sum.1.add(&state);
            }
            (Err(error), sum @ Ok(_)) => *sum = Err(trouble(error)),
            (_, Err(_)) => {}
        }
        Ok(())
    };
    crew.each(workers.tasks.iter(), || (), |(), task| read_back(task), |()| Ok(()))?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let verdict =
        |((job, opened), ((layer, expected), found)): ((&MergeJob<'_>, _), (&(Option<LayerRef>, RowTotals), _))| {
            match job.wrong.get().map_or_else(|| judge(job.plan, opened, expected, found), |wrong| Err(wrong.clone())) {
                Ok(()) => Merged::Layer(layer.clone()),
                Err(reason) => Merged::Wrong(reason),
            }
        };
    Ok(workers.jobs.iter().zip(opened).zip(layers.iter().zip(found)).map(verdict).collect())
}

fn judge(
    plan: &PlannedMerge,
    opened: Result<Option<Layer>, LayerError>,
    expected: &RowTotals,
    found: Result<(RowTotals, StateTotals), Trouble>,
) -> Result<(), Trouble> {
    opened.map_err(trouble)?;
    let differs = |words| Trouble::new(TroubleKind::Damaged, "", words);
    let (rows, state) = found?;
    if rows != *expected {
        return Err(differs(format!(
            "it holds {} rows with {} tombstones, {} with {} were merged, or their hashes differ",
            rows.rows, rows.tombstones, expected.rows, expected.tombstones
        )));
    }
    if let MergeOf::Base { witness, .. } = &plan.of
        && (state.records != witness.records || state.sum.to_hex() != witness.sum)
    {
        return Err(differs(format!(
            "it shows {} records of snapshot {}, which has {}, or other ones: a test restore tells more",
            state.records,
            witness.snapshot.short(),
            witness.records
        )));
    }
    Ok(())
}
