//! One key epoch: the secrets that a slot keeps of it, by role, and the keys that come of them.

use super::{
    Capability, Role,
    crypto::{Suite, derive, random},
};
use crate::repo::{RepoError, ids::PackKind};
use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use x_wing::{
    Decapsulate as _, DecapsulationKey, ENCAPSULATION_RANDOMNESS_SIZE, EncapsulationKey, KeyExport as _,
    TryKeyInit as _,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The length of what a pack key sealed to the values' public key is encapsulated in.
pub(in crate::repo) const CAPSULE_BYTES: usize = x_wing::CIPHERTEXT_SIZE;

fn context(what: &str) -> String {
    format!("rekeep 2026-11 v1 {what}")
}

fn key(what: &str, secret: &[u8; 32]) -> [u8; 32] {
    derive(&context(what), secret)
}

/// What a slot keeps of one epoch, each in hexadecimal. Which of them are there follows from the role.
#[derive(Clone, Default, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct EpochSecrets {
    /// All others come of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    root: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    metadata: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    values: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    values_public: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    writer: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    writer_public: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    operator: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    operator_public: String,
}

/// One epoch's keys.
pub(super) struct EpochKeys {
    pub root: Option<Zeroizing<[u8; 32]>>,
    pub metadata: Zeroizing<[u8; 32]>,
    values: Option<Zeroizing<[u8; 32]>>,
    values_public: EncapsulationKey,
    pub reader: SigningKey,
    pub writer: Option<SigningKey>,
    pub writer_public: [u8; 32],
    pub operator: Option<SigningKey>,
    pub operator_public: [u8; 32],
    pub metadata_packs: Zeroizing<[u8; 32]>,
    pub data_packs: Option<Zeroizing<[u8; 32]>>,
    pub objects: Zeroizing<[u8; 32]>,
    pub index: Zeroizing<[u8; 32]>,
}

impl EpochSecrets {
    fn secret(text: &str) -> Result<Option<Zeroizing<[u8; 32]>>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = Zeroizing::new(HEXLOWER.decode(text.as_bytes()).map_err(|error| error.to_string())?);
        bytes.as_slice().try_into().map(|key| Some(Zeroizing::new(key))).map_err(|_| "a key is not 32 bytes".to_owned())
    }
}

impl EpochKeys {
    /// Everything that comes of an epoch's root.
    pub fn of_root(root: [u8; 32]) -> Self {
        let values = Zeroizing::new(key("values", &root));
        let writer = SigningKey::from_bytes(&key("writer", &root));
        let operator = SigningKey::from_bytes(&key("operator", &root));
        let public = capsule_key(&values);
        let (writer_public, operator_public) = (writer.verifying_key().to_bytes(), operator.verifying_key().to_bytes());
        Self::with(
            Some(Zeroizing::new(root)),
            Zeroizing::new(key("metadata", &root)),
            Some(values),
            public,
            (Some(writer), writer_public),
            (Some(operator), operator_public),
        )
    }

    fn with(
        root: Option<Zeroizing<[u8; 32]>>,
        metadata: Zeroizing<[u8; 32]>,
        values: Option<Zeroizing<[u8; 32]>>,
        values_public: EncapsulationKey,
        (writer, writer_public): (Option<SigningKey>, [u8; 32]),
        (operator, operator_public): (Option<SigningKey>, [u8; 32]),
    ) -> Self {
        Self {
            reader: SigningKey::from_bytes(&key("reader", &metadata)),
            metadata_packs: Zeroizing::new(key("metadata packs", &metadata)),
            data_packs: values.as_ref().map(|values| Zeroizing::new(key("data packs", values))),
            objects: Zeroizing::new(key("small objects", &metadata)),
            index: Zeroizing::new(key("index objects", &metadata)),
            root,
            metadata,
            values,
            values_public,
            writer,
            writer_public,
            operator,
            operator_public,
        }
    }

    /// What a slot kept.
    pub fn of(secrets: &EpochSecrets) -> Result<Self, String> {
        if let Some(root) = EpochSecrets::secret(&secrets.root)? {
            return Ok(Self::of_root(*root));
        }
        let metadata = EpochSecrets::secret(&secrets.metadata)?.ok_or("it lacks the key of metadata")?;
        let values = EpochSecrets::secret(&secrets.values)?;
        let values_public = if let Some(values) = &values {
            capsule_key(values)
        } else {
            let bytes = HEXLOWER.decode(secrets.values_public.as_bytes()).map_err(|error| error.to_string())?;
            EncapsulationKey::new_from_slice(&bytes).map_err(|_| "the public key of values is none")?
        };
        let signing = |own: &str, public: &str, whose: &str| -> Result<(Option<SigningKey>, [u8; 32]), String> {
            if let Some(seed) = EpochSecrets::secret(own)? {
                let key = SigningKey::from_bytes(&seed);
                let public = key.verifying_key().to_bytes();
                return Ok((Some(key), public));
            }
            let public = EpochSecrets::secret(public)?.ok_or_else(|| format!("it lacks the public key of {whose}"))?;
            Ok((None, *public))
        };
        let writer = signing(&secrets.writer, &secrets.writer_public, "writers")?;
        let operator = signing(&secrets.operator, &secrets.operator_public, "operators")?;
        Ok(Self::with(None, metadata, values, values_public, writer, operator))
    }

    /// What a slot of this role keeps; `None` if these keys do not have it all.
    pub fn for_role(&self, role: Role) -> Option<EpochSecrets> {
        let hex = |key: &[u8; 32]| HEXLOWER.encode(key);
        let seed = |key: &Option<SigningKey>| key.as_ref().map(|key| hex(&Zeroizing::new(key.to_bytes())));
        let mut kept = EpochSecrets::default();
        if role == Role::Admin {
            kept.root = hex(self.root.as_ref()?);
            return Some(kept);
        }
        kept.metadata = hex(&self.metadata);
        if role.has(Capability::ReadValues) {
            kept.values = hex(self.values.as_ref()?);
        } else {
            kept.values_public = HEXLOWER.encode(&self.values_public.to_bytes());
        }
        if role.has(Capability::Write) {
            kept.writer = seed(&self.writer)?;
        } else {
            kept.writer_public = hex(&self.writer_public);
        }
        if role.has(Capability::Prune) {
            kept.operator = seed(&self.operator)?;
        } else {
            kept.operator_public = hex(&self.operator_public);
        }
        Some(kept)
    }

    /// The key that wraps pack keys; `None` if values may not be read.
    pub fn packs(&self, kind: PackKind) -> Option<&[u8; 32]> {
        match kind {
            PackKind::Metadata => Some(&self.metadata_packs),
            PackKind::Data => self.data_packs.as_deref(),
        }
    }

    /// Draws a key that only who may read values can find again in the capsule.
    pub fn encapsulate(&self) -> Result<([u8; CAPSULE_BYTES], Zeroizing<[u8; 32]>), RepoError> {
        let drawn = Zeroizing::new(random::<ENCAPSULATION_RANDOMNESS_SIZE>()?);
        // Randomness comes in through the one seam of this room; the function takes it as it is.
        let (capsule, shared) = self.values_public.encapsulate_deterministic(&(*drawn).into());
        Ok((capsule.into(), Zeroizing::new(shared.into())))
    }

    /// The key in a capsule; `None` if values may not be read.
    pub fn decapsulate(&self, capsule: &[u8; CAPSULE_BYTES]) -> Option<Zeroizing<[u8; 32]>> {
        let secret = DecapsulationKey::from(key("values capsules", self.values.as_ref()?));
        Some(Zeroizing::new(secret.decapsulate(&(*capsule).into()).into()))
    }
}

fn capsule_key(values: &[u8; 32]) -> EncapsulationKey {
    use x_wing::Decapsulator as _;
    DecapsulationKey::from(key("values capsules", values)).encapsulation_key().clone()
}

/// The context of what wraps the lasting secrets and checks `rekeep.json`.
pub(super) fn of_metadata(what: &str, metadata: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(key(what, metadata))
}

/// The suite that a repository seals with if nothing else is asked for.
pub(super) const DEFAULT_SUITE: Suite = Suite::ChaCha20Poly1305;
