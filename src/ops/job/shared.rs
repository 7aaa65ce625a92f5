//! What a job and those who watch it share.

use crate::{
    ops::{OpsError, Phase, Progress},
    report::{ErrorKind, Warning, WarningKind},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Warnings that a job keeps word for word; more are only counted.
pub const MAX_WARNINGS: usize = 1000;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// At work.
    Running,
    /// Asked to stop, and not there yet.
    Cancelling,
    /// Over: there is an outcome.
    Done,
    /// Over: it was stopped.
    Cancelled,
    /// Over: it failed.
    Failed(ErrorKind),
}

impl JobState {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Running | Self::Cancelling)
    }
}

/// A job's progress in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it is doing; `None` before its first phase.
    pub phase: Option<Phase>,
    /// Phases that have begun.
    pub phases: u64,
    /// Records done in this phase.
    pub records: u64,
    /// Bytes done in this phase.
    pub bytes: u64,
    /// Records done in all phases.
    pub all_records: u64,
    /// Bytes done in all phases.
    pub all_bytes: u64,
    /// Warnings so far.
    pub warnings: u64,
    /// The same by what they are about.
    pub warnings_by_kind: BTreeMap<WarningKind, u64>,
    /// How long it has run, or ran.
    pub running: Duration,
    /// How long nothing was counted and no phase began, up to now or to its end.
    pub still: Duration,
}

#[derive(Default)]
struct Told {
    standing: Standing,
    warnings: Vec<Warning>,
    end: Option<JobState>,
}

pub(super) struct Shared {
    name: &'static str,
    began: Instant,
    records: AtomicU64,
    bytes: AtomicU64,
    /// When something was counted last, in milliseconds since it began.
    moved: AtomicU64,
    cancel: AtomicBool,
    told: Mutex<Told>,
    ended: Condvar,
    /// Hears everything too, and may cancel.
    listener: Option<Arc<dyn Progress>>,
}

impl Shared {
    pub(super) fn new(name: &'static str, listener: Option<Arc<dyn Progress>>) -> Self {
        Self {
            name,
            began: Instant::now(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            cancel: AtomicBool::new(false),
            told: Mutex::default(),
            ended: Condvar::new(),
            listener,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was counted since to the numbers of the phase.
    fn settle(&self, standing: &mut Standing) {
        let (records, bytes) = (self.records.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed));
        standing.records += records;
        standing.bytes += bytes;
        standing.all_records += records;
        standing.all_bytes += bytes;
    }

    fn moves(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.fetch_max(millis, Ordering::Relaxed);
    }

    fn take_time(&self, standing: &mut Standing) {
        standing.running = self.began.elapsed();
        standing.still = standing.running.saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed)));
    }

    pub(super) fn end(&self, error: Option<&OpsError>) {
        let mut told = self.told();
        self.settle(&mut told.standing);
        self.take_time(&mut told.standing);
        told.end = Some(match error {
            None => JobState::Done,
            Some(error) if error.is_interruption() => JobState::Cancelled,
            Some(error) => JobState::Failed(error.kind()),
        });
        drop(told);
        self.ended.notify_all();
    }
}

impl Progress for Shared {
    fn phase(&self, phase: &Phase) {
        self.moves();
        let mut told = self.told();
        self.settle(&mut told.standing);
        told.standing.phase = Some(phase.clone());
        told.standing.phases += 1;
        (told.standing.records, told.standing.bytes) = (0, 0);
        drop(told);
        if let Some(listener) = &self.listener {
            listener.phase(phase);
        }
    }

    fn count(&self, records: u64, bytes: u64) {
        // That it waits is counted, too, by nothing.
        if records > 0 || bytes > 0 {
            self.moves();
        }
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(listener) = &self.listener {
            listener.count(records, bytes);
        }
    }

    fn warning(&self, warning: &Warning) {
        let mut told = self.told();
        told.standing.warnings += 1;
        *told.standing.warnings_by_kind.entry(warning.kind).or_default() += 1;
        if told.warnings.len() < MAX_WARNINGS {
            told.warnings.push(warning.clone());
        }
        drop(told);
        if let Some(listener) = &self.listener {
            listener.warning(warning);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || self.listener.as_ref().is_some_and(|listener| listener.cancelled())
    }
}

/// Looks at a job, and may stop it. Cheap to clone; outlives the job.
#[derive(Clone)]
pub struct JobWatch {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for JobWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobWatch").field("name", &self.name()).field("state", &self.state()).finish()
    }
}

impl JobWatch {
    /// What runs, as it was named when it was started.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> JobState {
        let end = self.shared.told().end;
        end.unwrap_or(if self.shared.cancelled() { JobState::Cancelling } else { JobState::Running })
    }

    /// Its progress in numbers.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut told = self.shared.told();
        if told.end.is_none() {
            self.shared.settle(&mut told.standing);
            self.shared.take_time(&mut told.standing);
        }
        told.standing.clone()
    }

    /// Its warnings, without the first `skip`. At most [`MAX_WARNINGS`] are kept; [`Standing::warnings`] counts all.
    #[must_use]
    pub fn warnings(&self, skip: usize) -> Vec<Warning> {
        self.shared.told().warnings.iter().skip(skip).cloned().collect()
    }

    /// Asks it to stop where that is safe; what was committed by then stays.
    pub fn cancel(&self) {
        self.shared.cancel.store(true, Ordering::Relaxed);
    }

    /// Waits until it is over, but no longer than this; gives whether it is.
    pub fn wait_for_end(&self, at_most: Duration) -> bool {
        let until = Instant::now().checked_add(at_most);
        let mut told = self.shared.told();
        while told.end.is_none() {
            let rest = until.map_or(Duration::from_hours(1), |until| until.saturating_duration_since(Instant::now()));
            if rest.is_zero() {
                return false;
            }
            told = self.shared.ended.wait_timeout(told, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
