//! Finding chunks and packs.

use super::Catalog;
use crate::repo::{
    ChunkId, ChunkKind, ObjectName, RepoError, SnapshotId,
    ids::PackKind,
    pack::{MAX_HEADER_BYTES, PackEntry, PackHeader},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A pack's number in one catalog file; never used again for another pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackNumber(pub i64);

/// One place where a chunk lies.
#[derive(Debug, Clone)]
pub struct ChunkPlace {
    /// The pack's number in the catalog.
    pub pack: PackNumber,
    /// The pack's name.
    pub name: ObjectName,
    /// The pack's header.
    pub header: PackHeader,
    /// The chunk's position in the pack.
    pub ordinal: u64,
    /// Where its frame lies.
    pub entry: PackEntry,
}

/// A chunk that was looked up.
#[derive(Debug)]
pub struct FoundPacks<'a> {
    /// Which.
    pub id: &'a ChunkId,
    /// The packs that hold it.
    pub packs: &'a [(PackNumber, ObjectName)],
    /// Its number, if any does.
    pub number: Option<u64>,
}

/// A pack as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPackInfo {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub bytes: u64,
    /// Metadata or data.
    pub kind: PackKind,
    /// The lease that wrote it.
    pub lease: SnapshotId,
    /// How many chunks it holds.
    pub chunks: u64,
}

/// The first 8 bytes of an id, as `SQLite` keeps integers.
pub(super) fn prefix(id: &ChunkId) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    i64::from_be_bytes(first)
}

const FIND: &str = "
SELECT l.pack, l.ordinal, l.kind, l.start, l.stored_len, l.plain_len, p.name, p.header
FROM chunk_prefixes x CROSS JOIN chunks c ON c.num = x.chunk AND c.id = ?2
CROSS JOIN places l ON l.chunk = c.num CROSS JOIN packs p ON p.num = l.pack
WHERE x.prefix = ?1 ORDER BY l.pack";

const FIND_PACKS: &str = "
SELECT l.pack, p.name, c.num FROM chunk_prefixes x CROSS JOIN chunks c ON c.num = x.chunk AND c.id = ?2
CROSS JOIN places l ON l.chunk = c.num CROSS JOIN packs p ON p.num = l.pack WHERE x.prefix = ?1 ORDER BY l.pack";

impl Catalog {
    /// Every place where a chunk lies, by pack number.
    pub fn find(&self, id: &ChunkId) -> Result<Vec<ChunkPlace>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(FIND)?;
            statement.query_map(params![prefix(id), id.0], |row| place(row, id))?.collect()
        })
    }

    /// The packs that hold each of these chunks, in one go; `found` is called once a chunk, in order.
    pub fn find_packs(&self, ids: &[ChunkId], found: &mut dyn FnMut(FoundPacks<'_>)) -> Result<(), RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(FIND_PACKS)?;
            let mut packs = Vec::new();
            for id in ids {
                packs.clear();
                let mut number = None;
                let mut rows = statement.query(params![prefix(id), id.0])?;
                while let Some(row) = rows.next()? {
                    packs.push((PackNumber(row.get(0)?), ObjectName(row.get(1)?)));
                    number = Some(row.get::<_, i64>(2)?.cast_unsigned());
                }
                found(FoundPacks { id, packs: &packs, number });
            }
            Ok(())
        })
    }

    /// A chunk's number.
    pub fn chunk_number(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        self.read(|connection| chunk_number(connection, id))
    }

    /// The numbers of many chunks: looked up in the order in which they lie, which reads each page of the tables once and not
    /// one page for each chunk.
    pub fn numbers_of(&self, ids: &[ChunkId]) -> Result<Vec<Option<u64>>, RepoError> {
        let mut order: Vec<(i64, usize)> = ids.iter().enumerate().map(|(at, id)| (prefix(id), at)).collect();
        order.sort_unstable();
        self.read(|connection| {
            let mut candidates: Vec<(i64, usize)> = Vec::with_capacity(ids.len());
            let mut by_prefix = connection.prepare_cached("SELECT chunk FROM chunk_prefixes WHERE prefix = ?1")?;
            for alike in order.chunk_by(|a, b| a.0 == b.0) {
                let mut rows = by_prefix.query(params![alike[0].0])?;
                while let Some(row) = rows.next()? {
                    let number: i64 = row.get(0)?;
                    candidates.extend(alike.iter().map(|(_, at)| (number, *at)));
                }
            }
            candidates.sort_unstable();
            let mut numbers = vec![None; ids.len()];
            let mut by_number = connection.prepare_cached("SELECT id FROM chunks WHERE num = ?1")?;
            for alike in candidates.chunk_by(|a, b| a.0 == b.0) {
                let number = alike[0].0;
                let Some(id) = by_number.query_row(params![number], |row| row.get(0).map(ChunkId)).optional()? else {
                    continue;
                };
                for (_, at) in alike.iter().filter(|(_, at)| ids[*at] == id) {
                    numbers[*at] = Some(number.cast_unsigned());
                }
            }
            Ok(numbers)
        })
    }

    /// Numbers, names and lengths of all packs.
    pub fn pack_numbers(&self) -> Result<Vec<(PackNumber, ObjectName, u64)>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT num, name, bytes FROM packs")?;
            let packs = statement.query_map([], |row| {
                Ok((PackNumber(row.get(0)?), ObjectName(row.get(1)?), row.get::<_, i64>(2)?.cast_unsigned()))
            })?;
            packs.collect()
        })
    }

    /// Number, name and length of each pack, one after the other.
    pub fn for_each_pack(&self, visit: &mut dyn FnMut(PackNumber, ObjectName, u64)) -> Result<(), RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT num, name, bytes FROM packs")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let bytes = row.get::<_, i64>(2)?.cast_unsigned();
                visit(PackNumber(row.get(0)?), ObjectName(row.get(1)?), bytes);
            }
            Ok(())
        })
    }

    /// A pack's number, if an index object describes it.
    pub fn pack_number(&self, name: &ObjectName) -> Result<Option<PackNumber>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT num FROM packs WHERE name = ?1")?;
            statement.query_row(params![name.0], |row| row.get(0).map(PackNumber)).optional()
        })
    }

    /// The lease that made a pack, if an index object describes it.
    pub fn pack_lease(&self, name: &ObjectName) -> Result<Option<SnapshotId>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT lease FROM packs WHERE name = ?1")?;
            statement.query_row(params![name.0], |row| row.get(0).map(SnapshotId)).optional()
        })
    }

    /// All packs, by number.
    pub fn packs(&self) -> Result<Vec<IndexedPackInfo>, RepoError> {
        let mut packs = Vec::new();
        self.for_each_pack_info(&mut |info| packs.push(info))?;
        Ok(packs)
    }

    /// All packs, by number, one after the other.
    pub fn for_each_pack_info(&self, visit: &mut dyn FnMut(IndexedPackInfo)) -> Result<(), RepoError> {
        self.read(|connection| {
            let sql = "SELECT name, bytes, kind, lease, chunks FROM packs ORDER BY num";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(IndexedPackInfo {
                    name: ObjectName(row.get(0)?),
                    bytes: row.get::<_, i64>(1)?.cast_unsigned(),
                    kind: pack_kind(row.get(2)?)?,
                    lease: SnapshotId(row.get(3)?),
                    chunks: row.get::<_, i64>(4)?.cast_unsigned(),
                });
            }
            Ok(())
        })
    }

    /// What an index object says about a pack: its header and, by ordinal, its entries.
    pub fn pack_entries(&self, name: &ObjectName) -> Result<Option<(PackHeader, Vec<PackEntry>)>, RepoError> {
        self.read(|connection| {
            let found: Option<(i64, Vec<u8>)> = connection
                .prepare_cached("SELECT num, header FROM packs WHERE name = ?1")?
                .query_row(params![name.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((number, bytes)) = found else { return Ok(None) };
            let mut statement = connection.prepare_cached(
                "SELECT c.id, l.kind, l.start, l.stored_len, l.plain_len FROM places l JOIN chunks c ON c.num = l.chunk
                 WHERE l.pack = ?1 ORDER BY l.ordinal",
            )?;
            let entries = statement.query_map(params![number], |row| {
                Ok(PackEntry {
                    id: ChunkId(row.get(0)?),
                    kind: chunk_kind(row.get(1)?)?,
                    offset: row.get::<_, i64>(2)?.cast_unsigned(),
                    stored_len: row.get(3)?,
                    plain_len: row.get(4)?,
                })
            })?;
            Ok(Some((header(&bytes)?, entries.collect::<rusqlite::Result<_>>()?)))
        })
    }
}

pub(super) fn chunk_number(connection: &Connection, id: &ChunkId) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached(
        "SELECT c.num FROM chunk_prefixes x CROSS JOIN chunks c ON c.num = x.chunk AND c.id = ?2 WHERE x.prefix = ?1",
    )?;
    let number: Option<i64> = statement.query_row(params![prefix(id), id.0], |row| row.get(0)).optional()?;
    Ok(number.map(i64::cast_unsigned))
}

pub(super) fn place(row: &Row<'_>, id: &ChunkId) -> rusqlite::Result<ChunkPlace> {
    Ok(ChunkPlace {
        pack: PackNumber(row.get(0)?),
        ordinal: row.get::<_, i64>(1)?.cast_unsigned(),
        entry: PackEntry {
            id: *id,
            kind: chunk_kind(row.get(2)?)?,
            offset: row.get::<_, i64>(3)?.cast_unsigned(),
            stored_len: row.get(4)?,
            plain_len: row.get(5)?,
        },
        name: ObjectName(row.get(6)?),
        header: header(row.get_ref(7)?.as_blob()?)?,
    })
}

fn header(bytes: &[u8]) -> rusqlite::Result<PackHeader> {
    if bytes.len() > MAX_HEADER_BYTES {
        return Err(super::spoilt(&format!("a pack header has {} bytes", bytes.len())));
    }
    Ok(PackHeader::from(bytes))
}

fn chunk_kind(number: u8) -> rusqlite::Result<ChunkKind> {
    ChunkKind::from_u8(number).ok_or_else(|| super::spoilt("an unknown chunk kind"))
}

fn pack_kind(number: u8) -> rusqlite::Result<PackKind> {
    PackKind::from_u8(number).ok_or_else(|| super::spoilt("an unknown pack kind"))
}
