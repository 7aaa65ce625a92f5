//! Index objects: which chunks lie in which packs. The names and lengths of the packs are readable without a key.

use super::{
    ObjectName, RepoError, SnapshotId,
    ids::PackKind,
    keys::Keyring,
    pack::{PackEntry, PackHeader},
};

/// One pack as an index object describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub bytes: u64,
    /// Metadata or data.
    pub kind: PackKind,
    /// The lease that wrote it.
    pub lease: SnapshotId,
    /// Its header, so that reading a chunk takes one request.
    pub header: PackHeader,
    /// Its chunks, by ordinal.
    pub entries: Vec<PackEntry>,
}

/// Seals an index object; gives its name and stored bytes.
pub fn seal(keyring: &Keyring, packs: &[IndexedPack]) -> Result<(ObjectName, Vec<u8>), RepoError> {
    let _ = (keyring, packs);
    todo!()
}

/// Opens an index object, checking its name.
pub fn open(keyring: &Keyring, name: &ObjectName, bytes: &[u8]) -> Result<Vec<IndexedPack>, RepoError> {
    let _ = (keyring, name, bytes);
    todo!()
}

/// Names and lengths of the packs in an index object, without a key, checking its name.
pub fn packs_of(name: &ObjectName, bytes: &[u8]) -> Result<Vec<(ObjectName, u64)>, RepoError> {
    let _ = (name, bytes);
    todo!()
}
