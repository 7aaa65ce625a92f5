//! Aerospike's digests as sort keys: partition id, then the complement of the digest, so that a partition's scan order is
//! ascending key order. Specified in `format-spec/aerospike.md`.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use ripemd::{Digest as _, Ripemd160};

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 20;

/// Bytes of a sort key.
pub const KEY_BYTES: usize = 22;

/// Partitions of a namespace.
pub const PARTITIONS: u16 = 4096;

/// What identifies a record within its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl Digest {
    /// The digest of a user key: RIPEMD-160 of the set's name, the key's particle type and its bytes.
    #[must_use]
    pub fn of(set: &[u8], particle: u8, key: &[u8]) -> Self {
        let mut hasher = Ripemd160::new();
        hasher.update(set);
        hasher.update([particle]);
        hasher.update(key);
        let mut out = [0; DIGEST_BYTES];
        out.copy_from_slice(&hasher.finalize());
        Self(out)
    }

    /// The partition it lies in.
    #[inline]
    #[must_use]
    pub const fn partition(&self) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]]) % PARTITIONS
    }

    /// Its sort key.
    #[inline]
    #[must_use]
    pub fn sort_key(&self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..2].copy_from_slice(&self.partition().to_be_bytes());
        for (to, from) in key[2..].iter_mut().zip(&self.0) {
            *to = !from;
        }
        key
    }

    /// The inverse of [`Self::sort_key`]; `None` for bytes that no digest gives.
    #[must_use]
    pub fn from_sort_key(key: &[u8]) -> Option<Self> {
        let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
        let digest = Self(std::array::from_fn(|i| !key[i + 2]));
        (digest.partition().to_be_bytes() == key[..2]).then_some(digest)
    }

    /// From hexadecimal or base64 text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = match text.len() {
            40 => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?,
            _ => BASE64.decode(text.as_bytes()).ok()?,
        };
        bytes.try_into().ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KeyCodec;
    use data_encoding::HEXLOWER;

    #[test]
    fn a_known_digest_and_partition_come_out() {
        let digest = Digest::of(b"demo", 1, &1i64.to_be_bytes());
        assert_eq!(HEXLOWER.encode(&digest.0), "b7f4b83889e2da67de683e1df6919a1eacc446c8");
        assert_eq!(digest.partition(), 1207);
        assert_eq!(Digest::from_sort_key(&digest.sort_key()), Some(digest));
        let mut odd = digest.sort_key();
        odd[1] ^= 1;
        assert_eq!(Digest::from_sort_key(&odd), None);
    }

    #[test]
    fn a_smaller_digest_sorts_later_within_its_partition() {
        let mut low = Digest([7; 20]);
        let high = Digest([7; 20]);
        low.0[19] = 6;
        assert!(high.sort_key() < low.sort_key());
    }

    #[test]
    fn keys_are_typed_by_set_and_user_key_or_by_digest() {
        let key = |text: &str| KeyCodec::Digest.parse(text).unwrap();
        let expected = Digest::of(b"demo", 1, &1i64.to_be_bytes()).sort_key().to_vec();
        assert_eq!(key("demo/int:1"), expected);
        assert_eq!(key("digest:b7f4b83889e2da67de683e1df6919a1eacc446c8"), expected);
        assert_eq!(key("digest:t/S4OInizmfeaD4d9pGaHqzERsg=").len(), 22);
        assert_eq!(key("/str:a"), Digest::of(b"", 3, b"a").sort_key());
        assert_eq!(key("a/b/str:c"), Digest::of(b"a/b", 3, b"c").sort_key());
        assert_eq!(key("a/str:b\\/c"), Digest::of(b"a", 3, b"b/c").sort_key());
        assert_eq!(key("s/hex:00ff"), Digest::of(b"s", 4, &[0, 0xff]).sort_key());
        assert_eq!(key("s/f64:1.5"), Digest::of(b"s", 2, &1.5f64.to_be_bytes()).sort_key());
        assert_eq!(KeyCodec::Digest.show(&expected), "digest:b7f4b83889e2da67de683e1df6919a1eacc446c8");
        for bad in ["int:1", "demo/", "demo/1", "digest:00", "demo/null"] {
            assert!(KeyCodec::Digest.parse(bad).is_err(), "{bad}");
        }
    }
}
