//! `demo`: the whole job in one directory: make a database, back it up, change it, back it up again, damage it, go back
//! to the time before, prove that the rows are those of that time, show a record's versions, verify everything.

mod database;

use super::{
    OpsError, Progress, SnapshotSpec,
    backup::{BackupOptions, BackupOutcome, backup},
    history::{History, history},
    restore::{RestoreOptions, restore},
    select::{Narrow, resolve},
    usage::peak_memory_bytes,
    verify::{ReadData, VerifyOptions, verify},
};
use crate::{
    connector::{
        SourceUrl,
        sqlite::{SqliteSource, SqliteTarget},
        url::escaped,
    },
    record::Timestamp,
    repo::{InitOptions, OpenOptions, Repository, Storage, Unlock, entropy, keys::KdfParams},
    report::{ErrorKind, Remedy},
};
use database::Database;
use serde::Serialize;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

/// What to demonstrate.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The directory to work in: empty, and left as it is afterwards.
    pub dir: PathBuf,
    /// Records of the database.
    pub records: u64,
    /// Worker threads.
    pub parallel: usize,
    /// How the front end has a verb asked for.
    pub spell: fn(&DemoPlace, &DemoVerb<'_>) -> String,
}

/// A verb that the demonstration runs.
#[derive(Debug, Clone, Copy)]
pub enum DemoVerb<'a> {
    /// Making the repository.
    Init,
    /// Backing up this URL.
    Backup(&'a str),
    /// Going back to this time, into this URL.
    Restore(Timestamp, &'a str),
    /// The versions of this collection's key.
    History(&'a str, &'a str),
    /// Reading and restoring everything.
    Verify,
}

/// What a step cost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    /// Records read or written.
    pub records: u64,
    /// Bytes read: of the source by a backup, of the repository by everything else.
    pub bytes_read: u64,
    /// Bytes that the repository grew by.
    pub bytes_stored: u64,
    /// Wall time.
    pub seconds: f64,
    /// The process's peak memory so far.
    pub peak_memory_bytes: u64,
}

/// One step, done.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What it did.
    pub title: String,
    /// What a person would type for it, if rekeep does it.
    pub command: Option<String>,
    /// What came of it.
    pub result: String,
    /// What it cost.
    pub cost: Cost,
}

/// What the demonstration came to.
#[derive(Debug, Clone, Serialize)]
pub struct DemoOutcome {
    /// The directory, left for inspection.
    pub dir: PathBuf,
    /// The repository in it.
    pub repository: PathBuf,
    /// The file with the repository's password.
    pub password_file: PathBuf,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// The record whose versions were shown.
    pub history: History,
    /// Records restored and found equal to those of that time.
    pub records_equal: u64,
}

/// What the demonstration tells while it runs.
#[derive(Debug)]
pub enum DemoEvent<'a> {
    /// A step begins: its number, title and command.
    Begin(usize, &'a str, Option<&'a str>),
    /// A step is done.
    End(&'a Step),
    /// A record's versions.
    History(&'a History),
}

/// Runs the demonstration.
///
/// # Errors
/// [`OpsError`] if a step fails, or if what was restored differs from what was there.
pub fn demo(
    options: &DemoOptions,
    open: &OpenOptions,
    progress: &dyn Progress,
    tell: &mut dyn FnMut(DemoEvent<'_>),
) -> Result<DemoOutcome, OpsError> {
    let place = DemoPlace::in_dir(&options.dir)?;
    let mut run = Run { options, place, open, progress, tell, steps: Vec::new() };
    let original = run.make_database()?;
    let repo = run.init()?;
    run.back_up(&repo, "Back it up: the first backup stores every record, as a base")?;
    let changed_key = run.change(&original)?;
    run.back_up(&repo, "Back it up again: only what differs is stored, as a delta")?;
    let before_damage = run.damage(&original)?;
    run.restore(&repo, before_damage)?;
    let records_equal = run.prove(&original)?;
    let history = run.history(&repo, changed_key)?;
    run.verify(&repo)?;
    let Run { steps, place, .. } = run;
    Ok(DemoOutcome {
        dir: options.dir.clone(),
        repository: place.repository,
        password_file: place.password_file,
        steps,
        history,
        records_equal,
    })
}

/// The files of the demonstration.
#[derive(Debug)]
pub struct DemoPlace {
    /// The repository.
    pub repository: PathBuf,
    /// The file with its password.
    pub password_file: PathBuf,
    database: PathBuf,
    witness: PathBuf,
    restored: PathBuf,
}

impl DemoPlace {
    fn in_dir(dir: &Path) -> Result<Self, OpsError> {
        let failed = |error| failed_at("using", dir, &error);
        std::fs::create_dir_all(dir).map_err(failed)?;
        if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(OpsError::Usage(format!(
                "{} is not empty: the demonstration wants a place of its own",
                dir.display()
            )));
        }
        // Identities of sources are absolute paths.
        let dir = std::fs::canonicalize(dir).map_err(failed)?;
        Ok(Self {
            repository: dir.join("repository"),
            password_file: dir.join("password.txt"),
            database: dir.join("accounts.db"),
            witness: dir.join("before-damage.db"),
            restored: dir.join("restored.db"),
        })
    }
}

struct Run<'a> {
    options: &'a DemoOptions,
    place: DemoPlace,
    open: &'a OpenOptions,
    progress: &'a dyn Progress,
    tell: &'a mut dyn FnMut(DemoEvent<'_>),
    steps: Vec<Step>,
}

impl Run<'_> {
    fn spell(&self, verb: &DemoVerb<'_>) -> String {
        (self.options.spell)(&self.place, verb)
    }

    /// Runs one step and tells of it. What the step gives is what came of it in words, its counts, and a value.
    fn step<T>(
        &mut self,
        title: &str,
        command: Option<String>,
        work: impl FnOnce(&Self) -> Result<(String, Cost, T), OpsError>,
    ) -> Result<T, OpsError> {
        if self.progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        (self.tell)(DemoEvent::Begin(self.steps.len() + 1, title, command.as_deref()));
        let began = Instant::now();
        let (result, cost, value) = work(self)?;
        let cost = Cost { seconds: began.elapsed().as_secs_f64(), peak_memory_bytes: peak_memory_bytes(), ..cost };
        let step = Step { title: title.to_owned(), command, result, cost };
        (self.tell)(DemoEvent::End(&step));
        self.steps.push(step);
        Ok(value)
    }

    fn make_database(&mut self) -> Result<Database, OpsError> {
        let title = format!("Make a SQLite database of {} records", self.options.records);
        self.step(&title, None, |run| {
            let database = Database::make(&run.place.database, run.options.records)?;
            let bytes = file_len(&run.place.database)?;
            let result = format!("{}: {bytes} bytes", run.place.database.display());
            Ok((result, Cost { records: run.options.records, ..Cost::default() }, database))
        })
    }

    fn init(&mut self) -> Result<Repository, OpsError> {
        let command = self.spell(&DemoVerb::Init);
        self.step("Make a repository", Some(command), |run| {
            let password = write_password(&run.place.password_file)?;
            let storage = Storage::at(utf8(&run.place.repository)?)?;
            let init = InitOptions { kdf: KdfParams::STANDARD, label: "demo".to_owned() };
            let (repo, recovery) = Repository::init(&storage, &Unlock::Password(password), None, &init, run.open)?;
            let result = format!(
                "repository {} at {}; its random password is in {}, its recovery key is {}",
                repo.id(),
                run.place.repository.display(),
                run.place.password_file.display(),
                recovery.0
            );
            Ok((result, Cost::default(), repo))
        })
    }

    fn back_up(&mut self, repo: &Repository, title: &str) -> Result<BackupOutcome, OpsError> {
        let url = url_of(&self.place.database)?;
        let command = self.spell(&DemoVerb::Backup(&url));
        self.step(title, Some(command), |run| {
            let source = SqliteSource::new(&SourceUrl::parse(&url)?)?;
            let options =
                BackupOptions { url: url.clone(), parallel: run.options.parallel, ..BackupOptions::default() };
            let outcome = backup(repo, &source, &options, run.progress)?;
            if !outcome.complete {
                return Err(OpsError::Failed(format!("the backup is incomplete: {}", outcome.problems.join("; "))));
            }
            let stats = &outcome.stats;
            let id = outcome.id.map(|id| id.short()).unwrap_or_default();
            let result = format!(
                "snapshot {id}: {} new, {} changed, {} deleted; {} chunks stored",
                stats.new, stats.changed, stats.deleted, stats.chunks_new
            );
            let cost = Cost {
                records: stats.seen,
                bytes_read: stats.bytes_read,
                bytes_stored: stats.bytes_added,
                ..Cost::default()
            };
            Ok((result, cost, outcome))
        })
    }

    /// Gives the key of a record that was changed.
    fn change(&mut self, database: &Database) -> Result<i64, OpsError> {
        self.step("Change, delete and insert 1 % of the records", None, |_| {
            let changes = database.change()?;
            let result =
                format!("{} changed, {} deleted, {} inserted", changes.changed, changes.deleted, changes.inserted);
            let records = changes.changed + changes.deleted + changes.inserted;
            Ok((result, Cost { records, ..Cost::default() }, changes.example))
        })
    }

    /// Gives the time before the damage; a copy of the database of that time stays as a witness.
    fn damage(&mut self, database: &Database) -> Result<Timestamp, OpsError> {
        self.step("An accident: a third of the records is deleted, another third spoilt", None, |run| {
            database.copy_to(&run.place.witness)?;
            let before = run.open.clock.now();
            let records = database.damage()?;
            let differing = database.rows_that_differ(&run.place.witness)?;
            let result =
                format!("{differing} rows differ from {before} (kept for comparison: {})", run.place.witness.display());
            Ok((result, Cost { records, ..Cost::default() }, before))
        })
    }

    fn restore(&mut self, repo: &Repository, time: Timestamp) -> Result<(), OpsError> {
        let url = url_of(&self.place.restored)?;
        let command = self.spell(&DemoVerb::Restore(time, &url));
        self.step("Go back to the time before the accident", Some(command), |run| {
            let snapshot = resolve(
                &repo.snapshots()?,
                &SnapshotSpec::At(time),
                &Narrow::default(),
                repo.clock().now(),
                run.progress,
            )?;
            let target = SqliteTarget::new(&SourceUrl::parse(&url)?)?;
            let options = RestoreOptions { parallel: run.options.parallel, ..RestoreOptions::default() };
            let outcome = restore(repo, &snapshot, &target, &options, run.progress)?;
            if !outcome.complete {
                return Err(OpsError::Failed("the restore is incomplete".to_owned()));
            }
            let result = format!("snapshot {} into {}", snapshot.id.short(), run.place.restored.display());
            let cost = Cost { records: outcome.records, bytes_read: outcome.bytes, ..Cost::default() };
            Ok((result, cost, ()))
        })
    }

    /// Gives the number of equal records.
    fn prove(&mut self, original: &Database) -> Result<u64, OpsError> {
        let title = "Prove it: compare the restored rows with those of that time (EXCEPT both ways, schema, integrity)";
        self.step(title, None, |run| {
            let restored = Database::at(&run.place.restored);
            let differing = restored.rows_that_differ(&run.place.witness)?;
            restored.check_integrity()?;
            let records = restored.count()?;
            let witness = Database::at(&run.place.witness);
            let expected = witness.count()?;
            if differing > 0 || records != expected || restored.schema()? != witness.schema()? {
                return Err(OpsError::Failed(format!(
                    "{differing} rows differ, {records} of {expected} were restored, or the schema differs: this is a \
                     defect of rekeep; everything is left in {}",
                    run.options.dir.display()
                )));
            }
            let still = original.rows_that_differ(&run.place.restored)?;
            let result =
                format!("all {records} rows equal those of that time; the damaged database differs in {still}");
            Ok((result, Cost { records, ..Cost::default() }, records))
        })
    }

    fn history(&mut self, repo: &Repository, key: i64) -> Result<History, OpsError> {
        let (collection, key) = (database::TABLE, format!("int:{key}"));
        let command = self.spell(&DemoVerb::History(collection, &key));
        let history = self.step("Show every stored version of one record", Some(command), |run| {
            let found = history(repo, &repo.snapshots()?, collection, &key, None, None, run.progress)?;
            let result = format!("{} versions of {collection} {key}", found.versions.len());
            Ok((result, Cost { records: found.versions.len() as u64, ..Cost::default() }, found))
        })?;
        (self.tell)(DemoEvent::History(&history));
        Ok(history)
    }

    fn verify(&mut self, repo: &Repository) -> Result<(), OpsError> {
        let command = self.spell(&DemoVerb::Verify);
        self.step("Verify everything that is stored", Some(command), |run| {
            let options = VerifyOptions {
                read_data: ReadData::All,
                restore: true,
                parallel: run.options.parallel,
                read_limit: None,
            };
            let outcome = verify(repo, &repo.snapshots()?, &options, run.progress)?;
            if let Some(finding) = outcome.findings.first() {
                return Err(OpsError::Failed(format!("{}: {}", finding.object, finding.problem)));
            }
            let result = format!(
                "no damage: {} packs read, {} chunks opened, {} snapshots restored into nothing",
                outcome.packs_read, outcome.chunks, outcome.snapshots
            );
            let cost = Cost { records: outcome.records, bytes_read: outcome.bytes_read, ..Cost::default() };
            Ok((result, cost, ()))
        })
    }
}

/// Draws a password and keeps it in a file that only its owner may read.
fn write_password(path: &Path) -> Result<String, OpsError> {
    let mut bytes = [0; 20];
    entropy::fill(&mut bytes)?;
    let password = data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: std::fs::File| writeln!(file, "{password}");
    options.open(path).and_then(write).map_err(|error| failed_at("writing", path, &error))?;
    Ok(password)
}

fn file_len(path: &Path) -> Result<u64, OpsError> {
    Ok(std::fs::metadata(path).map_err(|error| failed_at("reading", path, &error))?.len())
}

fn failed_at(operation: &str, path: &Path, error: &dyn std::fmt::Display) -> OpsError {
    OpsError::Failed(format!("{operation} {}: {error}", path.display()))
}

fn utf8(path: &Path) -> Result<&str, OpsError> {
    let words = || format!("{} is not UTF-8", path.display());
    path.to_str().ok_or_else(|| OpsError::refused_unless(Remedy::ChooseDirectory, ErrorKind::InvalidInput, words()))
}

fn url_of(path: &Path) -> Result<String, OpsError> {
    Ok(format!("sqlite:{}", escaped(utf8(path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_something_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DemoPlace::in_dir(dir.path()).is_ok());
        std::fs::write(dir.path().join("x"), "").unwrap();
        assert!(matches!(DemoPlace::in_dir(dir.path()), Err(OpsError::Usage(_))));
    }
}
