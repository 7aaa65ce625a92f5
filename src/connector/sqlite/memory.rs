//! What is remembered of a database's pages from one backup to the next, on this host alone: a hash of eight bytes for each leaf.
//!
//! A file: 64 bytes of head (`rekeep pages 1`, padded with zeros to 16; a key of 32 random bytes; how often in a row it was
//! trusted, as a u32 in little endian; zeros), then eight bytes for each page by its number, zeros where nothing is known. The hash is
//! keyed by that key and by what the rows of the page depend on beside its bytes, so that a file that is damaged or of another
//! database only makes pages be read.

use super::{
    page::row_cell,
    pages::{Reader, chain_pages},
};
use highway::{HighwayHash, HighwayHasher, Key};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const MAGIC: [u8; 16] = *b"rekeep pages 1\0\0";
const HEAD_BYTES: usize = 64;
const SLOT_BYTES: u64 = 8;

/// Bytes of hashes that are read at once.
const WINDOW_BYTES: u64 = 32 * 1024;

/// Hashes that are written at once.
const PENDING_BYTES: usize = 32 * 1024;

/// What was noted by the backup before, and what is noted now.
pub(super) struct Memory {
    key: [u8; 32],
    earlier: Option<File>,
    later: Option<File>,
    failed: AtomicBool,
}

impl Memory {
    /// Opens what was noted and begins to note; also gives how often in a row notes were trusted. `None` if neither is possible.
    pub(super) fn open(earlier: Option<&Path>, later: Option<&Path>) -> Option<(Self, u32)> {
        let known = earlier.and_then(|path| {
            let file = File::open(path).ok()?;
            let mut head = [0; HEAD_BYTES];
            file.read_exact_at(&mut head, 0).ok()?;
            let key = <[u8; 32]>::try_from(&head[16..48]).ok()?;
            let trusted = u32::from_le_bytes(head[48..52].try_into().ok()?);
            (head[..16] == MAGIC).then_some((file, key, trusted))
        });
        let (earlier, key, trusted) = if let Some((file, key, trusted)) = known {
            (Some(file), key, trusted)
        } else {
            let mut key = [0; 32];
            getrandom::fill(&mut key).ok()?;
            (None, key, 0)
        };
        let later = later.and_then(|path| File::create(path).ok());
        let failed = AtomicBool::new(false);
        (earlier.is_some() || later.is_some()).then_some((Self { key, earlier, later, failed }, trusted))
    }

    /// Ends the notes; gives whether they are whole.
    pub(super) fn end(&self, trusted: u32) -> bool {
        let Some(later) = &self.later else { return false };
        let mut head = [0; HEAD_BYTES];
        head[..16].copy_from_slice(&MAGIC);
        head[16..48].copy_from_slice(&self.key);
        head[48..52].copy_from_slice(&trusted.to_le_bytes());
        !self.failed.load(Ordering::SeqCst) && later.write_all_at(&head, 0).is_ok()
    }

    const fn at(page: u32) -> u64 {
        HEAD_BYTES as u64 + page as u64 * SLOT_BYTES
    }
}

/// What is remembered of one table, for one reader.
pub(super) struct TableMemory {
    memory: Arc<Memory>,
    key: Key,
    /// Where in the file the hashes at hand begin.
    window: Option<u64>,
    known: Vec<u8>,
    /// Where the hashes that are not written yet belong.
    pending_at: u64,
    pending: Vec<u8>,
    chain: Vec<u8>,
}

impl TableMemory {
    /// Of a table of which this is what its rows depend on beside the bytes of their pages.
    pub(super) fn new(memory: Arc<Memory>, context: &[u8]) -> Self {
        let hash = blake3::keyed_hash(&memory.key, context);
        let mut key = [0; 4];
        for (word, bytes) in key.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            *word = bytes.try_into().map_or(0, u64::from_le_bytes);
        }
        Self {
            memory,
            key: Key(key),
            window: None,
            known: Vec::new(),
            pending_at: 0,
            pending: Vec::new(),
            chain: Vec::new(),
        }
    }

    /// The hash of a leaf and of all pages that its rows run over; `None` where one of those cannot be read, or a row is too long.
    pub(super) fn digest(&mut self, reader: &mut Reader<'_>, page: &[u8], usable: usize, rows: usize) -> Option<u64> {
        let mut hasher = HighwayHasher::new(self.key);
        hasher.append(page);
        for index in 0..rows {
            let cell = row_cell(page, usable, index)?;
            let Some(mut next) = cell.overflow else { continue };
            let mut left = chain_pages(&cell, usable)?;
            while left > 0 {
                reader.read(next, &mut self.chain)?;
                hasher.append(&self.chain);
                next = u32::from_be_bytes(self.chain.get(..4)?.try_into().ok()?);
                left -= 1;
            }
        }
        Some(hasher.finalize64().max(1))
    }

    /// Whether a page had this hash when the parent was read.
    pub(super) fn stands(&mut self, page: u32, digest: u64) -> bool {
        let Some(earlier) = &self.memory.earlier else { return false };
        let at = Memory::at(page);
        let start = at / WINDOW_BYTES * WINDOW_BYTES;
        if self.window != Some(start) {
            self.known.clear();
            self.known.resize(WINDOW_BYTES as usize, 0);
            let mut filled = 0;
            while let Ok(read @ 1..) = earlier.read_at(&mut self.known[filled..], start + filled as u64) {
                filled += read;
            }
            // What could not be read is not known.
            self.known[filled..].fill(0);
            self.window = Some(start);
        }
        let from = (at - start) as usize;
        self.known.get(from..from + SLOT_BYTES as usize).is_some_and(|slot| slot == digest.to_le_bytes())
    }

    /// Notes the hash of a page that was read, or that stands.
    pub(super) fn note(&mut self, page: u32, digest: u64) {
        let at = Memory::at(page);
        if at != self.pending_at + self.pending.len() as u64 || self.pending.len() >= PENDING_BYTES {
            self.flush();
            self.pending_at = at;
        }
        self.pending.extend_from_slice(&digest.to_le_bytes());
    }

    fn flush(&mut self) {
        let written = match &self.memory.later {
            Some(later) if !self.pending.is_empty() => later.write_all_at(&self.pending, self.pending_at),
            _ => Ok(()),
        };
        if written.is_err() {
            self.memory.failed.store(true, Ordering::SeqCst);
        }
        self.pending.clear();
    }
}

impl Drop for TableMemory {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_found_again_by_their_own_table_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1"), folder.path().join("2"));
        let (memory, trusted) = Memory::open(None, Some(&first)).unwrap();
        assert_eq!(trusted, 0);
        let memory = Arc::new(memory);
        let mut table = TableMemory::new(Arc::clone(&memory), b"t");
        for page in [2, 3, 4, 9000, 7] {
            table.note(page, u64::from(page) * 11);
        }
        drop(table);
        assert!(memory.end(4));
        let (memory, trusted) = Memory::open(Some(&first), Some(&second)).unwrap();
        assert_eq!(trusted, 4);
        let mut table = TableMemory::new(Arc::new(memory), b"t");
        for page in [2, 9000, 3, 7, 4] {
            assert!(table.stands(page, u64::from(page) * 11) && !table.stands(page, 5));
        }
        assert!(!table.stands(5, 0x37) && !table.stands(9_000_000, 1));
    }

    #[test]
    fn what_is_no_memory_is_none_and_what_is_cut_off_knows_less() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(Memory::open(Some(&path), None).is_none());
        std::fs::write(&path, [0; 200]).unwrap();
        assert!(Memory::open(Some(&path), None).is_none());
        let (memory, _) = Memory::open(None, Some(&path)).unwrap();
        let memory = Arc::new(memory);
        let mut table = TableMemory::new(Arc::clone(&memory), b"");
        table.note(1, 5);
        table.note(2, 6);
        drop(table);
        assert!(memory.end(0));
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(80).unwrap();
        let mut table = TableMemory::new(Arc::new(Memory::open(Some(&path), None).unwrap().0), b"");
        assert!(table.stands(1, 5) && !table.stands(2, 6));
    }
}
