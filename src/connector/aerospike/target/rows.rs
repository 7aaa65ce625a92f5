//! Rows as they are sent: encoded once, sent as often as it takes with the time to live of that moment, in a batch or one
//! by one. Layout in `format-spec/aerospike-restore.md`.

use crate::{
    connector::aerospike::wire::{self, BATCH, FRAME_HEAD_BYTES, KIND_MESSAGE, field},
    record::{Digest, digest::DIGEST_BYTES},
};
use std::ops::Range;

/// info2: it writes.
pub(super) const WRITE: u8 = 0x01;
/// info2: it deletes.
pub(super) const DELETE: u8 = 0x02;
/// info2: only at this generation.
pub(super) const AT_GENERATION: u8 = 0x04;
/// info2: only over a lower generation.
pub(super) const OVER_GENERATION: u8 = 0x08;
/// info2: its removal stays known.
pub(super) const DURABLE: u8 = 0x10;
/// info2: only where there is none.
pub(super) const CREATE_ONLY: u8 = 0x20;
/// info3: bins that are not sent go.
pub(super) const REPLACE: u8 = 0x10;

/// The time to live of what never expires.
pub(super) const NEVER: u32 = u32::MAX;

const OP_WRITE: u8 = 2;
const OP_TOUCH: u8 = 11;

/// A row has info2 and info3, a generation and a time to live.
const ROW_BITS: u8 = 0x02 | 0x04 | 0x08;
/// A batch may be done by the thread that took it, and all its rows are done and answered.
const BATCH_FLAGS: u8 = 0x01 | 0x04;

const MESSAGE_HEAD_BYTES: usize = 22;
/// What stands before the rows of a batch: frame, message, field, count, flags.
const BEFORE_ROWS: usize = FRAME_HEAD_BYTES + MESSAGE_HEAD_BYTES + 5 + 5;

const AT_DIGEST: usize = 4;
const AT_BITS: usize = AT_DIGEST + DIGEST_BYTES;
const AT_INFO: usize = AT_BITS + 1;
const AT_TTL: usize = AT_INFO + 5;
const AT_COUNTS: usize = AT_TTL + 4;
const AT_BODY: usize = AT_COUNTS + 4;

/// What is to be done to a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteHead {
    pub(super) digest: Digest,
    pub(super) info2: u8,
    pub(super) info3: u8,
    pub(super) generation: u16,
    /// When it expires: seconds since 2010, 0 for never.
    pub(super) void_time: u32,
}

#[derive(Debug, Clone)]
struct Row {
    bytes: Range<usize>,
    void_time: u32,
    set: Range<usize>,
}

/// Rows for one node.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    fields: u16,
    ops: u16,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Begins a row; [`Self::end`] or [`Self::discard`] must follow before the next one.
    pub(super) fn begin(&mut self, head: &WriteHead, namespace: &[u8], set: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&head.digest.0);
        self.bytes.extend_from_slice(&[ROW_BITS, 0, head.info2, head.info3]);
        self.bytes.extend_from_slice(&head.generation.to_be_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        (self.fields, self.ops) = (0, 0);
        self.rows.push(Row { bytes: start..start, void_time: head.void_time, set: 0..0 });
        self.field(field::NAMESPACE, namespace);
        if !set.is_empty() {
            self.field(field::SET, set);
            let end = self.bytes.len();
            if let Some(row) = self.rows.last_mut() {
                row.set = end - set.len()..end;
            }
        }
    }

    pub(super) fn field(&mut self, kind: u8, value: &[u8]) {
        self.bytes.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(value);
        self.fields += 1;
    }

    /// Adds the operation that writes a bin.
    pub(super) fn bin(&mut self, name: &[u8], particle: u8, before: &[u8], value: &[u8]) {
        let size = 4 + name.len() + before.len() + value.len();
        self.bytes.extend_from_slice(&(size as u32).to_be_bytes());
        self.bytes.extend_from_slice(&[OP_WRITE, particle, 0, name.len() as u8]);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(before);
        self.bytes.extend_from_slice(value);
        self.ops += 1;
    }

    fn touch(&mut self) {
        self.bytes.extend_from_slice(&[0, 0, 0, 4, OP_TOUCH, 0, 0, 0]);
        self.ops += 1;
    }

    /// Ends the row begun.
    pub(super) fn end(&mut self) {
        let end = self.bytes.len();
        let Some(row) = self.rows.last_mut() else { return };
        row.bytes.end = end;
        let counts = row.bytes.start + AT_COUNTS;
        self.bytes[counts..counts + 2].copy_from_slice(&self.fields.to_be_bytes());
        self.bytes[counts + 2..counts + 4].copy_from_slice(&self.ops.to_be_bytes());
    }

    /// Forgets the row begun.
    pub(super) fn discard(&mut self) {
        if let Some(row) = self.rows.pop() {
            self.bytes.truncate(row.bytes.start);
        }
    }

    fn row(&self, index: usize) -> &[u8] {
        &self.bytes[self.rows[index].bytes.clone()]
    }

    pub(super) fn digest(&self, index: usize) -> Digest {
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&self.row(index)[AT_DIGEST..AT_BITS]);
        Digest(digest)
    }

    pub(super) fn void_time(&self, index: usize) -> u32 {
        self.rows[index].void_time
    }

    /// A group of touches that give these rows their expiry again: each only at the generation named.
    pub(super) fn touches(&self, namespace: &[u8], rows: &[(usize, u32)]) -> Self {
        let mut touches = Self::default();
        for &(index, generation) in rows {
            let head = WriteHead {
                digest: self.digest(index),
                info2: WRITE | AT_GENERATION,
                info3: 0,
                generation: generation as u16,
                void_time: self.void_time(index),
            };
            touches.begin(&head, namespace, &self.bytes[self.rows[index].set.clone()]);
            touches.touch();
            touches.end();
        }
        touches
    }

    /// Writes the frame of a batch with these rows and their times to live; each is answered by its place in `picks`.
    pub(super) fn batch_frame(&self, picks: &[(usize, u32)], timeout_millis: u32, out: &mut Vec<u8>) {
        out.clear();
        out.resize(BEFORE_ROWS, 0);
        for (place, &(index, ttl)) in picks.iter().enumerate() {
            let start = out.len();
            out.extend_from_slice(self.row(index));
            out[start..start + 4].copy_from_slice(&(place as u32).to_be_bytes());
            out[start + AT_TTL..start + AT_TTL + 4].copy_from_slice(&ttl.to_be_bytes());
        }
        let mut head = Vec::with_capacity(BEFORE_ROWS);
        wire::put_frame_head(&mut head, KIND_MESSAGE, out.len() - FRAME_HEAD_BYTES);
        put_message_head(&mut head, [BATCH, 0, 0], [0; 4], 0, timeout_millis, [1, 0]);
        let field_bytes = out.len() - FRAME_HEAD_BYTES - MESSAGE_HEAD_BYTES - 4;
        head.extend_from_slice(&(field_bytes as u32).to_be_bytes());
        head.push(field::BATCH);
        head.extend_from_slice(&(picks.len() as u32).to_be_bytes());
        head.push(BATCH_FLAGS);
        out[..BEFORE_ROWS].copy_from_slice(&head);
    }

    /// Writes the frame of a command for one row.
    pub(super) fn single_frame(&self, index: usize, ttl: u32, timeout_millis: u32, out: &mut Vec<u8>) {
        out.clear();
        let row = self.row(index);
        let body = &row[AT_BODY..];
        wire::put_frame_head(out, KIND_MESSAGE, MESSAGE_HEAD_BYTES + 5 + DIGEST_BYTES + body.len());
        let count = |at: usize| u16::from_be_bytes([row[AT_COUNTS + at], row[AT_COUNTS + at + 1]]);
        let generation = [0, 0, row[AT_INFO + 3], row[AT_INFO + 4]];
        let info = [row[AT_INFO], row[AT_INFO + 1], row[AT_INFO + 2]];
        put_message_head(out, info, generation, ttl, timeout_millis, [count(0) + 1, count(2)]);
        out.extend_from_slice(&(DIGEST_BYTES as u32 + 1).to_be_bytes());
        out.push(field::DIGEST);
        out.extend_from_slice(&row[AT_DIGEST..AT_BITS]);
        out.extend_from_slice(body);
    }
}

fn put_message_head(out: &mut Vec<u8>, info: [u8; 3], generation: [u8; 4], ttl: u32, timeout: u32, counts: [u16; 2]) {
    out.extend_from_slice(&[MESSAGE_HEAD_BYTES as u8, info[0], info[1], info[2], 0, 0]);
    out.extend_from_slice(&generation);
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&timeout.to_be_bytes());
    out.extend_from_slice(&counts[0].to_be_bytes());
    out.extend_from_slice(&counts[1].to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn group() -> Group {
        let mut group = Group::default();
        for n in [7, 8] {
            let digest = Digest([n; DIGEST_BYTES]);
            let head = WriteHead { digest, info2: WRITE | CREATE_ONLY, info3: REPLACE, generation: 7, void_time: 0 };
            group.begin(&head, b"test", b"demo");
            group.field(field::KEY, b"\x03zz");
            group.bin(b"x", 1, b"", &9i64.to_be_bytes());
            group.end();
        }
        group
    }

    #[test]
    fn a_batch_is_laid_out_as_the_server_wants_it() {
        let mut frame = Vec::new();
        group().batch_frame(&[(1, NEVER)], 1000, &mut frame);
        let expected = [
            "0203000000000071",
            "16080000000000000000000000000000",
            "03e800010000",
            "000000572900000001",
            "05",
            "000000000808080808080808080808080808080808080808",
            "0e0021100007ffffffff00030001",
            "000000050074657374",
            "000000050164656d6f",
            "0000000402037a7a",
            "0000000d02010001780000000000000009",
        ];
        assert_eq!(HEXLOWER.encode(&frame), expected.concat());
    }

    #[test]
    fn the_same_row_goes_alone_with_its_digest() {
        let mut frame = Vec::new();
        group().single_frame(0, 5, 0, &mut frame);
        let expected = [
            "020300000000005a",
            "160021100000000000070000000500000000",
            "00040001",
            "000000150407070707070707070707070707070707070707",
            "07",
            "000000050074657374",
            "000000050164656d6f",
            "0000000402037a7a",
            "0000000d02010001780000000000000009",
        ];
        assert_eq!(HEXLOWER.encode(&frame), expected.concat());
    }

    #[test]
    fn a_discarded_row_leaves_nothing() {
        let mut group = group();
        let bytes = group.bytes();
        let head = WriteHead { digest: Digest([9; 20]), info2: 0, info3: 0, generation: 0, void_time: 0 };
        group.begin(&head, b"test", b"");
        group.discard();
        assert_eq!((group.len(), group.bytes()), (2, bytes));
        assert_eq!(group.digest(1), Digest([8; 20]));
    }
}
