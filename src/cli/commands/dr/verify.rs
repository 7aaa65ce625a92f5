//! `dr verify` and `dr test-restore`: proofs, whose results stay with the backup as tags.

use super::{
    backup_id, library,
    place::{Setup, refused, url_of},
};
use crate::{
    cli::{
        context::{Context, now},
        exit::{CliError, Failure, Status},
        units::show_duration,
    },
    connector::Options,
    ops::{
        datasets::datasets,
        restore::{RestoreOptions, restore},
        tag::{TagChange, tag},
        verify::{ReadData, VerifyOptions, verify},
    },
    repo::{Repository, Snapshot},
    report::ErrorKind,
};
use clap::Args;
use serde_json::{Value as Json, json};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Instant,
};

/// `dr test-restore`.
#[derive(Debug, Args)]
pub struct TestRestoreArgs {
    /// Which backup
    backup: String,
    /// Where the scratch folder is made [default: the system's place for temporary files]
    #[arg(long, value_name = "PATH")]
    scratch: Option<PathBuf>,
    /// Also open each dataset with the library itself, read every column, and compare it with the live dataset at the same
    /// version, where that is there
    #[arg(long)]
    open: bool,
    /// The Python that has the library
    #[arg(long, value_name = "PROGRAM", default_value = "python3", requires = "open")]
    python: PathBuf,
}

/// What tags of results begin with.
const TESTED: [&str; 2] = ["verified:", "test-restored:"];

/// The results that a backup bears.
pub(super) fn tested(snapshot: &Snapshot) -> Vec<&str> {
    let is_result = |text: &&str| TESTED.iter().any(|prefix| text.starts_with(prefix));
    snapshot.tags.iter().map(String::as_str).filter(is_result).collect()
}

/// Keeps a result in place of the one before it.
fn keep(repo: &Repository, snapshot: &Snapshot, prefix: &str, good: bool, seconds: f64, context: &Context) {
    let verdict = if good { "ok" } else { "FAILED" };
    let change = TagChange {
        add: vec![format!("{prefix}{verdict} {} in {}", now(), show_duration(seconds))],
        remove: snapshot.tags.iter().filter(|tag| tag.starts_with(prefix)).cloned().collect(),
        ..TagChange::default()
    };
    // A credential that may only read proves no less.
    if let Err(error) = tag(repo, snapshot, &change) {
        context.reporter.problem(&format!("the result is not kept: {error}"));
    }
}

/// What is wrong with a backup, by reading all of it.
fn findings(repo: &Repository, snapshot: &Snapshot, setup: &Setup, context: &Context) -> Result<Vec<String>, Failure> {
    let options = VerifyOptions {
        read_data: ReadData::default(),
        restore: true,
        parallel: setup.parallel()?,
        read_limit: context.read_limit,
    };
    let proof = verify(repo, std::slice::from_ref(snapshot), &options, &context.reporter)?;
    let mut wrong: Vec<String> = proof.findings.iter().map(|one| format!("{}: {}", one.object, one.problem)).collect();
    match datasets(repo, snapshot, None, &context.reporter) {
        Ok(reports) => {
            for report in reports {
                wrong.extend(report.wrong.iter().map(|what| format!("{}: {what}", report.collection)));
            }
        }
        // What is damaged stands among what was found.
        Err(error) if !wrong.is_empty() && error.kind().keeps_data_back() => {
            wrong.push(format!("what the logs name cannot be looked for: {error}"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(wrong)
}

pub(super) fn run(backup: &str, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    let snapshot = backup_id::find(&repo, backup)?;
    let began = Instant::now();
    let wrong = findings(&repo, &snapshot, setup, context)?;
    let seconds = began.elapsed().as_secs_f64();
    keep(&repo, &snapshot, TESTED[0], wrong.is_empty(), seconds, context);
    context.reporter.finish();
    report("verified", &snapshot, &wrong, &[], seconds, context);
    Ok(if wrong.is_empty() { Status::Done } else { Status::Bad })
}

fn report(what: &str, snapshot: &Snapshot, wrong: &[String], opened: &[Json], seconds: f64, context: &Context) {
    let name = backup_id::of(snapshot);
    if context.json {
        context.out.json(&json!({
            "backup_id": name, "ok": wrong.is_empty(), "findings": wrong, "opened": opened, "duration_seconds": seconds,
        }));
        return;
    }
    for text in wrong {
        context.reporter.problem(text);
    }
    if !context.quiet {
        let verdict = if wrong.is_empty() { "good" } else { "NOT GOOD" };
        context.out.line(format_args!("{what} {name} in {}: {verdict}", show_duration(seconds)));
        for one in opened {
            context.out.line(format_args!(
                "opened {}: {} rows, {} columns{}",
                one["dataset"].as_str().unwrap_or_default(),
                one["rows"],
                one["columns"].as_object().map_or(0, serde_json::Map::len),
                if one["compared"] == json!(true) { ", equal to the live dataset" } else { "" },
            ));
        }
    }
}

pub(super) fn test_restore(args: &TestRestoreArgs, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    let snapshot = backup_id::find(&repo, &args.backup)?;
    let parent = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new()
        .prefix("rekeep-test-restore-")
        .tempdir_in(&parent)
        .map_err(|error| CliError::io("make a scratch folder in", parent.display().to_string(), error))?;
    let began = Instant::now();
    let mut wrong = bring_back(&repo, &snapshot, scratch.path(), setup, context)?;
    // The time that a recovery takes: opening is for the proof.
    let seconds = began.elapsed().as_secs_f64();
    let mut opened = Vec::new();
    if args.open {
        for collection in &snapshot.collections {
            match open(&args.python, scratch.path(), &setup.data, &collection.name) {
                Ok(found) => opened.push(found),
                Err(reason) => wrong.push(format!("{}: {reason}", collection.name)),
            }
        }
    }
    keep(&repo, &snapshot, TESTED[1], wrong.is_empty(), seconds, context);
    context.reporter.finish();
    report("restored for a test", &snapshot, &wrong, &opened, seconds, context);
    Ok(if wrong.is_empty() { Status::Done } else { Status::Bad })
}

/// Restores all of a backup; gives what is wrong with it.
pub(super) fn bring_back(
    repo: &Repository,
    snapshot: &Snapshot,
    to: &Path,
    setup: &Setup,
    context: &Context,
) -> Result<Vec<String>, Failure> {
    let Some(path) = to.to_str() else {
        return Err(refused(ErrorKind::InvalidInput, format!("{} is no text", to.display())));
    };
    let target = context.registry.target(&url_of(path), &Options::default())?;
    let options = RestoreOptions {
        keep_going: true,
        parallel: setup.parallel()?,
        read_limit: context.read_limit,
        ..RestoreOptions::default()
    };
    let outcome = restore(repo, snapshot, target.as_ref(), &options, &context.reporter)?;
    let failures = outcome.outcomes.failures.iter().map(|(key, reason)| format!("{key}: {reason}"));
    let mut wrong: Vec<String> = outcome.missing.iter().chain(&outcome.damage).cloned().chain(failures).collect();
    if wrong.is_empty() && !outcome.complete {
        wrong.push("the restore was not complete".to_owned());
    }
    Ok(wrong)
}

/// Opens a restored dataset with the library; compares it with the live one at the same version, where there is one.
fn open(python: &Path, scratch: &Path, live: &str, collection: &str) -> Result<Json, String> {
    let look = |root: &Path, version: Option<&str>| {
        let dataset = root.join(collection);
        library::run(python, library::OPENER, [dataset.as_os_str()].into_iter().chain(version.map(OsStr::new)))
    };
    let mut found = look(scratch, None)?;
    let live = Path::new(live);
    if live.join(collection).is_dir()
        && let Some(version) = found["version"].as_str().map(str::to_owned)
        // A version that the live dataset does not have any more proves nothing.
        && let Ok(there) = look(live, Some(&version))
    {
        if (&there["rows"], &there["columns"]) != (&found["rows"], &found["columns"]) {
            return Err(format!("at version {version} the live dataset is another one: {there} and not {found}"));
        }
        found["compared"] = json!(true);
    }
    found["dataset"] = json!(collection);
    Ok(found)
}
