//! Who made an object: the signing keys of roles, and the keys of leases, which roles vouch for.
//!
//! Signatures and not keyed hashes, because who checks a tombstone must not be able to make one. The layout is section 6
//! of `format-spec/repository.md`.

use super::{Capability, Keyring, crypto};
use crate::repo::{RepoError, RepoId, SnapshotId};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

const OBJECT_CONTEXT: &str = "rekeep 2026-11 v1 small object signature";
const CERTIFICATE_CONTEXT: &str = "rekeep 2026-11 v1 lease certificate";
const LEASE_CONTEXT: &str = "rekeep 2026-11 v1 lease name";

/// The length of a public key.
pub(in crate::repo) const PUBLIC_BYTES: usize = 32;
/// The length of a signature.
pub(in crate::repo) const SIGNATURE_BYTES: usize = 64;

/// Whose signing key vouches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Party {
    /// Everybody who opens the repository: the leases of readers.
    Reader = 1,
    /// Who may write: leases, commits, checkpoints.
    Writer = 2,
    /// Who may forget and prune.
    Operator = 3,
}

impl Party {
    /// From its number in the format.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Reader),
            2 => Some(Self::Writer),
            3 => Some(Self::Operator),
            _ => None,
        }
    }

    /// What its signing key takes; every slot gives that of readers.
    const fn takes(self) -> Option<Capability> {
        match self {
            Self::Reader => None,
            Self::Writer => Some(Capability::Write),
            Self::Operator => Some(Capability::Prune),
        }
    }
}

/// Who signs an object.
#[derive(Clone, Copy)]
pub enum Signer<'a> {
    /// The holder of a lease.
    Lease(&'a LeaseKey),
    /// Whoever may forget and prune.
    Operator,
}

/// The key of one lease, and the certificate that a role gives it. The lease is named by it, so nobody else can speak for it.
pub struct LeaseKey {
    pub(in crate::repo) party: Party,
    pub(in crate::repo) epoch: u32,
    pub(in crate::repo) certificate: [u8; SIGNATURE_BYTES],
    key: SigningKey,
}

impl LeaseKey {
    /// The lease that it speaks for.
    #[must_use]
    pub fn lease(&self) -> SnapshotId {
        lease_of(&self.public())
    }

    pub(in crate::repo) fn public(&self) -> [u8; PUBLIC_BYTES] {
        self.key.verifying_key().to_bytes()
    }

    pub(in crate::repo) fn sign(&self, digest: &[u8; 32]) -> [u8; SIGNATURE_BYTES] {
        self.key.sign(digest).to_bytes()
    }
}

/// The lease that is named by a public key.
pub(in crate::repo) fn lease_of(public: &[u8; PUBLIC_BYTES]) -> SnapshotId {
    let mut name = [0; 16];
    name.copy_from_slice(&crypto::derive(LEASE_CONTEXT, public)[..16]);
    SnapshotId(name)
}

/// What the signature of an object signs: `signed` is the object up to its signature.
pub(in crate::repo) fn object_digest(id: &RepoId, name: &str, signed: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(OBJECT_CONTEXT);
    hasher.update(&id.0).update(&(name.len() as u32).to_le_bytes()).update(name.as_bytes()).update(signed);
    *hasher.finalize().as_bytes()
}

fn certificate_digest(id: &RepoId, epoch: u32, party: Party, public: &[u8; PUBLIC_BYTES]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CERTIFICATE_CONTEXT);
    hasher.update(&id.0).update(&epoch.to_le_bytes()).update(&[party as u8]).update(public);
    *hasher.finalize().as_bytes()
}

fn verifies(public: &[u8; PUBLIC_BYTES], digest: &[u8; 32], signature: &[u8; SIGNATURE_BYTES]) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(public).is_ok_and(|key| key.verify_strict(digest, &signature).is_ok())
}

impl Keyring {
    /// Draws a lease's key and certifies it.
    pub fn lease_key(&self, party: Party) -> Result<LeaseKey, RepoError> {
        let epoch = self.current_epoch;
        let seed = zeroize::Zeroizing::new(crypto::random::<32>()?);
        let key = SigningKey::from_bytes(&seed);
        let digest = certificate_digest(&self.repo_id, epoch, party, &key.verifying_key().to_bytes());
        let certificate = self.party_key(party)?.sign(&digest).to_bytes();
        Ok(LeaseKey { party, epoch, certificate, key })
    }

    pub(in crate::repo) fn party_key(&self, party: Party) -> Result<&SigningKey, RepoError> {
        if let Some(capability) = party.takes() {
            self.need(capability)?;
        }
        let keys = self.current()?;
        let key = match party {
            Party::Reader => Some(&keys.reader),
            Party::Writer => keys.writer.as_ref(),
            Party::Operator => keys.operator.as_ref(),
        };
        key.ok_or_else(|| RepoError::damaged("the keyring", "it lacks the signing key of its role"))
    }

    /// Whether a role vouches for a lease's key.
    pub(in crate::repo) fn certifies(
        &self,
        epoch: u32,
        party: Party,
        public: &[u8; PUBLIC_BYTES],
        certificate: &[u8; SIGNATURE_BYTES],
    ) -> bool {
        let digest = certificate_digest(&self.repo_id, epoch, party, public);
        self.party_public(epoch, party).is_some_and(|key| verifies(&key, &digest, certificate))
    }

    /// Whether the operator of an epoch signed this.
    pub(in crate::repo) fn operator_signed(
        &self,
        epoch: u32,
        digest: &[u8; 32],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> bool {
        self.party_public(epoch, Party::Operator).is_some_and(|key| verifies(&key, digest, signature))
    }

    fn party_public(&self, epoch: u32, party: Party) -> Option<[u8; PUBLIC_BYTES]> {
        self.epoch(epoch).map(|keys| match party {
            Party::Reader => keys.reader.verifying_key().to_bytes(),
            Party::Writer => keys.writer_public,
            Party::Operator => keys.operator_public,
        })
    }
}

/// Whether the holder of a lease's key signed this.
pub(in crate::repo) fn lease_signed(
    public: &[u8; PUBLIC_BYTES],
    digest: &[u8; 32],
    signature: &[u8; SIGNATURE_BYTES],
) -> bool {
    verifies(public, digest, signature)
}
