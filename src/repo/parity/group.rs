//! A whole group: its head with the hash of every block, and its rows.

use super::{
    BLOCK_BYTES,
    code::Encoder,
    outline::{HASH_BYTES, Member, Outline, SUM_BYTES},
    path,
};
use crate::repo::{ObjectName, RepoError, RepoId};
use bytes::Bytes;
use std::ops::Range;

pub(super) type Sum = [u8; SUM_BYTES];

/// What is kept of a block's hash.
pub(super) fn sum(block: &[u8]) -> Sum {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&blake3::hash(block).as_bytes()[..SUM_BYTES]);
    sum
}

/// The part of a group before its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which packs are its members.
    pub outline: Outline,
    sums: Vec<Sum>,
}

impl Head {
    /// Reads the head at the beginning of these bytes.
    ///
    /// # Errors
    /// As of [`Outline::parse`].
    pub fn parse(object: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let outline = Outline::parse(object, bytes)?;
        let (from, to) = (outline.list_bytes(), outline.head_bytes() - HASH_BYTES);
        let Some(hash) = bytes.get(to..to + HASH_BYTES) else {
            return Err(RepoError::damaged(object, "it is cut off"));
        };
        if *blake3::hash(&bytes[..to]).as_bytes() != *hash {
            return Err(RepoError::damaged(object, "the hash of its head does not fit"));
        }
        let sums = bytes[from..to].as_chunks::<SUM_BYTES>().0.to_vec();
        Ok(Self { outline, sums })
    }

    /// Whether this is the block of a member, by its place.
    pub(super) fn is_block(&self, place: usize, column: usize, block: &[u8]) -> bool {
        let before: usize = self.outline.places[..place].iter().flatten().map(Member::blocks).sum();
        self.sums.get(before + column) == Some(&sum(block))
    }

    /// Whether this is the parity block of a row.
    pub(super) fn is_parity(&self, row: usize, column: usize, block: &[u8]) -> bool {
        let columns = self.outline.columns();
        let before = self.sums.len() - self.outline.rows * columns;
        self.sums.get(before + row * columns + column) == Some(&sum(block))
    }

    /// Where blocks of a row lie in the object.
    pub(super) fn range(&self, row: usize, columns: Range<usize>) -> Range<u64> {
        let first = self.outline.head_bytes() + row * self.outline.columns() * BLOCK_BYTES;
        let at = |column: usize| (first + column * BLOCK_BYTES) as u64;
        at(columns.start)..at(columns.end)
    }

    /// The hashes of each member's blocks, by place.
    pub(super) fn sums_by_place(&self) -> Vec<Vec<Sum>> {
        let mut rest = self.sums.as_slice();
        let mut all = Vec::new();
        for place in &self.outline.places {
            let (own, behind) = rest.split_at(place.map_or(0, |member| member.blocks()));
            all.push(own.to_vec());
            rest = behind;
        }
        all
    }
}

/// Puts a group together from its rows, each as long as the longest member, and the hashes of its members' blocks.
pub(super) fn assemble(outline: &Outline, sums: &[Vec<Sum>], rows: &[Vec<u8>]) -> (ObjectName, Vec<u8>) {
    let mut bytes = Vec::with_capacity(outline.bytes() as usize);
    outline.put(&mut bytes);
    for sums in sums {
        bytes.extend_from_slice(sums.as_flattened());
    }
    for row in rows {
        row.chunks_exact(BLOCK_BYTES).for_each(|block| bytes.extend_from_slice(&sum(block)));
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    for row in rows {
        bytes.extend_from_slice(row);
    }
    debug_assert_eq!(bytes.len() as u64, outline.bytes());
    (ObjectName(*blake3::hash(&bytes).as_bytes()), bytes)
}

/// Makes a group of packs whose bytes have been compared with their names; gives its name and what is stored.
pub(super) fn make(
    repo: RepoId,
    rows: usize,
    members: &[(ObjectName, Bytes)],
) -> Result<(ObjectName, Vec<u8>), RepoError> {
    let places = members.iter().map(|(name, bytes)| Some(Member { name: *name, bytes: bytes.len() as u64 }));
    let outline = Outline { repo, rows, places: places.collect() };
    let columns = outline.columns();
    let mut made = vec![Vec::with_capacity(columns * BLOCK_BYTES); rows];
    let mut sums = vec![Vec::new(); members.len()];
    let mut encoder = Encoder::new(members.len(), rows)?;
    for column in 0..columns {
        let blocks: Vec<Option<&[u8]>> =
            members.iter().map(|(_, bytes)| bytes.get(column * BLOCK_BYTES..(column + 1) * BLOCK_BYTES)).collect();
        for (sums, block) in sums.iter_mut().zip(&blocks) {
            sums.extend(block.map(sum));
        }
        encoder.column(blocks.into_iter(), &mut |row, block| made[row].extend_from_slice(block))?;
    }
    Ok(assemble(&outline, &sums, &made))
}

/// Whether a whole group is what it is named by.
pub(super) fn has_name(name: &ObjectName, bytes: &[u8]) -> Result<(), RepoError> {
    if *blake3::hash(bytes).as_bytes() == name.0 {
        Ok(())
    } else {
        Err(RepoError::damaged(path(name), "its bytes do not have the hash that it is named by"))
    }
}
