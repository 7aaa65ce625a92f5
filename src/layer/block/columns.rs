//! Columns of numbers: a constant in the header or a run of their own.

use crate::record::bytes::{DecodeError, Reader, put_u64, unzigzag, zigzag};

/// How a column's entries lie in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One byte each.
    Byte,
    /// A varint each.
    Varint,
    /// The zigzag difference from the entry before.
    Delta,
    /// Eight bytes each, little endian.
    Fixed,
}

/// Appends a column to the header and, unless it is constant, to its run.
pub(super) fn put_column(header: &mut Vec<u8>, run: &mut Vec<u8>, layout: Layout, values: &[u64]) {
    let first = values.first().copied().unwrap_or(0);
    if values.iter().all(|value| *value == first) {
        header.push(0);
        put_u64(header, first);
        return;
    }
    header.push(1);
    let mut before = 0u64;
    for &value in values {
        match layout {
            Layout::Byte => run.push(value as u8),
            Layout::Varint => put_u64(run, value),
            Layout::Delta => put_u64(run, zigzag(value.wrapping_sub(before) as i64)),
            Layout::Fixed => run.extend_from_slice(&value.to_le_bytes()),
        }
        before = value;
    }
}

/// A column as it is read, entry by entry.
#[derive(Debug)]
pub(super) enum Column<'a> {
    Constant(u64),
    Run { layout: Layout, run: Reader<'a>, before: u64 },
}

impl<'a> Column<'a> {
    /// Reads the column's part of the header.
    pub(super) fn open(header: &mut Reader<'a>, run: &'a [u8], layout: Layout) -> Result<Self, DecodeError> {
        match header.u8("a column's form")? {
            0 if run.is_empty() => Ok(Self::Constant(header.u64("a column's constant")?)),
            0 => Err(DecodeError::Trailing("a constant column")),
            1 => Ok(Self::Run { layout, run: Reader::new(run), before: 0 }),
            _ => Err(DecodeError::Invalid("a column's form")),
        }
    }

    #[inline]
    pub(super) fn next(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        match self {
            Self::Constant(value) => Ok(*value),
            Self::Run { layout, run, before } => {
                *before = match layout {
                    Layout::Byte => u64::from(run.u8(what)?),
                    Layout::Varint => run.u64(what)?,
                    Layout::Delta => before.wrapping_add(unzigzag(run.u64(what)?) as u64),
                    Layout::Fixed => u64::from_le_bytes(run.array(what)?),
                };
                Ok(*before)
            }
        }
    }

    #[inline]
    pub(super) fn next_u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.next(what)?).map_err(|_| DecodeError::Invalid(what))
    }

    pub(super) fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        match self {
            Self::Constant(_) => Ok(()),
            Self::Run { run, .. } => run.finish(what),
        }
    }
}

/// The length of the longest common prefix.
#[inline]
pub(in crate::layer) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Reads a key that shares a prefix with the one before (`keys[before..]`), checks that it is greater, and appends it.
/// `own` gives the key's own bytes once their number is known.
#[inline]
pub(in crate::layer) fn take_key(
    keys: &mut Vec<u8>,
    before: Option<usize>,
    shared: u64,
    own: &[u8],
    most: usize,
) -> Result<(), DecodeError> {
    let shared = usize::try_from(shared).map_err(|_| DecodeError::Invalid("a key's shared prefix"))?;
    let start = before.unwrap_or(keys.len());
    let before_len = keys.len() - start;
    if shared > before_len {
        return Err(DecodeError::Invalid("a key's shared prefix"));
    }
    if before.is_some() {
        let first = own.first().ok_or(DecodeError::Invalid("the order of keys"))?;
        if keys[start..].get(shared).is_some_and(|byte| first <= byte) {
            return Err(DecodeError::Invalid("the order of keys"));
        }
    }
    if keys.len() + shared + own.len() > most {
        return Err(DecodeError::Invalid("the length of all keys"));
    }
    keys.extend_from_within(start..start + shared);
    keys.extend_from_slice(own);
    Ok(())
}
