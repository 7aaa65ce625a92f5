//! From policies to the options of files.

use crate::{
    connector::Options,
    ops::OpsError,
    report::ErrorKind,
    service::config::{Config, Encryption, Policy, SecretAgent, Secrets},
};

/// Another file is begun behind so many MiB, where nothing is said: on disks as the backup service has it, at object stores less,
/// for a file waits on this machine until it is whole.
const FILE_LIMIT_MIB: (u64, u64) = (250, 64);

/// How files are encrypted; `None` for not at all.
fn mode(encryption: &Encryption) -> Result<Option<&'static str>, String> {
    match encryption.mode.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("" | "NONE") => Ok(None),
        Some("AES128") => Ok(Some("aes128")),
        Some("AES256") => Ok(Some("aes256")),
        Some(other) => Err(format!("encryption: mode {other} is none of NONE, AES128, AES256")),
    }
}

/// Whether there is such a mode: a misspelt one would mean something else where files are written.
pub(in crate::service) fn check_mode(encryption: &Encryption) -> Result<(), String> {
    mode(encryption).map(drop)
}

/// Whether files can be encrypted so.
pub(in crate::service) fn check_encryption(encryption: &Encryption) -> Result<(), String> {
    let keys = [encryption.key_file.is_some(), encryption.key_env.is_some(), encryption.key_secret.is_some()];
    match (mode(encryption)?, keys.into_iter().filter(|given| *given).count()) {
        (None, _) | (Some(_), 1) => Ok(()),
        (Some(_), _) => Err("encryption: it needs exactly one of key-file, key-env, key-secret".to_owned()),
    }
}

/// Adds how files are encrypted.
pub(super) fn encrypt(
    config: &Config,
    encryption: Option<&Encryption>,
    agent: (Option<&SecretAgent>, Option<&str>),
    options: &mut Options,
) -> Result<(), OpsError> {
    let wrong = |words: String| OpsError::refused(ErrorKind::InvalidInput, words);
    let Some(encryption) = encryption else { return Ok(()) };
    check_encryption(encryption).map_err(wrong)?;
    let Some(mode) = mode(encryption).map_err(wrong)? else { return Ok(()) };
    options.set("encrypt", mode);
    if let Some(file) = &encryption.key_file {
        options.set("encryption_key_file", file.clone());
    }
    if let Some(name) = &encryption.key_env {
        let key = std::env::var(name);
        options.set(
            "encryption_key",
            key.map_err(|_| wrong(format!("encryption: the environment variable {name} is not set, or is no text")))?,
        );
    }
    if let Some(secret) = &encryption.key_secret {
        let secrets = Secrets::new(config, agent.0, agent.1).map_err(wrong)?;
        options.set("encryption_key", secrets.get(&secret.0).map_err(wrong)?);
    }
    Ok(())
}

/// How files are compressed, as their metadata calls it.
pub(super) fn compression(policy: &Policy) -> Option<String> {
    let mode = policy.compression.as_ref()?.mode.as_deref()?;
    mode.eq_ignore_ascii_case("ZSTD").then(|| "ZSTD".to_owned())
}

/// How they are encrypted, as their metadata calls it.
pub(super) fn encryption(policy: &Policy) -> Option<String> {
    let mode = mode(policy.encryption.as_ref()?).ok()??;
    Some(mode.to_ascii_uppercase())
}

/// How files are written.
pub(super) fn write(policy: &Policy, is_far: bool, options: &mut Options) {
    options.set("layout", "service");
    options.set("keep_files", true);
    options.set("put_early", is_far);
    let usual = if is_far { FILE_LIMIT_MIB.1 } else { FILE_LIMIT_MIB.0 };
    let limit = policy.file_limit.filter(|limit| *limit > 0).unwrap_or(usual);
    options.set("file_limit", limit.saturating_mul(1 << 20));
    if policy.compact == Some(true) {
        options.set("compact", true);
    }
    if compression(policy).is_some() {
        options.set("compress", "zstd");
        let level = policy.compression.as_ref().and_then(|it| it.level).filter(|level| *level > 0);
        if let Some(level) = level {
            options.set("compression_level", level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_needs_one_key_and_a_mode_that_is_known() {
        let of = |mode: &str, file: bool, env: bool| {
            check_encryption(&Encryption {
                mode: Some(mode.to_owned()),
                key_file: file.then(|| "f".to_owned()),
                key_env: env.then(|| "e".to_owned()),
                key_secret: None,
            })
        };
        assert!(
            of("NONE", false, false).is_ok() && of("aes256", true, false).is_ok() && of("AES128", false, true).is_ok()
        );
        assert!(
            of("AES256", false, false).is_err() && of("AES256", true, true).is_err() && of("DES", true, false).is_err()
        );
    }
}
