//! A pack's plaintext header: what it is, who wrote it, and its wrapped key.

use super::{HEADER_BYTES, PackHeader, RawPackKey, VERSION};
use crate::repo::{
    ChunkId, RepoError, RepoId, SnapshotId,
    ids::PackKind,
    keys::{
        CAPSULE_BYTES, Capability, Keyring, Suite,
        crypto::{self, NONCE_BYTES, TAG_BYTES},
    },
    object::check_version,
    registry::Registry,
};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"RKEEPPAK";
/// The longest wrapped key that any wrap may have.
const MAX_WRAP_BYTES: usize = 8 * 1024;
/// The longest header.
pub(in crate::repo) const MAX_HEADER_BYTES: usize = HEADER_BYTES + MAX_WRAP_BYTES;

/// How a pack's key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Wrap {
    /// Under the epoch's key for packs of the kind.
    Shared = 1,
    /// To the public key of values: X-Wing (X25519 and ML-KEM-768).
    Public = 2,
    /// As 1, of a pack whose frames another repository of the same lasting secrets sealed.
    TakenOver = 3,
}

/// What a key takes that is wrapped under a shared key.
const SHARED_BYTES: usize = NONCE_BYTES + 32 + TAG_BYTES;
/// What one takes that is wrapped to a public key.
const PUBLIC_BYTES: usize = CAPSULE_BYTES + 32 + TAG_BYTES;

impl Wrap {
    const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Shared),
            2 => Some(Self::Public),
            3 => Some(Self::TakenOver),
            _ => None,
        }
    }

    /// Whether a wrapped key can have this length. One that was taken over takes what the one before it took.
    const fn takes(self, bytes: usize) -> bool {
        match self {
            Self::Shared => bytes == SHARED_BYTES,
            Self::Public => bytes == PUBLIC_BYTES,
            Self::TakenOver => bytes == SHARED_BYTES || bytes == PUBLIC_BYTES,
        }
    }
}

/// A header's fields, the wrapped key apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) struct Header {
    pub(in crate::repo) kind: PackKind,
    pub(in crate::repo) suite: Suite,
    pub(in crate::repo) epoch: u32,
    pub(in crate::repo) repo_id: RepoId,
    pub(in crate::repo) lease: SnapshotId,
    wrap: Wrap,
    wrap_bytes: usize,
}

impl Header {
    /// A header for the current epoch, with a fresh pack key wrapped in it: under the shared key where the keyring has it, else
    /// to the public one.
    pub(super) fn make(
        keyring: &Keyring,
        kind: PackKind,
        lease: SnapshotId,
    ) -> Result<(Self, PackHeader, RawPackKey), RepoError> {
        let wrap = match kind {
            PackKind::Data if !keyring.role().has(Capability::ReadValues) => Wrap::Public,
            _ => Wrap::Shared,
        };
        let (epoch, suite) = (keyring.current_epoch, keyring.suite);
        let wrap_bytes = if wrap == Wrap::Public { PUBLIC_BYTES } else { SHARED_BYTES };
        let header = Self { kind, suite, epoch, repo_id: keyring.repo_id, lease, wrap, wrap_bytes };
        let key = RawPackKey::new(crypto::random()?);
        let mut bytes = header.fixed().to_vec();
        let (wrapping, nonce, front) = if wrap == Wrap::Public {
            let (capsule, shared) = keyring.encapsulate()?;
            // The key in the capsule seals once.
            (shared, [0; NONCE_BYTES], capsule.to_vec())
        } else {
            let nonce = crypto::random::<NONCE_BYTES>()?;
            (RawPackKey::new(*keyring.pack_key("a new pack", kind, epoch)?), nonce, nonce.to_vec())
        };
        bytes.extend_from_slice(&front);
        let start = bytes.len();
        bytes.extend_from_slice(&*key);
        crypto::xseal(suite, &wrapping, &nonce, &header.wrap_ad(keyring), &mut bytes, start)?;
        Ok((header, Arc::from(bytes), key))
    }

    /// Whether whoever has these keyrings may take over a pack as it is: it is sealed as both would seal it now.
    pub(in crate::repo) fn can_move(&self, from: &Keyring, to: &Keyring) -> bool {
        let may_wrap = self.kind == PackKind::Metadata || to.role().has(Capability::ReadValues);
        self.epoch == from.current_epoch && self.suite == to.suite && may_wrap
    }

    /// A header of the same length for the same frames in another repository.
    pub(super) fn moved(
        &self,
        keyring: &Keyring,
        lease: SnapshotId,
        key: &RawPackKey,
    ) -> Result<(Self, PackHeader), RepoError> {
        let header = Self { epoch: keyring.current_epoch, lease, wrap: Wrap::TakenOver, ..*self };
        let wrapping = keyring.pack_key("a pack that is taken over", self.kind, header.epoch)?;
        let nonce = crypto::random::<NONCE_BYTES>()?;
        let mut bytes = header.fixed().to_vec();
        bytes.extend_from_slice(&nonce);
        let start = bytes.len();
        bytes.extend_from_slice(&**key);
        crypto::xseal(self.suite, wrapping, &nonce, &header.wrap_ad(keyring), &mut bytes, start)?;
        bytes.resize(HEADER_BYTES + self.wrap_bytes, 0);
        Ok((header, Arc::from(bytes)))
    }

    /// Whether a repository may hold a pack with this header.
    pub(in crate::repo) fn is_of(&self, repo_id: RepoId) -> bool {
        self.wrap == Wrap::TakenOver || self.repo_id == repo_id
    }

    fn fixed(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.kind as u8;
        bytes[11] = self.suite as u8;
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.repo_id.0);
        bytes[32..48].copy_from_slice(&self.lease.0);
        bytes[48] = self.wrap as u8;
        bytes[50..52].copy_from_slice(&(self.wrap_bytes as u16).to_le_bytes());
        bytes
    }

    /// Reads a whole header without a key.
    pub(in crate::repo) fn parse(object: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let (header, len) = Self::parse_front(object, bytes)?;
        if len == bytes.len() { Ok(header) } else { Err(RepoError::damaged(object, "its header has another length")) }
    }

    /// Reads the header that `bytes` begin with, of which only the fixed part need be there. Gives the whole header's length.
    pub(in crate::repo) fn parse_front(object: &str, bytes: &[u8]) -> Result<(Self, usize), RepoError> {
        let damaged = |reason: &str| RepoError::damaged(object, reason);
        let (fixed, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| damaged("it is cut off"))?;
        if fixed[..8] != *MAGIC {
            return Err(damaged("it is no pack"));
        }
        check_version(object, u16::from_le_bytes([fixed[8], fixed[9]]), VERSION)?;
        let suite = Suite::from_u8(fixed[11]).ok_or_else(|| Registry::Suite.unknown(object, fixed[11]))?;
        let wrap = Wrap::from_u8(fixed[48]).ok_or_else(|| Registry::Wrap.unknown(object, fixed[48]))?;
        if fixed[49] != 0 || fixed[52..].iter().any(|&byte| byte != 0) {
            return Err(damaged("a field of its header is not zero"));
        }
        let wrap_bytes = usize::from(u16::from_le_bytes([fixed[50], fixed[51]]));
        if !wrap.takes(wrap_bytes) {
            return Err(damaged("its wrapped key has another length"));
        }
        let (mut repo_id, mut lease) = ([0; 16], [0; 16]);
        repo_id.copy_from_slice(&fixed[16..32]);
        lease.copy_from_slice(&fixed[32..48]);
        let header = Self {
            kind: PackKind::from_u8(fixed[10]).ok_or_else(|| Registry::PackKind.unknown(object, fixed[10]))?,
            suite,
            epoch: u32::from_le_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]),
            repo_id: RepoId(repo_id),
            lease: SnapshotId(lease),
            wrap,
            wrap_bytes,
        };
        Ok((header, HEADER_BYTES + wrap_bytes))
    }

    /// Unwraps the pack key of the header that this was read from.
    pub(super) fn unwrap_key(&self, object: &str, keyring: &Keyring, bytes: &[u8]) -> Result<RawPackKey, RepoError> {
        let closed = || RepoError::damaged(object, "the key in its header does not open");
        if !self.is_of(keyring.repo_id) {
            return Err(RepoError::damaged(object, format!("it belongs to the repository {}", self.repo_id)));
        }
        let wrapped = bytes.get(HEADER_BYTES..HEADER_BYTES + self.wrap_bytes).ok_or_else(closed)?;
        let (wrapping, nonce, sealed) = match self.wrap {
            Wrap::Shared | Wrap::TakenOver => {
                let (wrapped, rest) = wrapped.split_at_checked(SHARED_BYTES).ok_or_else(closed)?;
                if rest.iter().any(|&byte| byte != 0) {
                    return Err(RepoError::damaged(object, "a field of its header is not zero"));
                }
                let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>().ok_or_else(closed)?;
                (RawPackKey::new(*keyring.pack_key(object, self.kind, self.epoch)?), *nonce, sealed)
            }
            Wrap::Public => {
                let (capsule, sealed) = wrapped.split_first_chunk::<CAPSULE_BYTES>().ok_or_else(closed)?;
                (keyring.decapsulate(object, self.epoch, capsule)?, [0; NONCE_BYTES], sealed)
            }
        };
        crypto::xopen(self.suite, &wrapping, &nonce, &self.wrap_ad(keyring), sealed)
            .and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok())
            .map(RawPackKey::new)
            .ok_or_else(closed)
    }

    fn wrap_ad(&self, keyring: &Keyring) -> Vec<u8> {
        let mut ad = self.common_ad();
        ad.extend_from_slice(&self.epoch.to_le_bytes());
        ad.extend_from_slice(&self.lease.0);
        ad.push(self.wrap as u8);
        if self.wrap == Wrap::TakenOver {
            ad.extend_from_slice(&keyring.repo_id.0);
            ad.extend_from_slice(&(self.wrap_bytes as u16).to_le_bytes());
        }
        ad
    }

    /// The associated data of a frame.
    pub(super) fn frame_ad(&self, ordinal: u64, id: &ChunkId) -> Vec<u8> {
        let mut ad = self.common_ad();
        ad.extend_from_slice(&ordinal.to_le_bytes());
        ad.extend_from_slice(&id.0);
        ad
    }

    fn common_ad(&self) -> Vec<u8> {
        let mut ad = Vec::with_capacity(64);
        ad.extend_from_slice(&VERSION.to_le_bytes());
        ad.extend_from_slice(&self.repo_id.0);
        ad.extend_from_slice(&[self.kind as u8, self.suite as u8]);
        ad
    }
}
