//! Changes in the order of a journal, with times that do not contradict the order in which they came.

use crate::{
    layer::{JournalChange, LayerError, Stack, held_versions, newest_versions},
    record::{ChangeBatch, ChangeTime, VersionTime},
};
use std::{cmp::Reverse, collections::HashSet};

/// How changes of one record follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// In the order in which they come.
    Ordered,
    /// In that of their times, whenever they come.
    Times,
    /// In the order in which they come, with times that agree with it: nothing is looked up.
    Settled,
    /// A change with a greater generation (twice it is the order), and a deletion, is later than what came before it; one with a
    /// lesser generation is an older version that comes late.
    Generations,
}

/// Changes as a journal takes them.
pub(super) struct Sorted {
    /// Which, and the time that each gets: by key, the newest first.
    pub order: Vec<(usize, VersionTime)>,
    /// How many got another time than they came with.
    pub lifted: u64,
    /// How many were stamped in the future.
    pub ahead: u64,
}

/// The present: what is stamped later was made under a wrong clock.
#[derive(Debug, Clone, Copy)]
pub struct Present {
    /// No clock that is right tells more.
    pub latest: u64,
    /// The time that is given to what tells more.
    pub instead: u64,
}

impl Present {
    /// Where a change that is stamped in the future stands, beside the newest version of its record: in the order of generations.
    fn place(self, own: VersionTime, before: Option<VersionTime>) -> VersionTime {
        let now = VersionTime { millis: self.instead, order: own.order };
        let Some(before) = before else { return now };
        let ahead = (own.order >> 1).wrapping_sub(before.order >> 1) as u16;
        match ahead {
            // It comes again.
            _ if own.order == before.order => before,
            // A deletion may not tell its generation.
            0x8000.. if own.order > 1 => {
                VersionTime { millis: before.millis, order: own.order.min(before.order.saturating_sub(1)) }
            }
            _ if now > before => now,
            _ => VersionTime { millis: before.millis, order: own.order.max(before.order.saturating_add(1)) },
        }
    }
}

/// Sorts changes. `known` are the journals before, of which only changes made at `threshold` or before can contradict one.
pub(super) fn sort(
    changes: &ChangeBatch,
    known: Option<&Stack>,
    threshold: u64,
    arrival: Arrival,
    present: Option<Present>,
) -> Result<Sorted, LayerError> {
    let by_key = changes.by_key();
    let records: Vec<&[usize]> = by_key.chunk_by(|a, b| changes.row(*a).key == changes.row(*b).key).collect();
    let is_ahead = |millis: u64| present.filter(|present| millis > present.latest);
    let is_to_be_looked_up = |millis: u64| millis <= threshold || is_ahead(millis).is_some();
    let may_be_old =
        |record: &&&[usize]| record.iter().any(|change| is_to_be_looked_up(changes.time(*change).time.millis));
    let keys: Vec<&[u8]> = match known {
        Some(_) => records.iter().filter(may_be_old).map(|record| changes.row(record[0]).key).collect(),
        None => Vec::new(),
    };
    let newest = known.map_or_else(|| Ok(Vec::new()), |known| newest_versions(known, &keys))?;
    let mut looked_up = keys.into_iter().zip(newest).peekable();
    let newest_of = |record: &&[usize]| {
        let key = changes.row(record[0]).key;
        looked_up.next_if(|(known, _)| *known == key).and_then(|(_, newest)| newest)
    };
    let newest: Vec<Option<VersionTime>> = records.iter().map(newest_of).collect();
    let held = match (known, arrival) {
        (Some(known), Arrival::Ordered | Arrival::Generations) => held(changes, known, &records, &newest)?,
        _ => HashSet::new(),
    };
    let mut sorted = Sorted { order: Vec::with_capacity(changes.len()), lifted: 0, ahead: 0 };
    for (record, mut before) in records.into_iter().zip(newest) {
        let first = sorted.order.len();
        for &change in record {
            let mut own = changes.time(change);
            if let Some(present) = is_ahead(own.time.millis) {
                own.time = present.place(own.time, before);
                sorted.ahead += 1;
            }
            let later = before.filter(|before| own.time < *before && is_later(own, *before, arrival));
            // What is known already under its own time comes again.
            let comes_again = |time| sorted.order[first..].iter().any(|(_, other)| *other == time);
            let lifted = later.filter(|_| !comes_again(own.time) && !held.contains(&change));
            let time = lifted.map_or(own.time, |before| VersionTime {
                millis: before.millis,
                order: own.time.order.max(before.order.saturating_add(1)),
            });
            sorted.lifted += u64::from(lifted.is_some());
            before = before.max(Some(time));
            sorted.order.push((change, time));
        }
        // Of what came twice the later stands first: it is the one that is kept.
        sorted.order[first..].sort_by_key(|(change, time)| Reverse((*time, *change)));
    }
    Ok(sorted)
}

/// Which changes are known already under their own times, of records whose newest versions are these.
fn held(
    changes: &ChangeBatch,
    known: &Stack,
    records: &[&[usize]],
    newest: &[Option<VersionTime>],
) -> Result<HashSet<usize>, LayerError> {
    let mut held = HashSet::new();
    let mut asked: Vec<(usize, VersionTime)> = Vec::new();
    for (record, newest) in records.iter().zip(newest) {
        let Some(newest) = *newest else { continue };
        let first = asked.len();
        for &change in *record {
            let time = changes.time(change).time;
            if time == newest {
                held.insert(change);
            } else if time < newest {
                asked.push((change, time));
            }
        }
        asked[first..].sort_by_key(|(_, time)| Reverse(*time));
    }
    let versions: Vec<(&[u8], VersionTime)> =
        asked.iter().map(|(change, time)| (changes.row(*change).key, *time)).collect();
    let found = held_versions(known, &versions)?;
    held.extend(asked.iter().zip(found).filter(|(_, is_held)| *is_held).map(|((change, _), _)| *change));
    Ok(held)
}

/// Whether a change that is stamped before another version of its record was made after it all the same.
fn is_later(own: ChangeTime, before: VersionTime, arrival: Arrival) -> bool {
    match arrival {
        Arrival::Times | Arrival::Settled => false,
        Arrival::Ordered => true,
        Arrival::Generations => {
            // Generations have 16 bits and begin anew.
            let ahead = (own.time.order >> 1).wrapping_sub(before.order >> 1) as u16;
            own.is_deletion || ahead != 0 && ahead < 0x8000
        }
    }
}

/// A change as a journal takes it.
pub(super) fn change_of(changes: &ChangeBatch, index: usize) -> JournalChange<'_> {
    let row = changes.row(index);
    if changes.time(index).is_deletion {
        return JournalChange::Delete;
    }
    JournalChange::Put { meta: row.meta, shape: row.shape, value: row.value }
}
