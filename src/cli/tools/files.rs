//! How files are compressed and encrypted, as the tools' flags say it.

use super::{
    super::{
        exit::{Failure, usage},
        variable,
    },
    secrets::AgentArgs,
};
use crate::connector::Options;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Flags of both tools.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub struct FileArgs {
    /// `zstd` or `none`; when reading, compression is found by itself
    #[arg(short = 'z', long, value_name = "HOW", ignore_case = true, value_parser = ["zstd", "none"])]
    pub(super) compress: Option<String>,
    /// `aes128`, `aes256` or `none`
    #[arg(short = 'y', long, value_name = "MODE", ignore_case = true, value_parser = ["aes128", "aes256", "none"])]
    encrypt: Option<String>,
    /// The PEM file of the RSA private key
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
    /// The environment variable that holds it, as PEM or base64
    #[arg(long, value_name = "NAME", conflicts_with = "encryption_key_file")]
    encryption_key_env: Option<String>,
    /// `secrets:RESOURCE:KEY` of the secret agent that keeps it
    #[arg(long, value_name = "SECRET", conflicts_with_all = ["encryption_key_file", "encryption_key_env"])]
    encryption_key_secret: Option<String>,
    #[command(flatten)]
    agent: AgentArgs,
}

impl FileArgs {
    /// Adds what the connector knows it by.
    pub(super) fn add_to(&self, options: &mut Options) -> Result<(), Failure> {
        let mode = self.encrypt.as_ref().map(|mode| mode.to_ascii_lowercase()).filter(|mode| mode != "none");
        options.add(&json!({ "encrypt": mode, "encryption_key_file": self.encryption_key_file }))?;
        if let Some(name) = &self.encryption_key_env {
            let key = variable::value(name)
                .ok_or_else(|| usage(format!("--encryption-key-env: there is no variable {name}")))?;
            options.set("encryption_key", key);
        }
        // What was a secret's name is the secret by now.
        match self.encryption_key_secret.as_deref() {
            Some(text) if text.starts_with("secrets:") => {
                return Err(usage("--encryption-key-secret: write secrets:RESOURCE:KEY"));
            }
            Some(key) => options.set("encryption_key", key),
            None => {}
        }
        Ok(())
    }
}
