//! One drill from its beginning to its report.

use super::{
    Assertion, DrillOptions, DrillOutcome, DrillPlace, OpenTarget,
    scratch::{Scratch, TargetLock},
    scratch_url, shown,
};
use crate::{
    connector::Target,
    ops::{
        OpsError, Phase, PhaseKind, Progress,
        reading::Reading,
        restore::{RestoreOptions, RestoreOutcome, restore},
    },
    record::Timestamp,
    repo::{
        Capability, Repository, Snapshot,
        drills::{Check, DrillReport, DrilledCollection, MAX_COLLECTIONS, Program},
    },
    report::ErrorKind,
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Words of what went wrong that one check keeps.
const MAX_WORDS: usize = 20;

/// Bytes of one check's words.
const MAX_WORD_BYTES: usize = 8 * 1024;

/// Notes that a report keeps.
const MAX_NOTES: usize = 50;

/// What assertions are told.
struct Ground {
    url: String,
    path: Option<PathBuf>,
    scratch: Option<Scratch>,
    _lock: Option<TargetLock>,
}

/// Restores `snapshot` to a place that holds nothing, compares, runs the assertions, and keeps a report. Whatever is found
/// wrong is in the report; what is left in a scratch folder goes, however it ends.
///
/// # Errors
/// [`ErrorKind::RoleLacks`] if the keys do not allow it; [`ErrorKind::InvalidInput`] if a target is needed or makes no sense;
/// [`ErrorKind::Locked`] if another drill is in the target; [`OpsError::Interrupted`]. Then no report is kept.
pub fn drill(
    repo: &Repository,
    snapshot: &Snapshot,
    open: OpenTarget<'_>,
    options: &DrillOptions,
    progress: &dyn Progress,
) -> Result<DrillOutcome, OpsError> {
    repo.need(Capability::ReadValues)?;
    if options.keep {
        repo.need(Capability::Prune)?;
    }
    // It stays what it is until the last assertion has looked at it, whatever is forgotten meanwhile.
    let reading = Reading::begin(repo, "read drill", std::slice::from_ref(snapshot))?;
    let snapshot = &reading.snapshots()[0];
    let (mut ground, mut notes) = prepare(snapshot, options)?;
    let opened = match open(&ground.url) {
        Err(error) if error.kind().is_usage() || error.is_interruption() => return Err(error),
        // One that cannot be reached now is what a drill is there to find out.
        opened => opened,
    };
    if opened.as_ref().is_ok_and(|target| target.abilities().to_stdout) {
        let words =
            "what goes to standard output cannot be compared: a drill needs a place that can be read".to_owned();
        return Err(OpsError::refused(ErrorKind::InvalidInput, words));
    }
    let mut report = begin(repo, snapshot, &ground.url, options)?;
    report.notes.append(&mut notes);
    let run = Run { repo, snapshot, options, progress };
    let began = Instant::now();
    match opened {
        Ok(target) => run.restore_and_compare(target.as_ref(), &mut report, began)?,
        Err(error) => report.checks.push(Check {
            name: "restore".to_owned(),
            passed: false,
            words: cut(error.to_string()),
            millis: millis(began.elapsed()),
        }),
    }
    for assertion in &options.assertions {
        run.assert(assertion, &ground, &mut report)?;
    }
    weigh_goals(&mut report);
    report.finished = repo.clock().now();
    report.passed = report.checks.iter().all(|check| check.passed);
    let left = ground.scratch.take().and_then(|scratch| scratch.remove().err());
    report.notes.extend(left.clone());
    report.notes.truncate(MAX_NOTES);
    let mut outcome = DrillOutcome { report: None, hash: None, not_kept: None, left, said: report };
    if options.keep {
        match repo.keep_drill(&outcome.said) {
            Ok(kept) => {
                outcome.report = Some(kept.name);
                outcome.hash = Some(kept.hash);
                outcome.said = kept.report;
            }
            Err(error) => outcome.not_kept = Some(error.to_string()),
        }
    }
    Ok(outcome)
}

/// Finds the place to restore to.
fn prepare(snapshot: &Snapshot, options: &DrillOptions) -> Result<(Ground, Vec<String>), OpsError> {
    match &options.place {
        DrillPlace::Given(url) => {
            let lock = TargetLock::take(&options.scratch, url)?;
            Ok((Ground { url: url.clone(), path: None, scratch: None, _lock: Some(lock) }, Vec::new()))
        }
        DrillPlace::Scratch => {
            let connector = &snapshot.source().connector;
            if scratch_url(snapshot, Path::new("/")).is_none() {
                let words = format!(
                    "records of {connector}: are restored to a server: a drill needs a target there that holds nothing"
                );
                return Err(OpsError::refused(ErrorKind::InvalidInput, words));
            }
            let (scratch, notes) = Scratch::make(&options.scratch)?;
            let none = || OpsError::Usage(format!("{}: no URL can name it", options.scratch.display()));
            let (url, path) = scratch_url(snapshot, scratch.folder()).ok_or_else(none)?;
            Ok((Ground { url, path: Some(path), scratch: Some(scratch), _lock: None }, notes))
        }
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millis() - from.as_millis()).unwrap_or(0)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn begin(repo: &Repository, snapshot: &Snapshot, url: &str, options: &DrillOptions) -> Result<DrillReport, OpsError> {
    let now = repo.clock().now();
    let records = snapshot.collections.iter().map(|collection| collection.records).sum();
    let mut notes = Vec::new();
    if !snapshot.content.complete {
        let problems = snapshot.content.problems.join("; ");
        notes.push(cut(format!("the snapshot is partial: what it lacks cannot be proved ({problems})")));
    }
    let named = snapshot.collections.iter().take(MAX_COLLECTIONS);
    Ok(DrillReport {
        source: snapshot.source().clone(),
        snapshot: snapshot.id,
        snapshot_end: snapshot.content.end,
        scope: snapshot.content.scope.clone(),
        tags: snapshot.tags.iter().take(MAX_NOTES).map(|tag| cut_to(tag, 500)).collect(),
        previous: None,
        location: repo.place_hash(),
        place: repo.storage().location().to_owned(),
        host: repo.host().to_owned(),
        program: Program { name: "rekeep".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        started: now,
        finished: now,
        target: shown(url),
        sample: options.sample.map(|size| size.draw(records)).transpose()?.flatten(),
        rpo_millis: millis_between(snapshot.content.end, now),
        rto_millis: None,
        goals: options.goals,
        records: 0,
        bytes: 0,
        compared: 0,
        different: 0,
        collections: named
            .map(|it| DrilledCollection { name: cut_to(&it.name, 200), records: it.records, bytes: it.bytes })
            .collect(),
        collections_left_out: snapshot.collections.len().saturating_sub(MAX_COLLECTIONS) as u64,
        checks: Vec::new(),
        passed: false,
        notes,
    })
}

/// Words that a report can hold.
fn cut(words: String) -> String {
    if words.len() <= MAX_WORD_BYTES { words } else { cut_to(&words, MAX_WORD_BYTES) }
}

fn cut_to(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    if end == text.len() { text.to_owned() } else { format!("{}… ({} bytes)", &text[..end], text.len()) }
}

struct Run<'a> {
    repo: &'a Repository,
    snapshot: &'a Snapshot,
    options: &'a DrillOptions,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    fn restore_and_compare(
        &self,
        target: &dyn Target,
        report: &mut DrillReport,
        began: Instant,
    ) -> Result<(), OpsError> {
        let options = RestoreOptions {
            verify: true,
            // What is lost is named in full: a report says what is wrong, not only that something is.
            keep_going: true,
            no_resume: true,
            sample: report.sample,
            nothing_else: report.sample.is_none(),
            parallel: self.options.parallel,
            read_limit: self.options.read_limit,
            write_limit: self.options.write_limit,
            ..RestoreOptions::default()
        };
        let check = |name: &str, wrong: &[String], words: String, time: Duration| Check {
            name: name.to_owned(),
            passed: wrong.is_empty(),
            words: cut(if wrong.is_empty() { words } else { wrong.join("; ") }),
            millis: millis(time),
        };
        let restored = match restore(self.repo, self.snapshot, target, &options, self.progress) {
            Ok(restored) => restored,
            Err(error) if error.is_interruption() || self.progress.cancelled() => return Err(OpsError::Interrupted),
            Err(error) => {
                report.checks.push(check("restore", &[error.to_string()], String::new(), began.elapsed()));
                return Ok(());
            }
        };
        let all = began.elapsed();
        let writing = Duration::from_secs_f64(restored.written_seconds.max(0.0)).min(all);
        let wrong = wrong_of(&restored);
        report.rto_millis = wrong.is_empty().then(|| millis(writing));
        report.records = restored.records;
        report.bytes = restored.bytes;
        report.compared = restored.verified.unwrap_or(0);
        report.different = restored.different;
        report.notes.extend(restored.notes.iter().take(MAX_NOTES).map(|note| cut_to(note, 1000)));
        let words = format!("{} records, {} bytes", restored.records, restored.bytes);
        report.checks.push(check("restore", &wrong, words, writing));
        let mut wrong = Vec::new();
        match restored.verified {
            None => wrong.push("the target cannot be read back: nothing was compared".to_owned()),
            Some(_) if restored.different > 0 => {
                wrong.push(format!("{} records differ from the snapshot", restored.different));
            }
            Some(_) => {}
        }
        let words = format!("{} records compared with the snapshot, all equal", report.compared);
        report.checks.push(check("compare", &wrong, words, all.saturating_sub(writing)));
        Ok(())
    }

    fn assert(&self, assertion: &Assertion, ground: &Ground, report: &mut DrillReport) -> Result<(), OpsError> {
        let name = format!("assertion: {}", cut_to(&assertion.name, 200));
        let restored = report.checks.first().is_some_and(|check| check.name == "restore" && check.passed);
        if !restored {
            let words = "not run: not everything was restored".to_owned();
            report.checks.push(Check { name, passed: false, words, millis: 0 });
            return Ok(());
        }
        self.progress.phase(&Phase {
            kind: PhaseKind::Asserting,
            object: assertion.name.clone(),
            records: 0,
            bytes: 0,
        });
        let path = ground.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let environment = [
            ("REKEEP_DRILL_TARGET", ground.url.clone()),
            ("REKEEP_DRILL_PATH", path),
            ("REKEEP_DRILL_SNAPSHOT", self.snapshot.id.to_string()),
            ("REKEEP_DRILL_SNAPSHOT_END", self.snapshot.content.end.to_string()),
            ("REKEEP_DRILL_SOURCE", format!("{}:{}", report.source.connector, report.source.name)),
            ("REKEEP_DRILL_RECORDS", report.records.to_string()),
            ("REKEEP_DRILL_SAMPLED", if report.sample.is_some() { "1" } else { "0" }.to_owned()),
        ];
        let began = Instant::now();
        let ended = assertion.run.run(&environment, &|| self.progress.cancelled());
        if ended.stopped {
            return Err(OpsError::Interrupted);
        }
        let words: Vec<String> =
            ended.wrong.iter().chain((!ended.printed.is_empty()).then_some(&ended.printed)).cloned().collect();
        let passed = ended.wrong.is_none();
        report.checks.push(Check { name, passed, words: cut(words.join(": ")), millis: millis(began.elapsed()) });
        Ok(())
    }
}

fn weigh_goals(report: &mut DrillReport) {
    let seconds = |millis: u64| format!("{}.{:03} s", millis / 1000, millis % 1000);
    if let Some(goal) = report.goals.rpo_millis {
        let is = report.rpo_millis;
        let words = format!("the snapshot was {} old, {} are the goal", seconds(is), seconds(goal));
        report.checks.push(Check { name: "rpo".to_owned(), passed: is <= goal, words, millis: 0 });
    }
    if let Some(goal) = report.goals.rto_millis {
        let (passed, words) = match report.rto_millis {
            Some(is) => (is <= goal, format!("it was back after {}, {} are the goal", seconds(is), seconds(goal))),
            None => (false, "not everything came back".to_owned()),
        };
        report.checks.push(Check { name: "rto".to_owned(), passed, words, millis: 0 });
    }
}

/// What a restore lacks, in words.
fn wrong_of(restored: &RestoreOutcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let outcomes = &restored.outcomes;
    for (count, words) in [
        (outcomes.failed, "records could not be written"),
        (outcomes.unmappable, "records have no key in the target"),
        (restored.lost, "records are lost to damage"),
    ] {
        if count > 0 {
            wrong.push(format!("{count} {words}"));
        }
    }
    wrong.extend(restored.damage.iter().take(MAX_WORDS).cloned());
    wrong.extend(outcomes.failures.iter().take(MAX_WORDS).map(|(key, why)| format!("{key}: {why}")));
    wrong.extend(restored.missing.iter().take(MAX_WORDS).map(|what| format!("not restored: {what}")));
    wrong
}
