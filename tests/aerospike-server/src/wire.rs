//! Frames and messages: the 8-byte proto header, the 22-byte message header, fields and ops, read and written.
//!
//! Reading is total: whatever bytes a client sends end in a [`Malformed`], never in a panic, and a length is believed
//! only as far as the bytes that arrive.

use std::io::{self, Read};

/// Proto type of info commands.
pub const INFO: u8 = 1;
/// Proto type of login and user administration.
pub const SECURITY: u8 = 2;
/// Proto type of messages.
pub const MESSAGE: u8 = 3;
/// Bytes of a proto header.
pub const PROTO_BYTES: usize = 8;
/// Bytes of a message header.
pub const HEAD_BYTES: usize = 22;
/// The longest body a server reads.
pub const MAX_BODY_BYTES: u64 = 128 << 20;

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads one frame. `None`: the client closed the connection between two frames.
///
/// # Errors
/// The stream's errors; `InvalidData` for a wrong version or a length over the limit.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0u8; PROTO_BYTES];
    let mut have = 0;
    while have < PROTO_BYTES {
        match stream.read(&mut header[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let word = u64::from_be_bytes(header);
    let len = word & 0xFFFF_FFFF_FFFF;
    if header[0] != 2 || len > MAX_BODY_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Vec::with_capacity(len.min(1 << 20) as usize);
    stream.take(len).read_to_end(&mut body)?;
    if body.len() as u64 != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((header[1], body)))
}

/// Appends a frame with its header to `out`.
pub fn put_frame(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let at = begin_frame(out, kind);
    out.extend_from_slice(body);
    end_frame(out, at);
}

/// Starts a frame whose length is not known yet; [`end_frame`] takes what this returns.
pub fn begin_frame(out: &mut Vec<u8>, kind: u8) -> usize {
    let at = out.len();
    out.extend_from_slice(&[2, kind, 0, 0, 0, 0, 0, 0]);
    at
}

/// Writes the length of the frame that began at `at`.
pub fn end_frame(out: &mut [u8], at: usize) {
    let len = (out.len() - at - PROTO_BYTES) as u64;
    out[at + 2..at + 8].copy_from_slice(&len.to_be_bytes()[2..]);
}

/// Reads a byte string from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    /// What was not read yet.
    pub rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// The next two bytes, big endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// The next four bytes, big endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// The next eight bytes, big endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// The next 20 bytes.
    pub fn digest(&mut self) -> Result<[u8; 20], Malformed> {
        self.array()
    }
}

/// One op of a message.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// Op code.
    pub code: u8,
    /// Particle type of the value.
    pub particle: u8,
    /// Bin name.
    pub name: &'a [u8],
    /// Value.
    pub value: &'a [u8],
}

/// The fields of a message, in their order.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Fields<'a> {
    /// Reads `n` fields.
    pub fn parse(cursor: &mut Cursor<'a>, n: u16) -> Result<Self, Malformed> {
        let mut fields = Vec::with_capacity(usize::from(n).min(cursor.rest.len() / 5));
        for _ in 0..n {
            let size = cursor.u32()? as usize;
            let kind = cursor.u8()?;
            fields.push((kind, cursor.take(size.checked_sub(1).ok_or(Malformed)?)?));
        }
        Ok(Self(fields))
    }

    /// The bytes of the first field of this type.
    pub fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.0.iter().find(|(k, _)| *k == kind).map(|(_, bytes)| *bytes)
    }

    /// A field of four bytes as a number.
    pub fn u32(&self, kind: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A field of eight bytes as a number.
    pub fn u64(&self, kind: u8) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }
}

/// Reads `n` ops.
pub fn parse_ops<'a>(cursor: &mut Cursor<'a>, n: u16) -> Result<Vec<Op<'a>>, Malformed> {
    let mut ops = Vec::with_capacity(usize::from(n).min(cursor.rest.len() / 8));
    for _ in 0..n {
        let size = cursor.u32()? as usize;
        let mut body = Cursor::new(cursor.take(size)?);
        let (code, particle, flags, name_len) = (body.u8()?, body.u8()?, body.u8()?, body.u8()?);
        let name = body.take(usize::from(name_len))?;
        if flags & 1 != 0 {
            body.u64()?;
        }
        ops.push(Op { code, particle, name, value: body.rest });
    }
    Ok(ops)
}

/// A request message, single-record, batch or query.
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    /// The four info bytes.
    pub info: [u8; 4],
    /// Generation to compare with.
    pub generation: u32,
    /// Time to live, relative, in seconds.
    pub record_ttl: u32,
    /// Fields.
    pub fields: Fields<'a>,
    /// Ops.
    pub ops: Vec<Op<'a>>,
}

impl<'a> Message<'a> {
    /// Reads the body of a frame of type 3.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        if usize::from(cursor.u8()?) != HEAD_BYTES {
            return Err(Malformed);
        }
        let info = [cursor.u8()?, cursor.u8()?, cursor.u8()?, cursor.u8()?];
        cursor.u8()?;
        let (generation, record_ttl, _) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let (n_fields, n_ops) = (cursor.u16()?, cursor.u16()?);
        let fields = Fields::parse(&mut cursor, n_fields)?;
        let ops = parse_ops(&mut cursor, n_ops)?;
        Ok(Self { info, generation, record_ttl, fields, ops })
    }
}

/// The header of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// First info byte.
    pub info1: u8,
    /// Third info byte.
    pub info3: u8,
    /// Result code.
    pub result: u8,
    /// Generation.
    pub generation: u32,
    /// Void-time, absolute, seconds since 2010.
    pub void_time: u32,
    /// Row index in a batch, else 0.
    pub row: u32,
    /// Fields that follow.
    pub n_fields: u16,
    /// Ops that follow.
    pub n_ops: u16,
}

impl Head {
    /// An answer that is only a result code.
    pub fn result(result: u8) -> Self {
        Self { result, ..Self::default() }
    }

    /// Appends the 22 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[HEAD_BYTES as u8, self.info1, 0, self.info3, 0, self.result]);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.void_time.to_be_bytes());
        out.extend_from_slice(&self.row.to_be_bytes());
        out.extend_from_slice(&self.n_fields.to_be_bytes());
        out.extend_from_slice(&self.n_ops.to_be_bytes());
    }
}

/// Appends a field.
pub fn put_field(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32 + 1).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(bytes);
}

/// Appends an op as answers carry it. The name has at most 255 bytes.
pub fn put_op(out: &mut Vec<u8>, name: &[u8], particle: u8, value: &[u8]) {
    put_request_op(out, 1, name, particle, value);
}

/// Appends an op with its op code.
pub fn put_request_op(out: &mut Vec<u8>, code: u8, name: &[u8], particle: u8, value: &[u8]) {
    out.extend_from_slice(&((4 + name.len() + value.len()) as u32).to_be_bytes());
    out.extend_from_slice(&[code, particle, 0, name.len() as u8]);
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}
