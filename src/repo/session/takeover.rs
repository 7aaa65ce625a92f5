//! Taking chunks over from another repository of the same lasting secrets. A pack of which everything is wanted is taken as it is, under
//! a header of this repository. Of others each chunk is opened there and sealed here, as compressed as it is: that a frame opens shows
//! that it is the one that was sealed under the chunk's id. Nothing is decompressed.

mod wanted;

use super::{SessionWriter, WriteSession};
use crate::repo::{
    ChunkId, RepoError,
    catalog::ChunkPlace,
    inner::{Inner, lock},
    pack::{self, Described, Header, MAX_PACK_BYTES, SealedPack, SpanBounds, TARGET_PACK_BYTES, span_len},
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};
use wanted::Wanted;

/// Frames this close to each other are read in one request, which reads at most so much.
const SPANS: SpanBounds = SpanBounds { gap_bytes: 128 * 1024, span_bytes: 4 * 1024 * 1024 };

/// A pack that is this much shorter than packs should be is not taken as it is: its chunks go into one with others.
const SHORT: usize = 16;

/// How often a prune beside us may move what is wanted before we give up.
const MAX_ROUNDS: usize = 100;

/// Told of what is taken over, with its stored bytes; `false` asks to stop.
pub type TakeProgress<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// Gives chunks, each once or oftener.
pub type ChunkWalk<'a> = dyn FnMut(&mut dyn FnMut(ChunkId) -> Result<(), RepoError>) -> Result<(), RepoError> + 'a;

/// How chunks are taken over.
#[derive(Debug, Clone, Copy)]
pub struct TakeOver {
    /// Threads that read and write.
    pub threads: usize,
    /// Whether no pack is taken as it is.
    pub seal_anew: bool,
}

/// What a thread is to take, all of one pack.
enum Load {
    /// All that the pack holds.
    Pack(Vec<ChunkPlace>),
    /// Some of it, by offset.
    Span(Vec<ChunkPlace>),
}

/// What its threads share.
struct Takeover<'a> {
    session: &'a WriteSession,
    from: &'a Arc<Inner>,
    how: TakeOver,
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
        how: TakeOver,
        walk: &mut ChunkWalk<'_>,
        progress: &TakeProgress<'_>,
    ) -> Result<(), RepoError> {
        if !from.keyring.secrets.are_those_of(&self.shared.inner.keyring.secrets) {
            return Err(RepoError::Invalid("the repositories have other lasting secrets".to_owned()));
        }
        let take =
            Takeover { session: self, from, how, failed: AtomicBool::new(false), failure: Mutex::new(None), progress };
        for _ in 0..MAX_ROUNDS {
            let mut wanted = Wanted::of(&self.shared, from);
            walk(&mut |id| wanted.take(id))?;
            wanted.settle()?;
            if take.all(&mut wanted)? {
                return Ok(());
            }
            from.refresh_index(&mut Vec::new())?;
        }
        Err(RepoError::CatalogChanged)
    }
}

impl Takeover<'_> {
    /// Takes what is wanted; `false` if a pack went meanwhile that was to be taken from.
    fn all(&self, wanted: &mut Wanted<'_>) -> Result<bool, RepoError> {
        let threads = self.how.threads.max(1);
        let sent = std::thread::scope(|scope| {
            let (send, loads) = bounded(threads);
            for _ in 0..threads {
                let loads = loads.clone();
                scope.spawn(move || self.work(&loads));
            }
            drop(loads);
            self.send(wanted, &send)
        });
        match lock(&self.failure).take() {
            Some(error) => Err(error),
            None => sent,
        }
    }

    fn fail(&self, error: RepoError) {
        self.failed.store(true, Ordering::SeqCst);
        lock(&self.failure).get_or_insert(error);
    }

    /// Hands out what is to be taken, pack by pack.
    fn send(&self, wanted: &mut Wanted<'_>, send: &Sender<Load>) -> Result<bool, RepoError> {
        let mut is_all_there = true;
        let hand = |load| {
            let is_over = self.failed.load(Ordering::SeqCst) || send.send(load).is_err();
            if is_over { Err(RepoError::Interrupted) } else { Ok(()) }
        };
        for number in std::mem::take(&mut wanted.packs) {
            let places = match self.from.catalog.pack_places(number) {
                Err(RepoError::CatalogChanged) => {
                    is_all_there = false;
                    continue;
                }
                places => places?,
            };
            let (mut places, is_all) = wanted.of_pack(places);
            if is_all && self.moves(&places) {
                hand(Load::Pack(places))?;
                continue;
            }
            places.sort_unstable_by_key(|place| place.entry.offset);
            let mut rest = places.as_slice();
            while !rest.is_empty() {
                let (span, behind) = rest.split_at(span_len(rest, &SPANS, &|place| &place.entry));
                hand(Load::Span(span.to_vec()))?;
                rest = behind;
            }
        }
        Ok(is_all_there)
    }

    /// Whether a pack is taken as it is if everything in it is wanted.
    fn moves(&self, places: &[ChunkPlace]) -> bool {
        let (shared, Some(last)) = (&self.session.shared, places.last()) else { return false };
        let fits = |header: &Header| header.can_move(&self.from.keyring, &shared.inner.keyring);
        // Threads hold one each, and what protects packs reckons with such lengths.
        let aim = shared.pack_bytes().min(TARGET_PACK_BYTES);
        let end = last.entry.offset + u64::from(last.entry.stored_len);
        let is_of_a_length = (aim / SHORT..=2 * aim).contains(&usize::try_from(end).unwrap_or(usize::MAX));
        !self.how.seal_anew
            && is_of_a_length
            && Header::parse(&pack::path(&last.name), &last.header).as_ref().is_ok_and(fits)
    }

    fn work(&self, loads: &Receiver<Load>) {
        let mut writer = self.session.writer();
        for load in loads {
            if self.failed.load(Ordering::SeqCst) {
                break;
            }
            let taken = match load {
                Load::Pack(places) => self.take_pack(&places, &mut writer),
                Load::Span(span) => self.take(&span, &mut writer),
            };
            taken.unwrap_or_else(|error| self.fail(error));
        }
        // Also after a failure: what was taken over is found by the next run.
        if let Err(error) = writer.finish() {
            self.fail(error);
        }
    }

    fn take_pack(&self, places: &[ChunkPlace], writer: &mut SessionWriter) -> Result<(), RepoError> {
        // What is wrong with it shows chunk by chunk, and what is whole in it is taken.
        let Some(sealed) = self.moved(places) else { return self.take(places, writer) };
        let bytes = sealed.bytes.len() as u64;
        writer.take_over_pack(sealed)?;
        if (self.progress)(bytes) { Ok(()) } else { Err(RepoError::Interrupted) }
    }

    /// A pack as it is stored here; `None` if it cannot be read, or is not what the index says.
    fn moved(&self, places: &[ChunkPlace]) -> Option<SealedPack> {
        let first = places.first()?;
        let bytes = self.from.storage.read_at_most(&pack::path(&first.name), MAX_PACK_BYTES as u64).ok()?;
        let entries: Vec<_> = places.iter().map(|place| place.entry).collect();
        let described = Described { name: first.name, header: &first.header, entries: &entries };
        let to = &self.session.shared.inner.keyring;
        pack::moved(&self.from.keyring, to, self.session.id(), &described, bytes).ok()
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
