//! What all who write to one opened repository share, however many they are: the memory of open packs, and how many packs, of
//! how many bytes, are on their way to storage at once.

use super::pack::TARGET_PACK_BYTES;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// What open packs may take together.
pub(super) const OPEN_PACKS_BYTES: usize = 64 * 1024 * 1024;

/// What packs on their way to storage may take together: four of the usual length, and a little more.
pub(super) const UPLOAD_BYTES: usize = 4 * TARGET_PACK_BYTES + TARGET_PACK_BYTES / 2;

/// Packs do not get smaller than this, however many write.
const LEAST_PACK_BYTES: usize = 4 * 1024 * 1024;

/// What is shared.
#[derive(Debug)]
pub(super) struct Budget {
    writers: AtomicUsize,
    /// Uploads at once: enough for a place's latency.
    most: usize,
    uploads: Mutex<Uploads>,
    freed: Condvar,
}

/// What is on its way.
#[derive(Debug, Default)]
struct Uploads {
    running: usize,
    bytes: usize,
}

/// One upload's room; given back when it is dropped.
pub(super) struct Room {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// For a place that takes so many uploads at once.
    pub fn new(uploads: usize) -> Self {
        Self { writers: AtomicUsize::new(0), most: uploads.max(1), uploads: Mutex::default(), freed: Condvar::new() }
    }

    /// A chunk writer, with two packs open, begins.
    pub fn writer_begins(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// It ended.
    pub fn writer_ends(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The length at which a pack is finished, so that those of all who write now stay in bounds.
    pub fn pack_bytes(&self) -> usize {
        let packs = 2 * self.writers.load(Ordering::Relaxed).max(1);
        (OPEN_PACKS_BYTES / packs).clamp(LEAST_PACK_BYTES, TARGET_PACK_BYTES)
    }

    fn under_way(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more upload of so many bytes. The first always has room, however long it is.
    pub fn upload(self: &Arc<Self>, bytes: usize) -> Room {
        let has_no_room = |uploads: &mut Uploads| {
            uploads.running >= self.most || uploads.running > 0 && uploads.bytes + bytes > UPLOAD_BYTES
        };
        let waited = self.freed.wait_while(self.under_way(), has_no_room);
        let mut uploads = waited.unwrap_or_else(PoisonError::into_inner);
        uploads.running += 1;
        uploads.bytes += bytes;
        Room { budget: Arc::clone(self), bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut uploads = self.budget.under_way();
        uploads.running -= 1;
        uploads.bytes -= self.bytes;
        drop(uploads);
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_packs_of_any_number_of_writers_stay_in_bounds() {
        let budget = Budget::new(4);
        for writers in 1..=8 {
            budget.writer_begins();
            assert!(2 * writers * budget.pack_bytes() <= OPEN_PACKS_BYTES, "{writers}");
        }
        (0..8).for_each(|_| budget.writer_ends());
        assert_eq!(budget.pack_bytes(), TARGET_PACK_BYTES);
    }

    #[test]
    fn neither_more_uploads_nor_more_bytes_are_under_way_than_may() {
        for (bytes, most_at_once) in [(1, 4), (UPLOAD_BYTES / 2, 2), (UPLOAD_BYTES / 2 + 1, 1), (2 * UPLOAD_BYTES, 1)] {
            let (budget, running, most) = (Arc::new(Budget::new(4)), AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..12 {
                    scope.spawn(|| {
                        let _room = budget.upload(bytes);
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
            assert!((1..=most_at_once).contains(&most.load(Ordering::SeqCst)), "{bytes}");
            let left = budget.under_way();
            assert_eq!((left.running, left.bytes), (0, 0));
        }
    }
}
