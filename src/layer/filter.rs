//! Filters of keys: whether a small layer may hold a key, in 16 bits a key (a Bloom filter). One that says no is right; one
//! that says yes is wrong about once in two thousand times. Keys enter under a secret of the repository, so that what a host
//! keeps of them tells nobody which they are. No part of the format: each host makes and keeps its own.

use super::{
    LayerError,
    level::Wants,
    reader::{Layer, LayerCursor},
    version_key::Seen,
};
use crate::{record::KeyRange, repo::Secrets};

/// The most rows of a layer for which a filter is made: 32 KiB. Larger layers are few, and seldom looked at in vain.
const MAX_ROWS: u64 = 16 * 1024;

const BITS_A_KEY: u64 = 16;
const PROBES: u64 = 8;

/// Where keys enter filters.
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Under the secrets of a repository.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        Self(blake3::derive_key("rekeep 2026-11 v1 filters of keys", &secrets.cut))
    }

    /// The places of a key.
    #[must_use]
    pub fn places(&self, key: &[u8]) -> KeyPlaces {
        let hash = blake3::keyed_hash(&self.0, key);
        let half = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&hash.as_bytes()[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        KeyPlaces { first: half(0), step: half(8) | 1 }
    }
}

/// The places of one key in every filter.
#[derive(Debug, Clone, Copy)]
pub struct KeyPlaces {
    first: u64,
    step: u64,
}

impl KeyPlaces {
    fn bits(self, all: u64) -> impl Iterator<Item = usize> {
        (0..PROBES).map(move |probe| (self.first.wrapping_add(probe.wrapping_mul(self.step)) % all) as usize)
    }

    /// Whether a layer with this filter may hold the key. Of bytes that are no filter: it may.
    #[must_use]
    pub fn may_be_in(self, filter: &[u8]) -> bool {
        filter.is_empty() || self.bits(filter.len() as u64 * 8).all(|bit| filter[bit / 8] >> (bit % 8) & 1 == 1)
    }
}

impl Layer {
    /// A filter of the layer's keys; `None` for one that is too large, or a journal.
    pub fn key_filter(&self, hash: &KeyHash) -> Result<Option<Vec<u8>>, LayerError> {
        let rows = self.reference().rows;
        if rows > MAX_ROWS || self.is_journal() {
            return Ok(None);
        }
        let mut filter = vec![0_u8; (rows * BITS_A_KEY).div_ceil(8).max(8) as usize];
        let bits = filter.len() as u64 * 8;
        let mut cursor = LayerCursor::new(self, &KeyRange::all(), Wants::Keys, Seen::Raw);
        while cursor.advance()? {
            for bit in hash.places(cursor.key()).bits(bits) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        Ok(Some(filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_went_in_is_never_denied_and_others_seldom_are_not() {
        let hash = KeyHash([7; 32]);
        let key = |n: u32| n.to_be_bytes();
        let mut filter = vec![0_u8; 2_000];
        for n in 0..1_000 {
            for bit in hash.places(&key(n)).bits(16_000) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        assert!((0..1_000).all(|n| hash.places(&key(n)).may_be_in(&filter)));
        let wrong = (1_000..21_000).filter(|n| hash.places(&key(*n)).may_be_in(&filter)).count();
        assert!(wrong < 40, "{wrong} of 20 000");
        let other = KeyHash([8; 32]);
        assert!((0..1_000).filter(|n| other.places(&key(*n)).may_be_in(&filter)).count() < 10, "under another secret");
        assert!(hash.places(b"x").may_be_in(&[]));
    }
}
