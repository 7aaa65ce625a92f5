//! What this host remembers of opening a far repository: the configuration, which never changes, and the name of the slot that
//! opened it. The slot itself is read each time, so that one that was removed opens nothing; everything that is kept twice is
//! looked at once a day (`docs/far-storage.md`).

use super::{Keyring, assemble, config::Config, config::parse_config, lines, slot, slot::Attempt, slot::Slot};
use crate::{
    record::Timestamp,
    repo::{RepoError, Storage},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// After so long everything is looked at again.
const LOOK_AFTER_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// No such file is longer.
const MAX_BYTES: u64 = 64 * 1024;

/// The file, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    /// When all that is kept twice was looked at and found whole.
    looked: Timestamp,
    /// Both lines of `rekeep.json`.
    config: String,
    /// The name of the slot.
    slot: String,
    /// BLAKE3 of the slot's two lines: no slot ever changes.
    hash: String,
}

/// Where a place is remembered; `None` for places that are near, and where nothing may be kept.
fn file(storage: &Storage, cache_dir: &Path) -> Option<PathBuf> {
    let place = blake3::hash(storage.location().as_bytes()).to_hex();
    (storage.cache_bytes() > 0 && !cache_dir.as_os_str().is_empty())
        .then(|| cache_dir.join(format!("{}.opened", &place[..16])))
}

fn hash_of(slot: &Slot) -> Result<String, RepoError> {
    Ok(blake3::hash(&lines::print(slot)?).to_hex().to_string())
}

impl Remembered {
    /// What is remembered of a place, if that is not too old. What cannot be read is nothing.
    pub fn of(storage: &Storage, cache_dir: &Path, now: Timestamp) -> Option<Self> {
        let file = file(storage, cache_dir)?;
        if fs::metadata(&file).ok()?.len() > MAX_BYTES {
            return None;
        }
        let it: Self = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let age = now.as_millis().checked_sub(it.looked.as_millis())?;
        // A clock that was put back proves nothing.
        (0..LOOK_AFTER_MILLIS).contains(&age).then_some(it)
    }

    /// Remembers what was found whole; what cannot be kept is not kept.
    pub fn keep(storage: &Storage, cache_dir: &Path, now: Timestamp, name: &str, config: &Config, slot: &Slot) {
        let Some(file) = file(storage, cache_dir) else { return };
        let write = || -> Result<(), RepoError> {
            let config = String::from_utf8_lossy(&lines::print(config)?).into_owned();
            let it = Self { looked: now, config, slot: name.to_owned(), hash: hash_of(slot)? };
            let bytes = serde_json::to_vec(&it).map_err(|error| RepoError::Internal(error.to_string()))?;
            replace(&file, &bytes).map_err(|error| RepoError::Internal(error.to_string()))
        };
        let _ = write();
    }

    /// Opens the slot that is remembered, as it lies in storage now; `None` if all has to be looked at after all.
    ///
    /// # Errors
    /// If storage gives no answer.
    pub fn open(&self, storage: &Storage, attempt: &Attempt) -> Result<Option<Keyring>, RepoError> {
        let Ok(config) = parse_config(super::CONFIG, self.config.as_bytes()) else { return Ok(None) };
        let path = slot::path(&self.slot);
        let bytes = match lines::read(storage, &path) {
            Err(RepoError::Missing { .. } | RepoError::Damaged { .. }) => return Ok(None),
            read => read?,
        };
        let same = |slot: &Slot| hash_of(slot).is_ok_and(|hash| hash == self.hash) && attempt.fits(slot);
        let Some(slot) = Slot::parse(&self.slot, &path, &bytes, &config.id).ok().filter(same) else { return Ok(None) };
        let Ok(Some(secrets)) = slot.open(&self.slot, attempt) else { return Ok(None) };
        let opened = assemble(&[config], slot.role, &secrets, self.slot.clone(), Vec::new());
        Ok(opened.ok().filter(|keyring| keyring.warnings().is_empty()))
    }
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = file.with_extension(format!("opened-{}", std::process::id()));
    let made = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, file));
    if made.is_err() {
        let _ = fs::remove_file(temporary);
    }
    made
}
