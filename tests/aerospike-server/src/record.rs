//! A stored record, its place in scan order, and its bins.
//!
//! The bins are kept as the ops an answer carries, in one allocation: a scan copies them, and two million small records
//! fit into memory.

use std::borrow::Cow;

use ripemd::{Digest as _, Ripemd160};

use crate::clock::EPOCH_UNIX_SECONDS;
use crate::wire::{Cursor, Malformed, parse_ops, put_op};

/// Number of partitions.
pub const PARTITIONS: u16 = 4096;

/// A record's digest.
pub type Digest = [u8; 20];

/// Place of a record in scan order: partition id, big endian, then the bitwise complement of the digest, so that ascending
/// order is ascending partitions and descending digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place([u8; 22]);

impl Place {
    /// The place of a digest.
    pub fn of(digest: &Digest) -> Self {
        let mut place = [0; 22];
        place[..2].copy_from_slice(&partition_of(digest).to_be_bytes());
        for (to, from) in place[2..].iter_mut().zip(digest) {
            *to = !from;
        }
        Self(place)
    }

    /// The first place of a partition.
    pub fn first(pid: u16) -> Self {
        let mut place = [0; 22];
        place[..2].copy_from_slice(&pid.to_be_bytes());
        Self(place)
    }

    /// The last place of a partition.
    pub fn last(pid: u16) -> Self {
        let mut place = [0xFF; 22];
        place[..2].copy_from_slice(&pid.to_be_bytes());
        Self(place)
    }

    /// The digest at this place.
    pub fn digest(&self) -> Digest {
        let mut digest = [0; 20];
        for (to, from) in digest.iter_mut().zip(&self.0[2..]) {
            *to = !from;
        }
        digest
    }

    /// The partition.
    pub fn partition(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

/// The partition of a digest: its first two bytes, little endian, 12 bits of them.
pub fn partition_of(digest: &Digest) -> u16 {
    u16::from_le_bytes([digest[0], digest[1]]) & (PARTITIONS - 1)
}

/// The digest of a user key: RIPEMD-160 of set name, particle type and key bytes.
pub fn digest_of(set: &[u8], particle: u8, key: &[u8]) -> Digest {
    let mut hasher = Ripemd160::new();
    hasher.update(set);
    hasher.update([particle]);
    hasher.update(key);
    hasher.finalize().into()
}

/// One bin, borrowed from where it came or owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bin<'a> {
    /// Name, at most 15 bytes.
    pub name: Cow<'a, [u8]>,
    /// Particle type.
    pub particle: u8,
    /// Particle bytes.
    pub value: Cow<'a, [u8]>,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts writes; 16 bits, wraps.
    pub generation: u16,
    /// Expiry in seconds since 2010; 0 never.
    pub void_time: u32,
    /// Time of the last update in milliseconds since 2010.
    pub lut_ms: u64,
    /// Number of the set; 0 none.
    pub set_id: u16,
    /// Number of bins.
    pub n_bins: u16,
    /// Stored user key: particle type and bytes.
    pub key: Option<Box<[u8]>>,
    /// The bins as response ops.
    pub bins: Box<[u8]>,
}

impl Record {
    /// The bins in their stored order.
    pub fn bins(&self) -> Vec<Bin<'_>> {
        decode_bins(&self.bins, self.n_bins).unwrap_or_default()
    }

    /// The value of one bin.
    pub fn bin(&self, name: &[u8]) -> Option<(u8, &[u8])> {
        let mut cursor = Cursor::new(&self.bins);
        for _ in 0..self.n_bins {
            let size = cursor.u32().ok()?;
            let op = cursor.take(size as usize).ok()?;
            let (head, rest) = op.split_at_checked(4)?;
            let (have, value) = rest.split_at_checked(usize::from(head[3]))?;
            if have == name {
                return Some((head[1], value));
            }
        }
        None
    }

    /// Puts other bins in place of the old.
    pub fn set_bins(&mut self, bins: &[Bin<'_>]) {
        (self.n_bins, self.bins) = encode_bins(bins);
    }

    /// Whether it has expired at this time. A record lives through the whole second of its void-time.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.void_time != 0 && i64::from(self.void_time) < now_ms.div_euclid(1000)
    }

    /// The time of the last update in nanoseconds since 1970.
    pub fn lut_unix_ns(&self) -> i64 {
        (self.lut_ms as i64).saturating_add(EPOCH_UNIX_SECONDS * 1000).saturating_mul(1_000_000)
    }

    /// About the bytes the record takes on a device: header, set name, key, and six bytes and the name per bin, in steps
    /// of 16.
    pub fn stored_bytes(&self, set_name_bytes: usize) -> usize {
        let set = if self.set_id == 0 { 0 } else { 1 + set_name_bytes };
        let key = self.key.as_ref().map_or(0, |key| 1 + key.len());
        // A response op has eight bytes beside name and value, a stored bin six.
        let bins = self.bins.len().saturating_sub(2 * usize::from(self.n_bins));
        (36 + set + key + bins).next_multiple_of(16)
    }
}

/// Bins as response ops, and their number.
pub fn encode_bins(bins: &[Bin<'_>]) -> (u16, Box<[u8]>) {
    let mut out = Vec::with_capacity(bins.iter().map(|bin| 8 + bin.name.len() + bin.value.len()).sum());
    for bin in bins {
        put_op(&mut out, &bin.name, bin.particle, &bin.value);
    }
    (bins.len() as u16, out.into_boxed_slice())
}

fn decode_bins(bytes: &[u8], n: u16) -> Result<Vec<Bin<'_>>, Malformed> {
    let ops = parse_ops(&mut Cursor::new(bytes), n)?;
    Ok(ops
        .into_iter()
        .map(|op| Bin { name: Cow::Borrowed(op.name), particle: op.particle, value: Cow::Borrowed(op.value) })
        .collect())
}
