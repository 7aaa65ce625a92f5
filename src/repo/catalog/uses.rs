//! What lies in every pack, one blob a pack: the numbers of its chunks and their stored lengths, about four bytes a chunk. A
//! pruner looks at all places several times; ten million rows of a table take seconds each time, these blobs a tenth of one.

use super::{Catalog, PackNumber, spoilt};
use crate::{
    record::bytes::{DecodeError, Reader, put_u64, unzigzag, zigzag},
    repo::RepoError,
};
use rusqlite::{Connection, params};

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

/// Packs that an import brought and that have no blob yet.
const FRESH: &str = "
SELECT s.real FROM stage_packs s WHERE s.real IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pack_uses u WHERE u.pack = s.real)
ORDER BY s.real";

/// Makes the blobs of the packs that are staged and merged.
pub(super) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let fresh: Vec<i64> = connection.prepare(FRESH)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut places =
        connection.prepare_cached("SELECT chunk, stored_len FROM places WHERE pack = ?1 ORDER BY ordinal")?;
    let mut insert = connection.prepare_cached("INSERT INTO pack_uses (pack, uses) VALUES (?1, ?2)")?;
    let mut blob = Vec::new();
    for pack in fresh {
        blob.clear();
        let mut last = 0_i64;
        let mut rows = places.query(params![pack])?;
        while let Some(row) = rows.next()? {
            let (chunk, stored_len): (i64, u32) = (row.get(0)?, row.get(1)?);
            // Chunks are numbered in the order of their packs: mostly the next number follows.
            put_u64(&mut blob, zigzag(chunk.wrapping_sub(last)));
            put_u64(&mut blob, u64::from(stored_len));
            last = chunk;
        }
        insert.execute(params![pack, blob])?;
    }
    Ok(())
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
