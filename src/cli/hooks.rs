//! Commands of a person's that are run before and after a verb: to freeze and thaw, to mount, to tell somebody.

use super::{
    context::Context,
    exit::{self, CliError, Failure, Status},
};
use crate::{connector::url::without_password, ops::OpsError, ops::Progress as _};
use clap::Args;
use std::{
    cell::RefCell,
    io,
    process::{Command, Stdio},
};

/// `--before` and `--after`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Commands around it")]
pub struct HookArgs {
    /// Run this shell command first; if it fails, nothing is done (docs/hooks.md)
    #[arg(long, value_name = "COMMAND")]
    pub before: Option<String>,
    /// Run this shell command at the end, however it ended
    #[arg(long, value_name = "COMMAND")]
    pub after: Option<String>,
}

/// What commands are told.
pub struct Told<'a> {
    /// `backup` or `restore`.
    pub verb: &'static str,
    /// The source or target.
    pub url: &'a str,
    /// Whether nothing is stored or written.
    pub dry_run: bool,
    /// The snapshot that was made or is restored, once it is known.
    pub snapshot: RefCell<Option<String>>,
}

impl HookArgs {
    /// Whether there is any.
    pub const fn is_given(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }

    /// Does the work between the commands. What it came to goes before what the last command came to, but where it ended well.
    pub fn around(
        &self,
        told: &Told<'_>,
        context: &Context,
        work: impl FnOnce() -> Result<Status, Failure>,
    ) -> Result<Status, Failure> {
        let before = self.before.as_ref().map_or(Ok(()), |command| run(command, "before", None, told));
        let ended = match before {
            Ok(()) if context.reporter.cancelled() => Err(OpsError::Interrupted.into()),
            Ok(()) => work(),
            Err(why) => Err(failed("before", &why, "nothing was done")),
        };
        context.reporter.finish();
        let Some(command) = &self.after else { return ended };
        let status = match &ended {
            Ok(status) => status.code(),
            Err(failure) => exit::code(&failure.error),
        };
        match (run(command, "after", Some(status), told), ended) {
            (Ok(()), ended) => ended,
            (Err(why), Ok(status)) if status != Status::Bad => {
                let words = match status {
                    Status::Done => "all was done before it",
                    _ => "what was done before it is incomplete, as was told",
                };
                Err(failed("after", &why, words))
            }
            (Err(why), ended) => {
                context.reporter.problem(&format!("the command after it failed, too: {why}"));
                ended
            }
        }
    }
}

fn failed(which: &str, why: &str, words: &str) -> Failure {
    Failure {
        error: CliError::Ops(OpsError::Failed(format!("the command {which} it failed: {why}; {words}"))),
        kept: None,
    }
}

/// Runs a command to its end. What it prints goes to standard error: results alone go to standard output.
fn run(command: &str, which: &str, status: Option<u8>, told: &Told<'_>) -> Result<(), String> {
    let mut child = Command::new("sh");
    child.args(["-c", command]).stdin(Stdio::null()).stdout(io::stderr());
    child
        .env("REKEEP_HOOK", which)
        .env("REKEEP_HOOK_VERB", told.verb)
        .env("REKEEP_HOOK_URL", without_password(told.url));
    child.env("REKEEP_HOOK_DRY_RUN", if told.dry_run { "1" } else { "0" });
    match told.snapshot.borrow().as_deref() {
        Some(snapshot) => child.env("REKEEP_HOOK_SNAPSHOT", snapshot),
        None => child.env_remove("REKEEP_HOOK_SNAPSHOT"),
    };
    match status {
        Some(status) => child.env("REKEEP_HOOK_STATUS", status.to_string()),
        None => child.env_remove("REKEEP_HOOK_STATUS"),
    };
    let ended = child.status().map_err(|error| format!("sh: {error}"))?;
    if ended.success() { Ok(()) } else { Err(format!("`{command}` ended with {ended}")) }
}
