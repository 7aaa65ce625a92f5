//! Records asked for by their digests: whether they are there, many in one command, and what they are, by queries (only they
//! give out sets and stored keys): one by one where few of a partition are wanted, else together.

mod together;

use super::{
    cluster::{Cluster, Node},
    connection::Connection,
    decode::{Decoder, MONITOR_SET},
    error::Error,
    pace::Pace,
    patience::Obstacle,
    query::{Ask, End, Evidence, Mode, NotAsked, Plan, Sink, Span, query_id},
    scan::ScanContext,
    spare::Buffers,
    window::NO_MASTER,
    wire::{BATCH, Message, NO_BINS, READ, Request, WireError, field},
};
use crate::{
    connector::change::Presence,
    record::{Digest, RecordBatch},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Rows of one command.
const ROWS: usize = 500;

const NOT_FOUND: u8 = 2;
const FILTERED_OUT: u8 = 27;

/// All rows are to be answered, whatever their results.
const RESPOND_ALL_KEYS: u8 = 0x04;
/// A row that says what its predecessor said.
const REPEAT: u8 = 0x01;
/// A row that says how reading moves its expiry.
const HAS_TTL: u8 = 0x08;
/// Reading does not move it.
const NO_TOUCH: u32 = 0xffff_ffff;

/// Whether a record is there, or why nobody can say.
type IsThere = Result<bool, String>;

/// Reads these digests; adds what is there to the batch, in the order asked.
pub(super) fn read(context: &ScanContext, digests: &[Digest], batch: &mut RecordBatch) -> Result<Vec<Presence>, Error> {
    let mut is_there = Vec::with_capacity(digests.len());
    for some in digests.chunks(ROWS) {
        context.pace.spend(some.len(), &context.stop);
        is_there.extend(ask(context, some)?);
    }
    let there = digests.iter().zip(&is_there).filter(|(_, is_there)| **is_there == Ok(true));
    let there: Vec<Digest> = there.map(|(digest, _)| *digest).collect();
    let mut together = together::read(context, &there)?;
    let mut decoder = Decoder::default();
    let mut presences = Vec::with_capacity(digests.len());
    for (digest, is_there) in digests.iter().zip(is_there) {
        presences.push(match (is_there, together.take(digest)) {
            (Err(reason), _) => Presence::Unknown(reason),
            (Ok(false), _) => Presence::Absent,
            (Ok(true), Some(found)) => found.finish(digest, &mut decoder, batch)?,
            (Ok(true), None) => {
                context.pace.spend(1, &context.stop);
                fetch(context, digest, &mut decoder, batch)?
            }
        });
    }
    Ok(presences)
}

/// Asks the owners until all have answered or time is up.
fn ask(context: &ScanContext, digests: &[Digest]) -> Result<Vec<IsThere>, Error> {
    let mut answers: Vec<IsThere> = digests.iter().map(|_| Err("it was not asked for".to_owned())).collect();
    let began = Instant::now();
    let mut pause = Duration::from_millis(25);
    let patience = &context.patience;
    loop {
        if context.stop.is_stopped() {
            return Err(Error::Stopped);
        }
        let map = context.cluster.map(&context.namespace);
        let mut by_node: BTreeMap<String, (Arc<Node>, Vec<usize>)> = BTreeMap::new();
        let (mut hopeless, mut asked) = (true, false);
        for (index, digest) in digests.iter().enumerate() {
            if answers[index].is_ok() {
                continue;
            }
            match map.owner(digest.partition()) {
                None => {
                    patience.met(Obstacle::NoMaster, NO_MASTER);
                    hopeless &= patience.is_over(&Obstacle::NoMaster);
                    answers[index] = Err("no node masters its partition".to_owned());
                }
                Some(owner) => {
                    by_node.entry(owner.id.clone()).or_insert_with(|| (Arc::clone(owner), Vec::new())).1.push(index);
                }
            }
        }
        for (node, rows) in by_node.into_values() {
            let obstacle = Obstacle::Node(node.id.clone());
            let asking = patience.asking(obstacle.clone());
            let found = match patience.given_up(&node.id) {
                Some(reason) => Err(Error::GivenUp(reason)),
                None => ask_node(context, &node, digests, &rows),
            };
            match found {
                Ok(found) => {
                    patience.passed(&obstacle);
                    hopeless &= found.iter().all(|(_, is_there)| is_there.is_ok());
                    for (row, is_there) in found {
                        answers[row] = is_there;
                    }
                }
                Err(error) if error.is_transient() => {
                    if !matches!(error, Error::GivenUp(_)) {
                        asked = true;
                        asking.failed(&error.to_string());
                    }
                    hopeless &= patience.is_over(&obstacle);
                    for row in rows {
                        answers[row] = Err(error.to_string());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if answers.iter().all(Result::is_ok) || began.elapsed() >= patience.timeout() {
            return Ok(answers);
        }
        if hopeless {
            if asked {
                // Somebody else may master them by now.
                let _ = context.cluster.refresh_soon();
            }
            if !is_hopeful(context, digests, &answers) {
                return Ok(answers);
            }
        }
        context.stop.sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
        // The old map serves until a node answers again.
        let _ = context.cluster.refresh_soon();
    }
}

/// Whether there is somebody to ask for what has no answer yet who was not waited for in vain.
fn is_hopeful(context: &ScanContext, digests: &[Digest], answers: &[IsThere]) -> bool {
    let map = context.cluster.map(&context.namespace);
    let mut open = digests.iter().zip(answers).filter(|(_, answer)| answer.is_err());
    open.any(|(digest, _)| map.owner(digest.partition()).is_some_and(|node| !context.patience.has_given_up(&node.id)))
}

fn ask_node(
    context: &ScanContext,
    node: &Node,
    digests: &[Digest],
    rows: &[usize],
) -> Result<Vec<(usize, IsThere)>, Error> {
    let frame = request(context, digests, rows);
    let (mut connection, was_idle) = context.cluster.connection(node)?;
    let watched = query_id();
    let exchange = |connection: &mut Connection| {
        context.stop.watch(watched, connection);
        let found = exchange(connection, &frame, rows);
        context.stop.forget(watched);
        if context.stop.is_stopped() { Err(Error::Stopped) } else { found }
    };
    let mut found = exchange(&mut connection);
    if found.as_ref().is_err_and(|error| error.is_transient() && !error.is_timeout()) && was_idle {
        connection = context.cluster.connection(node)?.0;
        found = exchange(&mut connection);
    }
    let found = found?;
    Cluster::give_back(node, connection);
    Ok(found)
}

fn request(context: &ScanContext, digests: &[Digest], rows: &[usize]) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + 25 * rows.len());
    body.extend_from_slice(&(rows.len() as u32).to_be_bytes());
    body.push(RESPOND_ALL_KEYS);
    let namespace = context.namespace.as_bytes();
    for (place, row) in rows.iter().enumerate() {
        body.extend_from_slice(&(*row as u32).to_be_bytes());
        body.extend_from_slice(&digests[*row].0);
        if place > 0 {
            body.push(REPEAT);
            continue;
        }
        body.extend_from_slice(&[HAS_TTL, READ | NO_BINS]);
        body.extend_from_slice(&NO_TOUCH.to_be_bytes());
        body.extend_from_slice(&[0, 1, 0, 0]);
        body.extend_from_slice(&(namespace.len() as u32 + 1).to_be_bytes());
        body.push(field::NAMESPACE);
        body.extend_from_slice(namespace);
    }
    let mut request = Request::default().field(field::BATCH, &body);
    if let Some(filter) = context.selection.filter(None) {
        request = request.field(field::FILTER, &filter);
    }
    let timeout = u32::try_from(context.options.socket_timeout.as_millis()).unwrap_or(u32::MAX);
    request.encode(BATCH, 0, timeout)
}

/// Sends a batch and reads its rows up to the end message.
fn exchange(connection: &mut Connection, frame: &[u8], rows: &[usize]) -> Result<Vec<(usize, IsThere)>, Error> {
    connection.send(frame)?;
    let mut found = Vec::with_capacity(rows.len());
    let code = connection.receive_rows(&mut Vec::new(), |connection, message| {
        let row = message.index as usize;
        if rows.binary_search(&row).is_err() || found.len() >= rows.len() {
            return Err(WireError::Invalid("a batch's row"));
        }
        let is_there = match message.result {
            0 => Ok(true),
            NOT_FOUND | FILTERED_OUT => Ok(false),
            code => Err(connection.refused("to read a record by its key", code).to_string()),
        };
        found.push((row, is_there));
        Ok(())
    })?;
    match code {
        0 if found.len() == rows.len() => Ok(found),
        0 => Err(connection.invalid(WireError::Invalid("the number of a batch's rows"))),
        code => Err(connection.refused("a batch", code)),
    }
}

/// The digest that a partition's scan meets right before this one; `None` if there is none to name.
fn before(digest: &Digest) -> Option<Digest> {
    let mut next = digest.0;
    for byte in next[2..].iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Digest(next));
        }
    }
    None
}

/// Reads one record whole.
fn fetch(
    context: &ScanContext,
    digest: &Digest,
    decoder: &mut Decoder,
    batch: &mut RecordBatch,
) -> Result<Presence, Error> {
    let Some(after) = before(digest) else {
        return Ok(Presence::Unknown("its digest cannot be asked for alone".to_owned()));
    };
    let plan = Plan {
        cluster: &context.cluster,
        namespace: &context.namespace,
        selection: &context.selection,
        options: &context.options,
        mode: Mode::Full,
        pace: &Pace::default(),
        patience: &context.patience,
        max_records: 1,
        stop: &context.stop,
    };
    let asks = [Ask { pid: digest.partition(), after: Some(after) }];
    let began = Instant::now();
    loop {
        let mut one = One { digest: *digest, after, span: None, buffers: Buffers::default() };
        let map = context.cluster.map(&context.namespace);
        let owner = map.owner(digest.partition());
        let mut asked = true;
        let reason = match owner {
            None => "no node masters its partition".to_owned(),
            Some(owner) => {
                let outcome = plan.run(owner, &asks, 1, &mut one)?;
                match outcome.end {
                    End::Complete if one.span.is_none() && matches!(outcome.evidence, Evidence::Differs(_)) => {
                        let Evidence::Differs(reason) = outcome.evidence else { continue };
                        return Ok(Presence::Unknown(reason));
                    }
                    End::Complete if outcome.unavailable.is_empty() => return one.finish(decoder, batch),
                    End::Cut(error) => {
                        asked = !matches!(error, Error::GivenUp(_));
                        error.to_string()
                    }
                    _ => "its partition is unavailable".to_owned(),
                }
            }
        };
        let is_given_up = owner.is_some_and(|owner| context.patience.has_given_up(&owner.id));
        if is_given_up && asked {
            // Somebody else may master it by now.
            let _ = context.cluster.refresh_soon();
        }
        let map = context.cluster.map(&context.namespace);
        let owner = map.owner(digest.partition());
        let is_given_up = is_given_up && owner.is_none_or(|owner| context.patience.has_given_up(&owner.id));
        if is_given_up || began.elapsed() >= context.patience.timeout() {
            return Ok(Presence::Unknown(reason));
        }
        context.stop.sleep(Duration::from_millis(50));
        // The old map serves until a node answers again.
        let _ = context.cluster.refresh_soon();
    }
}

/// Adds the record of a message to a batch.
fn add(bytes: &[u8], digest: &Digest, decoder: &mut Decoder, batch: &mut RecordBatch) -> Result<Presence, Error> {
    let invalid = |source| Error::Wire { node: "that masters a record".to_owned(), source };
    let (message, _) = Message::parse(bytes).map_err(invalid)?;
    if message.set == MONITOR_SET {
        return Ok(Presence::Absent);
    }
    decoder.push(&message, digest, batch).map_err(invalid)?;
    Ok(Presence::Read)
}

/// Keeps the record of one digest.
struct One {
    digest: Digest,
    after: Digest,
    span: Option<Span>,
    buffers: Buffers,
}

impl One {
    fn finish(self, decoder: &mut Decoder, batch: &mut RecordBatch) -> Result<Presence, Error> {
        let Some(span) = self.span else { return Ok(Presence::Absent) };
        let bytes = self.buffers.at(span.buffer, span.at);
        add(bytes.unwrap_or_default(), &self.digest, decoder, batch)
    }
}

impl Sink for One {
    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    fn record(&mut self, _: u16, digest: Digest, span: Span) {
        if digest == self.digest {
            self.span = Some(span);
        }
    }

    fn room(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn last(&self, pid: u16) -> Result<Option<Digest>, NotAsked> {
        (pid == self.digest.partition()).then_some(Some(self.after)).ok_or(NotAsked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_before_another_is_the_next_greater_one_of_its_partition() {
        let mut digest = Digest([3; 20]);
        digest.0[19] = 0xff;
        let before_it = before(&digest).unwrap();
        assert_eq!((before_it.0[18], before_it.0[19]), (4, 0));
        assert_eq!(before_it.partition(), digest.partition());
        assert!(before_it.sort_key() < digest.sort_key());
        let mut last = Digest([0xff; 20]);
        last.0[0] = 1;
        assert_eq!(before(&last), None);
    }
}
