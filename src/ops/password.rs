//! Changing the password that a repository was opened with, in its two steps.

use super::OpsError;
use crate::{
    repo::{Repository, Unlock, keys::SlotInfo},
    report::{ErrorKind, Remedy},
};

/// The slot whose password is to be changed.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the repository was opened with the recovery key, which stays as it is.
pub fn current_slot(repo: &Repository) -> Result<SlotInfo, OpsError> {
    let current = repo.key_slots()?.into_iter().find(|slot| slot.current && slot.kind == "password");
    current.ok_or_else(|| {
        let words = "the repository was opened without a password, so there is none to change";
        OpsError::refused_unless(Remedy::AddPassword, ErrorKind::Unsupported, words)
    })
}

/// Adds a slot for the new password, and removes the old one once that is durable; gives the new slot's name.
///
/// # Errors
/// [`OpsError::Partly`] if the old slot could not be removed: both passwords work then.
pub fn change(repo: &Repository, old: &SlotInfo, new: &Unlock, label: &str) -> Result<String, OpsError> {
    let name = repo.key_add(new, label)?;
    match repo.key_remove(&old.name) {
        Ok(()) => Ok(name),
        Err(error) => Err(OpsError::Partly(Box::new(error.into()))),
    }
}
