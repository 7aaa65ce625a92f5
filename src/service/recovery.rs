//! The interface of disaster recovery guides: a *dataset* is a routine, a backup is what one request made of one or several of
//! them. What there is is told by tags of the repositories; only what has not become a snapshot comes from the state.

use super::{
    Service, ServiceError,
    briefs::Brief,
    config::{Config, Routine},
    job::{JobState, NewJob, StoredJob, Work},
    keys::Caller,
    places::Where,
    reach::places,
    restore::{RestorePlan, doubt_in, plan_into},
    sources::cluster_url,
    state::JobFilter,
    survey::{Looked, Survey, Unread},
};
use crate::{
    connector::{Options, Role, url::without_password},
    ops::{OpsError, Silent, forget},
    record::Timestamp,
    repo::{Repository, Snapshot, entropy, manifest::Kind},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};
use utoipa::ToSchema;

/// What a backup is asked for with.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateBackup {
    /// `full`, `incremental`, `differential`, or `snapshot`, which is held until somebody releases it; `full` by default.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The datasets, which are routines; all of the tenant's if there are none.
    pub dataset_ids: Option<Vec<String>>,
    /// Words for people.
    pub description: Option<String>,
}

/// What a restore is asked for with.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreBackup {
    /// Whose datasets are written; the backup's own by default.
    pub target_tenant: Option<String>,
    /// Which dataset goes into which; only those that are named, if any is.
    pub dataset_mapping: BTreeMap<String, String>,
    /// `all` restores the others too, each into its own.
    pub include: Option<String>,
    /// Replace what is there; without it a dataset that holds records is a conflict.
    pub overwrite_existing: bool,
    /// Read and check everything before the first write; yes by default.
    pub verify_integrity: Option<bool>,
}

/// One dataset of a backup.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DatasetBackup {
    /// The dataset: the routine.
    pub dataset_id: String,
    /// `queued`, `running`, `completed`, `incomplete`, `failed`, `canceled`.
    pub status: &'static str,
    /// The job, if it is known.
    pub job: Option<i64>,
    /// The snapshot, once there is one.
    pub snapshot: Option<String>,
    /// Records that it restores.
    pub records: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// What was read: `full`, `incremental`, `differential`.
    #[schema(value_type = Option<String>)]
    pub type_effective: Option<Kind>,
    /// Why it failed.
    pub error: Option<String>,
    #[serde(skip)]
    at: Timestamp,
    #[serde(skip)]
    ended: Option<Timestamp>,
}

/// Where a snapshot is, and whose.
struct Own {
    place: String,
    routine: String,
}

/// The snapshots of a dataset that are restored, and why they may not be all.
type Chosen<'s> = (Option<String>, Vec<&'s Snapshot>);

/// A snapshot of a backup in its repository.
type Located = (Repository, Own, Snapshot);

/// The backups that there are, and the places that could not be read.
pub(super) struct Known {
    pub(super) all: Arc<Vec<Backup>>,
    pub(super) unread: Vec<Unread>,
}

fn known_of(all: Arc<Vec<Backup>>, survey: Survey) -> Result<Known, ServiceError> {
    match survey.unread.first() {
        Some(first) if survey.looked.is_empty() => Err(first.refusal().into()),
        _ => Ok(Known { all, unread: survey.unread }),
    }
}

/// What all backups of a caller follow from.
#[derive(PartialEq, Eq)]
struct Key {
    /// Changes of jobs that are parts of backups.
    jobs: u64,
    /// The caller's routines and tenant.
    bounds: (Vec<String>, Option<String>),
    /// The repositories, and what they hold.
    listed: Vec<(String, [u8; 32])>,
}

/// Callers whose backups are kept in mind.
const KEPT_IN_MIND: usize = 8;

/// All backups as they were put together last: a page of them is asked for more often than one is made.
#[derive(Default)]
pub(super) struct Skeletons(Mutex<VecDeque<(Key, Arc<Vec<Backup>>)>>);

impl Skeletons {
    fn find(&self, key: &Key) -> Option<Arc<Vec<Backup>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == key).map(|(_, all)| Arc::clone(all))
    }

    fn keep(&self, key: Key, all: &Arc<Vec<Backup>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| known.bounds != key.bounds);
        if kept.len() >= KEPT_IN_MIND {
            kept.pop_front();
        }
        kept.push_back((key, Arc::clone(all)));
    }
}

/// A backup.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "as the guides call it")]
pub struct Backup {
    /// Its name.
    pub backup_id: String,
    /// What was asked for.
    #[serde(rename = "type")]
    pub kind: String,
    /// As of its datasets: the worst of them.
    pub status: &'static str,
    /// When it began.
    pub created_at: String,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Words for people.
    pub description: Option<String>,
    /// Whose it is.
    pub tenant_id: Option<String>,
    /// Records that it restores.
    pub records: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// Whether nothing may drop it.
    pub hold: bool,
    /// Its datasets.
    pub datasets: Vec<DatasetBackup>,
    #[serde(skip)]
    pub(super) at: Timestamp,
}

impl Backup {
    /// With what is shown of it and costs too much for thousands of which a page is shown.
    pub(super) fn told(mut self) -> Self {
        self.records = self.datasets.iter().map(|dataset| dataset.records).sum();
        self.size_bytes = self.datasets.iter().map(|dataset| dataset.size_bytes).sum();
        self.created_at = self.at.to_string();
        let ended: Option<Vec<Timestamp>> = self.datasets.iter().map(|dataset| dataset.ended).collect();
        self.completed_at = ended.and_then(|ended| ended.into_iter().max()).map(|end| end.to_string());
        self
    }
}

const fn status_of(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Success => "completed",
        JobState::Incomplete => "incomplete",
        JobState::Failure => "failed",
        JobState::Canceled | JobState::Skipped => "canceled",
    }
}

/// How long after a request it is looked whether all of it was begun.
const BEGUN_BY_MILLIS: i64 = 600_000;

/// What may be asked for.
pub(super) const TYPES: [&str; 4] = ["full", "incremental", "differential", "snapshot"];

/// How a backup may stand. The worst comes first: what is not over, then what failed.
pub(super) const STATUSES: [&str; 6] = ["running", "queued", "failed", "canceled", "incomplete", "completed"];

fn worst(datasets: &[DatasetBackup]) -> &'static str {
    let found = STATUSES.into_iter().find(|status| datasets.iter().any(|dataset| dataset.status == *status));
    found.unwrap_or("completed")
}

impl Service {
    /// The routines that a caller has to do with.
    fn own_routines<'c>(config: &'c Config, caller: &Caller) -> Vec<(&'c String, &'c Routine)> {
        let may = |(name, routine): &(&String, &Routine)| caller.may_routine(name, routine.tenant.as_deref());
        config.routines.iter().filter(may).collect()
    }

    /// Starts a backup; gives its name. The same idempotency key gives the same backup.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], [`ServiceError::NotFound`] of a dataset.
    pub(super) fn create_backup(
        &self,
        caller: &Caller,
        request: &CreateBackup,
        once: Option<&str>,
    ) -> Result<String, ServiceError> {
        let kind = request.kind.as_deref().unwrap_or("full");
        if !TYPES.contains(&kind) {
            let words = format!("type `{kind}` is none of {}", TYPES.join(", "));
            return Err(ServiceError::Invalid(words));
        }
        if request.description.as_deref().is_some_and(|words| words.len() > 500 || words.chars().any(char::is_control))
        {
            return Err(ServiceError::Invalid("description: 500 bytes at most, without control characters".to_owned()));
        }
        let config = self.config();
        let own = Self::own_routines(&config, caller);
        let wanted: Vec<_> = match &request.dataset_ids {
            None => own.into_iter().filter(|(_, routine)| !config.keeps_files(routine)).collect(),
            Some(ids) => {
                let find = |id: &String| own.iter().find(|(name, _)| *name == id).copied();
                let missing = |id: &String| ServiceError::NotFound { what: "dataset", name: id.clone() };
                let ids: BTreeSet<&String> = ids.iter().collect();
                ids.into_iter().map(|id| find(id).ok_or_else(|| missing(id))).collect::<Result<_, _>>()?
            }
        };
        if wanted.is_empty() {
            return Err(ServiceError::Invalid("there are no datasets: a dataset is a routine".to_owned()));
        }
        if let Some((name, _)) = wanted.iter().find(|(_, routine)| config.keeps_files(routine)) {
            let words =
                format!("dataset `{name}` is kept as files (format: asb): its backups are listed below /v1/backups");
            return Err(ServiceError::Invalid(words));
        }
        let _alone = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        let (group, begun) = self.name_once(caller, request, once)?;
        for (name, routine) in wanted.into_iter().filter(|(name, _)| !begun.contains(*name)) {
            let work = Work::Backup {
                routine: name.clone(),
                full: kind == "full",
                description: request.description.clone(),
                group: Some(group.clone()),
                asked: Some(kind.to_owned()),
                accept_deletions: false,
            };
            let new = NewJob { work, tenant: routine.tenant.clone(), by: caller.name.to_string(), due: None };
            self.submit(&new, self.now(), false, None)?;
        }
        Ok(group)
    }

    /// The name of a backup that is asked for, and the datasets that it has begun already: all of them where the same was asked for
    /// before, unless the service was killed over it.
    fn name_once(
        &self,
        caller: &Caller,
        request: &CreateBackup,
        once: Option<&str>,
    ) -> Result<(String, BTreeSet<String>), ServiceError> {
        let (name, now) = (self.new_name()?, self.now());
        let Some(once) = once else { return Ok((name, BTreeSet::new())) };
        let asked = serde_json::to_vec(request).unwrap_or_default();
        let digest = data_encoding::HEXLOWER.encode(&blake3::hash(&asked).as_bytes()[..16]);
        let owner = format!("{}/{once}", caller.name);
        let Some((before, at)) = self.state.remember_once(&owner, &format!("{name} {digest}"), now)? else {
            return Ok((name, BTreeSet::new()));
        };
        let (name, of) = before.split_once(' ').unwrap_or((&before, &digest));
        if of != digest {
            let words = format!("Idempotency-Key `{once}` was given with another request before: it made `{name}`");
            return Err(ServiceError::Conflict(words));
        }
        let filter = JobFilter {
            verb: Some("backup"),
            from: Some(at),
            is_of_group: true,
            limit: 10_000,
            ..JobFilter::default()
        };
        let mut begun: BTreeSet<String> = BTreeSet::new();
        for job in self.state.jobs(&filter)? {
            if let Work::Backup { routine, group: Some(group), .. } = job.work
                && group == name
            {
                begun.insert(routine);
            }
        }
        // Later jobs may have been forgotten, and none is missing.
        if now.as_millis() - at.as_millis() > BEGUN_BY_MILLIS {
            begun.extend(self.config().routines.keys().cloned());
        }
        Ok((name.to_owned(), begun))
    }

    /// `backup_20240101_120000_abc123`.
    fn new_name(&self) -> Result<String, ServiceError> {
        let mut random = [0; 6];
        entropy::fill(&mut random).map_err(OpsError::from)?;
        let now = jiff::Timestamp::from_millisecond(self.now().as_millis()).unwrap_or_default();
        Ok(format!("backup_{}_{}", now.strftime("%Y%m%d_%H%M%S"), data_encoding::HEXLOWER.encode(&random)))
    }

    /// The backups that a caller has to do with, the newest first; what is shown of one, [`Backup::told`] adds. And the places that
    /// could not be read: what is there is not among these.
    ///
    /// # Errors
    /// What a repository says, if none can be read.
    pub(super) fn all_backups(self: &Arc<Self>, caller: &Caller) -> Result<Known, ServiceError> {
        let config = self.config();
        let survey =
            || self.survey(&config, Self::own_routines(&config, caller).into_iter().map(|(_, routine)| routine));
        let first = survey();
        let key = |jobs: u64, survey: &Survey| Key {
            jobs,
            bounds: (caller.bounds().0.to_vec(), caller.bounds().1.map(str::to_owned)),
            listed: survey.looked.iter().map(|looked| (looked.place.clone(), looked.listed.hash)).collect(),
        };
        let jobs = self.state.group_changes();
        if let Some(known) = self.skeletons.find(&key(jobs, &first)) {
            return known_of(known, first);
        }
        // Before snapshots: what a job is said to have made is listed then.
        let filter = JobFilter { verb: Some("backup"), is_of_group: true, limit: 10_000, ..JobFilter::default() };
        let stored = self.state.jobs(&filter.of(caller))?;
        let survey = survey();
        let mut by_name: BTreeMap<String, Backup> = BTreeMap::new();
        for looked in &survey.looked {
            for brief in &looked.listed.all {
                if let Some(routine) = own_routine(caller, brief) {
                    add_snapshot(&mut by_name, routine, brief);
                }
            }
        }
        for job in stored {
            let routine = job.work.routine().unwrap_or_default();
            if caller.may_routine(routine, job.tenant.as_deref()) {
                add_job(&mut by_name, &job);
            }
        }
        let mut all: Vec<Backup> = by_name.into_values().collect();
        for backup in &mut all {
            backup.status = worst(&backup.datasets);
            backup.at = backup.datasets.iter().map(|dataset| dataset.at).min().unwrap_or_default();
        }
        all.sort_by(|one, other| (other.at, &other.backup_id).cmp(&(one.at, &one.backup_id)));
        let all = Arc::new(all);
        self.skeletons.keep(key(jobs, &survey), &all);
        known_of(all, survey)
    }

    /// One backup.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; what a repository says that it may be in.
    pub(super) fn one_backup(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
    ) -> Result<(Backup, Vec<Unread>), ServiceError> {
        let Known { all, unread } = self.all_backups(caller)?;
        match all.iter().find(|backup| backup.backup_id == id) {
            Some(found) => Ok((found.clone().told(), unread)),
            None => Err(missing(id, &unread)),
        }
    }

    /// The snapshots of a backup, each with its repository and routine; and the places that could not be read, where it may have
    /// more of them.
    fn snapshots_of(
        self: &Arc<Self>,
        config: &Arc<Config>,
        caller: &Caller,
        id: &str,
    ) -> Result<(Vec<Located>, Vec<Unread>), ServiceError> {
        let own = Self::own_routines(config, caller);
        let Survey { looked, mut unread } = self.survey(config, own.into_iter().map(|(_, routine)| routine));
        let mut found = Vec::new();
        for Looked { place, repo, listed } in looked {
            for brief in listed.all.iter().filter(|brief| is_named(brief, id)) {
                let Some(routine) = own_routine(caller, brief) else { continue };
                if let Some(snapshot) = repo.snapshot(&brief.id).map_err(OpsError::from)? {
                    let own = Own { place: place.clone(), routine: routine.to_owned() };
                    found.push((repo.clone(), own, snapshot));
                }
                // What nobody asked for under a name of its own is one snapshot.
                if brief.tag("backup").is_none() {
                    unread.clear();
                }
            }
        }
        if found.is_empty() {
            return Err(missing(id, &unread));
        }
        Ok((found, unread))
    }

    /// Forgets a backup: all of it, or nothing where something holds a part.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; what is held, locked or the last of its source says no.
    pub(super) fn delete_backup(self: &Arc<Self>, caller: &Caller, id: &str) -> Result<(), ServiceError> {
        let config = self.config();
        let mut by_repo: BTreeMap<String, (Repository, Vec<Snapshot>)> = BTreeMap::new();
        let (found, unread) = self.snapshots_of(&config, caller, id)?;
        if let Some(unread) = unread.first() {
            return Err(unread.refusal().into());
        }
        for (repo, own, snapshot) in found {
            by_repo.entry(own.place).or_insert_with(|| (repo, Vec::new())).1.push(snapshot);
        }
        let mut plans = Vec::new();
        for (repo, snapshots) in by_repo.into_values() {
            plans.push((forget::plan_named(&repo, &snapshots, false)?, repo));
        }
        for (plan, repo) in plans {
            let outcome = forget::execute(&repo, plan, &Silent)?;
            if let Some((id, why)) = outcome.failed.first() {
                return Err(ServiceError::Conflict(format!("snapshot {} stays: {why}", id.short())));
            }
        }
        Ok(())
    }

    /// Starts the restore of a backup: one job for each dataset.
    ///
    /// # Errors
    /// [`ServiceError`] that names the dataset; nothing is started then.
    pub(super) fn restore_backup(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        request: &RestoreBackup,
    ) -> Result<Json, ServiceError> {
        if request.include.as_deref().is_some_and(|include| include != "all") {
            return Err(ServiceError::Invalid("include: `all` is all that it may be".to_owned()));
        }
        let config = self.config();
        let (snapshots, unread) = self.snapshots_of(&config, caller, id)?;
        let names: BTreeSet<&String> = snapshots.iter().map(|(_, own, _)| &own.routine).collect();
        if let Some(unknown) = request.dataset_mapping.keys().find(|name| !names.contains(name)) {
            if let Some(unread) = unread.first() {
                return Err(unread.refusal().into());
            }
            return Err(ServiceError::NotFound { what: "dataset in this backup", name: unknown.clone() });
        }
        // Nobody is to believe that all of it is restored; datasets that are named and there are all that is wanted.
        if let Some(unread) = unread.first().filter(|_| request.dataset_mapping.is_empty() || request.include.is_some())
        {
            let words = format!("{}; name the datasets that are to be restored without it", unread.refusal());
            return Err(OpsError::refused(unread.kind, words).into());
        }
        // A run of a routine may have left several snapshots, of a namespace each.
        let mut datasets: BTreeMap<(&String, &String), Chosen<'_>> = BTreeMap::new();
        for (repo, Own { place, routine }, snapshot) in &snapshots {
            match datasets.entry((routine, place)) {
                Entry::Vacant(new) => {
                    new.insert((doubt_in(repo)?, vec![snapshot]));
                }
                Entry::Occupied(mut there) => there.get_mut().1.push(snapshot),
            }
        }
        let mut plans: Vec<(String, String, RestorePlan)> = Vec::new();
        for ((routine, place), (doubt, snapshots)) in datasets {
            let mapped = request.dataset_mapping.get(routine);
            if mapped.is_none() && !request.dataset_mapping.is_empty() && request.include.is_none() {
                continue;
            }
            let target = mapped.unwrap_or(routine);
            let into = Self::target_routine(&config, caller, target, request.target_tenant.as_deref())?;
            let (url, options) = self.target_of(&config, into)?;
            let place = Self::place_named(&config, place)?;
            let verify = request.verify_integrity != Some(false);
            let plan = plan_into(place, &snapshots, url, options, request.overwrite_existing, verify).in_doubt(doubt);
            plans.push((routine.clone(), target.clone(), plan));
        }
        let mut seen = BTreeSet::new();
        for (_, _, plan) in &plans {
            let places = places(&config, &plan.target);
            if places.iter().any(|place| seen.contains(place)) {
                let target = without_password(&plan.target);
                return Err(ServiceError::Invalid(format!("two datasets would go into {target}")));
            }
            seen.extend(places);
        }
        let mut started = Vec::new();
        for (routine, target, plan) in plans {
            let tenant = config.routines.get(&target).and_then(|routine| routine.tenant.clone());
            let request = json!({ "backup_id": id, "request": request, "target": target });
            let work = Work::Restore { routine: Some(target.clone()), request };
            let new = NewJob { work, tenant, by: caller.name.to_string(), due: None };
            let job = match self.submit(&new, self.now(), false, Some(plan)) {
                Ok(submitted) => {
                    json!({ "dataset_id": routine, "target": target, "status": "accepted", "job": submitted.id() })
                }
                Err(ServiceError::Conflict(words)) => {
                    json!({ "dataset_id": routine, "target": target, "status": "conflict", "error": words })
                }
                Err(error) => return Err(error),
            };
            started.push(job);
        }
        Ok(json!({ "backup_id": id, "datasets": started }))
    }

    fn target_routine<'c>(
        config: &'c Config,
        caller: &Caller,
        name: &str,
        tenant: Option<&str>,
    ) -> Result<&'c Routine, ServiceError> {
        let found = config.routines.get(name);
        let found = found.filter(|routine| tenant.is_none_or(|tenant| routine.tenant.as_deref() == Some(tenant)));
        let found = found.filter(|routine| caller.may_routine(name, routine.tenant.as_deref()));
        found.ok_or_else(|| ServiceError::NotFound { what: "dataset to restore into", name: name.to_owned() })
    }

    /// What a routine reads, as a target.
    pub(super) fn target_of(&self, config: &Config, routine: &Routine) -> Result<(String, Options), ServiceError> {
        let mut options = Options::default();
        if let Some(url) = &routine.source {
            let place = url.split('?').next().unwrap_or_default().to_owned();
            for (name, value) in routine.source_options.iter().flatten() {
                if self.registry.knows(&place, Role::Target, name) {
                    options.set(name, value.clone());
                }
            }
            return Ok((place, options));
        }
        let name = routine.source_cluster.as_deref().unwrap_or_default();
        let cluster = config.clusters.get(name);
        let cluster = cluster.ok_or_else(|| ServiceError::NotFound { what: "cluster", name: name.to_owned() })?;
        super::sources::cluster_options(config, cluster, &mut options).map_err(ServiceError::Invalid)?;
        Ok((cluster_url(cluster, None), options))
    }

    fn place_named(config: &Config, name: &str) -> Result<Where, ServiceError> {
        let places = config.routines.values().filter_map(|routine| Where::of_routine(config, routine).ok());
        let found = places.into_iter().find(|place| place.name == name);
        found.ok_or_else(|| ServiceError::NotFound { what: "place", name: name.to_owned() })
    }
}

/// The backup that a snapshot belongs to: by itself, if nobody asked for several.
fn name_of(brief: &Brief) -> String {
    brief.tag("backup").map_or_else(|| brief.id.to_string(), str::to_owned)
}

fn is_named(brief: &Brief, id: &str) -> bool {
    brief.tag("backup").map_or_else(|| brief.id.to_string() == id, |name| name == id)
}

/// The routine that made a snapshot, if a caller has to do with it.
fn own_routine<'b>(caller: &Caller, brief: &'b Brief) -> Option<&'b str> {
    brief.tag("routine").filter(|routine| caller.may_routine(routine, brief.tag("tenant")))
}

/// A backup that is not there, or where nobody could look.
fn missing(id: &str, unread: &[Unread]) -> ServiceError {
    match unread.first() {
        Some(unread) => unread.refusal().into(),
        None => ServiceError::NotFound { what: "backup", name: id.to_owned() },
    }
}

fn empty(id: &str, kind: &str, description: Option<String>, tenant: Option<String>) -> Backup {
    Backup {
        backup_id: id.to_owned(),
        kind: kind.to_owned(),
        status: "completed",
        created_at: String::new(),
        completed_at: None,
        description,
        tenant_id: tenant,
        records: 0,
        size_bytes: 0,
        hold: false,
        datasets: Vec::new(),
        at: Timestamp::default(),
    }
}

fn add_snapshot(all: &mut BTreeMap<String, Backup>, routine: &str, brief: &Brief) {
    let name = name_of(brief);
    let kind = brief.tag("asked").or_else(|| brief.tag("type")).unwrap_or("full");
    let backup = all.entry(name.clone()).or_insert_with(|| {
        empty(&name, kind, brief.tag("description").map(str::to_owned), brief.tag("tenant").map(str::to_owned))
    });
    backup.hold |= brief.candidate.hold;
    backup.datasets.push(DatasetBackup {
        dataset_id: routine.to_owned(),
        status: if brief.complete { "completed" } else { "incomplete" },
        job: None,
        snapshot: Some(brief.id.to_string()),
        records: brief.records,
        size_bytes: brief.bytes,
        type_effective: Some(brief.kind),
        error: None,
        at: brief.start,
        ended: Some(brief.end),
    });
}

/// What a job is of which there is no snapshot: it waits, is at work, or failed. What others than this interface asked for is not
/// told before there is one.
fn add_job(all: &mut BTreeMap<String, Backup>, job: &StoredJob) {
    let Work::Backup { routine, description, group: Some(group), asked, .. } = &job.work else { return };
    let kind = asked.as_deref().unwrap_or("full");
    let backup =
        all.entry(group.clone()).or_insert_with(|| empty(group, kind, description.clone(), job.tenant.clone()));
    if let Some(dataset) = backup.datasets.iter_mut().find(|dataset| dataset.dataset_id == *routine) {
        dataset.job = Some(job.id);
        if !job.state.is_over() {
            (dataset.status, dataset.ended) = (status_of(job.state), None);
        }
        return;
    }
    // What was made and has been forgotten since is no backup any more.
    if matches!(job.state, JobState::Success | JobState::Incomplete) {
        if backup.datasets.is_empty() {
            all.remove(group);
        }
        return;
    }
    backup.datasets.push(DatasetBackup {
        dataset_id: routine.clone(),
        status: status_of(job.state),
        job: Some(job.id),
        snapshot: None,
        records: 0,
        size_bytes: 0,
        type_effective: None,
        error: job.error.clone(),
        at: job.created,
        ended: job.finished,
    });
}
