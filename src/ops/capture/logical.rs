//! Capturing a database as it changes: what its log tells becomes a snapshot now and then, and the log is let go only then.
//! What holds, and why, is written in `docs/change-streams.md`.

mod base;
mod doubles;
mod lineage;
mod numbers;
mod part;
mod round;

use super::{CaptureOutcome, MAX_FAILURES};
use crate::{
    connector::postgres::{
        log::Lsn,
        logical::{Database, Follower, SlotStanding, Span, Stopper},
    },
    ops::{
        OpsError, Phase, PhaseKind, Progress, StreamStanding,
        backup::BackupOptions,
        stream::{StreamOptions, StreamSource},
        tag::check_tags,
        watched::watched,
    },
    record::{Timestamp, pause},
    repo::Repository,
    report::{ErrorKind, WarningKind},
};
use lineage::{Lineage, Needs};
use round::{Round, Summary};
use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How a database is captured.
#[derive(Debug, Clone)]
pub struct LogicalOptions {
    /// The name of the slot and the publication.
    pub slot: String,
    /// How often what was committed is read.
    pub every: Duration,
    /// End when all is there that was committed at the start.
    pub once: bool,
    /// How often the server is asked how it stands.
    pub poll: Duration,
}

/// What a capture works with.
pub struct Logical<'a> {
    /// Where it goes.
    pub repo: &'a Repository,
    /// The database.
    pub database: &'a Database,
    /// Whose changes these are.
    pub source: &'a StreamSource,
    /// How they are written.
    pub stream: &'a StreamOptions,
    /// How bases are taken.
    pub backup: &'a BackupOptions,
    /// How changes are captured.
    pub options: &'a LogicalOptions,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

/// One reading ends with the first transaction behind so many messages.
const MESSAGES: i32 = 100_000;

/// A snapshot is committed for this much log in which there was nothing of ours, so that the server can let it go.
const IDLE_BYTES: u64 = 16 << 20;

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How often it is looked whether to stop what the server is asked.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Captures until it is told to stop, or with `once` until all is there that was committed.
///
/// # Errors
/// [`OpsError`]. What was committed stays, and the server keeps what was not.
pub fn capture_logical(logical: &Logical<'_>) -> Result<CaptureOutcome, OpsError> {
    check_tags(&logical.stream.tags)?;
    let stopper: Mutex<Option<Stopper>> = Mutex::new(None);
    let look = || {
        if logical.progress.cancelled()
            && let Some(stopper) = &*stopper.lock().unwrap_or_else(PoisonError::into_inner)
        {
            stopper.stop();
        }
        ControlFlow::Continue(())
    };
    let mut course = Course {
        outcome: CaptureOutcome { complete: true, ..CaptureOutcome::default() },
        recovery_point: None,
        position: Lsn::default(),
        goal: None,
        failures: 0,
        all_failures: 0,
        is_warned: false,
    };
    match watched(LOOK_AROUND, look, || logical.run(&mut course, &stopper)) {
        Err(_) if logical.progress.cancelled() && !logical.options.once => Ok(course.outcome),
        Err(_) if logical.progress.cancelled() => Err(OpsError::Interrupted),
        Err(error) => Err(error),
        Ok(()) => Ok(course.outcome),
    }
}

/// How far a capture is.
struct Course {
    outcome: CaptureOutcome,
    /// What was committed by then is in a snapshot, by the server's clock.
    recovery_point: Option<Timestamp>,
    /// What was committed before it is in a snapshot.
    position: Lsn,
    /// With `once`: what was committed at the start.
    goal: Option<Lsn>,
    failures: u32,
    all_failures: u64,
    /// Whether it was said that the server may give the slot up.
    is_warned: bool,
}

/// What a look at the log came to.
enum Came {
    /// All of it is there.
    All,
    /// There is more.
    Part,
    /// What differs is to be read again, for this reason, and these tables in any case.
    NeedsPart(String, BTreeSet<String>),
    /// A base is needed, for this reason; with what was there before if it still says what was so.
    NeedsBase(String, bool),
}

impl Logical<'_> {
    fn run(&self, course: &mut Course, stopper: &Mutex<Option<Stopper>>) -> Result<(), OpsError> {
        let mut has_worked = false;
        loop {
            let ended =
                self.connect(stopper).and_then(|mut follower| self.follow(&mut follower, course, &mut has_worked));
            let Err(error) = ended else { return Ok(()) };
            let is_lasting = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
            course.failures += 1;
            course.all_failures += 1;
            if !has_worked
                || is_lasting
                || self.options.once
                || course.failures >= MAX_FAILURES
                || self.progress.cancelled()
            {
                return Err(error);
            }
            let words = format!("nothing is lost, and it is tried again: {error}");
            self.progress.warn(WarningKind::DoneAgain, self.options.slot.as_str(), words);
            let time = Duration::from_secs(1 << (course.failures - 1).min(5)).min(MAX_PAUSE);
            pause(time, || self.progress.cancelled());
        }
    }

    fn connect(&self, stopper: &Mutex<Option<Stopper>>) -> Result<Follower, OpsError> {
        let mut follower = self.database.connect(&self.options.slot)?;
        *stopper.lock().unwrap_or_else(PoisonError::into_inner) = Some(follower.stopper());
        follower.claim(&|| self.progress.cancelled())?;
        Ok(follower)
    }

    fn phase(&self, follower: &Follower) {
        let object = follower.object().to_owned();
        self.progress.phase(&Phase { kind: PhaseKind::Capturing, object, ..Phase::default() });
    }

    /// Follows over one connection.
    fn follow(&self, follower: &mut Follower, course: &mut Course, has_worked: &mut bool) -> Result<(), OpsError> {
        if !*has_worked && follower.log_limit()?.is_none() {
            let words = "nothing limits the log that the server keeps while no capture runs (max_slot_wal_keep_size): its disk may fill";
            self.progress.warn(WarningKind::Note, follower.object(), words);
        }
        let standing = follower.standing()?;
        course.goal = course.goal.or(Some(standing.flush));
        let found = lineage::newest(self)?;
        let mut lineage = match found {
            None => self.begin(follower, None, course)?,
            Some(found) => match found.gap(&standing, follower.system().as_deref()) {
                None => found,
                Some(why) => self.begin_anew(follower, &why, course)?,
            },
        };
        follower.follow(lineage.followed(), &lineage.state.oids)?;
        self.phase(follower);
        *has_worked = true;
        let mut read: Option<Instant> = None;
        while !self.progress.cancelled() {
            let is_due = read.is_none_or(|read| read.elapsed() >= self.options.every);
            if !is_due {
                let left = read.map_or(Duration::ZERO, |read| self.options.every.saturating_sub(read.elapsed()));
                pause(self.options.poll.min(left), || self.progress.cancelled());
                let standing = follower.standing()?;
                self.tell(course, &standing);
                continue;
            }
            let began = Instant::now();
            match self.look(follower, &mut lineage, course)? {
                Came::All => read = Some(began),
                Came::Part => {}
                Came::NeedsPart(why, again) => {
                    lineage = self.read_again(follower, lineage, (&why, again), course)?;
                    follower.follow(lineage.followed(), &lineage.state.oids)?;
                    self.phase(follower);
                    read = None;
                }
                Came::NeedsBase(why, is_whole) => {
                    lineage = if is_whole {
                        self.rebase(follower, &lineage, &why, course)?
                    } else {
                        self.begin_anew(follower, &why, course)?
                    };
                    follower.follow(lineage.followed(), &lineage.state.oids)?;
                    self.phase(follower);
                    read = None;
                }
            }
            course.failures = 0;
            if self.options.once && read.is_some() && course.goal.is_some_and(|goal| course.position >= goal) {
                return Ok(());
            }
        }
        if self.options.once { Err(OpsError::Interrupted) } else { Ok(()) }
    }

    /// Reads what was committed since, and commits it.
    fn look(&self, follower: &mut Follower, lineage: &mut Lineage, course: &mut Course) -> Result<Came, OpsError> {
        let standing = follower.standing()?;
        if let Some(why) = lineage.gap(&standing, None) {
            return Ok(Came::NeedsBase(why, false));
        }
        course.position = lineage.state.position;
        self.tell(course, &standing);
        match lineage.check(self, follower)? {
            // Also where there is nothing to commit.
            Needs::Nothing => {
                course.outcome.complete &= lineage.state.is_whole;
                Self::note_missing(&lineage.problems, course);
            }
            Needs::Part(why, again) => return Ok(Came::NeedsPart(why, again)),
            Needs::Base(why) => {
                // A publication that was away tells nothing of that time, and nothing of before along with it.
                let span = Span { after: lineage.state.position, upto: standing.flush, messages: i32::MAX };
                return Ok(match follower.why_unreadable(&span)? {
                    None => Came::NeedsBase(why, true),
                    Some(said) => Came::NeedsBase(format!("{why}: {said}"), false),
                });
            }
        }
        if standing.flush <= lineage.state.position && !lineage.is_new {
            course.recovery_point = Some(standing.now);
            return Ok(Came::All);
        }
        let span = Span { after: lineage.state.position, upto: standing.flush, messages: MESSAGES };
        let mut round = Round::new(self, lineage, None);
        let taken = match follower.take(&span, &mut round) {
            Ok(taken) => taken,
            Err(error) => return Err(round.abandon(error)),
        };
        if let Some(differs) = taken.differs {
            round.give_up();
            return Ok(Came::NeedsPart(differs.why, BTreeSet::from([differs.table])));
        }
        let is_idle = !round.has_changes();
        let is_far = taken.reached.behind(lineage.state.position) >= IDLE_BYTES;
        if is_idle && !is_far && !lineage.is_new {
            course.position = taken.reached;
        } else {
            let until = (!taken.is_cut).then_some(standing.now);
            let kept = round.commit(follower, taken.reached, until)?;
            self.count(lineage, kept, course);
            course.position = lineage.state.position;
            follower.advance(lineage.state.position)?;
        }
        if !taken.is_cut {
            course.recovery_point = Some(standing.now);
        }
        self.tell(course, &follower.standing()?);
        Ok(if taken.is_cut { Came::Part } else { Came::All })
    }

    /// Counts a commit; the stream goes on from it.
    fn count(&self, lineage: &mut Lineage, summary: Summary, course: &mut Course) {
        let Summary { commit, state, attributes, lifted, lost, bytes } = summary;
        self.progress.count(commit.counts.changes, bytes);
        course.outcome.add(&commit);
        course.outcome.lifted += lifted;
        course.outcome.lost += lost;
        Self::note_missing(&commit.problems, course);
        Self::note_missing(&lineage.problems, course);
        course.outcome.complete &= course.outcome.lost == 0;
        lineage.go_on(&commit, state, attributes);
    }

    /// Notes what is missing, in words.
    fn note_missing(problems: &[String], course: &mut Course) {
        course.outcome.complete &= problems.is_empty();
        for problem in problems {
            if course.outcome.problems.len() < super::MAX_PROBLEMS && !course.outcome.problems.contains(problem) {
                course.outcome.problems.push(problem.clone());
            }
        }
    }

    /// Tells how far the capture is.
    fn tell(&self, course: &mut Course, standing: &SlotStanding) {
        let slot = standing.slot.as_ref();
        let retained_bytes = slot.map(|slot| slot.retained_bytes);
        let is_unsafe = slot.is_some_and(|slot| {
            slot.wal_status.as_deref() == Some("unreserved")
                || slot.safe_bytes.is_some_and(|safe| safe < slot.retained_bytes)
        });
        if is_unsafe && !course.is_warned {
            let words = format!(
                "the server holds back {} MiB of log for slot {}, and gives it up after {} MiB more: then a new base is needed",
                retained_bytes.unwrap_or(0) >> 20,
                self.options.slot,
                slot.and_then(|slot| slot.safe_bytes).unwrap_or(0) >> 20,
            );
            self.progress.warn(WarningKind::Problem, self.options.slot.as_str(), words);
        }
        course.is_warned = is_unsafe;
        let behind = |point: Timestamp| standing.now.as_millis().saturating_sub(point.as_millis()).max(0) / 1000;
        self.progress.stream(&StreamStanding {
            recovery_point: course.recovery_point,
            last_commit: course.outcome.end,
            lag_seconds: course.recovery_point.map_or(0, behind).unsigned_abs(),
            recoveries_pending: u64::from(course.recovery_point.is_none()),
            sources: 1,
            silent_sources: 0,
            connections: 2,
            waiting_bytes: standing.flush.behind(course.position),
            commits: course.outcome.commits,
            changes: course.outcome.changes,
            failures: course.all_failures,
            faults: course.outcome.lost,
            retained_bytes,
        });
    }
}
