//! `restore`: replays a snapshot's base and deltas into a target, each record once.

mod compare;
mod feed;
mod outcome;
mod patterns;
mod plan;
mod rehearse;
mod resume;
mod sampling;
mod watch;
mod writing;

pub(in crate::ops) use compare::{Likeness, Pair, walk};
pub(in crate::ops) use plan::{find_collection, parse_key};
pub(in crate::ops) use watch::passing_on;

pub use outcome::RestoreOutcome;

use super::{
    OpsError, Phase, PhaseKind, Progress,
    lookup::Records,
    reading::Reading,
    thaw::{self, ThawOptions},
    usage::peak_memory_bytes,
};
use crate::{
    connector::{CollectionTarget, Outcomes, Overwrite, Target, TargetAbilities, TargetEnd, TargetPlan, TargetSession},
    layer::LayerContext,
    repo::{Capability, ObjectName, Repository, Snapshot, drills::Sample},
    report::WarningKind,
};
use feed::{Damage, Fed, Feed};
use plan::Selected;
use resume::{Ledger, ResumePoint};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use writing::Writing;

/// Times that what a target lost is written again.
const MAX_WRITTEN_AGAIN: u32 = 3;

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// `(name in the snapshot, name in the target)`; empty for all under their own names.
    pub collections: Vec<(String, Option<String>)>,
    /// Typed keys, as people write them; empty for all.
    pub keys: Vec<String>,
    /// Globs over keys as shown; a record must match one, if there are any.
    pub include: Vec<String>,
    /// Globs over keys as shown; a record must match none.
    pub exclude: Vec<String>,
    /// What happens to records that exist; `None` refuses a target that holds records.
    pub overwrite: Option<Overwrite>,
    /// Remove what the snapshot does not hold, after everything is written.
    pub make_equal: bool,
    /// Write no records, only what the target makes beside them.
    pub no_records: bool,
    /// Count, write nothing.
    pub dry_run: bool,
    /// Read back and compare afterwards.
    pub verify: bool,
    /// Go on past damage, listing what is lost by key.
    pub keep_going: bool,
    /// Allow make-equal from a partial snapshot.
    pub force: bool,
    /// Begin anew, whatever an earlier run left of its progress.
    pub no_resume: bool,
    /// How often progress is kept at most; `None` for the usual pause.
    pub progress_every: Option<Duration>,
    /// Threads that read and decompress.
    pub parallel: usize,
    /// Bytes per second from the repository.
    pub read_limit: Option<u64>,
    /// Bytes per second to the target.
    pub write_limit: Option<u64>,
    /// Only the records that this means.
    pub sample: Option<Sample>,
    /// What becomes of packs that must be thawed first; `None` refuses.
    pub thaw: Option<ThawOptions>,
    /// With `verify`: what the target holds and the snapshot does not is a difference, too.
    pub nothing_else: bool,
}

/// Restores `snapshot` into `target`. If it is stopped, the same call goes on behind it where the target can; what was
/// done is told as a warning.
pub fn restore(
    repo: &Repository,
    snapshot: &Snapshot,
    target: &dyn Target,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreOutcome, OpsError> {
    repo.need(Capability::ReadValues)?;
    let restored = watch::passing_on(target, progress, || restore_to(repo, snapshot, target, options, progress));
    restored.map_err(|error| match error.cause() {
        // What the target says of its own interruption is no news.
        OpsError::Connector(_) | OpsError::Failed(_) if progress.cancelled() => {
            if error.is_partly_done() {
                partly(OpsError::Interrupted)
            } else {
                OpsError::Interrupted
            }
        }
        _ => error,
    })
}

fn restore_to(
    repo: &Repository,
    snapshot: &Snapshot,
    target: &dyn Target,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreOutcome, OpsError> {
    let began = Instant::now();
    let reading = Reading::begin(repo, "restore", std::slice::from_ref(snapshot))?;
    let repo = reading.repo();
    let snapshot = &reading.snapshots()[0];
    let mut selected = plan::select(snapshot, target, options)?;
    let sampled = options.sample.map(|sample| sampling::draw(&mut selected, target, &sample));
    plan::check_options(snapshot, options)?;
    plan::check_overwrite(target, options)?;
    let target_plan = plan::target_plan(repo, snapshot, &selected, options);
    let mut run = Run {
        repo,
        snapshot,
        options,
        progress,
        outcomes: Outcomes::default(),
        totals: Totals::default(),
        abilities: target.abilities(),
    };
    let mut ledger = Ledger::open(&run, target, &target_plan);
    if !ledger.found() {
        plan::check_occupied(target, &selected, options).map_err(|error| ledger.hint(error))?;
    }
    plan::check_keys(repo, snapshot, &selected, options, progress)?;
    let meets = rehearse::ask(target, &target_plan)?;
    let mut notes = rehearse::preflight(&run, target, &target_plan, &selected)?;
    notes.extend(sampled.flatten());
    // A record or two are had in a handful of requests, and the read itself says what is archived.
    if !options.no_records && (options.keys.is_empty() || options.thaw.is_some()) {
        thaw::ready(repo, &|among| run.packs_of(&selected, among), options.thaw.as_ref(), progress)?;
    }
    progress.phase(&Phase {
        kind: if options.dry_run { PhaseKind::Counting } else { PhaseKind::Restoring },
        object: String::new(),
        records: selected.iter().map(|s| s.collection.records).sum(),
        bytes: selected.iter().map(|s| s.collection.bytes).sum(),
    });
    let (mut end, mut resumed) = (TargetEnd::default(), 0);
    if options.dry_run {
        if !options.no_records {
            rehearse::count(&mut run, target, &target_plan, &selected, &meets)?;
            notes.extend(rehearse::foresee(&run, target, &target_plan, &selected)?);
        }
    } else {
        // From here on the target may hold records of this restore.
        if ledger.keeps() && !ledger.found() {
            ledger.keep(ResumePoint::default(), &Tally::default());
        }
        let written = write(&mut run, target, &target_plan, &selected, &mut ledger);
        (end, resumed) = match written {
            Err(error) if target.abilities().all_or_nothing => return Err(error),
            written => written.map_err(partly)?,
        };
    }
    notes.extend(end.notes);
    // What an earlier run did was matched there.
    if resumed == 0 && !options.no_records {
        notes.extend(plan::unmatched(&selected));
    }
    let written_seconds = began.elapsed().as_secs_f64();
    let read_back = verify(&run, target, &selected, &mut notes).map_err(partly)?;
    ledger.finish();
    let mut outcome = run.outcome(began, end.missing, notes, &read_back, resumed);
    outcome.written_seconds = written_seconds;
    outcome.made = end.made;
    Ok(outcome)
}

/// Writes everything that is selected; gives what the target says at the end, and how many records earlier runs had done.
fn write(
    run: &mut Run<'_>,
    target: &dyn Target,
    plan: &TargetPlan,
    selected: &[Selected<'_>],
    ledger: &mut Ledger<'_>,
) -> Result<(TargetEnd, u64), OpsError> {
    let mut session = target.begin(plan)?;
    let resumed = run.resume(session.as_mut(), selected, ledger)?;
    let passed_over = run.write_all(session.as_mut(), selected, plan, ledger)?;
    Ok((session.finish()?, resumed + passed_over))
}

/// From here on the target may hold part of the records.
fn partly(error: OpsError) -> OpsError {
    OpsError::Partly(Box::new(error))
}

/// What reading the target back came to.
#[derive(Clone, Default)]
struct ReadBack {
    verified: Option<u64>,
    different: u64,
    /// Records that are the same but for a user key that the snapshot's have not.
    keyed: u64,
    /// What was not compared since the target could not keep it, in words.
    uncompared: Option<String>,
}

fn verify(
    run: &Run<'_>,
    target: &dyn Target,
    selected: &[Selected<'_>],
    notes: &mut Vec<String>,
) -> Result<ReadBack, OpsError> {
    if !run.options.verify || run.options.dry_run {
        return Ok(ReadBack::default());
    }
    let Some(source) = target.read_back()? else {
        notes.push("this target cannot be read back: nothing was verified".to_owned());
        return Ok(ReadBack::default());
    };
    let found = compare::read_back(run, target, source.as_ref(), selected)?;
    if found.keyed > 0 {
        notes.push(format!(
            "{} records have kept the user key that was stored with them, and that the snapshot's have not: a server drops none",
            found.keyed
        ));
    }
    notes.extend(found.uncompared.clone());
    Ok(found)
}

impl RestoreOptions {
    fn has_filters(&self) -> bool {
        !(self.keys.is_empty() && self.include.is_empty() && self.exclude.is_empty()) || self.sample.is_some()
    }
}

/// What the feed of records added up to.
#[derive(Debug, Default)]
struct Totals {
    records: u64,
    bytes: u64,
    lost: u64,
    damage: Vec<String>,
}

impl Totals {
    fn add(&mut self, damage: Damage) {
        self.lost += damage.lost;
        for line in damage.lines {
            if self.damage.len() < 100 {
                self.damage.push(line);
            }
        }
    }
}

/// What a restore came to so far.
#[derive(Debug, Default)]
struct Tally {
    outcomes: Outcomes,
    totals: Totals,
}

struct Run<'a> {
    repo: &'a Repository,
    snapshot: &'a Snapshot,
    options: &'a RestoreOptions,
    progress: &'a dyn Progress,
    outcomes: Outcomes,
    totals: Totals,
    abilities: TargetAbilities,
}

impl Run<'_> {
    fn feed<'s>(&'s self, one: &'s Selected<'_>, skip: Option<&'s compare::Equal>) -> Feed<'s> {
        Feed {
            repo: self.repo,
            collection: one.collection,
            filter: &one.filter,
            at: self.snapshot.content.end,
            behind: None,
            within: None,
            skip,
            keep_going: self.options.keep_going,
            parallel: self.options.parallel.max(1),
            read_limit: self.options.read_limit,
            progress: self.progress,
        }
    }

    /// The packs that are read: by the lists of a collection that is read whole, else by what cannot be had of what is meant.
    fn packs_of(
        &self,
        selected: &[Selected<'_>],
        among: Option<&HashSet<ObjectName>>,
    ) -> Result<BTreeSet<ObjectName>, OpsError> {
        let mut packs = BTreeSet::new();
        for one in selected {
            if one.filter.means_all() {
                let layers: Vec<_> = one.collection.stack.iter().collect();
                packs.extend(thaw::of_layers(self.repo, &layers, among, self.progress)?);
                continue;
            }
            let feed = Feed { keep_going: true, ..self.feed(one, None) };
            let (tried, met) = self.repo.rehearse(|| feed.run(&mut |_| Ok(())));
            tried?;
            packs.extend(met);
        }
        Ok(packs)
    }

    fn count(&mut self, one: &Selected<'_>) -> Result<(), OpsError> {
        let mut records = 0;
        let mut bytes = 0;
        let damage = self.feed(one, None).for_each_key(&mut |key, value_bytes| {
            records += 1;
            bytes += key.len() as u64 + value_bytes;
            self.progress.count(1, key.len() as u64 + value_bytes);
        })?;
        self.totals.records += records;
        self.totals.bytes += bytes;
        self.totals.add(damage);
        Ok(())
    }

    fn take_tally(&mut self) -> Tally {
        Tally { outcomes: std::mem::take(&mut self.outcomes), totals: std::mem::take(&mut self.totals) }
    }

    /// Takes over what earlier runs did, if it still stands; gives how many records that are.
    fn resume(
        &mut self,
        session: &mut dyn TargetSession,
        selected: &[Selected<'_>],
        ledger: &mut Ledger<'_>,
    ) -> Result<u64, OpsError> {
        if *ledger.place() == ResumePoint::default() {
            return Ok(0);
        }
        let before = ledger.tally();
        let gone = resume::gone(self, session, selected, ledger.place(), &before)?;
        if gone > 0 {
            self.progress.warn(
                WarningKind::NotResumed,
                self.snapshot.id.short(),
                format!(
                    "{gone} of the {} records that an earlier run restored are no longer in the target: it begins anew",
                    before.totals.records
                ),
            );
            ledger.begin_anew();
            ledger.keep(ResumePoint::default(), &Tally::default());
            return Ok(0);
        }
        let Totals { records, bytes, .. } = before.totals;
        self.progress.count(records, bytes);
        (self.outcomes, self.totals) = (before.outcomes, before.totals);
        Ok(records)
    }

    fn write_all(
        &mut self,
        session: &mut dyn TargetSession,
        selected: &[Selected<'_>],
        plan: &TargetPlan,
        ledger: &mut Ledger<'_>,
    ) -> Result<u64, OpsError> {
        let place = ledger.place().clone();
        let mut passed_over = 0;
        for (index, one) in selected.iter().enumerate().skip(place.collections).filter(|_| !self.options.no_records) {
            if let Some(outcomes) = session.written_before(index)? {
                let (records, bytes) = (one.collection.records, one.collection.bytes);
                passed_over += records;
                self.progress.count(records, bytes);
                self.totals.records += records;
                self.totals.bytes += bytes;
                self.outcomes.add(outcomes);
                continue;
            }
            let mut writer = session.open(index)?;
            writer.meet_snapshot(Arc::new(Records::of(self.repo, one.collection, self.snapshot.content.end)));
            let behind = if index == place.collections { place.behind.clone() } else { None };
            self.write(index, behind, one, writer.as_mut(), plan, ledger)?;
            writer.settle(&mut self.outcomes)?;
            writer.finish()?;
            let tally = self.take_tally();
            ledger.keep(ResumePoint { collections: index + 1, behind: None }, &tally);
            (self.outcomes, self.totals) = (tally.outcomes, tally.totals);
        }
        Ok(passed_over)
    }

    fn write(
        &mut self,
        index: usize,
        behind: Option<Vec<u8>>,
        one: &Selected<'_>,
        writer: &mut dyn CollectionTarget,
        plan: &TargetPlan,
        ledger: &mut Ledger<'_>,
    ) -> Result<(), OpsError> {
        let context = LayerContext::new(self.repo.secrets());
        let found = if plan.overwrite == Overwrite::IfChanged || plan.make_equal {
            Some(compare::with_existing(&self.feed(one, None), &context, writer, plan, &self.abilities)?)
        } else {
            None
        };
        if let Some(found) = &found {
            self.outcomes.unchanged += found.equal.count();
            self.totals.records += found.equal.count();
        }
        let tally = self.take_tally();
        let feed = Feed { behind: behind.clone(), ..self.feed(one, found.as_ref().map(|found| &found.equal)) };
        let throttle = super::limit::Throttle::new(self.options.write_limit);
        let mut writing = Writing { index, behind, writer, ledger, tally, lost: Damage::default(), throttle };
        let written = writing.all(&feed);
        let tally = writing.tally;
        (self.outcomes, self.totals) = (tally.outcomes, tally.totals);
        if let Err(error) = written {
            self.say_where_it_stopped(ledger);
            return Err(error);
        }
        self.write_again(one, writer)?;
        if let Some(found) = found
            && plan.make_equal
        {
            if found.damaged || self.totals.lost > 0 || !self.totals.damage.is_empty() {
                self.outcomes.notes.push(format!(
                    "nothing was removed from {}: parts of the snapshot are lost, so what it holds is not known in full",
                    one.name()
                ));
            } else {
                found.extra.remove_from(
                    writer,
                    &mut self.outcomes,
                    self.abilities.expiry_slack_millis,
                    self.progress,
                )?;
            }
        }
        Ok(())
    }

    /// Writes again what the target acknowledged and lost.
    fn write_again(&mut self, one: &Selected<'_>, writer: &mut dyn CollectionTarget) -> Result<(), OpsError> {
        for _ in 0..MAX_WRITTEN_AGAIN {
            let lost = writer.lost()?;
            if lost.is_empty() {
                return Ok(());
            }
            let words = "the target lost what it had acknowledged: it is written again";
            self.progress.warn(WarningKind::DoneAgain, one.name(), format!("{}: {words}", one.name()));
            let mut outcomes = Outcomes::default();
            let feed = Feed { within: Some(lost), ..self.feed(one, None) };
            let mut records = 0;
            feed.run(&mut |next| {
                if let Fed::Batch(batch, _) = next {
                    records += batch.len() as u64;
                    writer.write(batch, &mut outcomes)?;
                }
                Ok(())
            })?;
            writer.drain(&mut outcomes)?;
            self.outcomes.failed += outcomes.failed;
            self.outcomes.ignored += outcomes.ignored;
            self.outcomes.failures.append(&mut outcomes.failures);
            self.outcomes.failures.truncate(100);
            self.outcomes.notes.append(&mut outcomes.notes);
            self.outcomes.notes.push(format!("{}: {records} records were written again", one.name()));
        }
        if writer.lost()?.is_empty() {
            return Ok(());
        }
        Err(OpsError::Failed(format!("{}: the target loses again and again what it acknowledges", one.name())))
    }

    /// What of a restore that ends early is done.
    fn say_where_it_stopped(&self, ledger: &Ledger<'_>) {
        let Some(advice) = ledger.advice() else { return };
        let o = &self.outcomes;
        self.progress.warn(
            WarningKind::Stopped,
            self.snapshot.id.short(),
            format!(
                "stopped after {} inserted, {} replaced, {} left alone, {} expired, {} failed; {advice}",
                o.inserted,
                o.replaced,
                o.unchanged + o.existed + o.fresher,
                o.expired,
                o.failed + o.ignored
            ),
        );
    }

    fn outcome(
        self,
        began: Instant,
        missing: Vec<String>,
        mut notes: Vec<String>,
        read_back: &ReadBack,
        resumed: u64,
    ) -> RestoreOutcome {
        let (mut outcomes, totals) = (self.outcomes, self.totals);
        for note in std::mem::take(&mut outcomes.notes) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        // What was to be proved and could not be is not all that was asked for.
        let proved = read_back.verified.is_some() || !self.options.verify || self.options.dry_run;
        let complete = proved
            && outcomes.failed == 0
            && outcomes.unmappable == 0
            && outcomes.changed == 0
            && totals.lost == 0
            && totals.damage.is_empty()
            && missing.is_empty()
            && read_back.different == 0;
        RestoreOutcome {
            snapshot: self.snapshot.id,
            end: self.snapshot.content.end,
            dry_run: self.options.dry_run,
            records: totals.records,
            bytes: totals.bytes,
            resumed,
            outcomes,
            lost: totals.lost,
            damage: totals.damage,
            notes,
            missing,
            verified: read_back.verified,
            different: read_back.different,
            complete: complete && self.snapshot.content.complete,
            duration_seconds: began.elapsed().as_secs_f64(),
            written_seconds: 0.0,
            made: std::collections::BTreeMap::new(),
            peak_memory_bytes: peak_memory_bytes(),
        }
    }
}
