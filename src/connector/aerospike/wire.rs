//! The frames and messages of Aerospike's client protocol: total decoders over borrowed bytes, and the little encoding that
//! a reader needs. All integers are big endian unless a field says otherwise.

use crate::record::Digest;
use std::io::{self, Read};
use thiserror::Error;

/// The longest body of a frame that is read.
pub const MAX_BODY_BYTES: u64 = 128 * 1024 * 1024;

/// What precedes every body.
pub const FRAME_HEAD_BYTES: usize = 8;

const MESSAGE_HEAD_BYTES: usize = 22;

/// Memory for a frame grows by so much at a time.
const STEP_BYTES: usize = 1024 * 1024;

/// A request for text.
pub const KIND_INFO: u8 = 1;
/// A login.
pub const KIND_SECURITY: u8 = 2;
/// A command on records.
pub const KIND_MESSAGE: u8 = 3;

/// info1: values are wanted.
pub const READ: u8 = 0x01;
/// info1: all bins.
pub const GET_ALL: u8 = 0x02;
/// info1: a batch.
pub const BATCH: u8 = 0x08;
/// info1: no bins.
pub const NO_BINS: u8 = 0x20;
/// info3: the last message of an answer.
pub const LAST: u8 = 0x01;
/// info3: the answer says which partitions it could not read.
pub const PARTITION_DONE: u8 = 0x04;

/// Field types.
pub mod field {
    /// The namespace.
    pub const NAMESPACE: u8 = 0;
    /// The set.
    pub const SET: u8 = 1;
    /// The user key.
    pub const KEY: u8 = 2;
    /// The digest.
    pub const DIGEST: u8 = 4;
    /// When a record was last updated, in what XDR ships.
    pub const UPDATED: u8 = 14;
    /// A query's id.
    pub const QUERY_ID: u8 = 7;
    /// Milliseconds after which a stalled query is dropped.
    pub const SOCKET_TIMEOUT: u8 = 9;
    /// Records a second.
    pub const RECORDS_PER_SECOND: u8 = 10;
    /// Partition ids, u16 little endian each.
    pub const PARTITIONS: u8 = 11;
    /// Digests to go on behind.
    pub const AFTER: u8 = 12;
    /// The most records.
    pub const MAX_RECORDS: u8 = 13;
    /// A batch.
    pub const BATCH: u8 = 41;
    /// A filter expression.
    pub const FILTER: u8 = 43;
}

/// Why bytes are no message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// A frame of another version.
    #[error("its frame is of version {0}, not 2")]
    Version(u8),
    /// A frame that does not belong here.
    #[error("its frame is of type {0}, which was not asked for")]
    Kind(u8),
    /// A frame beyond the limit.
    #[error("its frame claims {0} bytes; the most is {MAX_BODY_BYTES}")]
    TooLong(u64),
    /// The bytes end inside of something.
    #[error("its message ends inside {0}")]
    Truncated(&'static str),
    /// Something has a value that it cannot have.
    #[error("{0} of its message is not valid")]
    Invalid(&'static str),
}

/// Appends a frame's head for a body of this length.
pub fn put_frame_head(out: &mut Vec<u8>, kind: u8, body_bytes: usize) {
    let word = 2u64 << 56 | u64::from(kind) << 48 | (body_bytes as u64 & 0xffff_ffff_ffff);
    out.extend_from_slice(&word.to_be_bytes());
}

/// The kind and the body's length that a frame's head gives.
///
/// # Errors
/// [`WireError`] for another version or a length beyond the limit.
pub fn parse_frame_head(head: [u8; FRAME_HEAD_BYTES]) -> Result<(u8, usize), WireError> {
    if head[0] != 2 {
        return Err(WireError::Version(head[0]));
    }
    let bytes = u64::from_be_bytes(head) & 0xffff_ffff_ffff;
    if bytes > MAX_BODY_BYTES {
        return Err(WireError::TooLong(bytes));
    }
    Ok((head[1], bytes as usize))
}

/// Reads a frame of this kind into `body`. Memory grows with what arrives, not with what the head claims.
///
/// # Errors
/// The source's, [`io::ErrorKind::InvalidData`] with a [`WireError`], or [`io::ErrorKind::UnexpectedEof`].
pub fn read_frame(from: &mut impl Read, kind: u8, body: &mut Vec<u8>) -> io::Result<()> {
    body.clear();
    append_frame(from, kind, body)
}

/// As [`read_frame`], behind what `body` holds.
///
/// # Errors
/// As [`read_frame`].
pub fn append_frame(from: &mut impl Read, kind: u8, body: &mut Vec<u8>) -> io::Result<()> {
    let bytes = read_frame_head(from, kind)?;
    body.reserve(bytes.min(STEP_BYTES));
    let read = from.take(bytes as u64).read_to_end(body)?;
    if read < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Reads the head of a frame of this kind; gives the length of its body.
fn read_frame_head(from: &mut impl Read, kind: u8) -> io::Result<usize> {
    let invalid = |error: WireError| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut head = [0; FRAME_HEAD_BYTES];
    from.read_exact(&mut head)?;
    let (got, bytes) = parse_frame_head(head).map_err(invalid)?;
    if got == kind { Ok(bytes) } else { Err(invalid(WireError::Kind(got))) }
}

/// Bodies of frames one after the other, in memory that is used again without being cleared: what was received before lies
/// behind what was received now, and is not shown.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Vec<u8>,
    len: usize,
}

impl Buffer {
    /// What was received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// The length of what was received.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was received.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How much memory it holds.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Forgets what was received, and keeps the memory.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Receives a frame of this kind behind what is there; nothing of it if it does not come whole. As with [`append_frame`] memory
    /// grows with what arrives.
    ///
    /// # Errors
    /// As [`read_frame`].
    pub fn receive(&mut self, from: &mut impl Read, kind: u8) -> io::Result<()> {
        let begin = self.len;
        let end = begin + read_frame_head(from, kind)?;
        let mut at = begin;
        while at < end {
            let next = end.min(at + STEP_BYTES);
            if self.memory.len() < next {
                self.memory.resize(next, 0);
            }
            from.read_exact(&mut self.memory[at..next])?;
            at = next;
        }
        self.len = end;
        Ok(())
    }
}

/// A message of an answer, borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Flags.
    pub info3: u8,
    /// 0 or an error.
    pub result: u8,
    /// The record's generation; the partition where info3 has [`PARTITION_DONE`].
    pub generation: u32,
    /// The record's void-time: seconds since 2010, 0 for never.
    pub void_time: u32,
    /// The row's index in answers to batches.
    pub index: u32,
    /// The namespace, empty if it was not given.
    pub namespace: &'a [u8],
    /// The set, empty for none.
    pub set: &'a [u8],
    /// Type byte and bytes of the stored user key.
    pub user_key: Option<&'a [u8]>,
    /// The digest.
    pub digest: Option<Digest>,
    /// When the record was last updated: milliseconds since 2010; only XDR says it.
    pub updated: Option<u64>,
    /// The bins.
    pub bins: Bins<'a>,
}

impl<'a> Message<'a> {
    /// Reads the message at the beginning of `bytes`; gives it and its length.
    ///
    /// # Errors
    /// [`WireError`] if the bytes are no whole message.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), WireError> {
        let mut message = Self::parse_whole(bytes)?;
        let bins = message.bins.rest;
        let mut rest = bins;
        for _ in 0..message.bins.left {
            let size = u32_at(&mut rest, "an operation")?;
            take(&mut rest, size as usize, "an operation")?;
        }
        message.bins.rest = &bins[..bins.len() - rest.len()];
        Ok((message, bytes.len() - rest.len()))
    }

    /// Reads the message that `bytes` are. Its bins are looked at only as they are taken: what is cut, or stands behind
    /// them, shows there or not at all, so [`Self::parse`] has to have found the message.
    ///
    /// # Errors
    /// [`WireError`] if the bytes do not begin with a message's head and fields.
    #[inline]
    pub fn parse_whole(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut rest = bytes;
        let head = take(&mut rest, MESSAGE_HEAD_BYTES, "the head")?;
        if usize::from(head[0]) != MESSAGE_HEAD_BYTES {
            return Err(WireError::Invalid("the head's length"));
        }
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let mut message = Message {
            info3: head[3],
            result: head[5],
            generation: word(6),
            void_time: word(10),
            index: word(14),
            namespace: &[],
            set: &[],
            user_key: None,
            digest: None,
            updated: None,
            bins: Bins { rest: &[], left: u16::from_be_bytes([head[20], head[21]]) },
        };
        for _ in 0..u16::from_be_bytes([head[18], head[19]]) {
            message.take_field(&mut rest)?;
        }
        message.bins.rest = rest;
        Ok(message)
    }

    #[inline]
    fn take_field(&mut self, rest: &mut &'a [u8]) -> Result<(), WireError> {
        let size = u32_at(rest, "a field")?;
        let field = take(rest, size as usize, "a field")?;
        let (&kind, value) = field.split_first().ok_or(WireError::Invalid("a field without a type"))?;
        match kind {
            field::NAMESPACE => self.namespace = value,
            field::SET => self.set = value,
            field::KEY if value.is_empty() => return Err(WireError::Invalid("a user key without a type")),
            field::KEY => self.user_key = Some(value),
            field::DIGEST => {
                let digest = value.try_into().map_err(|_| WireError::Invalid("the length of a digest"))?;
                self.digest = Some(Digest(digest));
            }
            field::UPDATED => self.updated = Some(updated_of(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// The value of the field that says when a record was last updated.
fn updated_of(value: &[u8]) -> Result<u64, WireError> {
    let value = value.try_into().map_err(|_| WireError::Invalid("the length of an update time"))?;
    Ok(u64::from_be_bytes(value))
}

/// The bins of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bins<'a> {
    rest: &'a [u8],
    left: u16,
}

/// One bin as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its particle's type.
    pub particle: u8,
    /// Its particle's bytes.
    pub value: &'a [u8],
}

impl<'a> Bins<'a> {
    /// The bytes of those not taken yet.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Bins<'a> {
    type Item = Result<Bin<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let bin = read_bin(&mut self.rest);
        self.left = if bin.is_ok() { self.left - 1 } else { 0 };
        Some(bin)
    }
}

#[inline]
fn read_bin<'a>(rest: &mut &'a [u8]) -> Result<Bin<'a>, WireError> {
    let size = u32_at(rest, "an operation")?;
    let mut op = take(rest, size as usize, "an operation")?;
    let head = take(&mut op, 4, "an operation's head")?;
    let name = take(&mut op, usize::from(head[3]), "a bin's name")?;
    if head[2] & 1 != 0 {
        take(&mut op, 8, "a bin's update time")?;
    }
    Ok(Bin { name, particle: head[1], value: op })
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], bytes: usize, what: &'static str) -> Result<&'a [u8], WireError> {
    let (head, tail) = rest.split_at_checked(bytes).ok_or(WireError::Truncated(what))?;
    *rest = tail;
    Ok(head)
}

#[inline]
fn u32_at(rest: &mut &[u8], what: &'static str) -> Result<u32, WireError> {
    let bytes = take(rest, 4, what)?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Builds a request.
#[derive(Debug, Default)]
pub struct Request {
    fields: Vec<u8>,
    field_count: u16,
    ops: Vec<u8>,
    op_count: u16,
}

impl Request {
    /// Adds a field.
    #[must_use]
    pub fn field(mut self, kind: u8, value: &[u8]) -> Self {
        self.fields.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
        self.fields.push(kind);
        self.fields.extend_from_slice(value);
        self.field_count += 1;
        self
    }

    /// Adds an operation without a particle type.
    #[must_use]
    pub fn op(mut self, code: u8, name: &[u8], value: &[u8]) -> Self {
        let name = &name[..name.len().min(255)];
        self.ops.extend_from_slice(&((4 + name.len() + value.len()) as u32).to_be_bytes());
        self.ops.extend_from_slice(&[code, 0, 0, name.len() as u8]);
        self.ops.extend_from_slice(name);
        self.ops.extend_from_slice(value);
        self.op_count += 1;
        self
    }

    /// The whole frame.
    #[must_use]
    pub fn encode(&self, info1: u8, info3: u8, timeout_millis: u32) -> Vec<u8> {
        let body = MESSAGE_HEAD_BYTES + self.fields.len() + self.ops.len();
        let mut out = Vec::with_capacity(FRAME_HEAD_BYTES + body);
        put_frame_head(&mut out, KIND_MESSAGE, body);
        out.extend_from_slice(&[MESSAGE_HEAD_BYTES as u8, info1, 0, info3, 0, 0]);
        out.extend_from_slice(&[0; 4]);
        // Reading moves no record's expiry.
        out.extend_from_slice(&u32::MAX.to_be_bytes());
        out.extend_from_slice(&timeout_millis.to_be_bytes());
        out.extend_from_slice(&self.field_count.to_be_bytes());
        out.extend_from_slice(&self.op_count.to_be_bytes());
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(&self.ops);
        out
    }
}

/// What a result code means, for people.
#[must_use]
pub fn result_name(code: u8) -> String {
    let name = match code {
        1 => "an unknown failure",
        2 => "not found",
        4 => "a parameter it does not take",
        8 => "out of space",
        9 => "a timeout",
        11 => "partition unavailable",
        14 => "key busy",
        15 => "query aborted",
        16 => "unsupported by this server",
        18 => "device overload",
        20 => "unknown namespace",
        22 => "forbidden (or too many queries at once)",
        25 => "only in the enterprise edition",
        60..=67 => "wrong user or password",
        80 => "not logged in",
        81 => "a role that this user lacks",
        _ => "an error",
    };
    format!("{name} (result {code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_server_wants_it() {
        let request = Request::default().field(field::NAMESPACE, b"test").op(1, b"bin", b"");
        let bytes = request.encode(READ, PARTITION_DONE, 1000);
        let expected = [
            "02030000000000",
            "2a",
            "16010004000000000000",
            "ffffffff000003e800010001",
            "0000000500",
            "74657374",
            "00000007",
            "01000003",
            "62696e",
        ];
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), expected.concat());
    }

    #[test]
    fn a_frame_that_claims_more_than_comes_is_an_error_and_takes_no_memory() {
        let mut frame = Vec::new();
        put_frame_head(&mut frame, KIND_MESSAGE, 100_000_000);
        frame.extend_from_slice(&[0; 100]);
        let mut body = Vec::new();
        let error = read_frame(&mut frame.as_slice(), KIND_MESSAGE, &mut body).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(body.capacity() <= 2 * 1024 * 1024);
    }

    #[test]
    fn a_buffer_keeps_whole_frames_alone() {
        let mut frame = Vec::new();
        put_frame_head(&mut frame, KIND_MESSAGE, 3);
        frame.extend_from_slice(b"abc");
        let mut cut = Vec::new();
        put_frame_head(&mut cut, KIND_MESSAGE, 100_000_000);
        cut.extend_from_slice(&[7; 100]);
        let mut buffer = Buffer::default();
        buffer.receive(&mut frame.as_slice(), KIND_MESSAGE).unwrap();
        let error = buffer.receive(&mut cut.as_slice(), KIND_MESSAGE).unwrap_err();
        assert_eq!((error.kind(), buffer.bytes()), (io::ErrorKind::UnexpectedEof, b"abc".as_slice()));
        assert!(buffer.receive(&mut frame.as_slice(), KIND_INFO).is_err());
        buffer.receive(&mut frame.as_slice(), KIND_MESSAGE).unwrap();
        assert_eq!(buffer.bytes(), b"abcabc");
        assert!(buffer.capacity() <= 4 * STEP_BYTES);
        buffer.clear();
        assert!(buffer.is_empty() && buffer.bytes().is_empty());
    }

    #[test]
    fn a_bin_cut_anywhere_is_an_error() {
        let whole = {
            let request = Request::default().field(field::DIGEST, &[7; 20]).op(1, b"name", b"value");
            request.encode(0, 0, 0)[FRAME_HEAD_BYTES..].to_vec()
        };
        let (message, len) = Message::parse(&whole).unwrap();
        assert_eq!((len, message.digest), (whole.len(), Some(Digest([7; 20]))));
        let bin = message.bins.clone().next().unwrap().unwrap();
        assert_eq!((bin.name, bin.value), (b"name".as_slice(), b"value".as_slice()));
        for cut in 0..whole.len() {
            assert!(Message::parse(&whole[..cut]).is_err(), "{cut}");
        }
    }
}
