//! Drills of routines, and the reports that they left.

use super::{
    Service, ServiceError, claim,
    config::{Config, DrillSettings, Routine, Secrets},
    hooks,
    job::{Done, StoredJob},
    places::Where,
    reach::is_allowed,
    restore::doubt_in,
    runs::{self, Whose},
    sources::resolved,
    state::JobFilter,
    survey::{Looked, Survey, Unread},
    tags,
};
use crate::{
    connector::{Options, Target},
    ops::{
        OpsError, Progress,
        command::Bounded,
        drill::{Assertion, DrillOptions, DrillOutcome, DrillPlace, drill},
    },
    repo::{
        RepoId, Repository,
        drills::{DrillName, Drills, Goals, KeptDrill},
    },
    report::{ErrorKind, WarningKind},
};
use serde_json::json;
use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

/// Reports of one repository that a listing looks at, of each source.
const MOST: usize = 200;

fn wrong(words: impl Into<String>) -> OpsError {
    OpsError::refused(ErrorKind::InvalidInput, words)
}

/// Drills the newest backup of a routine: of a run that left several snapshots, each.
pub(super) fn drill_newest(
    service: &Service,
    config: &Config,
    job: &StoredJob,
    name: &str,
    routine: &Routine,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let settings = routine.drill.clone().unwrap_or_default();
    let repo = service.places.open(config, &Where::of_routine(config, routine)?, false)?;
    if let Some(words) = claim::taken(service, (config, routine), &repo, job, progress)? {
        return Ok(Done { skipped: Some(words), ..Done::default() });
    }
    repo.refresh()?.iter().for_each(|warning| progress.warning(warning));
    let state = runs::newest(&repo, Whose { config, name }, None, service.now())?;
    if state.snapshots.is_empty() {
        return Err(OpsError::refused(ErrorKind::NoSnapshot, format!("routine {name} has no backup to drill")));
    }
    state.notes.iter().for_each(|words| progress.warn(WarningKind::Note, name, words.clone()));
    let options = options(service, config, routine, &settings)?;
    let target_options = target_options(config, routine, &settings)?;
    let open = |url: &str| -> Result<Box<dyn Target>, OpsError> { Ok(service.registry.target(url, &target_options)?) };
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    for snapshot in &state.snapshots {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let drilled =
            prepare(config, job, &settings, progress).and_then(|()| drill(&repo, snapshot, &open, &options, progress));
        match drilled {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) if error.is_interruption() || state.snapshots.len() == 1 => return Err(error),
            // The others are looked at all the same.
            Err(error) => failed.push(format!("snapshot {}: {error}", snapshot.id.short())),
        }
    }
    let mut done = done(&outcomes);
    if !failed.is_empty() {
        failed.extend(done.failed.take());
        done.failed = Some(failed.join("; "));
    }
    // The newest that can be read was drilled, and not what may be newer.
    let lacks: Vec<String> = state.lacks.into_iter().chain(doubt_in(&repo)?).collect();
    done.complete &= lacks.is_empty();
    done.problems.extend(lacks);
    Ok(done)
}

/// Lets a person's own command clear the target.
fn prepare(
    config: &Config,
    job: &StoredJob,
    settings: &DrillSettings,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    let Some(name) = &settings.prepare else { return Ok(()) };
    let hook = config.service.hooks.get(name).ok_or_else(|| wrong(format!("there is no hook `{name}`")))?;
    let facts = hooks::Facts { job, outcome: "", error: None };
    hooks::run(hook, &facts, &|| progress.cancelled()).map_err(OpsError::Failed)
}

fn options(
    service: &Service,
    config: &Config,
    routine: &Routine,
    settings: &DrillSettings,
) -> Result<DrillOptions, OpsError> {
    let place = match &settings.target {
        None => DrillPlace::Scratch,
        Some(url) if is_allowed(config, url) => DrillPlace::Given(url.clone()),
        Some(url) => {
            return Err(wrong(format!(
                "nobody may restore into `{}`: add what it begins with to service.restore-targets",
                crate::connector::url::without_password(url)
            )));
        }
    };
    let scratch = config.service.drill_scratch.as_ref().map_or_else(|| service.scratch.clone(), PathBuf::from);
    let policy = config.policy_of(routine);
    let assertion = |name: &String| {
        let hook = config.service.hooks.get(name).ok_or_else(|| wrong(format!("there is no hook `{name}`")))?;
        let timeout = Duration::from_secs(u64::from(hook.timeout.unwrap_or(300)));
        Ok(Assertion { name: name.clone(), run: Bounded { command: hook.command.clone(), timeout } })
    };
    Ok(DrillOptions {
        place,
        sample: settings.sample.as_deref().map(str::parse).transpose().map_err(wrong)?,
        assertions: settings.assertions.iter().map(assertion).collect::<Result<_, OpsError>>()?,
        goals: Goals {
            rpo_millis: settings.max_rpo.map(|seconds| seconds.saturating_mul(1000)),
            rto_millis: settings.max_rto.map(|seconds| seconds.saturating_mul(1000)),
        },
        parallel: policy.parallel.map_or(4, usize::from).clamp(1, 256),
        read_limit: policy.bandwidth.filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20)),
        ..DrillOptions::new(std::path::absolute(&scratch).unwrap_or(scratch))
    })
}

fn target_options(config: &Config, routine: &Routine, settings: &DrillSettings) -> Result<Options, OpsError> {
    let mut options = Options::default();
    let (agent, name) = routine.agent();
    let secrets = Secrets::new(config, agent, name).map_err(wrong)?;
    for (name, value) in settings.target_options.iter().flatten() {
        options.set(name, resolved(value, &secrets).map_err(wrong)?);
    }
    options.add(&json!({ "single_records": settings.sample.is_some() }))?;
    // It is known of the records, not asked of the target.
    options.make_ambient(["single_records"]);
    Ok(options)
}

fn done(outcomes: &[DrillOutcome]) -> Done {
    let mut failed = Vec::new();
    let mut problems = Vec::new();
    for outcome in outcomes {
        let said = &outcome.said;
        let wrong = said.checks.iter().filter(|check| !check.passed);
        failed
            .extend(wrong.map(|check| format!("snapshot {}: {}: {}", said.snapshot.short(), check.name, check.words)));
        problems.extend(outcome.not_kept.iter().map(|words| format!("the report could not be kept: {words}")));
        problems.extend(outcome.left.clone());
    }
    Done {
        complete: problems.is_empty(),
        failed: (!failed.is_empty()).then(|| failed.join("; ")),
        problems,
        skipped: None,
        records: outcomes.iter().map(|outcome| outcome.said.records).sum(),
        bytes: outcomes.iter().map(|outcome| outcome.said.bytes).sum(),
        result: json!({ "drills": outcomes }),
    }
}

/// The routine that a report is about.
pub(super) fn routine_of(kept: &KeptDrill) -> Option<&str> {
    tags::routine_of(&kept.report.tags)
}

/// The tenant that it belongs to.
pub(super) fn tenant_of(kept: &KeptDrill) -> Option<&str> {
    kept.report.tags.iter().find_map(|tag| tag.strip_prefix("tenant="))
}

impl Service {
    /// How the last drill of a routine ended.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn last_drill(&self, routine: &str) -> Result<Option<String>, ServiceError> {
        let filter =
            JobFilter { verb: Some("drill"), routine: Some(routine.to_owned()), limit: 10, ..JobFilter::default() };
        let last = self.state.jobs(&filter)?.into_iter().find(|job| job.state.is_over());
        Ok(last.map(|job| job.state.as_str().to_owned()))
    }

    /// The repositories that routines back up to, each once; and those that cannot be read.
    fn repositories(self: &Arc<Self>, config: &Arc<Config>, routine: Option<&str>) -> (Vec<Looked>, Vec<Unread>) {
        let meant = config.routines.iter().filter(|(name, _)| routine.is_none_or(|routine| routine == *name));
        let Survey { looked, unread } = self.survey(config, meant.map(|(_, one)| one));
        let mut seen: HashSet<(RepoId, String)> = HashSet::new();
        let all = looked.into_iter();
        (all.filter(|looked| seen.insert((looked.repo.id(), looked.repo.place_hash()))).collect(), unread)
    }

    /// The newest reports of all routines or one, newest first. What cannot be read is among the problems.
    ///
    /// # Errors
    /// [`ServiceError::Ops`] if no repository can be read.
    pub(super) fn drills(self: &Arc<Self>, routine: Option<&str>) -> Result<Drills, ServiceError> {
        let (repositories, mut unread) = self.repositories(&self.config(), routine);
        let (mut found, mut is_any_read) = (Drills::default(), false);
        for looked in &repositories {
            match looked.repo.newest_drills(MOST, &|_| false).map_err(OpsError::from) {
                Ok(Drills { kept, problems, .. }) => {
                    is_any_read = true;
                    found.kept.extend(kept);
                    found.problems.extend(problems);
                }
                Err(error) => unread.push(Unread::new(&looked.place, &error)),
            }
        }
        if let Some(first) = unread.first().filter(|_| !is_any_read) {
            return Err(first.refusal().into());
        }
        found.problems.extend(unread.iter().map(|unread| unread.refusal().to_string()));
        found.kept.retain(|kept| routine.is_none_or(|routine| routine_of(kept) == Some(routine)));
        found.kept.sort_by_key(|kept| std::cmp::Reverse((kept.report.started, kept.name)));
        Ok(found)
    }

    /// One report, and the repository that it lies in.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Ops`] if it is damaged.
    pub(super) fn drill_report(self: &Arc<Self>, name: DrillName) -> Result<(Repository, KeptDrill), ServiceError> {
        let (repositories, unread) = self.repositories(&self.config(), None);
        for Looked { repo, .. } in repositories {
            match repo.drill(name) {
                Ok(kept) => return Ok((repo, kept)),
                Err(crate::repo::RepoError::Missing { .. }) => {}
                Err(error) => return Err(OpsError::from(error).into()),
            }
        }
        // It may lie where nobody could look.
        match unread.first() {
            Some(unread) => Err(unread.refusal().into()),
            None => Err(ServiceError::NotFound { what: "report", name: name.to_string() }),
        }
    }
}
