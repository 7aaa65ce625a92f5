//! Variables of the environment: one that is set but empty counts as not set, whoever asks.

use std::ffi::OsStr;

/// The value of a variable that is set, and not to nothing.
pub fn value(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A command that takes empty variables for unset ones.
pub fn heeded(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(move |arg| if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg })
        .mut_subcommands(heeded)
}
