//! What a server says, in our words.

use crate::{connector::ConnectorError, report::Remedy};
use postgres::{Error, error::SqlState};
use std::error::Error as _;

/// What went wrong, with what to do about it where that is known.
pub(super) fn said(error: &Error) -> String {
    if is_closed(error) {
        return "the server closed the connection".to_owned();
    }
    let Some(db) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let more = cause.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            source = cause.source();
        }
        return text;
    };
    let mut text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        text = format!("{text}; {more}");
    }
    if let Some(advice) = advice(db.code(), db.routine()) {
        text = format!("{text}; {advice}");
    }
    text
}

/// Whether the other side ended the connection, however far it came with saying so.
pub(super) fn is_closed(error: &Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let is_cut = |kind| matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof);
    error.is_closed() || cause.is_some_and(|cause| is_cut(cause.kind()))
}

const OF_REPLICA: &str = "a replica cancels readers that hold its recovery up: hot_standby_feedback = on or a longer \
                          max_standby_streaming_delay lets a backup end";

/// The functions of the server that cancel whoever holds a replica's recovery up; messages come in its own language.
const CONFLICTS: [&str; 2] = ["ProcessInterrupts", "ProcessRecoveryConflictInterrupt"];

fn advice(code: &SqlState, routine: Option<&str>) -> Option<&'static str> {
    if *code == SqlState::T_R_SERIALIZATION_FAILURE && routine.is_some_and(|routine| CONFLICTS.contains(&routine)) {
        return Some(OF_REPLICA);
    }
    Some(match code.code() {
        "72000" => "the server let the rows of this state go (old_snapshot_threshold)",
        "57P01" | "57P02" | "57P03" => "the server is stopping or starting",
        "3D000" => "make the database first (createdb)",
        "53300" => "the server takes no more connections: fewer readers at once need fewer",
        _ => return None,
    })
}

/// As an error of what is read.
pub(super) fn reading(object: &str, error: &Error) -> ConnectorError {
    of(object, error, |object, reason| ConnectorError::Unreadable { object, reason })
}

/// The same of a server that may be a replica, with what the client did not hear: the server's last word to a connection that asks for
/// nothing at the time goes to whatever is asked next, or to nobody.
pub(super) fn reading_from(is_replica: bool, object: &str, error: &Error) -> ConnectorError {
    match reading(object, error) {
        ConnectorError::Unreadable { object, reason } if is_replica && is_closed(error) => {
            ConnectorError::Unreadable { object, reason: format!("{reason}; {OF_REPLICA}") }
        }
        other => other,
    }
}

/// As an error of what is written.
pub(super) fn writing(object: &str, error: &Error) -> ConnectorError {
    of(object, error, |object, reason| ConnectorError::Unwritable { object, reason })
}

fn of(object: &str, error: &Error, other: fn(String, String) -> ConnectorError) -> ConnectorError {
    let (object, reason) = (object.to_owned(), said(error));
    match error.code() {
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => {
            ConnectorError::Locked { object, reason }.with([Remedy::WaitForLock])
        }
        _ => other(object, reason),
    }
}

/// Whether only the rows that were written are at fault, so that others may be written.
pub(super) fn concerns_rows(error: &Error) -> bool {
    // Data exceptions, integrity constraint violations, WITH CHECK OPTION, what triggers raise, limits of one value.
    let classes = ["22", "23", "44", "P0", "54"];
    // Values that name what is not there (`regclass` of an index that comes later, roles, schemas), and binary forms that the server
    // writes and does not read.
    let codes = ["42804", "0A000", "42P01", "42883", "42704", "42602", "3F000", "XX000"];
    error.code().is_some_and(|code| classes.contains(&&code.code()[..2]) || codes.contains(&code.code()))
}

/// Whether names are at fault, which another search path may find.
pub(super) fn names_what_is_not_found(error: &Error) -> bool {
    error.code().is_some_and(|code| ["42883", "42P01", "42704", "3F000"].contains(&code.code()))
}

/// Whether a row was refused for what another table holds, or may hold by now.
pub(super) fn may_come_later(error: &Error) -> bool {
    error.code().is_some_and(|code| *code == SqlState::CHECK_VIOLATION) || names_what_is_not_found(error)
}

/// Whether another row holds what is to be unique.
pub(super) fn is_in_the_way(error: &Error) -> bool {
    error.code().is_some_and(|code| *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::EXCLUSION_VIOLATION)
}
