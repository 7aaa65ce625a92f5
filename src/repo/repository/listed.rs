//! What `packs/` lists, held against what index objects describe, without holding either.

use super::Repository;
use crate::repo::{
    ObjectName, RepoError,
    catalog::{Catalog, KnownPacks},
    names,
};
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

/// A listing of `packs/` that is held, page by page, against what was described when it began. Packs are stored before the index
/// object that describes them, so that none that is just being made seems to be missing; one that a prune just deletes may.
pub(super) struct Held {
    known: KnownPacks,
    seen: Vec<bool>,
    odd: HashMap<ObjectName, u64>,
}

impl Held {
    pub(super) fn begin(catalog: &Catalog) -> Result<Self, RepoError> {
        let known = KnownPacks::of(catalog)?;
        Ok(Self { seen: vec![false; known.count()], known, odd: HashMap::new() })
    }

    /// Takes note of a pack that is listed; says whether it is described. It may come twice.
    pub(super) fn lists(&mut self, name: ObjectName, bytes: u64) -> bool {
        let Some((at, is_as_long)) = self.known.find(&name, bytes) else { return false };
        if !std::mem::replace(&mut self.seen[at], true) && !is_as_long {
            self.odd.insert(name, bytes);
        }
        true
    }

    pub(super) fn end(self, catalog: &Catalog) -> Result<PacksListed, RepoError> {
        let mut listed = PacksListed { described: self.known.count() as u64, ..PacksListed::default() };
        // What another process has described meanwhile counts next time.
        catalog.for_each_pack(&mut |_, name, bytes| match self.known.find(&name, bytes) {
            Some((at, _)) if !self.seen[at] => listed.missing.push(name),
            Some(_) => listed.odd.extend(self.odd.get(&name).map(|found| (name, *found, bytes))),
            None => {}
        })?;
        Ok(listed)
    }
}

impl Repository {
    /// Lists `packs/` and holds it against what is described now.
    pub fn packs_listed(&self) -> Result<PacksListed, RepoError> {
        let inner = &self.inner;
        let mut held = Held::begin(&inner.catalog)?;
        inner.storage.list_pages("packs/", &mut |page| {
            for object in page {
                if let Some(name) = names::parse_pack(&object.name) {
                    held.lists(name, object.bytes);
                }
            }
        })?;
        held.end(&inner.catalog)
    }
}
