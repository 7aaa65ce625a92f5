//! Those who squash: neighbouring layers of stacks become one, by revisions that count once the squash has committed.

use super::{
    actors::{Actor, begin_as},
    rng::Rng,
};
use rekeep::repo::{
    ChunkId, ChunkKind, ChunkPlain, ChunkWriter, RepoError, Repository, Snapshot, SnapshotId, WriteSession,
    manifest::LayerRef,
    pruner::{LayerWalk as _, flat::Flat},
    session::Restacked,
};

/// Two layers that lie above each other.
pub type Pair = [ChunkId; 2];

/// A few squashes of neighbours that some stack holds.
pub fn squash(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    for _ in 0..=rng.below(2) {
        repo.refresh()?;
        let rekeep::repo::Listing { snapshots, pending, .. } = repo.listing()?;
        let planned: Vec<Snapshot> =
            snapshots.into_iter().filter(|it| pending.iter().all(|(busy, _)| *busy != it.id)).collect();
        let pairs: Vec<Pair> = planned.iter().flat_map(pairs_of).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        squash_pair(&repo, &planned, *rng.pick(&pairs), if rng.chance(50) { 1 } else { 1 << 20 })?;
    }
    Ok(())
}

/// The neighbours in a snapshot's stack.
pub fn pairs_of(snapshot: &Snapshot) -> Vec<Pair> {
    snapshot.collections[0].stack.windows(2).map(|two| [two[0].id, two[1].id]).collect()
}

/// Makes one layer of a pair in every planned snapshot that holds it. Gives the squash's lease if it committed.
pub fn squash_pair(
    repo: &Repository,
    planned: &[Snapshot],
    pair: Pair,
    pack_bytes: usize,
) -> Result<Option<SnapshotId>, RepoError> {
    let session = begin_as(repo, "squash", pack_bytes)?;
    let id = session.id();
    match restack(repo, &session, planned, pair) {
        Ok(0) => session.abandon().map(|()| None),
        Ok(_) => session.commit_squash().map(|()| Some(id)),
        Err(error) => {
            let _ = session.abandon_squash();
            Err(error)
        }
    }
}

fn restack(repo: &Repository, session: &WriteSession, planned: &[Snapshot], pair: Pair) -> Result<u64, RepoError> {
    let merged = merge(repo, session, pair)?;
    let mut written = 0;
    for snapshot in planned {
        let Some(at) = pairs_of(snapshot).iter().position(|it| *it == pair) else { continue };
        let mut after = snapshot.collections.clone();
        after[0].stack.splice(at..at + 2, [merged.clone()]);
        if session.restack(&snapshot.id, &snapshot.collections, &after)? == Restacked::Written {
            written += 1;
        }
    }
    Ok(written)
}

/// Writes a layer that holds what both hold; stored and indexed when this returns.
fn merge(repo: &Repository, session: &WriteSession, pair: Pair) -> Result<LayerRef, RepoError> {
    let chunks = repo.chunks();
    let mut ids: Vec<ChunkId> = Vec::new();
    for id in pair {
        Flat.chunks(&chunks, &LayerRef::new(id, 1, 1), &mut |chunk| {
            if chunk != id && !ids.contains(&chunk) {
                ids.push(chunk);
            }
            Ok(())
        })?;
    }
    let mut writer = session.writer();
    for id in &ids {
        let plain = chunks.read(ChunkKind::Values, id)?.plain()?;
        writer.put(ChunkKind::Values, &plain)?;
    }
    let list: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
    let id = writer.put(ChunkKind::List, &ChunkPlain::single(list))?.id;
    writer.finish()?;
    session.flush()?;
    Ok(LayerRef::new(id, 1, 1))
}
