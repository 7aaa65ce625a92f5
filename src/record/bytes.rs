//! Variable-length integers and length-prefixed slices: the only primitives of the record and layer formats.
//!
//! An unsigned integer is LEB128 in its shortest form, at most ten bytes; decoders refuse longer forms, so that every
//! value has exactly one encoding.

use thiserror::Error;

/// Why bytes could not be decoded. Every decoder of the record and layer formats is total: it returns this, it never
/// panics, and it allocates nothing that the input's own length does not justify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ended inside a field.
    #[error("the data ends inside {0}")]
    Truncated(&'static str),
    /// A field holds a value that the format does not allow.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// Bytes follow the last field.
    #[error("bytes follow the end of {0}")]
    Trailing(&'static str),
    /// A field holds a number that this program does not know, and a later one may: no damage.
    #[error("{0} {1} is not known")]
    Unknown(&'static str, u64),
}

/// Looks at the version that a header begins with, before anything that it may have changed: how many runs there are, too.
pub fn known_version(header: Option<&[u8]>, known: u8, what: &'static str) -> Result<(), DecodeError> {
    match header.and_then(<[u8]>::first) {
        Some(found) if *found == known => Ok(()),
        Some(found) if *found > known => Err(DecodeError::Unknown(what, u64::from(*found))),
        _ => Err(DecodeError::Invalid(what)),
    }
}

/// Whether both are the same bytes. Of two that are empty nothing is looked at: comparing no bytes at the address that an empty
/// vector has, where no memory is, costs more than a hundred nanoseconds with the masked loads of current processors.
#[inline]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
}

/// Appends `value` as a shortest-form LEB128.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The number of bytes that [`put_u64`] appends for `value`.
#[must_use]
pub const fn len_u64(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Maps a signed to an unsigned integer so that small magnitudes stay small.
#[must_use]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[must_use]
pub const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// A cursor over encoded bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end of the input.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (&first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(first)
    }

    /// Reads a shortest-form LEB128.
    ///
    /// # Errors
    /// [`DecodeError`] if the input ends or the form is not the shortest.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().enumerate() {
            if i == 9 && byte > 1 {
                return Err(DecodeError::Invalid(what));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                if byte == 0 && i > 0 {
                    return Err(DecodeError::Invalid(what));
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(DecodeError::Truncated(what))
    }

    /// Reads a LEB128 that must fit 32 bits.
    ///
    /// # Errors
    /// As [`Self::u64`], and [`DecodeError::Invalid`] when it does not fit.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.u64(what)?).map_err(|_| DecodeError::Invalid(what))
    }

    /// Reads a LEB128 used as a count or length of something that takes at least one byte of the remaining input each:
    /// a larger one is refused before anything is allocated for it.
    ///
    /// # Errors
    /// As [`Self::u64`], and [`DecodeError::Truncated`] when it exceeds what is left.
    pub fn len(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let len = usize::try_from(self.u64(what)?).map_err(|_| DecodeError::Invalid(what))?;
        if len > self.rest.len() {
            return Err(DecodeError::Truncated(what));
        }
        Ok(len)
    }

    /// Reads exactly `n` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if n > self.rest.len() {
            return Err(DecodeError::Truncated(what));
        }
        let (head, rest) = self.rest.split_at(n);
        self.rest = rest;
        Ok(head)
    }

    /// Reads exactly `N` bytes as an array.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.take(N, what)?;
        Ok(<[u8; N]>::try_from(bytes).unwrap_or([0; N]))
    }

    /// Reads a length and that many bytes.
    ///
    /// # Errors
    /// As [`Self::len`].
    pub fn slice(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.len(what)?;
        self.take(len, what)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] when something is.
    pub const fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_in_their_shortest_form() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            assert_eq!(out.len(), len_u64(value));
            let mut reader = Reader::new(&out);
            assert_eq!(reader.u64("x").unwrap(), value);
            assert!(reader.is_empty());
        }
        assert_eq!(Reader::new(&[0x80, 0]).u64("x"), Err(DecodeError::Invalid("x")));
        assert_eq!(Reader::new(&[0x80]).u64("x"), Err(DecodeError::Truncated("x")));
        assert_eq!(Reader::new(&[0xff; 10]).u64("x"), Err(DecodeError::Invalid("x")));
    }

    #[test]
    fn zigzag_keeps_every_value() {
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
