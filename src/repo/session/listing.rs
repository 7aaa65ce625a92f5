//! What `packs/` lists, held against what index objects describe without holding either: 20 bytes a pack, so 40 TiB of packs
//! take some 50 MiB while they are listed, and a bit each afterwards.

use crate::repo::{
    ObjectName, RepoError,
    catalog::{Catalog, PackNumber},
    pack::PADDING_BYTES,
};

/// As much of a name as tells packs apart: of 10^7 packs two are alike with a chance of 10^-15.
type Front = [u8; 12];

/// The packs that index objects describe, by name.
pub(super) struct Described {
    /// Front of the name, number, and length in units of the padding.
    packs: Vec<(Front, u32, u32)>,
}

fn front(name: &ObjectName) -> Front {
    let mut front = [0; 12];
    front.copy_from_slice(&name.0[..12]);
    front
}

/// A length in units of the padding; `None` for one that no pack has.
fn units(bytes: u64) -> Option<u32> {
    let padding = PADDING_BYTES as u64;
    if bytes.is_multiple_of(padding) { u32::try_from(bytes / padding).ok() } else { None }
}

impl Described {
    /// Those that the catalog holds.
    pub fn of(catalog: &Catalog) -> Result<Self, RepoError> {
        let mut packs = Vec::new();
        catalog.for_each_pack(&mut |number, name, bytes| {
            // What no pack can be is never listed as it should be.
            if let (Ok(number), Some(units)) = (u32::try_from(number.0), units(bytes)) {
                packs.push((front(&name), number, units));
            }
        })?;
        packs.sort_unstable();
        Ok(Self { packs })
    }

    /// The number of a listed pack, if it has the length that it is described with.
    pub fn number(&self, name: &ObjectName, bytes: u64) -> Option<PackNumber> {
        let front = front(name);
        let at = self.packs.partition_point(|(other, _, _)| *other < front);
        let (other, number, units) = self.packs.get(at)?;
        (*other == front && self::units(bytes) == Some(*units)).then_some(PackNumber(i64::from(*number)))
    }

    /// All of them.
    pub fn numbers(&self) -> impl Iterator<Item = PackNumber> + '_ {
        self.packs.iter().map(|(_, number, _)| PackNumber(i64::from(*number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_found_by_its_name_and_its_length() {
        let name = |n: u8| ObjectName([n; 32]);
        let pack = |n: u8, units| (front(&name(n)), u32::from(n), units);
        let described = Described { packs: vec![pack(1, 1), pack(3, 256)] };
        let length = PADDING_BYTES as u64;
        assert_eq!(described.number(&name(1), length), Some(PackNumber(1)));
        assert_eq!(described.number(&name(3), 256 * length), Some(PackNumber(3)));
        assert_eq!(described.number(&name(1), 2 * length), None, "another length");
        assert_eq!(described.number(&name(1), length + 1), None, "no pack's length");
        assert_eq!(described.number(&name(2), length), None);
        assert_eq!(described.number(&name(9), length), None);
        assert_eq!(size_of::<(Front, u32, u32)>(), 20);
    }
}
