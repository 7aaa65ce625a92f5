//! Which snapshot a backup is joined with.

use super::{Ask, BackupOptions, ParentChoice};
use crate::{
    layer::{Layer, LayerError},
    ops::{OpsError, Progress},
    repo::{
        ChunkId, RepoError, Repository, Snapshot, WriteSession,
        manifest::{Kind, SourceId},
    },
};
use std::collections::HashSet;

/// The canonical hash of a scope's text, as manifests give it.
pub(super) fn scope_hash(canonical: &str) -> String {
    let hash = blake3::derive_key("rekeep 1 scope", canonical.as_bytes());
    data_encoding::HEXLOWER.encode(&hash[..16])
}

/// The newest snapshot of the same identity and scope all of whose chunks are present; or the one asked for.
pub(super) fn choose(
    repo: &Repository,
    writing: Option<&WriteSession>,
    source: &SourceId,
    scope: &str,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<Option<Snapshot>, OpsError> {
    let snapshots = repo.snapshots()?;
    match &options.parent {
        ParentChoice::None => Ok(None),
        ParentChoice::Id(prefix) => {
            let mut found = snapshots.iter().filter(|s| s.id.to_string().starts_with(prefix.as_str()));
            let (Some(parent), None) = (found.next(), found.next()) else {
                return Err(OpsError::Usage(format!("--parent {prefix} names no snapshot, or more than one")));
            };
            if parent.content.source.connector != source.connector {
                return Err(OpsError::Usage(format!(
                    "--parent {prefix} is a snapshot of a {} source, this one is {}",
                    parent.content.source.connector, source.connector
                )));
            }
            if parent.content.scope != scope {
                return Err(OpsError::Usage(format!(
                    "--parent {prefix} covers another part of the source ({}); records outside of it would look deleted",
                    if parent.content.scope_note.is_empty() { "everything" } else { &parent.content.scope_note }
                )));
            }
            match absent_chunk(repo, writing, parent)? {
                None => Ok(Some(parent.clone())),
                Some(chunk) => Err(OpsError::Failed(format!(
                    "--parent {prefix} cannot be used: its chunk {chunk} is absent from the repository"
                ))),
            }
        }
        ParentChoice::Auto => {
            let same = |s: &&Snapshot| {
                let its = &s.content.source;
                its.connector == source.connector
                    && its.name == source.name
                    && s.content.scope == scope
                    // A differential run reads what changed since everything was read.
                    && (options.ask != Ask::Differential || s.content.kind == Kind::Full)
            };
            for candidate in snapshots.iter().rev().filter(same) {
                match absent_chunk(repo, writing, candidate)? {
                    None => return Ok(Some(candidate.clone())),
                    Some(chunk) => progress.warn(&format!(
                        "snapshot {} is no parent for this backup: its chunk {chunk} is absent; `rekeep verify` tells more",
                        candidate.id.short()
                    )),
                }
            }
            Ok(None)
        }
    }
}

/// Makes the writer rely on every chunk of the snapshot's stacks; gives one that is absent, if any is.
fn absent_chunk(
    repo: &Repository,
    writing: Option<&WriteSession>,
    snapshot: &Snapshot,
) -> Result<Option<ChunkId>, OpsError> {
    let chunks = match snapshot_chunks(repo, snapshot) {
        Ok(chunks) => chunks,
        // A list that cannot be read makes this no parent just as one that is gone.
        Err(OpsError::Layer(LayerError::Repo(RepoError::ChunkMissing { id }) | LayerError::Damaged { id, .. })) => {
            return Ok(Some(id));
        }
        Err(OpsError::Layer(LayerError::Repo(RepoError::Damaged { .. } | RepoError::Missing { .. }))) => {
            return Ok(snapshot.collections.iter().flat_map(|c| &c.stack).map(|layer| layer.id).next());
        }
        Err(error) => return Err(error),
    };
    if let Some(writing) = writing {
        return Ok(writing.rely_on(&mut chunks.into_iter())?.first().copied());
    }
    let reader = repo.chunks();
    for id in chunks {
        if reader.stored_len(&id)?.is_none() {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Every chunk that a snapshot's stacks reference.
pub(in crate::ops) fn snapshot_chunks(repo: &Repository, snapshot: &Snapshot) -> Result<Vec<ChunkId>, OpsError> {
    let reader = repo.chunks();
    let mut seen = HashSet::new();
    let mut chunks = Vec::new();
    for layer in snapshot.collections.iter().flat_map(|collection| &collection.stack) {
        if seen.insert(layer.id) {
            Layer::open(&reader, layer)?.for_each_chunk(&mut |id| {
                chunks.push(id);
                Ok(())
            })?;
        }
    }
    Ok(chunks)
}
