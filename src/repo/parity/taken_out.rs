//! Taking members out of a group by what goes alone: the code is linear, so what a member added to the rows is added once more.

use super::{
    BLOCK_BYTES,
    code::Encoder,
    group::{Head, Sum, assemble, has_name},
    outline::Outline,
    path,
    rebuild::read_whole,
    shelf::Shelved,
};
use crate::repo::{ObjectName, RepoError, Storage, object};

/// A group in memory, of which members are taken out.
pub struct TakenOut {
    outline: Outline,
    sums: Vec<Vec<Sum>>,
    rows: Vec<Vec<u8>>,
    encoder: Encoder,
}

impl TakenOut {
    /// Reads a group whole.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] if it is not what its name says.
    pub fn of(storage: &Storage, group: &Shelved) -> Result<Self, RepoError> {
        let path = path(&group.name);
        let bytes = object::read(storage, &path)?;
        has_name(&group.name, &bytes)?;
        let head = Head::parse(&path, &bytes)?;
        if head.outline.bytes() != bytes.len() as u64 {
            return Err(RepoError::damaged(path, "it has another length than it says"));
        }
        let row_bytes = head.outline.columns() * BLOCK_BYTES;
        let rows = bytes[head.outline.head_bytes()..].chunks_exact(row_bytes).map(<[u8]>::to_vec).collect();
        let encoder = Encoder::new(head.outline.places.len(), head.outline.rows)?;
        Ok(Self { sums: head.sums_by_place(), outline: head.outline, rows, encoder })
    }

    /// Takes a member out, reading it whole.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] if it is not what its name says; then this is good for nothing any more.
    pub fn take_out(&mut self, storage: &Storage, name: &ObjectName) -> Result<(), RepoError> {
        let Some(place) = self.outline.place_of(name) else { return Ok(()) };
        let bytes = read_whole(storage, name)?;
        let places = self.outline.places.len();
        for (column, block) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
            let blocks = (0..places).map(|other| (other == place).then_some(block));
            let rows = &mut self.rows;
            self.encoder.column(blocks, &mut |row, added| {
                let there = &mut rows[row][column * BLOCK_BYTES..(column + 1) * BLOCK_BYTES];
                there.iter_mut().zip(added).for_each(|(there, added)| *there ^= added);
            })?;
        }
        self.outline.places[place] = None;
        self.sums[place].clear();
        Ok(())
    }

    /// The group without them; `None` if nobody is left.
    pub fn finish(mut self) -> Option<(ObjectName, Vec<u8>, Outline)> {
        let columns = self.outline.columns();
        if columns == 0 {
            return None;
        }
        // What lies behind the longest that is left is zeros.
        self.rows.iter_mut().for_each(|row| row.truncate(columns * BLOCK_BYTES));
        let (name, bytes) = assemble(&self.outline, &self.sums, &self.rows);
        Some((name, bytes, self.outline))
    }
}
