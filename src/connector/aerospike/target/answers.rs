//! Sending rows to a node and reading what it answers, row by row.

use super::{line::Line, rows::Group};
use crate::connector::aerospike::{
    cluster::{Cluster, Node},
    error::Error,
    wire::{Message, WireError},
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

/// What is sent, and where to.
pub(super) struct Sending<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) node: &'a Node,
    pub(super) group: &'a Group,
    /// Rows of the group, with their times to live.
    pub(super) picks: &'a [(usize, u32)],
    /// Each row in a command of its own.
    pub(super) singly: bool,
    pub(super) timeout_millis: u32,
}

impl Sender {
    /// What ends its exchanges from elsewhere.
    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    pub(super) fn send(&mut self, what: &Sending<'_>) -> Sent {
        let mut sent = Sent { answers: vec![None; what.picks.len()], error: None, unsure: false };
        if let Err(error) = self.exchange(what, &mut sent) {
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

    fn exchange(&mut self, what: &Sending<'_>, sent: &mut Sent) -> Result<(), Error> {
        let (mut connection, _) = what.cluster.connection(what.node)?;
        if !self.line.use_of(connection.closer()) {
            return Err(Error::Stopped);
        }
        // From here on a row may be done though nobody says so.
        sent.unsure = true;
        if what.singly {
            for (place, &(index, ttl)) in what.picks.iter().enumerate() {
                what.group.single_frame(index, ttl, what.timeout_millis, &mut self.frame);
                connection.send(&self.frame)?;
                self.body.clear();
                connection.append_messages(&mut self.body)?;
                let (message, _) = Message::parse(&self.body).map_err(|error| connection.invalid(error))?;
                sent.answers[place] = Some(answer(&message));
            }
        } else {
            what.group.batch_frame(what.picks, what.timeout_millis, &mut self.frame);
            connection.send(&self.frame)?;
            let code = connection.receive_rows(&mut self.body, |_, message| {
                match sent.answers.get_mut(message.index as usize) {
                    Some(place @ None) => *place = Some(answer(message)),
                    _ => return Err(WireError::Invalid("the index of a row")),
                }
                Ok(())
            })?;
            if code != 0 && sent.answers.iter().any(Option::is_none) {
                let refused = connection.refused("a batch", code);
                Cluster::give_back(what.node, connection);
                return Err(refused);
            }
        }
        Cluster::give_back(what.node, connection);
        Ok(())
    }
}

const fn answer(message: &Message<'_>) -> Answer {
    Answer { code: message.result, generation: message.generation, void_time: message.void_time }
}
