//! `restore`: replays a snapshot's base and deltas into a target, each record once.

mod compare;
mod feed;
mod plan;
mod rehearse;

pub(in crate::ops) use compare::{Likeness, Pair, walk};
pub(in crate::ops) use plan::{find_collection, parse_key};

use super::{OpsError, Phase, Progress, reading::Reading, usage::peak_memory_bytes};
use crate::{
    connector::{CollectionTarget, Outcomes, Overwrite, Target, TargetEnd, TargetPlan},
    layer::LayerContext,
    record::{RecordBatch, Timestamp},
    repo::{Repository, Snapshot, SnapshotId},
};
use feed::{Damage, Feed};
use plan::Selected;
use serde::Serialize;
use std::time::Instant;

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
    /// Threads that read and decompress.
    pub parallel: usize,
    /// Bytes per second from the repository.
    pub read_limit: Option<u64>,
    /// Bytes per second to the target.
    pub write_limit: Option<u64>,
}

/// What a restore did.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreOutcome {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its end: the time gone back to.
    pub end: Timestamp,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Live records of the snapshot that were selected.
    pub records: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// What became of them.
    #[serde(flatten)]
    pub outcomes: OutcomeCounts,
    /// Records lost to damage (`keep_going`).
    pub lost: u64,
    /// Where damage lies, in words, with the keys or key ranges lost: the first 100.
    pub damage: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What the snapshot has beside records and the target has not, in words.
    pub missing: Vec<String>,
    /// Records compared afterwards, and how many differ (`verify`).
    pub verified: Option<u64>,
    /// Differences found by `verify`.
    pub different: u64,
    /// Whether everything asked for is in the target; `false` gives exit status 3.
    pub complete: bool,
    /// Wall time.
    pub duration_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}

/// [`Outcomes`] for output.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OutcomeCounts {
    /// Written where there was none.
    pub inserted: u64,
    /// Written over another one.
    pub replaced: u64,
    /// Found equal and left alone.
    pub unchanged: u64,
    /// Left alone because of `never`.
    pub existed: u64,
    /// Left alone because of `if-newer`.
    pub fresher: u64,
    /// Not written: their time is over.
    pub expired: u64,
    /// Not written: not chosen by the target's options.
    pub skipped: u64,
    /// Not written: their key in the target cannot be known.
    pub unmappable: u64,
    /// Removed by make-equal.
    pub removed: u64,
    /// Not removed by make-equal: written since the restore began.
    pub changed: u64,
    /// Could not be written, and that was to be ignored.
    pub ignored: u64,
    /// Could not be written.
    pub failed: u64,
    /// The first failures: key, reason.
    pub failures: Vec<(String, String)>,
}

impl From<Outcomes> for OutcomeCounts {
    fn from(o: Outcomes) -> Self {
        Self {
            inserted: o.inserted,
            replaced: o.replaced,
            unchanged: o.unchanged,
            existed: o.existed,
            fresher: o.fresher,
            expired: o.expired,
            skipped: o.skipped,
            unmappable: o.unmappable,
            removed: o.removed,
            changed: o.changed,
            ignored: o.ignored,
            failed: o.failed,
            failures: o.failures,
        }
    }
}

/// Restores `snapshot` into `target`.
pub fn restore(
    repo: &Repository,
    snapshot: &Snapshot,
    target: &dyn Target,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreOutcome, OpsError> {
    let began = Instant::now();
    let reading = Reading::begin(repo, "restore", std::slice::from_ref(snapshot))?;
    let snapshot = &reading.snapshots()[0];
    let selected = plan::select(snapshot, target, options)?;
    if options.no_records && (options.make_equal || options.verify) {
        return Err(OpsError::Usage("without records there is nothing to make equal or to verify".to_owned()));
    }
    if options.make_equal && !options.force && !snapshot.content.complete {
        return Err(OpsError::Usage(format!(
            "snapshot {} is partial: --make-equal would remove records that it merely does not know; --force does it anyway",
            snapshot.id.short()
        )));
    }
    plan::check_overwrite(target, options)?;
    plan::check_occupied(target, &selected, options)?;
    plan::check_keys(repo, snapshot, &selected, options)?;
    let partial = options.has_filters() || selected.len() < snapshot.collections.len();
    let (connector, attributes) = plan::origin(snapshot);
    let target_plan = TargetPlan {
        connector,
        attributes,
        collections: selected.iter().map(Selected::target).collect(),
        overwrite: options.overwrite.unwrap_or(if options.make_equal {
            Overwrite::IfChanged
        } else {
            Overwrite::Never
        }),
        make_equal: options.make_equal,
        partial,
        as_of: snapshot.content.end,
    };
    let meets = rehearse::ask(target, &target_plan)?;
    let mut run = Run {
        repo,
        snapshot,
        options,
        progress,
        outcomes: Outcomes::default(),
        totals: Totals::default(),
        expiry_slack_millis: target.expiry_slack_millis(),
    };
    run.outcomes.notes = rehearse::preflight(&run, target, &target_plan, &selected)?;
    progress.begin(&Phase {
        name: if options.dry_run { "counting".to_owned() } else { "restoring".to_owned() },
        records: selected.iter().map(|s| s.collection.records).sum(),
        bytes: selected.iter().map(|s| s.collection.bytes).sum(),
    });
    let mut end = TargetEnd::default();
    if options.dry_run {
        if !options.no_records {
            rehearse::count(&mut run, target, &target_plan, &selected, &meets)?;
        }
    } else {
        let mut session = target.begin(&target_plan)?;
        for (index, one) in selected.iter().enumerate().filter(|_| !options.no_records) {
            let mut writer = session.open(index)?;
            run.write(one, writer.as_mut(), &target_plan)?;
            writer.finish()?;
        }
        end = session.finish()?;
    }
    let TargetEnd { missing, mut notes } = end;
    let mut verified = None;
    let mut different = 0;
    if options.verify && !options.dry_run {
        match target.read_back()? {
            Some(source) => {
                let (compared, differences) = compare::read_back(&run, target, source.as_ref(), &selected)?;
                verified = Some(compared);
                different = differences;
            }
            None => notes.push("this target cannot be read back: nothing was verified".to_owned()),
        }
    }
    let Run { mut outcomes, totals, .. } = run;
    notes.append(&mut outcomes.notes);
    // What was to be proved and could not be is not all that was asked for.
    let proved = verified.is_some() || !options.verify || options.dry_run;
    let complete = proved
        && outcomes.failed == 0
        && outcomes.unmappable == 0
        && outcomes.changed == 0
        && totals.lost == 0
        && totals.damage.is_empty()
        && missing.is_empty()
        && different == 0;
    Ok(RestoreOutcome {
        snapshot: snapshot.id,
        end: snapshot.content.end,
        dry_run: options.dry_run,
        records: totals.records,
        bytes: totals.bytes,
        outcomes: outcomes.into(),
        lost: totals.lost,
        damage: totals.damage,
        notes,
        missing,
        verified,
        different,
        complete: complete && snapshot.content.complete,
        duration_seconds: began.elapsed().as_secs_f64(),
        peak_memory_bytes: peak_memory_bytes(),
    })
}

impl RestoreOptions {
    fn has_filters(&self) -> bool {
        !(self.keys.is_empty() && self.include.is_empty() && self.exclude.is_empty())
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

struct Run<'a> {
    repo: &'a Repository,
    snapshot: &'a Snapshot,
    options: &'a RestoreOptions,
    progress: &'a dyn Progress,
    outcomes: Outcomes,
    totals: Totals,
    expiry_slack_millis: u64,
}

impl Run<'_> {
    fn feed<'s>(&'s self, one: &'s Selected<'_>, skip: Option<&'s compare::Equal>) -> Feed<'s> {
        Feed {
            repo: self.repo,
            collection: one.collection,
            filter: &one.filter,
            at: self.snapshot.content.end,
            skip,
            keep_going: self.options.keep_going,
            parallel: self.options.parallel.max(1),
            read_limit: self.options.read_limit,
            progress: self.progress,
        }
    }

    fn count(&mut self, one: &Selected<'_>) -> Result<(), OpsError> {
        let mut records = 0;
        let mut bytes = 0;
        let damage = self.feed(one, None).for_each_key(&mut |key, value_bytes| {
            records += 1;
            bytes += key.len() as u64 + value_bytes;
            self.progress.advance(1, key.len() as u64 + value_bytes);
        })?;
        self.totals.records += records;
        self.totals.bytes += bytes;
        self.totals.add(damage);
        Ok(())
    }

    fn write(
        &mut self,
        one: &Selected<'_>,
        writer: &mut dyn CollectionTarget,
        plan: &TargetPlan,
    ) -> Result<(), OpsError> {
        let context = LayerContext::new(self.repo.secrets());
        let found = if plan.overwrite == Overwrite::IfChanged || plan.make_equal {
            Some(compare::with_existing(&self.feed(one, None), &context, writer, plan, self.expiry_slack_millis)?)
        } else {
            None
        };
        if let Some(found) = &found {
            self.outcomes.unchanged += found.equal.count();
            self.totals.records += found.equal.count();
        }
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let mut records = 0;
        let mut bytes = 0;
        let mut throttle = super::limit::Throttle::new(self.options.write_limit);
        let fed = self.feed(one, found.as_ref().map(|found| &found.equal)).run(&mut |batch: &mut RecordBatch, size| {
            records += batch.len() as u64;
            bytes += size;
            self.progress.advance(batch.len() as u64, size);
            throttle.spend(size);
            Ok(writer.write(batch, &mut outcomes)?)
        });
        let drained = if fed.is_ok() { writer.drain(&mut outcomes) } else { Ok(()) };
        self.outcomes = outcomes;
        self.totals.records += records;
        self.totals.bytes += bytes;
        self.totals.add(fed?);
        drained?;
        if let Some(found) = found
            && plan.make_equal
        {
            if self.totals.lost > 0 || !self.totals.damage.is_empty() {
                self.outcomes.notes.push(format!(
                    "nothing was removed from {}: parts of the snapshot are lost, so what it holds is not known in full",
                    one.name()
                ));
            } else {
                found.extra.remove_from(writer, &mut self.outcomes)?;
            }
        }
        Ok(())
    }
}
