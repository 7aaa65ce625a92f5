//! How much of what comes over all connections may be held at once, and who gives way to whom.
//!
//! A connection that shipped a change before is *known*, and claims room for the whole of its next message: it never waits for
//! more with a part in its hands. Of others only what has come takes room, so that to announce much takes none. Where there is
//! not enough of it, those give way that would hold up others: to one that is known each other one; to its like one that was
//! silent for a time; to one that is not known also one that takes long over its message. Whoever gives way is shut, and ships
//! again what it had not shipped wholly.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How often it is looked whether to go on waiting.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// Who sends nothing for so long inside of a message gives way.
const SILENCE: Duration = Duration::from_secs(2);

/// A message of somebody who is not known takes at most so long, if others wait.
const LONG_WHILE: Duration = Duration::from_secs(10);

/// Who holds room.
pub(super) trait Holder: Send + Sync {
    /// Whether it shipped anything before.
    fn is_known(&self) -> bool;
    /// Ends it.
    fn shut(&self);
}

/// Bytes that may be held.
pub(super) struct Room {
    most: usize,
    silence: Duration,
    long_while: Duration,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    held: usize,
    next: u64,
    /// Whose messages are still coming.
    coming: BTreeMap<u64, Coming>,
}

struct Coming {
    holder: Arc<dyn Holder>,
    bytes: usize,
    began: Instant,
    last: Instant,
    gave_way: bool,
}

/// A part of it, given back when it is dropped.
pub(super) struct Claim<'a> {
    room: &'a Room,
    id: u64,
    is_known: bool,
    bytes: usize,
}

/// What became of a wish for room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Yes,
    /// Nobody wants it any more.
    Stopped,
    /// Others needed what this one held.
    GaveWay,
}

impl Room {
    pub(super) const fn of(most: usize) -> Self {
        Self::with_patience(most, SILENCE, LONG_WHILE)
    }

    const fn with_patience(most: usize, silence: Duration, long_while: Duration) -> Self {
        let state = State { held: 0, next: 0, coming: BTreeMap::new() };
        Self { most, silence, long_while, state: Mutex::new(state), freed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.state().held
    }

    /// Begins a claim of nothing yet, for one message.
    pub(super) fn begin<H: Holder + 'static>(&self, holder: &Arc<H>) -> Claim<'_> {
        let (is_known, now) = (holder.is_known(), Instant::now());
        let holder = Arc::clone(holder);
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.coming.insert(id, Coming { holder, bytes: 0, began: now, last: now, gave_way: false });
        drop(state);
        Claim { room: self, id, is_known, bytes: 0 }
    }

    /// Has those give way to `id`, which lacks so many bytes, that have to.
    fn make_way(&self, state: &mut State, id: u64, is_known: bool, lacking: usize) {
        let gives_way = |one: &Coming| {
            let is_silent = one.last.elapsed() >= self.silence;
            match (one.holder.is_known(), is_known) {
                (false, true) => true,
                (true, true) => is_silent,
                (false, false) => is_silent || one.began.elapsed() >= self.long_while,
                (true, false) => false,
            }
        };
        let mut leaving: usize = state.coming.values().filter(|one| one.gave_way).map(|one| one.bytes).sum();
        while leaving < lacking {
            let others = state.coming.iter_mut().filter(|(other, one)| **other != id && one.bytes > 0 && !one.gave_way);
            let willing = others.map(|(_, one)| one).filter(|one| gives_way(one));
            let Some(chosen) = willing.min_by_key(|one| (one.holder.is_known(), one.last)) else { return };
            chosen.gave_way = true;
            chosen.holder.shut();
            leaving += chosen.bytes;
            // It may wait for more itself.
            self.freed.notify_all();
        }
    }
}

impl Claim<'_> {
    /// Whether it is of somebody who shipped before.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    /// Waits until there is room for so many bytes more, at most the whole; `goes_on` says whether to.
    pub(super) fn grow(&mut self, bytes: usize, goes_on: &dyn Fn() -> bool) -> Granted {
        let bytes = bytes.min(self.room.most - self.bytes);
        loop {
            let mut state = self.room.state();
            if state.coming.get(&self.id).is_some_and(|own| own.gave_way) {
                return Granted::GaveWay;
            }
            let free = self.room.most - state.held;
            if free >= bytes {
                state.held += bytes;
                self.bytes += bytes;
                if let Some(own) = state.coming.get_mut(&self.id) {
                    own.bytes = self.bytes;
                    // It was not silent while it waited for us.
                    own.last = Instant::now();
                }
                return Granted::Yes;
            }
            self.room.make_way(&mut state, self.id, self.is_known, bytes - free);
            drop(state);
            if !goes_on() {
                return Granted::Stopped;
            }
            let is_full = |state: &mut State| self.room.most - state.held < bytes;
            drop(self.room.freed.wait_timeout_while(self.room.state(), LOOK_AROUND, is_full));
        }
    }

    /// Something came.
    pub(super) fn came(&self) {
        if let Some(own) = self.room.state().coming.get_mut(&self.id) {
            own.last = Instant::now();
        }
    }

    /// Whether it gave way to others.
    pub(super) fn gave_way(&self) -> bool {
        self.room.state().coming.get(&self.id).is_some_and(|own| own.gave_way)
    }

    /// All has come: what is held waits for us, and nobody has to give way with it.
    pub(super) fn is_whole(&self) {
        self.room.state().coming.remove(&self.id);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.held -= self.bytes;
        state.coming.remove(&self.id);
        drop(state);
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    struct One {
        is_known: bool,
        is_shut: AtomicBool,
    }

    impl One {
        fn of(is_known: bool) -> Arc<Self> {
            Arc::new(Self { is_known, is_shut: AtomicBool::new(false) })
        }

        fn is_shut(&self) -> bool {
            self.is_shut.load(Ordering::SeqCst)
        }
    }

    impl Holder for One {
        fn is_known(&self) -> bool {
            self.is_known
        }

        fn shut(&self) {
            self.is_shut.store(true, Ordering::SeqCst);
        }
    }

    /// A room in which nobody is silent long enough to give way to their like.
    fn patient(most: usize) -> Room {
        Room::with_patience(most, Duration::MAX, Duration::MAX)
    }

    #[test]
    fn never_more_is_held_than_there_is_room_for_and_everybody_gets_a_turn() {
        let room = patient(100);
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                let (room, held, most) = (&room, &held, &most);
                scope.spawn(move || {
                    for turn in 0..50 {
                        let mut claim = room.begin(&One::of(true));
                        assert_eq!(claim.grow((thread * 31 + turn * 7) % 140, &|| true), Granted::Yes);
                        let now = held.fetch_add(claim.bytes, Ordering::SeqCst) + claim.bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        held.fetch_sub(claim.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 100);
        let mut all = room.begin(&One::of(true));
        assert_eq!(all.grow(1000, &|| true), Granted::Yes);
        let mut other = room.begin(&One::of(true));
        assert_eq!(other.grow(1, &|| false), Granted::Stopped);
        drop(all);
        assert_eq!(other.grow(1, &|| false), Granted::Yes);
    }

    /// Whether `wisher` gets so many bytes while others hold theirs until they are shut.
    fn gets(room: &Room, wisher: &Arc<One>, bytes: usize, others: Vec<(Arc<One>, Claim<'_>)>) -> bool {
        let others = Mutex::new(others);
        let looks = AtomicUsize::new(0);
        let goes_on = || {
            others.lock().unwrap().retain(|(one, _)| !one.is_shut());
            looks.fetch_add(1, Ordering::SeqCst) < 3
        };
        room.begin(wisher).grow(bytes, &goes_on) == Granted::Yes
    }

    fn held<'r>(room: &'r Room, one: &Arc<One>, bytes: usize) -> (Arc<One>, Claim<'r>) {
        let mut claim = room.begin(one);
        assert_eq!(claim.grow(bytes, &|| false), Granted::Yes);
        (Arc::clone(one), claim)
    }

    #[test]
    fn whoever_shipped_before_does_not_wait_for_somebody_who_never_did() {
        let room = patient(100);
        let (a, b, node) = (One::of(false), One::of(false), One::of(true));
        let others = vec![held(&room, &a, 40), held(&room, &b, 40)];
        assert!(gets(&room, &node, 30, others));
        // No more of them give way than have to.
        assert!(a.is_shut() && !b.is_shut());
        let (a, b) = (One::of(false), One::of(false));
        let others = vec![held(&room, &a, 40), held(&room, &b, 40)];
        assert!(gets(&room, &node, 90, others) && a.is_shut() && b.is_shut());
        // It waits for its like, and strangers for each other, as long as they are not silent.
        for is_known in [true, false] {
            let (one, other) = (One::of(is_known), One::of(is_known));
            let others = vec![held(&room, &one, 90)];
            assert!(!gets(&room, &other, 30, others) && !one.is_shut());
        }
        let others = vec![held(&room, &node, 90)];
        assert!(!gets(&room, &One::of(false), 30, others) && !node.is_shut());
    }

    #[test]
    fn who_is_silent_or_takes_long_gives_way() {
        let silent = Room::with_patience(100, Duration::ZERO, Duration::MAX);
        for is_known in [true, false] {
            let (one, other) = (One::of(is_known), One::of(is_known));
            let others = vec![held(&silent, &one, 90)];
            assert!(gets(&silent, &other, 30, others) && one.is_shut());
        }
        let slow = Room::with_patience(100, Duration::MAX, Duration::ZERO);
        let (one, other) = (One::of(false), One::of(false));
        let others = vec![held(&slow, &one, 90)];
        assert!(gets(&slow, &other, 30, others) && one.is_shut());
        // Somebody who ships takes the time that a slow way takes.
        let (one, other) = (One::of(true), One::of(true));
        let others = vec![held(&slow, &one, 90)];
        assert!(!gets(&slow, &other, 30, others) && !one.is_shut());
    }

    #[test]
    fn what_has_come_wholly_stays() {
        let room = Room::with_patience(100, Duration::ZERO, Duration::ZERO);
        let (whole, node) = (One::of(false), One::of(true));
        let others = vec![held(&room, &whole, 90)];
        others[0].1.is_whole();
        assert!(!gets(&room, &node, 30, others) && !whole.is_shut());
    }

    #[test]
    fn of_several_that_wait_with_a_part_in_their_hands_one_gives_way() {
        let room = Room::with_patience(100, Duration::ZERO, Duration::MAX);
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let mut claim = room.begin(&One::of(false));
                        if (0..9).all(|_| claim.grow(10, &|| true) == Granted::Yes) {
                            done.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                    }
                });
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), 4);
    }
}
