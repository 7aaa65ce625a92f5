//! What `packs/` lists, held against what index objects describe, without holding either.

use super::Repository;
use crate::repo::{ObjectName, RepoError, catalog::KnownPacks, names};
use std::collections::HashMap;

/// How the two stand to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacksListed {
    /// How many packs index objects describe.
    pub described: u64,
    /// Those of them that are not listed.
    pub missing: Vec<ObjectName>,
    /// Those that are listed with another length: the length in the listing, and the one in the index.
    pub odd: Vec<(ObjectName, u64, u64)>,
}

impl Repository {
    /// Lists `packs/` and holds it against what is described now. Packs are stored before the index object that describes them, so
    /// that none that is just being made seems to be missing; one that a prune just deletes may.
    pub fn packs_listed(&self) -> Result<PacksListed, RepoError> {
        let inner = &self.inner;
        let known = KnownPacks::of(&inner.catalog)?;
        let mut seen = vec![false; known.count()];
        let mut odd = HashMap::new();
        inner.storage.list_pages("packs/", &mut |page| {
            for object in page {
                let Some(name) = names::parse_pack(&object.name) else { continue };
                if let Some((at, is_as_long)) = known.find(&name, object.bytes)
                    && !std::mem::replace(&mut seen[at], true)
                    && !is_as_long
                {
                    odd.insert(name, object.bytes);
                }
            }
        })?;
        let mut listed = PacksListed { described: known.count() as u64, ..PacksListed::default() };
        // What another process has described meanwhile counts next time.
        inner.catalog.for_each_pack(&mut |_, name, bytes| match known.find(&name, bytes) {
            Some((at, _)) if !seen[at] => listed.missing.push(name),
            Some(_) => listed.odd.extend(odd.get(&name).map(|found| (name, *found, bytes))),
            None => {}
        })?;
        Ok(listed)
    }
}
