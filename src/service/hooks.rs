//! Hooks: commands that the configuration names, run before and after backups. What they should know stands in their
//! environment.

use super::{config::Hook, job::StoredJob};
use crate::{ops::command::Bounded, record::Timestamp};
use std::time::Duration;

/// What a hook is told.
pub(super) struct Facts<'a> {
    /// The job.
    pub(super) job: &'a StoredJob,
    /// How it ended; empty before it begins.
    pub(super) outcome: &'a str,
    /// Why it failed.
    pub(super) error: Option<&'a str>,
}

/// Runs a hook.
///
/// # Errors
/// In words, if it cannot be run, fails, or takes too long: then it is stopped with all that it started.
pub(super) fn run(hook: &Hook, facts: &Facts<'_>, stopped: &dyn Fn() -> bool) -> Result<(), String> {
    let Some(program) = hook.command.first() else { return Ok(()) };
    let due = facts.job.due.map_or_else(String::new, |due: Timestamp| due.to_string());
    let environment = [
        ("REKEEP_JOB", facts.job.id.to_string()),
        ("REKEEP_ROUTINE", facts.job.work.routine().unwrap_or_default().to_owned()),
        ("REKEEP_KIND", facts.job.work.kind().to_owned()),
        ("REKEEP_DUE", due),
        ("REKEEP_OUTCOME", facts.outcome.to_owned()),
        ("REKEEP_ERROR", facts.error.unwrap_or_default().to_owned()),
    ];
    let timeout = Duration::from_secs(u64::from(hook.timeout.unwrap_or(300)));
    let ended = Bounded { command: hook.command.clone(), timeout }.run(&environment, stopped);
    let Some(words) = ended.wrong else { return Ok(()) };
    let printed = if ended.printed.is_empty() { String::new() } else { format!(": {}", ended.printed) };
    Err(format!("the hook {program} failed: {words}{printed}"))
}
