//! Reading ahead: the frames of chunks that will be asked for next are on their way before they are asked for, neighbours in a
//! pack as one range. What goes wrong here is not told here: the chunk is then read as if nobody had announced it.

use super::Inner;
use crate::repo::{ChunkData, ChunkId, ChunkKind, catalog::ChunkPlace, chunk::ReadAhead, pack, storage::Begun};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

/// What all who read ahead in one repository may hold together.
const ALL_BYTES: u64 = 64 * 1024 * 1024;

/// What one of them begins with, by how much it grows each time it is filled, and the most that it may hold.
const FIRST_WINDOW: u64 = 1024 * 1024;
const WINDOW_GROWTH: u64 = 4;
const LARGEST_WINDOW: u64 = 16 * 1024 * 1024;

/// One request is for no more than this.
const RANGE_BYTES: u64 = 4 * 1024 * 1024;

/// So many bytes that nobody wants are read for the sake of one request less: what a line carries in a fraction of the time
/// that a request takes.
const GAP_BYTES: u64 = 128 * 1024;

/// Neighbours in one pack, fetched as one range.
struct Group {
    path: String,
    start: u64,
    end: u64,
    /// Announced chunks in it that were neither taken nor given up.
    left: usize,
    state: State,
}

enum State {
    /// Still grows.
    Open,
    Sent(Begun),
    Here(Vec<u8>),
    Failed,
}

struct Announced {
    kind: ChunkKind,
    id: ChunkId,
    place: ChunkPlace,
    /// The number of its group.
    group: u64,
}

/// What one walk has announced.
pub(super) struct Ahead {
    inner: Arc<Inner>,
    announced: VecDeque<Announced>,
    groups: VecDeque<Group>,
    /// The number of the first of `groups`.
    first_group: u64,
    /// Groups that still grow: at most one for each pack that the walk goes through just now.
    open: Vec<u64>,
    held: u64,
    window: u64,
    /// Whether what lies in the cache need not be fetched.
    is_cached: bool,
}

impl Ahead {
    pub(super) fn new(inner: Arc<Inner>, is_cached: bool) -> Self {
        Self {
            inner,
            is_cached,
            announced: VecDeque::new(),
            groups: VecDeque::new(),
            first_group: 0,
            open: Vec::new(),
            held: 0,
            window: FIRST_WINDOW,
        }
    }

    fn group(&mut self, number: u64) -> Option<&mut Group> {
        let at = number.checked_sub(self.first_group)?;
        self.groups.get_mut(usize::try_from(at).ok()?)
    }

    fn hold(&mut self, bytes: u64) {
        self.held += bytes;
        self.inner.read_ahead.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&mut self, bytes: u64) {
        self.held -= bytes;
        self.inner.read_ahead.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The group that a frame joins: the one that ends shortly before it in the same pack, or a new one.
    fn join(&mut self, path: &str, start: u64, end: u64) -> u64 {
        for number in self.open.clone() {
            let Some(group) = self.group(number) else { continue };
            let fits = group.path == path
                && start >= group.end
                && start - group.end <= GAP_BYTES
                && end - group.start <= RANGE_BYTES;
            if fits {
                let more = end - group.end;
                group.end = end;
                group.left += 1;
                self.hold(more);
                return number;
            }
        }
        let number = self.first_group + self.groups.len() as u64;
        self.groups.push_back(Group { path: path.to_owned(), start, end, left: 1, state: State::Open });
        self.open.push(number);
        self.hold(end - start);
        number
    }

    /// One of a group's chunks is dealt with.
    fn leave(&mut self, number: u64) {
        let Some(group) = self.group(number) else { return };
        group.left -= 1;
        if group.left > 0 {
            return;
        }
        let bytes = group.end - group.start;
        group.state = State::Failed;
        self.open.retain(|open| *open != number);
        self.release(bytes);
        while self.groups.front().is_some_and(|group| group.left == 0) {
            self.groups.pop_front();
            self.first_group += 1;
        }
    }

    fn frame(&mut self, wanted: &Announced) -> Option<Vec<u8>> {
        let group = self.group(wanted.group)?;
        match std::mem::replace(&mut group.state, State::Failed) {
            State::Sent(begun) => group.state = begun.get().map_or(State::Failed, State::Here),
            other => group.state = other,
        }
        let State::Here(bytes) = &group.state else { return None };
        let start = usize::try_from(wanted.place.entry.offset - group.start).ok()?;
        bytes.get(start..start + wanted.place.entry.stored_len as usize).map(<[u8]>::to_vec)
    }
}

impl ReadAhead for Ahead {
    fn has_room(&self) -> bool {
        // Filled when half of it is used up, so that requests stay long.
        self.held <= self.window / 2 && self.inner.read_ahead.0.load(Ordering::Relaxed) < ALL_BYTES
    }

    fn announce(&mut self, kind: ChunkKind, id: &ChunkId) -> bool {
        let place = self.inner.first_place(id);
        let range = place.as_ref().and_then(|place| Some((place, Inner::frame_range(kind, place).ok()?)));
        if let Some((place, range)) = range
            && !(self.is_cached && self.inner.is_at_hand(place))
        {
            let group = self.join(&pack::path(&place.name), range.start, range.end);
            self.announced.push_back(Announced { kind, id: *id, place: place.clone(), group });
        }
        self.held < self.window && self.inner.read_ahead.0.load(Ordering::Relaxed) < ALL_BYTES
    }

    fn send(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open.is_empty() {
            return;
        }
        for number in open {
            let storage = self.inner.storage.clone();
            if let Some(group) = self.group(number)
                && matches!(group.state, State::Open)
            {
                group.state = State::Sent(storage.begin_read(&group.path, group.start..group.end));
            }
        }
        // One that has only asked for a single block has not shown yet that it goes on.
        if self.held * 2 >= self.window {
            self.window = (self.window * WINDOW_GROWTH).min(LARGEST_WINDOW);
        }
    }

    fn take(&mut self, kind: ChunkKind, id: &ChunkId) -> Option<ChunkData> {
        let at = self.announced.iter().position(|it| it.id == *id && it.kind == kind)?;
        // Those before it were passed over.
        for passed in self.announced.drain(..at).collect::<Vec<_>>() {
            self.leave(passed.group);
        }
        let wanted = self.announced.pop_front()?;
        let frame = self.frame(&wanted);
        self.leave(wanted.group);
        let frame = frame?;
        let data = self.inner.open_frame(&wanted.place, &frame).ok()?;
        self.inner.keep(&wanted.place, &frame);
        Some(data)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.release(self.held);
    }
}
