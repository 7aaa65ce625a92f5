//! SQLite's errors in our words.

use crate::connector::ConnectorError;
use rusqlite::{Error, ErrorCode, ffi};
use std::path::Path;

/// What SQLite said while `object` was read.
pub(super) fn reading(object: &str, error: &Error) -> ConnectorError {
    let object = object.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ConnectorError::Locked {
            object,
            reason: format!("another process holds it for longer than we wait ({error}); try again when it is done"),
        },
        Some(ErrorCode::NotADatabase) => ConnectorError::Unreadable {
            object,
            reason: "this is not a SQLite database, or it is encrypted".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => ConnectorError::Unreadable {
            object,
            reason: format!("the database is damaged ({error}); PRAGMA integrity_check says more"),
        },
        Some(ErrorCode::CannotOpen) => ConnectorError::Unreadable {
            object,
            reason: format!(
                "SQLite cannot open it ({error}); a database in WAL mode needs a directory it can write to"
            ),
        },
        _ if is_hot(error) => ConnectorError::Unreadable {
            reason: format!(
                "a writer that was stopped left {object}-journal, which must be played back before anything can be read: run \
                 as somebody who may write both files, or copy both to where one can"
            ),
            object,
        },
        _ => ConnectorError::Unreadable { object, reason: error.to_string() },
    }
}

/// Whether a journal waits to be played back by somebody who may write.
fn is_hot(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_READONLY_ROLLBACK)
}

/// What SQLite said while `object` was written.
pub(super) fn writing(object: &str, error: &Error) -> ConnectorError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt,
        ) => reading(object, error),
        _ => ConnectorError::Unwritable { object: object.to_owned(), reason: error.to_string() },
    }
}

/// Whether only this record is at fault: a constraint, a type, a size.
pub(super) fn concerns_record(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::Unknown)
    )
}

/// Whether another row holds what is to be unique.
pub(super) fn is_in_the_way(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        matches!(
            error.extended_code,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID
        )
    })
}

/// Whether the rowid is held by another row.
pub(super) fn rowid_taken(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_ROWID)
}

/// An I/O error on a path.
pub(super) fn io(operation: &'static str, path: &Path, source: std::io::Error) -> ConnectorError {
    ConnectorError::Io { operation, object: path.display().to_string(), source }
}
