//! Reading chunks: catalog, then the frame's bytes alone, then the next pack that holds the chunk if one fails.

use super::{Inner, Repository, ahead::Ahead, lock};
use crate::repo::{
    ChunkData, ChunkId, ChunkKind, ChunkReader, ObjectName, ReadAhead, RepoError, SnapshotId,
    cache::Cache,
    catalog::ChunkPlace,
    chunk::{MAX_CHUNK_BYTES, MAX_RUNS},
    faults::{self, Rule},
    pack::{self, PackKey},
};
use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

/// How often the index may change under a reader before it gives up.
const MAX_RELOADS: usize = 100;

impl Repository {
    /// Does work that tries what can be read, and gives the packs beside it that lay in an archive. Of each of them one read is
    /// tried.
    pub fn rehearse<T>(&self, work: impl FnOnce() -> T) -> (T, BTreeSet<ObjectName>) {
        let frozen = &self.inner.frozen;
        frozen.rehearsals.fetch_add(1, Ordering::AcqRel);
        let done = work();
        let met = lock(&frozen.met).clone();
        // Others may be at it still.
        if frozen.rehearsals.fetch_sub(1, Ordering::AcqRel) == 1 {
            lock(&frozen.met).clear();
        }
        (done, met)
    }
}

impl ChunkReader for Inner {
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError> {
        self.read_chunk(kind, id, true)
    }

    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        Ok(self.catalog.find(id)?.first().map(|place| u64::from(place.entry.stored_len)))
    }
}

/// Reads chunks for somebody.
pub(super) struct Reader {
    pub(super) inner: Arc<Inner>,
    /// For who holds no lease, which revisions there were when he began: what he misses may have been forgotten or squashed
    /// since.
    pub(super) since: Option<blake3::Hash>,
    /// The lease of who holds one: if it was fenced, what is missing went because nobody seemed to need it.
    pub(super) held: Option<SnapshotId>,
    /// Whether what is kept on local disk will do.
    pub(super) is_cached: bool,
}

impl Reader {
    /// What is missing, unless that is because the reader kept it no longer.
    fn missing(&self, id: &ChunkId, error: RepoError) -> Result<RepoError, RepoError> {
        if let Some(lease) = self.held
            && self.inner.is_fenced(&lease)?
        {
            return Ok(RepoError::Overslept { lease });
        }
        let Some(since) = self.since else { return Ok(error) };
        self.inner.refresh_snapshots(&mut Vec::new())?;
        Ok(if self.inner.revisions_known()? == since { error } else { RepoError::MovedOn { id: *id } })
    }
}

impl ChunkReader for Reader {
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError> {
        match self.inner.read_chunk(kind, id, self.is_cached) {
            Err(error @ (RepoError::ChunkMissing { .. } | RepoError::Missing { .. })) => Err(self.missing(id, error)?),
            read => read,
        }
    }

    fn ahead(self: Arc<Self>) -> Option<Box<dyn ReadAhead>> {
        let is_far = self.inner.storage.is_far();
        is_far.then(|| Box::new(Ahead::new(Arc::clone(&self.inner), self.is_cached)) as Box<dyn ReadAhead>)
    }

    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        self.inner.stored_len(id)
    }
}

impl Inner {
    /// Tells all revisions that are known from what was known before some of them changed.
    pub(in crate::repo) fn revisions_known(&self) -> Result<blake3::Hash, RepoError> {
        let (number, file) = self.catalog.generation()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&number.to_le_bytes()).update(&file);
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

    /// Reads a chunk: from the cache if that will do, else from the first pack that gives it.
    pub(in crate::repo) fn read_chunk(
        &self,
        kind: ChunkKind,
        id: &ChunkId,
        is_cached: bool,
    ) -> Result<ChunkData, RepoError> {
        let mut tried = HashSet::new();
        let mut failures = Vec::new();
        let mut unread = Vec::new();
        let (mut reloads, mut is_still) = (0, false);
        while reloads < MAX_RELOADS {
            let before = tried.len();
            for place in self.catalog.find(id)? {
                if !tried.insert((place.pack, place.ordinal)) {
                    continue;
                }
                let kept = if is_cached { self.read_kept(kind, &place) } else { None };
                match kept.map_or_else(|| self.read_place(kind, &place), Ok) {
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
            unread.clear();
            is_still = !self.refresh_index_listed(&mut Vec::new(), &mut unread)?.1;
            if reloads > 1 && faults::is_broken(Rule::ReloadUntilStill) {
                break;
            }
        }
        Err(unreadable(id, failures, unread))
    }

    /// Where a chunk is read from first, if nothing goes wrong there.
    pub(in crate::repo) fn first_place(&self, id: &ChunkId) -> Option<ChunkPlace> {
        self.catalog.find(id).ok()?.into_iter().next()
    }

    /// Where in its pack a chunk's frame lies, if what the index says of it can be.
    pub(super) fn frame_range(kind: ChunkKind, place: &ChunkPlace) -> Result<Range<u64>, RepoError> {
        let path = || pack::path(&place.name);
        if place.entry.kind != kind {
            let reason = format!("chunk {} in it is a {:?}, not a {kind:?}", place.entry.id, place.entry.kind);
            return Err(RepoError::damaged(path(), reason));
        }
        if place.entry.stored_len as usize > MAX_FRAME_BYTES {
            return Err(RepoError::damaged(path(), "the index names a frame longer than any can be"));
        }
        let end = place.entry.offset.checked_add(u64::from(place.entry.stored_len));
        let end = end.ok_or_else(|| RepoError::damaged(path(), "the index names a frame outside of it"))?;
        Ok(place.entry.offset..end)
    }

    pub(in crate::repo) fn open_frame(&self, place: &ChunkPlace, frame: &[u8]) -> Result<ChunkData, RepoError> {
        self.pack_key(place)?.open_frame(place.ordinal, &place.entry, frame)
    }

    fn pack_key(&self, place: &ChunkPlace) -> Result<Arc<PackKey>, RepoError> {
        if let Some(key) = self.pack_keys.get(place.pack) {
            return Ok(key);
        }
        let key = Arc::new(PackKey::unwrap(&self.keyring, &place.name, &place.header)?);
        self.pack_keys.insert(place.pack, &key);
        Ok(key)
    }

    fn read_place(&self, kind: ChunkKind, place: &ChunkPlace) -> Result<ChunkData, RepoError> {
        let range = Self::frame_range(kind, place)?;
        // Who may not read it asks for nothing.
        let key = self.pack_key(place)?;
        let path = pack::path(&place.name);
        if self.frozen.has(&place.name) {
            return Err(RepoError::Archived { object: path });
        }
        let read = self.storage.read_range(&path, range);
        let frame = read.inspect_err(|error| self.frozen.note(place.name, error))?;
        let data = key.open_frame(place.ordinal, &place.entry, &frame)?;
        self.keep(place, &frame);
        Ok(data)
    }

    fn cache_for(&self, place: &ChunkPlace) -> Option<&Cache> {
        self.cache.as_ref().filter(|_| Cache::keeps(place.entry.kind.pack_kind()))
    }

    /// A chunk from the cache. What does not open there is forgotten.
    fn read_kept(&self, kind: ChunkKind, place: &ChunkPlace) -> Option<ChunkData> {
        let cache = self.cache_for(place)?;
        let range = Self::frame_range(kind, place).ok()?;
        let frame = cache.frame(&place.name, place.ordinal, range.start, place.entry.stored_len as usize)?;
        match self.open_frame(place, &frame) {
            Ok(data) => Some(data),
            Err(RepoError::Damaged { .. }) => {
                cache.drop_frame(&place.name, place.ordinal);
                None
            }
            Err(_) => None,
        }
    }

    /// Keeps a frame that opened.
    pub(super) fn keep(&self, place: &ChunkPlace, frame: &[u8]) {
        if let Some(cache) = self.cache_for(place) {
            cache.keep_frame(&place.name, place.ordinal, frame);
        }
    }

    /// Whether the cache seems to have a chunk.
    pub(super) fn is_at_hand(&self, place: &ChunkPlace) -> bool {
        self.cache_for(place).is_some_and(|cache| cache.has_frame(&place.name, place.ordinal))
    }

    /// The plaintext of a Table chunk.
    pub(in crate::repo) fn read_table(&self, id: &ChunkId) -> Result<Vec<u8>, RepoError> {
        let data = self.read(ChunkKind::Table, id)?;
        Ok(data.plain()?.bytes)
    }
}

/// A chunk's plaintext, the directory of its runs, tags and what compression may add.
const MAX_FRAME_BYTES: usize = MAX_CHUNK_BYTES + MAX_RUNS * 32 + 64 * 1024;

/// One error for all packs that were tried: storage trouble is told as such, since it may pass. `unread` are index objects.
fn unreadable(id: &ChunkId, mut failures: Vec<(ObjectName, RepoError)>, unread: Vec<RepoError>) -> RepoError {
    if failures.iter().all(|(_, error)| matches!(error, RepoError::Missing { .. })) {
        let packs: Vec<_> =
            failures.iter().map(|(pack, _)| format!("packs/{}/{pack}", &pack.to_string()[..2])).collect();
        return match RepoError::in_no_pack(id, unread) {
            RepoError::ChunkMissing { .. } if !packs.is_empty() => {
                RepoError::Missing { object: format!("chunk {id}: {}", packs.join(" and ")) }
            }
            absent => absent,
        };
    }
    let reasons: Vec<_> = failures.iter().map(|(pack, error)| format!("in pack {pack}: {error}")).collect();
    // It comes back when it is asked for, whatever is wrong with the others.
    if let Some(at) = failures.iter().position(|(_, error)| matches!(error, RepoError::Archived { .. })) {
        return failures.swap_remove(at).1;
    }
    let passing = failures.iter().position(|(_, error)| matches!(error, RepoError::Storage { .. }));
    if let Some(RepoError::Storage { operation, source, .. }) = passing.map(|at| failures.swap_remove(at).1) {
        let source = std::io::Error::new(source.kind(), reasons.join("; "));
        return RepoError::Storage { operation, object: format!("chunk {id}"), source };
    }
    // What a newer program wrote is not damaged.
    let is_newer = |error: &RepoError| {
        matches!(error, RepoError::UnknownFeature { .. } | RepoError::Epoch { .. } | RepoError::NewerFormat { .. })
    };
    let newer = failures.iter().position(|(_, error)| is_newer(error));
    if let Some(at) = newer {
        return failures.swap_remove(at).1;
    }
    RepoError::damaged(format!("chunk {id}"), reasons.join("; "))
}
