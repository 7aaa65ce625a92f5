//! Small objects: snapshots, checkpoints, leases, marks. Each is a container: magic, what it is, a body that is plain or
//! sealed, and the BLAKE3 hash of everything before, so that anyone without a key can tell whether it is whole.

use super::{RepoError, keys::Keyring};

/// What a container holds; part of its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectKind {
    /// A snapshot revision (sealed JSON).
    Snapshot = 1,
    /// A checkpoint (sealed JSON).
    Checkpoint = 2,
    /// A lease object (plain JSON).
    Lease = 3,
    /// A mark under `trash/` (plain JSON).
    Mark = 4,
    /// The end of a lease (plain JSON).
    LeaseEnd = 5,
    /// A void commit: fences a lease (plain JSON).
    Void = 6,
    /// A forgotten snapshot's last revision (plain JSON).
    Tombstone = 7,
}

/// Seals `body` for `name` under the current epoch.
#[must_use]
pub fn seal(keyring: &Keyring, kind: ObjectKind, name: &str, body: &[u8]) -> Vec<u8> {
    let _ = (keyring, kind, name, body);
    todo!()
}

/// Wraps a plain body.
#[must_use]
pub fn wrap(kind: ObjectKind, name: &str, body: &[u8]) -> Vec<u8> {
    let _ = (kind, name, body);
    todo!()
}

/// Reads a container's kind after checking its hash, without a key.
pub fn kind_of(name: &str, bytes: &[u8]) -> Result<ObjectKind, RepoError> {
    let _ = (name, bytes);
    todo!()
}

/// Opens a sealed container of this kind.
pub fn open(keyring: &Keyring, kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Vec<u8>, RepoError> {
    let _ = (keyring, kind, name, bytes);
    todo!()
}

/// Unwraps a plain container of this kind.
pub fn unwrap(kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Vec<u8>, RepoError> {
    let _ = (kind, name, bytes);
    todo!()
}
