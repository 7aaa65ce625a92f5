//! Sending rows to a node and reading what it answers, row by row.

use super::{pool::Line, rows::Group};
use crate::connector::aerospike::{
    cluster::{Cluster, Node},
    connection::Connection,
    error::Error,
    wire::{LAST, Message, WireError},
};
use std::sync::Arc;

/// Frames of an answer larger than this are not kept for the next one.
const KEEP_BYTES: usize = 2 * 1024 * 1024;

/// What a node says of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) generation: u32,
    pub(super) void_time: u32,
}

/// What came of sending rows.
#[derive(Debug)]
pub(super) struct Sent {
    /// By place in what was sent; `None` where there was no answer.
    pub(super) answers: Vec<Option<Answer>>,
    /// Why some have none.
    pub(super) error: Option<Error>,
    /// Whether rows without an answer may have been done.
    pub(super) unsure: bool,
}

/// Sends rows, and keeps the memory for it.
#[derive(Debug, Default)]
pub(super) struct Sender {
    frame: Vec<u8>,
    body: Vec<u8>,
    line: Arc<Line>,
}

impl Sender {
    /// What ends its exchanges from elsewhere.
    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// Sends these rows of a group, with their times to live.
    pub(super) fn send(
        &mut self,
        cluster: &Cluster,
        node: &Node,
        group: &Group,
        picks: &[(usize, u32)],
        singly: bool,
        timeout_millis: u32,
    ) -> Sent {
        let mut sent = Sent { answers: vec![None; picks.len()], error: None, unsure: false };
        if let Err(error) = self.exchange(cluster, node, group, picks, singly, timeout_millis, &mut sent) {
            sent.error = Some(error);
        }
        self.line.use_of(None);
        for buffer in [&mut self.frame, &mut self.body] {
            if buffer.capacity() > KEEP_BYTES {
                *buffer = Vec::new();
            }
        }
        sent
    }

    #[expect(clippy::too_many_arguments, reason = "the same as of `send`, and where the answers go")]
    fn exchange(
        &mut self,
        cluster: &Cluster,
        node: &Node,
        group: &Group,
        picks: &[(usize, u32)],
        singly: bool,
        timeout_millis: u32,
        sent: &mut Sent,
    ) -> Result<(), Error> {
        let (mut connection, _) = cluster.connection(node)?;
        if !self.line.use_of(connection.closer()) {
            return Err(Error::Stopped);
        }
        // From here on a row may be done though nobody says so.
        sent.unsure = true;
        if singly {
            for (place, &(index, ttl)) in picks.iter().enumerate() {
                group.single_frame(index, ttl, timeout_millis, &mut self.frame);
                connection.send(&self.frame)?;
                self.body.clear();
                connection.append_messages(&mut self.body)?;
                let (message, _) = Message::parse(&self.body).map_err(|error| connection.invalid(error))?;
                sent.answers[place] = Some(answer(&message));
            }
        } else {
            group.batch_frame(picks, timeout_millis, &mut self.frame);
            connection.send(&self.frame)?;
            let code = self.receive_batch(&mut connection, sent)?;
            if code != 0 && sent.answers.iter().any(Option::is_none) {
                let refused = connection.refused("a batch", code);
                Cluster::give_back(node, connection);
                return Err(refused);
            }
        }
        Cluster::give_back(node, connection);
        Ok(())
    }

    /// Reads the answers to a batch up to the last message, whose result it gives.
    fn receive_batch(&mut self, connection: &mut Connection, sent: &mut Sent) -> Result<u8, Error> {
        loop {
            self.body.clear();
            connection.append_messages(&mut self.body)?;
            let mut rest = self.body.as_slice();
            while !rest.is_empty() {
                let (message, len) = Message::parse(rest).map_err(|error| connection.invalid(error))?;
                rest = rest.get(len..).unwrap_or_default();
                if message.info3 & LAST != 0 {
                    return Ok(message.result);
                }
                match sent.answers.get_mut(message.index as usize) {
                    Some(place @ None) => *place = Some(answer(&message)),
                    _ => return Err(connection.invalid(WireError::Invalid("the index of a row"))),
                }
            }
        }
    }
}

const fn answer(message: &Message<'_>) -> Answer {
    Answer { code: message.result, generation: message.generation, void_time: message.void_time }
}
