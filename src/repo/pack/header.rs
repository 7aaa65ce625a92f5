//! A pack's plaintext header: what it is, who wrote it, and its wrapped key.

use super::{HEADER_BYTES, PackHeader, RawPackKey, SUITE, VERSION};
use crate::repo::{
    ChunkId, RepoError, RepoId, SnapshotId,
    ids::PackKind,
    keys::{
        Keyring,
        crypto::{self, NONCE_BYTES},
    },
    object::check_version,
};

const MAGIC: &[u8; 8] = b"RKEEPPAK";
const WRAPPED: std::ops::Range<usize> = 72..120;

/// A header's fields, the wrapped key apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) struct Header {
    pub(in crate::repo) kind: PackKind,
    pub(in crate::repo) epoch: u32,
    pub(in crate::repo) repo_id: RepoId,
    pub(in crate::repo) lease: SnapshotId,
}

impl Header {
    /// A header for the current epoch, with a fresh pack key wrapped in it.
    pub(super) fn make(
        keyring: &Keyring,
        kind: PackKind,
        lease: SnapshotId,
    ) -> Result<(Self, PackHeader, RawPackKey), RepoError> {
        let header = Self { kind, epoch: keyring.current_epoch, repo_id: keyring.repo_id, lease };
        let wrapping = keyring
            .pack_key(kind, header.epoch)
            .ok_or_else(|| RepoError::Internal("the keyring lacks its current epoch".to_owned()))?;
        let key = RawPackKey::new(crypto::random()?);
        let nonce = crypto::random::<NONCE_BYTES>()?;
        let mut wrapped = key.to_vec();
        crypto::xseal(wrapping, &nonce, &header.wrap_ad(), &mut wrapped, 0)?;
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = kind as u8;
        bytes[11] = SUITE;
        bytes[12..16].copy_from_slice(&header.epoch.to_le_bytes());
        bytes[16..32].copy_from_slice(&header.repo_id.0);
        bytes[32..48].copy_from_slice(&lease.0);
        bytes[48..72].copy_from_slice(&nonce);
        bytes[WRAPPED].copy_from_slice(&wrapped);
        Ok((header, bytes, key))
    }

    /// Reads a header without a key.
    pub(in crate::repo) fn parse(object: &str, bytes: &PackHeader) -> Result<Self, RepoError> {
        let damaged = |reason: &str| RepoError::damaged(object, reason);
        if bytes[..8] != *MAGIC {
            return Err(damaged("it is no pack"));
        }
        check_version(object, u16::from_le_bytes([bytes[8], bytes[9]]), VERSION)?;
        if bytes[11] != SUITE {
            let feature = format!("suite {}", bytes[11]);
            return Err(RepoError::UnknownFeature { object: object.to_owned(), feature });
        }
        if bytes[WRAPPED.end..].iter().any(|&byte| byte != 0) {
            return Err(damaged("the end of its header is not zero"));
        }
        let (mut repo_id, mut lease) = ([0; 16], [0; 16]);
        repo_id.copy_from_slice(&bytes[16..32]);
        lease.copy_from_slice(&bytes[32..48]);
        Ok(Self {
            kind: PackKind::from_u8(bytes[10]).ok_or_else(|| damaged("it is of an unknown kind"))?,
            epoch: u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]),
            repo_id: RepoId(repo_id),
            lease: SnapshotId(lease),
        })
    }

    /// Unwraps the pack key of the header that this was read from.
    pub(super) fn unwrap_key(
        &self,
        object: &str,
        keyring: &Keyring,
        bytes: &PackHeader,
    ) -> Result<RawPackKey, RepoError> {
        if self.repo_id != keyring.repo_id {
            return Err(RepoError::damaged(object, format!("it belongs to the repository {}", self.repo_id)));
        }
        let wrapping = keyring
            .pack_key(self.kind, self.epoch)
            .ok_or_else(|| RepoError::damaged(object, format!("the keyring has no epoch {}", self.epoch)))?;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&bytes[48..WRAPPED.start]);
        crypto::xopen(wrapping, &nonce, &self.wrap_ad(), &bytes[WRAPPED])
            .and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok())
            .map(RawPackKey::new)
            .ok_or_else(|| RepoError::damaged(object, "the key in its header does not open"))
    }

    fn wrap_ad(&self) -> Vec<u8> {
        let mut ad = self.common_ad();
        ad.extend_from_slice(&self.epoch.to_le_bytes());
        ad.extend_from_slice(&self.lease.0);
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
        ad.extend_from_slice(&[self.kind as u8, SUITE]);
        ad
    }
}
