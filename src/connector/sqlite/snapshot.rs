//! Connections whose read transactions all show one state of a database.

use super::{
    error::{io, reading},
    objects::stand_in_collation,
    proof::is_bad_page,
    settings::Header,
    shared::SharedConnection,
    side::with_ending,
};
use crate::{
    connector::{ConnectorError, SessionOptions},
    record::{Clock, SystemClock, Timestamp},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use std::{
    fs::Metadata,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long to wait for a lock: SQLite's own waiting looks only every 100 ms, and a writer that never rests leaves
/// shorter gaps than that.
const BUSY_LOOKS: i32 = 5000;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

fn wait_for_lock(looks: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    looks < BUSY_LOOKS
}

/// Connections whose read transactions all show one state.
pub(super) struct Snapshot {
    pub(super) readers: Vec<SharedConnection>,
    pub(super) keeper: Connection,
    pub(super) time: Timestamp,
    pub(super) notes: Vec<String>,
    /// What a file that is read without locks must still be when all is read.
    pub(super) unlocked: Option<Unlocked>,
    /// What is wrong with the header or the schema, so that nobody can tell whether all tables are seen.
    pub(super) unsound: Option<String>,
}

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Plain,
    /// Also where its header or schema contradicts itself.
    Lenient,
    /// Without locks, as a file that nobody changes.
    Immutable,
}

impl Snapshot {
    /// Opens the readers' transactions while no other connection can write.
    pub(super) fn take(path: &Path, options: &SessionOptions) -> Result<Self, ConnectorError> {
        let object = path.display().to_string();
        let fail = |error: rusqlite::Error| reading(&object, &error);
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ConnectorError::Missing { object });
            }
            Err(error) => return Err(io("look at", path, error)),
            Ok(metadata) if !metadata.is_file() => {
                return Err(ConnectorError::Unreadable { object, reason: "it is no file".to_owned() });
            }
            Ok(_) => {}
        }
        let had_wal = with_ending(path, "-wal").exists();
        let mut notes = Vec::new();
        let (mut unlocked, mut unsound) = (None, None);
        let mut how = How::Plain;
        let keeper = match open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(begin_to_read) {
            Err(error) if is_bad_page(&error) => {
                how = How::Lenient;
                unsound = Some(format!(
                    "the header or the schema of {object} is damaged ({error}): what can be read by it is; whether that is all \
                     cannot be told (PRAGMA integrity_check says more)"
                ));
                open_as(path, OpenFlags::SQLITE_OPEN_READ_WRITE, how).and_then(begin_to_read)
            }
            Err(error) if needs_side_files(&error, path) => {
                unlocked = Some(Unlocked::new(path)?);
                how = How::Immutable;
                notes.push(
                    "its directory cannot be written, as a database in WAL mode needs: it is read without locks, and checked \
                     for changes afterwards"
                        .to_owned(),
                );
                open_as(path, OpenFlags::SQLITE_OPEN_READ_ONLY, how).and_then(begin_to_read)
            }
            opened => opened,
        };
        let keeper = keeper.map_err(|error| {
            let is_bad = is_bad_page(&error);
            let error = fail(error);
            if is_bad { with_hint(error, path) } else { error }
        })?;
        if had_wal {
            // What others left in the log is theirs to move.
            keeper.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
        }
        let mut wanted = options.parallel.clamp(1, 64);
        if wanted > 1 && keeper.is_readonly("main").map_err(fail)? {
            wanted = 1;
            notes
                .push("the file cannot be written, so its writers cannot be held: it is read by one reader".to_owned());
        }
        if wanted > 1
            && let Err(error) = keeper.execute_batch("BEGIN IMMEDIATE")
        {
            let error = fail(error);
            if !matches!(error, ConnectorError::Locked { .. }) {
                return Err(error);
            }
            wanted = 1;
            notes.push("a writer holds the database for longer than we wait: it is read by one reader".to_owned());
        }
        let mut readers = Vec::with_capacity(wanted);
        let mut time = SystemClock.now();
        for _ in 0..wanted {
            let reader = open_as(path, OpenFlags::SQLITE_OPEN_READ_ONLY, how).map_err(fail)?;
            reader.execute_batch("BEGIN").map_err(fail)?;
            // A transaction takes its snapshot with its first read.
            let reader = begin_to_read(reader).map_err(fail)?;
            time = SystemClock.now();
            readers.push(Arc::new(Mutex::new(reader)));
        }
        if wanted > 1 {
            keeper.execute_batch("ROLLBACK").map_err(fail)?;
        }
        Ok(Self { readers, keeper, time, notes, unlocked, unsound })
    }
}

fn begin_to_read(connection: Connection) -> rusqlite::Result<Connection> {
    connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Where SQLite puts its temporary files, in this whole process and from now on: whoever owns the process may say so before
/// it begins to work. No source or target does.
pub fn set_process_temp_dir(directory: &Path) -> Result<(), ConnectorError> {
    let set = || {
        let directory = directory.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(directory.to_owned()))?;
        Connection::open_in_memory()?.pragma_update(None, "temp_store_directory", directory)
    };
    set().map_err(|error| reading(&directory.display().to_string(), &error))
}

/// Opens a connection for reading; never makes a file.
pub(super) fn open(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    open_as(path, mode, How::Plain)
}

fn open_as(path: &Path, mode: OpenFlags, how: How) -> rusqlite::Result<Connection> {
    let mode = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = match how {
        How::Immutable => Connection::open_with_flags(immutable(path), mode | OpenFlags::SQLITE_OPEN_URI)?,
        _ => Connection::open_with_flags(path, mode)?,
    };
    connection.busy_handler(Some(wait_for_lock))?;
    // Keys sort by bytes here; a collation that only the application has is never asked.
    connection.collation_needed(stand_in_collation)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    if how == How::Lenient {
        // Only so does SQLite open a file that was cut off, and pass over what it cannot parse; before it reads the schema.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    }
    connection.pragma_update(None, "cache_size", -512)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri + "?immutable=1"
}

/// Whether a database in WAL mode cannot be opened only because nothing can be made beside it.
fn needs_side_files(error: &rusqlite::Error, path: &Path) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
        && Header::of_file(path).is_ok_and(|header| header.get(18) == Some(&2))
}

/// A file that is read without locks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unlocked {
    path: PathBuf,
    stamp: [i64; 7],
}

impl Unlocked {
    fn new(path: &Path) -> Result<Self, ConnectorError> {
        let wal = with_ending(path, "-wal");
        if wal.metadata().is_ok_and(|wal| wal.len() > 0) {
            return Err(ConnectorError::Unreadable {
                object: path.display().to_string(),
                reason: format!(
                    "{} holds changes that can be read only with an index beside it, which cannot be made in this directory; \
                     run as somebody who may write there, or copy both files to where one can",
                    wal.display()
                ),
            });
        }
        let stamp = path.metadata().map(|metadata| stamp(&metadata)).map_err(|error| io("look at", path, error))?;
        Ok(Self { path: path.to_owned(), stamp })
    }

    /// Fails if the file was changed since.
    pub(super) fn check(&self) -> Result<(), ConnectorError> {
        if *self == Self::new(&self.path)? {
            return Ok(());
        }
        let reason = "it was changed while it was read without locks; try again".to_owned();
        Err(ConnectorError::Unreadable { object: self.path.display().to_string(), reason })
    }
}

fn stamp(metadata: &Metadata) -> [i64; 7] {
    let len = metadata.len().cast_signed();
    let (dev, ino) = (metadata.dev().cast_signed(), metadata.ino().cast_signed());
    [dev, ino, len, metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]
}

/// Releases of SQLite whose write-ahead log could damage a database under concurrent checkpoints.
const FAULTY_WAL: std::ops::RangeInclusive<u32> = 3_007_000..=3_051_002;

/// What may have damaged a database, if that can be told.
pub(super) fn hint(path: &Path) -> Option<String> {
    let header: [u8; 100] = Header::of_file(path).ok()?.try_into().ok()?;
    let version = Header(header).number(96);
    (header[18] == 2 && FAULTY_WAL.contains(&version)).then(|| {
        format!(
            "it was last written in WAL mode by SQLite {}.{}.{}; releases from 3.7.0 to 3.51.2 could damage such databases when \
             two connections reset the log at once",
            version / 1_000_000,
            version / 1000 % 1000,
            version % 1000
        )
    })
}

/// An error of bytes that cannot be, with what may have damaged the database.
pub(super) fn with_hint(error: ConnectorError, path: &Path) -> ConnectorError {
    match (error, hint(path)) {
        (ConnectorError::Unreadable { object, reason }, Some(hint)) => {
            ConnectorError::Unreadable { object, reason: format!("{reason}; {hint}") }
        }
        (error, _) => error,
    }
}
