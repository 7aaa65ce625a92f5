//! Whole packs and whole folders: what `verify` and `stats` look at.

use super::{Repository, names};
use crate::repo::{
    ChunkId, ObjectName, RepoError,
    catalog::{ChunkPlace, IndexedPackInfo},
    index::{self, IndexedPack},
    object,
    pack::{self, PackEntry, PackHeader, PackKey},
    storage::{Begun, Listed},
};

/// What reading every byte of a pack showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackCheck {
    /// Chunks whose every byte is what was written.
    pub chunks: u64,
    /// Their plaintext bytes.
    pub plain_bytes: u64,
    /// What is wrong with the pack as a whole: its name, its directory, or that it is not what the index says.
    pub problem: Option<String>,
    /// Chunks that cannot be read from it, and why.
    pub damaged: Vec<(ChunkId, String)>,
}

impl PackCheck {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problem.is_none() && self.damaged.is_empty()
    }
}

/// What lies in one folder of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderStats {
    /// `packs`, `index` …
    pub folder: &'static str,
    /// Objects in it.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Repository {
    /// The packs that index objects describe.
    pub fn packs(&self) -> Result<Vec<IndexedPackInfo>, RepoError> {
        self.inner.catalog.packs()
    }

    /// Where a chunk lies: every pack and place, in the order in which they are tried.
    pub fn chunk_places(&self, id: &ChunkId) -> Result<Vec<ChunkPlace>, RepoError> {
        self.inner.catalog.find(id)
    }

    /// What index objects say about a pack: its header and, by ordinal, its entries.
    pub fn pack_entries(&self, name: &ObjectName) -> Result<Option<(PackHeader, Vec<PackEntry>)>, RepoError> {
        self.inner.catalog.pack_entries(name)
    }

    /// Reads a whole pack: its name, its directory, every frame, every chunk's id. A pack whose directory cannot be read
    /// is judged by what the index says of it.
    ///
    /// # Errors
    /// [`RepoError::Missing`] if it is gone, [`RepoError::Storage`] if it cannot be read.
    pub fn read_pack(&self, name: &ObjectName) -> Result<PackCheck, RepoError> {
        self.judge_pack(name, object::read(&self.inner.storage, &pack::path(name)))
    }

    /// Reads whole packs, given with their lengths, in their order; where storage is far the next ones are on their way. Each is
    /// to be given to [`Self::judge_pack`].
    pub fn fetch_packs(
        &self,
        packs: Vec<(ObjectName, u64)>,
    ) -> impl Iterator<Item = ((ObjectName, u64), Begun)> + Send + use<> {
        let wanted = packs.into_iter().map(|(name, bytes)| ((name, bytes), pack::path(&name), bytes));
        object::read_each(&self.inner.storage, wanted)
    }

    /// [`Self::read_pack`] of a pack whose bytes were read, or could not be.
    pub fn judge_pack(&self, name: &ObjectName, read: Result<Vec<u8>, RepoError>) -> Result<PackCheck, RepoError> {
        let inner = &self.inner;
        let number = inner.catalog.pack_number(name)?;
        if let (Err(error @ (RepoError::Damaged { .. } | RepoError::Missing { .. })), Some(number)) = (&read, number) {
            inner.bad_packs.insert(*name, number, &error.to_string());
        }
        let check = self.check_pack(name, &read?)?;
        let problem = check.problem.as_ref().or(check.damaged.first().map(|(_, problem)| problem));
        if let (Some(problem), Some(number)) = (problem, number) {
            inner.bad_packs.insert(*name, number, problem);
        }
        Ok(check)
    }

    fn check_pack(&self, name: &ObjectName, bytes: &[u8]) -> Result<PackCheck, RepoError> {
        let inner = &self.inner;
        let mut check = PackCheck::default();
        let indexed = inner.catalog.pack_entries(name)?;
        let (header, entries) = match (pack::read_directory(&inner.keyring, name, bytes), indexed) {
            (Ok((header, _, _, entries)), indexed) => {
                if indexed.is_some_and(|(_, indexed)| indexed != entries) {
                    check.problem = Some("its directory is not what the index says".to_owned());
                }
                (header, entries)
            }
            (Err(error), Some(indexed)) => {
                check.problem = Some(error.to_string());
                indexed
            }
            (Err(error), None) => {
                check.problem = Some(error.to_string());
                return Ok(check);
            }
        };
        let key = match PackKey::unwrap(&inner.keyring, name, &header) {
            Ok(key) => key,
            Err(error) => {
                check.problem = Some(error.to_string());
                check.damaged.extend(entries.iter().map(|entry| (entry.id, error.to_string())));
                return Ok(check);
            }
        };
        for (ordinal, entry) in entries.iter().enumerate() {
            match self.check_frame(&key, ordinal as u64, entry, bytes) {
                Ok(plain_bytes) => {
                    check.chunks += 1;
                    check.plain_bytes += plain_bytes;
                }
                Err(reason) => check.damaged.push((entry.id, reason)),
            }
        }
        Ok(check)
    }

    fn check_frame(&self, key: &PackKey, ordinal: u64, entry: &PackEntry, bytes: &[u8]) -> Result<u64, String> {
        let start = usize::try_from(entry.offset).map_err(|error| error.to_string())?;
        let end = start.checked_add(entry.stored_len as usize).ok_or("its frame lies outside of the pack")?;
        let frame = bytes.get(start..end).ok_or("its frame lies outside of the pack")?;
        let data = key.open_frame(ordinal, entry, frame).map_err(|error| error.to_string())?;
        let plain = data.plain().map_err(|error| error.to_string())?;
        if plain.id(&self.inner.keyring.secrets.chunk_id, entry.kind) != entry.id {
            return Err("its plaintext is not what its name says".to_owned());
        }
        Ok(plain.bytes.len() as u64)
    }

    /// The listed index objects, readable or not.
    pub fn raw_index_objects(&self) -> Result<Vec<Listed>, RepoError> {
        self.inner.storage.list("index/")
    }

    /// Reads and opens one index object, whatever the catalog holds of it.
    pub fn read_index_object(&self, name: &ObjectName) -> Result<Vec<IndexedPack>, RepoError> {
        let bytes = object::read(&self.inner.storage, &names::index_path(name))?;
        index::open(&self.inner.keyring, name, &bytes)
    }

    /// Objects and bytes by folder.
    pub fn stats(&self) -> Result<Vec<FolderStats>, RepoError> {
        let folders = [
            "keys",
            "packs",
            "index",
            "snapshots",
            "forgotten",
            "checkpoints",
            "leases",
            "trash",
            "damage",
            "drills",
            "claims",
            "audit",
            "parity",
            "settings",
            "copies",
        ];
        let storage = &self.inner.storage;
        let stats = storage.each_of(&folders, |&folder| {
            let listed = storage.list(&format!("{folder}/"))?;
            let bytes = listed.iter().map(|object| object.bytes).sum();
            Ok(FolderStats { folder, objects: listed.len() as u64, bytes })
        });
        stats.into_iter().collect()
    }
}
