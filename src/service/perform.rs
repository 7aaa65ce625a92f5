//! What jobs do: from the configuration to the verbs of `ops`.

use super::{
    Service, claim,
    config::{Config, Policy, Routine},
    folders::{self, Folders},
    hooks,
    job::{Done, JobState, StoredJob, Work, may_pass},
    places::Where,
    proof,
    restore::{self, RestorePlan, doubt_in},
    runs::{self, Whose},
    sources::{Reading, readings},
    state::JobFilter,
    tags::{CHANGED, parts_of_run, routine_tag, run_of, run_tag, type_tag},
};
use crate::{
    ops::{
        OpsError, Progress,
        backup::{Ask, BackupOptions, BackupOutcome, backup, backup_chain},
        forget::{self, Candidate, time_zone},
        prune::PruneOptions,
        verify::{ReadData, VerifyOptions, verify},
    },
    repo::{Repository, Snapshot},
    report::{ErrorKind, WarningKind},
};
use serde_json::{Value as Json, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

/// What the tries of a job have backed up so far, by what was read: another try does not read it again.
#[derive(Debug, Default)]
pub(super) struct Made(Mutex<Vec<(String, Vec<BackupOutcome>)>>);

impl Made {
    fn holds(&self, url: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(own, _)| own == url)
    }

    fn add(&self, url: &str, outcomes: Vec<BackupOutcome>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((url.to_owned(), outcomes));
    }

    fn outcomes(&self) -> Vec<BackupOutcome> {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().flat_map(|(_, outcomes)| outcomes.iter().cloned()).collect()
    }

    /// What there is although the job failed.
    pub(super) fn result(&self) -> Option<Json> {
        let outcomes = self.outcomes();
        (!outcomes.is_empty()).then(|| done(&outcomes).result)
    }
}

fn wrong(words: impl Into<String>) -> OpsError {
    OpsError::refused(ErrorKind::InvalidInput, words)
}

/// Does what a job is to do.
pub(super) fn carry_out(
    service: &Service,
    config: &Config,
    job: &StoredJob,
    plan: Option<&RestorePlan>,
    made: &Made,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let of = |name: &str| {
        config
            .routines
            .get(name)
            .ok_or_else(|| OpsError::refused(ErrorKind::NotFound, format!("there is no routine `{name}` any more")))
    };
    match &job.work {
        Work::Backup { routine, .. } => back_up(service, config, job, of(routine)?, made, progress),
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
    made: &Made,
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
    let readings = readings(config, routine, &policy).map_err(wrong)?;
    let of_several = readings.len() > 1;
    if of_several {
        more.push(run_tag(job, readings.len()));
    }
    let mut failed = Vec::new();
    for reading in readings.iter().filter(|reading| !made.holds(&reading.url)) {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        match read_one(service, &repo, name, routine, &policy, job, &more, reading, progress) {
            Ok(outcomes) => made.add(&reading.url, outcomes),
            Err(error) if error.is_interruption() || !of_several => return Err(error),
            // The others are no worse for it.
            Err(error) => failed.push((reading.url.rsplit('/').next().unwrap_or_default(), error)),
        }
    }
    if !failed.is_empty() {
        return Err(together(&failed));
    }
    let outcomes = made.outcomes();
    if more.iter().any(|tag| tag == "asked=snapshot") {
        for id in outcomes.iter().filter_map(|outcome| outcome.id) {
            repo.revise(&id, &|manifest| manifest.hold = true)?;
        }
    }
    Ok(done(&outcomes))
}

/// Why namespaces of a run failed, as one error: of the kind of one for which another try may help, if there is one.
fn together(failed: &[(&str, OpsError)]) -> OpsError {
    let words: Vec<String> = failed.iter().map(|(name, error)| format!("namespace {name}: {error}")).collect();
    let first = failed.iter().find(|(_, error)| may_pass(error)).or(failed.first());
    let (kind, remedies) =
        first.map_or((ErrorKind::Failed, Vec::new()), |(_, error)| (error.kind(), error.remedies().to_vec()));
    OpsError::Refused { kind, words: words.join("; "), remedies }
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
    job: &StoredJob,
    more: &[String],
    reading: &Reading,
    progress: &dyn Progress,
) -> Result<Vec<BackupOutcome>, OpsError> {
    let full = job.work.kind() == "full";
    let mut options = options(name, routine, policy, full);
    options.tags.extend(more.iter().cloned());
    options.accept_deletions = job.work.accepts_deletions();
    options.url.clone_from(&reading.url);
    if let Some(urls) = service.registry.chain(&reading.url)? {
        let mut open = |url: &str| service.registry.source(url, &reading.options);
        let outcomes = backup_chain(repo, &urls, &mut open, &options, progress)?;
        outcomes.iter().try_for_each(|outcome| mark_changed(repo, outcome))?;
        return Ok(outcomes);
    }
    let source = service.registry.source(&reading.url, &reading.options)?;
    let asks_cumulative =
        policy.incr_mode.as_deref() == Some("cumulative") || more.iter().any(|tag| tag == "asked=differential");
    options.ask = match (full, asks_cumulative) {
        (true, _) => Ask::Full,
        (false, true) if source.abilities().change_filter => Ask::Differential,
        (false, _) => Ask::Default,
    };
    let outcome = backup(repo, source.as_ref(), &options, progress)?;
    mark_changed(repo, &outcome)?;
    Ok(vec![outcome])
}

/// Marks what only lacks that files were the same before and after they were read: where some always change, nothing else ever
/// counts as a full.
fn mark_changed(repo: &Repository, outcome: &BackupOutcome) -> Result<(), OpsError> {
    let Some(id) = outcome.id.filter(|_| outcome.only_changed && !outcome.complete) else { return Ok(()) };
    let mark = |manifest: &mut crate::repo::manifest::Manifest| {
        if !manifest.tags.iter().any(|tag| tag == CHANGED) {
            manifest.tags.push(CHANGED.to_owned());
        }
    };
    repo.revise(&id, &mark)?;
    Ok(())
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
    if config.policy_of(routine).verify.is_some() && !is_verified(service, config, &repo, name)? {
        let words = "nothing is forgotten: the newest full is not verified yet";
        progress.warn(WarningKind::Note, name, words.to_owned());
        return Ok(Done { complete: true, result: json!({ "forgotten": [], "left_out": words }), ..Done::default() });
    }
    let skips = config.policy_of(routine).skip_if_unchanged == Some(true);
    let candidates = candidates(&repo.snapshots()?, name, skips);
    let plan = forget::plan::plan(&candidates, &retention.policy(), &time_zone(Some("UTC"))?, service.now())?;
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

/// Whether the last verification of a routine found its newest full whole: another may have come since that was asked for.
fn is_verified(service: &Service, config: &Config, repo: &Repository, name: &str) -> Result<bool, OpsError> {
    let filter = JobFilter { verb: Some("verify"), routine: Some(name.to_owned()), limit: 10, ..JobFilter::default() };
    let jobs = service.state.jobs(&filter).map_err(|error| OpsError::refused(ErrorKind::Io, error.to_string()))?;
    let Some(last) = jobs.iter().find(|job| job.state.is_over()) else { return Ok(false) };
    let looked_at = last.result.get(LOOKED_AT).and_then(Json::as_array);
    let is_in = |it: &Snapshot| looked_at.is_some_and(|all| all.contains(&json!(it.id)));
    let newest = runs::newest(repo, Whose { config, name }, Some(type_tag(true)), service.now())?;
    Ok(last.state == JobState::Success && newest.snapshots.iter().all(is_in))
}

/// What decides about the snapshots of a repository, for the retention of a routine. What only lacks that files changed while they
/// were read counts as complete; what a run left that did not get to its end is no full: the days that were backed up as a whole
/// would go for it. Where what is unchanged leaves nothing, nobody can tell.
fn candidates(snapshots: &[Snapshot], name: &str, skips_unchanged: bool) -> Vec<Candidate> {
    let own = routine_tag(name);
    let mut runs: HashMap<&str, HashSet<(&str, &str)>> = HashMap::new();
    for snapshot in snapshots {
        if let Some(run) = run_of(snapshot) {
            runs.entry(run).or_default().insert((&snapshot.source().name, &snapshot.content.scope));
        }
    }
    let is_half = |it: &Snapshot| {
        let there = run_of(it).and_then(|run| runs.get(run)).map_or(0, HashSet::len);
        !skips_unchanged && parts_of_run(it).is_some_and(|parts| there < parts)
    };
    let candidate = |it: &Snapshot| {
        let mut candidate = Candidate::of(it, it.tags.contains(&own));
        candidate.complete |= it.tags.iter().any(|tag| tag == CHANGED);
        if is_half(it) {
            candidate.tags.retain(|tag| tag != type_tag(true));
        }
        candidate
    };
    snapshots.iter().map(candidate).collect()
}

/// What the result of a verification says of which snapshots it looked at.
const LOOKED_AT: &str = "looked_at";

/// Verifies the newest backup of a routine, and the newest full if that is another: of a run that left several snapshots, each.
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
    let (whose, now) = (Whose { config, name }, service.now());
    let state = runs::newest(&repo, whose, None, now)?;
    let mut newest = state.snapshots;
    if newest.is_empty() {
        return Err(OpsError::refused(ErrorKind::NoSnapshot, format!("routine {name} has no backup")));
    }
    // By it retention goes, and an increment may have come since.
    for full in runs::newest(&repo, whose, Some(type_tag(true)), now)?.snapshots {
        if newest.iter().all(|it| it.id != full.id) {
            newest.push(full);
        }
    }
    let options = VerifyOptions {
        read_data: if how == "structure" { ReadData::None } else { ReadData::All },
        restore: how == "restore",
        ..VerifyOptions::default()
    };
    let outcome = verify(&repo, &newest, &options, progress)?;
    let lacks: Vec<String> = state.lacks.into_iter().chain(doubt_in(&repo)?).collect();
    let found = outcome.findings.iter().take(20).map(|found| format!("{}: {}", found.object, found.problem));
    let ids: Vec<_> = newest.iter().map(|it| it.id).collect();
    Ok(Done {
        complete: outcome.findings.is_empty() && lacks.is_empty(),
        problems: found.chain(lacks).collect(),
        result: json!({ "verified": outcome, LOOKED_AT: ids }),
        ..Done::default()
    })
}
