//! The records of a key range, one after the other: a thread receives while the caller takes what was received before.

use super::{
    decode::MONITOR_SET,
    error::Error,
    query::{Mode, Span},
    scan::{Item, ScanContext},
    spare::Spare,
    stop::Stop,
    window::Piece,
    wire::{Buffer, Message, WireError},
};
use crate::record::{Digest, KeyRange, StreamError};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::{collections::VecDeque, sync::Arc, thread::JoinHandle, time::Duration};

/// How long a reader waits before it lets its caller look around.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a feed has next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Record,
    /// Nothing yet.
    Later,
    End,
}

/// The records of a range, one after the other.
pub(super) struct Feed {
    receiver: Receiver<Result<Item, Error>>,
    /// Where the buffers of what was taken go back to.
    spare: Spare,
    thread: Option<JoinHandle<()>>,
    stop: Arc<Stop>,
    object: String,
    piece: Piece,
    clips: Vec<Option<KeyRange>>,
    part: usize,
    next: usize,
    current: Option<Span>,
    unread: VecDeque<KeyRange>,
    ended: bool,
}

impl Feed {
    pub(super) fn open(context: &ScanContext, range: &KeyRange, mode: Mode) -> Self {
        let (sender, receiver) = bounded(0);
        let stop = Arc::new(Stop::default());
        let object = format!("namespace {}", context.namespace);
        let (mut context, range, thread_stop) = (context.clone(), range.clone(), Arc::clone(&stop));
        if mode != Mode::Full {
            // An incremental read has two feeds open.
            context.window_bytes /= 2;
        }
        let spare = Spare::default();
        let thread_spare = spare.clone();
        context.pace.begin();
        let thread = std::thread::spawn(move || {
            let produced = context.produce(&range, mode, &thread_stop, &thread_spare, &sender);
            context.pace.end();
            if let Err(error) = produced {
                // Nobody listens to a stream that was dropped.
                let _ = sender.send(Err(error));
            }
        });
        Self {
            receiver,
            spare,
            thread: Some(thread),
            stop,
            object,
            piece: Piece::default(),
            clips: Vec::new(),
            part: 0,
            next: 0,
            current: None,
            unread: VecDeque::new(),
            ended: false,
        }
    }

    /// Moves to the next record, if one comes soon.
    pub(super) fn advance(&mut self) -> Result<Next, StreamError> {
        loop {
            if let Some(part) = self.piece.parts.get_mut(self.part) {
                if let Some(unread) = part.unread.take() {
                    self.unread.push_back(unread);
                }
                if let Some(span) = part.spans.get(self.next) {
                    self.current = Some(*span);
                    self.next += 1;
                    return Ok(Next::Record);
                }
                self.part += 1;
                self.next = 0;
                continue;
            }
            self.piece.buffers.drain(..).for_each(|buffer| self.spare.give(buffer));
            if self.ended {
                return Ok(Next::End);
            }
            match self.receiver.recv_timeout(PATIENCE) {
                Ok(Ok(Item::Piece(piece, clips))) => {
                    (self.piece, self.clips) = (piece, clips);
                    (self.part, self.next) = (0, 0);
                }
                Ok(Ok(Item::End)) => self.ended = true,
                Ok(Err(error)) => return Err(Box::new(error.into_connector(&self.object))),
                Err(RecvTimeoutError::Timeout) => return Ok(Next::Later),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("{}: its reader ended without a word", self.object).into());
                }
            }
        }
    }

    /// The record at hand; `None` if it is not wanted.
    #[inline]
    pub(super) fn message(&self) -> Result<Option<(Message<'_>, Digest)>, WireError> {
        let span = self.current.unwrap_or(Span { buffer: 0, at: 0, len: 0 });
        let buffer = self.piece.buffers.get(span.buffer as usize).map_or(&[][..], Buffer::bytes);
        let bytes = buffer.get(span.at as usize..).and_then(|rest| rest.get(..span.len as usize)).unwrap_or_default();
        let message = Message::parse_whole(bytes)?;
        let digest = message.digest.ok_or(WireError::Invalid("a record without a digest: the fields"))?;
        if message.set == MONITOR_SET {
            return Ok(None);
        }
        match self.clips.get(self.part) {
            Some(Some(clip)) if !clip.contains(&digest.sort_key()) => Ok(None),
            _ => Ok(Some((message, digest))),
        }
    }

    /// Gives wanted records to `take` until it has enough. Whether there may be more: not at the end, but also where none
    /// comes soon.
    #[inline]
    pub(super) fn give(
        &mut self,
        mut take: impl FnMut(&Message<'_>, &Digest) -> Result<bool, WireError>,
    ) -> Result<bool, StreamError> {
        loop {
            match self.advance()? {
                Next::Record => {}
                Next::Later => return Ok(true),
                Next::End => return Ok(false),
            }
            let message = self.message().map_err(|error| self.failed(error))?;
            if let Some((message, digest)) = message
                && take(&message, &digest).map_err(|error| self.failed(error))?
            {
                return Ok(true);
            }
        }
    }

    pub(super) fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }

    fn failed(&self, error: WireError) -> StreamError {
        format!("{}: a node sent what is no answer: {error}", self.object).into()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.stop();
        // What waits to be handed over is dropped, so that the thread ends.
        while self.receiver.try_recv().is_ok() {}
        let (_, closed) = bounded(0);
        self.receiver = closed;
        if let Some(thread) = self.thread.take() {
            // A panic there was told by the missing end.
            let _ = thread.join();
        }
    }
}
