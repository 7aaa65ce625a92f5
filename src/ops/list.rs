//! `snapshots`, `ls`, `stats`, `status`, `tag`: what the repository holds, in rows for tables and JSON.

use super::{
    OpsError, Progress,
    drill::{Proof, proofs},
    reading::Reading,
    restore::find_collection,
    select::{ahead_warning, is_ahead, scope, sources},
};
use crate::{
    layer::Stack,
    record::{KeyRange, Timestamp},
    repo::{
        Repository, Snapshot, SnapshotId,
        manifest::{Kind, Stats},
    },
};
use serde::Serialize;
use std::collections::HashSet;

/// One collection of a listed snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct CollectionRow {
    /// Its name.
    pub name: String,
    /// Live records.
    pub records: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
}

/// One listed snapshot: the stable shape of `snapshots --json`.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotRow {
    /// Its id.
    pub id: SnapshotId,
    /// The first digits of the id.
    pub short_id: String,
    /// When reading began.
    pub start: Timestamp,
    /// When reading ended.
    pub end: Timestamp,
    /// The same as `end`.
    pub time: Timestamp,
    /// What was read.
    pub kind: Kind,
    /// Whether every record is in it.
    pub complete: bool,
    /// Whether it ends in the future.
    pub ahead: bool,
    /// Whose records.
    pub source: crate::repo::manifest::SourceId,
    /// What of the source was asked for, as a hash.
    pub scope: String,
    /// The same in words.
    pub scope_note: String,
    /// The snapshot it was joined with.
    pub parent: Option<SnapshotId>,
    /// The snapshot of another repository that it is a copy of.
    pub copy_of: Option<crate::repo::manifest::CopyOf>,
    /// Free words.
    pub tags: Vec<String>,
    /// Whether nothing may drop it.
    pub hold: bool,
    /// Nothing may drop it before this time.
    pub lock_until: Option<Timestamp>,
    /// Its collections.
    pub collections: Vec<CollectionRow>,
    /// What is missing, in words.
    pub problems: Vec<String>,
    /// Counts and costs.
    pub stats: Stats,
}

/// A snapshot as a row.
#[must_use]
pub fn row(snapshot: &Snapshot, now: Timestamp) -> SnapshotRow {
    let content = &snapshot.content;
    SnapshotRow {
        id: snapshot.id,
        short_id: snapshot.id.short(),
        start: content.start,
        end: content.end,
        time: content.end,
        kind: content.kind,
        complete: content.complete,
        ahead: is_ahead(content.end, now),
        source: snapshot.source().clone(),
        scope: content.scope.clone(),
        scope_note: scope::words(snapshot),
        parent: content.parent,
        copy_of: content.copy_of.clone(),
        tags: snapshot.tags.clone(),
        hold: snapshot.hold,
        lock_until: snapshot.lock_until,
        collections: snapshot
            .collections
            .iter()
            .map(|c| CollectionRow { name: c.name.clone(), records: c.records, bytes: c.bytes })
            .collect(),
        problems: content.problems.clone(),
        stats: content.stats.clone(),
    }
}

/// One record of `ls SNAPSHOT COLLECTION`.
#[derive(Debug, Clone, Serialize)]
pub struct RecordRow {
    /// The key as a person would type it.
    pub key: String,
    /// The source's generation.
    pub generation: u32,
    /// When it expires.
    pub expiry: Option<Timestamp>,
    /// Length of its value's canonical bytes.
    pub bytes: u64,
}

/// Lists the records of a collection in key order, by reading keys only.
pub fn records(
    repo: &Repository,
    snapshot: &Snapshot,
    collection: &str,
    progress: &dyn Progress,
    each: &mut dyn FnMut(RecordRow),
) -> Result<(), OpsError> {
    let reading = Reading::begin(repo, "ls", std::slice::from_ref(snapshot))?;
    let repo = reading.repo();
    let snapshot = &reading.snapshots()[0];
    let found = find_collection(snapshot, collection)?;
    let stack = Stack::open(&repo.chunks(), &found.stack)?;
    let mut cursor = stack.cursor(&KeyRange::all(), snapshot.content.end, true)?;
    while cursor.advance()? {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let meta = cursor.meta();
        let expiry = meta.expiry.as_millis();
        each(RecordRow {
            key: found.codec.show(cursor.key()),
            generation: meta.generation,
            expiry: (expiry != 0).then(|| Timestamp::from_millis(expiry as i64)),
            bytes: cursor.value_bytes(),
        });
    }
    Ok(())
}

/// How one scope of one source stands.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// Whose records.
    pub source: crate::repo::manifest::SourceId,
    /// What of the source was asked for, as a hash.
    pub scope: String,
    /// The same in words.
    pub scope_note: String,
    /// The newest complete snapshot that holds the scope, be it of a wider one.
    pub newest: Option<SnapshotId>,
    /// Its end.
    pub time: Option<Timestamp>,
    /// Its age, by the host's clock.
    pub age_seconds: Option<u64>,
    /// The newest snapshot that holds the scope, complete or not.
    pub latest: Option<SnapshotId>,
    /// Its end.
    pub latest_time: Option<Timestamp>,
    /// Whether it is complete.
    pub latest_complete: bool,
    /// Snapshots of the scope, partial ones included.
    pub snapshots: usize,
    /// Of those, the ones that end in the future: they count as nobody's newest.
    pub ahead: Vec<SnapshotId>,
    /// What the last verification covered and found, in words; absent if none is known here.
    pub last_verify: Option<String>,
    /// Whether it is older than was asked for.
    pub too_old: bool,
    /// The last drill, and the last that passed.
    #[serde(flatten)]
    pub proof: Proof,
    /// Whether the last proof is older than was asked for, or there is none.
    pub proof_too_old: bool,
    /// Where else its newest complete snapshot is, if somebody looked.
    pub elsewhere: Option<super::places::ThreeTwoOne>,
}

/// How old what is there may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxAges {
    /// The newest complete snapshot, in seconds.
    pub snapshot: Option<u64>,
    /// The last proof, in seconds.
    pub proof: Option<u64>,
}

/// Whether what was asked for does not hold: a source is too old, or an age was asked for and there is none at all, which is
/// older than anything.
#[must_use]
pub fn is_overdue(sources: &[SourceStatus], max: MaxAges) -> bool {
    let is_asked = max.snapshot.is_some() || max.proof.is_some();
    (sources.is_empty() && is_asked) || sources.iter().any(|source| source.too_old || source.proof_too_old)
}

/// Of each scope of each source the newest snapshots. What ends in the future is named and counts as nobody's newest.
pub fn status(
    repo: &Repository,
    snapshots: &[Snapshot],
    max: MaxAges,
    progress: &dyn Progress,
) -> Result<Vec<SourceStatus>, OpsError> {
    let proofs = proofs(repo)?;
    let now = repo.clock().now();
    let last_verify = repo.note(super::verify::LAST_VERIFY)?;
    let mut all = Vec::new();
    for source in sources(snapshots) {
        let of_source: Vec<&Snapshot> = snapshots.iter().filter(|s| s.source().is_same(&source)).collect();
        let (ahead, present): (Vec<&Snapshot>, Vec<&Snapshot>) =
            of_source.iter().partition(|s| is_ahead(s.content.end, now));
        for snapshot in &ahead {
            progress.warning(&ahead_warning(snapshot));
        }
        for one in scope::newest_of_each(&of_source) {
            let its = |s: &&&Snapshot| s.content.scope == one.content.scope;
            let latest = present.iter().rfind(|s| scope::covers(s, one));
            let newest = present.iter().rfind(|s| s.content.complete && scope::covers(s, one));
            let age_seconds = newest.map(|s| (now.as_millis() - s.content.end.as_millis()).max(0) as u64 / 1000);
            let proof = proofs.of(one);
            let is_older = |max: u64, age: Option<u64>| age.is_none_or(|age| age > max);
            all.push(SourceStatus {
                elsewhere: None,
                proof,
                proof_too_old: max.proof.is_some_and(|max| is_older(max, proof.proof_age_seconds)),
                source: source.clone(),
                scope: one.content.scope.clone(),
                scope_note: scope::words(one),
                newest: newest.map(|s| s.id),
                time: newest.map(|s| s.content.end),
                age_seconds,
                latest: latest.map(|s| s.id),
                latest_time: latest.map(|s| s.content.end),
                latest_complete: latest.is_some_and(|s| s.content.complete),
                snapshots: of_source.iter().filter(its).count(),
                ahead: ahead.iter().filter(its).map(|s| s.id).collect(),
                last_verify: last_verify.clone().filter(|_| newest.is_some()),
                too_old: max.snapshot.is_some_and(|max| is_older(max, age_seconds)),
            });
        }
    }
    Ok(all)
}

/// What the repository takes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RepositoryStats {
    /// Snapshots.
    pub snapshots: usize,
    /// Distinct layers they use.
    pub layers: usize,
    /// Packs.
    pub packs: u64,
    /// Chunks.
    pub chunks: u64,
    /// Stored bytes of everything.
    pub stored_bytes: u64,
    /// Groups of parity, which are among them.
    pub parity_groups: u64,
    /// Their bytes.
    pub parity_bytes: u64,
    /// Plaintext bytes of the chunks.
    pub plain_bytes: u64,
    /// Plaintext bytes of all snapshots' records, as if each were stored whole.
    pub restore_bytes: u64,
}

/// Sums up the repository.
pub fn stats(repo: &Repository) -> Result<RepositoryStats, OpsError> {
    let snapshots = repo.snapshots()?;
    let layers: HashSet<_> =
        snapshots.iter().flat_map(|s| &s.collections).flat_map(|c| &c.stack).map(|layer| layer.id).collect();
    let packs = repo.packs()?;
    let mut plain_bytes = 0;
    for pack in &packs {
        if let Some((_, entries)) = repo.pack_entries(&pack.name)? {
            plain_bytes += entries.iter().map(|entry| u64::from(entry.plain_len)).sum::<u64>();
        }
    }
    let folders = repo.stats()?;
    let parity = folders.iter().find(|folder| folder.folder == "parity");
    Ok(RepositoryStats {
        parity_groups: parity.map_or(0, |folder| folder.objects),
        parity_bytes: parity.map_or(0, |folder| folder.bytes),
        snapshots: snapshots.len(),
        layers: layers.len(),
        packs: packs.len() as u64,
        chunks: packs.iter().map(|pack| pack.chunks).sum(),
        stored_bytes: folders.iter().map(|folder| folder.bytes).sum(),
        plain_bytes,
        restore_bytes: snapshots.iter().flat_map(|s| &s.collections).map(|c| c.bytes).sum(),
    })
}
