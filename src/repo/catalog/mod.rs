//! The catalog: a local `SQLite` database that says which packs hold a chunk and keeps the sealed manifests, so that
//! opening a repository reads only what is new. It is a cache of what index objects and snapshots say: a file that is
//! damaged, or of another schema, is thrown away and filled again. Several processes may use one file at once.
//!
//! One connection writes (imports, notes); each who looks something up has one of his own, so that neither a long import nor
//! a long look-up stops those who look for chunks.

mod forgotten;
mod heads;
mod import;
mod known;
mod layers;
mod lookup;
mod revisions;
mod small;
mod survey;
mod uses;

pub use heads::{Generation, HeadRow, Settled, Word};
pub use import::{Described, IndexImport};
pub use known::KnownPacks;
pub use lookup::{ChunkPlace, FoundPacks, IndexedPackInfo, PackNumber};
pub use revisions::{KnownRevision, Revision, RevisionKind};
pub use uses::PlaceUse;

use super::{RepoError, RepoId, faults};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, atomic::AtomicU64},
    time::Duration,
};
use tempfile::TempDir;

/// The schema's number; a file with any other is rebuilt.
const SCHEMA_VERSION: i64 = 7;

/// The note that says whose catalog it is.
const REPOSITORY: &str = "repository";

/// Connections for looking up that are kept open: as many as look up at once are opened.
const MAX_IDLE: usize = 8;

/// How long to wait for another process's import.
const BUSY_TIMEOUT: Duration = Duration::from_mins(2);

const SCHEMA: &str = "
CREATE TABLE index_objects (num INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE,
    bytes INTEGER NOT NULL);
CREATE TABLE packs (
    num INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL, kind INTEGER NOT NULL,
    lease BLOB NOT NULL, header BLOB NOT NULL, chunks INTEGER NOT NULL);
CREATE TABLE pack_homes (
    index_num INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (index_num, pack)) WITHOUT ROWID;
CREATE INDEX pack_homes_by_pack ON pack_homes (pack);
CREATE TABLE chunks (num INTEGER PRIMARY KEY, id BLOB NOT NULL);
CREATE TABLE chunk_prefixes (prefix INTEGER NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (prefix, chunk)) WITHOUT ROWID;
CREATE TABLE places (
    pack INTEGER NOT NULL, ordinal INTEGER NOT NULL, chunk INTEGER NOT NULL, kind INTEGER NOT NULL,
    start INTEGER NOT NULL, stored_len INTEGER NOT NULL, plain_len INTEGER NOT NULL,
    PRIMARY KEY (pack, ordinal)) WITHOUT ROWID;
CREATE INDEX places_by_chunk ON places (chunk);
CREATE TABLE pack_uses (pack INTEGER PRIMARY KEY, uses BLOB NOT NULL);
CREATE TABLE revisions (
    snapshot BLOB NOT NULL, revision INTEGER NOT NULL, kind INTEGER NOT NULL, gone INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (snapshot, revision));
CREATE INDEX revision_names ON revisions (snapshot, revision DESC, kind, gone, bytes);
CREATE TABLE heads (
    snapshot BLOB PRIMARY KEY, revision INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
    rank INTEGER NOT NULL, kind INTEGER NOT NULL, scope BLOB NOT NULL, squash BLOB) WITHOUT ROWID;
CREATE INDEX heads_by_squash ON heads (squash) WHERE squash IS NOT NULL;
CREATE TABLE head_words (
    word BLOB NOT NULL, end INTEGER NOT NULL, snapshot BLOB NOT NULL, PRIMARY KEY (word, end, snapshot)) WITHOUT ROWID;
CREATE INDEX head_words_by_snapshot ON head_words (snapshot);
CREATE TABLE unsettled (snapshot BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE generation (number INTEGER NOT NULL, file BLOB NOT NULL);
INSERT INTO generation VALUES (0, randomblob(16));
CREATE TABLE forgotten_objects (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE forgotten (snapshot BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE layers (id BLOB PRIMARY KEY, chunks BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE layer_keys (id BLOB PRIMARY KEY, filter BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE layer_packs (id BLOB PRIMARY KEY, packs BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE leases (id BLOB PRIMARY KEY, newest INTEGER NOT NULL, first_seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// An open catalog.
pub struct Catalog {
    path: PathBuf,
    /// Where it lies if it goes when it is closed.
    _temporary: Option<TempDir>,
    writer: Mutex<Connection>,
    /// Connections that nobody looks up with just now.
    idle: Mutex<Vec<Connection>>,
    /// How many heads were read.
    heads_read: AtomicU64,
}

impl Catalog {
    /// Opens the catalog of the repository `id` at `location` under `cache_dir`, making or rebuilding it if need be.
    pub fn open(cache_dir: &Path, id: &RepoId, location: &str) -> Result<Self, RepoError> {
        if cache_dir.as_os_str().is_empty() {
            return Err(failed(
                Path::new("of this repository"),
                "there is no place for it, as no home directory is known",
            ));
        }
        let place = blake3::hash(location.as_bytes()).to_hex();
        let path = cache_dir.join(format!("{id}-{}.db", &place[..16]));
        let (catalog, own) = (Self::open_file(&path)?, id.to_string());
        match catalog.note(REPOSITORY)? {
            Some(its) if its == own => return Ok(catalog),
            // What is that of another repository under this name would have snapshots vanish that never were here.
            Some(_) => {
                drop(catalog);
                throw_away(&path).map_err(|error| failed(&path, error))?;
                let catalog = Self::open_file(&path)?;
                let _ = catalog.set_note(REPOSITORY, &own);
                return Ok(catalog);
            }
            None => {}
        }
        // On a full disk it stays nameless.
        let _ = catalog.set_note(REPOSITORY, &own);
        Ok(catalog)
    }

    /// A catalog that goes when it is closed, for a host on which none can be kept.
    pub fn temporary() -> Result<Self, RepoError> {
        let anywhere = [std::env::temp_dir(), PathBuf::from("/dev/shm"), PathBuf::from(".")];
        let mut result = Err(RepoError::Internal("there is no place for a temporary catalog".to_owned()));
        for folder in anywhere {
            result = tempfile::Builder::new()
                .prefix("rekeep-catalog-")
                .tempdir_in(&folder)
                .map_err(|e| failed(&folder, e))
                .and_then(|temporary| {
                    let catalog = Self::open_file(&temporary.path().join("catalog.db"))?;
                    Ok(Self { _temporary: Some(temporary), ..catalog })
                });
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Opens the catalog in one file.
    pub fn open_file(path: &Path) -> Result<Self, RepoError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(path, error))?;
        }
        match Self::try_open(path) {
            Ok(catalog) => Ok(catalog),
            Err(error) if is_spoilt(&error) => {
                throw_away(path).map_err(|error| failed(path, error))?;
                Self::try_open(path).map_err(|error| failed(path, error))
            }
            Err(error) => Err(failed(path, error)),
        }
    }

    fn try_open(path: &Path) -> rusqlite::Result<Self> {
        let mut writer = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        let made = ensure_schema(&mut writer)?;
        if !made {
            check(&writer)?;
        }
        let reader = connect(path, OpenFlags::empty())?;
        let (writer, idle) = (Mutex::new(writer), Mutex::new(vec![reader]));
        Ok(Self { path: path.to_owned(), _temporary: None, writer, idle, heads_read: AtomicU64::new(0) })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn failed(&self, error: impl std::fmt::Display) -> RepoError {
        failed(&self.path, error)
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RepoError> {
        faults::point("look into the catalog");
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => match connect(&self.path, OpenFlags::empty()) {
                Ok(connection) => connection,
                // The file was removed while it is in use: those who have it open go on with it.
                Err(_) => return work(&self.writer()).map_err(|error| self.failed(error)),
            },
        };
        let done = work(&connection);
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        done.map_err(|error| self.failed(error))
    }

    /// Runs `work` in one transaction that holds the write lock from its start.
    fn write<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RepoError> {
        let mut connection = self.writer();
        write_in(&mut connection, work).map_err(|error| self.failed(error))
    }
}

fn write_in<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn failed(path: &Path, error: impl std::fmt::Display) -> RepoError {
    RepoError::Catalog { path: path.display().to_string(), reason: error.to_string() }
}

fn connect(path: &Path, create: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A lost catalog is rebuilt, so losing the last transaction with the power is no harm.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192; PRAGMA temp_store = FILE;",
    )?;
    // Without this every lookup is planned anew, because another value is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Makes the schema in an empty file; gives whether it did. Another schema is an error that makes the caller rebuild.
fn ensure_schema(connection: &mut Connection) -> rusqlite::Result<bool> {
    write_in(connection, |connection| {
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if version == SCHEMA_VERSION {
            return Ok(false);
        }
        if version != 0 || tables != 0 {
            return Err(spoilt("it has another schema"));
        }
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        Ok(true)
    })
}

/// A cheap look at every table: finds a file that is no database, or lacks one.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    for table in [
        "index_objects",
        "packs",
        "chunks",
        "places",
        "pack_uses",
        "revisions",
        "heads",
        "head_words",
        "unsettled",
        "generation",
        "forgotten",
        "layers",
        "layer_keys",
        "layer_packs",
        "leases",
        "notes",
    ] {
        connection
            .query_row(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), [], |row| row.get::<_, i64>(0))
            .map_err(|error| if is_spoilt(&error) { error } else { spoilt(&format!("{table}: {error}")) })?;
    }
    Ok(())
}

fn spoilt(reason: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(reason.to_owned()))
}

fn is_spoilt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn throw_away(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
