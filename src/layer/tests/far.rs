//! What a walk over several layers asks for before it needs it, where storage is far.

use super::{
    histories::history,
    model::{at, reader},
};
use crate::{
    layer::Stack,
    record::KeyRange,
    repo::{ChunkData, ChunkId, ChunkKind, ChunkReader, ReadAhead, RepoError, chunk::MemoryChunks},
};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// Is on its way from here.
    Sent(ChunkKind),
    /// Was on its way, and is waited for.
    Taken(ChunkKind),
    /// Is asked for and waited for.
    Read(ChunkKind),
}

/// Chunks that are far, and what was asked of them.
#[derive(Clone)]
struct Far {
    chunks: MemoryChunks,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Far {
    fn note(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }

    fn steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.steps.lock().unwrap())
    }
}

impl ChunkReader for Far {
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError> {
        self.note(Step::Read(kind));
        self.chunks.read(kind, id)
    }

    fn ahead(self: Arc<Self>) -> Option<Box<dyn ReadAhead>> {
        Some(Box::new(Sender { far: self.as_ref().clone(), announced: Vec::new(), sent: Vec::new() }))
    }

    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        self.chunks.stored_len(id)
    }
}

struct Sender {
    far: Far,
    announced: Vec<(ChunkKind, ChunkId)>,
    sent: Vec<(ChunkKind, ChunkId)>,
}

impl ReadAhead for Sender {
    fn has_room(&self) -> bool {
        true
    }

    fn announce(&mut self, kind: ChunkKind, id: &ChunkId) -> bool {
        self.announced.push((kind, *id));
        true
    }

    fn send(&mut self) {
        self.announced.iter().for_each(|(kind, _)| self.far.note(Step::Sent(*kind)));
        self.sent.append(&mut self.announced);
    }

    fn take(&mut self, kind: ChunkKind, id: &ChunkId) -> Option<ChunkData> {
        let at = self.sent.iter().position(|sent| *sent == (kind, *id))?;
        self.sent.drain(..=at);
        self.far.note(Step::Taken(kind));
        self.far.chunks.read(kind, id).ok()
    }
}

#[test]
fn no_layer_waits_for_the_first_block_of_another() {
    let history = history(5, 6);
    let (layers, end) = (&history.layers, history.states.last().unwrap().1);
    let count = layers.len();
    assert!(count > 3);
    let far = Far { chunks: history.chunks.clone(), steps: Arc::default() };
    let chunks: Arc<dyn ChunkReader> = Arc::new(far.clone());
    let stack = Stack::open(&chunks, layers).unwrap();
    let expected = [vec![Step::Sent(ChunkKind::List); count], vec![Step::Taken(ChunkKind::List); count]].concat();
    assert_eq!(far.steps(), expected);

    let near = Stack::open(&reader(&history.chunks), layers).unwrap();
    let mut expected = near.cursor(&KeyRange::all(), at(end), false).unwrap();
    let mut cursor = stack.cursor(&KeyRange::all(), at(end), false).unwrap();
    assert!(cursor.advance().unwrap() && expected.advance().unwrap());
    let steps = far.steps();
    let (before, after) = steps.split_at(count);
    assert_eq!(before, vec![Step::Sent(ChunkKind::Keys); count], "of each layer one block");
    assert_eq!(after.iter().filter(|step| **step == Step::Taken(ChunkKind::Keys)).count(), count);
    assert_eq!(after.iter().filter(|step| **step == Step::Sent(ChunkKind::Values)).count(), count, "{after:?}");
    let middle = cursor.key().to_vec();
    loop {
        assert_eq!(cursor.key(), expected.key());
        assert_eq!(cursor.fingerprint(), expected.fingerprint());
        assert!(cursor.check_value(&super::model::context().fingerprinter).unwrap());
        let more = cursor.advance().unwrap();
        assert_eq!(more, expected.advance().unwrap());
        if !more {
            break;
        }
    }
    assert!(!far.steps().iter().any(|step| matches!(step, Step::Read(ChunkKind::Keys | ChunkKind::Values))));

    // Who follows somebody takes what is lent, and asks for the rest.
    let keys_sent = || far.steps().iter().filter(|step| **step == Step::Sent(ChunkKind::Keys)).count();
    assert!(stack.cursor_behind(&KeyRange::all(), at(end), true).advance().unwrap());
    assert_eq!(keys_sent(), count);
    assert!(stack.cursor_before(&KeyRange::all(), at(end)).advance().unwrap());
    assert_eq!(keys_sent(), count);
    assert!(stack.cursor_behind(&KeyRange::all(), at(end), true).advance().unwrap());
    assert_eq!(keys_sent(), 0);

    // Whoever looks for one record needs the values of one layer.
    let one = KeyRange { end: Some([&middle[..], &[0]].concat()), start: middle };
    let mut cursor = stack.cursor(&one, at(end), false).unwrap();
    assert!(cursor.advance().unwrap());
    assert!(!far.steps().contains(&Step::Sent(ChunkKind::Values)));
}
