//! Memory of packs that are stored, for those that come next: fresh memory has to be faulted in page by page.

use crate::repo::{ids::PackKind, inner::lock, pack::TARGET_PACK_BYTES};
use bytes::Bytes;
use std::sync::Mutex;

/// So many wait at most. Who takes one makes none, so that no more memory is held than before.
const MOST: usize = 2;

/// A pack of full length is at least this long, however many write.
const LEAST_BYTES: usize = TARGET_PACK_BYTES / 4;

/// Buffers of data packs that nobody uses.
#[derive(Default)]
pub(super) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// Memory for a new pack, perhaps none yet: packs of metadata mostly stay small.
    pub fn take(&self, kind: PackKind) -> Vec<u8> {
        match kind {
            PackKind::Data => lock(&self.0).pop().unwrap_or_default(),
            PackKind::Metadata => Vec::new(),
        }
    }

    /// Takes back what held a pack of full length, unless someone still reads it.
    pub fn give(&self, kind: PackKind, bytes: Bytes) {
        if kind != PackKind::Data || bytes.len() < LEAST_BYTES {
            return;
        }
        let Ok(bytes) = bytes.try_into_mut() else { return };
        let mut spare = lock(&self.0);
        if spare.len() < MOST {
            spare.push(bytes.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_full_data_pack_comes_back_and_no_other() {
        let spare = Spare::default();
        let full = vec![7; LEAST_BYTES];
        let at = full.as_ptr();
        let shared = Bytes::from(full);
        spare.give(PackKind::Data, shared.clone());
        assert!(spare.take(PackKind::Data).is_empty(), "someone reads it");
        spare.give(PackKind::Metadata, Bytes::from(vec![0; LEAST_BYTES]));
        spare.give(PackKind::Data, Bytes::from(vec![0; 9]));
        assert_eq!(spare.take(PackKind::Data).capacity(), 0);
        spare.give(PackKind::Data, shared);
        assert_eq!(spare.take(PackKind::Metadata).capacity(), 0);
        let taken = spare.take(PackKind::Data);
        assert_eq!(taken.as_ptr(), at);
        for _ in 0..=MOST {
            spare.give(PackKind::Data, Bytes::from(vec![0; LEAST_BYTES]));
        }
        assert_eq!(lock(&spare.0).len(), MOST);
    }
}
