//! Taking chunks over from another repository of the same lasting secrets: opened there, sealed here, as compressed as they are.
//! That a frame opens shows that it is the one that was sealed under the chunk's id; nothing is decompressed.

use super::{SessionWriter, WriteSession};
use crate::repo::{
    ChunkId, RepoError,
    catalog::ChunkPlace,
    inner::{Inner, lock},
    pack::{self, SpanBounds, span_len},
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

/// Chunks that are looked up together, so that neighbours in a pack are read by one request.
const BATCH_CHUNKS: usize = 4096;

/// Frames this close to each other are read in one request, which reads at most so much.
const SPANS: SpanBounds = SpanBounds { gap_bytes: 128 * 1024, span_bytes: 4 * 1024 * 1024 };

/// Told of every chunk that is taken over, with its stored bytes; `false` asks to stop.
pub type TakeProgress<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// Gives chunks, each once or oftener.
pub type ChunkWalk<'a> = dyn FnMut(&mut dyn FnMut(ChunkId) -> Result<(), RepoError>) -> Result<(), RepoError> + 'a;

/// What its threads share.
struct Takeover<'a> {
    session: &'a WriteSession,
    from: &'a Arc<Inner>,
    failed: AtomicBool,
    /// The first failure of a thread.
    failure: Mutex<Option<RepoError>>,
    progress: &'a TakeProgress<'a>,
}

impl WriteSession {
    /// What [`WriteSession::take_over`] does.
    pub(in crate::repo) fn take_over_from(
        &self,
        from: &Arc<Inner>,
        threads: usize,
        walk: &mut ChunkWalk<'_>,
        progress: &TakeProgress<'_>,
    ) -> Result<(), RepoError> {
        if !from.keyring.secrets.are_those_of(&self.shared.inner.keyring.secrets) {
            return Err(RepoError::Invalid("the repositories have other lasting secrets".to_owned()));
        }
        let take =
            Takeover { session: self, from, failed: AtomicBool::new(false), failure: Mutex::new(None), progress };
        std::thread::scope(|scope| {
            let (send, spans) = bounded(threads.max(1) * 2);
            for _ in 0..threads.max(1) {
                let (take, spans) = (&take, spans.clone());
                scope.spawn(move || take.work(&spans));
            }
            drop(spans);
            let mut batch = Vec::new();
            let walked = walk(&mut |id| {
                batch.push(id);
                if batch.len() >= BATCH_CHUNKS { take.send(&mut batch, &send) } else { Ok(()) }
            });
            walked.and_then(|()| take.send(&mut batch, &send)).unwrap_or_else(|error| take.fail(error));
        });
        lock(&take.failure).take().map_or(Ok(()), Err)
    }
}

impl Takeover<'_> {
    fn fail(&self, error: RepoError) {
        self.failed.store(true, Ordering::SeqCst);
        lock(&self.failure).get_or_insert(error);
    }

    /// Looks a batch up and hands out what is to be read, pack by pack.
    fn send(&self, batch: &mut Vec<ChunkId>, send: &Sender<Vec<ChunkPlace>>) -> Result<(), RepoError> {
        batch.sort_unstable();
        batch.dedup();
        let mut places = Vec::with_capacity(batch.len());
        for id in batch.drain(..) {
            if !self.session.has(&id)? && !self.session.shared.pending.has(&id) {
                places.push(self.place(&id)?);
            }
        }
        places.sort_unstable_by_key(|place| (place.pack, place.entry.offset));
        let mut rest = places.as_slice();
        while !rest.is_empty() {
            let of_pack = rest.partition_point(|place| place.pack == rest[0].pack);
            let (span, behind) = rest.split_at(span_len(&rest[..of_pack], &SPANS, &|place| &place.entry));
            if self.failed.load(Ordering::SeqCst) || send.send(span.to_vec()).is_err() {
                return Err(RepoError::Interrupted);
            }
            rest = behind;
        }
        Ok(())
    }

    fn place(&self, id: &ChunkId) -> Result<ChunkPlace, RepoError> {
        if let Some(place) = self.from.first_place(id) {
            return Ok(place);
        }
        // A prune beside us may have moved it.
        self.from.refresh_index(&mut Vec::new())?;
        self.from.first_place(id).ok_or(RepoError::ChunkMissing { id: *id })
    }

    fn work(&self, spans: &Receiver<Vec<ChunkPlace>>) {
        let mut writer = self.session.writer();
        for span in spans {
            if self.failed.load(Ordering::SeqCst) {
                break;
            }
            if let Err(error) = self.take(&span, &mut writer) {
                self.fail(error);
            }
        }
        // Also after a failure: what was taken over is found by the next run.
        if let Err(error) = writer.finish() {
            self.fail(error);
        }
    }

    fn take(&self, span: &[ChunkPlace], writer: &mut SessionWriter) -> Result<(), RepoError> {
        let Some((first, last)) = span.first().zip(span.last()) else { return Ok(()) };
        let range = first.entry.offset..last.entry.offset + u64::from(last.entry.stored_len);
        let read = self.from.storage.read_range(&pack::path(&first.name), range.clone());
        for place in span {
            let here = read.as_ref().ok().and_then(|bytes| {
                let start = usize::try_from(place.entry.offset - range.start).ok()?;
                let frame = bytes.get(start..start.checked_add(place.entry.stored_len as usize)?)?;
                self.from.open_frame(place, frame).ok()
            });
            // What does not open here may lie elsewhere too; if not, that says why.
            let data = if let Some(data) = here {
                data
            } else {
                let data = self.from.read_chunk(place.entry.kind, &place.entry.id, false)?;
                data.verify(&self.from.keyring.secrets.chunk_id, place.entry.kind, &place.entry.id)?;
                data
            };
            writer.take_over(&place.entry, &data)?;
            if !(self.progress)(u64::from(place.entry.stored_len)) {
                return Err(RepoError::Interrupted);
            }
        }
        Ok(())
    }
}
