//! Repositories: where they are by the configuration, and those that are open. Each is opened once, by whoever needs it first,
//! and shared by all jobs and questions.

use super::{
    config::{Config, Hidden, Place, Routine, SecretAgent, Secrets, Storage as StorageConfig, Unlocking, lean},
    remembered::{self, gone, list_anew},
    shared::{Held, Looked, Opened, Slot},
};
use crate::{
    ops::OpsError,
    record::{Clock, Timestamp},
    repo::{
        By, InitOptions, OpenOptions, RepoError, Repository, Storage, Unlock,
        keys::{self, KdfParams},
        manifest::Kind,
        storage::StorageOptions,
    },
    report::ErrorKind,
};
use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The folder of a storage that its repository lies in.
const FOLDER: &str = "rekeep";

/// A repository by the configuration.
#[derive(Debug, Clone)]
pub struct Where {
    /// How people name it: `storage local`, `repository main`.
    pub name: String,
    of: Of,
    unlocking: Option<Unlocking>,
    create: bool,
    /// Equal for equal settings.
    fingerprint: [u8; 32],
}

/// What of the configuration says where it lies. Secrets are looked up when it is opened, and not before.
#[derive(Debug, Clone)]
enum Of {
    Storage(Box<StorageConfig>),
    Place(Place),
}

/// How old an answer about what a repository holds may be before storage is listed anew beside whoever asks.
const FRESH: Duration = Duration::from_secs(2);

/// How old it may be before whoever asks waits for that.
const STALE: Duration = Duration::from_secs(5);

/// How old what is told of streams may be before it is looked at again, beside whoever asked.
const STREAMS_FRESH: Duration = Duration::from_mins(1);

/// The newest snapshot of a stream in a repository that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// How people name the repository.
    pub repository: String,
    /// Whose changes it keeps.
    pub source: String,
    /// The snapshot's end.
    pub end: Timestamp,
}

/// The streams of a repository, as they were when it was last looked at for them.
struct Watched {
    repo: Repository,
    looked: Option<Instant>,
    ends: Arc<Mutex<Vec<StreamEnd>>>,
}

/// Those that are open.
pub struct Places {
    open: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
    /// By their names.
    watched: Mutex<BTreeMap<String, Watched>>,
    state: PathBuf,
    cache: PathBuf,
    clock: Arc<dyn Clock>,
    host: String,
}

fn refused(kind: ErrorKind, words: impl Into<String>) -> OpsError {
    OpsError::refused(kind, words)
}

impl Where {
    /// The repository that a routine backs up to.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is named wrongly or a secret cannot be got.
    pub fn of_routine(config: &Config, routine: &Routine) -> Result<Self, OpsError> {
        match (&routine.storage, &routine.repository) {
            (Some(name), _) => Self::of_storage(config, name),
            (None, Some(name)) => Self::of_repository(config, name),
            (None, None) => Err(refused(ErrorKind::InvalidInput, "the routine has neither storage nor repository")),
        }
    }

    /// The repository in a storage.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such storage.
    pub fn of_storage(config: &Config, name: &str) -> Result<Self, OpsError> {
        let storage = config.storage.get(name);
        let storage = storage.ok_or_else(|| refused(ErrorKind::NotFound, format!("there is no storage `{name}`")))?;
        Self::in_storage(storage, format!("storage {name}"))
    }

    /// The same, of one that has no name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it makes no sense.
    pub fn in_storage(storage: &StorageConfig, name: String) -> Result<Self, OpsError> {
        if storage.is_of_files() {
            let words = format!("{name} holds files of the backup service (format: asb), and no repository");
            return Err(refused(ErrorKind::InvalidInput, words));
        }
        let fingerprint = blake3::hash(lean(storage).to_string().as_bytes());
        Ok(Self {
            name,
            of: Of::Storage(Box::new(storage.clone())),
            unlocking: storage.unlock.clone(),
            create: true,
            fingerprint: *fingerprint.as_bytes(),
        })
    }

    /// A repository that is where it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none of this name.
    pub fn of_repository(config: &Config, name: &str) -> Result<Self, OpsError> {
        let place: Option<&Place> = config.repositories.get(name);
        let place = place.ok_or_else(|| refused(ErrorKind::NotFound, format!("there is no repository `{name}`")))?;
        Ok(Self {
            name: format!("repository {name}"),
            of: Of::Place(place.clone()),
            unlocking: place.unlock.clone(),
            create: place.create == Some(true),
            fingerprint: *blake3::hash(lean(place).to_string().as_bytes()).as_bytes(),
        })
    }

    /// Where it lies, and how that is reached.
    fn located(&self, config: &Config) -> Result<(String, StorageOptions), OpsError> {
        match &self.of {
            Of::Storage(storage) => {
                placed(config, storage, Some(FOLDER)).map_err(|words| refused(ErrorKind::InvalidInput, words))
            }
            Of::Place(place) => {
                let options = StorageOptions { connections: place.connections, ..StorageOptions::default() };
                Ok((place.location.clone(), options))
            }
        }
    }
}

/// Where a storage lies, or what is in it by this name, and how that is reached.
///
/// # Errors
/// In words, if a secret cannot be got.
pub(super) fn placed(
    config: &Config,
    storage: &StorageConfig,
    inner: Option<&str>,
) -> Result<(String, StorageOptions), String> {
    let mut options = StorageOptions::default();
    let folder = |path: Option<&String>| {
        let path = path.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
        path.into_iter().chain(inner).collect::<Vec<_>>().join("/")
    };
    let add = |list: &mut Vec<(String, String)>, name: &str, value: Option<&String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            list.push((name.to_owned(), value.clone()));
        }
    };
    let secret = |own: Option<&SecretAgent>, named: Option<&String>, text: Option<&Hidden>| {
        let secrets = Secrets::new(config, own, named.map(String::as_str))?;
        text.map(|text| secrets.get(&text.0)).transpose()
    };
    if let Some(local) = &storage.local_storage {
        let path = local.path.trim_end_matches('/');
        // The root itself has no other name.
        let location = inner
            .map_or_else(|| if path.is_empty() { "/" } else { path }.to_owned(), |inner| format!("{path}/{inner}"));
        return Ok((location, options));
    }
    if let Some(s3) = &storage.s3_storage {
        add(&mut options.options, "region", Some(&s3.s3_region));
        add(&mut options.options, "endpoint", s3.s3_endpoint_override.as_ref());
        add(&mut options.options, "profile", s3.s3_profile.as_ref());
        for (class, option) in [("data", "storage-class"), ("metadata", "metadata-storage-class")] {
            let class = s3.storage_class.as_ref().and_then(|classes| classes.get(class)?.as_str().map(str::to_owned));
            add(&mut options.options, option, class.as_ref());
        }
        let (agent, name) = (s3.secret_agent.as_ref(), s3.secret_agent_name.as_ref());
        for (option, text) in [("access_key_id", &s3.access_key_id), ("secret_access_key", &s3.secret_access_key)] {
            add(&mut options.credentials, option, secret(agent, name, text.as_ref())?.as_ref());
        }
        options.connections = s3.max_async_connections.filter(|connections| (1..=256).contains(connections));
        return Ok((format!("s3://{}/{}", s3.bucket, folder(s3.path.as_ref())), options));
    }
    if let Some(gcp) = &storage.gcp_storage {
        add(&mut options.options, "endpoint", gcp.endpoint.as_ref());
        add(&mut options.options, "credential-path", gcp.key_file_path.as_ref());
        let (agent, name) = (gcp.secret_agent.as_ref(), gcp.secret_agent_name.as_ref());
        let key = secret(agent, name, gcp.key.as_ref())?.map(|key| data_encoding::BASE64.encode(key.as_bytes()));
        add(&mut options.credentials, "credential", key.as_ref());
        return Ok((format!("gcs://{}/{}", gcp.bucket_name, folder(gcp.path.as_ref())), options));
    }
    if let Some(azure) = &storage.azure_storage {
        add(&mut options.options, "endpoint", Some(&azure.endpoint));
        add(&mut options.options, "account-name", azure.account_name.as_ref());
        let (agent, name) = (azure.secret_agent.as_ref(), azure.secret_agent_name.as_ref());
        add(&mut options.credentials, "account_key", secret(agent, name, azure.account_key.as_ref())?.as_ref());
        if azure.client_secret.is_some() || azure.client_id.is_some() || azure.tenant_id.is_some() {
            return Err(
                "tenant-id, client-id, client-secret: give them in the environment (AZURE_TENANT_ID, AZURE_CLIENT_ID, \
                        AZURE_CLIENT_SECRET)"
                    .to_owned(),
            );
        }
        return Ok((format!("azblob://{}/{}", azure.container_name, folder(azure.path.as_ref())), options));
    }
    Err("the storage is of no kind".to_owned())
}

impl Places {
    /// None open. Recovery keys of those that are made are kept in `state`, catalogs in `cache`.
    #[must_use]
    pub fn new(state: PathBuf, cache: PathBuf, clock: Arc<dyn Clock>, host: String) -> Self {
        Self { open: Mutex::default(), watched: Mutex::default(), state, cache, clock, host }
    }

    fn slot(&self, place: &Where) -> Arc<Slot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(open.entry(place.fingerprint).or_default())
    }

    /// Opens one, or gives the one that is open. With `create`, it may be made if the configuration allows that. Takes long:
    /// not for threads that others wait for.
    ///
    /// # Errors
    /// What the repository says; [`ErrorKind::WrongPassword`] also if there is none.
    pub fn open(&self, config: &Config, place: &Where, create: bool) -> Result<Repository, OpsError> {
        let slot = self.slot(place);
        self.opened(config, place, create, &mut slot.hold())
    }

    /// The same for a question, which nobody makes a repository for, and which does not wait long for others.
    ///
    /// # Errors
    /// As [`Self::open`]; [`ErrorKind::Storage`] where others wait for its storage already.
    pub fn ask(&self, config: &Config, place: &Where) -> Result<Repository, OpsError> {
        let slot = self.slot(place);
        self.opened(config, place, false, &mut slot.ask(&place.name)?)
    }

    fn opened(
        &self,
        config: &Config,
        place: &Where,
        create: bool,
        slot: &mut Held<'_>,
    ) -> Result<Repository, OpsError> {
        if let Some(opened) = slot.as_ref() {
            return Ok(opened.repo.clone());
        }
        let repo = self.open_anew(config, place, create)?;
        **slot = Some(Opened { repo: repo.clone(), looked: Looked::default() });
        let watched = Watched { repo: repo.clone(), looked: None, ends: Arc::default() };
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(place.name.clone(), watched);
        Ok(repo)
    }

    /// The same with what others committed there: another service, or the command. It may be [`STALE`] old; what is older than
    /// [`FRESH`] is looked at again meanwhile, for whoever asks next.
    ///
    /// # Errors
    /// As [`Self::ask`]; what storage says.
    pub fn look(&self, config: &Config, place: &Where) -> Result<Repository, OpsError> {
        let slot = self.slot(place);
        let mut slot = slot.ask(&place.name)?;
        let repo = self.opened(config, place, false, &mut slot)?;
        if let Some(opened) = slot.as_ref() {
            match opened.looked.age() {
                age if age < FRESH => {}
                age if age < STALE => opened.looked.again(&place.name, &repo),
                _ => {
                    list_anew(&place.name, &repo)?;
                    opened.looked.now();
                }
            }
        }
        Ok(repo)
    }

    /// One that is open and was looked at a moment ago: there is nothing to wait for.
    #[must_use]
    pub fn at_hand(&self, place: &Where) -> Option<Repository> {
        let slot = self.slot(place);
        let slot = slot.try_hold()?;
        let opened = slot.as_ref()?;
        let age = opened.looked.age();
        if age >= FRESH && age < STALE {
            opened.looked.again(&place.name, &opened.repo);
        }
        (age < STALE).then(|| opened.repo.clone())
    }

    /// The newest snapshots of streams in repositories that are open, without waiting for storage: what is older than
    /// [`STREAMS_FRESH`] is looked at again meanwhile, for whoever asks next.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamEnd> {
        let mut all = Vec::new();
        for (name, watched) in self.watched.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            all.extend(watched.ends.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
            if watched.looked.is_some_and(|looked| looked.elapsed() < STREAMS_FRESH) {
                continue;
            }
            watched.looked = Some(Instant::now());
            let (name, repo, ends) = (name.clone(), watched.repo.clone(), Arc::clone(&watched.ends));
            std::thread::spawn(move || match stream_ends(&name, &repo) {
                Ok(found) => *ends.lock().unwrap_or_else(PoisonError::into_inner) = found,
                Err(error) => tracing::warn!(repository = %name, "its streams were not looked at: {error}"),
            });
        }
        all
    }

    /// Those that are open, by their names.
    #[must_use]
    pub fn those_open(&self) -> Vec<(String, Repository)> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().map(|(name, watched)| (name.clone(), watched.repo.clone())).collect()
    }

    /// Closes all of them; jobs that have one go on with it.
    pub fn forget(&self) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn open_anew(&self, config: &Config, place: &Where, create: bool) -> Result<Repository, OpsError> {
        let (location, options) = place.located(config)?;
        let storage = Storage::open(&location, &options)?;
        let open =
            OpenOptions { cache_dir: self.cache.clone(), clock: Arc::clone(&self.clock), host: self.host.clone() };
        let before = || remembered::known(&self.state, &location);
        let repo = match keys::read_config(&storage) {
            Ok(_) => Repository::open(&storage, &unlock(config, place)?, &open)?,
            Err(error @ RepoError::NoRepository { .. }) => match before() {
                Some(id) => return Err(gone(&place.name, &id)),
                None if create && place.create => self.make(config, place, &storage, &open)?,
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = remembered::note(&self.state, &location, repo.id()) {
            tracing::warn!(repository = %place.name, "that it is there could not be noted: {error}");
        }
        Ok(repo)
    }

    fn make(
        &self,
        config: &Config,
        place: &Where,
        storage: &Storage,
        open: &OpenOptions,
    ) -> Result<Repository, OpsError> {
        let unlock = unlock(config, place)?;
        let init = InitOptions { kdf: KdfParams::STANDARD, label: format!("service@{}", self.host) };
        let made = Repository::init(storage, &unlock, None, &init, open);
        let (repo, recovery) = match made {
            // Another service was faster.
            Err(error) if error.kind() == ErrorKind::RepositoryExists => {
                return Ok(Repository::open(storage, &unlock, open)?);
            }
            made => made?,
        };
        let path = self.state.join(format!("recovery-key-{}.txt", repo.id()));
        let kept = keep_recovery_key(&path, &place.name, &recovery.0);
        kept.map_err(|error| {
            let words = format!(
                "{} was made, and its recovery key could not be written to {}: {error}",
                place.name,
                path.display()
            );
            refused(ErrorKind::Io, words)
        })?;
        tracing::warn!(
            repository = %place.name,
            "made a repository; its recovery key is in {}: move it to where it is safe",
            path.display()
        );
        Ok(repo)
    }
}

/// Of each source the end of the newest snapshot that a stream committed.
fn stream_ends(name: &str, repo: &Repository) -> Result<Vec<StreamEnd>, RepoError> {
    repo.refresh()?;
    let mut ends: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut heads = repo.heads(By::All, None)?;
    heads.retain(|head| head.kind == Kind::Journal);
    for snapshot in repo.open_heads(&heads)? {
        let end = ends.entry(snapshot.source().name.clone()).or_insert(snapshot.content.end);
        *end = snapshot.content.end.max(*end);
    }
    Ok(ends.into_iter().map(|(source, end)| StreamEnd { repository: name.to_owned(), source, end }).collect())
}

fn keep_recovery_key(path: &std::path::Path, name: &str, key: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "# recovery key of {name}: whoever has it reads everything\n{key}")?;
    file.sync_all()
}

/// What unlocks a repository: as it says itself, as the service says, as the environment says.
fn unlock(config: &Config, place: &Where) -> Result<Unlock, OpsError> {
    let wrong = |words: String| refused(ErrorKind::WrongPassword, format!("{}: {words}", place.name));
    let said = |unlocking: &Unlocking| -> Result<Option<Unlock>, String> {
        if let Some(service) = &unlocking.key_service {
            return key_service(service).map(Some);
        }
        let secrets = Secrets::new(config, None, None)?;
        let password = match (&unlocking.password, &unlocking.password_file) {
            (Some(password), _) => Some(secrets.get(&password.0)?),
            (None, Some(file)) => Some(super::config::secret::of_file(file)?),
            (None, None) => None,
        };
        Ok(password.map(Unlock::Password))
    };
    let environment = Unlocking {
        password: std::env::var("REKEEP_PASSWORD").ok().filter(|password| !password.is_empty()).map(Hidden),
        password_file: std::env::var("REKEEP_PASSWORD_FILE").ok().filter(|file| !file.is_empty()),
        key_service: std::env::var("REKEEP_KEY_SERVICE").ok().filter(|service| !service.is_empty()),
    };
    for unlocking in [place.unlocking.as_ref(), config.service.unlock.as_ref()].into_iter().flatten() {
        if let Some(unlock) = said(unlocking).map_err(wrong)? {
            return Ok(unlock);
        }
    }
    if let Some(file) = &environment.password_file {
        return super::config::secret::of_file(file).map(Unlock::Password).map_err(wrong);
    }
    if let Some(service) = &environment.key_service {
        return key_service(service).map_err(wrong);
    }
    // A password is taken as it is, whatever it begins with.
    let password = environment.password.map(|password| Unlock::Password(password.0));
    password.ok_or_else(|| {
        wrong(
            "nothing says what unlocks it: add `unlock: {password-file: FILE}` to it or below `service:`, or set \
             REKEEP_PASSWORD_FILE"
                .to_owned(),
        )
    })
}

#[cfg(feature = "kms")]
fn key_service(name: &str) -> Result<Unlock, String> {
    let service = crate::repo::keys::external::KeyService::parse(name)?;
    Ok(Unlock::External(Arc::new(service)))
}

#[cfg(not(feature = "kms"))]
fn key_service(name: &str) -> Result<Unlock, String> {
    Err(format!("{name}: this program was built without key services (feature `kms`)"))
}
