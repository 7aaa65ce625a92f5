//! What was typed. One definition of each flag yields its parser, its help, its manual page and its completion.

use super::{commands::Command, common::GlobalArgs};
use clap::Parser;
use std::sync::LazyLock;

/// This version, and that of the SQLite which reads and writes databases.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    #[cfg(feature = "sqlite")]
    let sqlite = crate::connector::sqlite::version();
    #[cfg(not(feature = "sqlite"))]
    let sqlite = rusqlite::version();
    format!("{}, SQLite {sqlite}", env!("CARGO_PKG_VERSION"))
});

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "rekeep",
    version = VERSION.as_str(),
    about = "Keeps every state of a database of records: encrypted, deduplicated, provably restorable",
    after_help = "SNAPSHOT is an id or the first digits of one, `latest`, `latest~N`, or `@TIME` (@2026-11-20T10:00:00Z, \
                  @2026-11-20, @1700000000000, '@2 hours ago').\n\
                  SOURCE and TARGET are URLs: sqlite:FILE[?table=NAME], files:DIRECTORY, deeplake:DIRECTORY, jsonl:FILE, jsonl:-, asb:PATH,\n\
                  aerospike://HOST[:PORT][,HOST…][/NAMESPACE], postgresql://[USER@]HOST[:PORT]/DATABASE[?schema=NAME][?table=NAME]\n\
                  KEY is typed: int:5, str:abc, hex:00ff, f64:1.5, joined by commas; a path for files (or hex:HEX, str:PATH as shown); for Aerospike\n\
                  SET/int:5, SET/str:abc, /int:5 (no set), digest:HEX.\n\n\
                  Exit status: 0 done, 1 failed, 2 usage, 3 done but incomplete, 4 done but it changed meanwhile, 10 no repository, 11 locked, \
                  12 wrong password, 130 interrupted."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_option_stands_under_no_heading_of_others() {
        let command = Cli::command();
        for (path, option) in [
            ("backup", "skip_if_unchanged"),
            ("backup", "resume"),
            ("backup", "temp_dir"),
            ("restore", "host"),
            ("restore", "tags"),
            #[cfg(feature = "postgresql")]
            ("atlas fetch", "file"),
            #[cfg(feature = "postgresql")]
            ("atlas clean-transactions", "dry_run"),
        ] {
            let mut found = &command;
            for name in path.split(' ') {
                found = found.find_subcommand(name).unwrap();
            }
            let argument = found.get_arguments().find(|argument| argument.get_id() == option).unwrap();
            assert_eq!(argument.get_help_heading(), None, "{path}: {option}");
        }
    }

    #[test]
    fn the_repository_may_stand_before_or_after_the_command() {
        for line in [["rekeep", "-r", "x", "snapshots"], ["rekeep", "snapshots", "-r", "x"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.repo.as_deref(), Some("x"));
        }
    }
}
