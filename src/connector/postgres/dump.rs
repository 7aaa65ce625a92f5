//! What `pg_dump` knows of a database beside its rows.

use super::{
    client::{Facts, Server},
    script::{statements, without_commands},
    select::Selection,
};
use crate::{connector::ConnectorError, report::Remedy};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Everything that is made before rows come, and after.
#[derive(Debug, Clone)]
pub(super) struct Definitions {
    pub(super) before: String,
    pub(super) after: String,
    /// Which `pg_dump` wrote them.
    pub(super) by: String,
}

/// Takes the definitions as the snapshot shows them, or why there are none, in words.
///
/// # Errors
/// [`ConnectorError::Locked`] if a table was locked for too long.
pub(super) fn definitions(
    server: &Server,
    facts: &Facts,
    snapshot: &str,
    selection: &Selection,
) -> Result<Result<Definitions, String>, ConnectorError> {
    let found = take(server, facts, snapshot, selection);
    match &found {
        Err(why) if why.contains("due to statement timeout") => {
            let reason = format!("somebody else has a table locked, and pg_dump waits for it: {why}");
            Err(ConnectorError::Locked { object: server.shown(), reason }.with([Remedy::WaitForLock]))
        }
        _ => Ok(found),
    }
}

fn take(server: &Server, facts: &Facts, snapshot: &str, selection: &Selection) -> Result<Definitions, String> {
    let (program, by) = find(facts.version / 10_000)?;
    let patience = server.lock_timeout_millis();
    let section = |section: &str, selection: &Selection| {
        let mut command = Command::new(&program);
        command
            .args(["--schema-only", "--no-password", "--encoding=UTF8", &format!("--section={section}")])
            .arg(format!("--snapshot={snapshot}"))
            .args((patience > 0).then(|| format!("--lock-wait-timeout={patience}")))
            .args(selection.dump_arguments())
            .envs(server.address.environment())
            .stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("{}: {error}", program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}", program.display(), said.trim()));
        }
        let text = String::from_utf8(output.stdout).map_err(|_| "pg_dump wrote what is not UTF-8".to_owned())?;
        Ok(without_commands(&text))
    };
    let mut before = section("pre-data", selection)?;
    if !selection.is_all() {
        // Who may not lock what was left out gets what `pg_dump` gives of the chosen tables.
        if let Ok(whole) = section("pre-data", &Selection::default()) {
            before = with_what_is_needed(&whole, &before);
        }
    }
    Ok(Definitions { before, after: section("post-data", selection)?, by })
}

/// What is no relation: tables that were chosen may need it, and `pg_dump` leaves it out with the others.
const NEEDED: [&str; 12] = [
    "SCHEMA ",
    "TYPE ",
    "DOMAIN ",
    "FUNCTION ",
    "PROCEDURE ",
    "AGGREGATE ",
    "OPERATOR ",
    "COLLATION ",
    "CONVERSION ",
    "CAST ",
    "EXTENSION ",
    "TEXT SEARCH ",
];

/// The part before rows of chosen tables, with the types, functions and sequences of the whole that they may need, in its order.
fn with_what_is_needed(whole: &str, chosen: &str) -> String {
    let own: HashSet<&str> = statements(chosen).into_iter().flatten().collect();
    let is_needed = |sql: &str| {
        if own.contains(sql) || sql.starts_with("SET ") || sql.starts_with("SELECT ") {
            return true;
        }
        let rest = match sql.split_once(' ') {
            Some(("CREATE" | "ALTER", rest)) => rest,
            Some(("COMMENT" | "GRANT" | "REVOKE", rest)) => rest.split_once("ON ").map_or("", |(_, rest)| rest),
            _ => "",
        };
        if let Some(name) = rest.strip_prefix("SEQUENCE ").and_then(|rest| rest.split_whitespace().next()) {
            return chosen.contains(&format!("nextval('{name}'::regclass)"));
        }
        NEEDED.iter().any(|what| rest.starts_with(what))
    };
    let all = statements(whole);
    let kept: Vec<&str> = all.into_iter().flatten().filter(|sql| is_needed(sql)).collect();
    // Should one be written otherwise in the whole, nothing of what was chosen is lost.
    if own.iter().any(|sql| !kept.contains(sql)) {
        return chosen.to_owned();
    }
    kept.iter().flat_map(|sql| [*sql, ";\n\n"]).collect()
}

/// A `pg_dump` that is not older than the server: the one on the path, or one where Debian and others put them.
fn find(major: i32) -> Result<(PathBuf, String), String> {
    let own = [format!("/usr/lib/postgresql/{major}/bin"), format!("/usr/pgsql-{major}/bin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Of exactly the server's version, if there is one: on the path there may be a wrapper that chooses.
    let folders = own.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    let mut older = None;
    for program in folders.map(|folder| folder.join("pg_dump")).filter(|program| program.is_file()) {
        let Some((found, text)) = version(&program) else { continue };
        if found >= major {
            return Ok((program, text));
        }
        older = Some(text);
    }
    Err(match older {
        Some(text) => format!("{text} is older than the server, {major}"),
        None => "there is no pg_dump".to_owned(),
    })
}

fn version(program: &Path) -> Option<(i32, String)> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let number = text.rsplit(") ").next()?.split(['.', ' ', 'b', 'd', 'r']).next()?;
    Some((number.parse().ok()?, text.lines().next()?.to_owned()))
}
