//! A window of consecutive partitions: asked for until each is complete, doubtful or missing.

use super::{
    account::{Account, partition},
    cluster::Node,
    error::Error,
    patience::{Obstacle, Patience},
    query::{Ask, End, Evidence, NotAsked, Outcome, Plan, Sink, Span},
    spare::{Buffers, Spare},
    wire::Buffer,
};
use crate::record::{Digest, KeyRange};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Nodes asked at once.
const MAX_NODES_AT_ONCE: usize = 8;

/// A partition that is asked for again and again pauses at most this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Times that a partition alone may differ from what its node says it sent.
const DIFFERING_TRIES: u8 = 2;

/// What came of one partition.
#[derive(Debug)]
pub(super) struct Part {
    /// Its records, in key order.
    pub(super) spans: Vec<Span>,
    /// Keys of which nothing may be concluded; said before its records.
    pub(super) unread: Option<KeyRange>,
}

/// Records in key order, in the buffers they were received into.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) buffers: Vec<Buffer>,
    pub(super) parts: Vec<Part>,
}

impl Piece {
    /// Keeps so many records, and drops the others.
    pub(super) fn keep_first(&mut self, most: u64) {
        let mut left = usize::try_from(most).unwrap_or(usize::MAX);
        for part in &mut self.parts {
            part.spans.truncate(left);
            left -= part.spans.len();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Pending,
    Done,
    Missing,
}

/// A partition on its way.
struct State {
    pid: u16,
    last: Option<Digest>,
    spans: Vec<Span>,
    status: Status,
    progress: Instant,
    reason: String,
    /// What stood in the way of the last try.
    obstacle: Option<Obstacle>,
    /// Whether somebody was asked then, and not only known to have been waited for in vain.
    asked: bool,
    /// What else than a silent node stood in its way before.
    met_before: Option<Obstacle>,
    alone: bool,
    /// The copy that was asked did not do: the master is.
    of_master: bool,
    differed: u8,
    doubt: bool,
}

/// Why a partition is not read though its node answers.
pub(super) const UNAVAILABLE: &str = "its node says that it is unavailable";

/// Why a partition is asked of nobody.
pub(super) const NO_MASTER: &str = "no node masters it";

impl State {
    fn meet(&mut self, patience: &Patience, obstacle: Obstacle, reason: &str) {
        patience.met(obstacle.clone(), reason);
        reason.clone_into(&mut self.reason);
        self.met_before = Some(obstacle.clone());
        self.obstacle = Some(obstacle);
    }
}

/// Reads windows.
pub(super) struct Windows<'a> {
    pub(super) plan: Plan<'a>,
    pub(super) account: &'a Account,
    pub(super) collection: usize,
    /// The most bytes of a window.
    pub(super) limit_bytes: usize,
    /// What is received into.
    pub(super) spare: &'a Spare,
}

/// What came of one query of a window.
struct Answered {
    node: Arc<Node>,
    asked: Vec<Ask>,
    outcome: Outcome,
    received: Received,
}

/// What one query of a window received.
struct Received {
    buffers: Buffers,
    /// By partition, from the first one asked for.
    slots: Vec<Option<Slot>>,
    first: u16,
    records: usize,
    limit_bytes: usize,
}

struct Slot {
    last: Option<Digest>,
    spans: Vec<Span>,
}

impl Received {
    fn new(asks: &[Ask], limit_bytes: usize, spare: &Spare) -> Self {
        let first = asks.iter().map(|ask| ask.pid).min().unwrap_or(0);
        let mut slots = Vec::new();
        for ask in asks {
            let at = usize::from(ask.pid - first);
            if slots.len() <= at {
                slots.resize_with(at + 1, || None);
            }
            slots[at] = Some(Slot { last: ask.after, spans: Vec::new() });
        }
        Self { buffers: Buffers::of(spare), slots, first, records: 0, limit_bytes }
    }

    fn slot(&self, pid: u16) -> Option<&Slot> {
        self.slots.get(usize::from(pid.checked_sub(self.first)?))?.as_ref()
    }
}

impl Sink for Received {
    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    #[inline]
    fn record(&mut self, pid: u16, digest: Digest, span: Span) {
        let at = usize::from(pid.wrapping_sub(self.first));
        if let Some(Some(slot)) = self.slots.get_mut(at) {
            slot.last = Some(digest);
            slot.spans.push(span);
            self.records += 1;
        }
    }

    fn room(&mut self) -> Result<bool, Error> {
        Ok(self.buffers.bytes() + self.records * size_of::<Span>() <= self.limit_bytes)
    }

    #[inline]
    fn last(&self, pid: u16) -> Result<Option<Digest>, NotAsked> {
        self.slot(pid).map(|slot| slot.last).ok_or(NotAsked)
    }
}

impl Windows<'_> {
    /// Reads these partitions whole; `None` if they are more than the window may hold.
    pub(super) fn read(&self, asks: &[Ask]) -> Result<Option<Piece>, Error> {
        let mut window = Window::new(asks);
        let mut pauses = 0;
        while window.is_pending() {
            let began = Instant::now();
            let outcomes = self.ask_all(&window.groups(&self.plan))?;
            let mut progressed = false;
            for Answered { node, asked, outcome, received } in outcomes {
                if matches!(outcome.end, End::Overflow) {
                    return Ok(None);
                }
                progressed |= self.take(&mut window, &node, &asked, outcome, received);
            }
            if window.bytes() > self.limit_bytes {
                return Ok(None);
            }
            self.give_up(&mut window, began)?;
            if window.is_pending() {
                pauses = if progressed { 0 } else { pauses + 1 };
                self.pause(pauses)?;
            }
        }
        Ok(Some(self.finish(window)))
    }

    /// Partitions that have made no progress for too long are missing, and so are those in whose way stands what was waited
    /// for already: unless somebody else masters them by now.
    fn give_up(&self, window: &mut Window, round: Instant) -> Result<(), Error> {
        // Who masters what is looked for where a wait ends, and not once for every window behind it.
        if window.lost_hope(round, self.plan.patience).any(|state| state.asked) {
            self.look_around()?;
        }
        for state in window.lost_hope(round, self.plan.patience) {
            if state.obstacle.as_ref().is_some_and(|met| self.is_of_another(state.pid, state.of_master, met)) {
                state.progress = Instant::now();
            } else {
                state.status = Status::Missing;
            }
        }
        Ok(())
    }

    /// Waits before another try, with a fresh map.
    pub(super) fn pause(&self, pauses: u32) -> Result<(), Error> {
        if pauses > 0 {
            self.plan.stop.sleep((Duration::from_millis(25) * (1 << pauses.min(7))).min(LONGEST_PAUSE));
        }
        self.look_around()
    }

    /// Fetches a fresh map.
    pub(super) fn look_around(&self) -> Result<(), Error> {
        if self.plan.stop.is_stopped() {
            return Err(Error::Stopped);
        }
        match self.plan.cluster.refresh_soon() {
            Err(error) if !error.is_transient() && !matches!(error, Error::Info { .. }) => Err(error),
            // The old map serves until a node answers again.
            _ => Ok(()),
        }
    }

    fn ask_all(&self, groups: &[(Arc<Node>, Vec<Ask>)]) -> Result<Vec<Answered>, Error> {
        let at_once = groups.len().min(MAX_NODES_AT_ONCE);
        let one = |(node, asks): &(Arc<Node>, Vec<Ask>)| {
            let mut received = Received::new(asks, self.limit_bytes, self.spare);
            let outcome = self.plan.run(node, asks, at_once, &mut received)?;
            Ok(Answered { node: Arc::clone(node), asked: asks.clone(), outcome, received })
        };
        let mut all = Vec::with_capacity(groups.len());
        for some in groups.chunks(MAX_NODES_AT_ONCE) {
            if let [only] = some {
                all.push(one(only)?);
                continue;
            }
            let answers: Vec<Result<_, Error>> = std::thread::scope(|scope| {
                let handles: Vec<_> = some.iter().map(|group| scope.spawn(|| one(group))).collect();
                let join = |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().unwrap_or(Err(Error::Stopped));
                handles.into_iter().map(join).collect()
            });
            for answer in answers {
                all.push(answer?);
            }
        }
        Ok(all)
    }

    /// Adds what a query gave to the window; says whether that was anything.
    fn take(&self, window: &mut Window, node: &Node, asked: &[Ask], outcome: Outcome, received: Received) -> bool {
        let differs = match &outcome.evidence {
            Evidence::Differs(reason) => Some(reason.clone()),
            Evidence::Unknown(reason) => {
                self.account.unproven(self.collection, reason);
                None
            }
            Evidence::Sound => None,
        };
        if let (Some(reason), true) = (&differs, asked.len() > 1) {
            // Which of them it is shows when each is asked for alone.
            for ask in asked {
                let state = window.state(ask.pid);
                (state.alone, state.reason, state.progress) = (true, reason.clone(), Instant::now());
            }
            return true;
        }
        if let Some(reason) = differs {
            let state = window.state(asked[0].pid);
            state.differed += 1;
            // Its node answered: it is not waited for.
            state.progress = Instant::now();
            state.reason.clone_from(&reason);
            if state.differed < DIFFERING_TRIES {
                return true;
            }
            state.doubt = true;
            self.account.doubtful(self.collection, state.pid, &reason);
        }
        let mut progressed = received.records > 0;
        window.add(received);
        match outcome.end {
            End::Complete => {
                for ask in asked.iter().filter(|ask| !outcome.unavailable.contains(&ask.pid)) {
                    let state = window.state(ask.pid);
                    state.status = Status::Done;
                    if let Some(obstacle) = state.met_before.take() {
                        self.plan.patience.passed(&obstacle);
                    }
                }
                for pid in outcome.unavailable.iter().filter(|pid| asked.iter().any(|ask| ask.pid == **pid)) {
                    let state = window.state(*pid);
                    if self.turns_to_master(state.pid, &mut state.of_master, node) {
                        state.progress = Instant::now();
                        progressed = true;
                        continue;
                    }
                    state.meet(self.plan.patience, Obstacle::Unavailable(node.id.clone()), UNAVAILABLE);
                }
                progressed || outcome.unavailable.len() < asked.len()
            }
            End::Cut(error) => {
                for ask in asked {
                    let state = window.state(ask.pid);
                    if self.turns_to_master(state.pid, &mut state.of_master, node) {
                        (state.progress, state.reason) = (Instant::now(), error.to_string());
                        progressed = true;
                        continue;
                    }
                    (state.reason, state.obstacle) = (error.to_string(), Some(Obstacle::Node(node.id.clone())));
                    state.asked = !matches!(error, Error::GivenUp(_));
                }
                progressed
            }
            End::Overflow => false,
        }
    }

    /// Whether a partition was asked of a copy, which did not do, so that its master is asked from now on.
    pub(super) fn turns_to_master(&self, pid: u16, of_master: &mut bool, node: &Node) -> bool {
        if *of_master || self.plan.options.prefer_racks.is_empty() {
            return false;
        }
        *of_master = true;
        self.plan.cluster.map(self.plan.namespace).owner(pid).is_none_or(|owner| owner.id != node.id)
    }

    fn finish(&self, window: Window) -> Piece {
        let mut piece = Piece { buffers: window.buffers, parts: Vec::with_capacity(window.states.len()) };
        for state in window.states {
            let unread = match state.status {
                Status::Missing => {
                    self.account.missing(self.collection, state.pid, &state.reason);
                    Some(rest_of(state.pid, state.last))
                }
                _ if state.doubt => Some(partition(state.pid)),
                _ => None,
            };
            piece.parts.push(Part { spans: state.spans, unread });
        }
        piece
    }
}

/// The keys of a partition behind a digest.
pub(super) fn rest_of(pid: u16, last: Option<Digest>) -> KeyRange {
    let mut range = partition(pid);
    if let Some(last) = last {
        range.start = last.sort_key().to_vec();
        range.start.push(0);
    }
    range
}

struct Window {
    states: Vec<State>,
    buffers: Vec<Buffer>,
}

impl Window {
    fn new(asks: &[Ask]) -> Self {
        let now = Instant::now();
        let states = asks
            .iter()
            .map(|ask| State {
                pid: ask.pid,
                last: ask.after,
                spans: Vec::new(),
                status: Status::Pending,
                progress: now,
                reason: String::new(),
                obstacle: None,
                asked: false,
                met_before: None,
                alone: false,
                of_master: false,
                differed: 0,
                doubt: false,
            })
            .collect();
        Self { states, buffers: Vec::new() }
    }

    fn is_pending(&self) -> bool {
        self.states.iter().any(|state| state.status == Status::Pending)
    }

    fn bytes(&self) -> usize {
        self.buffers.iter().map(Buffer::len).sum()
    }

    /// Partitions are consecutive only until some are left out: found by search.
    fn state(&mut self, pid: u16) -> &mut State {
        let at = self.states.partition_point(|state| state.pid < pid).min(self.states.len() - 1);
        &mut self.states[at]
    }

    /// What to ask whom: one query a node, and one for each partition that is to be asked for alone.
    fn groups(&mut self, plan: &Plan<'_>) -> Vec<(Arc<Node>, Vec<Ask>)> {
        let map = plan.cluster.map(plan.namespace);
        let mut groups: Vec<(Arc<Node>, Vec<Ask>)> = Vec::new();
        let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
        for state in self.states.iter_mut().filter(|state| state.status == Status::Pending) {
            (state.obstacle, state.asked) = (None, false);
            let chosen = if state.of_master { map.owner(state.pid) } else { map.reader(state.pid) };
            let Some(owner) = chosen else {
                state.meet(plan.patience, Obstacle::NoMaster, NO_MASTER);
                continue;
            };
            let ask = Ask { pid: state.pid, after: state.last };
            if state.alone {
                groups.push((Arc::clone(owner), vec![ask]));
                continue;
            }
            let at = *by_node.entry(owner.id.clone()).or_insert_with(|| {
                groups.push((Arc::clone(owner), Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(ask);
        }
        groups
    }

    fn add(&mut self, mut received: Received) {
        let shift = self.buffers.len() as u32;
        self.buffers.append(&mut received.buffers.take());
        let now = Instant::now();
        for (at, slot) in received.slots.into_iter().enumerate() {
            let Some(slot) = slot.filter(|slot| !slot.spans.is_empty()) else { continue };
            let state = self.state(received.first + at as u16);
            let shifted = slot.spans.into_iter().map(|span| Span { buffer: span.buffer + shift, ..span });
            state.spans.extend(shifted);
            state.last = slot.last;
            state.progress = now;
        }
    }

    /// Partitions that have made no progress for too long, and those in whose way stands what was waited for already.
    fn lost_hope<'a>(&'a mut self, round: Instant, patience: &'a Patience) -> impl Iterator<Item = &'a mut State> {
        self.states.iter_mut().filter(move |state| {
            let is_over = || state.obstacle.as_ref().is_some_and(|obstacle| patience.is_over(obstacle));
            let is_stalled = state.status == Status::Pending && state.progress <= round;
            is_stalled && (is_over() || state.progress.elapsed() >= patience.timeout())
        })
    }
}
