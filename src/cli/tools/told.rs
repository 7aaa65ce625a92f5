//! What the tools tell beside standard error: lines for a program (`--machine`), and a log in a file (`--log-file`).

use super::super::{
    context::io_error,
    exit::Failure,
    output::{complain, complain_into},
    progress::Reporter,
};
use crate::{
    ops::{Phase, Progress, StreamStanding},
    report::Warning,
};
use clap::Args;
use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often a line says how far it is, as theirs do.
const INTERVAL: Duration = Duration::from_secs(1);
const DAY: u64 = 86_400;

/// Where messages go.
#[derive(Debug, Args)]
pub(super) struct ToldArgs {
    /// Write lines for a program into this file or pipe: PROGRESS, REMAINING, SUMMARY, ESTIMATE
    #[arg(short = 'm', long, value_name = "PATH")]
    machine: Option<PathBuf>,
    /// Write messages behind what is in this file, not to standard error
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

impl ToldArgs {
    /// Turns messages to where they are to go, and opens what a program reads.
    pub(super) fn open<'a>(&self, reporter: &'a Reporter) -> Result<Told<'a>, Failure> {
        if let Some(path) = self.log_file.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            complain_into(append(path)?);
        }
        let file = self.machine.as_deref().map(append).transpose()?;
        Ok(Told {
            reporter,
            file: Mutex::new(file),
            expected: AtomicU64::new(0),
            done: AtomicU64::new(0),
            last: Mutex::new((Instant::now(), 0)),
        })
    }
}

fn append(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    Ok(opened.map_err(|error| io_error("opening", path, error))?)
}

/// Tells people by the reporter, and a program by lines.
pub(super) struct Told<'a> {
    reporter: &'a Reporter,
    /// Until it cannot be written to.
    file: Mutex<Option<File>>,
    /// Records.
    expected: AtomicU64,
    done: AtomicU64,
    /// When the last line was written, and of how many records.
    last: Mutex<(Instant, u64)>,
}

impl Told<'_> {
    /// Writes a line for a program. If nobody reads it, people are told once, and what is done goes on.
    pub(super) fn line(&self, text: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = file.as_mut() else { return };
        if let Err(error) = open.write_all(format!("{text}\n").as_bytes()) {
            complain(&format!("rekeep: warning: writing lines for a program: {error}"));
            *file = None;
        }
    }

    fn tick(&self) {
        let Ok(mut last) = self.last.try_lock() else { return };
        let passed = last.0.elapsed();
        let (expected, done) = (self.expected.load(Ordering::Relaxed), self.done.load(Ordering::Relaxed));
        // What is expected is a guess: the end is told by the summary alone.
        if passed < INTERVAL || done >= expected {
            return;
        }
        self.line(&format!("PROGRESS:{}", u128::from(done) * 100 / u128::from(expected)));
        let since = done.saturating_sub(last.1);
        if since > 0 {
            let left = u128::from(expected - done) * passed.as_millis() / u128::from(since) / 1000;
            self.line(&format!("REMAINING:{}", remaining(u64::try_from(left).unwrap_or(u64::MAX))));
        }
        *last = (Instant::now(), done);
    }
}

/// Seconds as theirs write them: `1d2h3m4s` from the first part that is not zero.
fn remaining(seconds: u64) -> String {
    if seconds > 100 * DAY {
        return ">100d".to_owned();
    }
    let parts = [(seconds / DAY, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let first = parts.iter().position(|(value, _)| *value > 0).unwrap_or(parts.len() - 1);
    parts[first..].iter().map(|(value, unit)| format!("{value}{unit}")).collect::<Vec<_>>().concat()
}

impl Progress for Told<'_> {
    fn phase(&self, phase: &Phase) {
        self.expected.store(phase.records, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), 0);
        self.reporter.phase(phase);
    }

    fn count(&self, records: u64, bytes: u64) {
        self.done.fetch_add(records, Ordering::Relaxed);
        self.tick();
        self.reporter.count(records, bytes);
    }

    fn stream(&self, standing: &StreamStanding) {
        self.reporter.stream(standing);
    }

    fn warning(&self, warning: &Warning) {
        self.reporter.warning(warning);
    }

    fn cancelled(&self) -> bool {
        self.reporter.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::remaining;

    #[test]
    fn what_remains_is_told_from_the_first_part_that_is_not_zero() {
        let told: Vec<String> = [0, 59, 60, 3_600, 90_061, 100 * 86_400, 100 * 86_400 + 1].map(remaining).into();
        assert_eq!(told, ["0s", "59s", "1m0s", "1h0m0s", "1d1h1m1s", "100d0h0m0s", ">100d"]);
    }
}
