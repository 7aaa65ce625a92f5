//! How a cluster is reached, as it is typed: the same for reading and for writing.

use super::{
    exit::{Failure, usage},
    password::{from_command, from_file},
    units::parse_duration,
    variable,
};
use crate::connector::{Options, options::Length};
use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use std::{path::PathBuf, time::Duration};

/// How to reach a cluster. Fields are named like the connector's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Aerospike")]
pub struct ConnectArgs {
    /// How long a node may be silent [default: 10s]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_SOCKET_TIMEOUT", value_parser = parse_duration)]
    #[serde(serialize_with = "length")]
    pub socket_timeout: Option<Duration>,
    /// How long one command may take [default: for ever]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_TOTAL_TIMEOUT", value_parser = parse_duration)]
    #[serde(serialize_with = "length")]
    pub total_timeout: Option<Duration>,
    /// How often a command is tried again [default: 5]
    #[arg(long, value_name = "N", env = "REKEEP_AS_MAX_RETRIES")]
    pub max_retries: Option<u32>,
    /// How long a partition may make no progress before it counts as missing [default: 10m]
    #[arg(long, value_name = "TIME", env = "REKEEP_AS_PARTITION_TIMEOUT", value_parser = parse_duration)]
    #[serde(serialize_with = "length")]
    pub partition_timeout: Option<Duration>,
    /// Use the nodes' alternate addresses
    #[arg(long, env = "REKEEP_AS_SERVICES_ALTERNATE")]
    pub services_alternate: bool,
    /// Log in as this user
    #[arg(long, value_name = "USER", env = "REKEEP_AS_USER")]
    pub as_user: Option<String>,
    /// Take that user's password from a file, or from a secret agent (secrets:RESOURCE:KEY; see `REKEEP_SECRET_AGENT`)
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_PASSWORD_FILE")]
    #[serde(skip)]
    pub as_password_file: Option<PathBuf>,
    /// Take it from what a shell command prints
    #[arg(long, value_name = "COMMAND", env = "REKEEP_AS_PASSWORD_COMMAND", conflicts_with = "as_password_file")]
    #[serde(skip)]
    pub as_password_command: Option<String>,
    /// Take it from this environment variable [default: `REKEEP_AS_PASSWORD`]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["as_password_file", "as_password_command"])]
    #[serde(skip)]
    pub as_password_env: Option<String>,
    /// How whoever logs in is known [default: internal]
    #[arg(long, value_name = "MODE", env = "REKEEP_AS_AUTH", ignore_case = true)]
    pub as_auth: Option<Auth>,
    /// Connect by TLS
    #[arg(long, env = "REKEEP_AS_TLS")]
    pub tls: bool,
    /// The name that the nodes' certificates bear (implies --tls)
    #[arg(long, value_name = "NAME", env = "REKEEP_AS_TLS_NAME")]
    pub tls_name: Option<String>,
    /// Trust the authorities in this file, not those of the system (implies --tls)
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// Trust the authorities in the files of this folder (implies --tls)
    #[arg(long, value_name = "DIR", env = "REKEEP_AS_TLS_CA_PATH")]
    pub tls_ca_path: Option<PathBuf>,
    /// Our own certificate (implies --tls)
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,
    /// Take what that key is encrypted with from a file, or from a secret agent [default: `REKEEP_AS_TLS_KEY_PASSWORD`, if it is set]
    #[arg(long, value_name = "FILE", env = "REKEEP_AS_TLS_KEY_PASSWORD_FILE")]
    #[serde(skip)]
    pub tls_key_password_file: Option<PathBuf>,
    /// Take it from what a shell command prints
    #[arg(
        long,
        value_name = "COMMAND",
        env = "REKEEP_AS_TLS_KEY_PASSWORD_COMMAND",
        conflicts_with = "tls_key_password_file"
    )]
    #[serde(skip)]
    pub tls_key_password_command: Option<String>,
    /// Versions of TLS that may be spoken, such as `TLSv1.3` or `-all +TLSv1.2` [default: 1.2 and 1.3]
    #[arg(long, value_name = "LIST", env = "REKEEP_AS_TLS_PROTOCOLS", allow_hyphen_values = true)]
    pub tls_protocols: Option<String>,
    /// Cipher suites that may be used, by IANA's or OpenSSL's names, with colons between
    #[arg(long, value_name = "LIST", env = "REKEEP_AS_TLS_CIPHER_SUITES")]
    pub tls_cipher_suites: Option<String>,
}

/// How whoever logs in is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// By a password that the cluster keeps.
    Internal,
    /// By a password that a directory keeps; under TLS only.
    External,
    /// The same without TLS: whoever listens reads the password.
    ExternalInsecure,
    /// By our certificate.
    Pki,
}

/// A length of time as an option.
#[expect(clippy::ref_option, reason = "this is the shape that serde calls")]
pub(super) fn length<S: Serializer>(length: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    length.map(Length).serialize(serializer)
}

impl ConnectArgs {
    /// Gets the password of the user that logs in, if one does.
    pub(super) fn add_password(&self, options: &mut Options) -> Result<(), Failure> {
        let key_password = match (&self.tls_key_password_file, &self.tls_key_password_command) {
            (Some(file), _) => Some(from_file(file)?),
            (_, Some(command)) => Some(from_command(command)?),
            (None, None) => variable::value("REKEEP_AS_TLS_KEY_PASSWORD").filter(|_| self.tls_key_file.is_some()),
        };
        if let Some(password) = key_password {
            options.set("tls_key_password", password);
        }
        if self.as_user.is_none() {
            return Ok(());
        }
        let password = match (&self.as_password_file, &self.as_password_command) {
            (Some(file), _) => from_file(file)?,
            (_, Some(command)) => from_command(command)?,
            (None, None) => {
                let name = self.as_password_env.as_deref().unwrap_or("REKEEP_AS_PASSWORD");
                variable::value(name).ok_or_else(|| {
                    usage(format!(
                        "--as-user needs a password: --as-password-file, --as-password-command, or the variable {name}"
                    ))
                })?
            }
        };
        options.set("as_password", password);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_password_is_told_where_to_put_it() {
        let args = ConnectArgs {
            as_user: Some("joe".into()),
            as_password_env: Some("REKEEP_TEST_NO_SUCH_VARIABLE".into()),
            ..ConnectArgs::default()
        };
        let error = args.add_password(&mut Options::default()).err().unwrap().to_string();
        assert!(error.contains("--as-password-file"), "{error}");
    }
}
