//! The record model and its canonical bytes.
//!
//! A *record* is one key (bytes that sort) with one value, a generation and an expiry. Values are lists of named, tagged
//! cells; the tag numbers are Aerospike's particle types, which also cover what SQLite, files and JSON lines need, so a
//! record of any connector can be shown, compared and moved without knowing where it came from.
//!
//! Everything here is specified in `format-spec/records.md`.

pub mod batch;
pub mod bytes;
pub mod changes;
pub mod digest;
pub mod fingerprint;
pub mod key;
pub mod stream;
pub mod time;
pub mod units;
pub mod value;

pub use batch::{BatchRow, CellWriter, RecordBatch, RowHead, StreamedValue};
pub use changes::{ChangeBatch, ChangeTime, VersionTime};
pub use digest::Digest;
pub use fingerprint::{CollectionSum, Fingerprint, FingerprintStream, Fingerprinter};
pub use key::{KeyCodec, KeyError, KeyPart};
pub(crate) use stream::{Gaps, HeldRanges};
pub use stream::{Held, KeyRange, RecordStream, StreamError};
pub use time::{Clock, Expiry, SystemClock, Timestamp, local_zone, pause};
pub use value::{Shape, Tag};

/// The longest key a record may have, in bytes. A longer one is counted and named, never stored.
pub const MAX_KEY_BYTES: usize = 64 * 1024;

/// What a record carries beside its key and value.
#[derive(Debug, Clone, Copy, Eq, Default)]
pub struct Meta<'a> {
    /// Aerospike's set name; empty where the system has no such subdivision.
    pub set: &'a [u8],
    /// The source's own version counter; 0 where it has none.
    pub generation: u32,
    /// When the record stops being live.
    pub expiry: Expiry,
    /// A cheap word that changes whenever the value may have changed (files: a hash of size, times and inode);
    /// 0 where the source has none.
    pub stamp: u64,
    /// The user's own key where the source stores one beside the sort key (Aerospike: type byte, then bytes).
    pub user_key: Option<&'a [u8]>,
}

impl PartialEq for Meta<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let Self { set, generation, expiry, stamp, user_key } = other;
        (self.generation, self.expiry, self.stamp) == (*generation, *expiry, *stamp)
            && bytes::same(self.set, set)
            && self.user_key == *user_key
    }
}

impl Meta<'_> {
    /// Appends the canonical key row: what a collection fingerprint sums, and what the cut rule counts.
    pub fn write_key_row(&self, key: &[u8], fingerprint: &Fingerprint, out: &mut Vec<u8>) {
        bytes::put_slice(out, key);
        bytes::put_slice(out, self.set);
        bytes::put_u64(out, u64::from(self.generation));
        bytes::put_u64(out, self.expiry.as_millis());
        bytes::put_u64(out, self.stamp);
        match self.user_key {
            None => out.push(0),
            Some(user_key) => {
                out.push(1);
                bytes::put_slice(out, user_key);
            }
        }
        out.extend_from_slice(&fingerprint.0);
    }

    /// The number of bytes that [`Self::write_key_row`] appends.
    #[must_use]
    pub fn key_row_len(&self, key: &[u8]) -> usize {
        let slice = |bytes: &[u8]| bytes::len_u64(bytes.len() as u64) + bytes.len();
        let numbers = [u64::from(self.generation), self.expiry.as_millis(), self.stamp];
        slice(key)
            + slice(self.set)
            + numbers.into_iter().map(bytes::len_u64).sum::<usize>()
            + 1
            + self.user_key.map_or(0, slice)
            + size_of::<Fingerprint>()
    }
}
