//! Version keys: what stands in a journal in the place of a record's key, so that the versions of a record follow each other,
//! the newest first.

use super::{LayerError, error::hex_of};
use crate::record::{VersionTime, bytes::DecodeError};

/// Bytes behind the record's key: its end, the time, the order.
const TAIL: usize = 2 + STAMP;

/// Bytes of time and order.
const STAMP: usize = 16;

/// What is seen of the journals among layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Every row, under its version key.
    Raw,
    /// The newest version of each record.
    Newest,
    /// The newest that is not after a time.
    At(VersionTime),
}

/// The error for a row whose key is none.
pub(super) fn bad_key(key: &[u8]) -> LayerError {
    LayerError::inconsistent(format!("row {} of a journal", hex_of(key)), "its key is no version key")
}

fn bytes_of(time: VersionTime) -> [u8; STAMP] {
    let mut out = [0; STAMP];
    out[..8].copy_from_slice(&(!time.millis).to_be_bytes());
    out[8..].copy_from_slice(&(!time.order).to_be_bytes());
    out
}

/// Where the versions of a record begin, and those of all records behind it: nothing of an earlier key lies behind this.
pub(super) fn put_escaped(key: &[u8], out: &mut Vec<u8>) {
    for &byte in key {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
}

/// Writes the version key.
pub(super) fn put(key: &[u8], time: VersionTime, out: &mut Vec<u8>) {
    put_escaped(key, out);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&bytes_of(time));
}

/// The record's part of a version key, escaped: equal for the versions of one record.
pub(super) fn record_part(version_key: &[u8]) -> &[u8] {
    &version_key[..version_key.len().saturating_sub(STAMP)]
}

/// Reads a version key; the record's key goes to `key`.
pub(super) fn read(version_key: &[u8], key: &mut Vec<u8>) -> Result<VersionTime, DecodeError> {
    const WHAT: DecodeError = DecodeError::Invalid("a version key");
    key.clear();
    let escaped = version_key.len().checked_sub(TAIL).ok_or(WHAT)?;
    let (escaped, tail) = version_key.split_at(escaped);
    let mut rest = escaped;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        key.extend_from_slice(&rest[..=zero]);
        match rest.get(zero + 1) {
            Some(0xff) => rest = &rest[zero + 2..],
            _ => return Err(WHAT),
        }
    }
    key.extend_from_slice(rest);
    let (end, stamp) = tail.split_at(2);
    let number = |at: usize| Some(!u64::from_be_bytes(stamp.get(at..at + 8)?.try_into().ok()?));
    match (end, number(0), number(8)) {
        ([0, 0], Some(millis), Some(order)) if i64::try_from(millis).is_ok() => Ok(VersionTime { millis, order }),
        _ => Err(WHAT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tests::model::Rng;
    use std::cmp::Reverse;

    fn of(key: &[u8], millis: u64, order: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put(key, VersionTime { millis, order }, &mut out);
        out
    }

    #[test]
    fn version_keys_sort_by_key_then_newest_first() {
        let mut rng = Rng(7);
        let mut all: Vec<(Vec<u8>, Reverse<VersionTime>)> = (0..3000)
            .map(|_| {
                let len = rng.below(4) as usize;
                let key = (0..len).map(|_| [0, 1, 0xfe, 0xff][rng.below(4) as usize]).collect();
                (key, Reverse(VersionTime { millis: rng.below(3), order: rng.below(3) }))
            })
            .collect();
        all.sort_unstable();
        let written: Vec<Vec<u8>> = all.iter().map(|(key, time)| of(key, time.0.millis, time.0.order)).collect();
        assert!(written.is_sorted());
        let mut key = Vec::new();
        for ((expected, time), version_key) in all.iter().zip(&written) {
            assert_eq!(read(version_key, &mut key), Ok(time.0));
            assert_eq!(key, *expected);
            let mut start = Vec::new();
            put_escaped(expected, &mut start);
            assert!(start <= *version_key);
        }
        for pair in all.windows(2).zip(written.windows(2)) {
            let (keys, written) = pair;
            assert_eq!(keys[0].0 == keys[1].0, record_part(&written[0]) == record_part(&written[1]));
            let mut start = Vec::new();
            put_escaped(&keys[1].0, &mut start);
            assert_eq!(keys[0].0 < keys[1].0, written[0] < start);
        }
    }

    #[test]
    fn what_is_no_version_key_is_refused() {
        let mut key = Vec::new();
        let good = of(b"a\0b", 5, 6);
        assert!(read(&good, &mut key).is_ok());
        for cut in 0..good.len() {
            assert!(read(&good[..cut], &mut key).is_err(), "{cut}");
        }
        for bad in [&[0u8; 18][..], &[&[0, 1][..], &good[4..]].concat(), &[1; 40]] {
            assert!(read(bad, &mut key).is_err(), "{bad:?}");
        }
    }
}
