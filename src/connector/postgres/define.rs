//! Statements of which one that fails costs itself alone.

use super::{
    client::Client,
    error::{said, writing},
    script::Statement,
};
use crate::connector::ConnectorError;

/// Whether a statement names what is not there: it was left out of the snapshot, or could not be made.
fn needs_what_is_missing(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| ["42P01", "42703", "42704", "42883", "3F000"].contains(&code.code()))
}

/// Whether a statement makes what rows may not need, and not every server or user can make.
fn is_of_superusers(statement: &str, error: &postgres::Error) -> bool {
    let code = error.code().map(postgres::error::SqlState::code);
    let makes = |what: &str| statement.strip_prefix("CREATE ").is_some_and(|rest| rest.starts_with(what));
    makes("EXTENSION ")
        || code == Some("42501")
            && ["FUNCTION ", "PROCEDURE ", "AGGREGATE ", "OPERATOR ", "CAST ", "CONVERSION ", "TEXT SEARCH "]
                .iter()
                .any(|what| makes(what))
}

/// Runs a statement in a transaction; if it fails, what it did is undone alone.
pub(super) fn attempt(
    client: &mut Client,
    sql: &str,
    object: &str,
) -> Result<Result<(), postgres::Error>, ConnectorError> {
    let fail = |error: postgres::Error| writing(object, &error);
    client.batch_execute("SAVEPOINT rekeep_one").map_err(fail)?;
    match client.batch_execute(sql) {
        Ok(()) => client.batch_execute("RELEASE SAVEPOINT rekeep_one").map(Ok).map_err(fail),
        Err(error) if client.is_closed() => Err(fail(error)),
        Err(error) => {
            let back = "ROLLBACK TO SAVEPOINT rekeep_one; RELEASE SAVEPOINT rekeep_one";
            client.batch_execute(back).map(|()| Err(error)).map_err(fail)
        }
    }
}

/// Makes one thing that `pg_dump` described; where it cannot be and rows come back without it, it is named.
pub(super) fn define(
    client: &mut Client,
    statement: Statement<'_>,
    may_fail: bool,
    object: &str,
    missing: &mut Vec<String>,
) -> Result<(), ConnectorError> {
    let statement = statement.map_err(refused)?;
    let Err(error) = attempt(client, statement, object)? else { return Ok(()) };
    if is_there(statement, &error) {
        return Ok(());
    }
    if may_fail || is_aside(statement) || needs_what_is_missing(&error) || is_of_superusers(statement, &error) {
        miss(statement, &error, missing);
        return Ok(());
    }
    Err(writing(&format!("{object} ({})", shortened(statement)), &error))
}

/// Names a statement that could not be run, once.
pub(super) fn miss(statement: &str, error: &postgres::Error, missing: &mut Vec<String>) {
    let words = format!("{}: {}", shortened(statement), said(error));
    if !missing.contains(&words) {
        missing.push(words);
    }
}

/// Whether a statement makes an event trigger, or says something of one. They come last of all: what they do is meant for those who
/// use the database, and one that forbids definitions would let no restore end.
pub(super) fn is_of_event_trigger(statement: &str) -> bool {
    let mut words = statement.split_whitespace();
    match words.next() {
        Some("CREATE" | "ALTER") => {}
        Some("COMMENT" | "SECURITY") => drop(words.by_ref().find(|word| *word == "ON")),
        _ => return false,
    }
    words.next() == Some("EVENT") && words.next() == Some("TRIGGER")
}

/// Of text that is no statement.
pub(super) fn refused(reason: String) -> ConnectorError {
    ConnectorError::Mismatch { object: "the snapshot's definitions".to_owned(), reason }
}

/// A statement as it is shown: without passwords of other servers.
pub(super) fn shortened(statement: &str) -> String {
    let mut words: Vec<&str> = statement.split_whitespace().collect();
    let is_foreign = matches!(
        words.as_slice(),
        ["CREATE" | "ALTER", "SERVER" | "SUBSCRIPTION" | "FOREIGN", ..] | ["CREATE" | "ALTER", "USER", "MAPPING", ..]
    );
    let is_secret = |word: &&str| word.starts_with("OPTIONS") || *word == "CONNECTION";
    if let Some(at) = words.iter().position(is_secret).filter(|_| is_foreign) {
        words.truncate(at + 1);
        words.push("…");
    }
    words.join(" ").chars().take(200).collect()
}

/// Whether what a statement makes is there already.
pub(super) fn is_there(statement: &str, error: &postgres::Error) -> bool {
    let code = error.code().map(postgres::error::SqlState::code);
    (statement.starts_with("CREATE SCHEMA") && code == Some("42P06"))
        || (statement.starts_with("SET ") && !is_placing(statement) && matches!(code, Some("42704" | "22023")))
}

/// Whether a statement says where, or in what form, what follows is to lie: without it, rows come back elsewhere.
fn is_placing(statement: &str) -> bool {
    ["SET default_tablespace ", "SET default_table_access_method "].iter().any(|start| statement.starts_with(start))
}

/// Whether a statement says who owns or may do what, describes, places, or names other servers: rows come back without it.
pub(super) fn is_aside(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or_default();
    ["GRANT", "REVOKE", "COMMENT", "SECURITY"].contains(&first)
        || is_placing(statement)
        || statement.starts_with("ALTER DEFAULT PRIVILEGES")
        || (first == "ALTER" && statement.contains(" OWNER TO "))
        || ["USER MAPPING ", "SERVER ", "FOREIGN TABLE ", "FOREIGN DATA WRAPPER "]
            .iter()
            .any(|what| statement.strip_prefix("CREATE ").is_some_and(|rest| rest.starts_with(what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_other_servers_are_not_shown() {
        for (statement, shown) in [
            (
                "CREATE USER MAPPING FOR a SERVER s OPTIONS (\n    password 'secret',\n    \"user\" 'u'\n)",
                "CREATE USER MAPPING FOR a SERVER s OPTIONS …",
            ),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'host=h password=secret' PUBLICATION p WITH (connect = false)",
                "CREATE SUBSCRIPTION s CONNECTION …",
            ),
            (
                "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (x 'secret')",
                "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS …",
            ),
            ("ALTER SERVER s OWNER TO o", "ALTER SERVER s OWNER TO o"),
            ("COMMENT ON TABLE t IS 'OPTIONS CONNECTION x'", "COMMENT ON TABLE t IS 'OPTIONS CONNECTION x'"),
        ] {
            assert_eq!(shortened(statement), shown);
        }
        assert!(is_aside("CREATE USER MAPPING FOR a SERVER s") && !is_aside("CREATE TABLE t ()"));
    }

    #[test]
    fn what_concerns_event_triggers_is_told_from_the_rest() {
        for yes in [
            "CREATE EVENT TRIGGER e ON sql_drop\n   EXECUTE FUNCTION public.f()",
            "ALTER EVENT TRIGGER e OWNER TO postgres",
            "ALTER EVENT TRIGGER e DISABLE",
            "COMMENT ON EVENT TRIGGER e IS 'x'",
        ] {
            assert!(is_of_event_trigger(yes), "{yes}");
        }
        for no in
            ["CREATE TRIGGER event BEFORE INSERT ON t", "COMMENT ON TABLE t IS 'ON EVENT TRIGGER'", "SELECT 1", ""]
        {
            assert!(!is_of_event_trigger(no), "{no}");
        }
    }
}
