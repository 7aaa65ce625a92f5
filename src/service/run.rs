//! One job from its beginning to its end: tries, hooks, what is kept of it, and what follows from it.

use super::{
    Service, ServiceError,
    audit::Entry,
    config::Config,
    hooks,
    job::{Done, Ending, JobState, NewJob, StoredJob, Work, may_pass},
    notify,
    perform::{self, Made},
    restore::{self, RestorePlan},
    state::Ended,
    stopping::is_for_the_next,
};
use crate::{
    ops::{OpsError, job::Job as Verb},
    record::Timestamp,
    report::{ErrorKind, Remedy, WarningKind},
};
use serde_json::{Value as Json, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A run as it is counted.
pub(super) fn ended<'a>(work: &'a Work, ending: &'a Ending, began: Timestamp, at: Timestamp) -> Ended<'a> {
    let number = |name: &str| ending.result.get(name).and_then(Json::as_u64).unwrap_or(0);
    Ended {
        routine: work.routine().unwrap_or_default(),
        verb: work.verb(),
        kind: work.kind(),
        outcome: ending.state.as_str(),
        seconds: (at.as_millis() - began.as_millis()).max(0) as f64 / 1000.0,
        at,
        bytes: number("bytes"),
        records: number("records"),
        proves: proves(work, ending),
    }
}

/// Whether a run shows that everything its routine backed up can be had back: a drill, a verification that restores, or a restore of
/// all of it that was read back.
fn proves(work: &Work, ending: &Ending) -> bool {
    ending.state == JobState::Success
        && match work {
            Work::Drill { .. } => true,
            Work::Verify { how, .. } => how == "restore",
            Work::Restore { .. } => restore::proves(&ending.result),
            Work::Backup { .. } | Work::Retention { .. } => false,
        }
}

impl Service {
    /// Runs a job until it is over.
    pub(super) fn supervise(self: Arc<Self>, job: &StoredJob, plan: Option<RestorePlan>) {
        let began = self.now();
        let canceled =
            self.desk().running.get(&job.id).map(|running| Arc::clone(&running.canceled)).unwrap_or_default();
        let plan = plan.map(Arc::new);
        let ending = self.attempts(job, plan.as_ref(), &canceled);
        let now = self.now();
        let was_withdrawn = self.desk().running.get(&job.id).is_some_and(|running| running.withdrawn);
        if is_for_the_next(&job.work, &ending, was_withdrawn, self.is_stopping()) {
            self.put_off(job, &ending, now);
            self.is_over(job.id);
            return;
        }
        if matches!(job.work, Work::Restore { .. }) {
            // Whoever hears that it is over may begin the next one into the same place.
            self.desk().board.finish(job.id);
        }
        self.close(job.id, &job.work, &ending, began, now);
        tell(job, &ending);
        self.note(&Entry::of_job(now, job, &ending));
        self.run_hooks_after(job, &ending);
        if let Err(error) = self.follow(job, &ending) {
            tracing::error!(job = job.id, "{error}");
        }
        // Who does not answer that is told keeps no backup from its turn.
        self.is_over_and(job.id, || {
            if notify::is_told(&job.work, ending.state) {
                self.notify_end(job, &ending, began, now);
            }
        });
    }

    fn attempts(
        self: &Arc<Self>,
        job: &StoredJob,
        plan: Option<&Arc<RestorePlan>>,
        canceled: &Arc<AtomicBool>,
    ) -> Ending {
        // However often it is tried, it is done by what it began with.
        let config = self.config();
        let routine = job.work.routine().and_then(|name| config.routines.get(name));
        let retry = routine.and_then(|routine| config.policy_of(routine).retry_policy).unwrap_or_default();
        // A restore that was broken off is begun again by whoever wants that.
        let retries = if matches!(job.work, Work::Backup { .. }) { retry.retries() } else { 0 };
        let mut attempt = 1;
        let made = Arc::new(Made::default());
        loop {
            // A backup that can be made is worth more than a note that it has begun.
            if let Err(error) = self.state.begin(job.id, attempt, self.now()) {
                tracing::error!(job = job.id, attempt, "that it begins cannot be kept: {error}");
            }
            match self.attempt(job, &config, plan, &made, canceled) {
                Ok(done) => return ending_of(done),
                Err(error) if error.is_interruption() || canceled.load(Ordering::Relaxed) => {
                    let words = if self.is_stopping() { "the service was stopped" } else { "it was canceled" };
                    return self.broken_off(job, Ending::without(JobState::Canceled, "interrupted", words));
                }
                Err(error) if attempt <= retries && may_pass(&error) => {
                    let pause = retry.pause_millis(attempt);
                    tracing::warn!(job = job.id, attempt, "it is tried again in {pause} ms: {error}");
                    self.count_retry(&job.work);
                    if !self.rest(pause, canceled) {
                        return Ending::without(JobState::Canceled, "interrupted", "it was canceled");
                    }
                    attempt += 1;
                }
                Err(error) => {
                    let words = format!("{error}{}", way_on(&job.work, &error));
                    let mut ending = Ending::without(JobState::Failure, error.kind().as_str(), words);
                    ending.result = made.result().unwrap_or(ending.result);
                    return self.broken_off(job, ending);
                }
            }
        }
    }

    /// Adds to the end of a restore how far it came: what was written stays.
    fn broken_off(&self, job: &StoredJob, mut ending: Ending) -> Ending {
        let watch = self.desk().running.get(&job.id).and_then(|running| running.watch.clone());
        let Some(watch) = watch.filter(|_| matches!(job.work, Work::Restore { .. })) else { return ending };
        let stopped = watch.warnings(0).into_iter().rfind(|warning| warning.kind == WarningKind::Stopped);
        if let Some(stopped) = stopped {
            ending.error = Some(format!("{}; {}", ending.error.unwrap_or_default(), stopped.words));
        }
        ending.result = json!({ "records_read": watch.standing().records });
        ending
    }

    fn attempt(
        self: &Arc<Self>,
        job: &StoredJob,
        config: &Arc<Config>,
        plan: Option<&Arc<RestorePlan>>,
        made: &Arc<Made>,
        canceled: &Arc<AtomicBool>,
    ) -> Result<Done, OpsError> {
        let (service, config, job_too, plan) = (Arc::clone(self), Arc::clone(config), job.clone(), plan.cloned());
        let made = Arc::clone(made);
        let verb = Verb::start(job.work.verb(), move |progress| {
            perform::carry_out(&service, &config, &job_too, plan.as_deref(), &made, progress)
        })?;
        let watch = verb.watch();
        if let Some(running) = self.desk().running.get_mut(&job.id) {
            running.watch = Some(watch.clone());
        }
        if canceled.load(Ordering::Relaxed) {
            watch.cancel();
        }
        let done = verb.wait();
        for warning in watch.warnings(0).iter().take(20) {
            tracing::warn!(job = job.id, kind = %warning.kind, object = warning.object, "{}", warning.words);
        }
        done
    }

    /// Waits; `false` if it is to stop.
    fn rest(&self, millis: i64, canceled: &AtomicBool) -> bool {
        let until = Instant::now() + Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        let mut desk = self.desk();
        loop {
            if canceled.load(Ordering::Relaxed) || self.is_stopping() {
                return false;
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return true;
            }
            desk = self.wake.wait_timeout(desk, rest).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn count_retry(&self, work: &Work) {
        let ended = Ended {
            routine: work.routine().unwrap_or_default(),
            verb: work.verb(),
            kind: work.kind(),
            outcome: "retry",
            seconds: 0.0,
            at: self.now(),
            bytes: 0,
            records: 0,
            proves: false,
        };
        if let Err(error) = self.state.count(&ended) {
            tracing::error!("{error}");
        }
    }

    /// What follows from a full that is there: its verification, and retention. The last backup that is known to be whole does not go
    /// for one that is not.
    fn follow(&self, job: &StoredJob, ending: &Ending) -> Result<(), ServiceError> {
        let (name, is_verified) = match &job.work {
            Work::Backup { routine, full: true, .. } => (routine, false),
            Work::Verify { routine, .. } => (routine, true),
            _ => return Ok(()),
        };
        let config = self.config();
        let Some(routine) = config.routines.get(name) else { return Ok(()) };
        let policy = config.policy_of(routine);
        let retains =
            policy.retention.is_some_and(|retention| retention.full.is_some() || retention.incremental.is_some());
        if is_verified && retains && ending.state != JobState::Success {
            tracing::warn!(job = job.id, "retention of {name} is left out: the newest backup was not found whole");
        }
        let is_made =
            |what: &str| ending.result.get(what).and_then(Json::as_array).is_some_and(|made| !made.is_empty());
        let made = is_verified || is_made("snapshots") || is_made("backups");
        if ending.state != JobState::Success || !made || self.is_stopping() {
            return Ok(());
        }
        let work = match policy.verify.filter(|_| !is_verified) {
            Some(how) => Work::Verify { routine: name.clone(), how },
            None if retains => Work::Retention { routine: name.clone() },
            None => return Ok(()),
        };
        let new = NewJob { work, tenant: job.tenant.clone(), by: job.by.clone(), due: None };
        self.submit(&new, self.now(), false, None)?;
        Ok(())
    }

    pub(super) fn run_hooks_after(&self, job: &StoredJob, ending: &Ending) {
        let Work::Backup { routine, .. } = &job.work else { return };
        let config = self.config();
        let names = config.routines.get(routine).and_then(|routine| routine.after.clone()).unwrap_or_default();
        for name in names {
            let Some(hook) = config.service.hooks.get(&name) else { continue };
            let facts = hooks::Facts { job, outcome: ending.state.as_str(), error: ending.error.as_deref() };
            if let Err(words) = hooks::run(hook, &facts, &|| false) {
                tracing::error!(job = job.id, hook = name, "{words}");
            }
        }
    }
}

/// What may be done about a refusal, where the interface can do it.
fn way_on(work: &Work, error: &OpsError) -> String {
    match work {
        Work::Backup { routine, .. } if error.remedies().contains(&Remedy::AcceptDeletions) => format!(
            "; if that is so, POST /v1/backups/{}/{routine}?accept-deletions=true backs it up once as it is",
            work.kind()
        ),
        _ => String::new(),
    }
}

/// What is missing, in words: never none.
fn missing(problems: &[String]) -> String {
    if problems.is_empty() { "it lacks something".to_owned() } else { problems.join("; ") }
}

fn ending_of(done: Done) -> Ending {
    let state = match (&done.skipped, &done.failed, done.complete) {
        (Some(_), ..) => JobState::Skipped,
        (None, Some(_), _) => JobState::Failure,
        (None, None, true) => JobState::Success,
        (None, None, false) => JobState::Incomplete,
    };
    let error = done.skipped.or(done.failed).or_else(|| (!done.complete).then(|| missing(&done.problems)));
    let kind = match state {
        JobState::Skipped => Some("contended".to_owned()),
        JobState::Incomplete => Some("incomplete".to_owned()),
        JobState::Failure => Some(ErrorKind::Failed.as_str().to_owned()),
        _ => None,
    };
    let mut result = done.result;
    if let Some(fields) = result.as_object_mut() {
        fields.insert("records".to_owned(), json!(done.records));
        fields.insert("bytes".to_owned(), json!(done.bytes));
    }
    Ending { state, result, error, error_kind: kind }
}

fn tell(job: &StoredJob, ending: &Ending) {
    let (routine, error) = (job.work.routine(), ending.error.as_deref());
    match ending.state {
        JobState::Failure | JobState::Incomplete => {
            tracing::error!(
                job = job.id,
                verb = job.work.verb(),
                routine,
                state = ending.state.as_str(),
                error,
                "ended"
            );
        }
        _ => {
            tracing::info!(
                job = job.id,
                verb = job.work.verb(),
                routine,
                state = ending.state.as_str(),
                error,
                "ended"
            );
        }
    }
}
