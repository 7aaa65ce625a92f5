//! What is noted of layers: the numbers of their chunks, the packs that hold them, and filters of their keys.

use super::{Catalog, PackNumber, lookup::chunk_number};
use crate::{
    record::bytes::{Reader, put_u64},
    repo::{ChunkId, ObjectName, RepoError},
};
use rusqlite::{OptionalExtension, params};
use std::collections::HashSet;

impl Catalog {
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

    /// Visits the numbers of a layer's chunks; `false` if they were not kept.
    pub fn for_each_layer_chunk(&self, layer: &ChunkId, visit: &mut dyn FnMut(u64)) -> Result<bool, RepoError> {
        let blob: Option<Vec<u8>> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT chunks FROM layers WHERE id = ?1")?;
            statement.query_row(params![layer.0], |row| row.get(0)).optional()
        })?;
        let Some(blob) = blob else { return Ok(false) };
        for_each_number(&blob, visit).map_err(|reason| self.failed(reason))?;
        Ok(true)
    }

    /// Whether the numbers of a layer's chunks are kept.
    pub fn knows_layer(&self, layer: &ChunkId) -> Result<bool, RepoError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM layers WHERE id = ?1)")?
                .query_row(params![layer.0], |row| row.get(0))
        })
    }

    /// Keeps the numbers of some layers' chunks, in one go.
    pub fn set_layer_numbers(&self, layers: &mut [(ChunkId, Vec<u64>)]) -> Result<(), RepoError> {
        if layers.is_empty() {
            return Ok(());
        }
        let blobs: Vec<_> = layers.iter_mut().map(|(layer, numbers)| (*layer, encode_numbers(numbers))).collect();
        self.write(|connection| {
            let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO layers (id, chunks) VALUES (?1, ?2)")?;
            for (layer, blob) in &blobs {
                insert.execute(params![layer.0, blob])?;
            }
            Ok(())
        })
    }

    /// The filter of a layer's keys, if one was kept.
    pub fn layer_filter(&self, layer: &ChunkId) -> Result<Option<Vec<u8>>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT filter FROM layer_keys WHERE id = ?1")?;
            statement.query_row(params![layer.0], |row| row.get(0)).optional()
        })
    }

    /// Keeps the filter of a layer's keys.
    pub fn set_layer_filter(&self, layer: &ChunkId, filter: &[u8]) -> Result<(), RepoError> {
        self.set_layer_filters(&[(*layer, filter.to_vec())])
    }

    /// Keeps filters of some layers' keys, in one go.
    pub fn set_layer_filters(&self, filters: &[(ChunkId, Vec<u8>)]) -> Result<(), RepoError> {
        self.write(|connection| {
            let mut insert =
                connection.prepare_cached("INSERT OR REPLACE INTO layer_keys (id, filter) VALUES (?1, ?2)")?;
            for (layer, filter) in filters {
                insert.execute(params![layer.0, filter])?;
            }
            Ok(())
        })
    }

    /// Forgets what is noted of all layers but these.
    pub fn keep_layers(&self, keep: &HashSet<ChunkId>) -> Result<(), RepoError> {
        for table in ["layers", "layer_keys", "layer_packs"] {
            let known: Vec<ChunkId> = self.read(|connection| {
                let mut statement = connection.prepare_cached(&format!("SELECT id FROM {table}"))?;
                statement.query_map([], |row| row.get(0).map(ChunkId))?.collect()
            })?;
            let gone: Vec<ChunkId> = known.into_iter().filter(|layer| !keep.contains(layer)).collect();
            if gone.is_empty() {
                continue;
            }
            self.write(|connection| {
                let mut statement = connection.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?;
                for layer in &gone {
                    statement.execute(params![layer.0])?;
                }
                Ok(())
            })?;
        }
        Ok(())
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
