//! Packs: storage objects that hold many sealed chunks under a key of their own.

//!
//! The layout is section 7 of `format-spec/repository.md`.

mod builder;
mod header;
mod moved;
mod names;
mod spans;
#[cfg(test)]
mod tests;

pub use builder::PackBuilder;
pub(in crate::repo) use spans::{SpanBounds, span_len};

use super::{
    ChunkData, ChunkId, ChunkKind, ObjectName, RepoError, SnapshotId,
    chunk::MAX_CHUNK_BYTES,
    chunk::ParseError,
    ids::PackKind,
    keys::{
        Keyring,
        crypto::{FrameCipher, TAG_BYTES},
    },
    registry::Registry,
};
use crate::record::bytes::{DecodeError, Reader, put_u64};
pub(super) use header::{Header, MAX_HEADER_BYTES};
pub(super) use moved::{Described, moved};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What packs aim at, in stored bytes.
pub const TARGET_PACK_BYTES: usize = 16 * 1024 * 1024;

/// The length of a pack's plaintext header in front of the wrapped pack key.
pub const HEADER_BYTES: usize = 64;

/// Packs are padded to a multiple of this.
pub const PADDING_BYTES: usize = 64 * 1024;

/// The most bytes one pack may have.
pub const MAX_PACK_BYTES: usize = 256 * 1024 * 1024;

const VERSION: u16 = 1;
const FRAME_MAGIC: &[u8; 4] = b"RKFR";
const FRAME_HEAD_BYTES: usize = 16;
const DIRECTORY_ORDINAL: u64 = u64::MAX;
const TRAILER_MAGIC: &[u8; 8] = b"RKEEPEND";
const TRAILER_BYTES: usize = 32;

/// The shortest frame: head, a body of one byte, tag.
const MIN_FRAME_BYTES: usize = FRAME_HEAD_BYTES + 1 + TAG_BYTES;

/// A pack's header as stored: enough, with the keyring, to open its frames.
pub type PackHeader = Arc<[u8]>;

/// Where one chunk lies in a pack. Its ordinal is its position in the pack's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// The chunk.
    pub id: ChunkId,
    /// What it is.
    pub kind: ChunkKind,
    /// Where its frame begins in the pack.
    pub offset: u64,
    /// The frame's length, everything included.
    pub stored_len: u32,
    /// The plaintext's length.
    pub plain_len: u32,
}

/// A finished pack, ready to be created as `packs/xx/<name>`.
#[derive(Debug, Clone)]
pub struct SealedPack {
    /// The BLAKE3 hash of `bytes`.
    pub name: ObjectName,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// Metadata or data.
    pub kind: PackKind,
    /// The lease that wrote it.
    pub lease: SnapshotId,
    /// The header, as it stands at the start of `bytes`.
    pub header: PackHeader,
    /// What it holds, by ordinal.
    pub entries: Vec<PackEntry>,
}

/// `packs/xx/<name>`.
#[must_use]
pub fn path(name: &ObjectName) -> String {
    let name = name.to_string();
    format!("packs/{}/{name}", &name[..2])
}

/// The pack that lies at a path.
#[must_use]
pub fn parse_path(path: &str) -> Option<ObjectName> {
    super::names::parse_pack(path)
}

/// An unwrapped pack key: opens the frames of one pack.
#[derive(Clone)]
pub struct PackKey {
    cipher: FrameCipher,
    header: Header,
    name: ObjectName,
}

impl PackKey {
    /// Unwraps the key in a pack's header.
    ///
    /// # Errors
    /// [`RepoError::Role`] if it is a pack of values, which the keyring may not read.
    pub fn unwrap(keyring: &Keyring, name: &ObjectName, header: &[u8]) -> Result<Self, RepoError> {
        let object = path(name);
        let parsed = Header::parse(&object, header)?;
        let key = parsed.unwrap_key(&object, keyring, header)?;
        Ok(Self { cipher: FrameCipher::new(parsed.suite, &key), header: parsed, name: *name })
    }

    /// Unwraps the key in the header that a pack begins with.
    pub(super) fn of_pack(keyring: &Keyring, name: &ObjectName, bytes: &[u8]) -> Result<Self, RepoError> {
        let object = path(name);
        let (_, len) = Header::parse_front(&object, bytes)?;
        Self::unwrap(keyring, name, bytes.get(..len).ok_or_else(|| RepoError::damaged(object, "it is cut off"))?)
    }

    /// The pack that it opens.
    pub(super) const fn name(&self) -> ObjectName {
        self.name
    }

    /// Opens a frame: checks magic, length and seal. Runs are decompressed later, as they are read.
    pub fn open_frame(&self, ordinal: u64, entry: &PackEntry, frame: &[u8]) -> Result<ChunkData, RepoError> {
        let damaged = |reason: String| {
            let object = format!("{}, chunk {} at {}", path(&self.name), entry.id, entry.offset);
            RepoError::Damaged { object, reason }
        };
        if frame.len() as u64 != u64::from(entry.stored_len) {
            return Err(damaged(format!("{} bytes came, {} are listed", frame.len(), entry.stored_len)));
        }
        if ordinal == DIRECTORY_ORDINAL || entry.kind.pack_kind() != self.header.kind {
            return Err(damaged("its kind does not belong into this pack".to_owned()));
        }
        let body = self.open_body(ordinal, &entry.id, frame).map_err(|reason| damaged(reason.to_owned()))?;
        let chunk = ChunkData::parse(body).map_err(|error| match error {
            ParseError::Method(method) => {
                Registry::RunMethod.unknown(format!("{}, chunk {}", path(&self.name), entry.id), method)
            }
            ParseError::Bytes(error) => damaged(error.to_string()),
        })?;
        if chunk.plain_len() as u64 != u64::from(entry.plain_len) {
            return Err(damaged(format!("its runs have {} bytes, {} are listed", chunk.plain_len(), entry.plain_len)));
        }
        Ok(chunk)
    }

    fn open_body(&self, ordinal: u64, id: &ChunkId, frame: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (head, rest) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().ok_or("the frame is cut off")?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or("the frame is cut off")?;
        if *head != frame_head(rest.len() as u32, ordinal) {
            return Err("the frame does not begin as it should");
        }
        let mut body = body.to_vec();
        if self.cipher.open(ordinal, &self.header.frame_ad(ordinal, id), &mut body, *tag) {
            Ok(body)
        } else {
            Err("the frame's seal does not open")
        }
    }
}

fn frame_head(len: u32, ordinal: u64) -> [u8; FRAME_HEAD_BYTES] {
    let mut head = [0; FRAME_HEAD_BYTES];
    head[..4].copy_from_slice(FRAME_MAGIC);
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..].copy_from_slice(&ordinal.to_le_bytes());
    head
}

/// Reads a whole pack's header and directory from its bytes, checking its name: for rebuilding an index and for verify.
pub fn read_directory(
    keyring: &Keyring,
    name: &ObjectName,
    bytes: &[u8],
) -> Result<(PackHeader, PackKind, SnapshotId, Vec<PackEntry>), RepoError> {
    let object = path(name);
    let damaged = |reason: &str| RepoError::damaged(&object, reason);
    if blake3::hash(bytes) != blake3::Hash::from_bytes(name.0) {
        return Err(damaged("its bytes do not have the hash that it is named by"));
    }
    let (_, header_len) = Header::parse_front(&object, bytes)?;
    let header: PackHeader = Arc::from(bytes.get(..header_len).ok_or_else(|| damaged("it is cut off"))?);
    let key = PackKey::unwrap(keyring, name, &header)?;
    let entries = open_directory(&key, header_len, bytes)?;
    Ok((header, key.header.kind, key.header.lease, entries))
}

/// Reads the directory of a pack that has the hash it is named by.
fn open_directory(key: &PackKey, header_len: usize, bytes: &[u8]) -> Result<Vec<PackEntry>, RepoError> {
    let object = path(&key.name);
    let damaged = |reason: &str| RepoError::damaged(&object, reason);
    if !bytes.len().is_multiple_of(PADDING_BYTES) || bytes.len() > MAX_PACK_BYTES {
        return Err(damaged("no pack has this length"));
    }
    let (content, trailer) = bytes.split_last_chunk::<TRAILER_BYTES>().ok_or_else(|| damaged("it is cut off"))?;
    let (start, end) = directory_range(trailer, content.len()).ok_or_else(|| damaged("its trailer is not valid"))?;
    if content[end..].iter().any(|&byte| byte != 0) {
        return Err(damaged("its padding is not zero"));
    }
    let body = key
        .open_body(DIRECTORY_ORDINAL, &ChunkId([0; 32]), &content[start..end])
        .map_err(|reason| damaged(&format!("directory: {reason}")))?;
    let mut reader = Reader::new(&body);
    let entries = read_entries(&mut reader, key.header.kind)
        .and_then(|entries| reader.finish("the directory").map(|()| entries))
        .map_err(|error| unread_entries(&object, error))?;
    let mut next = header_len as u64;
    for entry in &entries {
        if entry.offset != next {
            return Err(damaged("its frames do not follow one another"));
        }
        next += u64::from(entry.stored_len);
    }
    if next != start as u64 {
        return Err(damaged("its directory does not follow its last frame"));
    }
    Ok(entries)
}

/// Header and directory of a pack whose bytes are not what its name says, if these two are whole: its directory is sealed.
pub(super) fn read_damaged_directory(
    keyring: &Keyring,
    name: &ObjectName,
    bytes: &[u8],
) -> Option<(PackHeader, Vec<PackEntry>)> {
    let (_, header_len) = Header::parse_front(&path(name), bytes).ok()?;
    let header: PackHeader = Arc::from(bytes.get(..header_len)?);
    let key = PackKey::unwrap(keyring, name, &header).ok()?;
    let (content, trailer) = bytes.split_last_chunk::<TRAILER_BYTES>()?;
    let (start, end) = directory_range(trailer, content.len())?;
    let body = key.open_body(DIRECTORY_ORDINAL, &ChunkId([0; 32]), &content[start..end]).ok()?;
    let mut reader = Reader::new(&body);
    let entries = read_entries(&mut reader, key.header.kind).ok()?;
    reader.finish("the directory").ok()?;
    Some((header, entries))
}

/// Where the directory frame begins and ends, if the trailer is valid.
fn directory_range(trailer: &[u8; TRAILER_BYTES], content_len: usize) -> Option<(usize, usize)> {
    if trailer[24..] != *TRAILER_MAGIC || trailer[12..24] != [0; 12] {
        return None;
    }
    let start = usize::try_from(u64::from_le_bytes(trailer[..8].try_into().ok()?)).ok()?;
    let len = usize::try_from(u32::from_le_bytes(trailer[8..12].try_into().ok()?)).ok()?;
    let end = start.checked_add(len)?;
    (start >= HEADER_BYTES && end <= content_len).then_some((start, end))
}

/// Appends a directory's body.
pub(super) fn put_entries(out: &mut Vec<u8>, entries: &[PackEntry]) {
    put_u64(out, entries.len() as u64);
    for entry in entries {
        out.extend_from_slice(&entry.id.0);
        out.push(entry.kind as u8);
        put_u64(out, entry.offset);
        put_u64(out, u64::from(entry.stored_len));
        put_u64(out, u64::from(entry.plain_len));
    }
}

const CHUNK_KIND: &str = "chunk kind";

/// Reads a directory's body; every entry is possible for a pack of this kind.
pub(super) fn read_entries(reader: &mut Reader, kind: PackKind) -> Result<Vec<PackEntry>, DecodeError> {
    let count = reader.len("the number of chunks")?;
    // An entry takes 36 bytes or more, so this is never more memory than the input.
    let mut entries = Vec::with_capacity(count.min(reader.rest().len() / 36 + 1));
    for _ in 0..count {
        let entry = PackEntry {
            id: ChunkId(reader.array("a chunk's id")?),
            kind: chunk_kind(reader.u8("a chunk's kind")?)?,
            offset: reader.u64("a chunk's offset")?,
            stored_len: reader.u32("a chunk's stored length")?,
            plain_len: reader.u32("a chunk's plain length")?,
        };
        if !is_possible(&entry, kind) {
            return Err(DecodeError::Invalid("a chunk's place"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn chunk_kind(number: u8) -> Result<ChunkKind, DecodeError> {
    // No format gives out zero.
    let unknown = if number == 0 {
        DecodeError::Invalid("a chunk's kind")
    } else {
        DecodeError::Unknown(CHUNK_KIND, number.into())
    };
    ChunkKind::from_u8(number).ok_or(unknown)
}

/// Why entries of this object could not be read.
pub(super) fn unread_entries(object: &str, error: DecodeError) -> RepoError {
    let number = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    match error {
        DecodeError::Unknown(CHUNK_KIND, kind) => Registry::ChunkKind.unknown(object, number(kind)),
        DecodeError::Unknown(_, kind) => Registry::PackKind.unknown(object, number(kind)),
        error => RepoError::damaged(object, error.to_string()),
    }
}

/// Whether a pack of this kind can have such an entry.
pub(super) fn is_possible(entry: &PackEntry, kind: PackKind) -> bool {
    entry.kind.pack_kind() == kind
        && entry.offset >= HEADER_BYTES as u64
        && entry.stored_len as usize >= MIN_FRAME_BYTES
        && entry.plain_len as usize <= MAX_CHUNK_BYTES
        && entry.offset.saturating_add(u64::from(entry.stored_len)) <= MAX_PACK_BYTES as u64
}

/// A pack's own key.
type RawPackKey = Zeroizing<[u8; 32]>;
