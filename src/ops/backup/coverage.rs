//! What a run covered: when each range was read, whether all of it came, and since when its deletions are known.

use super::{joined::Joined, sums::Sums};
use crate::{
    record::{KeyRange, Timestamp},
    repo::{
        Snapshot,
        carried::Carried,
        manifest::{Collection, Coverage, Proved},
    },
};
use data_encoding::HEXLOWER;

/// The most parts of one row of which different things are known; beyond that the row says what is true of all.
const MAX_PROVED: usize = 256;

/// A row of the coverage, and what its sum is put together from.
pub(super) struct Row {
    pub(super) coverage: Coverage,
    pub(super) sums: Sums,
}

/// The coverage of a collection, with sums to be put together: neighbouring ranges of which the same is known are one.
pub(super) fn cover(
    ranges: &[KeyRange],
    joined: &[Joined],
    parent: Option<&Collection>,
    start: Timestamp,
    end: Timestamp,
) -> Vec<Row> {
    let mut all: Vec<Row> = Vec::new();
    for (range, joined) in ranges.iter().zip(joined) {
        let outcome = &joined.outcome;
        let is_doubted = !joined.part.doubts.is_empty() || !joined.unswept.is_empty();
        let complete = joined.part.complete && outcome.counts.unreadable == 0 && (outcome.stood == 0 || is_doubted);
        let (from, to) = in_hex(range);
        // What was not read to its end is next read from where the parent left off.
        let (start, end) = if joined.read.earlier { (joined.read.start, joined.read.end) } else { (start, end) };
        let start = match parent {
            _ if complete => start,
            Some(parent) => lower_bound(parent, range, false),
            None => Timestamp::default(),
        };
        let deletions = proofs(range, joined, parent, start);
        let oldest = deletions.iter().map(|part| part.as_of).min().unwrap_or(start);
        let deletions_as_of = deletions.iter().any(|part| part.as_of != start).then_some(oldest);
        match all.last_mut() {
            Some(Row { coverage: last, sums })
                if (last.complete, last.start, last.end, last.deletions_as_of)
                    == (complete, start, end, deletions_as_of) =>
            {
                sums.add(range, outcome);
                last.records += outcome.counts.records;
                last.to = to;
                last.deletions.extend(deletions);
            }
            _ => {
                let records = outcome.counts.records;
                let coverage = Coverage {
                    from,
                    to,
                    start,
                    end,
                    complete,
                    sum: String::new(),
                    records,
                    deletions_as_of,
                    deletions,
                    other: Carried::default(),
                };
                let mut sums = Sums::default();
                sums.add(range, outcome);
                all.push(Row { coverage, sums });
            }
        }
    }
    for row in &mut all {
        row.coverage.deletions = shortened(std::mem::take(&mut row.coverage.deletions));
    }
    all
}

/// Up to when the deletions of each part of a range are proved.
fn proofs(range: &KeyRange, joined: &Joined, parent: Option<&Collection>, start: Timestamp) -> Vec<Proved> {
    let proved = |range: &KeyRange, as_of, unconfirmed| {
        let (from, to) = in_hex(range);
        Proved { from, to, as_of, unconfirmed, other: Carried::default() }
    };
    let Some(parent) = parent else { return vec![proved(range, start, false)] };
    let doubts = || joined.part.doubts.iter().map(|doubt| &doubt.range);
    let mut cuts: Vec<Vec<u8>> = Vec::new();
    let edges = |other: &KeyRange| [Some(other.start.clone()), other.end.clone()];
    cuts.extend(joined.unswept.iter().chain(doubts()).flat_map(edges).flatten());
    for part in parent.coverage.iter().flat_map(|row| &row.deletions) {
        let edges = [Some(part.from.as_str()), part.to.as_deref()];
        cuts.extend(edges.into_iter().flatten().filter_map(|edge| HEXLOWER.decode(edge.as_bytes()).ok()));
    }
    cuts.retain(|cut| *cut > range.start && range.end.as_ref().is_none_or(|end| cut < end));
    cuts.sort();
    cuts.dedup();
    let mut parts = KeyRange::between(&cuts);
    if let (Some(first), Some(last)) = (parts.first().cloned(), parts.len().checked_sub(1)) {
        parts[0] = KeyRange { start: range.start.clone(), ..first };
        parts[last].end.clone_from(&range.end);
    }
    let touched = |part: &KeyRange, by: &KeyRange| part.intersection(by).is_some();
    let of_part = |part: &KeyRange| {
        let is_swept = !joined.unswept.iter().any(|unswept| touched(part, unswept));
        let is_doubted = doubts().any(|doubt| touched(part, doubt));
        let as_of = if is_swept && !is_doubted { start } else { lower_bound(parent, part, true) };
        proved(part, as_of, is_swept && is_doubted)
    };
    parts.iter().map(of_part).collect()
}

/// Neighbours of which the same is known made one; nothing where the row says it all.
fn shortened(parts: Vec<Proved>) -> Vec<Proved> {
    let mut all: Vec<Proved> = Vec::new();
    for part in parts {
        match all.last_mut() {
            Some(last) if (last.as_of, last.unconfirmed) == (part.as_of, part.unconfirmed) => last.to = part.to,
            _ => all.push(part),
        }
    }
    let says_no_more = all.len() > MAX_PROVED || matches!(all.as_slice(), [only] if !only.unconfirmed);
    if says_no_more { Vec::new() } else { all }
}

fn in_hex(range: &KeyRange) -> (String, Option<String>) {
    (HEXLOWER.encode(&range.start), range.end.as_deref().map(|end| HEXLOWER.encode(end)))
}

/// Up to when all of a range was surely read for the parent; with `deletions`, up to when its deletions were proved.
pub(super) fn lower_bound(parent: &Collection, range: &KeyRange, deletions: bool) -> Timestamp {
    let (from, to) = in_hex(range);
    let rows = parent.coverage.iter().filter(|row| touches(&row.from, row.to.as_deref(), &from, to.as_deref()));
    if !deletions {
        return rows.map(|row| row.start).min().unwrap_or_default();
    }
    let of_row = |row: &Coverage| {
        let parts = row.deletions.iter().filter(|part| touches(&part.from, part.to.as_deref(), &from, to.as_deref()));
        parts.map(|part| part.as_of).min().unwrap_or_else(|| row.deletions_as_of.unwrap_or(row.start))
    };
    rows.map(of_row).min().unwrap_or_default()
}

/// Up to when the deletions of all that a snapshot holds are proved.
pub(super) fn all_deletions_as_of(parent: &Snapshot) -> Timestamp {
    let of = |collection| lower_bound(collection, &KeyRange::all(), true);
    parent.collections.iter().map(of).min().unwrap_or_default()
}

/// Whether the parent looked for deletions in some of a range and did not believe what it found.
pub(super) fn is_unconfirmed(parent: &Collection, range: &KeyRange) -> bool {
    let (from, to) = in_hex(range);
    let mut parts = parent.coverage.iter().flat_map(|row| &row.deletions).filter(|part| part.unconfirmed);
    parts.any(|part| touches(&part.from, part.to.as_deref(), &from, to.as_deref()))
}

fn touches(from: &str, to: Option<&str>, other_from: &str, other_to: Option<&str>) -> bool {
    other_to.is_none_or(|other_to| from < other_to) && to.is_none_or(|end| end > other_from)
}
