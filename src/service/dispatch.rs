//! The dispatcher: one thread that looks what is due, lets jobs begin as the board allows, and sleeps until something happens.

use super::{
    Service, ServiceError,
    board::{Board, Entry, Lane, Verdict},
    config::{Config, Overlap, check::zone_of},
    cron, folders,
    job::{Ending, JobState, NewJob, StoredJob, Work},
    keys::Caller,
    reach::places,
    restore::RestorePlan,
    run::ended,
    state::{JobFilter, State, StateError},
    timetable::{Due, Slot, Timetable},
    window::Window,
};
use crate::{connector::url::without_password, ops::job::JobWatch, record::Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::Builder,
    time::Duration,
};

/// Jobs at once, where nothing else is said.
const MOST: u16 = 16;

/// How long it takes until the state is tried again that took nothing.
const AGAIN_MILLIS: i64 = 2_000;

/// The longest sleep: clocks may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A job at work.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// What it does.
    pub(super) work: Work,
    /// When it began.
    pub(super) started: Timestamp,
    /// What looks at its verb, once that has begun.
    pub(super) watch: Option<JobWatch>,
    /// Whether it is to stop.
    pub(super) canceled: Arc<AtomicBool>,
    /// Whether somebody asked for that.
    pub(super) withdrawn: bool,
    /// The highest share that was told, in percent: it never goes back.
    pub(super) percent: Arc<std::sync::atomic::AtomicU32>,
}

/// What the dispatcher works on.
pub(super) struct Desk {
    pub(super) timetable: Timetable,
    pub(super) board: Board,
    pub(super) running: BTreeMap<i64, Running>,
    /// Jobs that are over and of which somebody is being told: they keep no other job from its turn.
    pub(super) telling: usize,
    /// What restores that wait are to do.
    pub(super) plans: HashMap<i64, RestorePlan>,
    /// Ends that could not be written yet.
    pub(super) unwritten: BTreeMap<i64, Unwritten>,
    /// Runs that were due and could not be written down yet.
    late: Vec<Due>,
    /// Up to when schedules were handled, as far as that could not be written down yet.
    unhandled: Vec<(String, Slot, Timestamp)>,
}

/// How a job ended, while the state takes nothing.
#[derive(Debug, Clone)]
pub(super) struct Unwritten {
    work: Work,
    pub(super) ending: Ending,
    began: Timestamp,
    at: Timestamp,
}

impl Desk {
    pub(super) fn new(config: &Config, state: &State, now: Timestamp) -> Result<Self, ServiceError> {
        let timetable = Timetable::new(config, &state.handled()?, now);
        state.set_handled(&timetable.handled())?;
        Ok(Self {
            timetable,
            board: Board::new(most(config)),
            running: BTreeMap::new(),
            telling: 0,
            plans: HashMap::new(),
            unwritten: BTreeMap::new(),
            late: Vec::new(),
            unhandled: Vec::new(),
        })
    }
}

fn most(config: &Config) -> usize {
    usize::from(config.service.backup.as_ref().and_then(|backup| backup.max_parallel).unwrap_or(MOST).max(1))
}

/// What became of a job that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Submitted {
    /// It waits or has begun.
    New(i64),
    /// The same waits already.
    Already(i64),
    /// It was skipped.
    Skipped(i64),
}

impl Submitted {
    /// The number of the job that does it.
    pub(super) const fn id(self) -> i64 {
        match self {
            Self::New(id) | Self::Already(id) | Self::Skipped(id) => id,
        }
    }
}

impl Service {
    /// Takes up what a former service left: what waited waits again, what was at work has failed.
    pub(super) fn take_up(self: &Arc<Self>) -> Result<(), ServiceError> {
        let now = self.now();
        let config = self.config();
        let begun = self.state.begun_folders()?;
        if !begun.is_empty() {
            // Storage may take its time; what is begun from now on is not among these.
            let (service, config) = (Arc::clone(self), Arc::clone(&config));
            std::thread::spawn(move || folders::clear(&service, &config, &begun));
        }
        for job in self.state.unfinished()? {
            // What a restore is to do was not kept: it may hold secrets of whoever asked.
            let is_whole = !matches!(job.work, Work::Restore { .. });
            let is_there = job.work.routine().is_some_and(|name| config.routines.contains_key(name));
            let again = job.state == JobState::Queued && is_whole && is_there;
            if again {
                // Asked for by a clock that has been set back since, it waits no longer for that.
                let ahead = (job.created.as_millis() - now.as_millis()).max(0);
                let turn = Timestamp::from_millis(job.begin.as_millis() - ahead);
                let entry = entry(&config, job.id, &job.work, turn);
                self.desk().board.push(entry);
                continue;
            }
            let keeps_files = job.work.routine().and_then(|name| config.routines.get(name));
            let keeps_files = keeps_files.is_some_and(|routine| config.keeps_files(routine));
            let words = match (job.state, &job.work) {
                (JobState::Queued, _) => "the service ended before it began",
                (_, Work::Backup { .. }) if keeps_files => {
                    "the service ended while it was at work; what is half written is removed, and the next one begins anew"
                }
                (_, Work::Backup { .. }) => {
                    "the service ended while it was at work; what it had stored is taken up by the next one"
                }
                _ => "the service ended while it was at work",
            };
            let ending = Ending::without(JobState::Failure, "interrupted", words);
            self.close(job.id, &job.work, &ending, job.started.unwrap_or(now), now);
            tracing::warn!(job = job.id, verb = job.work.verb(), routine = job.work.routine(), "{words}");
        }
        Ok(())
    }

    /// Writes how a job ended, and counts it; where that fails it is done as soon as the state takes it.
    pub(super) fn close(&self, id: i64, work: &Work, ending: &Ending, began: Timestamp, at: Timestamp) {
        let end = Unwritten { work: work.clone(), ending: ending.clone(), began, at };
        if let Err(error) = self.write_end(id, &end) {
            tracing::error!(job = id, "how it ended cannot be kept yet: {error}");
            self.desk().unwritten.insert(id, end);
        }
    }

    fn write_end(&self, id: i64, end: &Unwritten) -> Result<(), StateError> {
        self.state.end(id, &end.ending, &ended(&end.work, &end.ending, end.began, end.at))
    }

    /// Tries again what the state did not take.
    fn write_ends(&self, desk: &mut Desk) {
        desk.unwritten.retain(|id, end| self.write_end(*id, end).is_err());
    }

    pub(super) fn begin_dispatching(self: &Arc<Self>) -> Result<(), ServiceError> {
        let service = Arc::clone(self);
        let thread = Builder::new().name("dispatcher".to_owned()).spawn(move || service.dispatch());
        let thread = thread
            .map_err(|error| ServiceError::Listen { place: "the dispatcher".to_owned(), reason: error.to_string() })?;
        *self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    fn dispatch(self: Arc<Self>) {
        let mut missing = HashMap::new();
        loop {
            if !self.is_stopping() {
                self.take_due();
                self.look_for_missing(&mut missing);
            }
            let mut desk = self.desk();
            // It is said with the desk in hand: nothing begins behind it, and nobody falls asleep over it.
            let stopping = self.is_stopping();
            self.write_ends(&mut desk);
            if stopping && desk.running.is_empty() {
                return;
            }
            let now = self.now();
            let ready = if stopping { Vec::new() } else { desk.board.take_ready(now) };
            if !ready.is_empty() {
                let begun: Vec<_> = ready.into_iter().map(|entry| self.begin(&mut desk, &entry, now)).collect();
                drop(desk);
                for (id, error) in begun.into_iter().flatten() {
                    tracing::error!(job = id, "{error}");
                }
                continue;
            }
            let next = [desk.timetable.next(), desk.board.next_time(now), self.next_missing(&missing)];
            let again = !desk.unwritten.is_empty() || !desk.late.is_empty() || !desk.unhandled.is_empty();
            let again = again.then(|| Timestamp::from_millis(now.as_millis() + AGAIN_MILLIS));
            let next = next.into_iter().flatten().chain(again).min();
            let sleep = next.map_or(LONGEST_SLEEP, |next| {
                Duration::from_millis(u64::try_from(next.as_millis() - now.as_millis()).unwrap_or(0).saturating_add(1))
            });
            drop(self.wake.wait_timeout(desk, sleep.min(LONGEST_SLEEP)).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Lets a job begin, on a thread of its own.
    fn begin(self: &Arc<Self>, desk: &mut Desk, entry: &Entry, now: Timestamp) -> Option<(i64, String)> {
        let job = match self.state.job(entry.id) {
            Ok(Some(job)) => job,
            Ok(None) => {
                desk.board.finish(entry.id);
                return Some((entry.id, "the job is gone".to_owned()));
            }
            // The state cannot be read just now: it waits on.
            Err(error) => {
                desk.board.finish(entry.id);
                let later = Timestamp::from_millis(now.as_millis() + AGAIN_MILLIS);
                desk.board.push(Entry { not_before: later, ..entry.clone() });
                return Some((entry.id, error.to_string()));
            }
        };
        let running = Running {
            work: job.work.clone(),
            started: now,
            watch: None,
            canceled: Arc::default(),
            withdrawn: false,
            percent: Arc::default(),
        };
        desk.running.insert(entry.id, running);
        let (plan, entry_work) = (desk.plans.remove(&entry.id), job.work.clone());
        let service = Arc::clone(self);
        let name = format!("run {}", entry.id);
        match Builder::new().name(name).spawn(move || service.supervise(&job, plan)) {
            Ok(_) => None,
            Err(error) => {
                desk.running.remove(&entry.id);
                desk.board.finish(entry.id);
                let ending = Ending::without(JobState::Failure, "internal", format!("no thread for it: {error}"));
                let end = Unwritten { work: entry_work, ending, began: now, at: now };
                desk.unwritten.insert(entry.id, end);
                Some((entry.id, error.to_string()))
            }
        }
    }

    /// Lets what is due wait for its turn.
    fn take_due(&self) {
        let now = self.now();
        let (due, handled) = {
            let mut desk = self.desk();
            let mut due = std::mem::take(&mut desk.late);
            let new = desk.timetable.take_due(now);
            // Those that come late were handled when they were due.
            let mut handled = std::mem::take(&mut desk.unhandled);
            handled.extend(new.iter().map(|due| (due.routine.clone(), due.slot, due.at)));
            due.extend(new);
            (due, handled)
        };
        if due.is_empty() && handled.is_empty() {
            return;
        }
        // Before anything begins: a run that is lost is made up for by the next, one that comes twice is not.
        if let Err(error) = self.state.set_handled(&handled) {
            tracing::error!("{error}");
            self.desk().unhandled = handled;
        }
        for one in due {
            let Err(error) = self.run_due(&one) else { continue };
            tracing::error!(routine = one.routine, "{error}");
            // It is not forgotten because the state takes nothing just now.
            if matches!(error, ServiceError::State(_)) {
                self.desk().late.push(one);
            }
        }
    }

    fn run_due(&self, due: &Due) -> Result<(), ServiceError> {
        let config = self.config();
        let Some(routine) = config.routines.get(&due.routine) else { return Ok(()) };
        let work = match due.slot {
            Slot::Drill => Work::Drill { routine: due.routine.clone() },
            slot => Work::backup(&due.routine, slot == Slot::Full),
        };
        let new = NewJob { work, tenant: routine.tenant.clone(), by: "schedule".to_owned(), due: Some(due.at) };
        let skip = routine.on_overlap == Some(Overlap::Skip);
        match due.skip {
            Some(words) => self.skip(&new, words).map(drop),
            None => self.submit(&new, due.begin, skip, None).map(drop),
        }
    }

    fn skip(&self, new: &NewJob, words: &str) -> Result<i64, ServiceError> {
        let now = self.now();
        let id = self.state.add(new, now, now)?;
        let ending = Ending::without(JobState::Skipped, "contended", words);
        self.close(id, &new.work, &ending, now, now);
        tracing::info!(job = id, routine = new.work.routine(), kind = new.work.kind(), "skipped: {words}");
        Ok(id)
    }

    /// Lets a job wait for its turn, and keeps that it does. With `skip` it does not wait for another of its routine.
    pub(super) fn submit(
        &self,
        new: &NewJob,
        begin: Timestamp,
        skip: bool,
        plan: Option<RestorePlan>,
    ) -> Result<Submitted, ServiceError> {
        if self.is_stopping() {
            return Err(ServiceError::Stopping);
        }
        let config = self.config();
        let mut entry = entry(&config, 0, &new.work, begin);
        entry.targets = plan.as_ref().map(|plan| places(&config, &plan.target)).unwrap_or_default();
        let mut desk = self.desk();
        desk.board.follow_clock(self.now());
        if let Some(plan) = &plan
            && let Some(other) = desk.board.restores_into(&entry.targets)
        {
            let target = without_password(&plan.target);
            return Err(ServiceError::Conflict(format!("job {other} restores into {target} already")));
        }
        match desk.board.judge(&entry, skip) {
            Verdict::Waits => {}
            // Each request of its own name gets a run of its own.
            Verdict::WaitsAlready(_) if matches!(new.work, Work::Backup { group: Some(_), .. }) => {}
            // What waits does not accept what this one does.
            Verdict::WaitsAlready(_) if new.work.accepts_deletions() => {}
            Verdict::WaitsAlready(id) => {
                drop(desk);
                if new.due.is_some() {
                    let words = format!("job {id} of the same kind waits already");
                    return Ok(Submitted::Skipped(self.skip(new, &words)?));
                }
                return Ok(Submitted::Already(id));
            }
            Verdict::Overlaps(id) => {
                drop(desk);
                let words = format!("job {id} is at work");
                return Ok(Submitted::Skipped(self.skip(new, &words)?));
            }
        }
        let id = self.state.add(new, begin, self.now())?;
        entry.id = id;
        desk.board.push(entry);
        desk.plans.extend(plan.map(|plan| (id, plan)));
        drop(desk);
        self.wake.notify_all();
        tracing::info!(job = id, verb = new.work.verb(), routine = new.work.routine(), by = new.by, "queued");
        Ok(Submitted::New(id))
    }

    /// Stops a job: one that waits is withdrawn, one at work ends where that is safe. `false` if it is over.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn cancel(&self, id: i64) -> Result<bool, ServiceError> {
        let mut desk = self.desk();
        if let Some(running) = desk.running.get_mut(&id) {
            running.withdrawn = true;
            running.canceled.store(true, Ordering::Relaxed);
            running.watch.iter().for_each(JobWatch::cancel);
            drop(desk);
            self.wake.notify_all();
            return Ok(true);
        }
        if !desk.board.withdraw(id) {
            return Ok(false);
        }
        desk.plans.remove(&id);
        drop(desk);
        let Some(job) = self.state.job(id)? else { return Ok(false) };
        let ending = Ending::without(JobState::Canceled, "interrupted", "it was canceled before it began");
        let now = self.now();
        self.close(id, &job.work, &ending, job.started.unwrap_or(now), now);
        Ok(true)
    }

    /// A job is over, and the next may begin.
    pub(super) fn is_over(&self, id: i64) {
        self.is_over_and(id, || ());
    }

    /// The same, with something that has to be done yet and that nobody waits for but the end of the service.
    pub(super) fn is_over_and(&self, id: i64, tell: impl FnOnce()) {
        let mut desk = self.desk();
        desk.running.remove(&id);
        desk.board.finish(id);
        desk.telling += 1;
        drop(desk);
        self.wake.notify_all();
        tell();
        self.desk().telling -= 1;
        self.wake.notify_all();
    }

    /// A job by its number.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn job(&self, id: i64) -> Result<Option<StoredJob>, ServiceError> {
        Ok(self.state.job(id)?)
    }

    /// The newest hundred jobs that a caller may see.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn jobs(
        &self,
        caller: &Caller,
        routine: Option<String>,
        before: Option<i64>,
    ) -> Result<Vec<StoredJob>, ServiceError> {
        let filter = JobFilter { routine, before, limit: 100, ..JobFilter::default() };
        Ok(self.state.jobs(&filter.of(caller))?)
    }

    /// Lets a new configuration count for schedules.
    pub(super) fn reschedule(&self, config: &Config) -> Result<(), ServiceError> {
        let mut desk = self.desk();
        let timetable = Timetable::new(config, &self.state.handled()?, self.now());
        self.state.set_handled(&timetable.handled())?;
        desk.timetable = timetable;
        desk.board.set_most(most(config));
        drop(desk);
        self.wake.notify_all();
        Ok(())
    }
}

/// A job as the board takes it.
fn entry(config: &Config, id: i64, work: &Work, begin: Timestamp) -> Entry {
    let lane = match work {
        Work::Backup { full: true, .. } => Lane::Full,
        Work::Backup { full: false, .. } => Lane::Incremental,
        Work::Restore { .. } => Lane::Restore,
        Work::Retention { .. } | Work::Verify { .. } => Lane::Upkeep,
        Work::Drill { .. } => Lane::Drill,
    };
    let routine = work.routine().and_then(|name| config.routines.get(name));
    let is_backup = matches!(work, Work::Backup { .. });
    let cluster = routine.filter(|_| is_backup).and_then(|routine| {
        let name = routine.source_cluster.as_ref()?;
        let most = config.clusters.get(name)?.max_parallel_scans?;
        Some((name.clone(), usize::try_from(most.max(1)).unwrap_or(usize::MAX)))
    });
    let window = routine.filter(|_| is_backup).and_then(|routine| {
        let window = Window::parse(routine.window.as_deref()?).ok()?;
        Some((window, cron::zone(zone_of(config, routine)).ok()?))
    });
    Entry {
        id,
        routine: work.routine().map(str::to_owned),
        lane,
        cluster,
        targets: Vec::new(),
        not_before: begin,
        window,
        drops_files: matches!(work, Work::Retention { .. })
            && routine.is_some_and(|routine| config.keeps_files(routine)),
        concurrent: routine.is_some_and(|routine| config.policy_of(routine).concurrent_incremental == Some(true)),
    }
}
