//! Looking at everything: what lies in which pack. What a pruner asks, without a query for
//! each chunk.

use super::{Catalog, ChunkPlace, PackNumber, lookup};
use crate::repo::{ChunkId, ObjectName, RepoError};
use rusqlite::{OptionalExtension, params};
use std::collections::HashSet;

impl Catalog {
    /// The numbers of a pack's chunks, by ordinal: all of them.
    pub fn pack_chunks(&self, pack: PackNumber) -> Result<Vec<u64>, RepoError> {
        let chunks: Vec<u64> = self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT chunk FROM places WHERE pack = ?1 ORDER BY ordinal")?;
            statement.query_map(params![pack.0], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))?.collect()
        })?;
        self.are_all(pack, chunks.len())?;
        Ok(chunks)
    }

    /// Whether so many chunks are all that a pack's index object gave it. They are not if another process has dropped the
    /// pack since it was counted: then nothing may be concluded from what is not there.
    fn are_all(&self, pack: PackNumber, found: usize) -> Result<(), RepoError> {
        let expected: Option<i64> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT chunks FROM packs WHERE num = ?1")?;
            statement.query_row(params![pack.0], |row| row.get(0)).optional()
        })?;
        if expected.is_some_and(|expected| usize::try_from(expected) == Ok(found)) {
            return Ok(());
        }
        Err(RepoError::CatalogChanged)
    }

    /// A pack's chunks with their numbers and places, by ordinal: all of them.
    pub fn pack_places(&self, pack: PackNumber) -> Result<Vec<(u64, ChunkPlace)>, RepoError> {
        let places: Vec<(u64, ChunkPlace)> = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT l.pack, l.ordinal, l.kind, l.start, l.stored_len, l.plain_len, p.name, p.header, c.id, c.num
                 FROM places l JOIN packs p ON p.num = l.pack JOIN chunks c ON c.num = l.chunk
                 WHERE l.pack = ?1 ORDER BY l.ordinal",
            )?;
            let places = statement.query_map(params![pack.0], |row| {
                let id = ChunkId(row.get(8)?);
                Ok((row.get::<_, i64>(9)?.cast_unsigned(), lookup::place(row, &id)?))
            })?;
            places.collect()
        })?;
        self.are_all(pack, places.len())?;
        Ok(places)
    }

    /// Which of these index objects name any of these packs.
    pub fn index_objects_naming(&self, packs: &[ObjectName]) -> Result<HashSet<ObjectName>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT o.name FROM packs p JOIN pack_homes h ON h.pack = p.num JOIN index_objects o ON o.num = h.index_num
                 WHERE p.name = ?1",
            )?;
            let mut objects = HashSet::new();
            for pack in packs {
                for object in statement.query_map(params![pack.0], |row| row.get(0).map(ObjectName))? {
                    objects.insert(object?);
                }
            }
            Ok(objects)
        })
    }

    /// A chunk's name by its number.
    pub fn chunk_id(&self, number: u64) -> Result<Option<ChunkId>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM chunks WHERE num = ?1")?;
            statement.query_row(params![number.cast_signed()], |row| row.get(0).map(ChunkId)).optional()
        })
    }

    /// Forgets when these were first seen, and all others that are not in `keep`.
    pub fn keep_leases(&self, keep: &HashSet<[u8; 16]>) -> Result<(), RepoError> {
        let known: Vec<[u8; 16]> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM leases")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })?;
        let gone: Vec<[u8; 16]> = known.into_iter().filter(|lease| !keep.contains(lease)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.write(|connection| {
            let mut statement = connection.prepare_cached("DELETE FROM leases WHERE id = ?1")?;
            for lease in &gone {
                statement.execute(params![lease])?;
            }
            Ok(())
        })
    }
}
