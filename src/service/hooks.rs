//! Hooks: commands that the configuration names, run before and after backups. What they should know stands in their
//! environment.

use super::{config::Hook, job::Job};
use crate::record::Timestamp;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Between two looks whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a hook is told.
pub(super) struct Facts<'a> {
    /// The job.
    pub(super) job: &'a Job,
    /// How it ended; empty before it begins.
    pub(super) outcome: &'a str,
    /// Why it failed.
    pub(super) error: Option<&'a str>,
}

/// Runs a hook.
///
/// # Errors
/// In words, if it cannot be run, fails, or takes too long: then it is stopped.
pub(super) fn run(hook: &Hook, facts: &Facts<'_>, stopped: &dyn Fn() -> bool) -> Result<(), String> {
    let Some((program, arguments)) = hook.command.split_first() else { return Ok(()) };
    let failed = |words: String| format!("the hook {program} {words}");
    let due = facts.job.due.map_or_else(String::new, |due: Timestamp| due.to_string());
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env("REKEEP_JOB", facts.job.id.to_string())
        .env("REKEEP_ROUTINE", facts.job.work.routine().unwrap_or_default())
        .env("REKEEP_KIND", facts.job.work.kind())
        .env("REKEEP_DUE", due)
        .env("REKEEP_OUTCOME", facts.outcome)
        .env("REKEEP_ERROR", facts.error.unwrap_or_default())
        .spawn()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    let until = Instant::now() + Duration::from_secs(u64::from(hook.timeout.unwrap_or(300)));
    loop {
        let ended = child.try_wait().map_err(|error| failed(error.to_string()))?;
        if let Some(status) = ended {
            return if status.success() { Ok(()) } else { Err(failed(format!("failed: {status}"))) };
        }
        if Instant::now() >= until || stopped() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed("was stopped: it took too long, or the job was canceled".to_owned()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
