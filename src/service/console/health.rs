//! How a source stands, decided from plain data: its schedule, what it keeps, how its last run ended.

use super::{
    Console,
    admit::Visit,
    shelf::{Mark, Seen},
    show,
};
use crate::{
    record::Timestamp,
    service::{
        ServiceError,
        config::{Config, Routine, check::zone_of},
        cron::Schedule,
        is_ahead,
        job::{JobState, StoredJob, Work},
        sources::cluster_url,
        standing::{RunningJob, all_running},
        state::{self, State},
        survey::place_name,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// How a source stands; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// The newest run failed.
    Failed,
    /// Its repository cannot be read now.
    Unreadable,
    /// What was due did not come.
    Late,
    /// The newest backup lacks something.
    Incomplete,
    /// There is none yet.
    None,
    /// It runs on no schedule.
    Paused,
    /// None of these.
    Fine,
}

impl Health {
    pub(super) const ALL: [Self; 7] =
        [Self::Failed, Self::Unreadable, Self::Late, Self::Incomplete, Self::None, Self::Paused, Self::Fine];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unreadable => "unreadable",
            Self::Late => "late",
            Self::Incomplete => "incomplete",
            Self::None => "none",
            Self::Paused => "paused",
            Self::Fine => "fine",
        }
    }

    /// What it is called on pages.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::Unreadable => "Unreadable",
            Self::Late => "Late",
            Self::Incomplete => "Incomplete",
            Self::None => "No backup yet",
            Self::Paused => "Paused",
            Self::Fine => "Fine",
        }
    }

    /// Its colour and its sign.
    pub(super) const fn look(self) -> (&'static str, &'static str) {
        match self {
            Self::Failed => ("bad", "✕"),
            Self::Unreadable => ("bad", "⊘"),
            Self::Late => ("warn", "◷"),
            Self::Incomplete => ("warn", "◐"),
            Self::None => ("dim", "○"),
            Self::Paused => ("dim", "‖"),
            Self::Fine => ("good", "✓"),
        }
    }

    pub(super) fn pill(self) -> maud::Markup {
        let (class, mark) = self.look();
        super::page::pill(class, mark, self.words())
    }
}

/// When a schedule was due next after the times that were asked last: to walk to a time that is years away takes long.
#[derive(Debug, Clone, Default)]
struct Memo(Arc<Mutex<Vec<Answered>>>);

/// A time that was asked for, and when something is due next after it.
type Answered = (Timestamp, Option<Timestamp>);

/// Times that are kept in mind of one schedule.
const KEPT_IN_MIND: usize = 4;

impl Memo {
    fn next(&self, schedule: &Schedule, time: Timestamp) -> Option<Timestamp> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |known: &&Answered| known.0 <= time && known.1.is_none_or(|next| time < next);
        if let Some((_, next)) = known.iter().find(holds) {
            return *next;
        }
        let next = schedule.next_after(time);
        if known.len() >= KEPT_IN_MIND {
            known.remove(0);
        }
        known.push((time, next));
        next
    }
}

/// The schedules of a routine.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedules(Vec<(Schedule, Memo)>);

/// Schedules by what they were read from.
pub(super) type Read = Mutex<HashMap<[Option<String>; 3], Arc<Schedules>>>;

/// Schedules that are kept in mind.
const MOST_READ: usize = 20_000;

impl Schedules {
    pub(super) fn of(config: &Config, routine: &Routine) -> Self {
        let texts = [Some(routine.interval_cron.as_str()), routine.incr_interval_cron.as_deref()];
        let texts = texts.into_iter().flatten().filter(|text| !text.is_empty());
        let read = texts.filter_map(|text| Schedule::parse(text, zone_of(config, routine)).ok());
        Self(read.map(|schedule| (schedule, Memo::default())).collect())
    }

    /// When a backup is due next after a time.
    pub(super) fn next(&self, time: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter_map(|(schedule, memo)| memo.next(schedule, time)).min()
    }

    /// How many were due between two times, up to a bound.
    pub(super) fn due_between(&self, from: Timestamp, to: Timestamp, most: usize) -> usize {
        let mut at = from;
        let mut count = 0;
        while let Some(next) = self.next(at).filter(|next| *next < to && count < most) {
            (at, count) = (next, count + 1);
        }
        count
    }
}

/// What is known of a source, before it is judged.
pub(super) struct Known<'k> {
    pub(super) routine: &'k Routine,
    pub(super) schedules: &'k Schedules,
    /// The newest backup that is not dated in the future.
    pub(super) last: Option<&'k Mark>,
    /// Whether others are, if there is none.
    pub(super) is_ahead: bool,
    pub(super) last_run: Option<&'k StoredJob>,
    pub(super) error: Option<&'k str>,
    pub(super) has_listing: bool,
    pub(super) now: Timestamp,
}

/// How a source stands, and why.
pub(super) fn judge(known: &Known<'_>) -> (Health, String) {
    if let Some(error) = known.error {
        return (Health::Unreadable, error.to_owned());
    }
    let is_older = |job: &&StoredJob| job.finished >= known.last.map(|mark| mark.start);
    if let Some(job) = known.last_run.filter(|job| job.state == JobState::Failure).filter(is_older) {
        return (Health::Failed, job.error.clone().unwrap_or_default());
    }
    let Some(last) = known.last else {
        return if known.is_ahead {
            (Health::Late, "what was backed up is dated in the future: by a clock that was ahead".to_owned())
        } else if !known.routine.is_enabled() {
            (Health::Paused, "it runs on no schedule, and nothing was backed up".to_owned())
        } else if known.has_listing {
            (Health::None, "nothing was backed up yet".to_owned())
        } else {
            (Health::None, String::new())
        };
    };
    let age = known.now.as_millis() - last.end.as_millis();
    if known.routine.max_age.is_some_and(|most| age > i64::from(most) * 1000) {
        return (Health::Late, format!("the newest backup is {} old", show::duration(age)));
    }
    if !known.routine.is_enabled() {
        return (Health::Paused, "it runs on no schedule".to_owned());
    }
    // The run of a time that has just come is still at work: two in a row are missed.
    let second = known.schedules.next(last.start).and_then(|first| known.schedules.next(first));
    if second.is_some_and(|second| second.as_millis() + GRACE_MILLIS < known.now.as_millis()) {
        let missed = known.schedules.due_between(last.start, known.now, MOST_LATE);
        let most = if missed == MOST_LATE { "at least " } else { "" };
        return (Health::Late, format!("{most}{missed} runs were due since the newest backup"));
    }
    if !last.complete {
        return (Health::Incomplete, "the newest backup lacks something".to_owned());
    }
    (Health::Fine, String::new())
}

/// The same of one whose backups are files: they are listed elsewhere.
fn of_files(routine: &Routine, last_run: Option<&StoredJob>) -> (Health, String) {
    let words = "its backups are files (format: asb): GET /v1/backups lists them".to_owned();
    match last_run.map(|job| (job.state, job.error.clone().unwrap_or_default())) {
        Some((JobState::Failure, error)) => (Health::Failed, error),
        Some((JobState::Incomplete, error)) => (Health::Incomplete, error),
        _ if !routine.is_enabled() => (Health::Paused, words),
        None => (Health::None, words),
        Some(_) => (Health::Fine, words),
    }
}

/// Runs of one that is late are counted up to so many: there may be a thousand such sources on a page.
const MOST_LATE: usize = 100;

/// How long a run that is due may take before it is missed.
const GRACE_MILLIS: i64 = 60_000;

/// A source as pages show it.
pub(super) struct Source {
    pub(super) name: String,
    /// What it reads.
    pub(super) reads: String,
    pub(super) tenant: Option<String>,
    pub(super) health: Health,
    pub(super) why: String,
    pub(super) marks: Arc<Vec<Mark>>,
    pub(super) next: Option<Timestamp>,
    pub(super) running: Option<(Work, RunningJob)>,
    pub(super) verified: Option<(Timestamp, bool)>,
    /// When all its records were last read back out of a restore or a drill and found equal.
    pub(super) proved: Option<Timestamp>,
    /// When its repository was read, if that could not be done now.
    pub(super) as_of: Option<Timestamp>,
}

impl Source {
    /// The newest snapshot.
    pub(super) fn last(&self) -> Option<&Mark> {
        self.marks.last()
    }

    /// Bytes that its snapshots added.
    pub(super) fn added(&self) -> u64 {
        self.marks.iter().map(|mark| mark.added).sum()
    }

    /// Full copies of all its snapshots over what they added, where that is more.
    pub(super) fn times(&self) -> Option<f64> {
        let copies: u128 = self.marks.iter().map(|mark| u128::from(mark.bytes)).sum();
        let added = self.added();
        (added > 0).then(|| copies as f64 / added as f64).filter(|times| *times >= 1.05)
    }
}

/// What a routine reads, for people.
pub(super) fn reads(config: &Config, routine: &Routine) -> String {
    if let Some(url) = &routine.source {
        return crate::connector::url::without_password(url);
    }
    let name = routine.source_cluster.as_deref().unwrap_or_default();
    let url = config.clusters.get(name).map(|cluster| cluster_url(cluster, None)).unwrap_or_default();
    match routine.namespaces.as_deref() {
        Some(namespaces) if !namespaces.is_empty() => format!("{name} ({url}): {}", namespaces.join(", ")),
        _ => format!("{name} ({url})"),
    }
}

/// The newest jobs of routines.
struct Newest {
    runs: state::Newest,
    checks: state::Newest,
}

impl Newest {
    fn read(state: &State, only: Option<&str>) -> Result<Self, ServiceError> {
        let newest = |verb: &str, done: bool| match only {
            None => state.newest_ended(verb, done),
            Some(routine) => {
                let found = state.newest_ended_of(routine, verb, done)?;
                Ok(Arc::new(found.into_iter().map(|job| (routine.to_owned(), Arc::new(job))).collect()))
            }
        };
        Ok(Self { runs: newest("backup", false)?, checks: newest("verify", true)? })
    }

    fn verified(&self, name: &str) -> Option<(Timestamp, bool)> {
        let job = self.checks.get(name)?;
        Some((job.finished?, job.state == JobState::Success))
    }
}

impl Console {
    /// The schedules of a routine, read once.
    fn schedules(&self, config: &Config, routine: &Routine) -> Arc<Schedules> {
        let zone = zone_of(config, routine).map(str::to_owned);
        let key = [Some(routine.interval_cron.clone()), routine.incr_interval_cron.clone(), zone];
        let mut read = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= MOST_READ {
            read.clear();
        }
        Arc::clone(read.entry(key).or_insert_with(|| Arc::new(Schedules::of(config, routine))))
    }

    /// Every source that somebody has to do with, or the one that is named.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn sources(&self, visit: &Visit, only: Option<&str>) -> Result<Vec<Source>, ServiceError> {
        let config = self.service.config();
        let newest = Newest::read(&self.service.state, only)?;
        let mut running: BTreeMap<String, (Work, RunningJob)> = BTreeMap::new();
        for (work, job) in all_running(&self.service) {
            if let Some(routine) = work.routine().filter(|_| matches!(work, Work::Backup { .. })) {
                running.insert(routine.to_owned(), (work.clone(), job));
            }
        }
        let is_meant = |name: &str, routine: &Routine| {
            only.is_none_or(|only| only == name) && visit.caller.may_routine(name, routine.tenant.as_deref())
        };
        let meant: Vec<_> = config.routines.iter().filter(|(name, routine)| is_meant(name, routine)).collect();
        // Of each repository one routine is looked at.
        let places: BTreeMap<_, &Routine> = meant
            .iter()
            .filter(|(_, routine)| !config.keeps_files(routine))
            .map(|(_, routine)| (place_name(routine), *routine))
            .collect();
        let routines: Vec<&Routine> = places.values().copied().collect();
        let looked: HashMap<_, Seen> = places.keys().cloned().zip(self.shelves.look(&config, &routines)).collect();
        let mut all = Vec::new();
        for (name, routine) in meant {
            let keeps_files = config.keeps_files(routine);
            let seen = looked.get(&place_name(routine)).cloned().unwrap_or_default();
            let marks = seen.marks.as_ref().and_then(|all| all.get(name)).cloned().unwrap_or_default();
            let schedules = self.schedules(&config, routine);
            let (health, why) = judge(&Known {
                routine,
                schedules: &schedules,
                last: marks.iter().rfind(|mark| !is_ahead(mark.end, visit.now)),
                is_ahead: !marks.is_empty(),
                last_run: newest.runs.get(name).map(Arc::as_ref),
                error: seen.error.as_deref(),
                has_listing: seen.marks.is_some(),
                now: visit.now,
            });
            let (health, why) =
                if keeps_files { of_files(routine, newest.runs.get(name).map(Arc::as_ref)) } else { (health, why) };
            all.push(Source {
                name: name.clone(),
                reads: reads(&config, routine),
                tenant: routine.tenant.clone(),
                health,
                why,
                marks,
                next: schedules.next(visit.now).filter(|_| routine.is_enabled()),
                running: running.remove(name),
                verified: newest.verified(name),
                proved: self.service.proved(&config, name)?.map(|proof| proof.finished),
                as_of: seen.at.filter(|_| seen.error.is_some()),
            });
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        repo::manifest::Kind,
        service::{
            briefs::Brief,
            console::timeline::tests::{hourly, mark},
        },
    };

    use serde_json::Value as Json;

    const HOUR: i64 = 3_600_000;

    fn run(state: JobState, finished: Timestamp) -> StoredJob {
        StoredJob {
            id: 1,
            work: Work::backup("a", true),
            state,
            tenant: None,
            by: "schedule".to_owned(),
            created: finished,
            due: None,
            begin: finished,
            started: Some(finished),
            finished: Some(finished),
            attempts: 1,
            result: Json::Null,
            error: Some("no such host".to_owned()),
            error_kind: None,
        }
    }

    #[test]
    fn what_is_kept_in_mind_of_a_schedule_is_what_it_says() {
        let routine = |cron: &str| Routine { interval_cron: cron.to_owned(), ..Routine::default() };
        for cron in ["*/7 * * * *", "0 0 0 1 1 ? 2030", "0 3 * * 1"] {
            let (config, routine) = (Config::default(), routine(cron));
            let kept = Schedules::of(&config, &routine);
            for step in 0..400_i64 {
                // Back and forth, about an hour apart.
                let millis = 1_764_000_000_000 + (step * 37 % 101) * 3_000_000 + step % 2;
                let time = Timestamp::from_millis(millis);
                assert_eq!(kept.next(time), Schedules::of(&config, &routine).next(time), "{cron} {millis}");
            }
        }
    }

    #[test]
    fn how_a_source_stands_follows_from_its_schedule_its_backups_and_its_last_run() {
        let last = mark(1, 0, Kind::Full);
        let later = |minutes: i64| Timestamp::from_millis(last.end.as_millis() + minutes * 60_000);
        let routine = Routine::default();
        let hourly = hourly();
        let of = |known: &Known<'_>| judge(known).0;
        let with = |minutes: i64| Known {
            routine: &routine,
            schedules: &hourly,
            last: Some(&last),
            is_ahead: false,
            last_run: None,
            error: None,
            has_listing: true,
            now: later(minutes),
        };
        assert_eq!(of(&with(59)), Health::Fine);
        // A run that is due may still be at work.
        assert_eq!([90, 121, 122].map(|minutes| of(&with(minutes))), [Health::Fine, Health::Fine, Health::Late]);
        let failed = run(JobState::Failure, later(30));
        let words = judge(&Known { last_run: Some(&failed), ..with(40) });
        assert_eq!(words, (Health::Failed, "no such host".to_owned()));
        let before = run(JobState::Failure, Timestamp::from_millis(last.start.as_millis() - HOUR));
        assert_eq!(of(&Known { last_run: Some(&before), ..with(40) }), Health::Fine);
        assert_eq!(of(&Known { error: Some("gone"), ..with(40) }), Health::Unreadable);
        assert_eq!(of(&Known { last: None, ..with(40) }), Health::None);
        assert_eq!(of(&Known { last: None, is_ahead: true, ..with(40) }), Health::Late);
        let partial = Arc::new(Brief { complete: false, ..(*last).clone() });
        assert_eq!(of(&Known { last: Some(&partial), ..with(40) }), Health::Incomplete);
        let paused = Routine { disabled: Some(true), ..Routine::default() };
        assert_eq!(of(&Known { routine: &paused, ..with(1000) }), Health::Paused);
        let strict = Routine { max_age: Some(600), ..Routine::default() };
        assert_eq!(
            [9, 11].map(|minutes| of(&Known { routine: &strict, ..with(minutes) })),
            [Health::Fine, Health::Late]
        );
    }
}
