//! Frames that lie near each other in one pack, read by one request.

use super::PackEntry;

/// Which frames are read together.
pub(in crate::repo) struct SpanBounds {
    /// Frames this close to each other are read in one request.
    pub gap_bytes: u64,
    /// What one request reads at most, but for a single frame that is longer.
    pub span_bytes: u64,
}

/// How many of the frames at the front, all of one pack and by offset, are read in one request.
pub(in crate::repo) fn span_len<T>(places: &[T], bounds: &SpanBounds, entry_of: &dyn Fn(&T) -> &PackEntry) -> usize {
    let Some(first) = places.first().map(entry_of) else { return 0 };
    let end = |entry: &PackEntry| entry.offset + u64::from(entry.stored_len);
    let together = places.windows(2).take_while(|pair| {
        let [before, next] = pair else { return false };
        let (before, next) = (entry_of(before), entry_of(next));
        next.offset.saturating_sub(end(before)) <= bounds.gap_bytes && end(next) - first.offset <= bounds.span_bytes
    });
    1 + together.count()
}
