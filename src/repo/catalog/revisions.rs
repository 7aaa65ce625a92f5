//! The stored bytes of snapshot revisions, tombstones and voids, so that a listing of 1 000 known snapshots reads none.

use super::{Catalog, heads};
use crate::repo::{RepoError, SnapshotId};
use rusqlite::params;

/// What lies under a revision's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RevisionKind {
    /// A sealed manifest.
    Manifest = 1,
    /// A void: the lease was fenced.
    Void = 6,
    /// The snapshot was forgotten.
    Tombstone = 7,
}

/// One stored revision.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Whose.
    pub snapshot: SnapshotId,
    /// Its number.
    pub revision: u64,
    /// What it is.
    pub kind: RevisionKind,
    /// The object's bytes as stored.
    pub sealed: Vec<u8>,
}

/// A revision as the catalog holds it, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownRevision {
    /// Whose.
    pub snapshot: SnapshotId,
    /// Its number.
    pub revision: u64,
    /// Whether storage no longer has it.
    pub is_gone: bool,
    /// The length of its object.
    pub bytes: u64,
}

impl Catalog {
    /// All revisions that the catalog holds, without their bytes.
    pub fn revision_names(&self) -> Result<Vec<KnownRevision>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT snapshot, revision, gone, bytes FROM revisions")?;
            let names = statement.query_map([], |row| {
                Ok(KnownRevision {
                    snapshot: SnapshotId(row.get(0)?),
                    revision: row.get::<_, i64>(1)?.cast_unsigned(),
                    is_gone: row.get(2)?,
                    bytes: row.get::<_, i64>(3)?.cast_unsigned(),
                })
            })?;
            names.collect()
        })
    }

    /// All revisions that are not gone, by snapshot, highest first.
    pub fn revisions(&self) -> Result<Vec<Revision>, RepoError> {
        self.read_revisions("gone = 0")
    }

    /// The revisions that were there once and are gone, by snapshot, highest first.
    pub fn gone_revisions(&self) -> Result<Vec<Revision>, RepoError> {
        self.read_revisions("gone = 1")
    }

    /// Both of these, each by snapshot, highest first.
    pub fn held_revisions(&self) -> Result<Vec<Revision>, RepoError> {
        let mut held = self.revisions()?;
        held.extend(self.gone_revisions()?);
        Ok(held)
    }

    fn read_revisions(&self, which: &str) -> Result<Vec<Revision>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT snapshot, revision, kind, sealed FROM revisions WHERE {which} ORDER BY snapshot, revision DESC"
            ))?;
            let revisions = statement.query_map([], |row| {
                Ok(Revision {
                    snapshot: SnapshotId(row.get(0)?),
                    revision: row.get::<_, i64>(1)?.cast_unsigned(),
                    kind: kind(row.get(2)?)?,
                    sealed: row.get(3)?,
                })
            })?;
            revisions.collect()
        })
    }

    /// The revisions of one snapshot that are not gone, highest first.
    pub fn revisions_of(&self, snapshot: &SnapshotId) -> Result<Vec<Revision>, RepoError> {
        self.read_revisions_of(snapshot, "gone = 0")
    }

    /// The revisions of one snapshot, gone or not, highest first.
    pub fn held_revisions_of(&self, snapshot: &SnapshotId) -> Result<Vec<Revision>, RepoError> {
        self.read_revisions_of(snapshot, "1")
    }

    fn read_revisions_of(&self, snapshot: &SnapshotId, which: &str) -> Result<Vec<Revision>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT revision, kind, sealed FROM revisions WHERE snapshot = ?1 AND {which} ORDER BY revision DESC"
            ))?;
            let revisions = statement.query_map(params![snapshot.0], |row| {
                Ok(Revision {
                    snapshot: *snapshot,
                    revision: row.get::<_, i64>(0)?.cast_unsigned(),
                    kind: kind(row.get(1)?)?,
                    sealed: row.get(2)?,
                })
            })?;
            revisions.collect()
        })
    }

    /// What lies under every revision's name that is not gone, by snapshot, highest first.
    pub fn revision_kinds(&self) -> Result<Vec<(SnapshotId, u64, RevisionKind)>, RepoError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT snapshot, revision, kind FROM revisions WHERE gone = 0 ORDER BY snapshot, revision DESC",
            )?;
            let revisions = statement.query_map([], |row| {
                Ok((SnapshotId(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned(), kind(row.get(2)?)?))
            })?;
            revisions.collect()
        })
    }

    /// Adds revisions, forgets others, and marks some as gone (`true`) or there again (`false`).
    pub fn apply_revisions(
        &self,
        new: &[Revision],
        dropped: &[(SnapshotId, u64)],
        gone: &[(SnapshotId, u64, bool)],
    ) -> Result<(), RepoError> {
        if new.is_empty() && dropped.is_empty() && gone.is_empty() {
            return Ok(());
        }
        self.write(|connection| {
            let others = dropped.iter().map(|(id, _)| *id).chain(gone.iter().map(|(id, _, _)| *id));
            heads::unsettle(connection, new.iter().map(|revision| revision.snapshot).chain(others))?;
            for revision in new {
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO revisions (snapshot, revision, kind, bytes, sealed) \
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![
                        revision.snapshot.0,
                        revision.revision.cast_signed(),
                        revision.kind as u8,
                        i64::try_from(revision.sealed.len()).unwrap_or(i64::MAX),
                        revision.sealed
                    ])?;
            }
            for (snapshot, revision) in dropped {
                connection
                    .prepare_cached("DELETE FROM revisions WHERE snapshot = ?1 AND revision = ?2")?
                    .execute(params![snapshot.0, revision.cast_signed()])?;
            }
            for (snapshot, revision, is_gone) in gone {
                connection
                    .prepare_cached("UPDATE revisions SET gone = ?3 WHERE snapshot = ?1 AND revision = ?2")?
                    .execute(params![snapshot.0, revision.cast_signed(), is_gone])?;
            }
            Ok(())
        })
    }
}

fn kind(number: u8) -> rusqlite::Result<RevisionKind> {
    Ok(match number {
        1 => RevisionKind::Manifest,
        6 => RevisionKind::Void,
        7 => RevisionKind::Tombstone,
        other => return Err(super::spoilt(&format!("revision kind {other}"))),
    })
}
