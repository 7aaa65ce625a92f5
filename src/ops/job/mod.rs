//! Verbs as jobs: any verb on threads of its own, with a handle at once. How far it is shows in numbers and types; it can be
//! cancelled, waited for, and watched from as many threads as like. Any number of jobs may run at once in one process on one
//! repository: they share its catalog, the memory of its open packs and its uploads.
//!
//! ```no_run
//! use rekeep::ops::{OpsError, backup::BackupOptions, job};
//! use std::time::Duration;
//!
//! fn watched(repo: &rekeep::repo::Repository, source: Box<dyn rekeep::connector::Source>) -> Result<(), OpsError> {
//!     let job = job::backup(repo, source, BackupOptions::default())?;
//!     let watch = job.watch();
//!     while !watch.wait_for_end(Duration::from_secs(1)) {
//!         let standing = watch.standing();
//!         println!("{} records so far, {} warnings", standing.all_records, standing.warnings);
//!     }
//!     println!("snapshot {:?}", job.wait()?.id);
//!     Ok(())
//! }
//! ```
//!
//! A verb that has no function here is started by [`Job::start`], which takes any work that reports to a [`Progress`].

mod shared;

pub use shared::{JobState, JobWatch, MAX_WARNINGS, Standing};

use super::{
    OpsError, Progress,
    backup::{self, BackupOptions, BackupOutcome},
    forget::{self, ForgetOutcome, ForgetPlan},
    prune::{self, PruneOptions, PruneOutcome},
    restore::{self, RestoreOptions, RestoreOutcome},
    verify::{self, VerifyOptions, VerifyOutcome},
};
use crate::{
    connector::{Source, Target},
    repo::{Repository, Snapshot},
    report::ErrorKind,
};
use shared::Shared;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

/// A running verb. Dropping it leaves the verb running; [`JobWatch::cancel`] stops it.
pub struct Job<T> {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<T, OpsError>>,
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.watch().fmt(f)
    }
}

impl<T: Send + 'static> Job<T> {
    /// Starts work under a name, such as the verb's.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the system gives no thread.
    pub fn start(
        name: &'static str,
        work: impl FnOnce(&dyn Progress) -> Result<T, OpsError> + Send + 'static,
    ) -> Result<Self, OpsError> {
        Self::spawn(Shared::new(name, None), work)
    }

    /// [`Self::start`], with someone who hears all that the verb tells, and who may cancel it too.
    pub fn start_heard(
        name: &'static str,
        listener: Arc<dyn Progress>,
        work: impl FnOnce(&dyn Progress) -> Result<T, OpsError> + Send + 'static,
    ) -> Result<Self, OpsError> {
        Self::spawn(Shared::new(name, Some(listener)), work)
    }

    fn spawn(
        shared: Shared,
        work: impl FnOnce(&dyn Progress) -> Result<T, OpsError> + Send + 'static,
    ) -> Result<Self, OpsError> {
        let shared = Arc::new(shared);
        let inside = Arc::clone(&shared);
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(inside.as_ref()))).unwrap_or_else(|_| Err(panicked()));
            inside.end(outcome.as_ref().err());
            outcome
        };
        let thread = Builder::new().name(format!("job {}", shared.name())).spawn(run);
        let thread =
            thread.map_err(|error| OpsError::refused(ErrorKind::Internal, format!("no thread for a job: {error}")))?;
        Ok(Self { shared, thread })
    }

    /// Waits until it is over; gives what it came to.
    pub fn wait(self) -> Result<T, OpsError> {
        self.thread.join().unwrap_or_else(|_| Err(panicked()))
    }
}

impl<T> Job<T> {
    /// Something to look at it and to stop it with, which may be handed around and outlives it.
    #[must_use]
    pub fn watch(&self) -> JobWatch {
        JobWatch { shared: Arc::clone(&self.shared) }
    }
}

fn panicked() -> OpsError {
    OpsError::refused(ErrorKind::Internal, "the job panicked: this is a defect")
}

/// Starts a [`backup()`](backup::backup).
pub fn backup(
    repo: &Repository,
    source: Box<dyn Source>,
    options: BackupOptions,
) -> Result<Job<BackupOutcome>, OpsError> {
    let repo = repo.clone();
    Job::start("backup", move |progress| backup::backup(&repo, source.as_ref(), &options, progress))
}

/// Starts a [`restore()`](restore::restore).
pub fn restore(
    repo: &Repository,
    snapshot: Snapshot,
    target: Box<dyn Target>,
    options: RestoreOptions,
) -> Result<Job<RestoreOutcome>, OpsError> {
    let repo = repo.clone();
    Job::start("restore", move |progress| restore::restore(&repo, &snapshot, target.as_ref(), &options, progress))
}

/// Starts a [`verify()`](verify::verify).
pub fn verify(
    repo: &Repository,
    snapshots: Vec<Snapshot>,
    options: VerifyOptions,
) -> Result<Job<VerifyOutcome>, OpsError> {
    let repo = repo.clone();
    Job::start("verify", move |progress| verify::verify(&repo, &snapshots, &options, progress))
}

/// Starts carrying out what [`plan_policy`](forget::plan_policy) or [`plan_named`](forget::plan_named) decided.
pub fn forget(repo: &Repository, plan: ForgetPlan) -> Result<Job<ForgetOutcome>, OpsError> {
    let repo = repo.clone();
    Job::start("forget", move |progress| forget::execute(&repo, plan, progress))
}

/// Starts a [`prune()`](prune::prune).
pub fn prune(repo: &Repository, options: PruneOptions) -> Result<Job<PruneOutcome>, OpsError> {
    let repo = repo.clone();
    Job::start("prune", move |progress| prune::prune(&repo, &options, progress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops::{Phase, PhaseKind},
        report::WarningKind,
    };
    use std::{sync::mpsc, time::Duration};

    #[test]
    fn a_job_tells_its_state_its_numbers_and_its_warnings() {
        let (go, wait) = mpsc::channel::<()>();
        let (told, hear) = mpsc::channel::<()>();
        let job = Job::start("test", move |progress| {
            progress.phase(&Phase::new(PhaseKind::Reading, 10, 0));
            progress.count(3, 30);
            progress.warn(WarningKind::Note, "x", "a note");
            told.send(()).unwrap();
            wait.recv().unwrap();
            progress.phase(&Phase::new(PhaseKind::Deleting, 0, 0));
            progress.count(2, 0);
            Ok(7)
        })
        .unwrap();
        let watch = job.watch();
        hear.recv().unwrap();
        assert_eq!((watch.name(), watch.state()), ("test", JobState::Running));
        let standing = watch.standing();
        assert_eq!((standing.records, standing.bytes, standing.warnings), (3, 30, 1));
        // It waits here, and what stands still is told.
        let still = || watch.standing().still;
        while still() <= standing.still {
            std::thread::yield_now();
        }
        assert_eq!(standing.phase.as_ref().unwrap().kind, PhaseKind::Reading);
        go.send(()).unwrap();
        assert_eq!(job.wait().unwrap(), 7);
        assert_eq!(watch.state(), JobState::Done);
        let standing = watch.standing();
        assert_eq!((standing.records, standing.all_records, standing.all_bytes, standing.phases), (2, 5, 30, 2));
        assert_eq!(standing.warnings_by_kind[&WarningKind::Note], 1);
        assert_eq!(watch.warnings(0)[0].object, "x");
        assert!(watch.warnings(1).is_empty() && watch.wait_for_end(Duration::ZERO));
    }

    #[test]
    fn a_cancelled_a_failed_and_a_panicking_job_say_so() {
        let job = Job::<()>::start("test", |progress| {
            while !progress.cancelled() {
                std::thread::yield_now();
            }
            Err(OpsError::Interrupted)
        })
        .unwrap();
        let watch = job.watch();
        watch.cancel();
        assert!(job.wait().unwrap_err().is_interruption());
        assert_eq!(watch.state(), JobState::Cancelled);

        let job = Job::<()>::start("test", |_| Err(OpsError::Usage("no".to_owned()))).unwrap();
        let watch = job.watch();
        assert!(job.wait().is_err());
        assert_eq!(watch.state(), JobState::Failed(ErrorKind::InvalidInput));

        let job = Job::<()>::start("test", |_| panic!("on purpose")).unwrap();
        assert_eq!(job.wait().unwrap_err().kind(), ErrorKind::Internal);
    }
}
