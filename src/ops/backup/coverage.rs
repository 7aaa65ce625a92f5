//! What a run covered: when each range was read, whether all of it came, and since when its deletions are known.

use super::joining::Joined;
use crate::{
    record::{CollectionSum, KeyRange, Timestamp},
    repo::manifest::{Collection, Coverage},
};
use data_encoding::HEXLOWER;

/// The coverage of a collection: neighbouring ranges of which the same is known are one.
pub(super) fn cover(
    ranges: &[KeyRange],
    joined: &[Joined],
    parent: Option<&Collection>,
    start: Timestamp,
    end: Timestamp,
) -> Vec<Coverage> {
    let mut all: Vec<(Coverage, CollectionSum)> = Vec::new();
    for (range, joined) in ranges.iter().zip(joined) {
        let outcome = &joined.outcome;
        let is_doubted = !joined.part.doubts.is_empty() || !joined.swept;
        let complete = joined.part.complete && outcome.counts.unreadable == 0 && (outcome.stood == 0 || is_doubted);
        let from = HEXLOWER.encode(&range.start);
        let to = range.end.as_deref().map(|end| HEXLOWER.encode(end));
        // What was not read to its end is next read from where the parent left off.
        let (start, end) = if joined.read.earlier { (joined.read.start, joined.read.end) } else { (start, end) };
        let start = match parent {
            _ if complete => start,
            Some(parent) => lower_bound(parent, range, false),
            None => Timestamp::default(),
        };
        let deletions_as_of = parent.filter(|_| is_doubted).map(|parent| lower_bound(parent, range, true));
        match all.last_mut() {
            Some((last, sum))
                if (last.complete, last.start, last.end, last.deletions_as_of)
                    == (complete, start, end, deletions_as_of) =>
            {
                sum.add(&outcome.sum);
                last.records += outcome.counts.records;
                last.to = to;
            }
            _ => {
                let records = outcome.counts.records;
                let coverage =
                    Coverage { from, to, start, end, complete, sum: String::new(), records, deletions_as_of };
                all.push((coverage, outcome.sum));
            }
        }
    }
    all.into_iter().map(|(coverage, sum)| Coverage { sum: sum.to_hex(), ..coverage }).collect()
}

/// Up to when all of a range was surely read for the parent; with `deletions`, up to when its deletions were proved.
pub(super) fn lower_bound(parent: &Collection, range: &KeyRange, deletions: bool) -> Timestamp {
    let from = HEXLOWER.encode(&range.start);
    let to = range.end.as_deref().map(|end| HEXLOWER.encode(end));
    let old = parent.coverage.iter().filter(|old| touches(old, &from, to.as_deref()));
    let times = old.map(|old| if deletions { old.deletions_as_of.unwrap_or(old.start) } else { old.start });
    times.min().unwrap_or_default()
}

fn touches(coverage: &Coverage, from: &str, to: Option<&str>) -> bool {
    to.is_none_or(|to| coverage.from.as_str() < to) && coverage.to.as_deref().is_none_or(|end| end > from)
}
