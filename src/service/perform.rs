//! What jobs do: from the configuration to the verbs of `ops`.

use super::{
    Service, claim,
    config::{Config, Policy, Routine},
    folders::{self, Folders},
    hooks,
    job::{Done, StoredJob, Work},
    places::Where,
    proof,
    restore::{self, RestorePlan, doubt_in},
    sources::{Reading, readings},
    tags::{is_same_run, routine_tag, run_tag, type_tag},
};
use crate::{
    ops::{
        Narrow, OpsError, Progress,
        backup::{Ask, BackupOptions, BackupOutcome, backup, backup_chain},
        forget::{self, time_zone},
        prune::PruneOptions,
        select::{Within, newest_of_each},
        verify::{ReadData, VerifyOptions, verify},
    },
    repo::Repository,
    report::ErrorKind,
};
use serde_json::json;

fn wrong(words: impl Into<String>) -> OpsError {
    OpsError::refused(ErrorKind::InvalidInput, words)
}

/// Does what a job is to do.
pub(super) fn carry_out(
    service: &Service,
    config: &Config,
    job: &StoredJob,
    plan: Option<&RestorePlan>,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let of = |name: &str| {
        config
            .routines
            .get(name)
            .ok_or_else(|| OpsError::refused(ErrorKind::NotFound, format!("there is no routine `{name}` any more")))
    };
    match &job.work {
        Work::Backup { routine, full, .. } => back_up(service, config, job, of(routine)?, *full, progress),
        Work::Retention { routine } => keep(service, config, routine, of(routine)?, progress),
        Work::Verify { routine, how } => check(service, config, routine, of(routine)?, how, progress),
        Work::Drill { routine } => proof::drill_newest(service, config, job, routine, of(routine)?, progress),
        Work::Restore { .. } => match plan {
            Some(plan) => restore::carry_out(service, config, plan, progress),
            None => Err(wrong("nobody knows any more what was to be restored")),
        },
    }
}

fn back_up(
    service: &Service,
    config: &Config,
    job: &StoredJob,
    routine: &Routine,
    full: bool,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let policy = config.policy_of(routine);
    let name = job.work.routine().unwrap_or_default();
    if let Some(folders) = Folders::of_routine(config, routine)? {
        run_hooks_before(config, routine, job, progress)?;
        let run = folders::Run { service, config, name, routine, policy: &policy, work: &job.work };
        return folders::back_up(&folders, &run, progress);
    }
    let place = Where::of_routine(config, routine)?;
    let repo = service.places.open(config, &place, true)?;
    repo.warnings().iter().for_each(|warning| progress.warning(warning));
    if let Some(words) = claim::taken(service, (config, routine), &repo, job, progress)? {
        return Ok(Done { skipped: Some(words), ..Done::default() });
    }
    run_hooks_before(config, routine, job, progress)?;
    let mut more = more_tags(&job.work);
    let mut outcomes = Vec::new();
    let readings = readings(config, routine, &policy).map_err(wrong)?;
    if readings.len() > 1 {
        more.push(run_tag(service.now(), job.id));
    }
    for reading in readings {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        outcomes.extend(read_one(service, &repo, name, routine, &policy, full, &more, &reading, progress)?);
    }
    if more.iter().any(|tag| tag == "asked=snapshot") {
        for id in outcomes.iter().filter_map(|outcome| outcome.id) {
            repo.revise(&id, &|manifest| manifest.hold = true)?;
        }
    }
    Ok(done(&outcomes))
}

fn run_hooks_before(
    config: &Config,
    routine: &Routine,
    job: &StoredJob,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    for hook in routine.before.iter().flatten() {
        let Some(hook) = config.service.hooks.get(hook) else { continue };
        let facts = hooks::Facts { job, outcome: "", error: None };
        hooks::run(hook, &facts, &|| progress.cancelled()).map_err(OpsError::Failed)?;
    }
    Ok(())
}

/// What the disaster recovery interface finds a snapshot by.
fn more_tags(work: &Work) -> Vec<String> {
    let Work::Backup { description, group, asked, .. } = work else { return Vec::new() };
    let tag = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
    [tag("backup", group), tag("asked", asked), tag("description", description)].into_iter().flatten().collect()
}

/// What backups came to, together.
fn done(outcomes: &[BackupOutcome]) -> Done {
    let made: Vec<&BackupOutcome> = outcomes.iter().filter(|outcome| outcome.id.is_some()).collect();
    Done {
        // Files that changed while they were read are in it as they were read, and in the next one as they are.
        complete: outcomes.iter().all(|outcome| outcome.complete || outcome.only_changed),
        problems: outcomes.iter().flat_map(|outcome| outcome.problems.iter().take(20).cloned()).collect(),
        failed: None,
        skipped: None,
        records: outcomes.iter().map(|outcome| outcome.records).sum(),
        bytes: outcomes.iter().map(|outcome| outcome.bytes).sum(),
        result: json!({ "snapshots": made }),
    }
}

#[expect(clippy::too_many_arguments, reason = "all of a routine's facts, each used once")]
fn read_one(
    service: &Service,
    repo: &Repository,
    name: &str,
    routine: &Routine,
    policy: &Policy,
    full: bool,
    more: &[String],
    reading: &Reading,
    progress: &dyn Progress,
) -> Result<Vec<BackupOutcome>, OpsError> {
    let mut options = options(name, routine, policy, full);
    options.tags.extend(more.iter().cloned());
    options.url.clone_from(&reading.url);
    if let Some(urls) = service.registry.chain(&reading.url)? {
        let mut open = |url: &str| service.registry.source(url, &reading.options);
        return backup_chain(repo, &urls, &mut open, &options, progress);
    }
    let source = service.registry.source(&reading.url, &reading.options)?;
    let asks_cumulative =
        policy.incr_mode.as_deref() == Some("cumulative") || more.iter().any(|tag| tag == "asked=differential");
    options.ask = match (full, asks_cumulative) {
        (true, _) => Ask::Full,
        (false, true) if source.abilities().change_filter => Ask::Differential,
        (false, _) => Ask::Default,
    };
    Ok(vec![backup(repo, source.as_ref(), &options, progress)?])
}

fn options(name: &str, routine: &Routine, policy: &Policy, full: bool) -> BackupOptions {
    let defaults = BackupOptions::default();
    let mut tags = vec![routine_tag(name), type_tag(full).to_owned()];
    tags.extend(routine.tenant.iter().map(|tenant| format!("tenant={tenant}")));
    tags.extend(routine.tags.iter().flatten().cloned());
    let compression = match &policy.compression {
        Some(it) if it.mode.as_deref().is_some_and(|mode| mode.eq_ignore_ascii_case("ZSTD")) => {
            it.level.unwrap_or(defaults.compression).max(1)
        }
        Some(it) if it.mode.as_deref().is_some_and(|mode| mode.eq_ignore_ascii_case("NONE")) => 0,
        _ => defaults.compression,
    };
    BackupOptions {
        tags,
        source_name: routine.source_name.clone(),
        parallel: policy.parallel.map_or(defaults.parallel, usize::from),
        compression,
        skip_if_unchanged: policy.skip_if_unchanged == Some(true),
        read_limit: policy.bandwidth.filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20)),
        ..defaults
    }
}

/// Forgets what the policy does not keep of a routine, and gives back its space.
fn keep(
    service: &Service,
    config: &Config,
    name: &str,
    routine: &Routine,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let Some(retention) = config.policy_of(routine).retention else {
        return Ok(Done { complete: true, ..Done::default() });
    };
    if let Some(folders) = Folders::of_routine(config, routine)? {
        return folders::keep(&folders, name, &retention, progress);
    }
    let repo = service.places.open(config, &Where::of_routine(config, routine)?, false)?;
    // What others forgot meanwhile counts for nothing that is to be kept.
    repo.refresh()?.iter().for_each(|warning| progress.warning(warning));
    let policy = retention.policy();
    let narrow = Narrow { tags: vec![routine_tag(name)], ..Narrow::default() };
    let plan = forget::plan_policy(&repo, &narrow, &policy, &time_zone(Some("UTC"))?)?;
    let count = plan.dropped().count() as u64;
    if count == 0 {
        return Ok(Done { complete: true, result: json!({ "forgotten": [] }), ..Done::default() });
    }
    let (forgotten, pruned) = forget::execute_and_prune(&repo, plan, &PruneOptions::default(), progress)?;
    let problems = forgotten.failed.iter().map(|(id, why)| format!("snapshot {}: {why}", id.short())).collect();
    Ok(Done {
        complete: forgotten.failed.is_empty(),
        problems,
        result: json!({ "forgotten": forgotten.forgotten, "pruned": pruned }),
        records: count,
        ..Done::default()
    })
}

/// Verifies the newest backup of a routine: of a run that left several snapshots, each.
fn check(
    service: &Service,
    config: &Config,
    name: &str,
    routine: &Routine,
    how: &str,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let repo = service.places.open(config, &Where::of_routine(config, routine)?, false)?;
    repo.refresh()?;
    let narrow = Narrow { tags: vec![routine_tag(name)], ..Narrow::default() };
    let mut newest = newest_of_each(&repo, &narrow, Within::default(), 1, service.now())?;
    let Some(last) = newest.last().cloned() else {
        return Err(OpsError::refused(ErrorKind::NoSnapshot, format!("routine {name} has no backup")));
    };
    newest.retain(|it| it.id == last.id || is_same_run(&last, it));
    let options = VerifyOptions {
        read_data: if how == "structure" { ReadData::None } else { ReadData::All },
        restore: how == "restore",
        ..VerifyOptions::default()
    };
    let outcome = verify(&repo, &newest, &options, progress)?;
    let doubt = doubt_in(&repo)?;
    let found = outcome.findings.iter().take(20).map(|found| format!("{}: {}", found.object, found.problem));
    Ok(Done {
        complete: outcome.findings.is_empty() && doubt.is_none(),
        problems: found.chain(doubt).collect(),
        result: json!({ "verified": outcome }),
        ..Done::default()
    })
}
