//! Whether all that a snapshot needs is there: a copy that the storage itself makes brings objects in any order, and an
//! accident takes any of them.

use crate::{
    layer::Layer,
    ops::{OpsError, Progress},
    repo::{ChunkId, ObjectName, Repository, Snapshot, manifest::LayerRef, pack},
    report::WarningKind,
};
use std::collections::{HashMap, HashSet};

/// What is known of the layers of one repository.
pub(in crate::ops) struct Wholeness<'a> {
    repo: &'a Repository,
    /// Packs that index objects describe, and that are not listed as long as they say.
    absent: HashSet<ObjectName>,
    /// What a layer lacks.
    layers: HashMap<ChunkId, Option<String>>,
}

impl<'a> Wholeness<'a> {
    /// Lists what is there.
    pub fn of(repo: &'a Repository) -> Result<Self, OpsError> {
        let listed = repo.packs_listed()?;
        let odd = listed.odd.into_iter().map(|(name, _, _)| name);
        Ok(Self { repo, absent: listed.missing.into_iter().chain(odd).collect(), layers: HashMap::new() })
    }

    /// Whether nothing of a snapshot is missing; what is missing is said.
    pub fn is_whole(&mut self, snapshot: &Snapshot, progress: &dyn Progress) -> Result<bool, OpsError> {
        let stacks = || snapshot.collections.iter().flat_map(|collection| &collection.stack);
        let mut seen = HashSet::new();
        let unknown: Vec<&LayerRef> =
            stacks().filter(|layer| !self.layers.contains_key(&layer.id) && seen.insert(layer.id)).collect();
        let storage = self.repo.storage();
        for some in unknown.chunks(storage.connections().max(1)) {
            if progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            for (layer, lacks) in some.iter().zip(storage.each_of(some, |layer| self.lacks(layer))) {
                self.layers.insert(layer.id, lacks?);
            }
        }
        for layer in stacks() {
            if let Some(Some(lacks)) = self.layers.get(&layer.id) {
                let id = snapshot.id.short();
                let words =
                    format!("snapshot {id} of {} is NOT WHOLE and was passed over: {lacks}", snapshot.content.end);
                progress.warn(WarningKind::SnapshotNotWhole, id, words);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is not there of a layer: its lists and keys are read, its values only looked for.
    fn lacks(&self, layer: &LayerRef) -> Result<Option<String>, OpsError> {
        // What is kept on this host proves nothing about what is there.
        let chunks = self.repo.chunks_of_storage();
        let mut first = None;
        let walked = Layer::open(&chunks, layer).and_then(|opened| {
            opened.for_each_chunk(&mut |id| {
                let places = self.repo.chunk_places(&id)?;
                if first.is_none() && places.iter().all(|place| self.absent.contains(&place.name)) {
                    first = Some(places.first().map_or_else(
                        || format!("chunk {id} is in no index object that is there"),
                        |place| format!("{} is not there", pack::path(&place.name)),
                    ));
                }
                Ok(())
            })
        });
        match walked {
            Ok(()) => Ok(first),
            Err(error) if error.kind().is_damage() => Ok(Some(first.unwrap_or_else(|| error.to_string()))),
            Err(error) => Err(error.into()),
        }
    }
}
