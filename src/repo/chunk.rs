//! Chunks: the unit of deduplication. A chunk's plaintext is a sequence of *runs*; each run is compressed or stored raw
//! on its own, and the chunk's id is taken over the canonical plaintext, before compression.

pub(super) mod codec;
pub mod memory;
#[cfg(test)]
mod tests;

pub use memory::MemoryChunks;

use super::{ChunkId, ChunkKind, RepoError};
use crate::record::bytes::{DecodeError, Reader, put_u64};
use std::{ops::Range, sync::Arc};

/// The most bytes of plaintext one chunk may have.
pub const MAX_CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// The most runs one chunk may have.
pub const MAX_RUNS: usize = 512;

/// A chunk's plaintext under construction: bytes, and where each run ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkPlain {
    /// All runs, one after the other.
    pub bytes: Vec<u8>,
    /// Where each run ends in `bytes`.
    pub ends: Vec<usize>,
}

impl ChunkPlain {
    /// A chunk of one run.
    #[must_use]
    pub fn single(bytes: Vec<u8>) -> Self {
        let ends = vec![bytes.len()];
        Self { bytes, ends }
    }

    /// Ends the current run at the end of `bytes`.
    pub fn end_run(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Forgets the runs, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The byte range of each run.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }

    /// Checks that the runs cover the bytes in order and that both are within the format's limits.
    pub fn check(&self) -> Result<(), RepoError> {
        let invalid = |what: &str| Err(RepoError::Internal(format!("a chunk {what}")));
        if self.bytes.len() > MAX_CHUNK_BYTES {
            return invalid(&format!("of {} bytes exceeds {MAX_CHUNK_BYTES}", self.bytes.len()));
        }
        if self.ends.len() > MAX_RUNS {
            return invalid(&format!("of {} runs exceeds {MAX_RUNS}", self.ends.len()));
        }
        if self.ends.last().copied().unwrap_or(0) != self.bytes.len() || !self.ends.is_sorted() {
            return invalid("whose runs do not cover its bytes");
        }
        Ok(())
    }

    /// The chunk's name: keyed BLAKE3 over the kind, the number of runs, each run's length, and the bytes.
    #[must_use]
    pub fn id(&self, chunk_id_key: &[u8; 32], kind: ChunkKind) -> ChunkId {
        let mut head = vec![kind as u8];
        put_u64(&mut head, self.ends.len() as u64);
        for run in self.runs() {
            put_u64(&mut head, run.len() as u64);
        }
        let mut hasher = blake3::Hasher::new_keyed(chunk_id_key);
        hasher.update(&head);
        hasher.update(&self.bytes);
        ChunkId(*hasher.finalize().as_bytes())
    }
}

/// Why a frame's body is no chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParseError {
    /// A run is stored in a way that this program does not know.
    Method(u8),
    /// It is damaged.
    Bytes(DecodeError),
}

impl From<DecodeError> for ParseError {
    fn from(error: DecodeError) -> Self {
        Self::Bytes(error)
    }
}

/// A chunk read from a pack: decrypted, its runs decompressed as they are asked for.
#[derive(Debug, Clone)]
pub struct ChunkData {
    pub(super) body: Vec<u8>,
    pub(super) runs: Vec<StoredRun>,
}

/// Where a run lies in a decrypted frame and how it was stored.
#[derive(Debug, Clone)]
pub(super) struct StoredRun {
    pub(super) compressed: bool,
    pub(super) stored: Range<usize>,
    pub(super) plain_len: usize,
}

impl ChunkData {
    /// Reads the run table of a decrypted frame body.
    pub(super) fn parse(body: Vec<u8>) -> Result<Self, ParseError> {
        let mut reader = Reader::new(&body);
        let count = reader.len("the number of runs")?;
        if count > MAX_RUNS {
            return Err(DecodeError::Invalid("the number of runs").into());
        }
        let mut runs = Vec::with_capacity(count);
        let (mut stored_end, mut plain_end) = (0_usize, 0_usize);
        for _ in 0..count {
            let method = reader.u8("a run's method")?;
            let stored = reader.len("a run's stored length")?;
            let plain_len = reader.u64("a run's plain length")?;
            let plain_len = usize::try_from(plain_len).map_err(|_| DecodeError::Invalid("a run's plain length"))?;
            let compressed = match method {
                0 if stored == plain_len => false,
                1 if stored < plain_len => true,
                0 | 1 => return Err(DecodeError::Invalid("a run's stored length").into()),
                _ => return Err(ParseError::Method(method)),
            };
            plain_end = plain_end.saturating_add(plain_len);
            if plain_end > MAX_CHUNK_BYTES {
                return Err(DecodeError::Invalid("the total of plain lengths").into());
            }
            runs.push(StoredRun { compressed, stored: stored_end..stored_end + stored, plain_len });
            stored_end += stored;
        }
        let payload = reader.rest().len();
        if payload < stored_end {
            return Err(DecodeError::Truncated("the runs").into());
        }
        if payload > stored_end {
            return Err(DecodeError::Trailing("the runs").into());
        }
        let start = body.len() - payload;
        for run in &mut runs {
            run.stored = run.stored.start + start..run.stored.end + start;
        }
        Ok(Self { body, runs })
    }

    /// How many runs the chunk has.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The plain length of run `index`; `None` if there is no such run.
    #[must_use]
    pub fn run_len(&self, index: usize) -> Option<usize> {
        self.runs.get(index).map(|run| run.plain_len)
    }

    /// The plaintext's length, all runs together.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.runs.iter().map(|run| run.plain_len).sum()
    }

    /// Puts the plaintext of run `index` into `out`, whose former content is dropped.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] if there is no such run or it cannot be decompressed to its length.
    pub fn run(&self, index: usize, out: &mut Vec<u8>) -> Result<(), RepoError> {
        out.clear();
        self.append_run(index, out)
    }

    fn append_run(&self, index: usize, out: &mut Vec<u8>) -> Result<(), RepoError> {
        let run = self.runs.get(index).ok_or_else(|| {
            RepoError::damaged("chunk", format!("run {index} was asked for, it has {}", self.runs.len()))
        })?;
        let stored =
            self.body.get(run.stored.clone()).ok_or_else(|| RepoError::damaged("chunk", "a run is cut off"))?;
        if run.compressed {
            codec::decompress_onto(stored, run.plain_len, out)
                .map_err(|reason| RepoError::damaged("chunk", format!("run {index}: {reason}")))
        } else {
            out.extend_from_slice(stored);
            Ok(())
        }
    }

    /// The whole plaintext.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn plain(&self) -> Result<ChunkPlain, RepoError> {
        let mut plain =
            ChunkPlain { bytes: Vec::with_capacity(self.plain_len()), ends: Vec::with_capacity(self.runs()) };
        for index in 0..self.runs.len() {
            self.append_run(index, &mut plain.bytes)?;
            plain.end_run();
        }
        Ok(plain)
    }

    /// Decompresses everything and recomputes the chunk's id.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] naming the chunk if it is another.
    pub fn verify(&self, chunk_id_key: &[u8; 32], kind: ChunkKind, id: &ChunkId) -> Result<(), RepoError> {
        let plain = self.plain().map_err(|error| RepoError::damaged(format!("chunk {id}"), error))?;
        let found = plain.id(chunk_id_key, kind);
        if found == *id {
            Ok(())
        } else {
            Err(RepoError::damaged(format!("chunk {id}"), format!("its content is that of chunk {found}")))
        }
    }

    /// A chunk as if it had been read from a pack where nothing is compressed.
    #[doc(hidden)]
    #[must_use]
    pub fn from_plain(plain: ChunkPlain) -> Self {
        let runs = plain.runs().map(|run| StoredRun { compressed: false, plain_len: run.len(), stored: run }).collect();
        Self { body: plain.bytes, runs }
    }
}

/// What a chunk writer did with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The chunk's name.
    pub id: ChunkId,
    /// `false` if the repository held it already.
    pub new: bool,
    /// What it takes in a pack, if it is new and this writer stored it; 0 otherwise.
    pub stored_bytes: u64,
}

/// Reads chunks; may be shared by threads.
pub trait ChunkReader: Send + Sync {
    /// Reads and authenticates one chunk.
    ///
    /// # Errors
    /// [`RepoError`] naming the chunk and the pack.
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError>;

    /// Reads chunks that are known beforehand before they are asked for; `None` where that is no faster.
    fn ahead(self: Arc<Self>) -> Option<Box<dyn ReadAhead>> {
        None
    }

    /// The bytes that reading this chunk takes from storage; `None` if the repository does not hold it.
    ///
    /// # Errors
    /// [`RepoError`] from the catalog.
    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError>;
}

/// Chunks on their way to one reader, in the order in which he will ask for them. Bounded in bytes: what is announced beyond is
/// simply not there, and read when it is asked for.
pub trait ReadAhead: Send {
    /// Whether it is time to announce more.
    fn has_room(&self) -> bool;

    /// Announces the next chunk; `false` if there is no room for more.
    fn announce(&mut self, kind: ChunkKind, id: &ChunkId) -> bool;

    /// Sends for what was announced.
    fn send(&mut self);

    /// Takes a chunk, and gives up those that were announced before it. `None` if it was not announced, or could not be read
    /// so: then [`ChunkReader::read`] says what is wrong.
    fn take(&mut self, kind: ChunkKind, id: &ChunkId) -> Option<ChunkData>;
}

/// Writes chunks; each thread has its own.
pub trait ChunkWriter {
    /// Stores a chunk unless the repository holds it.
    ///
    /// # Errors
    /// [`RepoError`] from storage; or that this writer was fenced.
    fn put(&mut self, kind: ChunkKind, plain: &ChunkPlain) -> Result<Put, RepoError>;
}
