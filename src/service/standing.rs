//! How things stand: what of a routine is at work, how far restores are. Shares that are told never go back.

use super::{
    Service, ServiceError,
    dispatch::Running,
    job::{JobState, StoredJob, Work},
    keys::Caller,
    state::JobFilter,
    timetable::Slot,
};
use crate::{ops::job::JobWatch, record::Timestamp};
use serde::Serialize;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};
use utoipa::ToSchema;

/// A backup or restore at work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RunningJob {
    /// Records that are expected; 0 if that is not known.
    pub total_records: u64,
    /// Records that are done.
    pub done_records: u64,
    /// When it began.
    pub start_time: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<String>,
    /// How much of it is done. It never goes back.
    pub percentage_done: u32,
    /// When it will be done, as far as that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_end_time: Option<String>,
    /// How long it has run, in seconds.
    pub duration: i64,
    /// How fast it is.
    pub metrics: Speed,
    /// The job's number.
    pub job: i64,
    /// What it does just now.
    pub phase: String,
    /// Seconds in which nothing was counted.
    #[serde(skip)]
    pub still: f64,
}

/// How fast something is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Speed {
    /// Records a second.
    pub records_per_second: u64,
    /// Kilobytes a second.
    pub kilobytes_per_second: u64,
    /// Records that wait between reading and writing: they are not counted here.
    pub pipeline: u64,
}

/// How a routine stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RoutineState {
    /// The full backup at work.
    pub full: Option<RunningJob>,
    /// The incremental backup at work.
    pub incremental: Option<RunningJob>,
    /// When the last full began that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_full: Option<String>,
    /// When the last incremental began that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_incremental: Option<String>,
    /// When the next full is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_full: Option<String>,
    /// When the next incremental is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_incremental: Option<String>,
    /// When the next drill is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_drill: Option<String>,
    /// When it was last shown that all of it can be had back: by a drill, a verification that restores, or a restore of all of it that
    /// was read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_proof: Option<String>,
    /// How the last drill ended: `success`, `failure` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_drill: Option<String>,
    /// Jobs of it that wait.
    pub queued: Vec<i64>,
}

/// How far a restore is, and what became of its records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RestoreJobStatus {
    /// `running`, `success`, `failure`, `canceled`.
    pub status: String,
    /// Why it failed, or what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_job: Option<RunningJob>,
    /// Records that were read.
    pub read_records: u64,
    /// Their bytes.
    pub total_bytes: u64,
    /// Records that were written.
    pub inserted_records: u64,
    /// Records whose time was over.
    pub expired_records: u64,
    /// Records that were not meant.
    pub skipped_records: u64,
    /// Records that could not be written.
    pub ignored_records: u64,
    /// Records that were there and stayed.
    pub existed_records: u64,
    /// Records that were there and newer.
    pub fresher_records: u64,
    /// Secondary indexes.
    pub index_count: u64,
    /// UDF modules.
    pub udf_count: u64,
    /// Writes of which nobody knows whether they were done: they are settled here by reading.
    pub errors_in_doubt: u64,
    /// The routine, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routine: Option<String>,
    /// Whether it waits.
    pub queued: bool,
}

/// How far something at work is.
fn running_job(id: i64, running: &Running, now: Timestamp) -> RunningJob {
    let standing = running.watch.as_ref().map(JobWatch::standing).unwrap_or_default();
    let millis = (now.as_millis() - running.started.as_millis()).max(0);
    let total = standing.phase.as_ref().map_or(0, |phase| phase.records);
    let done = if total > 0 { standing.records.min(total) } else { standing.all_records };
    let share = if total > 0 { ((u128::from(done) * 100 / u128::from(total)) as u32).min(99) } else { 0 };
    let percent = never_back(&running.percent, share);
    let left = (percent >= 1).then(|| millis * i64::from(100 - percent) / i64::from(percent));
    let seconds = (millis as u64 / 1000).max(1);
    RunningJob {
        total_records: total.max(done),
        done_records: done,
        start_time: running.started.to_string(),
        finish_time: None,
        percentage_done: percent,
        estimated_end_time: left.map(|left| Timestamp::from_millis(now.as_millis() + left).to_string()),
        duration: millis / 1000,
        metrics: Speed {
            records_per_second: standing.all_records / seconds,
            kilobytes_per_second: standing.all_bytes / 1024 / seconds,
            pipeline: 0,
        },
        job: id,
        still: standing.still.as_secs_f64(),
        phase: standing.phase.map_or_else(|| "beginning".to_owned(), |phase| phase.to_string()),
    }
}

/// The highest share so far.
fn never_back(told: &AtomicU32, share: u32) -> u32 {
    told.fetch_max(share, Ordering::Relaxed).max(share)
}

/// All jobs at work, with how far they are.
pub(super) fn all_running(service: &Service) -> Vec<(Work, RunningJob)> {
    let now = service.now();
    let desk = service.desk();
    desk.running.iter().map(|(id, running)| (running.work.clone(), running_job(*id, running, now))).collect()
}

impl Service {
    /// How a routine stands.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::State`].
    pub(super) fn routine_state(&self, name: &str) -> Result<RoutineState, ServiceError> {
        let config = self.config();
        if !config.routines.contains_key(name) {
            return Err(ServiceError::NotFound { what: "routine", name: name.to_owned() });
        }
        let last = |kind: &str| -> Result<Option<String>, ServiceError> {
            let job = self.state.last_backup(name, kind)?;
            Ok(job.and_then(|job| job.started).map(|started| started.to_string()))
        };
        let (last_full, last_incremental) = (last("full")?, last("incremental")?);
        let last_proof = self.proved(&config, name)?.map(|proof| proof.finished.to_string());
        let last_drill = self.last_drill(name)?;
        let now = self.now();
        let desk = self.desk();
        let at_work = |full: bool| {
            let is_it = |running: &&Running| matches!(&running.work, Work::Backup { routine, full: own, .. } if routine == name && *own == full);
            desk.running.iter().find(|(_, running)| is_it(running)).map(|(id, running)| running_job(*id, running, now))
        };
        let next = |slot| desk.timetable.next_of(name, slot).map(|time| time.to_string());
        Ok(RoutineState {
            full: at_work(true),
            incremental: at_work(false),
            last_full,
            last_incremental,
            next_full: next(Slot::Full),
            next_incremental: next(Slot::Incremental),
            next_drill: next(Slot::Drill),
            last_proof,
            last_drill,
            queued: desk.board.of_routine(name).0,
        })
    }

    /// Cancels the backups of a routine, those that wait and those at work.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::State`].
    pub(super) fn cancel_routine(&self, name: &str) -> Result<(), ServiceError> {
        if !self.config().routines.contains_key(name) {
            return Err(ServiceError::NotFound { what: "routine", name: name.to_owned() });
        }
        let (waiting, running) = self.desk().board.of_routine(name);
        for id in waiting.into_iter().chain(running) {
            let is_restore = self.state.job(id)?.is_some_and(|job| matches!(job.work, Work::Restore { .. }));
            if !is_restore {
                self.cancel(id)?;
            }
        }
        Ok(())
    }

    /// How far a restore is; `None` if there is no such job.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn restore_status(&self, id: i64) -> Result<Option<(StoredJob, RestoreJobStatus)>, ServiceError> {
        let job = self.state.job(id)?.filter(|job| matches!(job.work, Work::Restore { .. }));
        Ok(job.map(|job| {
            let status = self.status_of(&job);
            (job, status)
        }))
    }

    fn status_of(&self, job: &StoredJob) -> RestoreJobStatus {
        let now = self.now();
        let desk = self.desk();
        let mut running = desk.running.get(&job.id).map(|running| running_job(job.id, running, now));
        // What could not be written yet is known all the same.
        let unwritten = desk.unwritten.get(&job.id).map(|end| end.ending.clone());
        drop(desk);
        let (state, result, error) = match unwritten {
            Some(ending) => (ending.state, ending.result, ending.error),
            None => (job.state, job.result.clone(), job.error.clone()),
        };
        // What follows from an end is still at work when the end is known.
        if !matches!(state, JobState::Queued | JobState::Running) {
            running = None;
        }
        let restores = result.get("restores").and_then(Json::as_array).cloned().unwrap_or_default();
        let sum = |name: &str| restores.iter().filter_map(|one| one.get(name)?.as_u64()).sum::<u64>();
        let made = |kind: &str| restores.iter().filter_map(|one| one.get("made")?.get(kind)?.as_u64()).sum::<u64>();
        let ignored = sum("ignored") + sum("failed");
        let inserted = sum("inserted") + sum("replaced");
        let existed = sum("existed") + sum("unchanged");
        let broken_off = result.get("records_read").and_then(Json::as_u64).unwrap_or(0);
        let (expired, skipped, fresher) = (sum("expired"), sum("skipped") + sum("unmappable"), sum("fresher"));
        RestoreJobStatus {
            status: state.of_service().to_owned(),
            error,
            read_records: running
                .as_ref()
                .map_or((inserted + existed + expired + skipped + fresher + ignored).max(broken_off), |running| {
                    running.done_records
                }),
            current_job: running,
            total_bytes: sum("bytes"),
            inserted_records: inserted,
            expired_records: expired,
            skipped_records: skipped,
            ignored_records: ignored,
            existed_records: existed,
            fresher_records: fresher,
            index_count: made("indexes"),
            udf_count: made("modules"),
            errors_in_doubt: 0,
            routine: job.work.routine().map(str::to_owned),
            queued: state == JobState::Queued,
        }
    }

    /// Restores by number that a caller may see, with whose they are.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn restores(
        &self,
        caller: &Caller,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        states: Vec<JobState>,
    ) -> Result<BTreeMap<i64, (StoredJob, RestoreJobStatus)>, ServiceError> {
        let filter = JobFilter { verb: Some("restore"), from, to, states, limit: 1000, ..JobFilter::default() };
        let jobs = self.state.jobs(&filter.of(caller))?;
        Ok(jobs.into_iter().map(|job| (job.id, (job.clone(), self.status_of(&job)))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_go_back() {
        let told = AtomicU32::new(0);
        assert_eq!([10, 30, 20, 99, 5].map(|share| never_back(&told, share)), [10, 30, 30, 99, 99]);
    }
}
