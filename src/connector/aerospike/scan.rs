//! Reading a key range: partition after partition, in windows while they are small, in pieces when they are large.

use super::{
    account::{Account, partition},
    cluster::Cluster,
    error::Error,
    options::AerospikeOptions,
    pace::Pace,
    patience::{Obstacle, Patience},
    query::{Ask, End, Evidence, Mode, NotAsked, Plan, Sink, Span},
    select::Selection,
    spare::{Buffers, Spare},
    stop::Stop,
    window::{NO_MASTER, Part, Piece, UNAVAILABLE, Windows, rest_of},
    wire::Buffer,
};
use crate::record::{Digest, KeyRange, digest::PARTITIONS};
use crossbeam_channel::Sender;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// The most partitions of one window.
const MAX_WIDTH: usize = 512;

/// The first window, before anything is known of sizes.
const FIRST_WIDTH: usize = 16;

/// What reading a namespace needs; shared by all its streams.
#[derive(Debug, Clone)]
pub(super) struct ScanContext {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) collection: usize,
    pub(super) selection: Arc<Selection>,
    pub(super) options: Arc<AerospikeOptions>,
    pub(super) account: Arc<Account>,
    /// Bytes of a window, as planned.
    pub(super) window_bytes: usize,
    /// How fast all that run may read together.
    pub(super) pace: Arc<Pace>,
    /// What is waited for.
    pub(super) patience: Arc<Patience>,
    /// Records that may still be read, where there is a limit.
    pub(super) remaining: Option<Arc<AtomicU64>>,
    /// Records of a partition, about.
    pub(super) partition_records: u64,
    /// Ends what is asked for by key.
    pub(super) stop: Arc<Stop>,
}

/// One partition with the keys of it that are wanted.
struct Wanted {
    ask: Ask,
    /// Set where only some keys of the partition are wanted.
    clip: Option<KeyRange>,
}

/// What the receiving thread hands over.
pub(super) enum Item {
    Piece(Piece, Vec<Option<KeyRange>>),
    End,
}

impl ScanContext {
    /// The partitions of a range, as far as they are asked for.
    fn wanted(&self, range: &KeyRange) -> Vec<Wanted> {
        let ranges: Vec<KeyRange> = self.selection.ranges.iter().filter_map(|part| part.intersection(range)).collect();
        let mut all = Vec::new();
        for pid in 0..PARTITIONS {
            let whole = partition(pid);
            for part in ranges.iter().filter_map(|part| part.intersection(&whole)) {
                if part == whole {
                    all.push(Wanted { ask: Ask { pid, after: None }, clip: None });
                    continue;
                }
                let behind = part.start.split_last().filter(|(last, _)| **last == 0);
                let after = behind.and_then(|(_, key)| Digest::from_sort_key(key));
                all.push(Wanted { ask: Ask { pid, after }, clip: Some(part) });
            }
        }
        all
    }

    fn windows<'a>(&'a self, mode: Mode, stop: &'a Stop, spare: &'a Spare) -> Windows<'a> {
        Windows {
            plan: Plan {
                cluster: &self.cluster,
                namespace: &self.namespace,
                selection: &self.selection,
                options: &self.options,
                mode,
                pace: &self.pace,
                patience: &self.patience,
                max_records: 0,
                stop,
            },
            account: &self.account,
            collection: self.collection,
            limit_bytes: 2 * self.window_bytes,
            spare,
        }
    }

    /// Reads a range to its end, and hands over what comes, in buffers that come back as spare ones.
    pub(super) fn produce(
        &self,
        range: &KeyRange,
        mode: Mode,
        stop: &Stop,
        spare: &Spare,
        sender: &Sender<Result<Item, Error>>,
    ) -> Result<(), Error> {
        let send = |item: Item| sender.send(Ok(item)).map_err(|_| Error::Stopped);
        let wanted = self.wanted(range);
        let mut windows = self.windows(mode, stop, spare);
        let mut width = FIRST_WIDTH;
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let most = match self.remaining.as_ref().map(|remaining| remaining.load(Ordering::Relaxed)) {
                None => u64::MAX,
                Some(0) => break,
                Some(left) => left,
            };
            windows.plan.max_records = if most == u64::MAX { 0 } else { most };
            // Two parts of one partition cannot share a window.
            let fits = rest.windows(2).take_while(|pair| pair[0].ask.pid < pair[1].ask.pid).count() + 1;
            let (now, later) = rest.split_at(width.min(fits).min(rest.len()));
            let asks: Vec<Ask> = now.iter().map(|wanted| wanted.ask).collect();
            let whole = if now.len() > 1 { windows.read(&asks)? } else { None };
            let (bytes, records) = match whole {
                Some(mut piece) => {
                    piece.keep_first(most);
                    let bytes = piece.buffers.iter().map(Buffer::len).sum::<usize>();
                    let records = piece.parts.iter().map(|part| part.spans.len()).sum::<usize>();
                    send(Item::Piece(piece, now.iter().map(|wanted| wanted.clip.clone()).collect()))?;
                    (bytes, records)
                }
                None => self.in_pieces(&windows, now, most, &send)?,
            };
            if let Some(remaining) = &self.remaining {
                let take = |left: u64| Some(left.saturating_sub(records as u64));
                // The closure always gives a value.
                let _ = remaining.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            }
            let average = (bytes / now.len()).max(1);
            width = (self.window_bytes / average).clamp(1, MAX_WIDTH.min(4 * width.max(1)));
            rest = later;
        }
        send(Item::End)
    }

    /// Reads partitions one by one, handing over what came as soon as it is enough.
    fn in_pieces(
        &self,
        windows: &Windows<'_>,
        wanted: &[Wanted],
        most: u64,
        send: &dyn Fn(Item) -> Result<(), Error>,
    ) -> Result<(usize, usize), Error> {
        let (mut bytes, mut records) = (0, 0);
        for wanted in wanted {
            let left = most - records as u64;
            if left == 0 {
                break;
            }
            let mut pieces = Pieces {
                pid: wanted.ask.pid,
                clip: wanted.clip.clone(),
                last: wanted.ask.after,
                buffers: Buffers::of(windows.spare),
                spans: Vec::new(),
                limit_bytes: self.window_bytes,
                most: left,
                send,
                bytes: 0,
                records: 0,
            };
            windows.stream(&mut pieces)?;
            bytes += pieces.bytes;
            records += pieces.records;
        }
        Ok((bytes, records))
    }
}

/// Receives one partition in pieces.
struct Pieces<'a> {
    pid: u16,
    clip: Option<KeyRange>,
    last: Option<Digest>,
    buffers: Buffers,
    spans: Vec<Span>,
    limit_bytes: usize,
    most: u64,
    send: &'a dyn Fn(Item) -> Result<(), Error>,
    bytes: usize,
    records: usize,
}

impl Pieces<'_> {
    fn flush(&mut self, unread: Option<KeyRange>) -> Result<(), Error> {
        let part = Part { spans: std::mem::take(&mut self.spans), unread };
        self.bytes += self.buffers.bytes();
        let piece = Piece { buffers: self.buffers.take(), parts: vec![part] };
        (self.send)(Item::Piece(piece, vec![self.clip.clone()]))
    }
}

impl Sink for Pieces<'_> {
    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    fn record(&mut self, _: u16, digest: Digest, span: Span) {
        self.last = Some(digest);
        if (self.records as u64) < self.most {
            self.spans.push(span);
            self.records += 1;
        }
    }

    fn room(&mut self) -> Result<bool, Error> {
        if self.buffers.bytes() >= self.limit_bytes {
            self.flush(None)?;
        }
        Ok(true)
    }

    fn last(&self, pid: u16) -> Result<Option<Digest>, NotAsked> {
        (pid == self.pid).then_some(self.last).ok_or(NotAsked)
    }
}

impl Windows<'_> {
    /// Whether a partition is to be asked of another node by now, which was not waited for in vain.
    pub(super) fn is_of_another(&self, pid: u16, of_master: bool, obstacle: &Obstacle) -> bool {
        let map = self.plan.cluster.map(self.plan.namespace);
        let chosen = if of_master { map.owner(pid) } else { map.reader(pid) };
        let Obstacle::Node(id) = obstacle else { return false };
        chosen.is_some_and(|node| node.id != *id && !self.plan.patience.has_given_up(&node.id))
    }

    /// Reads one partition to its end, continuing where a query was cut.
    fn stream(&self, pieces: &mut Pieces<'_>) -> Result<(), Error> {
        let mut progress = Instant::now();
        let mut pauses = 0;
        let mut met: Option<Obstacle> = None;
        let mut of_master = false;
        loop {
            let before = pieces.last;
            let asks = [Ask { pid: pieces.pid, after: pieces.last }];
            let map = self.plan.cluster.map(self.plan.namespace);
            let chosen = if of_master { map.owner(pieces.pid) } else { map.reader(pieces.pid) };
            let mut asked = false;
            let (reason, obstacle) = match chosen {
                None => {
                    self.plan.patience.met(Obstacle::NoMaster, NO_MASTER);
                    (NO_MASTER.to_owned(), Obstacle::NoMaster)
                }
                Some(owner) => {
                    let node = Obstacle::Node(owner.id.clone());
                    let outcome = self.plan.run(owner, &asks, 1, pieces)?;
                    match outcome.evidence {
                        // Deletions are decided before this is known: the range is joined again without them.
                        Evidence::Differs(reason) => self.account.doubtful(self.collection, pieces.pid, &reason),
                        Evidence::Unknown(reason) => self.account.unproven(self.collection, &reason),
                        Evidence::Sound => {}
                    }
                    match outcome.end {
                        End::Complete if outcome.unavailable.is_empty() => {
                            if let Some(obstacle) = met {
                                self.plan.patience.passed(&obstacle);
                            }
                            return pieces.flush(None);
                        }
                        End::Complete | End::Cut(_) if self.turns_to_master(pieces.pid, &mut of_master, owner) => {
                            progress = Instant::now();
                            continue;
                        }
                        End::Complete => {
                            let unavailable = Obstacle::Unavailable(owner.id.clone());
                            self.plan.patience.met(unavailable.clone(), UNAVAILABLE);
                            (UNAVAILABLE.to_owned(), unavailable)
                        }
                        End::Cut(error) => {
                            asked = !matches!(error, Error::GivenUp(_));
                            (error.to_string(), node)
                        }
                        End::Overflow => ("it does not fit".to_owned(), node),
                    }
                }
            };
            met = Some(obstacle.clone()).filter(|obstacle| !matches!(obstacle, Obstacle::Node(_)));
            if pieces.last != before {
                (progress, pauses) = (Instant::now(), 0);
            } else if progress.elapsed() >= self.plan.patience.timeout() || self.plan.patience.is_over(&obstacle) {
                if asked {
                    self.look_around()?;
                }
                if self.is_of_another(pieces.pid, of_master, &obstacle) {
                    progress = Instant::now();
                    continue;
                }
                self.account.missing(self.collection, pieces.pid, &reason);
                let rest = rest_of(pieces.pid, pieces.last);
                return pieces.flush(Some(rest));
            } else {
                pauses += 1;
            }
            self.pause(pauses)?;
        }
    }
}
