//! The memory that a query receives into. What was read to its end is used again: fresh memory costs more than what is copied
//! into it.

use super::wire::Buffer;
use crossbeam_channel::{Receiver, Sender, unbounded};

/// A receive buffer is closed once it holds this much.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A larger one, of a frame that was long, is not kept.
const MAX_KEPT_BYTES: usize = 4 * BUFFER_BYTES;

/// Buffers to receive into, between who takes what was received and who receives. There are never more than were in use at once.
#[derive(Debug, Clone)]
pub(super) struct Spare {
    back: Sender<Buffer>,
    from: Receiver<Buffer>,
}

impl Default for Spare {
    fn default() -> Self {
        let (back, from) = unbounded();
        Self { back, from }
    }
}

impl Spare {
    /// Takes a buffer back.
    pub(super) fn give(&self, mut buffer: Buffer) {
        if buffer.capacity() <= MAX_KEPT_BYTES {
            buffer.clear();
            // Both ends are here: nobody has gone.
            let _ = self.back.send(buffer);
        }
    }
}

/// What a query has received, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    all: Vec<Buffer>,
    spare: Spare,
}

impl Buffers {
    pub(super) fn of(spare: &Spare) -> Self {
        Self { all: Vec::new(), spare: spare.clone() }
    }

    /// Takes the buffer to receive into next, which is the last one until it is full; with its number, under which it goes back.
    pub(super) fn open(&mut self) -> (Buffer, u32) {
        if self.all.last().is_none_or(|last| last.len() >= BUFFER_BYTES) {
            self.all.push(self.spare.from.try_recv().unwrap_or_default());
        }
        let number = self.all.len() - 1;
        (std::mem::take(&mut self.all[number]), number as u32)
    }

    /// Puts it back.
    pub(super) fn close(&mut self, number: u32, buffer: Buffer) {
        if let Some(place) = self.all.get_mut(number as usize) {
            *place = buffer;
        }
    }

    /// The bytes from a place on.
    pub(super) fn at(&self, number: u32, at: u32) -> Option<&[u8]> {
        self.all.get(number as usize)?.bytes().get(at as usize..)
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.iter().map(Buffer::len).sum()
    }

    pub(super) fn take(&mut self) -> Vec<Buffer> {
        std::mem::take(&mut self.all)
    }

    /// Forgets what was received.
    pub(super) fn clear(&mut self) {
        self.all.drain(..).for_each(|buffer| self.spare.give(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::aerospike::wire::{KIND_MESSAGE, put_frame_head};

    fn receive(buffers: &mut Buffers, byte: u8, bytes: usize) {
        let mut frame = Vec::new();
        put_frame_head(&mut frame, KIND_MESSAGE, bytes);
        frame.resize(frame.len() + bytes, byte);
        let (mut buffer, number) = buffers.open();
        buffer.receive(&mut frame.as_slice(), KIND_MESSAGE).unwrap();
        buffers.close(number, buffer);
    }

    #[test]
    fn what_is_given_back_is_received_into_again_and_shows_nothing_of_what_it_held() {
        let spare = Spare::default();
        let mut buffers = Buffers::of(&spare);
        receive(&mut buffers, 1, BUFFER_BYTES);
        receive(&mut buffers, 2, 5 * BUFFER_BYTES);
        receive(&mut buffers, 3, 10);
        assert_eq!((buffers.bytes(), buffers.all.len()), (6 * BUFFER_BYTES + 10, 3));
        assert_eq!(buffers.at(1, 7).map(|bytes| (bytes[0], bytes.len())), Some((2, 5 * BUFFER_BYTES - 7)));
        let address = buffers.all[0].bytes().as_ptr();
        buffers.clear();
        assert_eq!((buffers.bytes(), spare.from.len()), (0, 2), "the long one is not kept");
        let mut next = Buffers::of(&spare);
        receive(&mut next, 4, 100);
        receive(&mut next, 5, 100);
        assert_eq!((next.all[0].bytes().as_ptr(), next.all.len()), (address, 1));
        assert_eq!(next.at(0, 0), Some([[4; 100], [5; 100]].concat().as_slice()));
    }
}
