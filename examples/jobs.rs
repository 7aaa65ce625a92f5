//! Backs up a SQLite database, waits, and restores what was kept into another file: verbs as jobs, without the command line.
//!
//! `cargo run --example jobs -- REPOSITORY DATABASE RESTORED`, where neither REPOSITORY nor RESTORED exists.

use rekeep::{
    connector::{Options, Registry},
    ops::{
        OpsError,
        backup::BackupOptions,
        job::{self, Job},
        restore::RestoreOptions,
    },
    record::SystemClock,
    repo::{InitOptions, OpenOptions, Repository, Storage, Unlock, keys::KdfParams},
};
use std::{process::ExitCode, sync::Arc, time::Duration};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [repository, database, restored] = args.as_slice() else {
        eprintln!("give REPOSITORY DATABASE RESTORED");
        return ExitCode::from(2);
    };
    match keep_and_give_back(repository, database, restored) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The kind is for programs, the words are for people.
            eprintln!("{}: {error}", error.kind());
            ExitCode::FAILURE
        }
    }
}

fn keep_and_give_back(repository: &str, database: &str, restored: &str) -> Result<(), OpsError> {
    let open = OpenOptions {
        cache_dir: std::env::temp_dir().join("rekeep-example-cache"),
        clock: Arc::new(SystemClock),
        host: "example".to_owned(),
    };
    let init = InitOptions { kdf: KdfParams::STANDARD, label: "example".to_owned() };
    let password = Unlock::Password("correct horse".to_owned());
    let (repo, recovery) = Repository::init(&Storage::at(repository)?, &password, None, &init, &open)?;
    println!("recovery key {}", recovery.0);

    let url = format!("sqlite:{database}");
    let connectors = Registry::default();
    let source = connectors.source(&url, &Options::default())?;
    let kept = watched(job::backup(&repo, source, BackupOptions { url, ..BackupOptions::default() })?)?;
    let id = kept.id.ok_or_else(|| OpsError::Failed("there is no snapshot".to_owned()))?;
    println!("kept {} records as snapshot {id}; complete: {}", kept.records, kept.complete);

    let found = repo.snapshots()?.into_iter().find(|snapshot| snapshot.id == id);
    let snapshot = found.ok_or_else(|| OpsError::Failed(format!("snapshot {id} is gone")))?;
    let target = connectors.target(&format!("sqlite:{restored}"), &Options::default())?;
    let back = watched(job::restore(&repo, snapshot, target, RestoreOptions::default())?)?;
    println!("restored {} records; complete: {}", back.records, back.complete);
    Ok(())
}

/// Shows how far a job is until it is over; gives what it came to.
fn watched<T: Send + 'static>(job: Job<T>) -> Result<T, OpsError> {
    let watch = job.watch();
    while !watch.wait_for_end(Duration::from_millis(200)) {
        let standing = watch.standing();
        let doing = standing.phase.as_ref().map_or_else(|| "beginning".to_owned(), ToString::to_string);
        println!("{}: {doing}, {} records so far", watch.name(), standing.records);
    }
    watch.warnings(0).iter().for_each(|warning| println!("{}: {warning}", warning.kind));
    job.wait()
}
