//! A namespace of a cluster into ASB files, without a repository:
//! `cargo run --example asb_backup -- aerospike://127.0.0.1:3000/test /tmp/backup [SECONDS]`
//!
//! What a program did with the handler that `backup.NewClient(…).Backup` gave it, it does with a job: `GetStats` is
//! `JobWatch::standing`, `Wait` is `Job::wait`, and a context that is cancelled or has a deadline is `JobWatch::cancel`, as here
//! after so many SECONDS.

use rekeep::{
    connector::{Options, Overwrite, Registry},
    ops::{
        copy::{CopyOptions, copy},
        job::Job,
    },
};
use serde_json::json;
use std::{
    error::Error,
    time::{Duration, Instant},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(cluster), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: asb_backup aerospike://HOST:PORT/NAMESPACE FOLDER [SECONDS]".into());
    };
    let deadline = match arguments.next() {
        Some(seconds) => Some(Instant::now() + Duration::from_secs(seconds.parse()?)),
        None => None,
    };
    let registry = Registry::default();
    let source = registry.source(&cluster, &Options::default())?;
    let how: Options = serde_json::from_value(json!({ "compress": "zstd", "file_limit": 64 << 20 }))?;
    let target = registry.target(&format!("asb:{folder}"), &how)?;
    let options = CopyOptions { parallel: 4, overwrite: Overwrite::Never, ..CopyOptions::default() };

    let job = Job::start("copy", move |progress| copy(source.as_ref(), target.as_ref(), &options, progress))?;
    let watch = job.watch();
    let mut told = 0;
    while !watch.wait_for_end(Duration::from_secs(1)) {
        let standing = watch.standing();
        println!("{} records, {} bytes so far", standing.all_records, standing.all_bytes);
        for warning in watch.warnings(told) {
            println!("{warning}");
            told += 1;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // What is under way is finished or left; `wait` gives the error that says so.
            watch.cancel();
        }
    }
    let outcome = job.wait()?;
    println!("{} records, complete: {}", outcome.records, outcome.complete);
    outcome.missing.iter().for_each(|text| println!("missing: {text}"));
    Ok(())
}
