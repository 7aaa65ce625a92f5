//! The packs that index objects describe, in brief: 20 bytes a pack, so 40 TiB of packs take some 50 MiB while what `packs/` lists
//! is held against them, and a bit each afterwards.

use super::{Catalog, PackNumber};
use crate::repo::{ObjectName, RepoError, pack::PADDING_BYTES};

/// As much of a name as tells packs apart: of 10^7 packs two are alike with a chance of 10^-15.
type Front = [u8; 12];

/// Packs by the front of their names: their numbers and lengths.
pub struct KnownPacks {
    packs: Vec<(Front, u32, u32)>,
}

fn front(name: &ObjectName) -> Front {
    let mut front = [0; 12];
    front.copy_from_slice(&name.0[..12]);
    front
}

/// A length; of what is longer than any pack, one that no pack has.
fn short(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl KnownPacks {
    /// Those that the catalog holds.
    pub fn of(catalog: &Catalog) -> Result<Self, RepoError> {
        let mut packs = Vec::new();
        catalog.for_each_pack(&mut |number, name, bytes| {
            if let Ok(number) = u32::try_from(number.0) {
                packs.push((front(&name), number, short(bytes)));
            }
        })?;
        packs.sort_unstable();
        Ok(Self { packs })
    }

    /// Where a pack stands among them, and whether it is described with this length.
    pub fn find(&self, name: &ObjectName, bytes: u64) -> Option<(usize, bool)> {
        let front = front(name);
        let at = self.packs.partition_point(|(other, _, _)| *other < front);
        let (other, _, described) = self.packs.get(at)?;
        (*other == front).then_some((at, short(bytes) == *described))
    }

    /// The number of a listed pack, if it has the length that it is described with, and one that a pack can have.
    pub fn number(&self, name: &ObjectName, bytes: u64) -> Option<PackNumber> {
        let (at, is_as_long) = self.find(name, bytes)?;
        let is_possible = is_as_long && bytes.is_multiple_of(PADDING_BYTES as u64);
        is_possible.then(|| PackNumber(i64::from(self.packs[at].1)))
    }

    /// All of them.
    pub fn numbers(&self) -> impl Iterator<Item = PackNumber> + '_ {
        self.packs.iter().map(|(_, number, _)| PackNumber(i64::from(*number)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.packs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_found_by_its_name_and_its_length() {
        let name = |n: u8| ObjectName([n; 32]);
        let length = PADDING_BYTES as u64;
        let pack = |n: u8, bytes| (front(&name(n)), u32::from(n), short(bytes));
        let known = KnownPacks { packs: vec![pack(1, length), pack(3, 256 * length), pack(4, 100), pack(5, 1 << 40)] };
        assert_eq!(known.number(&name(1), length), Some(PackNumber(1)));
        assert_eq!(known.number(&name(3), 256 * length), Some(PackNumber(3)));
        assert_eq!(known.number(&name(1), 2 * length), None, "another length");
        assert_eq!(known.find(&name(1), 2 * length), Some((0, false)));
        assert_eq!(known.number(&name(4), 100), None, "no pack's length");
        assert_eq!(known.find(&name(4), 100), Some((2, true)));
        assert_eq!(known.find(&name(5), length), Some((3, false)), "longer than any pack");
        assert_eq!(known.find(&name(2), length), None);
        assert_eq!(known.find(&name(9), length), None);
        assert_eq!(size_of::<(Front, u32, u32)>(), 20);
    }
}
