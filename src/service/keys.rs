//! Keys of the interface: random, kept as hashes, bound to what they may and until when. And who asks, once that is known.

use super::config::{KeySettings, ServiceSettings};
use crate::{
    record::Timestamp,
    repo::{RepoError, entropy},
};
use std::sync::Arc;

/// What every key begins with, so that one that leaked is found.
const PREFIX: &str = "rkp_";

/// The context of hashes. A key has 256 random bits: no slow function is needed.
const CONTEXT: &str = "rekeep 2026-11 service api key";

/// The name of somebody of whom nothing is known.
pub const STRANGER: &str = "?";

/// What a key may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// See backups, jobs, metrics, and records.
    Read,
    /// Start and cancel backups.
    Backup,
    /// Start and cancel restores.
    Restore,
    /// Forget backups.
    Delete,
    /// See and change the configuration.
    Configure,
    /// Everything.
    Admin,
}

impl Scope {
    /// By its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "read" => Self::Read,
            "backup" => Self::Backup,
            "restore" => Self::Restore,
            "delete" => Self::Delete,
            "configure" => Self::Configure,
            "admin" => Self::Admin,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Delete => "delete",
            Self::Configure => "configure",
            Self::Admin => "admin",
        }
    }
}

/// Makes a key; gives it and its hash.
///
/// # Errors
/// [`RepoError`] if the system gives no random numbers.
pub fn make() -> Result<(String, String), RepoError> {
    let mut bytes = [0; 32];
    entropy::fill(&mut bytes)?;
    let key = format!("{PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&bytes));
    let hash = hash_of(&key);
    Ok((key, hash))
}

/// The hash of a key, as a configuration holds it.
#[must_use]
pub fn hash_of(key: &str) -> String {
    format!("blake3:{}", blake3::Hash::from(blake3::derive_key(CONTEXT, key.as_bytes())).to_hex())
}

/// Whether a text is the hash of a key.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.strip_prefix("blake3:").is_some_and(|hex| blake3::Hash::from_hex(hex).is_ok())
}

/// Why a key lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No configuration names it.
    #[error("this key is nobody's")]
    Nobodys,
    /// Its time is over.
    #[error("this key has ended")]
    Ended,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// The key's name, the certificate's, or `-` if nobody needs one.
    pub name: Arc<str>,
    key: Option<Arc<KeySettings>>,
}

impl Caller {
    /// Somebody of whom nothing is asked.
    #[must_use]
    pub fn anybody() -> Self {
        Self { name: "-".into(), key: None }
    }

    /// Somebody who may nothing.
    #[must_use]
    pub fn nobody() -> Self {
        Self { name: STRANGER.into(), key: Some(Arc::default()) }
    }

    /// Somebody whose certificate an authority vouches for.
    #[must_use]
    pub fn certified(name: &str) -> Self {
        Self { name: name.into(), key: None }
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn of_key(settings: &ServiceSettings, key: &str, now: Timestamp) -> Result<Self, Unknown> {
        Self::of_hash(settings, &hash_of(key), now)
    }

    /// Whose key has this hash.
    ///
    /// # Errors
    /// As above.
    pub fn of_hash(settings: &ServiceSettings, hash: &str, now: Timestamp) -> Result<Self, Unknown> {
        let parsed = |text: &str| text.strip_prefix("blake3:").and_then(|hex| blake3::Hash::from_hex(hex).ok());
        let wanted = parsed(hash).ok_or(Unknown::Nobodys)?;
        // Hashes are compared in constant time.
        let found = settings.api_keys.iter().find(|(_, settings)| parsed(&settings.hash) == Some(wanted));
        let (name, key) = found.ok_or(Unknown::Nobodys)?;
        let end =
            key.expires.as_deref().map(|text| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond));
        match end {
            Some(Ok(end)) if end > now.as_millis() => {}
            None => {}
            Some(_) => return Err(Unknown::Ended),
        }
        Ok(Self { name: name.as_str().into(), key: Some(Arc::new(key.clone())) })
    }

    /// Whether it may do this at all.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        let Some(key) = &self.key else { return true };
        key.scopes.iter().filter_map(|name| Scope::parse(name)).any(|own| own == scope || own == Scope::Admin)
    }

    /// Whether it may have to do with a routine of this tenant.
    #[must_use]
    pub fn may_routine(&self, routine: &str, tenant: Option<&str>) -> bool {
        let Some(key) = &self.key else { return true };
        (key.routines.is_empty() || key.routines.iter().any(|own| own == routine))
            && key.tenant.as_deref().is_none_or(|own| tenant == Some(own))
    }

    /// What it is bound to: routines, none of them where it may all; and a tenant.
    #[must_use]
    pub fn bounds(&self) -> (&[String], Option<&str>) {
        self.key.as_ref().map_or((&[], None), |key| (key.routines.as_slice(), key.tenant.as_deref()))
    }

    /// Whether it may have to do with all routines.
    #[must_use]
    pub fn may_all_routines(&self) -> bool {
        self.key.as_ref().is_none_or(|key| key.routines.is_empty() && key.tenant.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_until_it_ends_and_may_what_it_was_made_for() {
        let (key, hash) = make().unwrap();
        assert!(key.starts_with(PREFIX) && is_hash(&hash) && !is_hash(&key) && make().unwrap().0 != key);
        let mut settings = ServiceSettings::default();
        let own = KeySettings {
            hash,
            scopes: vec!["read".to_owned()],
            routines: vec!["a".to_owned()],
            tenant: None,
            expires: Some("2026-12-01T00:00:00Z".to_owned()),
        };
        settings.api_keys.insert("one".to_owned(), own);
        let before = Timestamp::from_millis(1_764_000_000_000);
        let caller = Caller::of_key(&settings, &key, before).unwrap();
        assert!(caller.may(Scope::Read) && !caller.may(Scope::Backup) && !caller.may(Scope::Admin));
        assert!(caller.may_routine("a", None) && !caller.may_routine("b", None) && !caller.may_all_routines());
        assert!(Caller::of_key(&settings, &key, Timestamp::from_millis(1_800_000_000_000)).is_err());
        assert!(Caller::of_key(&settings, "rkp_x", before).is_err());
    }
}
