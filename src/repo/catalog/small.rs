//! The small tables: notes, chunk numbers of layers, and when a lease's newest heartbeat was first seen.

use super::{Catalog, PackNumber, lookup::chunk_number};
use crate::{
    record::{
        Timestamp,
        bytes::{Reader, put_u64},
    },
    repo::{ChunkId, ObjectName, RepoError, SnapshotId},
};
use rusqlite::{OptionalExtension, params};

impl Catalog {
    /// A note.
    pub fn note(&self, name: &str) -> Result<Option<String>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT value FROM notes WHERE name = ?1")?;
            statement.query_row(params![name], |row| row.get(0)).optional()
        })
    }

    /// Keeps a note.
    pub fn set_note(&self, name: &str, value: &str) -> Result<(), RepoError> {
        self.write(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO notes (name, value) VALUES (?1, ?2)")?
                .execute(params![name, value])?;
            Ok(())
        })
    }

    /// The names and values of all notes whose names begin so.
    pub fn notes(&self, prefix: &str) -> Result<Vec<(String, String)>, RepoError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT name, value FROM notes WHERE substr(name, 1, length(?1)) = ?1")?;
            statement.query_map(params![prefix], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Forgets a note.
    pub fn forget_note(&self, name: &str) -> Result<(), RepoError> {
        self.write(|connection| {
            connection.prepare_cached("DELETE FROM notes WHERE name = ?1")?.execute(params![name])?;
            Ok(())
        })
    }

    /// The numbers of a layer's chunks, ascending, if they were kept.
    pub fn layer_chunks(&self, layer: &ChunkId) -> Result<Option<Vec<u64>>, RepoError> {
        let blob: Option<Vec<u8>> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT chunks FROM layers WHERE id = ?1")?;
            statement.query_row(params![layer.0], |row| row.get(0)).optional()
        })?;
        let Some(blob) = blob else { return Ok(None) };
        Ok(Some(decode_numbers(&blob).map_err(|reason| self.failed(reason))?))
    }

    /// Keeps the numbers of a layer's chunks, the layer's lists included. Gives `false`, and keeps nothing, if one of
    /// them has no number because no index object ever named it.
    pub fn set_layer_chunks(&self, layer: &ChunkId, chunks: &[ChunkId]) -> Result<bool, RepoError> {
        self.write(|connection| {
            let mut numbers = Vec::with_capacity(chunks.len());
            for id in chunks {
                match chunk_number(connection, id)? {
                    Some(number) => numbers.push(number),
                    None => return Ok(false),
                }
            }
            connection
                .prepare_cached("INSERT OR REPLACE INTO layers (id, chunks) VALUES (?1, ?2)")?
                .execute(params![layer.0, encode_numbers(&mut numbers)])?;
            Ok(true)
        })
    }

    /// Packs that together hold every chunk of a layer, its lists included, if they were kept; each that an index object still
    /// describes with its name. `None` as well if one of them is in no index object any more.
    pub fn layer_packs(&self, layer: &ChunkId) -> Result<Option<Vec<(PackNumber, ObjectName)>>, RepoError> {
        self.read(|connection| {
            let mut numbers = Vec::new();
            let blob: Option<Vec<u8>> = connection
                .prepare_cached("SELECT packs FROM layer_packs WHERE id = ?1")?
                .query_row(params![layer.0], |row| row.get(0))
                .optional()?;
            let Some(blob) = blob else { return Ok(None) };
            for_each_number(&blob, &mut |number| numbers.push(number)).map_err(|reason| super::spoilt(&reason))?;
            let mut name = connection.prepare_cached("SELECT name FROM packs WHERE num = ?1")?;
            let mut packs = Vec::with_capacity(numbers.len());
            for number in &numbers {
                let number = number.cast_signed();
                match name.query_row(params![number], |row| row.get(0)).optional()? {
                    Some(name) => packs.push((PackNumber(number), ObjectName(name))),
                    None => return Ok(None),
                }
            }
            Ok(Some(packs))
        })
    }

    /// Keeps the packs that hold a layer.
    pub fn set_layer_packs(
        &self,
        layer: &ChunkId,
        packs: impl IntoIterator<Item = PackNumber>,
    ) -> Result<(), RepoError> {
        let mut numbers: Vec<u64> = packs.into_iter().map(|pack| pack.0.cast_unsigned()).collect();
        let blob = encode_numbers(&mut numbers);
        self.write(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO layer_packs (id, packs) VALUES (?1, ?2)")?
                .execute(params![layer.0, blob])?;
            Ok(())
        })
    }

    /// When this catalog first saw a lease's newest object; remembers `now` if that is news. What cannot be remembered counts
    /// as seen just now: that waits longer, and no more.
    pub fn lease_first_seen(&self, lease: &SnapshotId, newest: u64, now: Timestamp) -> Result<Timestamp, RepoError> {
        match self.see_lease(lease, newest, now) {
            Err(RepoError::Catalog { .. }) => {
                let seen: Option<i64> = self.read(|connection| {
                    connection
                        .prepare_cached("SELECT first_seen FROM leases WHERE id = ?1 AND newest >= ?2")?
                        .query_row(params![lease.0, newest.cast_signed()], |row| row.get(0))
                        .optional()
                })?;
                Ok(seen.map_or(now, Timestamp::from_millis))
            }
            seen => seen,
        }
    }

    fn see_lease(&self, lease: &SnapshotId, newest: u64, now: Timestamp) -> Result<Timestamp, RepoError> {
        self.write(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO leases (id, newest, first_seen) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE
                     SET newest = excluded.newest, first_seen = excluded.first_seen WHERE excluded.newest > newest",
                )?
                .execute(params![lease.0, newest.cast_signed(), now.as_millis()])?;
            connection
                .prepare_cached("SELECT first_seen FROM leases WHERE id = ?1")?
                .query_row(params![lease.0], |row| row.get(0).map(Timestamp::from_millis))
        })
    }

    /// Forgets a lease that has ended.
    pub fn forget_lease(&self, lease: &SnapshotId) -> Result<(), RepoError> {
        self.write(|connection| {
            connection.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute(params![lease.0])?;
            Ok(())
        })
    }
}

/// Sorted, each number as its distance from the one before.
pub(super) fn encode_numbers(numbers: &mut Vec<u64>) -> Vec<u8> {
    numbers.sort_unstable();
    numbers.dedup();
    let mut blob = Vec::with_capacity(numbers.len() * 2);
    let mut last = 0;
    for &number in numbers.iter() {
        put_u64(&mut blob, number - last);
        last = number;
    }
    blob
}

fn decode_numbers(blob: &[u8]) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for_each_number(blob, &mut |number| numbers.push(number))?;
    Ok(numbers)
}

pub(super) fn for_each_number(blob: &[u8], visit: &mut dyn FnMut(u64)) -> Result<(), String> {
    let mut reader = Reader::new(blob);
    let mut last = 0_u64;
    while !reader.is_empty() {
        let step = reader.u64("a chunk number").map_err(|error| error.to_string())?;
        last = last.checked_add(step).ok_or("a chunk number is out of range")?;
        visit(last);
    }
    Ok(())
}
