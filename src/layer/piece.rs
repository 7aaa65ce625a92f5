//! Values too long for a block: cut by their content into pieces, and read piece by piece.

use super::{LayerContext, LayerError};
use crate::{
    record::bytes::{DecodeError, Reader, put_u64},
    repo::{ChunkId, ChunkKind, ChunkPlain, ChunkReader, ChunkWriter, ReadAhead, chunk::MAX_CHUNK_BYTES},
};
use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};
use std::{
    borrow::Cow,
    io::{self, Read},
    sync::Arc,
};

const MIN_PIECE: usize = 256 * 1024;
const AVERAGE_PIECE: usize = 1024 * 1024;
const MAX_PIECE: usize = 4 * 1024 * 1024;
/// Read ahead beyond the longest piece, so that the buffer is moved once for several pieces.
const BUFFER: usize = MAX_PIECE + 1024 * 1024;
const READ_STEP: usize = 256 * 1024;

/// The most entries of one piece list.
const MAX_ENTRIES: usize = 1024;
const MAX_DEPTH: u8 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PieceRef {
    id: ChunkId,
    bytes: u64,
}

/// A decoded piece list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PieceList {
    depth: u8,
    entries: Vec<PieceRef>,
}

impl PieceList {
    fn encode(depth: u8, entries: &[PieceRef], out: &mut Vec<u8>) {
        out.push(depth);
        put_u64(out, entries.len() as u64);
        for entry in entries {
            out.extend_from_slice(&entry.id.0);
            put_u64(out, entry.bytes);
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let depth = reader.u8("a piece list's depth")?;
        let count = reader.len("a number of pieces")?;
        if depth > MAX_DEPTH || count == 0 || count > MAX_ENTRIES {
            return Err(DecodeError::Invalid("a piece list's head"));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let id = ChunkId(reader.array("a piece's id")?);
            let bytes = reader.u64("a piece's length")?;
            if bytes == 0 {
                return Err(DecodeError::Invalid("a piece's length"));
            }
            entries.push(PieceRef { id, bytes });
        }
        reader.finish("a piece list")?;
        Ok(Self { depth, entries })
    }

    fn total(&self) -> Option<u64> {
        self.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.bytes))
    }
}

/// Why a value could not be cut into pieces.
pub(super) enum PieceError {
    /// The source failed; the value is unreadable.
    Source(io::Error),
    /// The repository failed; the run ends.
    Layer(LayerError),
}

/// Cuts values into pieces. Its buffers serve all long values of a range.
pub(super) struct PieceWriter {
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
    buffer: Vec<u8>,
    plain: ChunkPlain,
    levels: Vec<Vec<PieceRef>>,
}

impl PieceWriter {
    pub(super) fn new(context: &LayerContext) -> Self {
        let (gear, gear_shifted) = get_gear_with_seed(context.gear_seed);
        Self { gear, gear_shifted, buffer: Vec::new(), plain: ChunkPlain::default(), levels: Vec::new() }
    }

    /// Cuts `head` and what `rest` gives, stores the pieces, and gives the encoded list and the total length. `seen` sees
    /// all bytes in order.
    pub(super) fn write(
        &mut self,
        head: &[u8],
        rest: &mut dyn Read,
        writer: &mut dyn ChunkWriter,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<(Vec<u8>, u64), PieceError> {
        self.levels.clear();
        self.buffer.clear();
        self.buffer.extend_from_slice(head);
        let (mut start, mut total, mut ended) = (0, 0u64, false);
        loop {
            if !ended && self.buffer.len() - start < MAX_PIECE {
                self.buffer.drain(..start);
                start = 0;
                ended = self.fill(rest).map_err(PieceError::Source)?;
            }
            if start == self.buffer.len() {
                break;
            }
            let piece = &self.buffer[start..start + self.cut(&self.buffer[start..])];
            seen(piece);
            self.plain.clear();
            self.plain.bytes.extend_from_slice(piece);
            self.plain.end_run();
            let bytes = piece.len();
            start += bytes;
            total += bytes as u64;
            let put = writer.put(ChunkKind::Piece, &self.plain).map_err(|error| PieceError::Layer(error.into()))?;
            self.push(0, PieceRef { id: put.id, bytes: bytes as u64 }, writer).map_err(PieceError::Layer)?;
        }
        if self.buffer.capacity() > BUFFER {
            self.buffer.shrink_to(BUFFER);
        }
        let list = self.finish(writer).map_err(PieceError::Layer)?;
        Ok((list, total))
    }

    /// Fills the buffer; `true` at the end of the source.
    fn fill(&mut self, rest: &mut dyn Read) -> io::Result<bool> {
        while self.buffer.len() < BUFFER {
            let step = READ_STEP.min(BUFFER - self.buffer.len());
            // Grown by need: most long values are far shorter than the longest piece.
            if self.buffer.capacity() - self.buffer.len() < step {
                self.buffer.reserve_exact((self.buffer.len()).clamp(step, BUFFER - self.buffer.len()));
            }
            if rest.take(step as u64).read_to_end(&mut self.buffer)? < step {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cut(&self, bytes: &[u8]) -> usize {
        let (strict, loose) = select_masks(AVERAGE_PIECE, Normalization::Level1);
        let (gear, shifted) = (&self.gear, &self.gear_shifted);
        let (_, len) =
            cut_gear(bytes, MIN_PIECE, AVERAGE_PIECE, MAX_PIECE, strict, loose, strict << 1, loose << 1, gear, shifted);
        len.clamp(1, bytes.len())
    }

    fn push(&mut self, level: usize, entry: PieceRef, writer: &mut dyn ChunkWriter) -> Result<(), LayerError> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == MAX_ENTRIES {
            self.flush(level, writer)?;
        }
        self.levels[level].push(entry);
        Ok(())
    }

    fn flush(&mut self, level: usize, writer: &mut dyn ChunkWriter) -> Result<(), LayerError> {
        if level >= usize::from(MAX_DEPTH) {
            return Err(LayerError::inconsistent("a value", "it is longer than the format can hold"));
        }
        let entries = std::mem::take(&mut self.levels[level]);
        self.plain.clear();
        PieceList::encode(level as u8, &entries, &mut self.plain.bytes);
        self.plain.end_run();
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        let put = writer.put(ChunkKind::PieceList, &self.plain)?;
        self.push(level + 1, PieceRef { id: put.id, bytes }, writer)
    }

    fn finish(&mut self, writer: &mut dyn ChunkWriter) -> Result<Vec<u8>, LayerError> {
        let mut level = 0;
        while level + 1 < self.levels.len() {
            self.flush(level, writer)?;
            level += 1;
        }
        let mut out = Vec::new();
        PieceList::encode(level as u8, &self.levels[level], &mut out);
        Ok(out)
    }
}

/// Reads a value in pieces, one piece at a time.
pub(super) struct PieceReader {
    chunks: Arc<dyn ChunkReader>,
    /// What is left to read, the next last.
    left: Vec<(PieceRef, u8)>,
    /// Where storage is far: the next pieces on their way, and how many of `left` they are.
    ahead: Option<Box<dyn ReadAhead>>,
    announced: usize,
    is_on_its_way: bool,
    piece: Vec<u8>,
    read: usize,
}

impl PieceReader {
    /// A reader over an encoded piece list that must cover `bytes` bytes.
    pub(super) fn open(chunks: &Arc<dyn ChunkReader>, list: &[u8], bytes: u64) -> Result<Self, LayerError> {
        let mut reader = Self {
            chunks: Arc::clone(chunks),
            left: Vec::new(),
            ahead: None,
            announced: 0,
            is_on_its_way: false,
            piece: Vec::new(),
            read: 0,
        };
        reader.expand(list, bytes, None).map_err(|reason| LayerError::inconsistent("a piece list", reason))?;
        Ok(reader)
    }

    fn expand(&mut self, list: &[u8], bytes: u64, depth: Option<u8>) -> Result<(), String> {
        let list = PieceList::decode(list).map_err(|reason| reason.to_string())?;
        if list.total() != Some(bytes) {
            return Err(format!("its pieces do not add up to {bytes} bytes"));
        }
        if depth.is_some_and(|depth| depth != list.depth) {
            return Err("its depth is not what its parent says".to_owned());
        }
        self.left.extend(list.entries.iter().rev().map(|entry| (*entry, list.depth)));
        Ok(())
    }

    /// Announces the pieces that follow, up to the next list of pieces.
    fn announce(&mut self) {
        if !self.is_on_its_way {
            self.is_on_its_way = true;
            if self.left.len() > 1 {
                self.ahead = Arc::clone(&self.chunks).ahead();
            }
        }
        let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.has_room()) else { return };
        let next = self.left.iter().rev().skip(self.announced).take_while(|(_, depth)| *depth == 0);
        for (piece, _) in next {
            self.announced += 1;
            if !ahead.announce(ChunkKind::Piece, &piece.id) {
                break;
            }
        }
        ahead.send();
    }

    fn next_piece(&mut self) -> Result<bool, LayerError> {
        self.announce();
        while let Some((entry, depth)) = self.left.pop() {
            self.announced = self.announced.saturating_sub(1);
            let kind = if depth == 0 { ChunkKind::Piece } else { ChunkKind::PieceList };
            let taken = self.ahead.as_mut().and_then(|ahead| ahead.take(kind, &entry.id));
            let plain = taken.map_or_else(|| self.chunks.read(kind, &entry.id), Ok)?.plain()?;
            if depth > 0 {
                self.expand(&plain.bytes, entry.bytes, Some(depth - 1))
                    .map_err(|reason| LayerError::inconsistent(format!("piece list {}", entry.id), reason))?;
                continue;
            }
            if plain.bytes.len() as u64 != entry.bytes {
                let reason = format!("it has {} bytes, its list says {}", plain.bytes.len(), entry.bytes);
                return Err(LayerError::inconsistent(format!("piece {}", entry.id), reason));
            }
            self.piece = plain.bytes;
            self.read = 0;
            return Ok(true);
        }
        Ok(false)
    }
}

impl Read for PieceReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.read == self.piece.len() && !self.next_piece().map_err(io::Error::other)? {
            return Ok(0);
        }
        let len = out.len().min(self.piece.len() - self.read);
        out[..len].copy_from_slice(&self.piece[self.read..self.read + len]);
        self.read += len;
        Ok(len)
    }
}

/// Visits every chunk that a piece list names, without reading pieces.
pub(super) fn for_each_piece(
    chunks: &Arc<dyn ChunkReader>,
    list: &[u8],
    visit: &mut dyn FnMut(ChunkId) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut left = vec![(PieceList::decode(list), None)];
    while let Some((list, name)) = left.pop() {
        let list = list.map_err(|reason| match name {
            Some(id) => LayerError::damaged(id, reason),
            None => LayerError::inconsistent("a piece list", reason.to_string()),
        })?;
        for entry in &list.entries {
            visit(entry.id)?;
            if list.depth > 0 {
                let plain = chunks.read(ChunkKind::PieceList, &entry.id)?.plain()?;
                let below = PieceList::decode(&plain.bytes);
                if below.as_ref().is_ok_and(|below| below.depth + 1 != list.depth) {
                    return Err(LayerError::damaged(entry.id, DecodeError::Invalid("a piece list's depth")));
                }
                left.push((below, Some(entry.id)));
            }
        }
    }
    Ok(())
}

const _: () = assert!(MAX_PIECE <= MAX_CHUNK_BYTES);

#[cfg(test)]
mod tests;
