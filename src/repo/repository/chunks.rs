//! Reading chunks: catalog, then the frame's bytes alone, then the next pack that holds the chunk if one fails.

use super::{Inner, lock};
use crate::repo::{
    ChunkData, ChunkId, ChunkKind, ChunkReader, ObjectName, RepoError,
    catalog::{PackNumber, Place},
    chunk::{MAX_CHUNK_BYTES, MAX_RUNS},
    faults::{self, Rule},
    pack::{self, PackKey},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// Unwrapped pack keys kept at most: half of them recent, half older.
const MAX_PACK_KEYS: usize = 1024;

/// How often the index may change under a reader before it gives up.
const MAX_RELOADS: usize = 100;

/// Recently used pack keys. When the young half is full it becomes the old half and the old half is dropped.
#[derive(Default)]
pub(super) struct PackKeys {
    halves: Mutex<[HashMap<PackNumber, Arc<PackKey>>; 2]>,
}

impl PackKeys {
    fn get(&self, pack: PackNumber) -> Option<Arc<PackKey>> {
        let mut halves = lock(&self.halves);
        if let Some(key) = halves[0].get(&pack) {
            return Some(Arc::clone(key));
        }
        let key = halves[1].remove(&pack)?;
        Self::put(&mut halves, pack, &key);
        Some(key)
    }

    fn insert(&self, pack: PackNumber, key: &Arc<PackKey>) {
        Self::put(&mut lock(&self.halves), pack, key);
    }

    fn put(halves: &mut [HashMap<PackNumber, Arc<PackKey>>; 2], pack: PackNumber, key: &Arc<PackKey>) {
        if halves[0].len() >= MAX_PACK_KEYS / 2 {
            halves[1] = std::mem::take(&mut halves[0]);
        }
        halves[0].insert(pack, Arc::clone(key));
    }
}

/// One of them.
struct BadPack {
    number: PackNumber,
    problem: String,
    is_remembered: bool,
}

/// Packs in which a chunk that their index promises could not be read, since this repository was opened. Packs never
/// change, so what was damaged or gone once is not trusted again: writers count what lies in them as absent.
#[derive(Default)]
pub(in crate::repo) struct BadPacks {
    found: Mutex<BTreeMap<ObjectName, BadPack>>,
    any: AtomicBool,
}

impl BadPacks {
    /// Trouble that may pass says nothing about the pack.
    fn note(&self, place: &Place, error: &RepoError) {
        if matches!(error, RepoError::Damaged { .. } | RepoError::Missing { .. }) {
            self.insert(place.name, place.pack, &error.to_string());
        }
    }

    pub(in crate::repo) fn insert(&self, name: ObjectName, number: PackNumber, problem: &str) {
        let bad = || BadPack { number, problem: problem.to_owned(), is_remembered: false };
        lock(&self.found).entry(name).or_insert_with(bad);
        self.any.store(true, Ordering::Release);
    }

    /// What nobody was told of yet.
    pub(in crate::repo) fn to_remember(&self) -> Vec<(ObjectName, String)> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let found = lock(&self.found);
        let new = found.iter().filter(|(_, bad)| !bad.is_remembered);
        new.map(|(name, bad)| (*name, bad.problem.clone())).collect()
    }

    pub(in crate::repo) fn is_remembered(&self, name: &ObjectName) {
        if let Some(bad) = lock(&self.found).get_mut(name) {
            bad.is_remembered = true;
        }
    }

    pub(in crate::repo) fn forget(&self, name: &ObjectName) {
        lock(&self.found).remove(name);
    }

    fn has(&self, name: &ObjectName) -> bool {
        self.any.load(Ordering::Acquire) && lock(&self.found).contains_key(name)
    }

    /// All of them; nearly always none.
    pub(in crate::repo) fn all(&self) -> Vec<(PackNumber, ObjectName)> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        lock(&self.found).iter().map(|(name, bad)| (bad.number, *name)).collect()
    }
}

impl ChunkReader for Inner {
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError> {
        let mut tried = HashSet::new();
        let mut failures = Vec::new();
        let (mut reloads, mut is_still) = (0, false);
        while reloads < MAX_RELOADS {
            let before = tried.len();
            for place in self.catalog.find(id)? {
                if !tried.insert((place.pack, place.ordinal)) {
                    continue;
                }
                match self.read_place(kind, &place) {
                    Ok(data) => return Ok(data),
                    Err(error) => {
                        self.bad_packs.note(&place, &error);
                        failures.push((place.name, error));
                    }
                }
            }
            if is_still && tried.len() == before {
                break;
            }
            // A prune beside us may have moved the chunk; whether it did shows in the index. If nothing is new there, another
            // process may have brought it into the catalog since we looked: once more, then.
            reloads += 1;
            is_still = !self.refresh_index(&mut Vec::new())?;
            if reloads > 1 && faults::is_broken(Rule::ReloadUntilStill) {
                break;
            }
        }
        Err(unreadable(id, failures))
    }

    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        Ok(self.catalog.find(id)?.first().map(|place| u64::from(place.entry.stored_len)))
    }
}

/// Reads chunks without a lease: what it misses may have been forgotten or squashed since it began.
pub(super) struct Leaseless {
    pub(super) inner: Arc<Inner>,
    /// Which revisions there were then.
    pub(super) since: blake3::Hash,
}

impl Leaseless {
    fn moved_on(&self) -> Result<bool, RepoError> {
        self.inner.refresh_snapshots(&mut Vec::new())?;
        Ok(self.inner.revisions_known()? != self.since)
    }
}

impl ChunkReader for Leaseless {
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError> {
        match self.inner.read(kind, id) {
            Err(RepoError::ChunkMissing { .. } | RepoError::Missing { .. }) if self.moved_on()? => {
                Err(RepoError::MovedOn { id: *id })
            }
            read => read,
        }
    }

    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        self.inner.stored_len(id)
    }
}

impl Inner {
    /// A hash of the names of all revisions.
    pub(in crate::repo) fn revisions_known(&self) -> Result<blake3::Hash, RepoError> {
        let mut hasher = blake3::Hasher::new();
        for (id, revision, _) in self.catalog.revision_kinds()? {
            hasher.update(&id.0).update(&revision.to_le_bytes());
        }
        Ok(hasher.finalize())
    }

    /// Whether a pack holds the chunk in which nothing was found unreadable.
    pub(super) fn holds(&self, id: &ChunkId) -> Result<bool, RepoError> {
        Ok(self.catalog.find(id)?.iter().any(|place| !self.bad_packs.has(&place.name)))
    }

    /// Counts the packs that hold a chunk as unreadable: its plaintext turned out to be no such thing.
    pub(in crate::repo) fn distrust(&self, id: &ChunkId) -> Result<(), RepoError> {
        for place in self.catalog.find(id)? {
            self.bad_packs.insert(place.name, place.pack, &format!("chunk {id} in it is not what refers to it"));
        }
        Ok(())
    }

    fn read_place(&self, kind: ChunkKind, place: &Place) -> Result<ChunkData, RepoError> {
        let path = pack::path(&place.name);
        if place.entry.kind != kind {
            let reason = format!("chunk {} in it is a {:?}, not a {kind:?}", place.entry.id, place.entry.kind);
            return Err(RepoError::damaged(path, reason));
        }
        if place.entry.stored_len as usize > MAX_FRAME_BYTES {
            return Err(RepoError::damaged(path, "the index names a frame longer than any can be"));
        }
        let end = place.entry.offset.checked_add(u64::from(place.entry.stored_len));
        let end = end.ok_or_else(|| RepoError::damaged(&*path, "the index names a frame outside of it"))?;
        let key = if let Some(key) = self.pack_keys.get(place.pack) {
            key
        } else {
            let key = Arc::new(PackKey::unwrap(&self.keyring, &place.name, &place.header)?);
            self.pack_keys.insert(place.pack, &key);
            key
        };
        let frame = self.storage.read_range(&path, place.entry.offset..end)?;
        key.open_frame(place.ordinal, &place.entry, &frame)
    }

    /// The plaintext of a Table chunk.
    pub(in crate::repo) fn read_table(&self, id: &ChunkId) -> Result<Vec<u8>, RepoError> {
        let data = self.read(ChunkKind::Table, id)?;
        Ok(data.plain()?.bytes)
    }
}

/// A chunk's plaintext, the directory of its runs, tags and what compression may add.
const MAX_FRAME_BYTES: usize = MAX_CHUNK_BYTES + MAX_RUNS * 32 + 64 * 1024;

/// One error for all packs that were tried: storage trouble is told as such, since it may pass.
fn unreadable(id: &ChunkId, mut failures: Vec<(ObjectName, RepoError)>) -> RepoError {
    if failures.is_empty() {
        return RepoError::ChunkMissing { id: *id };
    }
    let all_missing = failures.iter().all(|(_, error)| matches!(error, RepoError::Missing { .. }));
    let packs: Vec<_> = failures.iter().map(|(pack, _)| format!("packs/{}/{pack}", &pack.to_string()[..2])).collect();
    if all_missing {
        return RepoError::Missing { object: format!("chunk {id}: {}", packs.join(" and ")) };
    }
    let reasons: Vec<_> = failures.iter().map(|(pack, error)| format!("in pack {pack}: {error}")).collect();
    let passing = failures.iter().position(|(_, error)| matches!(error, RepoError::Storage { .. }));
    if let Some(RepoError::Storage { operation, source, .. }) = passing.map(|at| failures.swap_remove(at).1) {
        let source = std::io::Error::new(source.kind(), reasons.join("; "));
        return RepoError::Storage { operation, object: format!("chunk {id}"), source };
    }
    // What a newer program wrote is not damaged.
    let newer = failures.iter().position(|(_, error)| matches!(error, RepoError::UnknownFeature { .. }));
    if let Some(at) = newer {
        return failures.swap_remove(at).1;
    }
    RepoError::damaged(format!("chunk {id}"), reasons.join("; "))
}
