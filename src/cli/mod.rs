//! The command line: parse what was typed, run one command, say what came of it, give the exit status.
//!
//! What was typed ([`args::Cli`]) and what it means ([`context::Context`]) are two types. Each command is one file under
//! [`commands`]; everything that talks to people or scripts is in this room and nowhere below it. The shapes of `--json`
//! are in `docs/json.md`, the exit statuses in `docs/exit-status.md`.

pub mod advice;
pub mod aerospike;
pub mod aerospike_connect;
pub mod aerospike_target;
#[cfg(feature = "aerospike")]
mod agent;
#[cfg(not(feature = "aerospike"))]
#[path = "agent/absent.rs"]
mod agent;
pub mod args;
pub mod asb;
pub mod commands;
pub mod common;
pub mod context;
pub mod deeplake;
pub mod exit;
pub mod hooks;
pub mod interrupt;
pub mod open;
pub mod output;
pub mod password;
pub mod postgres;
pub mod progress;
pub mod show;
#[cfg(all(feature = "aerospike", feature = "asb"))]
pub mod tools;
pub mod typed;
pub mod units;
pub mod variable;

use crate::{connector::Registry, ops::open_files, report::ErrorKind};
use args::Cli;
use clap::{CommandFactory as _, FromArgMatches as _};
use context::Context;
use exit::{CliError, Failure, Kept as _, Status};
use std::{ffi::OsString, process::ExitCode};

/// Open files that are asked for: each reader of a tree holds up to some hundred directories.
const OPEN_FILES: u64 = 8192;

/// Runs the command with this process's arguments and the connectors that are built in.
#[must_use]
pub fn main() -> ExitCode {
    main_with(Registry::default())
}

/// Runs the command with this process's arguments and these connectors.
#[must_use]
pub fn main_with(registry: Registry) -> ExitCode {
    interrupt::outlive_file_limits();
    // If the system refuses, running out of them is told where it happens.
    let _ = open_files::allow(OPEN_FILES);
    let typed: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(run(&typed, registry))
}

/// Runs the command with these arguments; gives the exit status.
fn run(typed: &[OsString], registry: Registry) -> u8 {
    #[cfg(all(feature = "aerospike", feature = "asb"))]
    if let Some((tool, own)) = tools::Tool::of(typed) {
        return tool.run(own, registry);
    }
    // Asked for before parsing, because a usage error wants to know it too.
    let json = typed.iter().any(|arg| arg == "--json");
    let parsed = variable::heeded(Cli::command())
        .try_get_matches_from(typed)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error, typed, json),
    };
    let context = match Context::new(cli.global, registry, open::from_environment(&matches)) {
        Ok(mut context) => {
            context.typed = open::from_command_line(&matches);
            context
        }
        Err(error) => return exit::report(&error, json),
    };
    let result = commands::run(cli.command, Cli::command, &context)
        .map(|status| if context.lacks() { status.lacking() } else { status });
    context.reporter.finish();
    settle(result, &context)
}

/// What is said where a command has ended and its words found no room.
const RAN: &str = "the command ran to its end: only what it prints was not written, or not all of it";

/// Turns what a command came to into an exit status, saying what is to be said. A reader of our standard output that
/// went away (`rekeep ls … | head`) is no failure of ours.
fn settle(result: Result<Status, Failure>, context: &Context) -> u8 {
    let unwritten = |error| CliError::io("writing", "standard output", error);
    let result = match (result, context.out.finish()) {
        (Err(failure), written) if failure.is_interruption() && context.out.closed() && !interrupt::requested() => {
            written.map(|()| Status::Done).map_err(|error| unwritten(error).into())
        }
        (Ok(_), Err(error)) => Err(unwritten(error)).kept(RAN),
        (result, _) => result,
    };
    match result {
        Ok(status) => status.code(),
        Err(failure) => exit::report(&failure, context.json),
    }
}

/// Which argument or variable is no text, which clap does not say.
fn garbled(typed: &[OsString]) -> Option<String> {
    let behind = typed.windows(2).find(|pair| pair[1].to_str().is_none());
    let found = behind.map(|pair| {
        let shown = pair[1].as_encoded_bytes().escape_ascii();
        match pair[0].to_str() {
            Some(option) if option.starts_with('-') => format!("`{shown}` behind {option}"),
            _ => format!("the argument `{shown}`"),
        }
    });
    let command = Cli::command();
    let all = std::iter::once(&command).chain(command.get_subcommands());
    let mut variables = all.flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_env);
    let found = found.or_else(|| {
        let name = variables.find(|name| std::env::var_os(name).is_some_and(|value| value.to_str().is_none()))?;
        Some(format!("the value of the variable {}", name.to_string_lossy()))
    })?;
    Some(format!(
        "{found} is not valid UTF-8, as it has to be; only paths of files and passwords in files may be otherwise"
    ))
}

/// Prints clap's help or usage error.
fn refuse(error: &clap::Error, typed: &[OsString], json: bool) -> u8 {
    let code = u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
    let garbled = if error.kind() == clap::error::ErrorKind::InvalidUtf8 { garbled(typed) } else { None };
    if code != 0 && (json || garbled.is_some()) {
        let text = garbled.unwrap_or_else(|| error.render().to_string());
        if !json {
            output::complain(&format!("error: {text}"));
            return code;
        }
        exit::event(&exit::Event {
            code,
            kind: ErrorKind::InvalidInput,
            object: "",
            message: text.trim_end().trim_start_matches("error: "),
            kept: None,
            next: None,
        });
    } else {
        let printed = error.print().and_then(|()| std::io::Write::flush(&mut std::io::stdout()));
        // Of a usage error nothing is left to tell, and to nobody.
        if let (0, Err(error)) = (code, printed)
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return exit::report(&CliError::io("writing", "standard output", error).into(), json);
        }
    }
    code
}
