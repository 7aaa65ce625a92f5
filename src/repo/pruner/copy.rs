//! Copying needed chunks to new packs: opened, compared with their ids, sealed again under the pruner's own lease.

use super::{
    Pruner,
    view::{Homes, View},
};
use crate::repo::{
    ChunkData, ChunkReader, ObjectName, RepoError,
    catalog::{ChunkPlace, PackNumber},
    pack::{self, PackKey, SpanBounds, span_len},
    session::SessionWriter,
};
use crate::report::Trouble;

/// How frames are read.
const SPANS: SpanBounds = SpanBounds { gap_bytes: 256 * 1024, span_bytes: 16 * 1024 * 1024 };

/// What copying came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub chunks: u64,
    /// Stored bytes of those chunks.
    pub bytes: u64,
    /// Chunks that could be read from nowhere, by number, and why: their packs have to stay.
    pub unreadable: Vec<(u64, Trouble)>,
    /// Whether a pack that was to be copied from was taken out of the index meanwhile.
    pub has_moved: bool,
}

impl Copied {
    /// What could not be read and is missed even now: others may have copied it meanwhile, or let go of what needed it.
    pub fn lost(&self, view: &View, homes: &Homes) -> Vec<Trouble> {
        let is_missed = |chunk: &u64| view.needed.chunks.has(*chunk) && !homes.housed.has(*chunk);
        self.unreadable.iter().filter(|(chunk, _)| is_missed(chunk)).map(|(_, why)| why.clone()).collect()
    }
}

/// Told of every copied chunk's bytes; `false` asks to stop.
pub type CopyProgress<'a> = dyn FnMut(u64) -> bool + 'a;

impl Pruner {
    /// Copies what is needed in `packs` and has no home, and waits until the index of the copies is durable.
    pub(super) fn copy_needed(
        &self,
        view: &View,
        homes: &mut Homes,
        packs: &[(PackNumber, ObjectName)],
        progress: &mut CopyProgress<'_>,
    ) -> Result<Copied, RepoError> {
        let mut copied = Copied::default();
        let mut writer = self.session.writer();
        for (number, name) in packs {
            let mut places = match self.inner.catalog.pack_places(*number) {
                // Somebody else was faster. Whether what was needed in it lies elsewhere now shows when everything is listed again.
                Err(RepoError::CatalogChanged) => {
                    copied.has_moved = true;
                    continue;
                }
                places => places?,
            };
            places.retain(|(chunk, _)| view.needed.chunks.has(*chunk) && !homes.housed.has(*chunk));
            places.sort_unstable_by_key(|(_, place)| place.entry.offset);
            let mut rest = places.as_slice();
            while !rest.is_empty() {
                let (span, behind) = rest.split_at(span_len(rest, &SPANS, &|(_, place)| &place.entry));
                self.copy_span(name, span, homes, &mut writer, &mut copied, progress)?;
                rest = behind;
            }
        }
        writer.finish()?;
        self.session.flush()?;
        Ok(copied)
    }

    fn copy_span(
        &self,
        name: &ObjectName,
        span: &[(u64, ChunkPlace)],
        homes: &mut Homes,
        writer: &mut SessionWriter,
        copied: &mut Copied,
        progress: &mut CopyProgress<'_>,
    ) -> Result<(), RepoError> {
        let Some(((_, first), (_, last))) = span.first().zip(span.last()) else { return Ok(()) };
        let range = first.entry.offset..last.entry.offset + u64::from(last.entry.stored_len);
        let read = self.inner.storage.read_range(&pack::path(name), range.clone());
        let key = PackKey::unwrap(&self.inner.keyring, name, &first.header);
        for (number, place) in span {
            let here = match (&read, &key) {
                (Ok(bytes), Ok(key)) => self.open_frame(key, place, bytes, range.start),
                _ => None,
            };
            let data = match here {
                Some(data) => data,
                None => match self.open_anywhere(place) {
                    Ok(data) => data,
                    Err(
                        error @ (RepoError::Damaged { .. }
                        | RepoError::Missing { .. }
                        | RepoError::ChunkMissing { .. }
                        | RepoError::Archived { .. }),
                    ) => {
                        copied.unreadable.push((*number, error.into()));
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            writer.copy(&place.entry, &data)?;
            homes.housed.insert(*number);
            copied.chunks += 1;
            copied.bytes += u64::from(place.entry.stored_len);
            if !progress(u64::from(place.entry.stored_len)) {
                return Err(RepoError::Interrupted);
            }
        }
        Ok(())
    }

    fn open_frame(&self, key: &PackKey, place: &ChunkPlace, bytes: &[u8], start: u64) -> Option<ChunkData> {
        let from = usize::try_from(place.entry.offset.checked_sub(start)?).ok()?;
        let frame = bytes.get(from..from.checked_add(place.entry.stored_len as usize)?)?;
        let data = key.open_frame(place.ordinal, &place.entry, frame).ok()?;
        self.verify(place, &data).ok()?;
        Some(data)
    }

    fn open_anywhere(&self, place: &ChunkPlace) -> Result<ChunkData, RepoError> {
        let data = self.inner.read(place.entry.kind, &place.entry.id)?;
        self.verify(place, &data)?;
        Ok(data)
    }

    fn verify(&self, place: &ChunkPlace, data: &ChunkData) -> Result<(), RepoError> {
        data.verify(&self.inner.keyring.secrets.chunk_id, place.entry.kind, &place.entry.id)
    }
}
