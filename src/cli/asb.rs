//! What only files of Aerospike's backup tools understand, as it is typed.

use super::{
    agent::secret_of_path,
    exit::{Failure, usage},
    password::printed_by,
    units::parse_size,
    variable,
};
use crate::{
    connector::Options,
    ops::select::parse_time,
    record::{Clock as _, SystemClock},
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// The longest private key that is taken.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// How files are encrypted. Fields are named like the connector's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Aerospike backup files (asb:)")]
pub struct AsbCipherArgs {
    /// How the files are encrypted
    #[arg(long, value_name = "MODE")]
    pub encrypt: Option<EncryptMode>,
    /// Take the RSA private key that they are encrypted with from this PEM file, or from a secret agent (secrets:RESOURCE:KEY)
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    pub encryption_key_file: Option<PathBuf>,
    /// Take it from this environment variable: PEM, or base64 of it
    #[arg(long, value_name = "NAME", requires = "encrypt", conflicts_with = "encryption_key_file")]
    #[serde(skip)]
    pub encryption_key_env: Option<String>,
    /// Take it from what a shell command prints
    #[arg(long, value_name = "COMMAND", requires = "encrypt", conflicts_with_all = ["encryption_key_file", "encryption_key_env"])]
    #[serde(skip)]
    pub encryption_key_command: Option<String>,
}

/// How long the key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EncryptMode {
    /// 128 bits.
    Aes128,
    /// 256 bits.
    Aes256,
}

impl AsbCipherArgs {
    /// Adds the same as the connector takes it.
    pub(crate) fn add_to(&self, options: &mut Options) -> Result<(), Failure> {
        let secret = self.encryption_key_file.as_deref().map_or(Ok(None), secret_of_path)?;
        match secret {
            // It is not a file's name.
            Some(key) => {
                options.add(&Self { encryption_key_file: None, ..self.clone() })?;
                options.set("encryption_key", key.as_str());
            }
            None => options.add(self)?,
        }
        if let Some(name) = &self.encryption_key_env {
            let key = variable::value(name)
                .ok_or_else(|| usage(format!("--encryption-key-env: there is no variable {name}")))?;
            options.set("encryption_key", key);
        }
        if let Some(command) = &self.encryption_key_command {
            let key = printed_by(command, "the encryption key command", MAX_KEY_BYTES)?;
            let key =
                String::from_utf8(key).map_err(|_| usage("what the encryption key command printed is no text"))?;
            options.set("encryption_key", key);
        }
        Ok(())
    }
}

/// Options of `asb:` sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Aerospike backup files (asb:)")]
pub struct AsbReadArgs {
    /// How they are encrypted.
    #[command(flatten)]
    #[serde(skip)]
    pub cipher: AsbCipherArgs,
    /// Go on behind what is damaged: keep what is whole, name what is lost (exit status 3)
    #[arg(long)]
    pub salvage: bool,
    /// The time that the files' records are of [default: when they were written]
    #[arg(long, value_name = "TIME")]
    #[serde(skip)]
    pub as_of: Option<String>,
}

impl AsbReadArgs {
    /// Adds the same as the connector takes it.
    pub(crate) fn add_to(&self, options: &mut Options) -> Result<(), Failure> {
        options.add(self)?;
        if let Some(text) = &self.as_of {
            options.set("as_of", parse_time(text, SystemClock.now())?.as_millis());
        }
        self.cipher.add_to(options)
    }
}

/// Options of `asb:` targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Aerospike backup files (asb:)")]
pub struct AsbWriteArgs {
    /// How they are encrypted.
    #[command(flatten)]
    #[serde(skip)]
    pub cipher: AsbCipherArgs,
    /// Begin another file once one has this size; 0 for never [default: 250MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub file_limit: Option<u64>,
    /// What the names of the files begin with [default: the namespace]
    #[arg(long, value_name = "PREFIX")]
    pub output_file_prefix: Option<String>,
    /// Write bytes as they are, not in base64
    #[arg(long)]
    pub compact: bool,
    /// Compress the files
    #[arg(long, value_name = "HOW")]
    pub compress: Option<CompressHow>,
    /// How hard [default: 3]
    #[arg(long, value_name = "LEVEL", requires = "compress", value_parser = clap::value_parser!(i32).range(-7..=22))]
    pub compression_level: Option<i32>,
    /// Where indexes and UDF modules go [default: first-file]
    #[arg(long, value_name = "WHERE")]
    pub layout: Option<LayoutWhere>,
    /// Write in this version of the format [default: the lowest that can say it all, from 3.1]
    #[arg(long, value_name = "VERSION", value_parser = ["3.0", "3.1", "3.2", "3.3"])]
    pub compat: Option<String>,
    /// Be done all the same where the format cannot carry something; it is left out and named
    #[arg(long)]
    pub lossy_ok: bool,
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressHow {
    /// As one frame.
    Zstd,
    /// Not at all.
    None,
}

/// Where indexes and modules go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutWhere {
    /// The beginning of the first file, as asbackup does.
    FirstFile,
    /// A file of their own, as absctl does.
    Metadata,
}

impl AsbWriteArgs {
    /// Adds the same as the connector takes it.
    pub(crate) fn add_to(&self, options: &mut Options) -> Result<(), Failure> {
        options.add(self)?;
        self.cipher.add_to(options)
    }
}
