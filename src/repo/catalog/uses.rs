//! What lies in every pack, one blob a pack: the numbers of its chunks and their stored lengths, about four bytes a chunk. A
//! pruner looks at all places several times; ten million rows of a table take seconds each time, these blobs a tenth of one.

use super::{Catalog, PackNumber, spoilt};
use crate::{
    record::bytes::{DecodeError, Reader, put_u64, unzigzag, zigzag},
    repo::RepoError,
};

/// One place, as much of it as counting needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceUse {
    /// The pack.
    pub pack: PackNumber,
    /// The chunk's number.
    pub chunk: u64,
    /// The frame's length.
    pub stored_len: u32,
}

/// Makes a pack's blob.
#[derive(Default)]
pub(super) struct Encoder {
    blob: Vec<u8>,
    last: i64,
}

impl Encoder {
    /// Adds the next chunk. Chunks are numbered in the order of their packs: mostly the next number follows.
    pub fn add(&mut self, chunk: u64, stored_len: u32) {
        let chunk = chunk.cast_signed();
        put_u64(&mut self.blob, zigzag(chunk.wrapping_sub(self.last)));
        put_u64(&mut self.blob, u64::from(stored_len));
        self.last = chunk;
    }

    /// The blob, after which the next pack begins.
    pub fn take(&mut self) -> Vec<u8> {
        self.last = 0;
        std::mem::take(&mut self.blob)
    }
}

fn decode(pack: PackNumber, blob: &[u8], visit: &mut dyn FnMut(PlaceUse)) -> Result<(), DecodeError> {
    let mut reader = Reader::new(blob);
    let mut last = 0_i64;
    while !reader.is_empty() {
        last = last.wrapping_add(unzigzag(reader.u64("a chunk number")?));
        visit(PlaceUse { pack, chunk: last.cast_unsigned(), stored_len: reader.u32("a stored length")? });
    }
    Ok(())
}

impl Catalog {
    /// Every place of every pack, pack by pack.
    pub fn for_each_place(&self, visit: &mut dyn FnMut(PlaceUse)) -> Result<(), RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT pack, uses FROM pack_uses ORDER BY pack")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let blob = row.get_ref(1)?.as_blob()?;
                decode(PackNumber(row.get(0)?), blob, visit).map_err(|error| spoilt(&error.to_string()))?;
            }
            Ok(())
        })
    }
}
