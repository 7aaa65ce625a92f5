//! `stats`: what the repository takes.

use super::OpsError;
use crate::repo::Repository;
use serde::Serialize;
use std::collections::HashSet;

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
