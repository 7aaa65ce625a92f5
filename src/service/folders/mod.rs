//! Storages that hold files as the backup service writes them (`format: asb`), and no repository: `docs/asb-storage.md`. `run` writes,
//! `listing` shows, `restore` brings back, `keep` lets go.

mod keep;
mod listing;
mod options;
mod restore;
mod run;

pub(super) use keep::keep;
pub(super) use listing::listed;
pub(super) use options::{check_encryption, check_mode};
pub(super) use restore::{Chain, FilesPlan, carry_out, chain, one};
pub(super) use run::{Run, back_up, clear};

use super::{
    config::{Config, Routine, Storage},
    places::placed,
};
use crate::{
    connector::asb::shelf::{Kept, Shelf},
    ops::OpsError,
    record::Timestamp,
    report::ErrorKind,
};

/// The folder of a run that holds what the nodes ran with.
const CONFIGURATION: &str = "configuration";

/// Files with their names.
pub(super) type Named = Vec<(String, Vec<u8>)>;

/// A storage of files.
pub(super) struct Folders {
    /// Its name in the configuration.
    name: String,
    shelf: Shelf,
}

impl Folders {
    /// The storage of a routine, if it is one of files.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it cannot be reached so.
    pub(super) fn of_routine(config: &Config, routine: &Routine) -> Result<Option<Self>, OpsError> {
        let named = routine.storage.as_ref().and_then(|name| config.storage.get_key_value(name));
        let files = named.filter(|(_, storage)| storage.is_of_files());
        files.map(|(name, storage)| Self::open(config, name, storage)).transpose()
    }

    /// A storage of files by its name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it cannot be reached so.
    pub(super) fn open(config: &Config, name: &str, storage: &Storage) -> Result<Self, OpsError> {
        let placed = placed(config, storage, None);
        let (location, options) =
            placed.map_err(|words| OpsError::refused(ErrorKind::InvalidInput, format!("storage {name}: {words}")))?;
        Ok(Self { name: name.to_owned(), shelf: Shelf::open(&location, &options)? })
    }

    /// What the full backup of a routine that began at a time holds of the cluster's configuration; `None` if there is no such backup.
    ///
    /// # Errors
    /// What the storage says.
    pub(super) fn configuration(&self, routine: &str, time: Timestamp) -> Result<Option<Named>, OpsError> {
        let kept = self.kept(routine)?;
        let Some(one) = kept.iter().find(|kept| kept.metadata.created == time.as_millis()) else { return Ok(None) };
        let folder = format!("{}/{CONFIGURATION}", one.run);
        let mut files = Vec::new();
        for name in self.shelf.files(&folder)?.into_iter().filter(|name| name.starts_with("aerospike_")) {
            if let Some(bytes) = self.shelf.read(&format!("{folder}/{name}"))? {
                files.push((name, bytes));
            }
        }
        Ok(Some(files))
    }

    /// The backups of a routine, oldest first.
    ///
    /// # Errors
    /// What the storage says.
    pub(super) fn kept(&self, routine: &str) -> Result<Vec<Kept>, OpsError> {
        Ok(self.shelf.kept(routine)?)
    }
}
