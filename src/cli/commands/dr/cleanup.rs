//! `dr cleanup` and `dr delete`.

use super::{backup_id, place::Setup};
use crate::{
    cli::{
        context::Context,
        exit::{Failure, Kept as _, Status, usage},
    },
    ops::{
        Narrow,
        forget::{Age, KeepPeriod, KeepWithin, Period, Policy, execute, plan_named, plan_policy},
        prune::{PruneOptions, prune},
        select::sources,
    },
    repo::{Capability, SnapshotId},
};
use serde_json::json;

const KEPT: &str = "backups that were dropped before this stay dropped";

fn policy(setup: &Setup) -> Result<Policy, Failure> {
    let settings = &setup.settings;
    let mut policy = Policy::default();
    for (name, period) in
        [("daily", Period::Day), ("weekly", Period::Week), ("monthly", Period::Month), ("yearly", Period::Year)]
    {
        if let Some(count) = settings.number(&format!("retention_policy.{name}"), 10_000)? {
            policy.periods.push(KeepPeriod { period, count });
        }
    }
    if let Some(days) = settings.number("retention_days", 100_000)?.filter(|days| *days > 0) {
        let age: Age = format!("{days}d").parse().map_err(usage)?;
        policy.within.push(KeepWithin { period: None, age });
    }
    if !policy.has_rules() {
        return Err(usage(
            "no retention rule is set, and nothing is dropped without one: set BACKUP_RETENTION_DAYS, or retention_policy in the file",
        ));
    }
    Ok(policy)
}

pub(super) fn run(dry_run: bool, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let policy = policy(setup)?;
    let repo = setup.open(context)?;
    if !dry_run {
        repo.need(Capability::Prune)?;
    }
    let zone = policy.zone(None)?;
    let backups = backup_id::all(&repo)?;
    let (mut dropped, mut kept, mut failed): (Vec<SnapshotId>, usize, usize) = (Vec::new(), 0, 0);
    for source in sources(&backups) {
        let narrow = Narrow { source: Some(format!("deeplake:{}", source.name)), ..Narrow::default() };
        let mut plan = plan_policy(&repo, &narrow, &policy, &zone)?;
        // The newest good one stays, whatever came after it.
        for group in &mut plan.groups {
            if let Some(good) = group.snapshots.iter_mut().rfind(|one| one.complete) {
                good.keep = true;
            }
        }
        kept += plan.decisions().filter(|one| one.keep).count();
        if dry_run {
            dropped.extend(plan.dropped().map(|one| one.id));
            continue;
        }
        let outcome = execute(&repo, plan, &context.reporter).kept(KEPT)?;
        dropped.extend(outcome.forgotten);
        failed += outcome.failed.len();
    }
    if !dry_run && !dropped.is_empty() {
        let options = PruneOptions { write_limit: context.write_limit, ..PruneOptions::default() };
        let pruned = prune(&repo, &options, &context.reporter).kept(KEPT)?;
        failed += pruned.failures.len();
    }
    context.reporter.finish();
    let names: Vec<String> = backups.iter().filter(|one| dropped.contains(&one.id)).map(backup_id::of).collect();
    if context.json {
        context.out.json(&json!({ "dry_run": dry_run, "deleted": names, "kept": kept, "failed": failed }));
    } else if !context.quiet {
        let would = if dry_run { "would drop" } else { "dropped" };
        for name in &names {
            context.out.line(name);
        }
        context.out.line(format_args!("{would} {} backups, kept {kept}", names.len()));
    }
    Ok(Status::complete(failed == 0))
}

pub(super) fn delete(name: &str, force: bool, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    let snapshot = backup_id::find(&repo, name)?;
    let plan = plan_named(&repo, std::slice::from_ref(&snapshot), force)?;
    let outcome = execute(&repo, plan, &context.reporter).kept(KEPT)?;
    context.reporter.finish();
    let name = backup_id::of(&snapshot);
    if context.json {
        context.out.json(&json!({ "backup_id": name, "deleted": outcome.failed.is_empty() }));
    } else if !context.quiet && outcome.failed.is_empty() {
        context.out.line(format_args!("dropped {name}; its data stays until a cleanup or `rekeep prune`"));
    }
    Ok(Status::complete(outcome.failed.is_empty()))
}
