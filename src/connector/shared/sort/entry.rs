//! A record that is sorted, and how it lies in a temporary file.

use crate::record::bytes::put_u64;
use std::io;

/// One record: what it is sorted by, and its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::connector) struct Entry<'a> {
    pub(in crate::connector) key: &'a [u8],
    /// Which of those with the same key comes first.
    pub(in crate::connector) line: u64,
    pub(in crate::connector) body: &'a [u8],
}

impl Entry<'_> {
    /// Appends what stands before the key and the body.
    pub(super) fn put_head(&self, out: &mut Vec<u8>) {
        put_u64(out, self.key.len() as u64);
        put_u64(out, self.body.len() as u64);
        put_u64(out, self.line);
    }
}

/// What stands before a record's bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    len: usize,
    key: usize,
    body: usize,
    line: u64,
}

impl Head {
    /// Reads one; `None` if more bytes are needed.
    pub(super) fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut at = 0;
        let mut number = || -> io::Result<Option<u64>> {
            let mut value = 0;
            for shift in (0..64).step_by(7) {
                let Some(byte) = bytes.get(at) else { return Ok(None) };
                at += 1;
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return Ok(Some(value));
                }
            }
            Err(changed())
        };
        let (Some(key), Some(body), Some(line)) = (number()?, number()?, number()?) else { return Ok(None) };
        let size = |value| usize::try_from(value).map_err(|_| changed());
        let head = Self { len: at, key: size(key)?, body: size(body)?, line };
        head.len.checked_add(head.key).and_then(|len| len.checked_add(head.body)).ok_or_else(changed)?;
        Ok(Some(head))
    }

    /// The bytes of the whole record.
    pub(super) const fn total(&self) -> usize {
        self.len + self.key + self.body
    }

    /// The record that begins with this head.
    pub(super) fn entry<'a>(&self, bytes: &'a [u8]) -> Entry<'a> {
        let (key, body) = bytes[self.len..self.total()].split_at(self.key);
        Entry { key, line: self.line, body }
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a temporary file was changed")
}
