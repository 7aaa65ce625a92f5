//! Chunks that one thread finds and another stores: so a source that only one thread can read keeps all cores busy.

use super::{Shared, WriteSession};
use crate::repo::{ChunkId, ChunkKind, ChunkPlain, inner::lock};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// A shorter chunk is compressed in little more time than it takes to hand it over.
const LEAST_BYTES: usize = 16 * 1024;

/// What waits may take together.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// How long is waited before it is asked again whether to go on waiting.
const PATIENCE: Duration = Duration::from_millis(100);

/// A chunk that was taken on and is not stored yet.
pub(super) struct Taken {
    pub id: ChunkId,
    pub kind: ChunkKind,
    pub plain: ChunkPlain,
}

/// What came of waiting for a chunk.
pub(super) enum Next {
    Chunk(Taken),
    /// None so far.
    Nothing,
    /// Nobody is left who could bring one.
    End,
}

/// Where chunks wait for those who help.
pub struct Relay {
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Taken>,
    bytes: usize,
    /// Memory of chunks that are stored.
    spare: Vec<ChunkPlain>,
    /// Those who have begun, and those of them who may still bring chunks.
    begun: usize,
    finders: usize,
    helpers: usize,
}

/// Somebody who may still bring chunks, until it is dropped.
pub struct Finder(Arc<Relay>);

impl Drop for Finder {
    fn drop(&mut self) {
        lock(&self.0.state).finders -= 1;
        self.0.changed.notify_all();
    }
}

/// Somebody who stores what others bring, until it is dropped.
struct Helper<'a>(&'a Relay);

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).helpers -= 1;
    }
}

impl WriteSession {
    /// A relay between this session's writers; `None` where one thread does everything.
    #[must_use]
    pub fn relay(&self) -> Option<Arc<Relay>> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let is_alone = self.shared.timing.alone;
        (!is_alone).then(|| Arc::new(Relay { shared: Arc::clone(&self.shared), state, changed }))
    }
}

impl Relay {
    /// Whoever comes when so many have not begun finds chunks; `None` says that there are enough, and to help.
    #[must_use]
    pub fn begin(self: &Arc<Self>, finders: usize) -> Option<Finder> {
        let mut state = lock(&self.state);
        if state.begun >= finders {
            return None;
        }
        state.begun += 1;
        state.finders += 1;
        Some(Finder(Arc::clone(self)))
    }

    /// How many help now.
    #[cfg(test)]
    fn helpers(&self) -> usize {
        lock(&self.state).helpers
    }

    pub(super) fn help(&self) -> impl Drop + '_ {
        lock(&self.state).helpers += 1;
        Helper(self)
    }

    /// Hands a chunk over if somebody has time for it: as many wait as there are helpers.
    pub(super) fn offer(&self, id: ChunkId, kind: ChunkKind, plain: &ChunkPlain) -> bool {
        let len = plain.bytes.len();
        if len < LEAST_BYTES {
            return false;
        }
        let mut state = lock(&self.state);
        if state.waiting.len() >= state.helpers || state.bytes + len > MOST_BYTES {
            return false;
        }
        let mut copy = state.spare.pop().unwrap_or_default();
        copy.bytes.extend_from_slice(&plain.bytes);
        copy.ends.extend_from_slice(&plain.ends);
        state.waiting.push_back(Taken { id, kind, plain: copy });
        state.bytes += len;
        drop(state);
        self.changed.notify_one();
        true
    }

    pub(super) fn next(&self) -> Next {
        let is_idle = |state: &mut State| state.waiting.is_empty() && state.finders > 0;
        let waited = self.changed.wait_timeout_while(lock(&self.state), PATIENCE, is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match state.waiting.pop_front() {
            Some(taken) => {
                state.bytes -= taken.plain.bytes.len();
                Next::Chunk(taken)
            }
            None if state.finders == 0 => Next::End,
            None => Next::Nothing,
        }
    }

    /// Takes back the memory of a chunk that is stored.
    pub(super) fn give_back(&self, mut plain: ChunkPlain) {
        plain.clear();
        let mut state = lock(&self.state);
        if state.spare.len() < state.helpers {
            state.spare.push(plain);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !lock(&self.state).waiting.is_empty() {
            self.shared.poison(&"a chunk was handed over and nobody stored it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{
        ChunkWriter,
        repository::testing::{World, begin, manifest},
    };

    fn long(n: u8) -> ChunkPlain {
        ChunkPlain::single(vec![n; LEAST_BYTES + usize::from(n)])
    }

    #[test]
    fn who_has_nothing_else_to_do_stores_what_others_find() {
        let (_world, repo) = World::new();
        let session = begin(&repo);
        let relay = session.relay().unwrap();
        let finder = relay.begin(1).unwrap();
        assert!(relay.begin(1).is_none(), "there are enough");
        let mut ids = Vec::new();
        std::thread::scope(|scope| {
            let helper = scope.spawn(|| {
                let mut writer = session.writer();
                let helped = writer.help(&relay, &|| false);
                writer.finish().and(helped)
            });
            while relay.helpers() == 0 && !helper.is_finished() {
                std::thread::yield_now();
            }
            let mut writer = session.writer();
            writer.hand_over_to(&relay);
            let first = writer.put(ChunkKind::Values, &long(0)).unwrap();
            assert!(first.new && first.stored_bytes == 0, "somebody else stores it");
            assert!(!session.are_durable(&writer.take_shares()), "and it does not count as stored before it is");
            ids.push(first.id);
            for n in 1..40 {
                ids.push(writer.put(ChunkKind::Values, &long(n % 30)).unwrap().id);
            }
            let small = writer.put(ChunkKind::Values, &ChunkPlain::single(vec![1; 100])).unwrap();
            assert!(small.stored_bytes > 0, "not worth it");
            writer.finish().unwrap();
            drop(finder);
            assert!(helper.join().unwrap().unwrap(), "nobody brings any more");
        });
        assert_eq!(session.stats().chunks_new, 31);
        session.flush().unwrap();
        assert!(session.are_durable(&ids));
        drop(relay);
        let id = session.id();
        session.commit(&manifest(id, 100)).unwrap();
        for (n, id) in ids.iter().enumerate() {
            let read = repo.chunks().read(ChunkKind::Values, id).unwrap().plain().unwrap();
            assert_eq!(read, long(n as u8 % 30));
        }
    }

    #[test]
    fn nothing_is_committed_if_a_chunk_was_handed_over_and_nobody_stored_it() {
        let (_world, repo) = World::new();
        let session = begin(&repo);
        let relay = session.relay().unwrap();
        let mut writer = session.writer();
        writer.hand_over_to(&relay);
        assert!(writer.put(ChunkKind::Values, &long(1)).unwrap().stored_bytes > 0, "nobody helps");
        let helping = relay.help();
        assert_eq!(writer.put(ChunkKind::Values, &long(2)).unwrap().stored_bytes, 0);
        assert!(writer.put(ChunkKind::Values, &long(3)).unwrap().stored_bytes > 0, "one waits already");
        writer.finish().unwrap();
        drop(helping);
        drop(relay);
        let id = session.id();
        let error = session.commit(&manifest(id, 100)).unwrap_err();
        assert!(error.to_string().contains("nobody stored it"), "{error}");
    }

    #[test]
    fn a_helper_is_let_go_when_it_is_wanted_elsewhere() {
        let (_world, repo) = World::new();
        let session = begin(&repo);
        let relay = session.relay().unwrap();
        let _finder = relay.begin(1);
        let mut writer = session.writer();
        assert!(!writer.help(&relay, &|| true).unwrap());
        assert_eq!(relay.helpers(), 0);
        writer.finish().unwrap();
    }
}
