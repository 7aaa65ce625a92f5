//! What was typed, understood: where the repository is, how to unlock it, where results go.

use super::{
    common::GlobalArgs,
    exit::{CliError, Failure, Kept as _, Status, usage},
    interrupt,
    output::Out,
    password::{OTHER_WAYS, OWN_WAYS, PasswordSource, explained},
    progress::{Mode, Reporter},
    show::counted,
    units::show_duration,
};
use crate::{
    connector::Registry,
    ops::{Narrow, OpsError, Progress as _, select},
    record::{SystemClock, Timestamp},
    repo::{OpenOptions, Repository, Snapshot, Storage, Unlock, keys, storage::StorageOptions},
    report::{ErrorKind, Warning, WarningKind},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

#[cfg(target_os = "linux")]
fn is_null(out: impl std::os::fd::AsFd) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let null = std::fs::metadata("/dev/null");
    null.is_ok_and(|null| rustix::fs::fstat(out).is_ok_and(|out| out.st_rdev == null.rdev()))
}

#[cfg(not(target_os = "linux"))]
fn is_null<T>(_: T) -> bool {
    false
}

/// What every command works with.
pub struct Context {
    /// The connectors that there are.
    pub registry: Registry,
    /// The names of the arguments whose values come from the environment.
    pub environment: BTreeSet<String>,
    /// The names of the arguments that were typed.
    pub typed: BTreeSet<String>,
    repo: Option<String>,
    storage_options: StorageOptions,
    /// Results as JSON.
    pub json: bool,
    /// No summary.
    pub quiet: bool,
    /// More is told.
    pub verbose: bool,
    /// What unlocks the repository.
    pub password: PasswordSource,
    cache_dir: Option<PathBuf>,
    /// Bytes per second to read.
    pub read_limit: Option<u64>,
    /// Bytes per second to write.
    pub write_limit: Option<u64>,
    /// Where results go.
    pub out: Out,
    /// Where progress goes.
    pub reporter: Reporter,
    /// Whether a snapshot that cannot be read may be what was asked for, or among it.
    lacks: AtomicBool,
}

impl Context {
    /// Sends what is shown only this once, as a key: that nobody reads it is a failure here, and `kept` says what there is of it. A
    /// null device is said too, and is no failure: whoever chose it may want it so. An output that was closed is one as well.
    ///
    /// # Errors
    /// If any of it could not be written.
    pub fn shown_once(&self, kept: &'static str) -> Result<(), Failure> {
        let shown = self.out.shown_once().map_err(|error| CliError::io("writing", "standard output", error));
        shown.kept(kept)?;
        if is_null(std::io::stdout()) {
            self.reporter.problem(kept);
        }
        Ok(())
    }

    /// Shows what came of a run that may lack something: as JSON, or what is lacking and a summary.
    pub fn tell(
        &self,
        outcome: &impl Serialize,
        problems: &[String],
        is_complete: bool,
        summary: impl FnOnce() -> String,
    ) -> Status {
        self.reporter.finish();
        if self.json {
            self.out.json(outcome);
        } else {
            for problem in problems {
                self.reporter.problem_at_end(problem);
            }
            if !self.quiet {
                self.out.text(&summary());
            }
        }
        Status::complete(is_complete)
    }

    /// Understands the global arguments; touches nothing.
    pub fn new(global: GlobalArgs, registry: Registry, environment: BTreeSet<String>) -> Result<Self, Failure> {
        let password = PasswordSource::choose(&global, &|name| {
            // A variable that is not UTF-8 still counts as set: reading it says what is wrong.
            std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
        });
        let out = Out::stdout();
        let reporter = Reporter::new(Mode::choose(global.json, global.quiet), global.json, out.closed_flag())
            .telling(global.verbose);
        Ok(Self {
            registry,
            environment,
            typed: BTreeSet::new(),
            repo: global.repo.filter(|repo| !repo.is_empty()),
            storage_options: StorageOptions {
                options: global.options,
                connections: Some(global.connections),
                cache_bytes: if global.no_cache { Some(0) } else { global.cache_size },
                ..StorageOptions::default()
            },
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            password,
            cache_dir: global.cache_dir.filter(|dir| !dir.as_os_str().is_empty()),
            read_limit: global.read_limit,
            write_limit: global.write_limit,
            out,
            reporter,
            lacks: AtomicBool::new(false),
        })
    }

    /// What a command works with that has no global arguments.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn bare(registry: Registry) -> Result<Self, Failure> {
        use super::args::Cli;
        use clap::{CommandFactory as _, FromArgMatches as _};
        let parsed = super::variable::heeded(Cli::command())
            .try_get_matches_from(["rekeep", "stats"])
            .and_then(|matches| Cli::from_arg_matches(&matches));
        Self::new(parsed.map_err(|error| usage(error.to_string()))?.global, registry, BTreeSet::new())
    }

    /// The repository's location as it was given.
    pub fn location(&self) -> Result<&str, Failure> {
        self.repo.as_deref().ok_or_else(|| usage("which repository? Give -r REPO or set REKEEP_REPOSITORY"))
    }

    /// Storage at a place, or the repository's.
    pub fn storage_at(&self, place: Option<&str>) -> Result<Storage, Failure> {
        match place {
            None => self.storage(),
            Some(place) => Ok(Storage::open(place, &self.storage_options)?),
        }
    }

    /// Storage at another place than the repository's, which the options of the repository's say nothing about.
    pub fn storage_elsewhere(&self, place: &str) -> Result<Storage, Failure> {
        let options = StorageOptions { options: Vec::new(), ..self.storage_options.clone() };
        Ok(Storage::open(place, &options)?)
    }

    /// Requests at once.
    pub fn connections(&self) -> u16 {
        self.storage_options.connections.unwrap_or(1)
    }

    /// The repository's storage.
    pub fn storage(&self) -> Result<Storage, Failure> {
        Ok(Storage::open(self.location()?, &self.storage_options)?)
    }

    /// Opens the repository, passing on its warnings; from here on signals are requests.
    pub fn open(&self) -> Result<Repository, Failure> {
        self.open_storage(&self.storage()?)
    }

    /// The same of a repository at a place of its own.
    pub fn open_storage(&self, storage: &Storage) -> Result<Repository, Failure> {
        self.open_with(storage, &self.password)
    }

    /// The same of a repository with a password of its own.
    pub fn open_with(&self, storage: &Storage, password: &PasswordSource) -> Result<Repository, Failure> {
        self.open_by(storage, password, OWN_WAYS)
    }

    fn open_by(&self, storage: &Storage, password: &PasswordSource, ways: &str) -> Result<Repository, Failure> {
        let (unlock, options) = self.ask(storage, password, ways)?;
        interrupt::listen();
        let began = Instant::now();
        let repo = Repository::open(storage, &unlock, &options).map_err(|error| explained(error, &unlock))?;
        self.tell_opened(&repo, began);
        Ok(repo)
    }

    /// Two repositories with passwords of their own, side by side: to try a password is most of what opening takes, and 64 MiB of
    /// memory for each. Where somebody has to be asked for the second one, it is one after the other.
    pub fn open_both(
        &self,
        (first, first_password): (&Storage, &PasswordSource),
        (second, second_password): (&Storage, &PasswordSource),
    ) -> Result<(Repository, Repository), Failure> {
        if second_password.asks_somebody() {
            let first = self.open_with(first, first_password)?;
            return Ok((first, self.open_by(second, second_password, OTHER_WAYS)?));
        }
        let (first_unlock, first_options) = self.ask(first, first_password, OWN_WAYS)?;
        let (second_unlock, second_options) = self.ask(second, second_password, OTHER_WAYS)?;
        interrupt::listen();
        let began = Instant::now();
        let (first, second) = std::thread::scope(|scope| {
            let opening = scope.spawn(|| Repository::open(first, &first_unlock, &first_options));
            let second = Repository::open(second, &second_unlock, &second_options);
            let first = opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (first, second)
        });
        let first = first.map_err(|error| explained(error, &first_unlock))?;
        let second = second.map_err(|error| explained(error, &second_unlock))?;
        self.tell_opened(&first, began);
        self.tell_opened(&second, began);
        Ok((first, second))
    }

    /// What opens a repository. Whether there is one is told before anyone is asked for a password.
    fn ask(&self, storage: &Storage, password: &PasswordSource, ways: &str) -> Result<(Unlock, OpenOptions), Failure> {
        let options = self.open_options()?;
        if !keys::is_remembered(storage, &options.cache_dir, options.clock.now()) {
            keys::read_config(storage)?;
        }
        Ok((password.unlock_by(&format!("password of {}: ", storage.location()), false, ways)?, options))
    }

    fn tell_opened(&self, repo: &Repository, began: Instant) {
        self.reporter.detail(&format!(
            "opened repository {} at {}: {} (the password's derivation included)",
            repo.id(),
            repo.storage().location(),
            show_duration(began.elapsed().as_secs_f64())
        ));
        for warning in repo.warnings() {
            self.reporter.warning(warning);
        }
        for note in repo.foreign_notes() {
            self.reporter.note(&note);
        }
    }

    /// How repositories are opened.
    pub fn open_options(&self) -> Result<OpenOptions, Failure> {
        // Without a place a temporary catalog does.
        Ok(OpenOptions {
            cache_dir: self.cache_dir().unwrap_or_default(),
            clock: Arc::new(SystemClock),
            host: host_name(),
        })
    }

    /// Where catalogs lie.
    pub fn cache_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.cache_dir {
            return Ok(dir.clone());
        }
        let place = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let found = place("XDG_CACHE_HOME").or_else(|| place("HOME").map(|home| home.join(".cache")));
        found
            .map(|dir| dir.join("rekeep"))
            .ok_or_else(|| usage("no place for catalogs: neither XDG_CACHE_HOME nor HOME is set; give --cache-dir"))
    }

    /// Finds the one snapshot that is meant. Where another may be, because one cannot be read, that is said, and what is done with it
    /// is not all that was asked for.
    pub fn resolve(&self, repo: &Repository, name: &str, narrow: &Narrow) -> Result<Snapshot, Failure> {
        let found = select::named(repo, name, narrow, &self.reporter);
        let doubtful = match &found {
            Ok(_) => select::doubtful(repo, name, &self.reporter)?,
            Err(error) if error.kind() == ErrorKind::NoSnapshot => select::doubtful(repo, name, &self.reporter)?,
            Err(_) => BTreeSet::new(),
        };
        let Some(one) = doubtful.first() else { return Ok(found?) };
        let count = counted(doubtful.len() as u64, "snapshot");
        let words = match &found {
            Ok(found) => format!("`{name}` may be another than {}: {count} cannot be read", found.id.short()),
            Err(error) => {
                let words = format!("{error}: {count} that may be meant cannot be read");
                return Err(OpsError::refused(ErrorKind::NoSnapshot, words).into());
            }
        };
        self.reporter.warning(&Warning::new(WarningKind::ObjectUnreadable, one.short(), words));
        self.lacks.store(true, Ordering::Relaxed);
        Ok(found?)
    }

    /// How many snapshots a listing lacks because they cannot be read: what is told without them is not all that was asked for.
    pub fn unread(&self, repo: &Repository) -> Result<usize, Failure> {
        let unread = select::unread(repo, &self.reporter)?;
        self.lacks.fetch_or(!unread.is_empty(), Ordering::Relaxed);
        Ok(unread.len())
    }

    /// Whether a snapshot was found of which nobody can say that it is the one that was meant.
    pub fn lacks(&self) -> bool {
        self.lacks.load(Ordering::Relaxed)
    }
}

/// The time now, which anchors relative times.
#[must_use]
pub fn now() -> Timestamp {
    use crate::record::Clock as _;
    SystemClock.now()
}

/// This host's name.
#[must_use]
pub fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// Worker threads: as asked for, else one for each processor.
#[must_use]
pub fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// An I/O error on a path.
pub fn io_error(operation: &'static str, path: &Path, error: std::io::Error) -> CliError {
    CliError::io(operation, path.display().to_string(), error)
}
