//! Capturing a cluster as it changes: what XDR ships becomes a snapshot now and then, and is acknowledged only then.

use super::{CaptureOutcome, MAX_FAILURES};
use crate::{
    connector::aerospike::xdr::{
        center::{Center, MARGIN_SECONDS, Standing},
        listener::{AGAIN, DONE, Listener, Taken},
    },
    ops::{
        OpsError, Phase, PhaseKind, Progress, StreamStanding,
        hearing::telling,
        stream::{StreamCollection, StreamCommit, StreamEnd, StreamOptions, StreamSource, StreamWriter},
        tag::check_tags,
    },
    record::{Clock as _, KeyCodec, SystemClock, Timestamp},
    repo::{By, Repository, Snapshot, manifest::Kind},
    report::WarningKind,
};
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// How a cluster is captured.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// A change waits at most so long for its snapshot.
    pub every: Duration,
    /// When nothing has come for so long, what came is committed.
    pub idle: Duration,
    /// End when everything that was there is shipped and nothing lags behind.
    pub once: bool,
    /// Hold up transactions for that end, so that it is consistent.
    pub checkpoint: bool,
    /// Take the data center away at the end, however it comes.
    pub remove: bool,
    /// How often nodes are asked how far they are.
    pub poll: Duration,
    /// With `once`: give up if nothing comes for so long although there is something to come.
    pub start_timeout: Duration,
    /// Why what is shipped may not be all that is not in the newest snapshot.
    pub gap: Option<String>,
    /// Whether a person named the source, and so said that it is the same.
    pub chosen: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            idle: Duration::from_secs(1),
            once: false,
            checkpoint: true,
            remove: false,
            poll: Duration::from_secs(1),
            start_timeout: Duration::from_secs(30),
            gap: None,
            chosen: false,
        }
    }
}

/// Where a snapshot's attributes say by when everything that was made is in it: `{"shipped_by": milliseconds}`.
const STATE: &str = "xdr";

/// By when everything that was made is in a snapshot; none if it does not show so.
fn shipped_by(snapshot: &Snapshot) -> Option<Timestamp> {
    match snapshot.content.kind {
        // What a commit of a stream holds is what had come by then, whenever that was made.
        Kind::Journal => {
            let state = snapshot.content.attributes.get(STATE)?;
            state.get("shipped_by")?.as_i64().map(Timestamp::from_millis)
        }
        _ => Some(snapshot.content.start),
    }
}

fn newest(repo: &Repository, source: &StreamSource) -> Result<Option<Snapshot>, OpsError> {
    let its = |snapshot: &Snapshot| snapshot.source().is_same(&source.source) && snapshot.content.scope == source.scope;
    Ok(repo.last(By::Source(&source.source), Some(&source.scope), &its)?)
}

/// How far back nodes have to ship so that nothing is missed of what is not in the newest snapshot: as [`CenterOptions`] say it.
/// `cluster` is what time it is there, by which backups are stamped.
///
/// [`CenterOptions`]: crate::connector::aerospike::xdr::center::CenterOptions
///
/// # Errors
/// [`OpsError`] from the repository.
pub fn rewind(repo: &Repository, source: &StreamSource, cluster: Timestamp) -> Result<u64, OpsError> {
    let Some(newest) = newest(repo, source)? else { return Ok(0) };
    let Some(by) = shipped_by(&newest) else { return Ok(0) };
    let own = repo.clock().now();
    let now = if newest.content.kind == Kind::Journal { own } else { own.max(cluster) };
    let since = now.as_millis().saturating_sub(by.as_millis());
    // A moment that lies ahead says that a clock was set: how long ago it was is not known.
    Ok(u64::try_from(since).map_or(0, |since| since / 1000 + MARGIN_SECONDS))
}

/// Holds up transactions until it is dropped.
struct Held<'a> {
    center: &'a Center,
    progress: &'a dyn Progress,
}

impl<'a> Held<'a> {
    fn begin(center: &'a Center, progress: &'a dyn Progress) -> Result<Self, OpsError> {
        // Made first, so that nodes that took the order are released although another refused it.
        let held = Self { center, progress };
        center.hold_transactions(true)?;
        Ok(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.center.hold_transactions(false) {
            let words = format!("writes of transactions are still held up on some node: release them: {error}");
            self.progress.warn(WarningKind::CleanupFailed, self.center.namespace(), words);
        }
    }
}

/// What a capture works with.
pub struct Live<'a> {
    /// Where it goes.
    pub repo: &'a Repository,
    /// The cluster.
    pub center: &'a Center,
    /// What it ships to.
    pub listener: &'a Listener,
    /// Whose changes these are.
    pub source: &'a StreamSource,
    /// How they are written.
    pub stream: &'a StreamOptions,
    /// How they are captured.
    pub options: &'a LiveOptions,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

/// Captures until it is told to stop, or with `once` until all is shipped.
///
/// # Errors
/// [`OpsError`]. What was committed stays; what was not acknowledged is shipped again.
pub fn capture_live(live: &Live<'_>) -> Result<CaptureOutcome, OpsError> {
    check_tags(&live.stream.tags)?;
    live.progress.phase(&Phase {
        kind: PhaseKind::Capturing,
        object: live.center.namespace().to_owned(),
        ..Phase::default()
    });
    let center = live.center;
    let ended = telling(live.progress, || center.waits_for(), || live.run());
    if live.options.remove || live.options.once {
        let removed = live.center.remove();
        if let Err(error) = removed {
            let words = format!("the data center is still there on some node: {error}");
            live.progress.warn(WarningKind::CleanupFailed, live.center.namespace(), words);
        }
    }
    ended
}

/// How far a capture is.
struct Course<'a> {
    outcome: CaptureOutcome,
    /// Whether everything that was there when the data center was made has been shipped.
    is_whole: bool,
    /// Whether a snapshot says so.
    is_said: bool,
    /// Whether nodes have to ship all that is there.
    ships_all: bool,
    /// Messages that came, and records that are there, where those are by far more.
    lacking: Option<(u64, u64)>,
    standing: Standing,
    /// What was made by then is in a snapshot.
    recovery_point: Option<Timestamp>,
    /// Commits that failed, one after the other, and all of them.
    failures: u32,
    all_failures: u64,
    held: Option<Held<'a>>,
    /// When transactions were held up, or what was to come had come.
    checkpoint: Option<Instant>,
    /// Why what is shipped may not be all that is missing.
    gap: Option<&'a str>,
    began: Instant,
    looked: Instant,
}

impl Course<'_> {
    fn add(&mut self, commit: &StreamCommit) {
        self.outcome.add(commit);
        self.is_said |= commit.is_exact;
    }
}

impl Live<'_> {
    fn run(&self) -> Result<CaptureOutcome, OpsError> {
        if let Some(newest) = newest(self.repo, self.source)? {
            self.center.check_nodes(&newest.id.short(), &newest.content.attributes, self.options.chosen)?;
        }
        self.center.check_name()?;
        self.make_anew()?;
        let ships_all = self.center.ships_all() && !self.center.goes_on();
        // What goes on ships what it has not shipped, whatever was said of the time before.
        let gap = self.options.gap.as_deref().filter(|_| !self.center.goes_on());
        self.make_center()?;
        let mut course = Course {
            outcome: CaptureOutcome { complete: true, ..CaptureOutcome::default() },
            is_whole: false,
            is_said: false,
            ships_all,
            lacking: None,
            standing: Standing::default(),
            recovery_point: None,
            failures: 0,
            all_failures: 0,
            held: None,
            checkpoint: None,
            gap,
            began: Instant::now(),
            looked: Instant::now(),
        };
        if let Some(gap) = gap {
            self.progress.warn(WarningKind::Problem, self.center.namespace(), gap.to_owned());
            course.outcome.problems.push(gap.to_owned());
            course.outcome.complete = false;
        }
        let mut polled: Option<Instant> = None;
        while !self.progress.cancelled() {
            let wanted = || !self.progress.cancelled();
            let idle = if self.options.once { self.options.idle.min(self.options.poll) } else { self.options.idle };
            let taken = self.listener.take(self.options.every, idle, &wanted);
            let is_quiet = taken.is_none();
            if polled.is_none_or(|polled| polled.elapsed() >= self.options.poll) {
                self.look(&mut course);
                polled = Some(Instant::now());
            }
            if let Some(taken) = taken {
                self.keep(taken, &mut course)?;
            }
            // What was there has come, and the last snapshot does not say so.
            if is_quiet && course.is_whole && !course.is_said {
                let commit = self.commit(None, &course)?;
                course.add(&commit);
            }
            if self.options.once && self.is_over(&mut course, is_quiet)? {
                break;
            }
        }
        if self.progress.cancelled() && self.options.once {
            return Err(OpsError::Interrupted);
        }
        course.outcome.complete &= course.outcome.lost == 0;
        Ok(course.outcome)
    }

    /// Takes away a data center that is there already if this repository has nothing that it shipped: it shipped to another one, and
    /// would not ship that again.
    fn make_anew(&self) -> Result<(), OpsError> {
        let newest = newest(self.repo, self.source)?;
        if !self.center.goes_on() || newest.is_some_and(|newest| newest.content.kind == Kind::Journal) {
            return Ok(());
        }
        let words =
            "the data center is there already, and nothing that it shipped is in this repository: it is made anew";
        self.progress.warn(WarningKind::DoneAgain, self.center.namespace(), words.to_owned());
        Ok(self.center.remove()?)
    }

    /// Makes the data center; a node that goes or comes just then is asked again.
    fn make_center(&self) -> Result<(), OpsError> {
        let began = Instant::now();
        loop {
            let Err(error) = self.center.spread() else { return Ok(()) };
            if !Center::may_pass(&error) || began.elapsed() >= self.options.start_timeout {
                return Err(error.into());
            }
            self.progress.warn(WarningKind::Problem, self.center.namespace(), error.to_string());
            crate::record::pause(self.options.poll, || self.progress.cancelled());
            if self.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
        }
    }

    /// Asks nodes how far they are, and makes the data center on those that have none.
    fn look(&self, course: &mut Course<'_>) {
        // A node that goes or comes may not answer now; it is asked again.
        if let Err(error) = self.center.spread() {
            self.progress.warn(WarningKind::Problem, self.center.namespace(), error.to_string());
        }
        course.looked = Instant::now();
        let asked = self.repo.clock().now();
        course.standing = self.center.standing();
        let lag = course.standing.lag;
        course.lacking = None;
        if course.ships_all && !course.is_whole && course.standing.recoveries_pending == 0 {
            let (came, there) = (self.listener.arrived(), self.center.records().unwrap_or_default());
            // What is over and not yet removed is counted, and not shipped.
            course.lacking = (came < there.div_ceil(2)).then_some((came, there));
        }
        let is_whole = course.standing.is_recovered() && course.lacking.is_none();
        course.is_whole |= is_whole;
        if is_whole {
            // What is not acknowledged counts as lag, and lag is told in whole seconds.
            let behind = i64::try_from(lag.saturating_add(1).saturating_mul(1000)).unwrap_or(i64::MAX);
            let point = Timestamp::from_millis(asked.as_millis().saturating_sub(behind));
            course.recovery_point = course.recovery_point.max(Some(point));
        }
        self.tell(course);
    }

    /// Tells how far the capture is.
    fn tell(&self, course: &Course<'_>) {
        let Standing { lag, recoveries_pending, nodes, silent, .. } = course.standing;
        self.progress.stream(&StreamStanding {
            recovery_point: course.recovery_point,
            last_commit: course.outcome.end,
            lag_seconds: lag,
            recoveries_pending,
            sources: nodes as u64,
            silent_sources: silent as u64,
            connections: self.listener.connections() as u64,
            waiting_bytes: self.listener.waiting_bytes() as u64,
            commits: course.outcome.commits,
            changes: course.outcome.changes,
            failures: course.all_failures,
            faults: self.listener.faults(),
            retained_bytes: None,
        });
    }

    /// Makes what came durable and answers for it.
    fn keep(&self, taken: Taken, course: &mut Course<'_>) -> Result<(), OpsError> {
        for fault in &taken.faults {
            self.progress.warn(WarningKind::Problem, self.center.namespace(), fault.clone());
        }
        if taken.batch.is_empty() {
            let _ = taken.answer(DONE);
            return Ok(());
        }
        match self.commit(Some(&taken), course) {
            Ok(commit) => {
                course.failures = 0;
                self.progress.count(taken.batch.len() as u64, taken.batch.bytes() as u64);
                // Whoever is gone ships again what it was not told, and finds it there.
                let _ = taken.answer(DONE);
                course.add(&commit);
                Ok(())
            }
            Err(error) => {
                course.failures += 1;
                course.all_failures += 1;
                let again = format!("{} changes could not be kept, and are shipped again: {error}", taken.batch.len());
                let _ = taken.answer(AGAIN);
                if course.failures >= MAX_FAILURES || self.progress.cancelled() {
                    return Err(error);
                }
                self.progress.warn(WarningKind::DoneAgain, self.center.namespace(), again);
                crate::record::pause(self.options.poll, || self.progress.cancelled());
                Ok(())
            }
        }
    }

    fn commit(&self, taken: Option<&Taken>, course: &Course<'_>) -> Result<StreamCommit, OpsError> {
        let collection = StreamCollection {
            name: self.center.namespace().to_owned(),
            codec: KeyCodec::Digest,
            attributes: serde_json::Value::Null,
        };
        let mut writer = StreamWriter::begin(self.repo, self.source, &[collection], self.stream, self.progress)?;
        if writer.parent().is_none() {
            writer.describe(0, json!({ "format": 1, "sets": [], "set_records": {}, "sindexes": [] }));
        }
        let parent = writer.parent();
        let mut attributes = parent.map_or(Json::Null, |parent| parent.content.attributes.clone());
        self.center.describe(&mut attributes);
        if let Some(by) = course.recovery_point.or_else(|| parent.and_then(shipped_by)) {
            attributes[STATE] = json!({ "shipped_by": by.as_millis() });
        }
        writer.set_attributes(attributes);
        writer.believe_no_later(SystemClock.now(), None);
        if let Some(taken) = taken
            && let Err(error) = writer.write(0, &taken.batch)
        {
            writer.abandon()?;
            return Err(error);
        }
        let problems = course.gap.iter().map(|gap| (*gap).to_owned()).collect();
        writer.commit(&StreamEnd { is_whole: course.is_whole, problems, ..StreamEnd::default() }, self.progress)
    }

    /// Whether all that was to be shipped has been.
    fn is_over<'s>(&'s self, course: &mut Course<'s>, is_quiet: bool) -> Result<bool, OpsError> {
        let Standing { lag, recoveries_pending, .. } = course.standing;
        let is_late = course.began.elapsed() >= self.options.start_timeout;
        if self.listener.arrived() == 0 && (recoveries_pending > 0 || course.lacking.is_some()) && is_late {
            return Err(OpsError::Failed(format!(
                "nothing was shipped in {} s: can the nodes reach the address that they were given?",
                self.options.start_timeout.as_secs()
            )));
        }
        if !course.standing.is_recovered() || course.lacking.is_some() && !is_late {
            return Ok(false);
        }
        let Some(checkpoint) = course.checkpoint else {
            if self.options.checkpoint {
                course.held = Some(Held::begin(self.center, self.progress)?);
            }
            course.checkpoint = Some(Instant::now());
            return Ok(false);
        };
        // What a node was behind by then has come when its lag is less than what has passed since.
        let has_come = lag == 0 || checkpoint.elapsed() > Duration::from_secs(lag);
        // Nodes were asked after it, and nothing has come since.
        if has_come && is_quiet && course.looked > checkpoint {
            course.held = None;
            if let Some((came, there)) = course.lacking {
                let words = format!(
                    "{there} records are in the namespace, and {came} were shipped: what came from other clusters is shipped only \
                     where that was asked for"
                );
                self.progress.warn(WarningKind::Problem, self.center.namespace(), words.clone());
                course.outcome.problems.push(words);
                course.outcome.complete = false;
            }
            return Ok(true);
        }
        Ok(false)
    }
}
