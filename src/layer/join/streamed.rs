//! Streamed values: not opened if their stamp stands; read into memory up to a block's limit, cut into pieces beyond it.

use super::{InParent, Join, Record, Verdict, meter::Metered};
use crate::{
    layer::{
        LayerError,
        block::{MAX_INLINE_BYTES, RowValue},
        piece::{PieceError, PieceWriter},
    },
    record::{BatchRow, Fingerprint, StreamedValue},
    repo::{ChunkWriter, RepoError},
};
use std::io::{self, Read};

/// A streamed value, read to its end.
enum Content {
    /// Short enough for a block: it lies in [`Join::head`].
    Short,
    /// In pieces.
    Long {
        list: Vec<u8>,
        bytes: u64,
        fingerprint: Fingerprint,
        /// The fingerprint under the parent's user key, if that differs.
        with_old_key: Option<Fingerprint>,
    },
}

impl Join<'_> {
    /// Settles a record whose stamp has not moved, without opening its stream.
    pub(super) fn stands_by_stamp(
        &mut self,
        row: &BatchRow<'_>,
        state: InParent,
        writer: &mut dyn ChunkWriter,
    ) -> Result<bool, LayerError> {
        let (Some(parent), InParent::Live) = (&self.parent, state) else { return Ok(false) };
        let old = parent.meta();
        let stands = !self.read_all
            && row.meta.stamp != 0
            && row.meta.stamp == old.stamp
            && row.meta.set == old.set
            && row.meta.user_key == old.user_key;
        if !stands {
            return Ok(false);
        }
        let verdict = if old == row.meta { Verdict::Same } else { Verdict::Inherited };
        let (fingerprint, value_bytes) = (parent.fingerprint(), parent.value_bytes());
        let record = Record { key: row.key, meta: row.meta, fingerprint, value_bytes };
        self.settle(&record, verdict, RowValue::Inherited, writer)?;
        Ok(true)
    }

    /// Reads a streamed value and settles its record.
    pub(super) fn streamed(
        &mut self,
        row: &BatchRow<'_>,
        stream: Option<Box<dyn StreamedValue>>,
        state: InParent,
        over: bool,
        writer: &mut dyn ChunkWriter,
    ) -> Result<(), LayerError> {
        let Some(mut stream) = stream else {
            return Err(LayerError::inconsistent("the source", "it gave one stream to two records"));
        };
        let read = self.read_stream(row, stream.as_mut(), state, writer);
        let untorn = read.and_then(|content| {
            let untorn = stream.is_untorn().map_err(PieceError::Source)?;
            Ok((content, untorn))
        });
        if self.meter.stopped {
            return Err(RepoError::Interrupted.into());
        }
        let (content, untorn) = match untorn {
            Ok(read) => read,
            Err(PieceError::Layer(error)) => return Err(error),
            Err(PieceError::Source(error)) if error.kind() == io::ErrorKind::NotFound => {
                return self.gone(row.key, state, over, writer);
            }
            Err(PieceError::Source(error))
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::StaleNetworkFileHandle) =>
            {
                self.out.changed += 1;
                return self.unreadable(row.key, error.to_string(), state, over, writer);
            }
            Err(PieceError::Source(error)) => return self.unreadable(row.key, error.to_string(), state, over, writer),
        };
        let mut meta = row.meta;
        if !untorn {
            // No stamp: the next run reads it again.
            meta.stamp = 0;
            self.out.counts.torn += 1;
            self.out.changed += 1;
            self.out.problem(row.key, "it changed while it was read; stored as read");
        }
        match content {
            Content::Short => {
                let head = std::mem::take(&mut self.head);
                let settled = self.inline(row, meta, &head, state, writer);
                self.head = head;
                settled
            }
            Content::Long { list, bytes, fingerprint, with_old_key } => {
                self.out.counts.bytes_read += row.key.len() as u64 + bytes;
                let record = Record { key: row.key, meta, fingerprint, value_bytes: bytes };
                let verdict = self.verdict(&record, state, |_| with_old_key);
                self.settle(&record, verdict, RowValue::Pieces(row.shape, &list), writer)
            }
        }
    }

    fn read_stream(
        &mut self,
        row: &BatchRow<'_>,
        stream: &mut dyn StreamedValue,
        state: InParent,
        writer: &mut dyn ChunkWriter,
    ) -> Result<Content, PieceError> {
        let inner = stream.open().map_err(PieceError::Source)?;
        let mut reader = Metered { inner, meter: &mut self.meter, bytes: 0 };
        self.head.clear();
        self.head.extend_from_slice(row.value);
        let room = (MAX_INLINE_BYTES + 1).saturating_sub(self.head.len());
        read_some(&mut reader, room, &mut self.head).map_err(PieceError::Source)?;
        if self.head.len() <= MAX_INLINE_BYTES {
            return Ok(Content::Short);
        }
        let prints = &self.context.fingerprinter;
        let mut print = prints.start(row.shape, row.meta.user_key);
        let mut old_print = match (&self.parent, state) {
            (Some(parent), InParent::Live) if parent.meta().user_key != row.meta.user_key => {
                Some(prints.start(row.shape, parent.meta().user_key))
            }
            _ => None,
        };
        let pieces = self.pieces.get_or_insert_with(|| PieceWriter::new(self.context));
        let (list, bytes) = pieces.write(&self.head, &mut reader, writer, &mut |bytes| {
            print.append(bytes);
            if let Some(old_print) = &mut old_print {
                old_print.append(bytes);
            }
        })?;
        let with_old_key = old_print.map(crate::record::fingerprint::FingerprintStream::finish);
        Ok(Content::Long { list, bytes, fingerprint: print.finish(), with_old_key })
    }
}

/// Reads at most `room` bytes.
fn read_some(reader: &mut dyn Read, room: usize, out: &mut Vec<u8>) -> io::Result<()> {
    reader.take(room as u64).read_to_end(out).map(|_| ())
}
