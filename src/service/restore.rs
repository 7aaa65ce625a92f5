//! Restores: from a request as the backup service has it to snapshots, a target, and options.

use super::{
    Service, ServiceError,
    config::{Cluster, Config, Encryption, RetryPolicy, Routine, SecretAgent, Storage, hide, lean},
    folders::{self, Chain, FilesPlan, Folders},
    job::Done,
    listing::{Key, begun_at},
    places::Where,
    reach::{check_agent, is_allowed, reachable, with_password},
    runs::{self, Whose},
    sources::{cluster_options, cluster_url},
};
use crate::{
    connector::{Options, Overwrite},
    ops::{
        OpsError, Progress,
        restore::{RestoreOptions, RestoreOutcome, restore},
        verify::{ReadData, VerifyOptions, verify},
    },
    record::Timestamp,
    repo::{Repository, Snapshot, SnapshotId},
    report::{ErrorKind, WarningKind},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use utoipa::ToSchema;

/// How records are written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RestorePolicy {
    /// Worker threads.
    pub parallel: Option<u16>,
    /// Leave out records.
    pub no_records: Option<bool>,
    /// Leave out secondary indexes.
    pub no_indexes: Option<bool>,
    /// Leave out UDF modules.
    pub no_udfs: Option<bool>,
    /// How long a node may be silent, in milliseconds.
    pub socket_timeout: Option<u32>,
    /// How long one command may take, in milliseconds.
    pub total_timeout: Option<u32>,
    /// Only these sets.
    pub set_list: Option<Vec<String>>,
    /// Only these bins.
    pub bin_list: Option<Vec<String>>,
    /// Replace records as a whole; without it bins that do not come stay.
    pub replace: Option<bool>,
    /// Leave records that are there.
    pub unique: Option<bool>,
    /// Do not compare generations.
    pub no_generation: Option<bool>,
    /// MiB a second.
    pub bandwidth: Option<u64>,
    /// Records a second.
    pub tps: Option<u32>,
    /// From which namespace to which.
    pub namespace: Option<NamespaceMap>,
    /// No meaning here: repositories have keys of their own.
    pub encryption: Option<Encryption>,
    /// No meaning here: what is stored says how it is compressed.
    #[schema(value_type = Option<Object>)]
    pub compression: Option<Json>,
    /// How records that a node did not take are sent again.
    pub retry_policy: Option<RetryPolicy>,
    /// Write each record by a command of its own.
    pub disable_batch_writes: Option<bool>,
    /// Records in a batch.
    pub batch_size: Option<u16>,
    /// Batches under way at once.
    pub max_async_batches: Option<u16>,
    /// Seconds that every expiry gets more.
    pub extra_ttl: Option<i64>,
}

/// From which namespace to which.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceMap {
    /// As it is in the backup.
    pub source: String,
    /// As it is to be.
    pub destination: String,
}

/// A restore of one backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RestoreRequest {
    /// The cluster to restore into.
    pub destination: Option<Cluster>,
    /// The same by name.
    pub destination_name: Option<String>,
    /// The storage to restore from.
    pub source: Option<Storage>,
    /// The same by name.
    pub source_name: Option<String>,
    /// The backup, by the key that lists give it.
    pub backup_data_path: String,
    /// How.
    pub policy: Option<RestorePolicy>,
    /// Whom to ask for secrets.
    pub secret_agent: Option<SecretAgent>,
    /// The same by name.
    pub secret_agent_name: Option<String>,
    /// A target of any connector, by its URL, in the place of a cluster.
    pub target: Option<String>,
    /// That connector's options.
    #[schema(value_type = Option<Object>)]
    pub target_options: Option<serde_json::Map<String, Json>>,
    /// What happens to records that are there: `always`, `never`, `if-changed`, `if-newer`, `merge`, `merge-if-newer`.
    pub overwrite: Option<String>,
    /// Read the target back and compare.
    pub verify: Option<bool>,
    /// Count, write nothing.
    pub dry_run: Option<bool>,
}

/// A restore of a routine as of a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RestoreTimestampRequest {
    /// The routine.
    pub routine: String,
    /// As of when, in milliseconds since 1970.
    pub time: i64,
    /// The cluster to restore into.
    pub destination: Option<Cluster>,
    /// The same by name.
    pub destination_name: Option<String>,
    /// The storage to restore from; the routine's by default.
    pub source: Option<Storage>,
    /// The same by name.
    pub source_name: Option<String>,
    /// How.
    pub policy: Option<RestorePolicy>,
    /// Whom to ask for secrets.
    pub secret_agent: Option<SecretAgent>,
    /// The same by name.
    pub secret_agent_name: Option<String>,
    /// No meaning here: each record is written once.
    pub disable_reordering: Option<bool>,
    /// A target of any connector, by its URL, in the place of a cluster.
    pub target: Option<String>,
    /// That connector's options.
    #[schema(value_type = Option<Object>)]
    pub target_options: Option<serde_json::Map<String, Json>>,
    /// What happens to records that are there.
    pub overwrite: Option<String>,
    /// Read the target back and compare.
    pub verify: Option<bool>,
    /// Count, write nothing.
    pub dry_run: Option<bool>,
    /// Only these records, typed as the command line has them.
    pub keys: Option<Vec<String>>,
    /// Only this collection; all by default.
    pub collection: Option<String>,
}

/// The earliest time that is taken for milliseconds.
const FIRST_MILLIS: i64 = 1_000_000_000_000;

/// The latest: the end of the year 9999.
const LAST_MILLIS: i64 = 253_402_300_799_999;

/// What the result of a restore says of whether every record was meant.
const WHOLE: &str = "whole";

/// Whether a restore that went well shows that everything can be had back: all of it was meant, and all of it was written and read
/// back.
pub(super) fn proves(result: &Json) -> bool {
    let restores = result.get("restores").and_then(Json::as_array);
    let is_compared = |one: &Json| {
        one["verified"].is_u64() && ["different", "existed", "fresher", "skipped"].iter().all(|left| one[left] == 0)
    };
    result.get(WHOLE) == Some(&Json::Bool(true))
        && restores.is_some_and(|all| !all.is_empty() && all.iter().all(is_compared))
}

/// Names of collections, as they are and as they are to be.
type Names = Vec<(String, Option<String>)>;

/// What a restore is to do.
pub(super) struct RestorePlan {
    from: From,
    /// Where to.
    pub(super) target: String,
    target_options: Options,
    /// Whether whoever asked named the target: what allows that is looked at again before it is written to.
    is_named: bool,
}

/// What is restored.
#[expect(clippy::large_enum_variant, reason = "one of each job")]
enum From {
    Snapshots(SnapshotsPlan),
    Files(FilesPlan),
}

/// Snapshots of a repository.
struct SnapshotsPlan {
    place: Where,
    /// The snapshots, each with the collections that are meant and their new names.
    parts: Vec<(SnapshotId, Names)>,
    options: RestoreOptions,
    /// Read and check everything before the first write.
    check_first: bool,
    /// Whether every record of what the routine kept then is meant.
    whole: bool,
    /// What is to be known of them, in words.
    notes: Vec<String>,
    /// What they lack of what was asked for, in words.
    lacks: Vec<String>,
}

/// Says it where snapshots of a repository cannot be read: any of them may be what is meant, or a part of it.
///
/// # Errors
/// What the repository says.
pub(super) fn doubt_in(repo: &Repository) -> Result<Option<String>, OpsError> {
    let unread = repo.unread_snapshots()?.ids;
    let Some(first) = unread.first() else { return Ok(None) };
    let count = if unread.len() == 1 { "a snapshot".to_owned() } else { format!("{} snapshots", unread.len()) };
    Ok(Some(format!("{count} in the repository cannot be read ({}), and may be what is meant", first.short())))
}

/// What is said where nothing is found.
fn no_backup(name: String, doubt: Option<String>) -> ServiceError {
    match doubt {
        None => ServiceError::NotFound { what: "backup", name },
        Some(doubt) => OpsError::refused(ErrorKind::NoSnapshot, format!("there is no backup {name}: {doubt}")).into(),
    }
}

impl RestorePlan {
    /// The same where snapshots of the repository cannot be read.
    pub(super) fn in_doubt(mut self, doubt: Option<String>) -> Self {
        if let From::Snapshots(plan) = &mut self.from {
            plan.lacks.extend(doubt);
        }
        self
    }
}

/// Where to, and how: what both kinds of requests say.
struct To<'r> {
    destination: Option<&'r Cluster>,
    destination_name: Option<&'r String>,
    target: Option<&'r String>,
    target_options: Option<&'r serde_json::Map<String, Json>>,
    policy: RestorePolicy,
    overwrite: Option<&'r String>,
    verify: bool,
    dry_run: bool,
    keys: Vec<String>,
}

impl<'r> To<'r> {
    fn of(request: &'r RestoreRequest) -> Self {
        Self {
            destination: request.destination.as_ref(),
            destination_name: request.destination_name.as_ref(),
            target: request.target.as_ref(),
            target_options: request.target_options.as_ref(),
            policy: request.policy.clone().unwrap_or_default(),
            overwrite: request.overwrite.as_ref(),
            verify: request.verify == Some(true),
            dry_run: request.dry_run == Some(true),
            keys: Vec::new(),
        }
    }

    fn of_time(request: &'r RestoreTimestampRequest) -> Self {
        Self {
            destination: request.destination.as_ref(),
            destination_name: request.destination_name.as_ref(),
            target: request.target.as_ref(),
            target_options: request.target_options.as_ref(),
            policy: request.policy.clone().unwrap_or_default(),
            overwrite: request.overwrite.as_ref(),
            verify: request.verify == Some(true),
            dry_run: request.dry_run == Some(true),
            keys: request.keys.clone().unwrap_or_default(),
        }
    }
}

fn invalid(words: impl Into<String>) -> ServiceError {
    ServiceError::Invalid(words.into())
}

/// A request as it may be kept: without secrets.
pub(super) fn shown(request: &impl Serialize) -> Json {
    let mut json = lean(request);
    hide(&mut json);
    json
}

impl Service {
    /// What a restore of one backup is to do. Reads the repository: not for threads that others wait for.
    ///
    /// # Errors
    /// [`ServiceError`] that names what there is not, or what makes no sense.
    pub(super) fn plan_restore(
        &self,
        request: &RestoreRequest,
        full: bool,
    ) -> Result<(RestorePlan, String), ServiceError> {
        let config = self.config();
        check_agent(&config, request.secret_agent.as_ref())?;
        let path = request.backup_data_path.trim_matches('/');
        let of_path = path.split('/').next().unwrap_or_default();
        if let Some(folders) = files(&config, request.source.as_ref(), request.source_name.as_ref(), of_path)? {
            let to = To::of(request);
            let agent = (request.secret_agent.as_ref(), request.secret_agent_name.as_deref());
            let chains = folders::one(&folders.kept(of_path)?, path, full);
            if chains.is_empty() {
                return Err(ServiceError::NotFound { what: "backup", name: request.backup_data_path.clone() });
            }
            return Ok((plan_of_files(&config, folders, chains, of_path, &to, agent)?, of_path.to_owned()));
        }
        let key = Key::parse(&request.backup_data_path).map_err(invalid)?;
        if key.full != full {
            return Err(invalid(format!("`{}` is a backup of the other kind", request.backup_data_path)));
        }
        let place = place(&config, request.source.as_ref(), request.source_name.as_ref(), key.routine)?;
        let repo = self.places.look(&config, &place)?;
        let begun = begun_at(&repo, key.routine, Some(full), key.start)?;
        let has = |snapshot: &&Snapshot| {
            key.collection.is_none_or(|name| snapshot.collections.iter().any(|collection| collection.name == name))
        };
        let meant: Vec<&Snapshot> = begun.iter().filter(has).collect();
        let doubt = doubt_in(&repo)?;
        if meant.is_empty() {
            return Err(no_backup(request.backup_data_path.clone(), doubt));
        }
        let to = To::of(request);
        let plan = plan(place, &meant, begun.len(), key.collection, &to, target(&config, &to)?)?;
        // A collection of a run is in one snapshot.
        Ok((plan.in_doubt(doubt.filter(|_| key.collection.is_none())), key.routine.to_owned()))
    }

    /// What a restore of a routine as of a time is to do; with `back` into what the routine reads.
    ///
    /// # Errors
    /// As above.
    pub(super) fn plan_restore_as_of(
        &self,
        request: &RestoreTimestampRequest,
        back: bool,
    ) -> Result<RestorePlan, ServiceError> {
        let config = self.config();
        check_agent(&config, request.secret_agent.as_ref())?;
        // Seconds would be the beginning of time, and microseconds the newest backup.
        if !(FIRST_MILLIS..=LAST_MILLIS).contains(&request.time) {
            return Err(invalid(format!("time {} is not in milliseconds since 1970", request.time)));
        }
        if request.routine.is_empty() {
            return Err(invalid("routine is empty"));
        }
        let time = Timestamp::from_millis(request.time);
        if let Some(folders) = files(&config, request.source.as_ref(), request.source_name.as_ref(), &request.routine)?
        {
            let to = To::of_time(request);
            let agent = (request.secret_agent.as_ref(), request.secret_agent_name.as_deref());
            let chains = folders::chain(&folders.kept(&request.routine)?, time, request.collection.as_deref());
            if chains.is_empty() {
                let name = format!("{} as of {time}", request.routine);
                return Err(ServiceError::NotFound { what: "backup", name });
            }
            return plan_of_files(&config, folders, chains, &request.routine, &to, agent);
        }
        let place = place(&config, request.source.as_ref(), request.source_name.as_ref(), &request.routine)?;
        let repo = self.places.look(&config, &place)?;
        let doubt = doubt_in(&repo)?;
        let whose = Whose { config: &config, name: &request.routine };
        let state = runs::as_of(&repo, whose, time, self.now())?;
        let meant: Vec<&Snapshot> = state.snapshots.iter().collect();
        if meant.is_empty() {
            return Err(no_backup(format!("{} as of {time}", request.routine), doubt));
        }
        let to = To::of_time(request);
        let none = || ServiceError::NotFound { what: "routine", name: request.routine.clone() };
        let into = if back {
            self.target_of(&config, config.routines.get(&request.routine).ok_or_else(none)?)?
        } else {
            target(&config, &to)?
        };
        let mut planned = plan(place, &meant, meant.len(), request.collection.as_deref(), &to, into)?;
        if let From::Snapshots(plan) = &mut planned.from {
            plan.notes = state.notes;
            // Who names a collection that is there lacks no other.
            plan.lacks = if request.collection.is_none() { state.lacks } else { Vec::new() };
            plan.lacks.extend(doubt);
        }
        Ok(planned)
    }
}

fn place(config: &Config, own: Option<&Storage>, named: Option<&String>, routine: &str) -> Result<Where, ServiceError> {
    match (own, named) {
        (Some(_), Some(_)) => Err(invalid("source and source-name are both given")),
        (Some(storage), None) => {
            if storage.kinds() != 1 {
                return Err(invalid("source: exactly one kind of storage is needed"));
            }
            Ok(Where::of_storage(config, known_storage(config, storage)?)?)
        }
        (None, Some(name)) if config.repositories.contains_key(name) => Ok(Where::of_repository(config, name)?),
        (None, Some(name)) if config.storage.contains_key(name) => Ok(Where::of_storage(config, name)?),
        (None, Some(name)) => Err(ServiceError::NotFound { what: "storage", name: name.clone() }),
        (None, None) => {
            let found = config.routines.get(routine);
            let found = found.ok_or_else(|| ServiceError::NotFound { what: "routine", name: routine.to_owned() })?;
            Ok(Where::of_routine(config, found)?)
        }
    }
}

/// The name of a storage that is given as it is. Somebody who may restore must not reach what the service can reach and the
/// configuration does not name.
fn known_storage<'c>(config: &'c Config, storage: &Storage) -> Result<&'c String, ServiceError> {
    let mut known: Vec<_> = config.storage.iter().filter(|(_, known)| is_same_place(known, storage)).collect();
    // Where a repository and files lie in one place, what lies in it is told.
    known.sort_by_key(|(_, known)| known.is_of_files() != storage.is_of_files());
    known.first().map(|(name, _)| *name).ok_or_else(|| {
        ServiceError::Forbidden("source: no such storage is configured; add it, and name it by source-name".to_owned())
    })
}

/// The files to restore from, if those are meant.
fn files(
    config: &Config,
    own: Option<&Storage>,
    named: Option<&String>,
    routine: &str,
) -> Result<Option<Folders>, ServiceError> {
    let name = match (own, named) {
        (Some(storage), None) if storage.kinds() == 1 => Some(known_storage(config, storage)?),
        (None, Some(name)) => Some(name),
        (None, None) => config.routines.get(routine).and_then(|routine| routine.storage.as_ref()),
        _ => None,
    };
    let storage = name.and_then(|name| config.storage.get_key_value(name));
    let Some((name, storage)) = storage.filter(|(_, storage)| storage.is_of_files()) else { return Ok(None) };
    if !crate::service::config::check::is_name(routine) || routine.starts_with('.') {
        return Err(invalid(format!("`{routine}` is no routine")));
    }
    Ok(Some(Folders::open(config, name, storage)?))
}

/// A restore from files, into what both kinds of requests say.
fn plan_of_files(
    config: &Config,
    folders: Folders,
    chains: Vec<Chain>,
    routine: &str,
    to: &To<'_>,
    agent: (Option<&SecretAgent>, Option<&str>),
) -> Result<RestorePlan, ServiceError> {
    for (is_asked, what) in [(!to.keys.is_empty(), "keys"), (to.verify, "verify"), (to.dry_run, "dry-run")] {
        if is_asked {
            return Err(invalid(format!(
                "{what}: that is of repositories, and this storage holds files (format: asb)"
            )));
        }
    }
    let policy = &to.policy;
    let (target, target_options) = target(config, to)?;
    let mut plan = FilesPlan::new(folders, chains);
    if let Some(map) = &policy.namespace {
        if !plan.chains.iter().any(|chain| chain.namespace == map.source) {
            return Err(invalid(format!("policy.namespace: the backup holds no namespace `{}`", map.source)));
        }
        plan.renames.push((map.source.clone(), map.destination.clone()));
    }
    plan.overwrite = overwrite(to)?.unwrap_or(Overwrite::Never);
    plan.parallel = policy.parallel.map_or(8, usize::from).clamp(1, 256);
    plan.bandwidth = policy.bandwidth.filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20));
    let own = config.routines.get(routine);
    let of_routine = own.and_then(|own| config.policy_of(own).encryption);
    let part = json!({
        "no_records": policy.no_records.unwrap_or(false),
        "no_indexes": policy.no_indexes.unwrap_or(false),
        "no_udfs": policy.no_udfs.unwrap_or(false),
    });
    let (encryption, agent) = match &policy.encryption {
        Some(encryption) => (Some(encryption), agent),
        None => (of_routine.as_ref(), own.map_or((None, None), Routine::agent)),
    };
    plan.read_with(config, encryption, agent, &part)?;
    Ok(RestorePlan { from: From::Files(plan), target, target_options, is_named: to.target.is_some() })
}

/// Whether two settings name the same place, whoever signs.
fn is_same_place(one: &Storage, other: &Storage) -> bool {
    let place = |storage: &Storage| {
        let local = storage.local_storage.as_ref().map(|it| it.path.trim_end_matches('/').to_owned());
        let s3 =
            storage.s3_storage.as_ref().map(|it| (it.bucket.clone(), it.path.clone(), it.s3_endpoint_override.clone()));
        let gcp = storage.gcp_storage.as_ref().map(|it| (it.bucket_name.clone(), it.path.clone(), it.endpoint.clone()));
        let azure =
            storage.azure_storage.as_ref().map(|it| (it.container_name.clone(), it.path.clone(), it.endpoint.clone()));
        (local, s3, gcp, azure)
    };
    place(one) == place(other)
}

fn plan(
    place: Where,
    meant: &[&Snapshot],
    all: usize,
    collection: Option<&str>,
    to: &To<'_>,
    (target, target_options): (String, Options),
) -> Result<RestorePlan, ServiceError> {
    let policy = &to.policy;
    let overwrite = overwrite(to)?;
    let renamed =
        |name: &str| policy.namespace.as_ref().filter(|map| map.source == name).map(|map| map.destination.clone());
    let mut parts = Vec::new();
    for snapshot in meant {
        let names = snapshot.collections.iter().map(|collection| collection.name.as_str());
        let names: Vec<&str> = names.filter(|name| collection.is_none_or(|wanted| wanted == *name)).collect();
        if names.is_empty() {
            continue;
        }
        parts.push((snapshot.id, names.iter().map(|name| ((*name).to_owned(), renamed(name))).collect::<Vec<_>>()));
    }
    if parts.is_empty() {
        return Err(ServiceError::NotFound { what: "collection", name: collection.unwrap_or_default().to_owned() });
    }
    if let Some(map) = &policy.namespace
        && !parts.iter().flat_map(|(_, names)| names).any(|(name, _)| *name == map.source)
    {
        return Err(invalid(format!("policy.namespace: the backup holds no namespace `{}`", map.source)));
    }
    let options = RestoreOptions {
        overwrite,
        keys: to.keys.clone(),
        no_records: policy.no_records == Some(true),
        dry_run: to.dry_run,
        verify: to.verify,
        parallel: policy.parallel.map_or(8, usize::from).clamp(1, 256),
        read_limit: policy.bandwidth.filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20)),
        ..RestoreOptions::default()
    };
    let is_some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|it| !it.is_empty());
    let whole = !options.dry_run
        && !options.no_records
        && options.keys.is_empty()
        && !is_some(&policy.set_list)
        && !is_some(&policy.bin_list)
        && parts.len() == all
        && meant.iter().zip(&parts).all(|(snapshot, (_, names))| names.len() == snapshot.collections.len());
    let (notes, lacks) = (Vec::new(), Vec::new());
    let from = From::Snapshots(SnapshotsPlan { place, parts, options, check_first: false, whole, notes, lacks });
    Ok(RestorePlan { from, target, target_options, is_named: to.target.is_some() })
}

/// The whole of snapshots into a target that is known.
pub(super) fn plan_into(
    place: Where,
    snapshots: &[&Snapshot],
    target: String,
    target_options: Options,
    replace: bool,
    check_first: bool,
) -> RestorePlan {
    let names = |it: &Snapshot| it.collections.iter().map(|collection| (collection.name.clone(), None)).collect();
    let parts = snapshots.iter().map(|snapshot| (snapshot.id, names(snapshot))).collect();
    let options =
        RestoreOptions { overwrite: replace.then_some(Overwrite::Always), parallel: 8, ..RestoreOptions::default() };
    let (notes, lacks) = (Vec::new(), Vec::new());
    let from = From::Snapshots(SnapshotsPlan { place, parts, options, check_first, whole: true, notes, lacks });
    RestorePlan { from, target, target_options, is_named: false }
}

fn overwrite(to: &To<'_>) -> Result<Option<Overwrite>, ServiceError> {
    let policy = &to.policy;
    if let Some(name) = to.overwrite {
        return Ok(Some(match name.as_str() {
            "always" => Overwrite::Always,
            "never" => Overwrite::Never,
            "if-changed" => Overwrite::IfChanged,
            "if-newer" => Overwrite::IfNewer,
            "merge" => Overwrite::Merge,
            "merge-if-newer" => Overwrite::MergeIfNewer,
            _ => {
                return Err(invalid(format!(
                    "overwrite: `{name}` is none of always, never, if-changed, if-newer, merge, merge-if-newer"
                )));
            }
        }));
    }
    let (unique, replace, no_generation) =
        (policy.unique == Some(true), policy.replace == Some(true), policy.no_generation == Some(true));
    if unique && (replace || no_generation) {
        return Err(invalid("policy: unique goes with neither replace nor no-generation"));
    }
    // A target of another connector that holds records is refused, unless somebody says what becomes of them.
    if to.target.is_some() {
        return Ok(match (unique, replace) {
            (true, _) => Some(Overwrite::Never),
            (_, true) => Some(Overwrite::Always),
            _ => None,
        });
    }
    Ok(Some(match (unique, replace, no_generation) {
        (true, ..) => Overwrite::Never,
        (_, true, true) => Overwrite::Always,
        (_, true, false) => Overwrite::IfNewer,
        (_, false, true) => Overwrite::Merge,
        (_, false, false) => Overwrite::MergeIfNewer,
    }))
}

fn not_allowed(url: &str) -> String {
    format!(
        "nobody may restore into `{}` from here: add what it begins with, where links lead too, to service.restore-targets",
        crate::connector::url::without_password(url)
    )
}

fn target(config: &Config, to: &To<'_>) -> Result<(String, Options), ServiceError> {
    let mut options = Options::default();
    if let Some(url) = to.target.map(|url| with_password(config, url)) {
        let url = &url;
        if to.destination.is_some() || to.destination_name.is_some() {
            return Err(invalid("target and destination are both given"));
        }
        if !is_allowed(config, url) {
            return Err(ServiceError::Forbidden(not_allowed(url)));
        }
        let (policy, given) = (&to.policy, |list: &Option<Vec<String>>| list.as_ref().is_some_and(|it| !it.is_empty()));
        let of_clusters = [
            ("set-list", given(&policy.set_list)),
            ("bin-list", given(&policy.bin_list)),
            ("no-indexes", policy.no_indexes == Some(true)),
            ("no-udfs", policy.no_udfs == Some(true)),
            ("tps", policy.tps.is_some_and(|tps| tps > 0)),
            ("extra-ttl", policy.extra_ttl.is_some_and(|ttl| ttl > 0)),
        ];
        if let Some((name, _)) = of_clusters.iter().find(|(_, given)| *given) {
            return Err(invalid(format!(
                "policy.{name}: that is of clusters that are named by destination; a target has options of its own (target-options)"
            )));
        }
        for (name, value) in to.target_options.into_iter().flatten() {
            options.set(name, value.clone());
        }
        return Ok((url.clone(), options));
    }
    let given;
    let cluster = match (to.destination, to.destination_name) {
        (Some(_), Some(_)) => return Err(invalid("destination and destination-name are both given")),
        (None, Some(name)) => {
            config.clusters.get(name).ok_or_else(|| ServiceError::NotFound { what: "cluster", name: name.clone() })?
        }
        (Some(cluster), None) => {
            given = reachable(config, cluster)?;
            &given
        }
        (None, None) => return Err(invalid("where to? Give destination, destination-name or target")),
    };
    cluster_options(config, cluster, &mut options).map_err(invalid)?;
    let policy = &to.policy;
    let seconds = |millis: u32| f64::from(millis) / 1000.0;
    let retry = policy.retry_policy.clone().unwrap_or_default();
    let said = json!({
        "sets": policy.set_list.clone().unwrap_or_default(),
        "bins": policy.bin_list.clone().unwrap_or_default(),
        "no_records": policy.no_records.unwrap_or(false),
        "no_indexes": policy.no_indexes.unwrap_or(false),
        "no_udfs": policy.no_udfs.unwrap_or(false),
        "socket_timeout": policy.socket_timeout.filter(|millis| *millis > 0).map(seconds),
        "total_timeout": policy.total_timeout.filter(|millis| *millis > 0).map(seconds),
        "records_per_second": policy.tps.filter(|tps| *tps > 0),
        "disable_batch_writes": policy.disable_batch_writes.unwrap_or(false),
        "batch_size": policy.batch_size.filter(|size| *size > 0),
        "max_async_batches": policy.max_async_batches.filter(|batches| *batches > 0).map(|batches| batches.min(256)),
        "extra_ttl": policy.extra_ttl.filter(|ttl| *ttl > 0),
        "retry_base_interval": retry.base_timeout.map(seconds),
        "retry_max_attempts": retry.max_retries,
        "single_records": !to.keys.is_empty(),
        // As asrestore does.
        "replace_indexes": true,
        "replace_modules": true,
    });
    options.add(&said).map_err(|error| invalid(error.to_string()))?;
    Ok((cluster_url(cluster, None), options))
}

/// Restores.
pub(super) fn carry_out(
    service: &Service,
    config: &Config,
    plan: &RestorePlan,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    // A restore that was before it may have written a link there.
    let check = || {
        let is_allowed = !plan.is_named || is_allowed(config, &plan.target);
        if is_allowed { Ok(()) } else { Err(OpsError::refused(ErrorKind::InvalidInput, not_allowed(&plan.target))) }
    };
    check()?;
    let from = match &plan.from {
        From::Files(files) => {
            return folders::carry_out(&service.registry, files, (&plan.target, &plan.target_options), progress);
        }
        From::Snapshots(from) => from,
    };
    let repo = service.places.open(config, &from.place, false)?;
    from.notes.iter().for_each(|words| progress.warn(WarningKind::Note, "", words.clone()));
    let mut outcomes = Vec::new();
    let mut lacks = from.lacks.clone();
    for (id, collections) in &from.parts {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let snapshot = find(&repo, id)?;
        if from.check_first {
            let all = VerifyOptions { read_data: ReadData::All, ..VerifyOptions::default() };
            let found = verify(&repo, std::slice::from_ref(&snapshot), &all, progress)?.findings;
            if let Some(first) = found.first() {
                let words = format!("{}: {}; nothing was written", first.object, first.problem);
                return Err(OpsError::refused(ErrorKind::Damaged, words));
            }
        }
        let mut options = from.options.clone();
        options.collections.clone_from(collections);
        lacks.extend(partial(&snapshot));
        check()?;
        let target = service.registry.target(&plan.target, &plan.target_options)?;
        outcomes.push(restore(&repo, &snapshot, target.as_ref(), &options, progress)?);
    }
    let whole = from.whole && from.lacks.is_empty();
    let mut result = json!({ "restores": outcomes.iter().map(shown_outcome).collect::<Vec<_>>(), WHOLE: whole });
    if !from.notes.is_empty() {
        result["notes"] = json!(from.notes);
    }
    Ok(Done {
        complete: from.lacks.is_empty() && outcomes.iter().all(|outcome| outcome.complete && outcome.different == 0),
        problems: lacks.into_iter().chain(outcomes.iter().flat_map(problems)).collect(),
        failed: None,
        skipped: None,
        records: outcomes.iter().map(|outcome| outcome.records).sum(),
        bytes: outcomes.iter().map(|outcome| outcome.bytes).sum(),
        result,
    })
}

/// What a snapshot that is partial itself lacks: nothing that its restore could bring back.
fn partial(snapshot: &Snapshot) -> Option<String> {
    const SAID: usize = 5;
    if snapshot.content.complete {
        return None;
    }
    let problems = &snapshot.content.problems;
    let mut said: Vec<&str> = problems.iter().take(SAID).map(String::as_str).collect();
    let more = format!("and {} more", problems.len().saturating_sub(SAID));
    said.extend((problems.len() > SAID).then_some(more.as_str()));
    Some(format!("snapshot {} is partial: {}", snapshot.id.short(), said.join("; ")))
}

fn shown_outcome(outcome: &RestoreOutcome) -> Json {
    let mut json = json!(outcome);
    json["made"] = json!(outcome.made);
    json
}

fn find(repo: &Repository, id: &SnapshotId) -> Result<Snapshot, OpsError> {
    let found = repo.snapshot(id)?;
    found.ok_or_else(|| OpsError::refused(ErrorKind::NoSnapshot, format!("snapshot {} is gone", id.short())))
}

fn problems(outcome: &RestoreOutcome) -> Vec<String> {
    let failures = outcome.outcomes.failures.iter().map(|(key, why)| format!("{key}: {why}"));
    let different = (outcome.different > 0).then(|| format!("{} records differ when read back", outcome.different));
    failures
        .chain(outcome.damage.iter().cloned())
        .chain(outcome.missing.iter().cloned())
        .chain(different)
        .take(20)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_allowed_by_what_they_begin_with_and_nothing_climbs_out() {
        let mut config = Config::default();
        config.service.restore_targets = vec!["sqlite:/restore/".to_owned(), "files:/safe".to_owned()];
        for (url, allowed) in [
            ("sqlite:/restore/a.db", true),
            ("sqlite:/restore/../etc/x", false),
            ("sqlite:/restore/%2e%2e/x", false),
            ("sqlite:/restored/a.db", false),
            ("files:/safe", true),
            ("files:/safe/x", true),
            ("files:/safest", false),
            ("files:hex:2f", false),
            ("jsonl:-", false),
        ] {
            assert_eq!(is_allowed(&config, url), allowed, "{url}");
        }
    }

    #[test]
    fn policies_mean_what_they_mean_to_asrestore() {
        let of = |unique, replace, no_generation| {
            let policy = RestorePolicy { replace, unique, no_generation, ..RestorePolicy::default() };
            let to = To {
                destination: None,
                destination_name: None,
                target: None,
                target_options: None,
                policy,
                overwrite: None,
                verify: false,
                dry_run: false,
                keys: Vec::new(),
            };
            overwrite(&to)
        };
        assert_eq!(of(None, None, None).unwrap(), Some(Overwrite::MergeIfNewer));
        assert_eq!(of(Some(true), None, None).unwrap(), Some(Overwrite::Never));
        assert_eq!(of(None, Some(true), Some(true)).unwrap(), Some(Overwrite::Always));
        assert!(of(Some(true), Some(true), None).is_err());
    }
}
