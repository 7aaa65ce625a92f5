//! A source's snapshots in time: gaps between them, and what retention drops next. Decided from plain data.

use super::{
    health::Schedules,
    plot::{Bar, Heights},
    shelf::Mark,
};
use crate::{
    ops::forget::{self, time_zone},
    record::Timestamp,
    repo::{SnapshotId, manifest::Kind},
    service::{config::Retention, tags::type_tag},
};
use std::collections::HashSet;

/// Runs of a gap are counted up to so many.
pub(super) const MOST_MISSED: usize = 1000;

/// A stretch in which runs were due and nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// How many were due, [`MOST_MISSED`] at most.
    pub(super) missed: usize,
    /// Whether something was there and was forgotten.
    pub(super) was_forgotten: bool,
}

/// The gap before a snapshot, if two or more runs were due there.
pub(super) fn gap(before: &Mark, mark: &Mark, schedules: &Schedules) -> Option<Gap> {
    gap_up_to(before, mark, schedules, MOST_MISSED)
}

/// The same, of whose runs no more are counted than these.
fn gap_up_to(before: &Mark, mark: &Mark, schedules: &Schedules, most: usize) -> Option<Gap> {
    // The run that the earlier one came of may have been due after it was asked for; that of the later one is no gap.
    let missed = schedules.due_between(before.start, mark.start, most + 1).saturating_sub(1);
    let was_forgotten = mark.parent.is_some_and(|parent| parent != before.id);
    (missed >= 2).then_some(Gap { from: before.end, to: mark.start, missed: missed.min(most), was_forgotten })
}

/// What a policy drops behind the next full, as the code says that will do it.
pub(super) fn going(
    marks: &[Mark],
    retention: Option<&Retention>,
    next_full: Option<Timestamp>,
    now: Timestamp,
) -> HashSet<SnapshotId> {
    let Some(retention) = retention.filter(|it| it.full.is_some() || it.incremental.is_some()) else {
        return HashSet::new();
    };
    let Some(last) = marks.last() else { return HashSet::new() };
    let mut candidates: Vec<_> = marks.iter().map(|mark| mark.candidate.clone()).collect();
    let end = next_full.unwrap_or(now).max(last.end);
    let mut coming = last.candidate.clone();
    (coming.id, coming.end, coming.kind) = (SnapshotId([255; 16]), end, Kind::Full);
    coming.tags = vec![type_tag(true).to_owned()];
    (coming.complete, coming.confirmed, coming.hold, coming.lock_until) = (true, true, false, None);
    candidates.push(coming);
    let policy = retention.policy();
    let Ok(zone) = time_zone(Some("UTC")) else { return HashSet::new() };
    let planned = forget::plan::plan(&candidates, &policy, &zone, end);
    planned.map(|plan| plan.dropped().map(|it| it.id).collect()).unwrap_or_default()
}

/// Snapshots and gaps as bars.
pub(super) fn bars(marks: &[Mark], going: &HashSet<SnapshotId>, schedules: &Schedules) -> Vec<(Timestamp, Bar, f64)> {
    let mut bars = Vec::with_capacity(marks.len());
    let heights = Heights::of(marks);
    for (at, mark) in marks.iter().enumerate() {
        // With very many snapshots gaps are too narrow to be seen.
        if marks.len() <= 2000
            && let Some(gap) = at.checked_sub(1).and_then(|before| gap_up_to(&marks[before], mark, schedules, 2))
        {
            let width = gap.to.as_millis() - gap.from.as_millis();
            bars.extend(
                (1..8).map(|part| (Timestamp::from_millis(gap.from.as_millis() + width * part / 8), Bar::Gap, 0.0)),
            );
        }
        let bar = if going.contains(&mark.id) { Bar::Going } else { Bar::of(mark) };
        bars.push((mark.end, bar, heights.share(mark)));
    }
    bars
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::service::{
        briefs::Brief,
        config::{Config, Routine},
    };
    use std::sync::Arc;

    const HOUR: i64 = 3_600_000;

    /// A snapshot so many hours after the first.
    pub(in crate::service::console) fn mark(number: u8, hours: i64, kind: Kind) -> Mark {
        let at = Timestamp::from_millis(1_800_000_000_000 + hours * HOUR);
        let id = SnapshotId([number; 16]);
        Arc::new(Brief {
            id,
            revision: 0,
            start: at,
            end: at,
            kind,
            complete: true,
            parent: (number > 0).then(|| SnapshotId([number - 1; 16])),
            records: 10,
            bytes: 1000,
            added: 10,
            inserted: 1,
            changed: 1,
            deleted: 0,
            modules: 0,
            parts: Box::default(),
            candidate: forget::Candidate {
                id,
                end: at,
                order: 0,
                source: "sqlite:a".to_owned(),
                place: "sqlite:a".to_owned(),
                scope: (String::new(), String::new()),
                host: "h".to_owned(),
                tags: vec![type_tag(kind == Kind::Full).to_owned()],
                kind,
                complete: true,
                confirmed: true,
                hold: false,
                lock_until: None,
                meant: true,
            },
        })
    }

    pub(in crate::service::console) fn hourly() -> Schedules {
        let routine = Routine { interval_cron: "0 0 * * * ?".to_owned(), ..Routine::default() };
        Schedules::of(&Config::default(), &routine)
    }

    #[test]
    fn a_gap_is_where_runs_were_due_and_nothing_is_kept() {
        let of = |later: &Mark| gap(&mark(1, 0, Kind::Full), later, &hourly());
        assert_eq!(of(&mark(2, 1, Kind::Incremental)), None);
        assert_eq!(of(&mark(2, 2, Kind::Incremental)), None);
        let found = of(&mark(2, 5, Kind::Incremental)).unwrap();
        assert_eq!((found.missed, found.was_forgotten), (3, false));
        assert!(of(&mark(4, 5, Kind::Incremental)).unwrap().was_forgotten);
        assert_eq!(of(&mark(2, 9000, Kind::Incremental)).unwrap().missed, MOST_MISSED);
    }

    #[test]
    fn what_goes_next_is_what_the_policy_does_not_keep_behind_one_more_full() {
        let kinds = [Kind::Full, Kind::Incremental, Kind::Full, Kind::Incremental];
        let marks: Vec<Mark> = kinds.iter().enumerate().map(|(at, kind)| mark(at as u8, at as i64, *kind)).collect();
        let retention = Retention { full: Some(2), incremental: None };
        let gone = going(&marks, Some(&retention), None, marks[3].end);
        assert_eq!(gone, [marks[0].id, marks[1].id].into());
        assert!(
            going(&marks, None, None, marks[3].end).is_empty()
                && going(&[], Some(&retention), None, marks[3].end).is_empty()
        );
        let bars = bars(&marks, &gone, &hourly());
        assert_eq!(
            bars.iter().map(|(_, bar, _)| *bar).collect::<Vec<_>>(),
            [Bar::Going, Bar::Going, Bar::Full, Bar::Incremental]
        );
    }
}
