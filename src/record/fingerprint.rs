//! Record fingerprints and collection fingerprints.
//!
//! A record's fingerprint says whether it changed between two versions of *the same key*; it is never an identity.
//! A collection's fingerprint is a sum over the keyed hashes of its live records' key rows, so it can be kept up to
//! date by subtracting and adding single records. Both are specified in `format-spec/records.md`.

use super::{Meta, Shape, bytes::put_slice};
use highway::{HighwayHash, HighwayHasher, Key};

/// The first 12 bytes of HighwayHash-128 over a record's shape, user key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint(pub [u8; 12]);

/// Computes record fingerprints under the repository's fingerprint key.
#[derive(Clone)]
pub struct Fingerprinter {
    key: Key,
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter")
    }
}

impl Fingerprinter {
    /// The name of the function, as layer headers give it.
    pub const NAME: &'static str = "highwayhash128-96";

    /// A fingerprinter under a 32-byte key: four little-endian words.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|j| key[8 * i + j]));
        Self { key: Key([word(0), word(1), word(2), word(3)]) }
    }

    /// The fingerprint of a value held in memory.
    #[must_use]
    pub fn of(&self, shape: &Shape, user_key: Option<&[u8]>, value: &[u8]) -> Fingerprint {
        let mut stream = self.start(shape, user_key);
        stream.append(value);
        stream.finish()
    }

    /// Starts the fingerprint of a value that arrives in pieces.
    #[must_use]
    pub fn start(&self, shape: &Shape, user_key: Option<&[u8]>) -> FingerprintStream {
        let mut hasher = HighwayHasher::new(self.key);
        hasher.append(shape.digest());
        match user_key {
            None => hasher.append(&[0]),
            Some(user_key) => {
                let mut head = vec![1];
                put_slice(&mut head, user_key);
                hasher.append(&head);
            }
        }
        FingerprintStream { hasher }
    }
}

/// A fingerprint in the making.
#[derive(Clone)]
pub struct FingerprintStream {
    hasher: HighwayHasher,
}

impl std::fmt::Debug for FingerprintStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintStream")
    }
}

impl FingerprintStream {
    /// Adds the next bytes of the value.
    pub fn append(&mut self, bytes: &[u8]) {
        self.hasher.append(bytes);
    }

    /// The fingerprint of everything appended and `rest`.
    #[must_use]
    pub fn goes_on(&self, rest: &[u8]) -> Fingerprint {
        let mut whole = self.clone();
        whole.append(rest);
        whole.finish()
    }

    /// The fingerprint of everything appended.
    #[must_use]
    pub fn finish(self) -> Fingerprint {
        let [low, high] = self.hasher.finalize128();
        let mut out = [0; 12];
        out[..8].copy_from_slice(&low.to_le_bytes());
        out[8..].copy_from_slice(&high.to_le_bytes()[..4]);
        Fingerprint(out)
    }
}

/// The sum mod 2^256 (little endian) of the keyed BLAKE3 hashes of key rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectionSum(pub [u8; 32]);

impl CollectionSum {
    /// The hash of one record's canonical key row under the collection key.
    #[must_use]
    pub fn of_row(
        collection_key: &[u8; 32],
        key: &[u8],
        meta: &Meta<'_>,
        fingerprint: &Fingerprint,
        scratch: &mut Vec<u8>,
    ) -> Self {
        scratch.clear();
        meta.write_key_row(key, fingerprint, scratch);
        Self(*blake3::keyed_hash(collection_key, scratch).as_bytes())
    }

    fn words(&self) -> [u64; 4] {
        std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|j| self.0[8 * i + j])))
    }

    fn from_words(words: [u64; 4]) -> Self {
        let mut out = [0; 32];
        for (chunk, word) in out.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        Self(out)
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        let (mut words, other) = (self.words(), other.words());
        let mut carry = false;
        for (word, other) in words.iter_mut().zip(other) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *word = sum;
            carry = first | second;
        }
        *self = Self::from_words(words);
    }

    /// Subtracts `other`.
    pub fn subtract(&mut self, other: &Self) {
        let (mut words, other) = (self.words(), other.words());
        let mut borrow = false;
        for (word, other) in words.iter_mut().zip(other) {
            let (difference, first) = word.overflowing_sub(other);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *word = difference;
            borrow = first | second;
        }
        *self = Self::from_words(words);
    }

    /// 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// From what [`Self::to_hex`] gives.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_order_and_undo_each_other() {
        let a = CollectionSum([0xff; 32]);
        let b = CollectionSum(std::array::from_fn(|i| i as u8));
        let mut sum = CollectionSum::default();
        sum.add(&a);
        sum.add(&b);
        let mut other = CollectionSum::default();
        other.add(&b);
        other.add(&a);
        assert_eq!(sum, other);
        sum.subtract(&a);
        assert_eq!(sum, b);
        sum.subtract(&b);
        assert_eq!(sum, CollectionSum::default());
    }

    #[test]
    fn pieces_give_the_fingerprint_of_the_whole() {
        let prints = Fingerprinter::new(&[7; 32]);
        let shape = Shape::new(vec![b"a".to_vec(), b"b".to_vec()]);
        let whole = prints.of(&shape, Some(b"k"), b"hello world");
        let mut stream = prints.start(&shape, Some(b"k"));
        stream.append(b"hello");
        stream.append(b" world");
        assert_eq!(stream.finish(), whole);
        assert_ne!(prints.of(&shape, None, b"hello world"), whole);
    }
}
