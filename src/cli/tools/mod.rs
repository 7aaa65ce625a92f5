//! `rekeep-asbackup` and `rekeep-asrestore`: what a script typed for Aerospike's own tools, with the name changed. Each has its
//! own flags, so that a `-r` here is theirs and not the repository's. What each flag is, and what has no meaning here:
//! `docs/coming-from-asbackup.md`.

mod backup;
mod cluster;
mod config;
mod files;
mod restore;
mod secrets;
mod storage;
mod told;

pub use backup::BackupArgs;
pub use restore::RestoreArgs;

use super::{
    context::Context,
    exit::{self, CliError, Failure, usage},
    output::complain,
    units::{show_count, show_duration, show_size},
};
use crate::{connector::Registry, ops::copy::CopyOutcome, report::Remedy};
use clap::Parser;
use std::{ffi::OsString, path::Path};

/// Which tool's flags are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `asbackup`.
    Backup,
    /// `asrestore`.
    Restore,
}

impl Tool {
    /// The tool that a command line is for, and its own arguments: by the name that the program was called, or by the first
    /// argument.
    #[must_use]
    pub fn of(typed: &[OsString]) -> Option<(Self, Vec<OsString>)> {
        let called = typed.first().and_then(|name| Path::new(name).file_stem()?.to_str());
        let named = |name: &str| match name {
            "asbackup" | "rekeep-asbackup" => Some(Self::Backup),
            "asrestore" | "rekeep-asrestore" => Some(Self::Restore),
            _ => None,
        };
        if let Some(tool) = called.and_then(named) {
            return Some((tool, typed.to_vec()));
        }
        let tool = typed.get(1).and_then(|name| name.to_str()).filter(|name| name.starts_with("as")).and_then(named)?;
        Some((tool, typed[1..].to_vec()))
    }

    /// The section of configuration files that is its own.
    const fn section(self) -> &'static str {
        match self {
            Self::Backup => "asbackup",
            Self::Restore => "asrestore",
        }
    }

    /// Runs it; gives the exit status: 0 if all is done, else 1, as theirs do.
    #[must_use]
    pub fn run(self, typed: Vec<OsString>, registry: Registry) -> u8 {
        let result = match self {
            Self::Backup => parse::<BackupArgs>(self, typed)
                .and_then(|args| within(registry, |context| backup::run(&args, context))),
            Self::Restore => parse::<RestoreArgs>(self, typed)
                .and_then(|args| within(registry, |context| restore::run(&args, context))),
        };
        match result {
            Ok(true) => 0,
            Ok(false) => exit::FAILED,
            Err(Stopped::Said(code)) => code.min(exit::FAILED),
            Err(Stopped::Failed(failure)) => {
                let code = exit::report_alone(&failure).min(exit::FAILED);
                self.advise(&failure);
                code
            }
        }
    }

    /// Says which of its own flags would let it pass.
    fn advise(self, failure: &Failure) {
        let CliError::Ops(error) = &failure.error else { return };
        for remedy in error.remedies() {
            match (self, remedy) {
                (Self::Backup, Remedy::OverwriteAll) => complain("rekeep: --remove-files (-r) removes them first"),
                (Self::Restore, Remedy::Salvage) => complain("rekeep: --salvage keeps what is whole"),
                _ => {}
            }
        }
    }
}

/// Why nothing was done.
enum Stopped {
    /// It was told, with this exit status.
    Said(u8),
    Failed(Failure),
}

fn parse<T: Parser>(tool: Tool, typed: Vec<OsString>) -> Result<T, Stopped> {
    let typed = config::expanded(tool, T::command(), typed).map_err(Stopped::Failed)?;
    let line = secrets::resolved(typed).map_err(Stopped::Failed)?;
    let parsed = T::try_parse_from(&line.typed);
    parsed.map_err(|error| {
        // Nothing is left to tell, and to nobody, if this fails.
        let shown = error.to_string();
        let hidden = line.hide(&shown);
        if hidden == shown {
            let _ = error.print();
        } else {
            complain(hidden.trim_end());
        }
        Stopped::Said(u8::try_from(error.exit_code()).unwrap_or(1))
    })
}

fn within(registry: Registry, run: impl FnOnce(&Context) -> Result<bool, Failure>) -> Result<bool, Stopped> {
    let context = Context::bare(registry).map_err(Stopped::Failed)?;
    super::interrupt::listen();
    let done = run(&context);
    context.reporter.finish();
    if context.out.finish().is_err() {
        return Ok(false);
    }
    done.map_err(Stopped::Failed)
}

/// Says what is not there, and why.
fn refuse(flag: &str, given: bool, why: &str) -> Result<(), Failure> {
    if given { Err(usage(format!("{flag}: {why}"))) } else { Ok(()) }
}

/// Says what came of it, on standard error, as theirs do.
fn tell(outcome: &CopyOutcome, what: &str) {
    for (key, reason) in &outcome.outcomes.failures {
        complain(&format!("{key}: {reason}"));
    }
    outcome.missing.iter().for_each(|text| complain(&format!("missing: {text}")));
    outcome.notes.iter().for_each(|text| complain(&format!("note: {text}")));
    let counts = &outcome.outcomes;
    let others: Vec<String> = [
        ("existed", counts.existed),
        ("fresher", counts.fresher),
        ("expired", counts.expired),
        ("skipped", counts.skipped),
        ("ignored", counts.ignored),
        ("failed", counts.failed),
    ]
    .iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| format!(", {} {name}", show_count(*count)))
    .collect();
    complain(&format!(
        "{what} {} records ({}) in {}: {} written{}{}",
        show_count(outcome.records),
        show_size(outcome.bytes),
        show_duration(outcome.duration_seconds),
        show_count(counts.inserted + counts.replaced),
        others.concat(),
        if outcome.complete { "" } else { "; INCOMPLETE" }
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn of(line: &[&str]) -> Option<(Tool, usize)> {
        let typed: Vec<OsString> = line.iter().map(OsString::from).collect();
        Tool::of(&typed).map(|(tool, own)| (tool, own.len()))
    }

    #[test]
    fn a_tool_is_meant_by_name_or_by_the_first_argument() {
        assert_eq!(of(&["/usr/bin/rekeep-asbackup", "-n", "x"]), Some((Tool::Backup, 3)));
        assert_eq!(of(&["asrestore"]), Some((Tool::Restore, 1)));
        assert_eq!(of(&["rekeep", "asbackup", "-n", "x"]), Some((Tool::Backup, 3)));
        assert_eq!(of(&["rekeep", "backup", "asbackup"]), None);
    }

    #[test]
    fn the_definitions_are_consistent() {
        BackupArgs::command().debug_assert();
        RestoreArgs::command().debug_assert();
    }
}
