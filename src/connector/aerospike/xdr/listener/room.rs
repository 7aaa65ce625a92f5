//! How much of what comes over all connections may be held at once.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How often it is looked whether to go on waiting.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// Bytes that may be held.
pub(super) struct Room {
    most: usize,
    held: Mutex<usize>,
    freed: Condvar,
}

/// A part of it, given back when it is dropped.
pub(super) struct Claim<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Room {
    pub(super) const fn of(most: usize) -> Self {
        Self { most, held: Mutex::new(0), freed: Condvar::new() }
    }

    fn held(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for so many bytes, at most the whole; `None` if `goes_on` says no more.
    pub(super) fn claim(&self, bytes: usize, goes_on: &dyn Fn() -> bool) -> Option<Claim<'_>> {
        let bytes = bytes.min(self.most);
        let mut held = self.held();
        while self.most - *held < bytes {
            if !goes_on() {
                return None;
            }
            held = self.freed.wait_timeout(held, LOOK_AROUND).unwrap_or_else(PoisonError::into_inner).0;
        }
        *held += bytes;
        Some(Claim { room: self, bytes })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        *self.room.held() -= self.bytes;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn never_more_is_held_than_there_is_room_for_and_everybody_gets_a_turn() {
        let room = Room::of(100);
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                let (room, held, most) = (&room, &held, &most);
                scope.spawn(move || {
                    for turn in 0..50 {
                        let bytes = (thread * 31 + turn * 7) % 140;
                        let claim = room.claim(bytes, &|| true).unwrap();
                        let now = held.fetch_add(claim.bytes, Ordering::SeqCst) + claim.bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        held.fetch_sub(claim.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 100);
        let all = room.claim(1000, &|| true).unwrap();
        assert!(room.claim(1, &|| false).is_none());
        drop(all);
        assert!(room.claim(1, &|| false).is_some());
    }
}
