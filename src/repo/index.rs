//! Index objects: which chunks lie in which packs. The names and lengths of the packs are readable without a key.

//!
//! The layout is section 8 of `format-spec/repository.md`.

#[cfg(test)]
mod tests;

use super::{
    ObjectName, RepoError, RepoId, SnapshotId,
    ids::PackKind,
    keys::{
        Keyring, Suite,
        crypto::{self, NONCE_BYTES},
    },
    object,
    pack::{self, Header, MAX_HEADER_BYTES, PackEntry},
    registry::Registry,
};
use crate::{
    record::bytes::{DecodeError, Reader, put_u64},
    repo::pack::PackHeader,
};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"RKEEPIDX";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 60;
const LISTED_BYTES: usize = 40;

/// The most bytes that an index object has as stored; a larger one is refused unread.
pub const MAX_INDEX_BYTES: u64 = 256 * 1024 * 1024;

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

/// `index/<name>`.
#[must_use]
pub fn path(name: &ObjectName) -> String {
    format!("index/{name}")
}

/// Seals an index object; gives its name and stored bytes.
///
/// # Errors
/// [`RepoError::Internal`] if a pack is not one that a reader would accept.
pub fn seal(keyring: &Keyring, packs: &[IndexedPack]) -> Result<(ObjectName, Vec<u8>), RepoError> {
    let invalid = |reason: &str| RepoError::Internal(format!("index object: {reason}"));
    let epoch = keyring.current_epoch;
    let key = keyring.index_key("a new index object", epoch)?;
    let count = u32::try_from(packs.len()).map_err(|_| invalid("too many packs"))?;
    let nonce = crypto::random::<NONCE_BYTES>()?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + packs.len() * LISTED_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[keyring.suite as u8, 0]);
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(&keyring.repo_id.0);
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&nonce);
    let mut content = Vec::new();
    for pack in packs {
        check_pack(&path(&pack.name), keyring.repo_id, pack).map_err(|error| invalid(&error.to_string()))?;
        bytes.extend_from_slice(&pack.name.0);
        bytes.extend_from_slice(&pack.bytes.to_le_bytes());
        content.push(pack.kind as u8);
        content.extend_from_slice(&pack.lease.0);
        put_u64(&mut content, pack.header.len() as u64);
        content.extend_from_slice(&pack.header);
        pack::put_entries(&mut content, &pack.entries);
    }
    let ad = bytes.clone();
    object::compress_onto(&content, &mut bytes)?;
    crypto::xseal(keyring.suite, key, &nonce, &ad, &mut bytes, ad.len())?;
    if bytes.len() as u64 > MAX_INDEX_BYTES {
        return Err(invalid("it would be longer than any may be"));
    }
    Ok((ObjectName(*blake3::hash(&bytes).as_bytes()), bytes))
}

/// Opens an index object, checking its name.
pub fn open(keyring: &Keyring, name: &ObjectName, bytes: &[u8]) -> Result<Vec<IndexedPack>, RepoError> {
    let object = path(name);
    let damaged = |reason: String| RepoError::damaged(&object, reason);
    let plain = Plain::parse(name, bytes)?;
    if plain.repo_id != keyring.repo_id {
        return Err(damaged(format!("it belongs to the repository {}", plain.repo_id)));
    }
    let key = keyring.index_key(&object, plain.epoch)?;
    let suite = Suite::from_u8(plain.suite).ok_or_else(|| Registry::Suite.unknown(&object, plain.suite))?;
    let content = crypto::xopen(suite, key, &plain.nonce, plain.head, plain.sealed)
        .ok_or_else(|| damaged("its seal does not open".to_owned()))?;
    let content = object::decompress(&content).map_err(damaged)?;
    let mut reader = Reader::new(&content);
    let mut packs = Vec::with_capacity(plain.packs.len());
    for (pack_name, len) in plain.packs {
        let pack = read_pack(&mut reader, pack_name, len).map_err(|error| pack::unread_entries(&object, error))?;
        check_pack(&object, keyring.repo_id, &pack)?;
        packs.push(pack);
    }
    reader.finish("the index").map_err(|error| damaged(error.to_string()))?;
    Ok(packs)
}

/// Names and lengths of the packs in an index object, without a key, checking its name.
pub fn packs_of(name: &ObjectName, bytes: &[u8]) -> Result<Vec<(ObjectName, u64)>, RepoError> {
    Ok(Plain::parse(name, bytes)?.packs)
}

/// So many bytes are the head of an index object that describes no more packs than one usually does.
pub const USUAL_HEAD_BYTES: u64 = (HEADER_BYTES + 64 * LISTED_BYTES) as u64;

/// How many bytes of an index object name its packs, by its first bytes.
///
/// # Errors
/// [`RepoError::Damaged`] if it is none; [`RepoError::NewerFormat`].
pub fn head_bytes(name: &ObjectName, start: &[u8]) -> Result<u64, RepoError> {
    check_start(name, start)?;
    let count = start.get(32..36).and_then(|count| count.try_into().ok()).map(u32::from_le_bytes);
    let count = count.ok_or_else(|| RepoError::damaged(path(name), "it is cut off"))?;
    Ok(HEADER_BYTES as u64 + u64::from(count) * LISTED_BYTES as u64)
}

/// [`packs_of`] from the head alone, which nothing vouches for.
///
/// # Errors
/// As of [`head_bytes`].
pub fn packs_in_head(name: &ObjectName, head: &[u8]) -> Result<Vec<(ObjectName, u64)>, RepoError> {
    Ok(Plain::unhashed(name, head)?.packs)
}

fn check_start(name: &ObjectName, bytes: &[u8]) -> Result<(), RepoError> {
    let object = path(name);
    match bytes.split_first_chunk::<10>() {
        None => Err(RepoError::damaged(object, "it is cut off")),
        Some((start, _)) if start[..8] != *MAGIC => Err(RepoError::damaged(object, "it is no index object")),
        Some((start, _)) => object::check_version(&object, u16::from_le_bytes([start[8], start[9]]), VERSION),
    }
}

/// What can be read without a key.
struct Plain<'a> {
    suite: u8,
    epoch: u32,
    repo_id: RepoId,
    nonce: [u8; NONCE_BYTES],
    packs: Vec<(ObjectName, u64)>,
    /// Everything before the sealed body: its associated data.
    head: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Plain<'a> {
    fn parse(name: &ObjectName, bytes: &'a [u8]) -> Result<Self, RepoError> {
        if blake3::hash(bytes) != blake3::Hash::from_bytes(name.0) {
            return Err(RepoError::damaged(path(name), "its bytes do not have the hash that it is named by"));
        }
        Self::unhashed(name, bytes)
    }

    /// [`Self::parse`] of what need not be all of it.
    fn unhashed(name: &ObjectName, bytes: &'a [u8]) -> Result<Self, RepoError> {
        check_start(name, bytes)?;
        Self::fields(bytes).map_err(|error| RepoError::damaged(path(name), error))
    }

    /// Reads everything behind magic and version.
    fn fields(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.take(10, "the header")?;
        let [suite, 0] = reader.array::<2>("the header")? else { return Err(DecodeError::Invalid("a zero field")) };
        let epoch = u32::from_le_bytes(reader.array("the key epoch")?);
        let repo_id = RepoId(reader.array("the repository id")?);
        let count = u32::from_le_bytes(reader.array("the number of packs")?) as usize;
        let nonce = reader.array("the nonce")?;
        if count > reader.rest().len() / LISTED_BYTES {
            return Err(DecodeError::Truncated("the list of packs"));
        }
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            let name = ObjectName(reader.array("a pack's name")?);
            packs.push((name, u64::from_le_bytes(reader.array("a pack's length")?)));
        }
        let sealed = reader.rest();
        Ok(Self { suite, epoch, repo_id, nonce, packs, head: &bytes[..bytes.len() - sealed.len()], sealed })
    }
}

fn read_pack(reader: &mut Reader, name: ObjectName, bytes: u64) -> Result<IndexedPack, DecodeError> {
    let number = reader.u8("a pack's kind")?;
    let kind = PackKind::from_u8(number).ok_or(DecodeError::Unknown("pack kind", number.into()))?;
    let lease = SnapshotId(reader.array("a pack's lease")?);
    let len = reader.len("a pack's header")?;
    if len > MAX_HEADER_BYTES {
        return Err(DecodeError::Invalid("a pack's header"));
    }
    let header: PackHeader = Arc::from(reader.take(len, "a pack's header")?);
    let entries: Vec<PackEntry> = pack::read_entries(reader, kind)?;
    Ok(IndexedPack { name, bytes, kind, lease, header, entries })
}

/// Whether header and entries fit the pack, as an index object says it. What a newer program wrote is not damaged.
fn check_pack(object: &str, repo_id: RepoId, pack: &IndexedPack) -> Result<(), RepoError> {
    let damaged = |reason: &str| RepoError::damaged(object, format!("pack {}: {reason}", pack.name));
    let header = Header::parse(object, &pack.header)?;
    if (header.kind, header.lease) != (pack.kind, pack.lease) || !header.is_of(repo_id) {
        return Err(damaged("its header says otherwise"));
    }
    let fits = |entry: &PackEntry| {
        pack::is_possible(entry, pack.kind)
            && entry.offset >= pack.header.len() as u64
            && entry.offset + u64::from(entry.stored_len) <= pack.bytes
    };
    if pack.entries.iter().all(fits) { Ok(()) } else { Err(damaged("a chunk lies outside of it")) }
}
