//! Arguments that several commands share.

use super::{typed, units};
use crate::ops::Narrow;
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use std::path::PathBuf;

/// What every command takes.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// The repository: a path or a URI such as `s3://BUCKET/PREFIX` (docs/storage.md)
    #[arg(short = 'r', long, global = true, value_name = "REPO", env = "REKEEP_REPOSITORY", help_heading = "Global")]
    pub repo: Option<String>,
    /// An option of the repository's storage, as in its URI: -o region=eu-central-1 (repeatable)
    #[arg(
        short = 'o',
        long = "option",
        global = true,
        value_name = "KEY=VALUE",
        value_parser = parse_option,
        help_heading = "Global"
    )]
    pub options: Vec<(String, String)>,
    /// Requests at once to the repository's storage
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=256),
        help_heading = "Global"
    )]
    pub connections: u16,
    /// Print the result as one JSON document, and progress, warnings and errors as JSON lines on standard error
    #[arg(long, global = true, help_heading = "Global")]
    pub json: bool,
    /// Show no progress and no summary
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub quiet: bool,
    /// Tell of each stretch of work what it came to and how long it took
    #[arg(short, long, global = true, help_heading = "Global")]
    pub verbose: bool,
    /// Read the password from a file [env: `REKEEP_PASSWORD_FILE`; or the password itself in `REKEEP_PASSWORD`]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password_command", help_heading = "Global")]
    pub password_file: Option<PathBuf>,
    /// Take the password from what a shell command prints [env: `REKEEP_PASSWORD_COMMAND`]
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Global")]
    pub password_command: Option<String>,
    /// Unlock with the recovery key, read from a file or asked for
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = ["password_file", "password_command"],
        help_heading = "Global"
    )]
    pub recovery_key: Option<Option<PathBuf>>,
    /// Unlock with a key that this shell command keeps: it reads one line of base64 and prints one, wrapped or unwrapped as
    /// `REKEEP_KEY_ACTION` says [env: `REKEEP_KEY_COMMAND`]
    #[arg(
        long,
        global = true,
        value_name = "COMMAND",
        conflicts_with_all = ["password_file", "password_command", "recovery_key"],
        help_heading = "Global"
    )]
    pub key_command: Option<String>,
    /// Unlock with a key that a service keeps: `aws-kms:KEY?region=R`, `azure-key-vault:https://VAULT.vault.azure.net/keys/NAME`,
    /// `gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K`, `vault:https://HOST:8200/MOUNT/NAME` [env: `REKEEP_KEY_SERVICE`]
    #[arg(
        long,
        global = true,
        value_name = "SERVICE",
        conflicts_with_all = ["password_file", "password_command", "recovery_key", "key_command"],
        help_heading = "Global"
    )]
    pub key_service: Option<String>,
    /// Where catalogs lie [default: `$XDG_CACHE_HOME/rekeep` or `~/.cache/rekeep`]
    #[arg(long, global = true, value_name = "DIR", env = "REKEEP_CACHE_DIR", help_heading = "Global")]
    pub cache_dir: Option<PathBuf>,
    /// Keep at most this much of what is read again and again from storage behind a service (default 10GiB)
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        value_parser = units::parse_size,
        env = "REKEEP_CACHE_SIZE",
        help_heading = "Global"
    )]
    pub cache_size: Option<u64>,
    /// Keep nothing of it, and use nothing that is kept, whatever `--cache-size` says (catalogs are needed all the same)
    #[arg(long, global = true, help_heading = "Global")]
    pub no_cache: bool,
    /// Read at most this many bytes a second (10M, 1.5MiB)
    #[arg(long, global = true, value_name = "RATE", value_parser = units::parse_rate, help_heading = "Global")]
    pub read_limit: Option<u64>,
    /// Write at most this many bytes a second (10M, 1.5MiB)
    #[arg(long, global = true, value_name = "RATE", value_parser = units::parse_rate, help_heading = "Global")]
    pub write_limit: Option<u64>,
}

/// What unlocks a second repository.
#[derive(Debug, Clone, Default, Args)]
pub struct OtherPassword {
    /// The password of the repository that is copied to, in a file [env: `REKEEP_TO_PASSWORD_FILE`; or the password itself in
    /// `REKEEP_TO_PASSWORD`; else it is asked for]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to_password_command", "to_recovery_key", "to_key_command", "to_key_service"])]
    pub to_password_file: Option<PathBuf>,
    /// The same from what a shell command prints [env: `REKEEP_TO_PASSWORD_COMMAND`]
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["to_recovery_key", "to_key_command", "to_key_service"])]
    pub to_password_command: Option<String>,
    /// Its recovery key, in a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to_key_command", "to_key_service"])]
    pub to_recovery_key: Option<PathBuf>,
    /// Its key that a shell command keeps [env: `REKEEP_TO_KEY_COMMAND`]
    #[arg(long, value_name = "COMMAND", conflicts_with = "to_key_service")]
    pub to_key_command: Option<String>,
    /// Its key that a service keeps [env: `REKEEP_TO_KEY_SERVICE`]
    #[arg(long, value_name = "SERVICE")]
    pub to_key_service: Option<String>,
}

/// Narrows snapshots to a source, a host, tags.
#[derive(Debug, Clone, Default, Args)]
pub struct NarrowArgs {
    /// Only snapshots of this source: its name or its URL
    #[arg(long, value_name = "SOURCE", value_parser = OsStringValueParser::new().map(typed::url))]
    pub source: Option<String>,
    /// Only snapshots taken on this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Only snapshots with this tag (repeatable: with all of them)
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Only snapshots of this scope: `everything`, its words as `snapshots` shows them, or the first digits of its hash
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// Only complete snapshots
    #[arg(long)]
    pub complete: bool,
    /// Only snapshots of which everything is there: of a copy that storage makes by itself, or after a loss. Each that is not is named
    #[arg(long)]
    pub whole: bool,
}

impl NarrowArgs {
    /// The same as the verbs take it.
    #[must_use]
    pub fn narrow(&self) -> Narrow {
        Narrow {
            source: self.source.clone(),
            host: self.host.clone(),
            tags: self.tags.clone(),
            scope: self.scope.clone(),
            complete: self.complete,
            whole: self.whole,
        }
    }
}

/// `KEY=VALUE`. What was given instead may be a secret: it is not repeated.
fn parse_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an option is KEY=VALUE".to_owned()),
    }
}
