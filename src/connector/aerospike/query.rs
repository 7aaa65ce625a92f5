//! One query over some partitions of one node: sent, received, noted, and checked against what the node says it sent.

use super::{
    cluster::{Cluster, Node},
    connection::Connection,
    error::Error,
    info,
    options::AerospikeOptions,
    pace::Pace,
    patience::{Asking, Obstacle, Patience},
    select::{Selection, updated_before, updated_since},
    spare::Buffers,
    stop::Stop,
    wire::{GET_ALL, LAST, Message, NO_BINS, PARTITION_DONE, READ, Request, WireError, field},
};
use crate::record::{Digest, Timestamp};
use std::time::{Duration, Instant};

/// The operation that reads a bin.
const OP_READ: u8 = 1;

/// The result of what took too long.
const TIMED_OUT: u8 = 9;

/// Times that `query-show` is asked until the query is over.
const SHOW_TRIES: u32 = 20;

/// Which records of a partition are wanted, and what of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All, whole.
    Full,
    /// Those updated at or after this, whole.
    Since(Timestamp),
    /// All, without bins.
    Meta,
    /// Those updated before this, without bins.
    MetaBefore(Timestamp),
}

impl Mode {
    /// Whether no bins are wanted.
    const fn is_meta(self) -> bool {
        matches!(self, Self::Meta | Self::MetaBefore(_))
    }

    /// What it demands of a record's last update.
    fn times(self) -> Option<Vec<u8>> {
        match self {
            Self::Full | Self::Meta => None,
            Self::Since(time) => Some(updated_since(time)),
            Self::MetaBefore(time) => Some(updated_before(time)),
        }
    }
}

/// A partition to read, from its beginning or behind a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) pid: u16,
    pub(super) after: Option<Digest>,
}

/// Where a record lies in the receive buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) buffer: u32,
    pub(super) at: u32,
    pub(super) len: u32,
}

/// How a query ended.
#[derive(Debug)]
pub(super) enum End {
    /// With the end message and result 0.
    Complete,
    /// Without an end message, or with an error that goes away.
    Cut(Error),
    /// More came than there is room for.
    Overflow,
}

/// Whether what came is what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The node's counts say so.
    Sound,
    /// They say otherwise.
    Differs(String),
    /// The node does not tell.
    Unknown(String),
}

/// What came of a query.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) evidence: Evidence,
    /// Partitions that the node could not read.
    pub(super) unavailable: Vec<u16>,
}

/// A partition that was not asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotAsked;

/// Takes what a query receives.
pub(super) trait Sink {
    /// Where what is received is kept.
    fn buffers(&mut self) -> &mut Buffers;
    /// A record of a partition.
    fn record(&mut self, pid: u16, digest: Digest, span: Span);
    /// Called after each frame; `false` ends the query for want of room.
    fn room(&mut self) -> Result<bool, Error>;
    /// The last digest seen of a partition.
    fn last(&self, pid: u16) -> Result<Option<Digest>, NotAsked>;
}

/// What all queries of a stream share.
pub(super) struct Plan<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    pub(super) selection: &'a Selection,
    pub(super) options: &'a AerospikeOptions,
    pub(super) mode: Mode,
    /// How fast all that run may read together.
    pub(super) pace: &'a Pace,
    pub(super) patience: &'a Patience,
    /// The most records; 0 for all.
    pub(super) max_records: u64,
    pub(super) stop: &'a Stop,
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Plan<'_> {
    /// The frame of a query.
    fn request(&self, id: u64, asks: &[Ask], records_per_second: u32) -> Vec<u8> {
        let mut request = Request::default().field(field::NAMESPACE, self.namespace.as_bytes());
        if let Some(set) = &self.selection.set {
            request = request.field(field::SET, set);
        }
        if records_per_second > 0 {
            request = request.field(field::RECORDS_PER_SECOND, &records_per_second.to_be_bytes());
        }
        request = request.field(field::SOCKET_TIMEOUT, &millis(self.options.socket_timeout).to_be_bytes());
        request = request.field(field::QUERY_ID, &id.to_be_bytes());
        if let Some(filter) = self.selection.filter(self.mode.times()) {
            request = request.field(field::FILTER, &filter);
        }
        let (mut whole, mut begun) = (Vec::new(), Vec::new());
        for ask in asks {
            match ask.after {
                None => whole.extend_from_slice(&ask.pid.to_le_bytes()),
                Some(digest) => begun.extend_from_slice(&digest.0),
            }
        }
        if !whole.is_empty() {
            request = request.field(field::PARTITIONS, &whole);
        }
        if !begun.is_empty() {
            request = request.field(field::AFTER, &begun);
        }
        if self.max_records > 0 {
            request = request.field(field::MAX_RECORDS, &self.max_records.to_be_bytes());
        }
        let info1 = match self.mode {
            Mode::Meta | Mode::MetaBefore(_) => READ | NO_BINS,
            _ if self.selection.bins.is_empty() => READ | GET_ALL,
            _ => READ,
        };
        if !self.mode.is_meta() {
            for bin in &self.selection.bins {
                request = request.op(OP_READ, bin, &[]);
            }
        }
        request.encode(info1, PARTITION_DONE, millis(self.options.total_timeout))
    }

    /// Runs one query, of so many that run at once for one reader. A node that was waited for long enough is not asked.
    ///
    /// # Errors
    /// Those that no further try mends.
    pub(super) fn run(&self, node: &Node, asks: &[Ask], at_once: usize, sink: &mut dyn Sink) -> Result<Outcome, Error> {
        if let Some(reason) = self.patience.given_up(&node.id) {
            let end = End::Cut(Error::GivenUp(reason));
            return Ok(Outcome { end, evidence: Evidence::Sound, unavailable: Vec::new() });
        }
        let mut received = 0;
        let obstacle = Obstacle::Node(node.id.clone());
        let asking = self.patience.asking(obstacle.clone());
        let outcome = self.run_once(node, asks, at_once, sink, (&asking, &mut received))?;
        if received > 0 || !matches!(&outcome.end, End::Cut(_)) {
            self.patience.passed(&obstacle);
        }
        match &outcome.end {
            // One that gave something and then nothing more has been silent since then.
            End::Cut(error) if received == 0 || error.is_timeout() => asking.failed(&error.to_string()),
            _ => {}
        }
        Ok(outcome)
    }

    fn run_once(
        &self,
        node: &Node,
        asks: &[Ask],
        at_once: usize,
        sink: &mut dyn Sink,
        (asking, received): (&Asking<'_>, &mut u64),
    ) -> Result<Outcome, Error> {
        let cut = |error| Outcome { end: End::Cut(error), evidence: Evidence::Sound, unavailable: Vec::new() };
        let (mut connection, was_idle) = match self.cluster.connection(node) {
            Ok(opened) => opened,
            Err(error) if error.is_transient() => return Ok(cut(error)),
            Err(error) => return Err(error),
        };
        let id = query_id();
        self.stop.watch(id, &connection);
        let mut unavailable = Vec::new();
        let lease = self.pace.lease(at_once);
        asking.goes_on();
        let request = self.request(id, asks, lease.rate());
        let mut sent = connection.send(&request);
        if sent.is_err() && was_idle {
            // The other side closed an idle connection: no reason to wait.
            match self.cluster.connection(node) {
                Ok((fresh, _)) => {
                    connection = fresh;
                    self.stop.watch(id, &connection);
                    sent = connection.send(&request);
                }
                Err(error) => sent = Err(error),
            }
        }
        let end = sent.and_then(|()| self.receive(&mut connection, sink, &mut unavailable, (asking, received)));
        self.stop.forget(id);
        if self.stop.is_stopped() {
            return Err(Error::Stopped);
        }
        match end {
            Ok(End::Complete) => {
                asking.goes_on();
                let evidence = self.check(&mut connection, id, *received);
                Cluster::give_back(node, connection);
                Ok(Outcome { end: End::Complete, evidence, unavailable })
            }
            Ok(end) => Ok(Outcome { end, evidence: Evidence::Sound, unavailable }),
            Err(error) if error.is_transient() => {
                let evidence = if *received > 0 { self.check_cut(node, id) } else { Evidence::Sound };
                Ok(Outcome { end: End::Cut(error), evidence, unavailable })
            }
            Err(error) => Err(error),
        }
    }

    fn receive(
        &self,
        connection: &mut Connection,
        sink: &mut dyn Sink,
        unavailable: &mut Vec<u16>,
        (asking, received): (&Asking<'_>, &mut u64),
    ) -> Result<End, Error> {
        let total = self.options.total_timeout;
        let until = if total.is_zero() { None } else { Instant::now().checked_add(total) };
        loop {
            if self.stop.is_stopped() {
                return Err(Error::Stopped);
            }
            // A node that keeps to it ends the query itself; one that does not is left, and what came counts.
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(connection.refused("the query within its total timeout", TIMED_OUT));
            }
            let (mut buffer, number) = sink.buffers().open();
            let begin = buffer.len();
            // What came of a frame without its end is nothing.
            asking.goes_on();
            let ended = connection.receive_messages(&mut buffer).and_then(|()| {
                asking.heard();
                let frame = Frame { bytes: buffer.bytes(), begin, number };
                note(&frame, sink, unavailable, received).map_err(|error| connection.invalid(error))
            });
            sink.buffers().close(number, buffer);
            match ended? {
                Some(0) => return Ok(End::Complete),
                Some(code) => return Err(connection.refused("the query", code)),
                None => {}
            }
            if !sink.room()? {
                return Ok(End::Overflow);
            }
        }
    }

    /// Asks the node what it sent.
    fn check(&self, connection: &mut Connection, id: u64, received: u64) -> Evidence {
        let command = format!("query-show:trid={id}");
        for attempt in 0..SHOW_TRIES {
            let answer = match connection.info(&[&command]) {
                Ok(answers) => answers.text(&command).unwrap_or_default().to_owned(),
                Err(error) => return Evidence::Unknown(error.to_string()),
            };
            let Some(counts) = info::parse_query_show(&answer) else {
                let node = connection.address();
                let said: String = answer.chars().take(100).collect();
                return Evidence::Unknown(format!("node {node} does not tell what it sent (`query-show`: {said})"));
            };
            if counts.done && counts.failed > 0 {
                return Evidence::Differs(format!("{} records could not be read by the node", counts.failed));
            }
            if counts.done && counts.succeeded == received {
                return Evidence::Sound;
            }
            if counts.done {
                return Evidence::Differs(format!("the node sent {} records, {received} came", counts.succeeded));
            }
            self.stop.sleep(Duration::from_millis(1 << attempt.min(6)));
        }
        Evidence::Unknown("the node never says that the query is over".to_owned())
    }

    /// Whether a query that was cut had met records that it could not read.
    fn check_cut(&self, node: &Node, id: u64) -> Evidence {
        let command = format!("query-show:trid={id}");
        let counts = self
            .cluster
            .at_once(node, &mut |connection| connection.info(&[&command]))
            .map(|answers| answers.text(&command).and_then(info::parse_query_show));
        match counts {
            Ok(Some(counts)) if counts.failed > 0 => {
                Evidence::Differs(format!("{} records could not be read by the node", counts.failed))
            }
            _ => Evidence::Sound,
        }
    }
}

/// A frame in the buffer that it was received into.
struct Frame<'a> {
    bytes: &'a [u8],
    begin: usize,
    /// The buffer's number.
    number: u32,
}

/// Hands the records of a frame to a sink; gives the result of the end message if there is one.
fn note(
    frame: &Frame<'_>,
    sink: &mut dyn Sink,
    unavailable: &mut Vec<u16>,
    received: &mut u64,
) -> Result<Option<u8>, WireError> {
    let mut at = frame.begin;
    while at < frame.bytes.len() {
        let (message, len) = Message::parse(&frame.bytes[at..])?;
        if message.info3 & LAST != 0 {
            return Ok(Some(message.result));
        }
        if message.info3 & PARTITION_DONE != 0 {
            if message.result != 0 {
                let pid = u16::try_from(message.generation).map_err(|_| WireError::Invalid("a partition id"))?;
                unavailable.push(pid);
            }
        } else if message.result != 0 {
            return Ok(Some(message.result));
        } else {
            let digest = message.digest.ok_or(WireError::Invalid("a record without a digest: the fields"))?;
            let pid = digest.partition();
            let last =
                sink.last(pid).map_err(|NotAsked| WireError::Invalid("a record of another partition: the digest"))?;
            if last.is_some_and(|last| last.0 <= digest.0) {
                return Err(WireError::Invalid("the order of digests"));
            }
            *received += 1;
            sink.record(pid, digest, Span { buffer: frame.number, at: at as u32, len: len as u32 });
        }
        at += len;
    }
    Ok(None)
}

/// A fresh id: servers mix up queries that share one.
pub(super) fn query_id() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the clock still gives ids that differ from those of a moment ago.
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (now.as_nanos() as u64).to_le_bytes();
    }
    (u64::from_le_bytes(bytes) >> 1).max(1)
}
