//! The packs of one look: which `packs/` lists and which the index describes, in 44 bytes each, so that those of 40 TiB take
//! 30 to 120 MB.

use crate::repo::{
    ObjectName, RepoError,
    catalog::{Catalog, PackNumber},
    inner::Inner,
};
use std::collections::{BTreeMap, HashSet};

/// A length that says that a pack is not listed.
const NOT_LISTED: u32 = u32::MAX;

/// A length that says that the pack's is among those of objects longer than any pack.
const LONG: u32 = u32::MAX - 1;

/// A number that says that no index object describes a pack.
const NOT_DESCRIBED: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: ObjectName,
    bytes: u32,
    number: u32,
}

/// Packs by name and by number.
#[derive(Debug, Default)]
pub(super) struct Packs {
    /// By name.
    rows: Vec<Row>,
    /// Where those that are described stand, by their numbers.
    described: Vec<u32>,
    long: BTreeMap<ObjectName, u64>,
}

impl Packs {
    /// Takes a pack that is listed; one may come twice.
    fn list(&mut self, name: ObjectName, bytes: u64) {
        let short = u32::try_from(bytes).ok().filter(|short| *short < LONG);
        if short.is_none() {
            self.long.insert(name, bytes);
        }
        self.rows.push(Row { name, bytes: short.unwrap_or(LONG), number: NOT_DESCRIBED });
    }

    fn sort(&mut self) {
        self.rows.sort_unstable();
        self.rows.dedup_by_key(|row| row.name);
    }

    /// Takes what the catalog describes now; gives the listed packs that have another length than the index says.
    pub fn describe(&mut self, catalog: &Catalog) -> Result<HashSet<ObjectName>, RepoError> {
        let (mut absent, mut odd, mut is_too_high) = (Vec::new(), HashSet::new(), false);
        catalog.for_each_pack(&mut |number, name, bytes| {
            let number = u32::try_from(number.0).unwrap_or(NOT_DESCRIBED);
            is_too_high |= number == NOT_DESCRIBED;
            match self.at(&name) {
                Some(at) => {
                    self.rows[at].number = number;
                    if self.bytes_at(at).is_some_and(|listed| listed != bytes) {
                        odd.insert(name);
                    }
                }
                None => absent.push(Row { name, bytes: NOT_LISTED, number }),
            }
        })?;
        if is_too_high {
            return Err(RepoError::Internal("the catalog numbers packs beyond 2^32".to_owned()));
        }
        self.rows.append(&mut absent);
        self.sort();
        self.rows.shrink_to_fit();
        let described = self.rows.iter().enumerate().filter(|(_, row)| row.number != NOT_DESCRIBED);
        self.described = described.map(|(at, _)| at as u32).collect();
        self.described.sort_unstable_by_key(|at| self.rows[*at as usize].number);
        Ok(odd)
    }

    fn at(&self, name: &ObjectName) -> Option<usize> {
        self.rows.binary_search_by(|row| row.name.cmp(name)).ok()
    }

    fn bytes_at(&self, at: usize) -> Option<u64> {
        match self.rows[at].bytes {
            NOT_LISTED => None,
            LONG => self.long.get(&self.rows[at].name).copied(),
            bytes => Some(u64::from(bytes)),
        }
    }

    /// The length of a pack that is listed.
    pub fn bytes(&self, name: &ObjectName) -> Option<u64> {
        self.at(name).and_then(|at| self.bytes_at(at))
    }

    pub fn is_listed(&self, name: &ObjectName) -> bool {
        self.bytes(name).is_some()
    }

    /// The number of a pack that an index object describes.
    pub fn number(&self, name: &ObjectName) -> Option<PackNumber> {
        let number = self.rows[self.at(name)?].number;
        (number != NOT_DESCRIBED).then_some(PackNumber(i64::from(number)))
    }

    /// The name of a pack that an index object describes.
    pub fn name(&self, number: PackNumber) -> Option<ObjectName> {
        let number = u32::try_from(number.0).ok()?;
        let row = |at: u32| self.rows[at as usize];
        let found = self.described.binary_search_by_key(&number, |at| row(*at).number).ok()?;
        Some(row(self.described[found]).name)
    }

    /// Those that index objects describe, by number.
    pub fn described(&self) -> impl Iterator<Item = (PackNumber, ObjectName)> + '_ {
        let rows = self.described.iter().map(|at| self.rows[*at as usize]);
        rows.map(|row| (PackNumber(i64::from(row.number)), row.name))
    }

    /// Those that are listed, by name, with their lengths.
    pub fn listed(&self) -> impl Iterator<Item = (ObjectName, u64)> + '_ {
        (0..self.rows.len()).filter_map(|at| Some((self.rows[at].name, self.bytes_at(at)?)))
    }
}

impl Inner {
    /// Lists `packs/`.
    pub(super) fn list_packs(&self) -> Result<Packs, RepoError> {
        let mut packs = Packs::default();
        self.for_each_listed_pack(&mut |name, bytes| packs.list(name, bytes))?;
        packs.sort();
        Ok(packs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_are_found_by_name_and_by_number() {
        let name = |n: u8| ObjectName([n; 32]);
        let mut packs = Packs::default();
        for (n, bytes) in [(5, 100), (1, u64::from(LONG)), (3, 0), (5, 100), (4, 1 << 40), (1, u64::from(LONG))] {
            packs.list(name(n), bytes);
        }
        packs.sort();
        packs.rows.push(Row { name: name(9), bytes: NOT_LISTED, number: 2 });
        packs.rows[0].number = 7;
        packs.rows[3].number = 1;
        packs.described = vec![3, 4, 0];
        let listed: Vec<(u8, u64)> = packs.listed().map(|(name, bytes)| (name.0[0], bytes)).collect();
        assert_eq!(listed, [(1, u64::from(LONG)), (3, 0), (4, 1 << 40), (5, 100)]);
        let described: Vec<(i64, u8)> = packs.described().map(|(number, name)| (number.0, name.0[0])).collect();
        assert_eq!(described, [(1, 5), (2, 9), (7, 1)]);
        for (number, n) in described {
            assert_eq!(packs.name(PackNumber(number)), Some(name(n)));
            assert_eq!(packs.number(&name(n)), Some(PackNumber(number)));
        }
        assert_eq!(packs.name(PackNumber(3)), None);
        assert_eq!(packs.name(PackNumber(i64::from(NOT_DESCRIBED))), None);
        assert_eq!(packs.number(&name(3)), None);
        assert!(!packs.is_listed(&name(9)) && !packs.is_listed(&name(2)) && packs.is_listed(&name(3)));
        assert_eq!(size_of::<Row>(), 40);
    }
}
