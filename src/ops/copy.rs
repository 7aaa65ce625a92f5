//! `copy`: streams a source into a target without a repository between them, in whatever order records come; carries on
//! behind what an earlier run finished.

mod state;

pub use state::State;

use super::{OpsError, Phase, PhaseKind, Progress, hearing::hearing, limit::Throttle};
use crate::{
    connector::{
        CollectionTarget, Outcomes, Overwrite, SessionOptions, Source, SourceSession, Target, TargetCollection,
        TargetPlan,
    },
    ops::restore::passing_on,
    record::{KeyRange, RecordBatch, RecordStream},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Batches that wait for the writer.
const MAX_WAITING: usize = 4;
/// How long a reader or the writer waits before it looks whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// How often what is finished is noted.
const NOTE_AFTER: Duration = Duration::from_mins(1);
/// Ranges that a collection is read in for each thread: what is under way when a run is stopped is read again.
const RANGES_OF_THREAD: usize = 16;

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Threads that read.
    pub parallel: usize,
    /// What happens to records that the target holds.
    pub overwrite: Overwrite,
    /// `(name in the source, name in the target)`; others keep theirs.
    pub renames: Vec<(String, String)>,
    /// The collection that the source is to show, and no other.
    pub only: Option<String>,
    /// Where it is noted what is finished; removed when all is.
    pub state_file: Option<PathBuf>,
    /// Carry on behind what that file says.
    pub go_on: bool,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// Where temporary files go.
    pub temp_dir: Option<PathBuf>,
    /// Read in the order of keys, each record once, whatever that costs the source; as they come by default.
    pub in_order: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            parallel: 1,
            overwrite: Overwrite::Always,
            renames: Vec::new(),
            only: None,
            state_file: None,
            go_on: false,
            bandwidth: None,
            temp_dir: None,
            in_order: false,
        }
    }
}

/// What a copy did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CopyOutcome {
    /// Records that were read.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What became of them.
    pub outcomes: Outcomes,
    /// What is not there, in words.
    pub missing: Vec<String>,
    /// What a person should know though nothing is missing.
    pub notes: Vec<String>,
    /// Whether everything is there.
    pub complete: bool,
    /// Parts that an earlier run had finished.
    pub resumed_parts: usize,
    /// How long it took.
    pub duration_seconds: f64,
    /// How much the target has of what the source has beside records, by kind.
    #[serde(skip)]
    pub made: BTreeMap<&'static str, u64>,
}

/// Copies what a source shows into a target.
///
/// # Errors
/// [`OpsError`]; what is finished then stands in the state file, if there is one.
pub fn copy(
    source: &dyn Source,
    target: &dyn Target,
    options: &CopyOptions,
    progress: &dyn Progress,
) -> Result<CopyOutcome, OpsError> {
    let copy = || hearing(source, progress, || copy_to(source, target, options, progress));
    let copied = passing_on(target, progress, copy);
    copied.map_err(|error| if progress.cancelled() { OpsError::Interrupted } else { error })
}

fn copy_to(
    source: &dyn Source,
    target: &dyn Target,
    options: &CopyOptions,
    progress: &dyn Progress,
) -> Result<CopyOutcome, OpsError> {
    let began = Instant::now();
    let session = source.begin(&SessionOptions {
        parallel: options.parallel.max(1),
        temp_dir: options.temp_dir.clone(),
        unordered: !options.in_order,
        ..SessionOptions::default()
    })?;
    if let Some(only) = &options.only
        && let Some(other) = session.collections().iter().find(|found| found.name != *only)
    {
        return Err(OpsError::Usage(format!("the source is of `{}`, and `{only}` was asked for", other.name)));
    }
    let plan = plan(source, session.as_ref(), options);
    let what = format!("{} {} {}", source.identity().connector, source.identity().name, source.scope().canonical);
    let mut state = State::open(options.state_file.as_deref(), options.go_on, &what)?;
    if let Some(resumable) = session.resumable() {
        state.meet(resumable)?;
    }
    let mut outcome = CopyOutcome { resumed_parts: state.len(), ..CopyOutcome::default() };
    target.rehearse(&plan)?;
    let mut writing = target.begin(&plan)?;
    progress.phase(&Phase {
        kind: PhaseKind::Restoring,
        object: String::new(),
        records: session.collections().iter().map(|found| found.estimated_records).sum(),
        bytes: session.collections().iter().map(|found| found.estimated_bytes).sum(),
    });
    let mut throttle = Throttle::new(options.bandwidth);
    for at in 0..plan.collections.len() {
        let parts = parts(session.as_ref(), at, options.parallel)?;
        let mut writer = writing.open(at)?;
        let mut run = Run {
            session: session.as_ref(),
            collection: at,
            parts: &parts,
            state: &mut state,
            outcome: &mut outcome,
            throttle: &mut throttle,
            progress,
            threads: options.parallel.clamp(1, session.readers().max(1)),
        };
        let copied = run.copy(writer.as_mut());
        if copied.is_err() {
            // What was handed over is made durable, and noted; the first error is told.
            let _ = writer.drain(&mut outcome.outcomes).map(|()| state.save());
        }
        copied?;
        writer.drain(&mut outcome.outcomes)?;
        let lost = writer.lost()?;
        if !lost.is_empty() {
            outcome.missing.push(format!(
                "{}: nodes lost records that they had acknowledged: write all of it again",
                plan.collections[at].name
            ));
        }
        writer.settle(&mut outcome.outcomes)?;
        writer.finish()?;
    }
    let end = writing.finish()?;
    let read = session.finish()?;
    outcome.made = end.made;
    outcome.missing.extend(read.missing.into_iter().chain(end.missing));
    outcome.notes.extend(read.notes.into_iter().chain(end.notes));
    outcome.notes.append(&mut outcome.outcomes.notes);
    outcome.complete = outcome.missing.is_empty() && outcome.outcomes.failed == 0 && outcome.outcomes.unmappable == 0;
    outcome.duration_seconds = began.elapsed().as_secs_f64();
    if outcome.complete {
        state.remove()?;
    } else {
        state.save()?;
    }
    Ok(outcome)
}

fn plan(source: &dyn Source, session: &dyn SourceSession, options: &CopyOptions) -> TargetPlan {
    let renamed = |name: &String| {
        let new = options.renames.iter().find(|(old, _)| old == name).map(|(_, new)| new.clone());
        new.unwrap_or_else(|| name.clone())
    };
    let collections = session.collections().iter().map(|found| TargetCollection {
        name: renamed(&found.name),
        source_name: found.name.clone(),
        codec: found.codec,
        attributes: found.attributes.clone(),
        records: found.estimated_records,
    });
    TargetPlan {
        connector: source.identity().connector.to_owned(),
        attributes: session.attributes(),
        collections: collections.collect(),
        overwrite: options.overwrite,
        make_equal: false,
        partial: false,
        leave_alone: Vec::new(),
        repository: None,
        left_out: Some(source.scope().asked).filter(|asked| !asked.is_everything()),
        snapshot: None,
        as_of: session.start(),
        parallel: 1,
    }
}

/// A part of a collection that is read at once.
enum Part {
    Range(KeyRange),
    Number(usize, String),
}

impl Part {
    /// What it is called in the state file.
    fn name(&self) -> String {
        match self {
            Self::Range(range) => {
                let hex = |key: &[u8]| data_encoding::HEXLOWER.encode(key);
                format!("{}-{}", hex(&range.start), range.end.as_deref().map(hex).unwrap_or_default())
            }
            Self::Number(_, name) => name.clone(),
        }
    }
}

fn parts(session: &dyn SourceSession, collection: usize, threads: usize) -> Result<Vec<Part>, OpsError> {
    if let Some(unordered) = session.unordered() {
        return Ok((0..unordered.parts()).map(|part| Part::Number(part, unordered.name(part))).collect());
    }
    // The same for every number of threads, so that a run with another one may carry on.
    let splits = session.splits(collection, RANGES_OF_THREAD * threads.max(16))?;
    Ok(KeyRange::between(&splits).into_iter().map(Part::Range).collect())
}

/// What a reader hands over.
enum Handed {
    Batch(RecordBatch),
    /// A part is at its end; not to be relied on if something of it was not read.
    End {
        part: usize,
        whole: bool,
    },
    Failed(OpsError),
}

struct Run<'a> {
    session: &'a dyn SourceSession,
    collection: usize,
    parts: &'a [Part],
    state: &'a mut State,
    outcome: &'a mut CopyOutcome,
    throttle: &'a mut Throttle,
    progress: &'a dyn Progress,
    threads: usize,
}

impl Run<'_> {
    fn copy(&mut self, writer: &mut dyn CollectionTarget) -> Result<(), OpsError> {
        let names: Vec<String> = self.parts.iter().map(|part| format!("{}/{}", self.collection, part.name())).collect();
        let wanted: Vec<usize> = (0..self.parts.len()).filter(|at| !self.state.is_done(&names[*at])).collect();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, receiver) = bounded::<Handed>(MAX_WAITING);
        let (session, collection, parts, threads) = (self.session, self.collection, self.parts, self.threads);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(wanted.len()).max(1) {
                let (sender, wanted, next, stop) = (sender.clone(), &wanted, &next, &stop);
                scope.spawn(move || {
                    let reader = Reader { session, collection, parts, sender, stop };
                    reader.work(wanted, next);
                });
            }
            drop(sender);
            // Let go in this order, also by a panic: those that read, then those that wait to hand something over.
            let receiver = receiver;
            let mut readers = Readers { session, stop: &stop, is_over: false };
            self.write(writer, &receiver, &names)?;
            readers.is_over = true;
            Ok(())
        })
    }

    fn write(
        &mut self,
        writer: &mut dyn CollectionTarget,
        receiver: &Receiver<Handed>,
        names: &[String],
    ) -> Result<(), OpsError> {
        let mut noted = Instant::now();
        loop {
            if self.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            let handed = match receiver.recv_timeout(LOOK_AROUND) {
                Ok(handed) => handed,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            match handed {
                Handed::Failed(error) => return Err(error),
                Handed::End { part, whole } => {
                    if whole {
                        self.state.done(&names[part]);
                    }
                    if self.state.is_kept() && noted.elapsed() >= NOTE_AFTER {
                        writer.drain(&mut self.outcome.outcomes)?;
                        self.state.save()?;
                        noted = Instant::now();
                    }
                }
                Handed::Batch(mut batch) => {
                    let (records, bytes) = (batch.len() as u64, batch.bytes() as u64);
                    writer.write(&mut batch, &mut self.outcome.outcomes)?;
                    self.outcome.records += records;
                    self.outcome.bytes += bytes;
                    self.progress.count(records, bytes);
                    let progress = self.progress;
                    self.throttle.spend_unless(bytes, &|| progress.cancelled());
                }
            }
        }
    }
}

/// Readers that are of no use any more when this is dropped.
struct Readers<'a> {
    session: &'a dyn SourceSession,
    stop: &'a AtomicBool,
    /// Whether all was read.
    is_over: bool,
}

impl Drop for Readers<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if !self.is_over {
            self.session.stop();
        }
    }
}

struct Reader<'a> {
    session: &'a dyn SourceSession,
    collection: usize,
    parts: &'a [Part],
    sender: Sender<Handed>,
    stop: &'a AtomicBool,
}

impl Reader<'_> {
    fn work(&self, wanted: &[usize], next: &AtomicUsize) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(part) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            match self.read(*part) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // Nobody listens to a reader that was let go.
                    let _ = self.sender.send(Handed::Failed(error));
                    return;
                }
            }
        }
    }

    /// Reads a part; `false` if nobody wants it any more.
    fn read(&self, part: usize) -> Result<bool, OpsError> {
        let mut stream: Box<dyn RecordStream + '_> = match (&self.parts[part], self.session.unordered()) {
            (Part::Number(number, _), Some(unordered)) => unordered.read_part(self.collection, *number)?,
            (Part::Range(range), _) => self.session.read(self.collection, range)?,
            (Part::Number(..), None) => return Err(OpsError::Failed("a source lost its parts".to_owned())),
        };
        let mut whole = true;
        loop {
            let mut batch = RecordBatch::new();
            let more = stream.next_batch(&mut batch).map_err(|error| OpsError::Failed(error.to_string()))?;
            while stream.unread().is_some() {
                whole = false;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if !batch.is_empty() && self.sender.send(Handed::Batch(batch)).is_err() {
                return Ok(false);
            }
            if !more {
                // What moved while a range was read is told at the end, and the range is not finished.
                if let (Part::Range(range), Some(evidence)) = (&self.parts[part], self.session.evidence()) {
                    whole &= evidence.part_end(self.collection, range)?.complete;
                }
                return Ok(self.sender.send(Handed::End { part, whole }).is_ok());
            }
        }
    }
}
