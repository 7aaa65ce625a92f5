//! Small objects: snapshots, checkpoints, leases, marks. Each is a container: magic, what it is, a body that is plain or
//! sealed, who signed it, and the BLAKE3 hash of everything before, so that anyone without a key can tell whether it is
//! whole, and anyone with one whether its maker may make such a thing.
//!
//! The layout is section 6 of `format-spec/repository.md`.

#[cfg(test)]
mod tests;

use super::{
    RepoError, SnapshotId, Storage,
    chunk::codec::decompress_onto,
    faults::{self, Rule},
    keys::{
        self, Keyring, PUBLIC_BYTES, Party, SIGNATURE_BYTES, Signer, Suite,
        crypto::{self, NONCE_BYTES},
    },
    registry::Registry,
    storage::{Begun, Wanted},
};
use serde::de::DeserializeOwned;
use std::io::Read;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"RKEEPOBJ";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
const HASH_BYTES: usize = 32;
const COMPRESSION_LEVEL: i32 = 3;
/// Who signed: party, form, zero; the lease's public key and its certificate; the signature.
const AUTHOR_BYTES: usize = 8 + PUBLIC_BYTES + SIGNATURE_BYTES + SIGNATURE_BYTES;

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
    /// Many forgotten snapshots in one (plain, binary).
    Forgotten = 10,
    /// A claim of a scheduled run (plain JSON).
    Claim = 12,
    /// What was done through a service (sealed JSON).
    Audit = 13,
    /// A report of a drill (sealed JSON).
    Drill = 14,
    /// What holds for the whole repository and may be changed (plain JSON).
    Settings = 16,
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
            10 => Self::Forgotten,
            12 => Self::Claim,
            13 => Self::Audit,
            14 => Self::Drill,
            16 => Self::Settings,
            _ => return None,
        })
    }

    /// Whether its body is sealed.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Snapshot | Self::Checkpoint | Self::Drill | Self::Audit)
    }

    /// The most bytes that such an object has as stored; a larger one is refused unread.
    #[must_use]
    pub const fn max_bytes(self) -> u64 {
        const KIB: u64 = 1024;
        match self {
            Self::Snapshot => 32 * KIB * KIB,
            Self::Checkpoint => 64 * KIB * KIB,
            Self::Lease | Self::Mark | Self::Forgotten => 4 * KIB * KIB,
            Self::Drill | Self::Audit => KIB * KIB,
            Self::LeaseEnd
            | Self::Void
            | Self::Tombstone
            | Self::Promises
            | Self::Damage
            | Self::Claim
            | Self::Settings => 64 * KIB,
        }
    }

    /// The most bytes of what may lie in a folder of a repository.
    #[must_use]
    pub fn max_bytes_in(name: &str) -> u64 {
        match name.split_once('/').map_or("", |(folder, _)| folder) {
            "snapshots" => Self::Snapshot.max_bytes(),
            "checkpoints" => Self::Checkpoint.max_bytes(),
            "leases" => Self::Lease.max_bytes(),
            "trash" => Self::Mark.max_bytes(),
            "forgotten" => Self::Forgotten.max_bytes(),
            "promises" => Self::Promises.max_bytes(),
            "damage" => Self::Damage.max_bytes(),
            "drills" => Self::Drill.max_bytes(),
            "audit" => Self::Audit.max_bytes(),
            "claims" => Self::Claim.max_bytes(),
            "settings" => Self::Settings.max_bytes(),
            "parity" => super::parity::MAX_GROUP_BYTES,
            "packs" => super::pack::MAX_PACK_BYTES as u64,
            "index" => super::index::MAX_INDEX_BYTES,
            _ => 1024 * 1024,
        }
    }
}

/// Reads an object of one of the small kinds, none longer than what may lie there.
pub(super) fn read(storage: &Storage, name: &str) -> Result<Vec<u8>, RepoError> {
    storage.read_at_most(name, ObjectKind::max_bytes_in(name))
}

/// [`read`] of many objects in their order, several at once where that is faster; each with its length as listed.
pub(super) fn read_each<K, I: IntoIterator<Item = (K, String, u64)>>(
    storage: &Storage,
    objects: I,
) -> impl Iterator<Item = (K, Begun)> + use<K, I> {
    storage.read_each(objects.into_iter().map(|(key, name, bytes)| {
        let most = ObjectKind::max_bytes_in(&name);
        Wanted { key, name, bytes, most }
    }))
}

/// Makes an object: seals the body where its kind is sealed, and signs.
///
/// # Errors
/// [`RepoError::Role`] if the keyring cannot sign so; [`RepoError::Internal`] if the body is too long.
pub fn make(
    keyring: &Keyring,
    signer: Signer<'_>,
    kind: ObjectKind,
    name: &str,
    body: &[u8],
) -> Result<Vec<u8>, RepoError> {
    let epoch = match signer {
        Signer::Lease(key) => key.epoch,
        Signer::Operator => keyring.current_epoch,
    };
    let mut bytes = if kind.is_sealed() {
        let nonce = crypto::random()?;
        let mut bytes = header(kind, keyring.suite as u8, epoch, &nonce);
        compress_onto(body, &mut bytes)?;
        let ad = associated_data(keyring, kind, epoch, name);
        crypto::xseal(keyring.suite, keyring.object_key(name, epoch)?, &nonce, &ad, &mut bytes, HEADER_BYTES)?;
        bytes
    } else {
        plain(kind, epoch, name, body)?
    };
    let party = match signer {
        Signer::Lease(key) => key.party,
        Signer::Operator => Party::Operator,
    };
    bytes.extend_from_slice(&[party as u8, u8::from(matches!(signer, Signer::Lease(_))), 0, 0, 0, 0, 0, 0]);
    match signer {
        Signer::Lease(key) => {
            bytes.extend_from_slice(&key.public());
            bytes.extend_from_slice(&key.certificate);
            let signature = key.sign(&keys::object_digest(&keyring.repo_id, name, &bytes));
            bytes.extend_from_slice(&signature);
        }
        Signer::Operator => {
            use ed25519_dalek::Signer as _;
            bytes.extend_from_slice(&[0; PUBLIC_BYTES + SIGNATURE_BYTES]);
            let digest = keys::object_digest(&keyring.repo_id, name, &bytes);
            bytes.extend_from_slice(&keyring.party_key(Party::Operator)?.sign(&digest).to_bytes());
        }
    }
    let bytes = finish(bytes);
    if bytes.len() as u64 > kind.max_bytes() {
        return Err(RepoError::Internal(format!(
            "{name} would have {} bytes, more than the {} that such an object may have",
            bytes.len(),
            kind.max_bytes()
        )));
    }
    Ok(bytes)
}

/// Makes a plain object that nobody signed: what someone without a key can do. For tests.
#[doc(hidden)]
#[must_use]
pub fn unsigned(kind: ObjectKind, name: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = plain(kind, 0, name, body).unwrap_or_default();
    bytes.extend_from_slice(&[0; AUTHOR_BYTES]);
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

/// Opens a container of this kind and checks that whoever made it may make such a one under this name.
///
/// # Errors
/// [`RepoError::Damaged`] if it is not what it was; [`RepoError::Forged`] if it is whole, and nobody who may made it.
pub fn open(keyring: &Keyring, kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Vec<u8>, RepoError> {
    open_of(keyring, kind, name, bytes).map(|(_, body)| body)
}

/// [`open`], with the party that vouches for it.
pub(super) fn open_of(
    keyring: &Keyring,
    kind: ObjectKind,
    name: &str,
    bytes: &[u8],
) -> Result<(Party, Vec<u8>), RepoError> {
    let container = parse(name, bytes)?;
    container.expect(kind, name)?;
    let party = container.check_author(keyring, name, bytes)?;
    Ok((party, container.body(keyring, name)?))
}

/// Who made an object: the party that vouches for it.
pub fn author(keyring: &Keyring, name: &str, bytes: &[u8]) -> Result<Party, RepoError> {
    let container = parse(name, bytes)?;
    container.check_author(keyring, name, bytes)
}

/// [`open`] for what was checked before it was kept.
pub(super) fn open_known(keyring: &Keyring, kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Vec<u8>, RepoError> {
    let container = parse(name, bytes)?;
    container.expect(kind, name)?;
    container.body(keyring, name)
}

/// What a plain object says, without a key: who made it is not looked at.
pub(super) fn read_plain<T: DeserializeOwned>(storage: &Storage, kind: ObjectKind, name: &str) -> Result<T, RepoError> {
    let body = unwrap(kind, name, &read(storage, name)?)?;
    serde_json::from_slice(&body).map_err(|error| RepoError::damaged(name, error))
}

/// The body of a plain container of this kind, without a key: who made it is not looked at.
pub fn unwrap(kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Vec<u8>, RepoError> {
    let container = parse(name, bytes)?;
    container.expect(kind, name)?;
    if kind.is_sealed() {
        return Err(RepoError::Internal(format!("{name}: a {kind:?} is sealed")));
    }
    Ok(container.body.to_vec())
}

struct Container<'a> {
    kind: ObjectKind,
    /// `None` if it is plain.
    suite: Option<Suite>,
    epoch: u32,
    nonce: [u8; NONCE_BYTES],
    /// Sealed bytes, or the plain content without the name.
    body: &'a [u8],
    author: Author<'a>,
}

/// The fields of who signed, as they stand there.
struct Author<'a> {
    party: u8,
    form: u8,
    public: &'a [u8; PUBLIC_BYTES],
    certificate: &'a [u8; SIGNATURE_BYTES],
    signature: &'a [u8; SIGNATURE_BYTES],
}

/// The lease and the number in `<folder>/<S>/<n>`.
fn lease_and_number(name: &str) -> Option<(SnapshotId, &str)> {
    let (lease, number) = name.split_once('/')?.1.split_once('/')?;
    Some((lease.parse().ok()?, number))
}

impl Container<'_> {
    fn expect(&self, kind: ObjectKind, name: &str) -> Result<(), RepoError> {
        if self.kind == kind {
            Ok(())
        } else {
            Err(RepoError::forged(name, format!("it holds a {:?}, not a {kind:?}", self.kind)))
        }
    }

    fn body(&self, keyring: &Keyring, name: &str) -> Result<Vec<u8>, RepoError> {
        let Some(suite) = self.suite else { return Ok(self.body.to_vec()) };
        let key = keyring.object_key(name, self.epoch)?;
        let ad = associated_data(keyring, self.kind, self.epoch, name);
        let plain = crypto::xopen(suite, key, &self.nonce, &ad, self.body).ok_or_else(|| {
            RepoError::damaged(name, "its seal does not open: it was altered, or belongs to another name or repository")
        })?;
        decompress(&plain).map_err(|reason| RepoError::damaged(name, reason))
    }

    /// Section 6 of the specification: who may make what.
    fn check_author(&self, keyring: &Keyring, name: &str, bytes: &[u8]) -> Result<Party, RepoError> {
        let forged = |reason: &str| RepoError::forged(name, reason);
        if faults::is_broken(Rule::AuthorsAreChecked) {
            return Ok(Party::Operator);
        }
        let author = &self.author;
        let party = Party::from_u8(author.party).ok_or_else(|| forged("nobody signed it"))?;
        // Behind an epoch that this slot does not have nothing can be told.
        keyring.object_key(name, self.epoch)?;
        let signed = &bytes[..bytes.len() - HASH_BYTES - SIGNATURE_BYTES];
        let digest = keys::object_digest(&keyring.repo_id, name, signed);
        let of_lease = match author.form {
            0 => false,
            1 => true,
            _ => return Err(forged("its form of signature is unknown")),
        };
        if of_lease {
            let (lease, _) = lease_and_number(name).ok_or_else(|| forged("no lease makes it"))?;
            // A claim is named by what it claims.
            let of_itself = keys::lease_of(author.public) == lease || self.kind == ObjectKind::Claim;
            if !of_itself && !faults::is_broken(Rule::LeasesSpeakForThemselves) {
                return Err(forged("it is signed by another lease"));
            }
            if !keyring.certifies(self.epoch, party, author.public, author.certificate) {
                return Err(forged("no role of this repository vouches for its lease"));
            }
            if !keys::lease_signed(author.public, &digest, author.signature) {
                return Err(forged("its signature does not fit"));
            }
        } else {
            let nothing = *author.public == [0; PUBLIC_BYTES] && *author.certificate == [0; SIGNATURE_BYTES];
            if party != Party::Operator || !nothing || !keyring.operator_signed(self.epoch, &digest, author.signature) {
                return Err(forged("its signature is not that of an operator of this repository"));
            }
        }
        let is_commit = lease_and_number(name).is_some_and(|(_, number)| number == "0");
        let may = match self.kind {
            ObjectKind::Lease | ObjectKind::LeaseEnd => of_lease,
            ObjectKind::Checkpoint | ObjectKind::Audit | ObjectKind::Claim => of_lease && party != Party::Reader,
            ObjectKind::Snapshot if is_commit => of_lease && party != Party::Reader,
            ObjectKind::Void => is_commit && party != Party::Reader,
            ObjectKind::Snapshot
            | ObjectKind::Tombstone
            | ObjectKind::Mark
            | ObjectKind::Forgotten
            | ObjectKind::Damage
            | ObjectKind::Promises
            | ObjectKind::Settings
            | ObjectKind::Drill => !of_lease,
        };
        if may { Ok(party) } else { Err(forged("who signed it may not make such an object there")) }
    }
}

fn header(kind: ObjectKind, suite: u8, epoch: u32, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[kind as u8, suite]);
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(nonce);
    bytes
}

fn plain(kind: ObjectKind, epoch: u32, name: &str, body: &[u8]) -> Result<Vec<u8>, RepoError> {
    let name_len = u16::try_from(name.len()).map_err(|_| RepoError::Internal(format!("{name}: no name is so long")))?;
    let mut bytes = header(kind, 0, epoch, &[0; NONCE_BYTES]);
    bytes.extend_from_slice(&name_len.to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// Reads the container, checks its hash and all that can be checked without a key.
fn parse<'a>(name: &str, bytes: &'a [u8]) -> Result<Container<'a>, RepoError> {
    let damaged = |reason: &str| RepoError::damaged(name, reason);
    let cut_off = || damaged("it is cut off");
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or_else(cut_off)?;
    if blake3::hash(content) != blake3::Hash::from_bytes(*hash) {
        return Err(damaged("its bytes do not have the hash at its end"));
    }
    let (magic, rest) = content.split_first_chunk::<8>().ok_or_else(cut_off)?;
    if magic != MAGIC {
        return Err(damaged("it is no such object"));
    }
    let (version, _) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
    check_version(name, u16::from_le_bytes(*version), VERSION)?;
    let (header, rest) = content.split_first_chunk::<HEADER_BYTES>().ok_or_else(cut_off)?;
    let kind = ObjectKind::from_u8(header[10]).ok_or_else(|| Registry::ObjectKind.unknown(name, header[10]))?;
    let suite = match (kind.is_sealed(), header[11]) {
        (false, 0) => None,
        (true, number) if number != 0 => {
            Some(Suite::from_u8(number).ok_or_else(|| Registry::Suite.unknown(name, number))?)
        }
        _ => return Err(damaged("it is sealed where it should be plain, or the other way round")),
    };
    let epoch = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&header[16..]);
    let (rest, author) = rest.split_last_chunk::<AUTHOR_BYTES>().ok_or_else(cut_off)?;
    let author = parse_author(author).ok_or_else(|| damaged("a field of who signed it is not zero"))?;
    if suite.is_some() {
        return Ok(Container { kind, suite, epoch, nonce, body: rest, author });
    }
    if nonce != [0; NONCE_BYTES] {
        return Err(damaged("a plain object has a nonce"));
    }
    let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
    let len = usize::from(u16::from_le_bytes(*len));
    let (found, body) = rest.split_at_checked(len).ok_or_else(cut_off)?;
    if found != name.as_bytes() {
        return Err(RepoError::forged(name, "it was written under another name"));
    }
    Ok(Container { kind, suite, epoch, nonce, body, author })
}

fn parse_author(bytes: &[u8; AUTHOR_BYTES]) -> Option<Author<'_>> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let (public, rest) = rest.split_first_chunk::<PUBLIC_BYTES>()?;
    let (certificate, rest) = rest.split_first_chunk::<SIGNATURE_BYTES>()?;
    let signature = rest.try_into().ok()?;
    (head[2..] == [0; 6]).then_some(Author { party: head[0], form: head[1], public, certificate, signature })
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

/// A body that declares no more is given room for at once.
const AT_ONCE_BYTES: usize = 64 * 1024;

/// The inverse of [`compress_onto`]. Memory grows with what really comes out, never with what is declared.
pub(super) fn decompress(stored: &[u8]) -> Result<Vec<u8>, String> {
    let (declared, frame) = stored.split_first_chunk::<4>().ok_or("its body is cut off")?;
    let declared = u32::from_le_bytes(*declared) as usize;
    if declared > MAX_BODY_BYTES {
        return Err(format!("it declares {declared} bytes, more than {MAX_BODY_BYTES}"));
    }
    let mut plain = Zeroizing::new(Vec::new());
    if declared <= AT_ONCE_BYTES {
        // Thousands of manifests are opened together: making a context for each would take longer than all else.
        decompress_onto(frame, declared, &mut plain)?;
        return Ok(std::mem::take(&mut *plain));
    }
    let mut rest = frame;
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
