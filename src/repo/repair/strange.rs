//! What lies where no object belongs and hides what may be there: a copy of an object goes, all else is named for a person.

use super::{Repaired, Repository};
use crate::{
    repo::{RepoError, error::HIDES, inner, keys::FOLDERS, object},
    report::{Trouble, TroubleKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// Something that no repair takes away.
pub(super) fn hides(name: &str) -> Trouble {
    Trouble::new(TroubleKind::Hides, name, format!("{name} {HIDES}"))
}

impl Repository {
    /// What hides objects in these folders, named anew.
    pub(super) fn hidden(&self, folders: &[&str]) -> Result<BTreeSet<String>, RepoError> {
        self.inner.forget_hidden();
        for folder in folders {
            self.inner.list_pages(folder, &mut |_| {})?;
        }
        Ok(inner::lock(&self.inner.strange).hidden.clone())
    }

    /// Takes away copies of objects under names that are none; names what else hides objects.
    pub(super) fn clear_hidden(&self, done: &mut Repaired) -> Result<(), RepoError> {
        let mut copies = BTreeMap::new();
        for name in self.hidden(&FOLDERS)? {
            match object::read(&self.inner.storage, &name) {
                Ok(bytes) if object::is_one(&bytes) => drop(copies.insert(name, bytes)),
                Err(RepoError::Missing { .. }) => {}
                Err(error) if !error.is_of_one_object() => return Err(error),
                _ => done.lost.push(hides(&name)),
            }
        }
        if copies.is_empty() {
            return Ok(());
        }
        let mut alike = Vec::new();
        for folder in FOLDERS {
            self.inner.list_pages(folder, &mut |page| {
                let lengths = |bytes| copies.values().any(|copy| copy.len() as u64 == bytes);
                alike.extend(page.into_iter().filter(|object| lengths(object.bytes)));
            })?;
        }
        for (name, bytes) in copies {
            let mut is_copy = false;
            for object in alike.iter().filter(|object| object.bytes == bytes.len() as u64) {
                is_copy = is_copy || object::read(&self.inner.storage, &object.name).is_ok_and(|it| it == bytes);
            }
            if !is_copy {
                done.lost.push(hides(&name));
                continue;
            }
            if !done.dry_run {
                self.inner.storage.delete(&name)?;
            }
            done.removed.push(name);
        }
        Ok(())
    }
}
