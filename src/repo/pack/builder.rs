//! Building a pack: the hot path of every backup. A chunk is compressed run by run into a buffer of the thread, copied
//! once into the pack and encrypted there.

use super::{
    DIRECTORY_ORDINAL, FRAME_HEAD_BYTES, Header, MAX_PACK_BYTES, PADDING_BYTES, PackEntry, PackHeader, SealedPack,
    TARGET_PACK_BYTES, TRAILER_BYTES, TRAILER_MAGIC, frame_head, put_entries,
};
use crate::{
    record::bytes::put_u64,
    repo::{
        ChunkData, ChunkId, ChunkKind, ChunkPlain, ObjectName, RepoError, SnapshotId,
        chunk::codec::{self, RunCompressor},
        ids::PackKind,
        keys::{
            Keyring,
            crypto::{FrameCipher, TAG_BYTES},
        },
    },
};
use std::{ops::Range, sync::Arc};

/// Where a run's stored bytes are: compressed, in the thread's buffer; or raw, in the plaintext.
enum Stored {
    Compressed(Range<usize>),
    Raw,
}

/// Builds one pack in memory.
pub struct PackBuilder {
    fields: Header,
    header: PackHeader,
    cipher: FrameCipher,
    bytes: Vec<u8>,
    entries: Vec<PackEntry>,
    /// Spent when sealing begins, whether it succeeds or not.
    ordinal: u64,
}

impl PackBuilder {
    /// An empty pack with a fresh random key.
    #[allow(clippy::needless_pass_by_value, reason = "the signature that callers share a keyring through")]
    pub fn new(keyring: Arc<Keyring>, kind: PackKind, lease: SnapshotId) -> Result<Self, RepoError> {
        Self::within(Vec::new(), &keyring, kind, lease)
    }

    /// The same in memory that held another pack before.
    pub(in crate::repo) fn within(
        mut bytes: Vec<u8>,
        keyring: &Keyring,
        kind: PackKind,
        lease: SnapshotId,
    ) -> Result<Self, RepoError> {
        let (fields, header, key) = Header::make(keyring, kind, lease)?;
        bytes.clear();
        bytes.extend_from_slice(&header);
        let cipher = FrameCipher::new(fields.suite, &key);
        Ok(Self { fields, header, cipher, bytes, entries: Vec::new(), ordinal: 0 })
    }

    /// Compresses (each run by trial, at `level`; 0: never), checks if asked, seals and appends a chunk. Gives its entry.
    ///
    /// # Errors
    /// [`RepoError::Internal`] if the chunk is outside the format's limits, belongs into the other kind of pack, or, with
    /// `check`, does not come back from the compressor as it went in. The pack is as it was before then.
    pub fn add(
        &mut self,
        id: ChunkId,
        kind: ChunkKind,
        plain: &ChunkPlain,
        level: i32,
        check: bool,
    ) -> Result<PackEntry, RepoError> {
        self.check_whole()?;
        plain.check()?;
        if kind.pack_kind() != self.fields.kind {
            return Err(RepoError::Internal(format!("a {kind:?} chunk does not belong into this pack")));
        }
        let start = self.bytes.len();
        let added = self.append_body(plain, level, check).and_then(|()| {
            let roomy = self.bytes.len() + TAG_BYTES + self.directory_bound() <= MAX_PACK_BYTES;
            if roomy { Ok(()) } else { Err(format!("a pack may not exceed {MAX_PACK_BYTES} bytes")) }
        });
        if let Err(reason) = added {
            self.bytes.truncate(start);
            return Err(RepoError::Internal(format!("chunk {id}: {reason}")));
        }
        self.seal_entry(start, id, kind, plain.bytes.len() as u32)
    }

    /// Seals and appends a chunk as it was stored elsewhere, its runs as compressed as they are. The caller has compared it
    /// with its id.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_copy(&mut self, chunk: &PackEntry, data: &ChunkData) -> Result<PackEntry, RepoError> {
        self.add_body(chunk, &data.body)
    }

    /// Seals and appends everything that another builder of this kind holds.
    ///
    /// # Errors
    /// As [`Self::add`]; what came before then is in.
    pub(in crate::repo) fn absorb(&mut self, other: &Self) -> Result<(), RepoError> {
        for (ordinal, entry) in other.entries.iter().enumerate() {
            let (ordinal, start) = (ordinal as u64, entry.offset as usize);
            let frame = &other.bytes[start..start + entry.stored_len as usize];
            let sealed = frame.get(FRAME_HEAD_BYTES..).and_then(<[u8]>::split_last_chunk::<TAG_BYTES>);
            let lost = || RepoError::Internal(format!("chunk {} does not open as it was sealed", entry.id));
            let (body, tag) = sealed.ok_or_else(lost)?;
            let mut body = body.to_vec();
            if !other.cipher.open(ordinal, &other.fields.frame_ad(ordinal, &entry.id), &mut body, *tag) {
                return Err(lost());
            }
            self.add_body(entry, &body)?;
        }
        Ok(())
    }

    fn add_body(&mut self, chunk: &PackEntry, body: &[u8]) -> Result<PackEntry, RepoError> {
        self.check_whole()?;
        if chunk.kind.pack_kind() != self.fields.kind {
            return Err(RepoError::Internal(format!("a {:?} chunk does not belong into this pack", chunk.kind)));
        }
        let start = self.bytes.len();
        self.reserve();
        self.bytes.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        self.bytes.extend_from_slice(body);
        if self.bytes.len() + TAG_BYTES + self.directory_bound() > MAX_PACK_BYTES {
            self.bytes.truncate(start);
            return Err(RepoError::Internal(format!(
                "chunk {}: a pack may not exceed {MAX_PACK_BYTES} bytes",
                chunk.id
            )));
        }
        self.seal_entry(start, chunk.id, chunk.kind, chunk.plain_len)
    }

    /// Seals the body at `start` under the next ordinal and lists it.
    fn seal_entry(
        &mut self,
        start: usize,
        id: ChunkId,
        kind: ChunkKind,
        plain_len: u32,
    ) -> Result<PackEntry, RepoError> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        self.seal_frame(start, ordinal, &id)?;
        let stored_len = (self.bytes.len() - start) as u32;
        let entry = PackEntry { id, kind, offset: start as u64, stored_len, plain_len };
        self.entries.push(entry);
        Ok(entry)
    }

    /// Most packs are closed at the target; the last ones of a run stay small.
    fn reserve(&mut self) {
        if self.bytes.len() > TARGET_PACK_BYTES / 8 && self.bytes.capacity() < TARGET_PACK_BYTES {
            self.bytes.reserve_exact(TARGET_PACK_BYTES + TARGET_PACK_BYTES / 8 - self.bytes.len());
        }
    }

    /// Appends room for a frame's head, then its body in clear.
    fn append_body(&mut self, plain: &ChunkPlain, level: i32, check: bool) -> Result<(), String> {
        self.reserve();
        let out = &mut self.bytes;
        codec::with_compressor(level, |compressor| {
            let runs = compress_runs(compressor, plain, check)?;
            out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
            put_u64(out, runs.len() as u64);
            for (run, stored) in plain.runs().zip(&runs) {
                let (method, stored_len) = match stored {
                    Stored::Compressed(range) => (1, range.len()),
                    Stored::Raw => (0, run.len()),
                };
                out.push(method);
                put_u64(out, stored_len as u64);
                put_u64(out, run.len() as u64);
            }
            for (run, stored) in plain.runs().zip(&runs) {
                out.extend_from_slice(match stored {
                    Stored::Compressed(range) => &compressor.buffer()[range.clone()],
                    Stored::Raw => &plain.bytes[run],
                });
            }
            Ok(())
        })
    }

    /// Seals what lies behind the head at `start`, in place.
    fn seal_frame(&mut self, start: usize, ordinal: u64, id: &ChunkId) -> Result<(), RepoError> {
        let ad = self.fields.frame_ad(ordinal, id);
        let (head, body) = self.bytes[start..].split_at_mut(FRAME_HEAD_BYTES);
        head.copy_from_slice(&frame_head((body.len() + TAG_BYTES) as u32, ordinal));
        let tag = self.cipher.seal(ordinal, &ad, body)?;
        self.bytes.extend_from_slice(&tag);
        Ok(())
    }

    /// An ordinal is never used twice, so a pack whose sealing failed once is given up.
    fn check_whole(&self) -> Result<(), RepoError> {
        if self.entries.len() as u64 == self.ordinal {
            Ok(())
        } else {
            Err(RepoError::Internal("sealing into this pack failed before: it cannot be used".to_owned()))
        }
    }

    /// More than directory, trailer and padding will take.
    fn directory_bound(&self) -> usize {
        (self.entries.len() + 1) * 64 + 64 + PADDING_BYTES
    }

    /// What it holds.
    pub(in crate::repo) const fn kind(&self) -> PackKind {
        self.fields.kind
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no chunk was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Seals the directory, pads, names.
    pub fn finish(mut self) -> Result<SealedPack, RepoError> {
        self.check_whole()?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        put_entries(&mut self.bytes, &self.entries);
        self.seal_frame(start, DIRECTORY_ORDINAL, &ChunkId([0; 32]))?;
        let directory_len = (self.bytes.len() - start) as u32;
        let len = (self.bytes.len() + TRAILER_BYTES).next_multiple_of(PADDING_BYTES);
        self.bytes.resize(len - TRAILER_BYTES, 0);
        self.bytes.extend_from_slice(&(start as u64).to_le_bytes());
        self.bytes.extend_from_slice(&directory_len.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 12]);
        self.bytes.extend_from_slice(TRAILER_MAGIC);
        Ok(SealedPack {
            name: ObjectName(*blake3::hash(&self.bytes).as_bytes()),
            bytes: self.bytes,
            kind: self.fields.kind,
            lease: self.fields.lease,
            header: self.header,
            entries: self.entries,
        })
    }
}

/// Compresses each run that shrinks; with `check`, decompresses and compares each.
fn compress_runs(compressor: &mut RunCompressor, plain: &ChunkPlain, check: bool) -> Result<Vec<Stored>, String> {
    compressor.begin(plain.bytes.len());
    let mut runs = Vec::with_capacity(plain.ends.len());
    for run in plain.runs() {
        let stored = compressor.compress(&plain.bytes[run])?;
        runs.push(stored.map_or(Stored::Raw, Stored::Compressed));
    }
    if check {
        for (index, (run, stored)) in plain.runs().zip(&runs).enumerate() {
            let Stored::Compressed(range) = stored else { continue };
            if !compressor.comes_back(range.clone(), &plain.bytes[run])? {
                return Err(format!("run {index} did not come back from the compressor as it went in"));
            }
        }
    }
    Ok(runs)
}
