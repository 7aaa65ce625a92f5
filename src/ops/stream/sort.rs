//! Changes in the order of a journal, with times that do not contradict the order in which they came.

use crate::{
    layer::{JournalChange, LayerError, NewestVersion, Stack, newest_versions},
    record::{ChangeBatch, VersionTime},
};
use std::cmp::Reverse;

/// How changes of one record follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// In the order in which they come.
    Ordered,
    /// A change with a greater generation, and a deletion, is later than what came before it; one with a lesser generation is
    /// an older version that comes late.
    Generations,
}

/// Changes as a journal takes them.
pub(super) struct Sorted {
    /// Which, and the time that each gets: by key, the newest first.
    pub order: Vec<(usize, VersionTime)>,
    /// How many got another time than they came with.
    pub lifted: u64,
}

/// Sorts changes. `known` are the journals before, of which only changes made at `threshold` or before can contradict one.
pub(super) fn sort(
    changes: &ChangeBatch,
    known: Option<&Stack>,
    threshold: u64,
    arrival: Arrival,
) -> Result<Sorted, LayerError> {
    let by_key = changes.by_key();
    let records: Vec<&[usize]> = by_key.chunk_by(|a, b| changes.row(*a).key == changes.row(*b).key).collect();
    let may_be_old = |record: &&&[usize]| record.iter().any(|change| changes.time(*change).time.millis <= threshold);
    let keys: Vec<&[u8]> = match known {
        Some(_) => records.iter().filter(may_be_old).map(|record| changes.row(record[0]).key).collect(),
        None => Vec::new(),
    };
    let newest = known.map_or_else(|| Ok(Vec::new()), |known| newest_versions(known, &keys))?;
    let mut newest = keys.into_iter().zip(newest).peekable();
    let mut sorted = Sorted { order: Vec::with_capacity(changes.len()), lifted: 0 };
    for record in records {
        let key = changes.row(record[0]).key;
        let mut before = newest.next_if(|(known, _)| *known == key).and_then(|(_, newest)| newest);
        let first = sorted.order.len();
        for &change in record {
            let (time, lifted) = time_of(changes, change, before, arrival);
            sorted.lifted += u64::from(lifted);
            if before.is_none_or(|before| before.time < time) {
                before = Some(NewestVersion { time, generation: changes.row(change).meta.generation });
            }
            sorted.order.push((change, time));
        }
        // Of what came twice the later stands first: it is the one that is kept.
        sorted.order[first..].sort_by_key(|(change, time)| Reverse((*time, *change)));
    }
    Ok(sorted)
}

fn time_of(
    changes: &ChangeBatch,
    change: usize,
    before: Option<NewestVersion>,
    arrival: Arrival,
) -> (VersionTime, bool) {
    let own = changes.time(change);
    let Some(before) = before.filter(|before| own.time < before.time) else { return (own.time, false) };
    // Generations have 16 bits and begin anew.
    let ahead = changes.row(change).meta.generation.wrapping_sub(before.generation) as u16;
    let is_later = own.is_deletion || arrival == Arrival::Ordered || ahead != 0 && ahead < 0x8000;
    if !is_later {
        return (own.time, false);
    }
    let order = own.time.order.max(before.time.order.saturating_add(1));
    (VersionTime { millis: before.time.millis, order }, true)
}

/// A change as a journal takes it.
pub(super) fn change_of(changes: &ChangeBatch, index: usize) -> JournalChange<'_> {
    let row = changes.row(index);
    if changes.time(index).is_deletion {
        return JournalChange::Delete;
    }
    JournalChange::Put { meta: row.meta, shape: row.shape, value: row.value }
}
