//! Keys: the keyring in its slots, the lasting secrets, and the sealing keys derived from an epoch's secret.

use super::{RepoError, RepoId, Storage};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What a person unlocks a repository with.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum Unlock {
    /// A password.
    Password(String),
    /// A recovery key as `init` printed it (grouping and case do not matter).
    Recovery(String),
}

/// A recovery key, to be shown once.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey(pub String);

/// The secrets that outlive every key epoch.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// Names chunks.
    pub chunk_id: [u8; 32],
    /// Fingerprints records.
    pub fingerprint: [u8; 32],
    /// Sums collections.
    pub collection: [u8; 32],
    /// Decides where blocks end.
    pub cut: [u8; 32],
    /// Seeds the gear table of FastCDC.
    pub gear_seed: u64,
}

/// How costly it is to try a password (argon2id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl KdfParams {
    /// 64 MiB and 3 passes.
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
}

/// An opened keyring with everything derived from it. Cheap to share behind an `Arc`.
pub struct Keyring {
    /// The repository these keys belong to.
    pub repo_id: RepoId,
    /// The lasting secrets.
    pub secrets: Secrets,
    /// The epoch whose keys seal what is written now.
    pub current_epoch: u32,
    // the epochs' secrets and derived sealing keys are private to the keys, object, pack and index modules
}

/// One key slot, as `key list` shows it.
#[derive(Debug, Clone)]
pub struct SlotInfo {
    /// The slot's object name under `keys/`.
    pub name: String,
    /// `password` or `recovery`.
    pub kind: String,
    /// Words given when it was made: host and user.
    pub label: String,
    /// When it was made.
    pub created: crate::record::Timestamp,
    /// Whether the keyring in use was opened through it.
    pub current: bool,
}

/// Reads `rekeep.json` without any key: the repository's id and format version.
pub fn read_config(storage: &Storage) -> Result<serde_json::Value, RepoError> {
    let _ = storage;
    todo!()
}
