//! Taking packs out of the index: new index objects for what stays, durable, before the old ones are deleted.

use super::{
    Pruner,
    view::{Homes, View},
};
use crate::repo::{
    ObjectName, RepoError,
    faults::{self, Rule},
    index::{self, IndexedPack},
    names, object,
};
use std::collections::HashSet;

/// How many chunks one new index object describes, roughly.
const MAX_ENTRIES: usize = 100_000;

impl Pruner {
    /// Takes these packs out of the index, and with them those that are gone and that no mark names. Gives how many
    /// index objects were deleted.
    pub(super) fn reindex(&self, view: &View, homes: &Homes, doomed: &HashSet<ObjectName>) -> Result<u64, RepoError> {
        let mut leaving: Vec<ObjectName> = doomed.iter().copied().collect();
        // What the index says of a lost pack is all that says what is lost with it.
        let mut kept: HashSet<ObjectName> = HashSet::new();
        if self.inner.storage.promises().prompt_listing {
            for (number, name) in view.packs.described().filter(|(_, name)| !view.packs.is_listed(name)) {
                if view.is_damaged(&name) && self.inner.is_missed(view, homes, number)? {
                    kept.insert(name);
                } else if !view.marked.contains(&name) {
                    leaving.push(name);
                }
            }
        }
        let naming = self.inner.catalog.index_objects_naming(&leaving)?;
        let mut old: Vec<ObjectName> = naming.intersection(&view.index).copied().collect();
        old.sort_unstable();
        if old.is_empty() {
            return Ok(0);
        }
        if faults::is_broken(Rule::NewIndexFirst) {
            self.delete_index_objects(&old)?;
        }
        self.describe_what_stays(view, &kept, doomed, &old)?;
        self.delete_index_objects(&old)?;
        Ok(old.len() as u64)
    }

    fn describe_what_stays(
        &self,
        view: &View,
        kept: &HashSet<ObjectName>,
        doomed: &HashSet<ObjectName>,
        old: &[ObjectName],
    ) -> Result<(), RepoError> {
        let mut described = HashSet::new();
        let mut packs: Vec<IndexedPack> = Vec::new();
        let mut entries = 0;
        let wanted = old.iter().map(|name| (name, names::index_path(name), 0));
        for (name, begun) in object::read_each(&self.inner.storage, wanted) {
            let bytes = match begun.get() {
                Ok(bytes) => bytes,
                // Someone else was first: what it described stands in his new objects.
                Err(RepoError::Missing { .. }) => continue,
                Err(error) => return Err(error),
            };
            for pack in index::open(&self.inner.keyring, name, &bytes)? {
                let stays = view.packs.is_listed(&pack.name)
                    || kept.contains(&pack.name)
                    || !self.inner.storage.promises().prompt_listing;
                if stays && !doomed.contains(&pack.name) && described.insert(pack.name) {
                    entries += pack.entries.len();
                    packs.push(pack);
                }
            }
            if entries >= MAX_ENTRIES {
                self.create_index(&packs)?;
                packs.clear();
                entries = 0;
            }
        }
        self.create_index(&packs)
    }

    fn create_index(&self, packs: &[IndexedPack]) -> Result<(), RepoError> {
        if packs.is_empty() {
            return Ok(());
        }
        let (name, bytes) = index::seal(&self.inner.keyring, packs)?;
        // The name is the hash of these bytes: whatever has it holds them.
        self.inner.storage.create(&names::index_path(&name), &bytes)?;
        Ok(())
    }

    fn delete_index_objects(&self, objects: &[ObjectName]) -> Result<(), RepoError> {
        let names: Vec<String> = objects.iter().map(names::index_path).collect();
        self.inner.storage.delete_each(&names).into_iter().collect()
    }
}
