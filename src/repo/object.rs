//! Small objects: snapshots, checkpoints, leases, marks. Each is a container: magic, what it is, a body that is plain or
//! sealed, and the BLAKE3 hash of everything before, so that anyone without a key can tell whether it is whole.
//!
//! The layout is section 6 of `format-spec/repository.md`.

#[cfg(test)]
mod tests;

use super::{
    RepoError,
    keys::{
        Keyring,
        crypto::{self, NONCE_BYTES},
    },
};
use std::io::Read;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"RKEEPOBJ";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
const HASH_BYTES: usize = 32;
const COMPRESSION_LEVEL: i32 = 3;

/// The most bytes that a sealed body may have before compression.
pub const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;

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
    /// What a place was found to promise (plain JSON).
    Promises = 8,
    /// A pack that is damaged (plain JSON).
    Damage = 9,
}

impl ObjectKind {
    /// From its number in the format.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Snapshot,
            2 => Self::Checkpoint,
            3 => Self::Lease,
            4 => Self::Mark,
            5 => Self::LeaseEnd,
            6 => Self::Void,
            7 => Self::Tombstone,
            8 => Self::Promises,
            9 => Self::Damage,
            _ => return None,
        })
    }

    /// Whether its body is sealed.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Snapshot | Self::Checkpoint)
    }
}

/// Seals `body` for `name` under the current epoch.
///
/// # Panics
/// If `body` exceeds [`MAX_BODY_BYTES`], which callers keep far below; if `kind` is a plain one; if the system gives no
/// random bytes.
#[must_use]
pub fn seal(keyring: &Keyring, kind: ObjectKind, name: &str, body: &[u8]) -> Vec<u8> {
    assert!(kind.is_sealed(), "{kind:?} is stored plain");
    let epoch = keyring.current_epoch;
    let key = keyring.object_key(epoch).expect("a keyring holds its current epoch");
    let nonce = crypto::random().expect("the system gives random bytes");
    let mut bytes = header(kind, epoch, &nonce);
    compress_onto(body, &mut bytes).expect("bodies are far below the limit");
    let ad = associated_data(keyring, kind, epoch, name);
    crypto::xseal(key, &nonce, &ad, &mut bytes, HEADER_BYTES).expect("bodies are far below the cipher's limit");
    finish(bytes)
}

/// Wraps a plain body.
///
/// # Panics
/// If `kind` is a sealed one, or `name` longer than an object's name can be.
#[must_use]
pub fn wrap(kind: ObjectKind, name: &str, body: &[u8]) -> Vec<u8> {
    assert!(!kind.is_sealed(), "{kind:?} is stored sealed");
    let name_len = u16::try_from(name.len()).expect("names are short");
    let mut bytes = header(kind, 0, &[0; NONCE_BYTES]);
    bytes.extend_from_slice(&name_len.to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(body);
    finish(bytes)
}

/// Reads a container's kind after checking its hash, without a key.
pub fn kind_of(name: &str, bytes: &[u8]) -> Result<ObjectKind, RepoError> {
    Ok(parse(name, bytes)?.kind)
}

/// Whether these first bytes are those of a container.
#[must_use]
pub fn is_one(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Opens a sealed container of this kind.
pub fn open(keyring: &Keyring, kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Vec<u8>, RepoError> {
    let container = parse(name, bytes)?;
    container.expect(kind, true, name)?;
    let key = keyring
        .object_key(container.epoch)
        .ok_or_else(|| RepoError::damaged(name, format!("the keyring has no epoch {}", container.epoch)))?;
    let ad = associated_data(keyring, kind, container.epoch, name);
    let plain = crypto::xopen(key, &container.nonce, &ad, container.body).ok_or_else(|| {
        RepoError::damaged(name, "its seal does not open: it was altered, or belongs to another name or repository")
    })?;
    decompress(&plain).map_err(|reason| RepoError::damaged(name, reason))
}

/// Unwraps a plain container of this kind.
pub fn unwrap(kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Vec<u8>, RepoError> {
    let container = parse(name, bytes)?;
    container.expect(kind, false, name)?;
    Ok(container.body.to_vec())
}

struct Container<'a> {
    kind: ObjectKind,
    epoch: u32,
    nonce: [u8; NONCE_BYTES],
    /// Sealed bytes, or the plain content without the name.
    body: &'a [u8],
}

impl Container<'_> {
    fn expect(&self, kind: ObjectKind, sealed: bool, name: &str) -> Result<(), RepoError> {
        if self.kind != kind {
            return Err(RepoError::damaged(name, format!("it holds a {:?}, not a {kind:?}", self.kind)));
        }
        if kind.is_sealed() != sealed {
            return Err(RepoError::Internal(format!("{name}: a {kind:?} was read in the other form")));
        }
        Ok(())
    }
}

fn header(kind: ObjectKind, epoch: u32, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[kind as u8, u8::from(kind.is_sealed())]);
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(nonce);
    bytes
}

fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// Reads the container, checks its hash and all that can be checked without a key.
fn parse<'a>(name: &str, bytes: &'a [u8]) -> Result<Container<'a>, RepoError> {
    let damaged = |reason: &str| RepoError::damaged(name, reason);
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or_else(|| damaged("it is cut off"))?;
    if blake3::hash(content) != blake3::Hash::from_bytes(*hash) {
        return Err(damaged("its bytes do not have the hash at its end"));
    }
    let (magic, rest) = content.split_first_chunk::<8>().ok_or_else(|| damaged("it is cut off"))?;
    if magic != MAGIC {
        return Err(damaged("it is no such object"));
    }
    let (version, _) = rest.split_first_chunk::<2>().ok_or_else(|| damaged("it is cut off"))?;
    check_version(name, u16::from_le_bytes(*version), VERSION)?;
    let (header, body) = content.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| damaged("it is cut off"))?;
    let kind = ObjectKind::from_u8(header[10]).ok_or_else(|| damaged("it is of an unknown kind"))?;
    if header[11] != u8::from(kind.is_sealed()) {
        return Err(damaged("it is sealed where it should be plain, or the other way round"));
    }
    let epoch = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&header[16..]);
    if kind.is_sealed() {
        return Ok(Container { kind, epoch, nonce, body });
    }
    if epoch != 0 || nonce != [0; NONCE_BYTES] {
        return Err(damaged("a plain object has an epoch or a nonce"));
    }
    let (len, rest) = body.split_first_chunk::<2>().ok_or_else(|| damaged("it is cut off"))?;
    let len = usize::from(u16::from_le_bytes(*len));
    let (found, body) = rest.split_at_checked(len).ok_or_else(|| damaged("it is cut off"))?;
    if found != name.as_bytes() {
        return Err(damaged("it was written under another name"));
    }
    Ok(Container { kind, epoch, nonce, body })
}

fn associated_data(keyring: &Keyring, kind: ObjectKind, epoch: u32, name: &str) -> Vec<u8> {
    let mut ad = VERSION.to_le_bytes().to_vec();
    ad.extend_from_slice(&keyring.repo_id.0);
    ad.push(kind as u8);
    ad.extend_from_slice(&epoch.to_le_bytes());
    ad.extend_from_slice(name.as_bytes());
    ad
}

/// Refuses what a newer program wrote, and version 0.
pub(super) fn check_version(object: &str, found: u16, supported: u16) -> Result<(), RepoError> {
    if found > supported {
        let (found, supported) = (u64::from(found), u64::from(supported));
        return Err(RepoError::NewerFormat { object: object.to_owned(), found, supported });
    }
    if found == supported { Ok(()) } else { Err(RepoError::damaged(object, format!("there is no version {found}"))) }
}

/// Appends the plain length and one Zstandard frame.
pub(super) fn compress_onto(plain: &[u8], out: &mut Vec<u8>) -> Result<(), RepoError> {
    let invalid = |reason: String| RepoError::Internal(format!("compressing a small object: {reason}"));
    if plain.len() > MAX_BODY_BYTES {
        return Err(invalid(format!("{} bytes exceed {MAX_BODY_BYTES}", plain.len())));
    }
    let compressed = zstd::bulk::compress(plain, COMPRESSION_LEVEL).map_err(|error| invalid(error.to_string()))?;
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    out.extend_from_slice(&compressed);
    Ok(())
}

/// The inverse of [`compress_onto`]. Memory grows with what really comes out, never with what is declared.
pub(super) fn decompress(stored: &[u8]) -> Result<Vec<u8>, String> {
    let (declared, frame) = stored.split_first_chunk::<4>().ok_or("its body is cut off")?;
    let declared = u32::from_le_bytes(*declared) as usize;
    if declared > MAX_BODY_BYTES {
        return Err(format!("it declares {declared} bytes, more than {MAX_BODY_BYTES}"));
    }
    let mut rest = frame;
    let mut plain = Zeroizing::new(Vec::new());
    let decoder = zstd::stream::read::Decoder::with_buffer(&mut rest).map_err(|error| error.to_string())?;
    let limit = declared as u64 + 1;
    decoder.single_frame().take(limit).read_to_end(&mut plain).map_err(|error| error.to_string())?;
    if plain.len() != declared {
        return Err(format!("it declares {declared} bytes and holds another number"));
    }
    if zstd::zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err("bytes follow its compressed frame".to_owned());
    }
    Ok(std::mem::take(&mut *plain))
}
