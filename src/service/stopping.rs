//! How the service ends: it takes no more jobs, lets those at work go on for a little, asks them to stop where that is safe, and
//! ends by itself when its time is over, whatever hangs. A backup that was stopped waits for the next service.

use super::{
    Service,
    audit::{Entry, ends_by},
    config::StopSettings,
    job::{Ending, JobState, StoredJob, Work},
};
use crate::{ops::job::JobWatch, record::Timestamp};
use std::{
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

/// How long jobs go on, in seconds, where nothing is said.
const DRAIN: u32 = 10;

/// How long the whole may take, in seconds: less than what the unit and the manifests wait before they kill.
const WITHIN: u32 = 90;

/// What is kept of the time for last words: the end of the audit, the state.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Up to when what may go on.
#[derive(Debug, Clone, Copy)]
pub struct Farewell {
    drained: Instant,
    over: Instant,
}

impl Farewell {
    fn new(settings: Option<&StopSettings>) -> Self {
        let seconds = |said: Option<u32>, standard: u32| Duration::from_secs(u64::from(said.unwrap_or(standard)));
        let now = Instant::now();
        let within = seconds(settings.and_then(|settings| settings.within), WITHIN);
        let drain = seconds(settings.and_then(|settings| settings.drain), DRAIN);
        Self { drained: now + drain.min(within), over: now + within }
    }

    /// How long it may still take.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.over.saturating_duration_since(Instant::now())
    }
}

/// Whether the next service is to run it again: it did not end, and nobody wanted it to.
pub(super) fn is_for_the_next(work: &Work, ending: &Ending, was_withdrawn: bool, is_stopping: bool) -> bool {
    is_stopping && !was_withdrawn && ending.state == JobState::Canceled && matches!(work, Work::Backup { .. })
}

impl Service {
    /// Takes no more jobs, and lets none begin; says up to when those at work may go on.
    pub fn begin_stopping(&self) -> Farewell {
        let farewell = Farewell::new(self.config().service.stop.as_ref());
        self.refuse_jobs();
        if farewell.drained <= Instant::now() {
            self.ask_to_stop();
        }
        farewell
    }

    /// Waits for jobs at work and for everything else, as long as there is time. Gives what had to be left where it hung, in
    /// words. What waits is taken up by the next service.
    pub fn finish(&self, farewell: Farewell) -> Vec<String> {
        if !self.jobs_end_by(farewell.drained) {
            self.ask_to_stop();
        }
        let mut left = Vec::new();
        let last = farewell.over.checked_sub(LAST_WORDS).unwrap_or(farewell.over).max(farewell.drained);
        if !self.jobs_end_by(last) {
            left.extend(self.give_up());
        }
        let dispatcher = self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What is still at work keeps the dispatcher from its end.
        if left.is_empty()
            && let Some(dispatcher) = dispatcher
        {
            let ended = ends_by(farewell.over, || dispatcher.is_finished());
            if ended && dispatcher.join().is_err() {
                tracing::error!("the dispatcher panicked: this is a defect");
            }
        }
        self.note(&Entry::of_service(self.now(), "stopped"));
        if !self.end_auditing(farewell.over) {
            left.push("the audit could not be kept in the repository yet: the next service keeps it".to_owned());
        }
        left
    }

    /// Stops jobs at work at once, and waits for them however long that takes.
    pub fn stop(&self) {
        self.refuse_jobs();
        let now = Instant::now();
        self.finish(Farewell { drained: now, over: now + Duration::from_hours(24) });
    }

    /// Whoever has the desk sees it: the dispatcher does not fall asleep meanwhile.
    fn refuse_jobs(&self) {
        let desk = self.desk();
        self.stopping.store(true, Ordering::Relaxed);
        drop(desk);
        self.wake.notify_all();
    }

    fn ask_to_stop(&self) {
        for running in self.desk().running.values() {
            running.canceled.store(true, Ordering::Relaxed);
            running.watch.iter().for_each(JobWatch::cancel);
        }
        self.wake.notify_all();
    }

    fn jobs_end_by(&self, until: Instant) -> bool {
        let mut desk = self.desk();
        while !desk.running.is_empty() || desk.telling > 0 {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return false;
            }
            desk = self.wake.wait_timeout(desk, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Writes down what becomes of jobs that did not stop.
    fn give_up(&self) -> Vec<String> {
        let running = self.desk().running.clone();
        let mut left = Vec::new();
        for (id, running) in running {
            let words = format!("job {id} ({}) did not stop in time", running.work.verb());
            let ending = Ending::without(JobState::Canceled, "interrupted", words.as_str());
            if is_for_the_next(&running.work, &ending, running.withdrawn, true) {
                self.leave_to_the_next(id);
            } else {
                let ending = Ending { state: JobState::Failure, ..ending };
                self.close(id, &running.work, &ending, running.started, self.now());
            }
            tracing::error!(job = id, verb = running.work.verb(), routine = running.work.routine(), "{words}");
            left.push(words);
        }
        let telling = self.desk().telling;
        if telling > 0 {
            let words = format!("how {telling} jobs ended was not told to everybody in time");
            tracing::error!("{words}");
            left.push(words);
        }
        left
    }

    /// Lets a job wait in the state, where the next service finds it.
    fn leave_to_the_next(&self, id: i64) {
        if let Err(error) = self.state.wait_again(id) {
            tracing::error!(job = id, "that it is to run again cannot be kept: {error}");
        }
    }

    /// What becomes of a backup that this service stopped.
    pub(super) fn put_off(&self, job: &StoredJob, ending: &Ending, now: Timestamp) {
        self.leave_to_the_next(job.id);
        self.note(&Entry::of_job(now, job, ending));
        tracing::info!(job = job.id, routine = job.work.routine(), "stopped: the next service runs it again");
        self.run_hooks_after(job, ending);
    }
}
