//! The invariant, looked at after every operation that could break it: no committed snapshot references a chunk that lies
//! in no listed pack of a listed index object, what committed stays until it is forgotten, and holds the same in all its
//! revisions.

use super::storage::Sea;
use rekeep::repo::{
    By, ChunkId, ObjectName, Repository, Snapshot, SnapshotId,
    pruner::{LayerWalk, flat::Flat},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// Packs and their chunks.
type Described = Vec<(ObjectName, Vec<ChunkId>)>;

/// What a snapshot's newest revision that counts references.
struct Needs {
    is_of_stream: bool,
    revision: u64,
    chunks: Vec<ChunkId>,
    /// What its layers hold, themselves left out.
    holds: BTreeSet<ChunkId>,
}

/// Looks at the storage from outside.
pub struct Checker {
    repo: Repository,
    walk: Arc<dyn LayerWalk>,
    /// Whether layers hold the same after a squash: of real ones only who reads them knows.
    compares: bool,
    needs: BTreeMap<SnapshotId, Needs>,
    index: HashMap<String, Described>,
}

impl Checker {
    pub fn new(repo: Repository) -> Self {
        Self { repo, walk: Arc::new(Flat), compares: true, needs: BTreeMap::new(), index: HashMap::new() }
    }

    /// Of a repository whose layers are real ones.
    pub fn of_layers(repo: Repository, walk: Arc<dyn LayerWalk>) -> Self {
        Self { walk, compares: false, ..Self::new(repo) }
    }

    /// A snapshot came, was revised, forgotten or fenced.
    pub fn snapshots_changed(&mut self, sea: &Sea) -> Result<(), String> {
        self.repo.refresh().map_err(|error| error.to_string())?;
        let snapshots = self.repo.snapshots().map_err(|error| error.to_string())?;
        let heads = self.repo.heads(By::All, None).map_err(|error| error.to_string())?;
        if !heads.iter().map(|it| (it.id, it.revision)).eq(snapshots.iter().map(|it| (it.id, it.revision))) {
            return Err(format!("heads say {heads:?}, which is not what counts"));
        }
        let standing: HashSet<SnapshotId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        let gone: Vec<SnapshotId> = self.needs.keys().filter(|id| !standing.contains(id)).copied().collect();
        for id in gone {
            let is_superseded = self.needs[&id].is_of_stream && sea.may_be_superseded();
            if !sea.is_forgotten(&id) && !is_superseded {
                return Err(format!("snapshot {id} has vanished, although nobody forgot it"));
            }
            self.needs.remove(&id);
        }
        for snapshot in snapshots {
            let before = self.needs.get(&snapshot.id);
            if before.is_some_and(|needs| needs.revision == snapshot.revision) {
                continue;
            }
            let needs = self.needs_of(&snapshot)?;
            if self.compares && before.is_some_and(|before| before.holds != needs.holds) {
                return Err(format!("revision {} of snapshot {} holds other things", needs.revision, snapshot.id));
            }
            self.needs.insert(snapshot.id, needs);
        }
        self.all_are_home(sea)
    }

    fn needs_of(&self, snapshot: &Snapshot) -> Result<Needs, String> {
        let is_of_stream = snapshot.source().name == "river";
        let mut needs = Needs { is_of_stream, revision: snapshot.revision, chunks: Vec::new(), holds: BTreeSet::new() };
        for layer in snapshot.collections.iter().flat_map(|collection| &collection.stack) {
            let walked = self.walk.chunks(&self.repo.chunks(), layer, &mut |id| {
                needs.chunks.push(id);
                if id != layer.id {
                    needs.holds.insert(id);
                }
                Ok(())
            });
            walked.map_err(|error| format!("snapshot {} cannot be read: {error}", snapshot.id))?;
        }
        Ok(needs)
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
        for (snapshot, needs) in &self.needs {
            if let Some(chunk) = needs.chunks.iter().find(|chunk| !there.contains(chunk)) {
                return Err(format!("snapshot {snapshot} needs chunk {chunk}, which is nowhere"));
            }
        }
        Ok(())
    }
}
