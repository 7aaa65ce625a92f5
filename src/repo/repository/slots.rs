//! Who may open a repository: its key slots.

use super::Repository;
use crate::repo::{
    RecoveryKey, RepoError, Unlock,
    keys::{self, KdfParams, Role, SlotInfo},
};

impl Repository {
    /// The key slots.
    pub fn key_slots(&self) -> Result<Vec<SlotInfo>, RepoError> {
        keys::slots(&self.inner.storage, &self.inner.keyring)
    }

    /// Adds a slot of an administrator for another password; gives its name.
    pub fn key_add(&self, password: &Unlock, label: &str) -> Result<String, RepoError> {
        self.key_add_role(password, Role::Admin, label)
    }

    /// Adds a slot of some role for another password, or for a service; gives its name.
    pub fn key_add_role(&self, unlock: &Unlock, role: Role, label: &str) -> Result<String, RepoError> {
        let (storage, keyring) = (&self.inner.storage, &self.inner.keyring);
        keys::both_are_folders(storage)?;
        keys::add_slot(storage, keyring, unlock, role, KdfParams::STANDARD, label, self.inner.clock.now())
    }

    /// Begins a new key epoch: what is written from now on by those who open one of the new slots cannot be read with any
    /// slot made before. Gives the name of the new slot for `unlock`, and a new recovery key.
    pub fn key_begin_epoch(&self, unlock: &Unlock, label: &str) -> Result<(String, RecoveryKey), RepoError> {
        let (storage, keyring) = (&self.inner.storage, &self.inner.keyring);
        keys::both_are_folders(storage)?;
        keys::begin_epoch(storage, keyring, unlock, KdfParams::STANDARD, label, self.inner.clock.now())
    }

    /// Removes a slot by a prefix of its name; refuses the last one.
    pub fn key_remove(&self, name: &str) -> Result<(), RepoError> {
        keys::remove_slot(&self.inner.storage, &self.inner.keyring, name)
    }
}
