//! The first part of a group: which packs are its members. It has a hash of its own, so that it can be believed alone.

use super::{BLOCK_BYTES, MAX_GROUP_BYTES};
use crate::{
    record::bytes::{DecodeError, Reader},
    repo::{ObjectName, RepoError, RepoId, object, pack::MAX_PACK_BYTES, registry::Registry},
};
use std::collections::HashSet;

pub(super) const MAGIC: &[u8; 8] = b"RKEEPPAR";
pub(super) const VERSION: u16 = 1;
pub(super) const CODE: u8 = 1;
const FIXED_BYTES: usize = 64;
const PLACE_BYTES: usize = 40;
pub(super) const HASH_BYTES: usize = 32;
/// Of the hash of a block so much is kept.
pub(super) const SUM_BYTES: usize = 16;

/// Places and rows at most.
pub(super) const MOST: usize = 255;

/// So many bytes hold the list of any group.
pub(super) const MAX_LIST_BYTES: u64 = (FIXED_BYTES + MOST * PLACE_BYTES + HASH_BYTES) as u64;

/// A pack in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: ObjectName,
    /// Its length.
    pub bytes: u64,
}

impl Member {
    pub(super) const fn blocks(&self) -> usize {
        self.bytes as usize / BLOCK_BYTES
    }
}

/// What a group says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The repository that its members are of.
    pub repo: RepoId,
    /// Its rows: so many blocks of a column may be lost.
    pub rows: usize,
    /// Its members, each at its place; those that went have left theirs empty.
    pub places: Vec<Option<Member>>,
}

impl Outline {
    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.places.iter().flatten()
    }

    /// Where a pack stands.
    pub(super) fn place_of(&self, pack: &ObjectName) -> Option<usize> {
        self.places.iter().position(|place| place.is_some_and(|member| member.name == *pack))
    }

    /// The blocks of the longest member.
    pub(super) fn columns(&self) -> usize {
        self.members().map(Member::blocks).max().unwrap_or(0)
    }

    /// How many hashes of blocks the head has.
    pub(super) fn sums(&self) -> usize {
        self.members().map(Member::blocks).sum::<usize>() + self.rows * self.columns()
    }

    pub(super) fn list_bytes(&self) -> usize {
        FIXED_BYTES + self.places.len() * PLACE_BYTES + HASH_BYTES
    }

    pub(super) fn head_bytes(&self) -> usize {
        self.list_bytes() + self.sums() * SUM_BYTES + HASH_BYTES
    }

    /// The length of the whole group.
    pub(super) fn bytes(&self) -> u64 {
        (self.head_bytes() + self.rows * self.columns() * BLOCK_BYTES) as u64
    }

    /// The list as it is stored.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[CODE, 0]);
        out.extend_from_slice(&(self.places.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.rows as u16).to_le_bytes());
        out.extend_from_slice(&self.repo.0);
        out.extend_from_slice(&(self.columns() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 28]);
        for place in &self.places {
            out.extend_from_slice(&place.map_or([0; 32], |member| member.name.0));
            out.extend_from_slice(&place.map_or(0, |member| member.bytes).to_le_bytes());
        }
        let hash = blake3::hash(out);
        out.extend_from_slice(hash.as_bytes());
    }

    /// Reads the list at the beginning of these bytes.
    ///
    /// # Errors
    /// [`RepoError::Damaged`]; [`RepoError::NewerFormat`]; [`RepoError::UnknownFeature`] of another code.
    pub fn parse(object: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let Some((start, _)) = bytes.split_first_chunk::<11>() else {
            return Err(RepoError::damaged(object, "it is cut off"));
        };
        if start[..8] != *MAGIC {
            return Err(RepoError::damaged(object, "it is no group"));
        }
        object::check_version(object, u16::from_le_bytes([start[8], start[9]]), VERSION)?;
        if start[10] != CODE {
            return Err(Registry::ParityCode.unknown(object, start[10]));
        }
        let outline = Self::fields(bytes).map_err(|error| RepoError::damaged(object, error))?;
        if outline.bytes() > MAX_GROUP_BYTES {
            return Err(RepoError::damaged(object, "it would be longer than any may be"));
        }
        Ok(outline)
    }

    fn fields(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.take(11, "the header")?;
        if reader.u8("the header")? != 0 {
            return Err(DecodeError::Invalid("a zero field"));
        }
        let [places, rows] = [reader.array::<2>("the header")?, reader.array::<2>("the header")?]
            .map(|number| usize::from(u16::from_le_bytes(number)));
        if !(1..=MOST).contains(&places) || !(1..=MOST).contains(&rows) {
            return Err(DecodeError::Invalid("the number of places or rows"));
        }
        let repo = RepoId(reader.array("the repository id")?);
        let columns = u32::from_le_bytes(reader.array("the columns")?);
        if reader.array::<28>("the header")? != [0; 28] {
            return Err(DecodeError::Invalid("a zero field"));
        }
        let mut outline = Self { repo, rows, places: Vec::with_capacity(places) };
        let mut names = HashSet::new();
        for _ in 0..places {
            let name = ObjectName(reader.array("a member's name")?);
            let bytes = u64::from_le_bytes(reader.array("a member's length")?);
            if name.0 == [0; 32] && bytes == 0 {
                outline.places.push(None);
                continue;
            }
            let is_possible = bytes > 0 && bytes <= MAX_PACK_BYTES as u64 && bytes % BLOCK_BYTES as u64 == 0;
            if !is_possible || !names.insert(name) {
                return Err(DecodeError::Invalid("a member"));
            }
            outline.places.push(Some(Member { name, bytes }));
        }
        if outline.columns() == 0 || outline.columns() != columns as usize {
            return Err(DecodeError::Invalid("the number of columns"));
        }
        let listed = outline.list_bytes() - HASH_BYTES;
        if blake3::hash(&bytes[..listed]) != blake3::Hash::from_bytes(reader.array("the hash of the list")?) {
            return Err(DecodeError::Invalid("the hash of the list"));
        }
        Ok(outline)
    }
}
