//! Snapshots in brief, found by words without opening a manifest (`docs/many-snapshots.md`). What has no settled head stands on a
//! list of its own, and everything that changes a revision puts its snapshot there.

use super::Catalog;
use crate::{
    record::Timestamp,
    repo::{Position, RepoError, SnapshotId},
};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::atomic::Ordering;

const FIELDS: &str = "h.snapshot, h.revision, h.start, h.end, h.rank, h.kind, h.scope";

/// How often revisions have changed, and what tells one catalog's file from others.
pub type Generation = (u64, [u8; 16]);

/// What heads are found by: a keyed hash of who, where, or what tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(pub [u8; 16]);

/// A snapshot that counts, in brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadRow {
    /// Whose.
    pub snapshot: SnapshotId,
    /// The revision that counts.
    pub revision: u64,
    /// When reading began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The order among equal ends.
    pub order: u64,
    /// The number of its kind.
    pub kind: u8,
    /// The scope.
    pub scope: Word,
}

/// What became of one snapshot that was looked at.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Which.
    pub snapshot: SnapshotId,
    /// Its head and its words; nothing if it does not count.
    pub head: Option<(HeadRow, Vec<Word>)>,
    /// The squash that wrote the revision that counts.
    pub squash: Option<SnapshotId>,
}

impl Catalog {
    /// How often revisions have changed since this file was made, and what tells the file from others. Where both are the same, so
    /// are all revisions.
    pub fn generation(&self) -> Result<Generation, RepoError> {
        self.read(generation)
    }

    /// The snapshots that have no settled head, as of a generation.
    pub fn unsettled(&self) -> Result<(Generation, Vec<SnapshotId>), RepoError> {
        self.read(|connection| {
            // One statement after the other: what came between has raised the number again, so that nothing is stored by it.
            let generation = generation(connection)?;
            let mut statement = connection.prepare_cached("SELECT snapshot FROM unsettled ORDER BY snapshot")?;
            let snapshots = statement.query_map([], |row| row.get(0).map(SnapshotId))?.collect::<Result<_, _>>()?;
            Ok((generation, snapshots))
        })
    }

    /// Keeps what was found, if no revision has changed since that generation; gives whether it did.
    pub fn settle(&self, since: Generation, settled: &[Settled]) -> Result<bool, RepoError> {
        self.write(|connection| {
            if generation(connection)? != since {
                return Ok(false);
            }
            for one in settled {
                drop_head(connection, &one.snapshot)?;
                connection
                    .prepare_cached("DELETE FROM unsettled WHERE snapshot = ?1")?
                    .execute(params![one.snapshot.0])?;
                let Some((head, words)) = &one.head else { continue };
                connection
                    .prepare_cached(
                        "INSERT INTO heads (snapshot, revision, start, end, rank, kind, scope, squash) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute(params![
                        head.snapshot.0,
                        head.revision.cast_signed(),
                        head.start.as_millis(),
                        head.end.as_millis(),
                        head.order.cast_signed(),
                        head.kind,
                        head.scope.0,
                        one.squash.map(|lease| lease.0),
                    ])?;
                let mut insert = connection
                    .prepare_cached("INSERT OR IGNORE INTO head_words (word, end, snapshot) VALUES (?1, ?2, ?3)")?;
                for word in words {
                    insert.execute(params![word.0, head.end.as_millis(), head.snapshot.0])?;
                }
            }
            Ok(true)
        })
    }

    /// The settled heads that have a word, or all of them, in the order of [`Position`]; those that ended
    /// at a time or after it, if one is given.
    pub fn heads(&self, word: Option<Word>, since: Option<Timestamp>) -> Result<Vec<HeadRow>, RepoError> {
        let since = since.map_or(i64::MIN, Timestamp::as_millis);
        let rows = self.read(|connection| {
            let Some(word) = word else {
                let all = format!("SELECT {FIELDS} FROM heads h WHERE h.end >= ?1 ORDER BY h.end, h.rank, h.snapshot");
                return connection.prepare_cached(&all)?.query_map(params![since], row)?.collect();
            };
            let found = format!(
                "SELECT {FIELDS} FROM head_words w CROSS JOIN heads h ON h.snapshot = w.snapshot WHERE w.word = ?1 \
                 AND w.end >= ?2 ORDER BY w.end, h.rank, w.snapshot"
            );
            connection.prepare_cached(&found)?.query_map(params![word.0, since], row)?.collect::<Result<Vec<_>, _>>()
        })?;
        self.count_heads(rows.len());
        Ok(rows)
    }

    /// The newest settled heads that have a word, and a scope if one is given, before a position if one is given: at most so many,
    /// the newest first.
    pub fn heads_before(
        &self,
        word: Word,
        scope: Option<Word>,
        before: Option<Position>,
        most: usize,
    ) -> Result<Vec<HeadRow>, RepoError> {
        let sql = format!(
            "SELECT {FIELDS} FROM head_words w CROSS JOIN heads h ON h.snapshot = w.snapshot WHERE w.word = ?1 AND w.end <= ?2 \
             AND (?3 IS NULL OR h.scope = ?3) AND (?4 IS NULL OR (w.end, h.rank, w.snapshot) < (?2, ?4, ?5)) \
             ORDER BY w.end DESC, h.rank DESC, w.snapshot DESC LIMIT ?6"
        );
        let rows = self.read(|connection| {
            let values = params![
                word.0,
                before.map_or(i64::MAX, |before| before.end.as_millis()),
                scope.map(|scope| scope.0),
                before.map(|before| before.order.cast_signed()),
                before.map(|before| before.id.0),
                i64::try_from(most).unwrap_or(i64::MAX)
            ];
            connection.prepare_cached(&sql)?.query_map(values, row)?.collect::<Result<Vec<_>, _>>()
        })?;
        self.count_heads(rows.len());
        Ok(rows)
    }

    fn count_heads(&self, rows: usize) {
        self.heads_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// How many settled heads were read since this file was opened.
    pub fn heads_read(&self) -> u64 {
        self.heads_read.load(Ordering::Relaxed)
    }

    /// The highest revision of a snapshot that is not gone.
    pub fn highest_revision(&self, snapshot: &SnapshotId) -> Result<Option<u64>, RepoError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT revision FROM revisions WHERE snapshot = ?1 AND gone = 0 ORDER BY revision DESC LIMIT 1",
                )?
                .query_row(params![snapshot.0], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
                .optional()
        })
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<HeadRow> {
    Ok(HeadRow {
        snapshot: SnapshotId(row.get(0)?),
        revision: row.get::<_, i64>(1)?.cast_unsigned(),
        start: Timestamp::from_millis(row.get(2)?),
        end: Timestamp::from_millis(row.get(3)?),
        order: row.get::<_, i64>(4)?.cast_unsigned(),
        kind: row.get(5)?,
        scope: Word(row.get(6)?),
    })
}

fn generation(connection: &Connection) -> rusqlite::Result<Generation> {
    let mut statement = connection.prepare_cached("SELECT number, file FROM generation")?;
    statement.query_row([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))
}

/// Takes note, in a transaction, that revisions of these snapshots change.
pub(super) fn unsettle(connection: &Connection, touched: impl Iterator<Item = SnapshotId>) -> rusqlite::Result<()> {
    let mut touched: Vec<SnapshotId> = touched.collect();
    touched.sort_unstable();
    touched.dedup();
    let mut squashed = connection.prepare_cached("SELECT snapshot FROM heads WHERE squash = ?1")?;
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO unsettled (snapshot) VALUES (?1)")?;
    for snapshot in touched {
        let of_squash: Vec<SnapshotId> = squashed
            .query_map(params![snapshot.0], |row| row.get(0).map(SnapshotId))?
            .collect::<rusqlite::Result<_>>()?;
        for one in of_squash.into_iter().chain([snapshot]) {
            drop_head(connection, &one)?;
            insert.execute(params![one.0])?;
        }
    }
    connection.prepare_cached("UPDATE generation SET number = number + 1")?.execute([]).map(drop)
}

fn drop_head(connection: &Connection, snapshot: &SnapshotId) -> rusqlite::Result<()> {
    let had = connection.prepare_cached("DELETE FROM heads WHERE snapshot = ?1")?.execute(params![snapshot.0])?;
    if had > 0 {
        connection.prepare_cached("DELETE FROM head_words WHERE snapshot = ?1")?.execute(params![snapshot.0])?;
    }
    Ok(())
}
