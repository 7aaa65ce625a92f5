//! Making the catalog equal to the listed index objects. What is new is gathered in batches, which takes no lock on the file;
//! each batch then enters in one short transaction, the last one together with what goes.
//!
//! Inserting hash keys in random order collapses after a few million rows. So chunks are numbered in the order of their
//! packs, which appends to every table but one, and enter the table of prefixes in the order of their prefixes.

use super::{Catalog, lookup, uses, write_in};
use crate::repo::{ObjectName, RepoError, index::IndexedPack, pack::PackEntry};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// How many places one batch holds, or a few more: about 56 MB as they come, 32 MB for what is worked out about them.
const BATCH_PLACES: usize = 1 << 20;

const DROP_HOMELESS: &str = "
DELETE FROM places WHERE pack IN (SELECT num FROM packs WHERE num NOT IN (SELECT pack FROM pack_homes));
DELETE FROM pack_uses WHERE pack IN (SELECT num FROM packs WHERE num NOT IN (SELECT pack FROM pack_homes));
DELETE FROM packs WHERE num NOT IN (SELECT pack FROM pack_homes);
";

/// What is to change in the catalog.
#[derive(Debug, Default)]
pub struct IndexImport {
    /// Listed index objects that the catalog does not have.
    pub new: Vec<ObjectName>,
    /// Index objects of the catalog that are no longer listed.
    pub gone: Vec<ObjectName>,
    /// Index objects of the catalog that are listed with another length than the one that was imported: they are damaged,
    /// for their names are hashes.
    pub changed: Vec<ObjectName>,
}

/// An index object, its length, and what it describes.
pub type Described = (ObjectName, u64, Vec<IndexedPack>);

impl Catalog {
    /// Compares a listing of index objects with the catalog.
    pub fn compare_index(&self, listed: &HashMap<ObjectName, u64>) -> Result<IndexImport, RepoError> {
        let known: HashMap<ObjectName, u64> = self.index_objects()?.into_iter().collect();
        let mut import = IndexImport {
            new: listed.keys().filter(|name| !known.contains_key(*name)).copied().collect(),
            ..IndexImport::default()
        };
        for (name, bytes) in known {
            match listed.get(&name) {
                None => import.gone.push(name),
                Some(listed) if *listed != bytes => import.changed.push(name),
                Some(_) => {}
            }
        }
        import.new.sort_unstable();
        import.gone.sort_unstable();
        import.changed.sort_unstable();
        Ok(import)
    }

    /// The index objects that the catalog holds, with their lengths.
    pub fn index_objects(&self) -> Result<Vec<(ObjectName, u64)>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name, bytes FROM index_objects")?;
            let objects =
                statement.query_map([], |row| Ok((ObjectName(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned())))?;
            objects.collect()
        })
    }

    /// Imports index objects, and then drops others: whoever looks meanwhile never misses what an object of either kind
    /// describes. `next` gives the objects to import one after the other; if it fails, whole batches stay imported.
    pub fn apply_index(
        &self,
        next: &mut dyn FnMut() -> Result<Option<Described>, RepoError>,
        gone: &[ObjectName],
    ) -> Result<(), RepoError> {
        let mut batch: Vec<Described> = Vec::new();
        let mut places = 0;
        while let Some(described) = next()? {
            places += described.2.iter().map(|pack| pack.entries.len()).sum::<usize>();
            batch.push(described);
            if places >= BATCH_PLACES {
                self.write(|connection| import(connection, &batch))?;
                batch.clear();
                places = 0;
            }
        }
        if batch.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let mut connection = self.writer();
        let outcome = write_in(&mut connection, |connection| {
            import(connection, &batch)?;
            drop_objects(connection, gone)
        });
        outcome.map_err(|error| self.failed(error))
    }
}

/// What a chunk of a batch turned out to be.
#[derive(Clone, Copy)]
enum Known {
    /// Nobody has it yet.
    New,
    /// The catalog has it under this number.
    As(u64),
    /// It came before in the same batch, at this position.
    Before(u32),
}

/// The places of packs that the catalog does not have yet, in the order of their packs.
struct Fresh<'a> {
    /// Each pack's number and how many places it has.
    packs: Vec<(i64, usize)>,
    places: Vec<&'a PackEntry>,
}

fn import(connection: &Connection, batch: &[Described]) -> rusqlite::Result<()> {
    let fresh = import_packs(connection, batch)?;
    // In the order of prefixes, which is that of the ids.
    let mut sorted: Vec<(i64, u32)> = Vec::with_capacity(fresh.places.len());
    for (at, entry) in fresh.places.iter().enumerate() {
        let at = u32::try_from(at).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        sorted.push((lookup::prefix(&entry.id), at));
    }
    sorted.sort_unstable();
    let known = look_up(connection, &fresh, &sorted)?;
    let numbers = insert_places(connection, &fresh, &known)?;
    let mut insert = connection.prepare_cached("INSERT INTO chunk_prefixes (prefix, chunk) VALUES (?1, ?2)")?;
    for (prefix, at) in sorted {
        if matches!(known[at as usize], Known::New) {
            insert.execute(params![prefix, numbers[at as usize].cast_signed()])?;
        }
    }
    Ok(())
}

/// Inserts objects and packs; those that another process has imported meanwhile are passed over.
fn import_packs<'a>(connection: &Connection, batch: &'a [Described]) -> rusqlite::Result<Fresh<'a>> {
    let mut fresh = Fresh { packs: Vec::new(), places: Vec::new() };
    let mut object = connection.prepare_cached("INSERT OR IGNORE INTO index_objects (name, bytes) VALUES (?1, ?2)")?;
    let mut home = connection.prepare_cached("INSERT OR IGNORE INTO pack_homes (index_num, pack) VALUES (?1, ?2)")?;
    let mut there = connection.prepare_cached("SELECT num FROM packs WHERE name = ?1")?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO packs (name, bytes, kind, lease, header, chunks) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (name, bytes, packs) in batch {
        if object.execute(params![name.0, as_i64(*bytes)?])? == 0 {
            continue;
        }
        let object = connection.last_insert_rowid();
        for pack in packs {
            let number: Option<i64> = there.query_row(params![pack.name.0], |row| row.get(0)).optional()?;
            let number = if let Some(number) = number {
                number
            } else {
                let bytes = as_i64(pack.bytes)?;
                let (kind, chunks) = (pack.kind as u8, as_i64(pack.entries.len() as u64)?);
                insert.execute(params![pack.name.0, bytes, kind, pack.lease.0, &pack.header[..], chunks])?;
                let number = connection.last_insert_rowid();
                fresh.packs.push((number, pack.entries.len()));
                fresh.places.extend(&pack.entries);
                number
            };
            home.execute(params![object, number])?;
        }
    }
    Ok(fresh)
}

/// Finds out which chunks are new. `sorted` holds prefixes and positions in ascending order.
fn look_up(connection: &Connection, fresh: &Fresh<'_>, sorted: &[(i64, u32)]) -> rusqlite::Result<Vec<Known>> {
    let mut known = vec![Known::New; fresh.places.len()];
    let is_empty = !connection.query_row("SELECT EXISTS (SELECT 1 FROM chunks)", [], |row| row.get::<_, bool>(0))?;
    for group in sorted.chunk_by(|a, b| a.0 == b.0) {
        for (nth, &(_, at)) in group.iter().enumerate() {
            let id = fresh.places[at as usize].id;
            let before = group[..nth].iter().find(|(_, before)| fresh.places[*before as usize].id == id);
            known[at as usize] = match before {
                Some(&(_, before)) => Known::Before(before),
                None if is_empty => Known::New,
                None => lookup::chunk_number(connection, &id)?.map_or(Known::New, Known::As),
            };
        }
    }
    Ok(known)
}

/// Numbers what is new and inserts all places; gives the number of each.
fn insert_places(connection: &Connection, fresh: &Fresh<'_>, known: &[Known]) -> rusqlite::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = Vec::with_capacity(known.len());
    let mut last: u64 = connection
        .query_row("SELECT coalesce(max(num), 0) FROM chunks", [], |row| row.get::<_, i64>(0))?
        .cast_unsigned();
    let mut chunk = connection.prepare_cached("INSERT INTO chunks (num, id) VALUES (?1, ?2)")?;
    let mut place = connection.prepare_cached(
        "INSERT INTO places (pack, ordinal, chunk, kind, start, stored_len, plain_len) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut all_uses = connection.prepare_cached("INSERT INTO pack_uses (pack, uses) VALUES (?1, ?2)")?;
    let mut uses = uses::Encoder::default();
    for &(pack, count) in &fresh.packs {
        let from = numbers.len();
        for (ordinal, at) in (from..from + count).enumerate() {
            let entry = fresh.places[at];
            let number = match known[at] {
                Known::As(number) => number,
                // Of equal ids the first position sorts first.
                Known::Before(at) => numbers[at as usize],
                Known::New => {
                    last += 1;
                    chunk.execute(params![last.cast_signed(), entry.id.0])?;
                    last
                }
            };
            let (kind, start) = (entry.kind as u8, as_i64(entry.offset)?);
            let number_signed = number.cast_signed();
            place.execute(params![
                pack,
                ordinal as i64,
                number_signed,
                kind,
                start,
                entry.stored_len,
                entry.plain_len
            ])?;
            uses.add(number, entry.stored_len);
            numbers.push(number);
        }
        all_uses.execute(params![pack, uses.take()])?;
    }
    Ok(numbers)
}

fn drop_objects(connection: &Connection, gone: &[ObjectName]) -> rusqlite::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    for name in gone {
        connection
            .prepare_cached("DELETE FROM pack_homes WHERE index_num = (SELECT num FROM index_objects WHERE name = ?1)")?
            .execute(params![name.0])?;
        connection.prepare_cached("DELETE FROM index_objects WHERE name = ?1")?.execute(params![name.0])?;
    }
    connection.execute_batch(DROP_HOMELESS)
}

fn as_i64(value: u64) -> rusqlite::Result<i64> {
    i64::try_from(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
