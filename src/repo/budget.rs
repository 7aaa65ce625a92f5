//! What all who write to one opened repository share, however many they are: the memory of open packs, and how many objects
//! are on their way to storage at once.

use super::pack::TARGET_PACK_BYTES;
use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// What open packs may take together.
pub(super) const OPEN_PACKS_BYTES: usize = 64 * 1024 * 1024;

/// Packs do not get smaller than this, however many write.
const LEAST_PACK_BYTES: usize = 4 * 1024 * 1024;

/// Uploads at once: enough for a backend's latency, and few enough that what waits for it stays bounded.
const MAX_UPLOADS: usize = 4;

/// What is shared.
#[derive(Debug, Default)]
pub(super) struct Budget {
    writers: AtomicUsize,
    uploads: Mutex<usize>,
    freed: Condvar,
}

/// One upload on its way.
pub(super) struct Upload<'a>(&'a Budget);

impl Budget {
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

    fn running(&self) -> MutexGuard<'_, usize> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more upload.
    pub fn upload(&self) -> Upload<'_> {
        let mut running = self.running();
        while *running >= MAX_UPLOADS {
            running = self.freed.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Upload(self)
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        *self.0.running() -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_packs_of_any_number_of_writers_stay_in_bounds() {
        let budget = Budget::default();
        for writers in 1..=8 {
            budget.writer_begins();
            assert!(2 * writers * budget.pack_bytes() <= OPEN_PACKS_BYTES, "{writers}");
        }
        (0..8).for_each(|_| budget.writer_ends());
        assert_eq!(budget.pack_bytes(), TARGET_PACK_BYTES);
    }

    #[test]
    fn no_more_uploads_run_at_once_than_may() {
        let (budget, running, most) = (Budget::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 * MAX_UPLOADS {
                scope.spawn(|| {
                    let _upload = budget.upload();
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=MAX_UPLOADS).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(*budget.running(), 0);
    }
}
