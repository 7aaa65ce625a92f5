//! Opening sources and targets as they were typed: options by the names that the connectors have for them, refusals by the
//! flags that were typed.

use super::{
    aerospike_connect::ConnectArgs,
    args::Cli,
    context::Context,
    exit::{Failure, usage},
};
use crate::{
    connector::{ConnectorError, Options, Registry, Role, Source, Target, url::without_password},
    ops::opening,
};
use clap::{ArgMatches, CommandFactory as _, parser::ValueSource};
use std::collections::BTreeSet;

impl Context {
    /// The source that a URL names.
    pub fn source(&self, url: &str, options: Options, connect: &ConnectArgs) -> Result<Box<dyn Source>, Failure> {
        self.source_of(&self.registry, url, options, connect)
    }

    /// The same by other connectors.
    pub fn source_of(
        &self,
        registry: &Registry,
        url: &str,
        options: Options,
        connect: &ConnectArgs,
    ) -> Result<Box<dyn Source>, Failure> {
        let options = self.complete(url, Role::Source, options, connect)?;
        opening(&without_password(url), &self.reporter, || registry.source(url, &options)).map_err(as_typed)
    }

    /// The target that a URL names.
    pub fn target(&self, url: &str, options: Options, connect: &ConnectArgs) -> Result<Box<dyn Target>, Failure> {
        let options = self.complete(url, Role::Target, options, connect)?;
        opening(&without_password(url), &self.reporter, || self.registry.target(url, &options)).map_err(as_typed)
    }

    /// Options with what is got from elsewhere.
    pub(super) fn complete(
        &self,
        url: &str,
        role: Role,
        mut options: Options,
        connect: &ConnectArgs,
    ) -> Result<Options, Failure> {
        options.make_ambient(self.environment.iter().map(String::as_str));
        // Nobody is asked for the password of another system.
        if self.registry.knows(url, role, PASSWORD) {
            connect.add_password(&mut options)?;
        } else {
            self.refuse_flags_of(&PASSWORD_FLAGS, &format!("aerospike: {role}"), url)?;
        }
        Ok(options)
    }

    /// Refuses these flags, by the names of their arguments, where they were typed for a source or target that has no use for them.
    pub(super) fn refuse_flags_of(&self, flags: &[&str], of: &str, url: &str) -> Result<(), Failure> {
        let typed = flags.iter().filter(|flag| self.typed.contains(**flag));
        let typed: Vec<String> = typed.map(|name| format!("--{}", name.replace('_', "-"))).collect();
        if typed.is_empty() {
            return Ok(());
        }
        let verb = if typed.len() == 1 { "is" } else { "are" };
        Err(usage(format!("{} {verb} for {of}, not `{}`", typed.join(", "), without_password(url))))
    }
}

/// The option that is got from a file, a command or the environment.
const PASSWORD: &str = "as_password";

/// The flags that say where passwords are got from.
const PASSWORD_FLAGS: [&str; 5] =
    ["as_password_file", "as_password_command", "as_password_env", "tls_key_password_file", "tls_key_password_command"];

/// The names of the arguments whose values come from the environment.
pub(super) fn from_environment(matches: &ArgMatches) -> BTreeSet<String> {
    from(ValueSource::EnvVariable, matches)
}

/// The names of the arguments that were typed.
pub(super) fn from_command_line(matches: &ArgMatches) -> BTreeSet<String> {
    from(ValueSource::CommandLine, matches)
}

fn from(source: ValueSource, matches: &ArgMatches) -> BTreeSet<String> {
    let is_from = |id: &&str| matches.value_source(id) == Some(source);
    let mut names: BTreeSet<String> = matches.ids().map(clap::Id::as_str).filter(is_from).map(str::to_owned).collect();
    if let Some((_, below)) = matches.subcommand() {
        names.extend(from(source, below));
    }
    names
}

/// The names of a group's arguments.
pub(super) fn arguments_of<A: clap::Args>() -> Vec<String> {
    let group = A::augment_args(clap::Command::new(""));
    group.get_arguments().map(|argument| argument.get_id().to_string()).collect()
}

/// Names flags where options are refused.
fn as_typed(error: ConnectorError) -> Failure {
    match error {
        ConnectorError::ForeignOptions { url, options, role, of: Some(of) } => {
            let flags: Vec<String> = options.iter().map(|option| flag(option)).collect();
            let verb = if flags.len() == 1 { "is" } else { "are" };
            usage(format!("{} {verb} for {of}: {role}, not `{url}`", flags.join(", ")))
        }
        error => error.into(),
    }
}

/// The flag that fills an option.
fn flag(option: &str) -> String {
    let command = Cli::command();
    let mut found =
        command.get_subcommands().flat_map(clap::Command::get_arguments).filter(|arg| arg.get_id() == option);
    found.find_map(clap::Arg::get_long).map_or_else(|| option.to_owned(), |long| format!("--{long}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn typed(line: &[&str]) -> (Cli, BTreeSet<String>) {
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        (Cli::from_arg_matches(&matches).unwrap(), from_environment(&matches))
    }

    #[test]
    fn refused_options_are_named_as_they_are_typed() {
        let error = ConnectorError::ForeignOptions {
            url: "sqlite:a".to_owned(),
            options: vec!["sets".to_owned(), "no_ttl_only".to_owned()],
            role: Role::Source,
            of: Some("aerospike".to_owned()),
        };
        assert_eq!(as_typed(error).to_string(), "--set, --no-ttl-only are for aerospike: sources, not `sqlite:a`");
    }

    #[test]
    fn what_is_typed_does_not_come_from_the_environment() {
        let (_, environment) = typed(&["rekeep", "-r", "x", "backup", "sqlite:a", "--socket-timeout", "3s"]);
        assert!(!environment.contains("socket_timeout") && !environment.contains("repo"));
    }
}
