//! The one temporary file of a run: however many collections there are, one is open. It has no name, so nothing is left
//! behind, however the run ends; and it is sealed with a key that only this process knows, since what goes through it may be
//! secret and the disk may not be. A frame is sealed at once, with its number for a nonce: none is ever written twice.

use rekeep_seal::{Cipher, TAG_BYTES};
use std::{
    fs::File,
    io::{self, BufRead, Read, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes of plain text in a frame; the last of a writer is filled up with zeros.
const FRAME_BYTES: u64 = 64 << 10;
const SEALED_BYTES: u64 = FRAME_BYTES + TAG_BYTES as u64;

/// A cipher with a new key. Everything that is sorted goes through it twice, so the faster one is worth a choice: with instructions
/// for it, AES takes about 0.6 of the other's time; without them it takes several times as much.
fn cipher(has_aes: bool) -> io::Result<Cipher> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(if has_aes { Cipher::aes(&key) } else { Cipher::chacha(&key) })
}

fn nonce(frame: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&frame.to_le_bytes());
    nonce
}

/// Whether this machine has instructions for AES and for what authenticates it.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_aes = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = false;
    has_aes
}

/// A temporary file that is written at its end and read anywhere. Places in it are those of its plain text.
pub(in crate::connector) struct Spool {
    file: File,
    /// Where the file lies, which has no name.
    dir: PathBuf,
    cipher: Cipher,
    end: AtomicU64,
}

impl Spool {
    /// A new file in a directory.
    pub(in crate::connector) fn new(dir: &Path) -> io::Result<Arc<Self>> {
        Self::sealed_by(cipher(has_aes())?, dir)
    }

    fn sealed_by(cipher: Cipher, dir: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { file: tempfile::tempfile_in(dir)?, dir: dir.to_owned(), cipher, end: AtomicU64::new(0) }))
    }

    /// The directory that the file lies in: it is seldom the disk of what is sorted that is full.
    pub(in crate::connector) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes behind all that is there; one at a time.
    pub(in crate::connector) fn append(self: &Arc<Self>) -> SpoolWriter {
        let at = self.end.load(Ordering::Relaxed);
        SpoolWriter { spool: Arc::clone(self), at, buffer: Vec::with_capacity(SEALED_BYTES as usize) }
    }

    /// Reads a stretch.
    pub(in crate::connector) fn read(self: &Arc<Self>, stretch: Range<u64>) -> SpoolReader {
        SpoolReader { spool: Arc::clone(self), stretch, frame: None, plain: Vec::new() }
    }

    /// Gives back the room of a stretch that is read no more, where the file system can.
    pub(in crate::connector) fn forget(&self, stretch: &Range<u64>) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let sealed = |at: u64| at.div_ceil(FRAME_BYTES) * SEALED_BYTES;
            // The room is missed only until the end of the run.
            let _ = fallocate(&self.file, flags, sealed(stretch.start), sealed(stretch.end) - sealed(stretch.start));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = stretch;
    }
}

/// Writes at the end of a spool.
pub(in crate::connector) struct SpoolWriter {
    spool: Arc<Spool>,
    /// Where the buffer goes: the beginning of a frame.
    at: u64,
    buffer: Vec<u8>,
}

impl SpoolWriter {
    /// Where the next byte goes.
    pub(in crate::connector) fn at(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    /// Writes what is left; without it what was written does not count.
    pub(in crate::connector) fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.seal()?;
        }
        self.spool.end.store(self.at, Ordering::Relaxed);
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        self.buffer.resize(FRAME_BYTES as usize, 0);
        let frame = self.at / FRAME_BYTES;
        let tag = self.spool.cipher.seal(&nonce(frame), b"", &mut self.buffer);
        let tag = tag.ok_or_else(|| io::Error::other("a temporary file could not be sealed"))?;
        self.buffer.extend_from_slice(&tag);
        self.spool.file.write_all_at(&self.buffer, frame * SEALED_BYTES)?;
        self.at += FRAME_BYTES;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (FRAME_BYTES as usize - self.buffer.len()).min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..room]);
        if self.buffer.len() as u64 == FRAME_BYTES {
            self.seal()?;
        }
        Ok(room)
    }

    /// A frame is written when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a stretch of a spool.
pub(in crate::connector) struct SpoolReader {
    spool: Arc<Spool>,
    stretch: Range<u64>,
    /// The number of the frame at hand.
    frame: Option<u64>,
    plain: Vec<u8>,
}

impl SpoolReader {
    fn open(&mut self, frame: u64) -> io::Result<()> {
        if self.frame == Some(frame) {
            return Ok(());
        }
        self.frame = None;
        self.plain.resize(SEALED_BYTES as usize, 0);
        self.spool.file.read_exact_at(&mut self.plain, frame * SEALED_BYTES)?;
        let tag = self.plain.split_off(FRAME_BYTES as usize);
        let opened = tag.try_into().is_ok_and(|tag| self.spool.cipher.open(&nonce(frame), b"", &mut self.plain, tag));
        if !opened {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a temporary file was changed"));
        }
        self.frame = Some(frame);
        Ok(())
    }
}

impl SpoolReader {
    /// What is left of the frame at hand, within the stretch.
    pub(in crate::connector) fn buffer(&self) -> &[u8] {
        if self.frame != Some(self.stretch.start / FRAME_BYTES) {
            return &[];
        }
        let rest = &self.plain[(self.stretch.start % FRAME_BYTES) as usize..];
        let left = self.stretch.end.saturating_sub(self.stretch.start);
        usize::try_from(left).ok().and_then(|left| rest.get(..left)).unwrap_or(rest)
    }
}

impl BufRead for SpoolReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.stretch.start >= self.stretch.end {
            return Ok(&[]);
        }
        self.open(self.stretch.start / FRAME_BYTES)?;
        Ok(self.buffer())
    }

    fn consume(&mut self, bytes: usize) {
        self.stretch.start += bytes as u64;
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let within = self.fill_buf()?;
        let most = within.len().min(buffer.len());
        buffer[..most].copy_from_slice(&within[..most]);
        self.consume(most);
        Ok(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_anywhere_and_does_not_stand_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        for has_aes in [true, false] {
            check(&Spool::sealed_by(cipher(has_aes).unwrap(), dir.path()).unwrap());
        }
    }

    fn check(spool: &Arc<Spool>) {
        let text: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let mut starts = Vec::new();
        for part in [&text[..5], &text[5..200_000], &text[200_000..]] {
            let mut out = spool.append();
            starts.push((out.at(), part));
            out.write_all(part).unwrap();
            assert_eq!(out.at() - starts.last().unwrap().0, part.len() as u64);
            out.finish().unwrap();
        }
        for (start, part) in starts {
            for skip in [0, 1, part.len() / 2] {
                let mut read = Vec::new();
                let stretch = start + skip as u64..start + part.len() as u64;
                spool.read(stretch).read_to_end(&mut read).unwrap();
                assert!(read == part[skip..]);
            }
        }
        let mut disk = vec![0; 300_000];
        spool.file.read_exact_at(&mut disk, 0).unwrap();
        assert!(!disk.windows(12).any(|window| window == &text[40_000..40_012]));
        spool.file.write_all_at(&[disk[70_000] ^ 1], 70_000).unwrap();
        let error = spool.read(FRAME_BYTES..2 * FRAME_BYTES).read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("changed"), "{error}");
    }
}
