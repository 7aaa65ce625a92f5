//! The service: one process that runs backups on schedule, answers over HTTP, and tells how it is. It starts the verbs of
//! `ops` as jobs, opens sources by the registry of connectors, and knows no command line. How it is made stands in
//! `docs/service.md`.
//!
//! [`Service`] is the whole of it without HTTP: configuration, schedules, jobs. [`http`] answers requests about it.

mod audit;
mod board;
mod briefs;
mod certificates;
mod claim;
pub mod config;
mod console;
pub mod cron;
mod details;
mod dispatch;
mod folders;
mod hooks;
pub mod http;
mod job;
mod keys;
mod listing;
pub mod log;
mod log_file;
mod log_lines;
mod mail;
pub mod metrics;
mod notify;
mod perform;
mod places;
mod proof;
mod reach;
mod recovery;
mod remembered;
mod reported;
mod restore;
mod retrieve;
mod run;
mod runs;
mod shared;
mod sources;
mod standing;
mod state;
mod stopping;
mod survey;
mod tags;
mod timetable;
#[cfg(feature = "http")]
mod web;
mod window;

pub use job::{JobState, StoredJob, Work};
pub use keys::make as make_key;
pub use state::StateError;
pub use stopping::Farewell;

use crate::{
    connector::Registry,
    ops::OpsError,
    record::{Clock, Timestamp},
    report::ErrorKind,
};
use config::{Config, ConfigError, ConfigFile};
use dispatch::Desk;
use places::Places;
use state::State;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, atomic::AtomicBool},
    thread::JoinHandle,
};
use thiserror::Error;

/// What is dated further from now on than this was dated by a clock that was wrong: clocks of hosts differ by less.
const AHEAD_MILLIS: i64 = 120_000;

/// Whether something is dated in the future: it is nobody's newest, and keeps nobody from hearing that nothing comes.
const fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time.as_millis() > now.as_millis().saturating_add(AHEAD_MILLIS)
}

/// Why the service does not start, or does not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What outlives a restart.
    #[error(transparent)]
    State(#[from] StateError),
    /// A verb.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// The address, the certificate.
    #[error("{place}: {reason}")]
    Listen {
        /// Where.
        place: String,
        /// Why not.
        reason: String,
    },
    /// It would answer anybody from anywhere.
    #[error("{0}")]
    Open(String),
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// What.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something is in the way.
    #[error("{0}")]
    Conflict(String),
    /// It is not any more what whoever asks has seen.
    #[error("{0}")]
    Stale(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Who asks may not.
    #[error("{0}")]
    Forbidden(String),
    /// It is about to end.
    #[error("the service is stopping")]
    Stopping,
}

impl ServiceError {
    /// The same kinds as everywhere.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(ConfigError::Io { .. }) | Self::Listen { .. } => ErrorKind::Io,
            Self::Config(ConfigError::Changed { .. }) | Self::Conflict(_) | Self::Stale(_) => ErrorKind::Contended,
            Self::Config(_) | Self::Open(_) | Self::Invalid(_) | Self::Forbidden(_) => ErrorKind::InvalidInput,
            Self::State(StateError::InUse { .. }) => ErrorKind::Locked,
            Self::State(_) => ErrorKind::Io,
            Self::Ops(error) => error.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Stopping => ErrorKind::Interrupted,
        }
    }
}

/// What a service is made of.
pub struct ServiceOptions {
    /// Where the configuration comes from.
    pub file: ConfigFile,
    /// Where it keeps what outlives a restart.
    pub state: PathBuf,
    /// Where catalogs lie.
    pub cache: PathBuf,
    /// This host's name.
    pub host: String,
    /// The connectors that there are.
    pub registry: Registry,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// The service without HTTP.
pub struct Service {
    registry: Registry,
    file: ConfigFile,
    config: RwLock<Arc<Config>>,
    /// Changes of the configuration follow each other.
    changing: Mutex<()>,
    /// So do backups that are asked for under a name of their own.
    creating: Mutex<()>,
    state: State,
    /// Where scratch folders are made, if the configuration does not say it.
    scratch: PathBuf,
    places: Places,
    briefs: briefs::Briefs,
    reported: reported::Reported,
    skeletons: recovery::Skeletons,
    written: metrics::Written,
    clock: Arc<dyn Clock>,
    desk: Mutex<Desk>,
    wake: Condvar,
    stopping: AtomicBool,
    dispatcher: Mutex<Option<JoinHandle<()>>>,
    auditor: audit::Auditor,
    certificates: certificates::Certificates,
    /// The newest backups of routines that others made, as far as somebody had to look.
    elsewhere: Mutex<HashMap<String, Timestamp>>,
    began: Timestamp,
}

/// Reads and checks a configuration for these connectors.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong.
pub fn load(file: &ConfigFile, registry: &Registry) -> Result<Config, ConfigError> {
    let more = |config: &Config| sources::unknown(registry, config);
    file.load_with(&more, &|config| sources::doubts(registry, config))
}

/// Says what is probably meant otherwise.
fn tell_doubts(doubts: &[String]) {
    for words in doubts {
        tracing::warn!("{words}");
    }
}

impl Service {
    /// Reads the configuration, takes up what a former service left, and begins to run what is due.
    ///
    /// # Errors
    /// [`ServiceError`] with everything that is wrong with the configuration.
    pub fn start(options: ServiceOptions) -> Result<Arc<Self>, ServiceError> {
        let config = load(&options.file, &options.registry)?;
        tell_doubts(&options.file.doubts());
        let state = State::open(&options.state)?;
        let now = options.clock.now();
        let desk = Desk::new(&config, &state, now)?;
        let places = Places::new(options.state.clone(), options.cache, Arc::clone(&options.clock), options.host);
        let service = Arc::new(Self {
            registry: options.registry,
            file: options.file,
            config: RwLock::new(Arc::new(config)),
            changing: Mutex::default(),
            creating: Mutex::default(),
            state,
            scratch: options.state.join("drills"),
            places,
            briefs: briefs::Briefs::default(),
            reported: reported::Reported::default(),
            skeletons: recovery::Skeletons::default(),
            written: metrics::Written::default(),
            clock: options.clock,
            desk: Mutex::new(desk),
            wake: Condvar::new(),
            stopping: AtomicBool::new(false),
            dispatcher: Mutex::default(),
            auditor: audit::Auditor::default(),
            certificates: certificates::Certificates::default(),
            elsewhere: Mutex::default(),
            began: now,
        });
        service.note(&audit::Entry::of_service(now, "started"));
        service.begin_auditing()?;
        service.take_up()?;
        service.begin_dispatching()?;
        Ok(service)
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the configuration: checks the whole of it, writes it back, and lets it count. Jobs at work keep what they began
    /// with.
    ///
    /// # Errors
    /// [`ServiceError::Config`] if it would make no sense or cannot be written: then nothing has changed.
    pub fn change<T>(&self, edit: impl FnOnce(&mut Config) -> Result<T, ServiceError>) -> Result<T, ServiceError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut config = (*self.config()).clone();
        let value = edit(&mut config)?;
        self.check(&config)?;
        self.file.save(&config)?;
        // What is doubtful since this change.
        let before = self.config().doubts();
        let doubts = config.doubts().into_iter().filter(|doubt| !before.contains(doubt));
        tell_doubts(&doubts.map(|doubt| doubt.to_string()).collect::<Vec<_>>());
        self.let_count(config)?;
        Ok(value)
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// As of [`Self::start`]: then the former one counts.
    pub fn reload(&self) -> Result<(), ServiceError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let config = load(&self.file, &self.registry)?;
        tell_doubts(&self.file.doubts());
        self.let_count(config)
    }

    fn check(&self, config: &Config) -> Result<(), ServiceError> {
        let mut findings = config.findings();
        findings.extend(sources::unknown(&self.registry, config));
        if findings.is_empty() {
            return Ok(());
        }
        let place = self.file.place().to_owned();
        let findings = findings.into_iter().map(|finding| (None, finding)).collect();
        Err(ConfigError::Wrong { place, findings }.into())
    }

    fn let_count(&self, config: Config) -> Result<(), ServiceError> {
        let config = Arc::new(config);
        let before = {
            let mut current = self.config.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&config))
        };
        // What other settings opened is known by them; what the service's own opened is opened anew.
        if before.service.unlock != config.service.unlock || before.secret_agents != config.secret_agents {
            self.places.forget();
            self.briefs.forget();
        }
        self.reschedule(&config)
    }

    /// Whether it takes jobs.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(std::sync::atomic::Ordering::Relaxed)
    }
}
