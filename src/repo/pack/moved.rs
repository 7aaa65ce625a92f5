//! Packs of another repository of the same lasting secrets, taken over as they are under a header of this one.

use super::{Header, PackEntry, PackHeader, PackKey, SealedPack, names::names, open_directory, path};
use crate::repo::{
    ObjectName, RepoError, SnapshotId,
    keys::{Keyring, crypto::FrameCipher},
};

/// A pack as the index of its repository describes it.
pub(in crate::repo) struct Described<'a> {
    pub name: ObjectName,
    pub header: &'a PackHeader,
    pub entries: &'a [PackEntry],
}

/// Makes a pack of `to` of one of `from`: frames and directory stay as they are. It is checked as far as that goes without opening
/// frames: its bytes have the hash that it is named by, its key opens, and its directory says what the index says.
///
/// # Errors
/// [`RepoError::Damaged`] if it is not what the index says; what the keyrings lack.
pub(in crate::repo) fn moved(
    from: &Keyring,
    to: &Keyring,
    lease: SnapshotId,
    pack: &Described<'_>,
    mut bytes: Vec<u8>,
) -> Result<SealedPack, RepoError> {
    let object = path(&pack.name);
    let damaged = |reason: &str| RepoError::damaged(&object, reason);
    if !bytes.starts_with(pack.header) {
        return Err(damaged("its header is not what the index says"));
    }
    let fields = Header::parse(&object, pack.header)?;
    let raw = fields.unwrap_key(&object, from, pack.header)?;
    let (moved, header) = fields.moved(to, lease, &raw)?;
    let [old, new] = names(&bytes, &header);
    if old != pack.name {
        return Err(damaged("its bytes do not have the hash that it is named by"));
    }
    let key = PackKey { cipher: FrameCipher::new(fields.suite, &raw), header: fields, name: pack.name };
    if open_directory(&key, pack.header.len(), &bytes)? != pack.entries {
        return Err(damaged("its directory is not what the index says"));
    }
    bytes[..header.len()].copy_from_slice(&header);
    Ok(SealedPack { name: new, bytes, kind: moved.kind, lease, header, entries: pack.entries.to_vec() })
}
