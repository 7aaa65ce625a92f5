//! The invariant, looked at after every operation that could break it: no committed snapshot references a chunk that lies
//! in no listed pack of a listed index object, and what committed stays until it is forgotten.

use super::{actors::Flat, storage::Sea};
use rekeep::repo::{
    ChunkId, ObjectName, Repository, SnapshotId,
    object::{self, ObjectKind},
    pruner::LayerWalk,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Packs and their chunks.
type Described = Vec<(ObjectName, Vec<ChunkId>)>;

/// Looks at the storage from outside.
pub struct Checker {
    repo: Repository,
    needs: BTreeMap<SnapshotId, Vec<ChunkId>>,
    index: HashMap<String, Described>,
}

impl Checker {
    pub fn new(repo: Repository) -> Self {
        Self { repo, needs: BTreeMap::new(), index: HashMap::new() }
    }

    /// A snapshot came, was revised, forgotten or fenced.
    pub fn snapshots_changed(&mut self, sea: &Sea) -> Result<(), String> {
        self.repo.refresh().map_err(|error| error.to_string())?;
        let snapshots = self.repo.snapshots().map_err(|error| error.to_string())?;
        let standing: HashSet<SnapshotId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        let gone: Vec<SnapshotId> = self.needs.keys().filter(|id| !standing.contains(id)).copied().collect();
        for id in gone {
            if !is_forgotten(sea, &id) {
                return Err(format!("snapshot {id} has vanished, although nobody forgot it"));
            }
            self.needs.remove(&id);
        }
        for snapshot in snapshots {
            if self.needs.contains_key(&snapshot.id) {
                continue;
            }
            let mut chunks = Vec::new();
            for layer in snapshot.collections.iter().flat_map(|collection| &collection.stack) {
                let walked = Flat.chunks(&self.repo.chunks(), layer, &mut |id| {
                    chunks.push(id);
                    Ok(())
                });
                walked.map_err(|error| format!("snapshot {} cannot be read: {error}", snapshot.id))?;
            }
            self.needs.insert(snapshot.id, chunks);
        }
        self.all_are_home(sea)
    }

    /// Packs, index objects or revisions went.
    pub fn something_went(&mut self, sea: &Sea) -> Result<(), String> {
        if self.needs.keys().any(|id| sea.names(&format!("snapshots/{id}/")).is_empty()) {
            return Err("a snapshot has vanished, although nobody forgot it".to_owned());
        }
        self.all_are_home(sea)
    }

    fn all_are_home(&mut self, sea: &Sea) -> Result<(), String> {
        let listed: HashSet<String> = sea.names("packs/").into_iter().collect();
        let mut there = HashSet::new();
        for object in sea.names("index/") {
            if !self.index.contains_key(&object) {
                let name = object.trim_start_matches("index/").parse().unwrap();
                let packs = self.repo.read_index_object(&name).map_err(|error| error.to_string())?;
                let packs = packs.into_iter().map(|pack| (pack.name, pack.entries.iter().map(|it| it.id).collect()));
                self.index.insert(object.clone(), packs.collect());
            }
            for (pack, chunks) in &self.index[&object] {
                if listed.contains(&rekeep::repo::pack::path(pack)) {
                    there.extend(chunks.iter().copied());
                }
            }
        }
        for (snapshot, chunks) in &self.needs {
            if let Some(chunk) = chunks.iter().find(|chunk| !there.contains(chunk)) {
                return Err(format!("snapshot {snapshot} needs chunk {chunk}, which is nowhere"));
            }
        }
        Ok(())
    }
}

/// Whether a tombstone lies there.
pub fn is_forgotten(sea: &Sea, id: &SnapshotId) -> bool {
    sea.names(&format!("snapshots/{id}/"))
        .iter()
        .any(|name| object::kind_of(name, &sea.bytes(name)).unwrap() == ObjectKind::Tombstone)
}
